"""A forked child and the connections of its parent.

The child starts with copies of the parent's pools, and with descriptors of the same
sockets. Using one would mix two processes on one connection. Closing one is no better:
a graceful close ends the parent's session, ``shutdown`` ends its socket, and even
unregistering it reaches the parent, whose event loop shares its selector with the
child. So before anything else runs in the child, every inherited descriptor is pointed
at the null device. The pools start empty, and what belonged to the parent is never
finalised.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from sqla_typedpool.pool.loops import forget_all_loops

_pools: WeakSet[Any] = WeakSet()  # of TypedPool
_inherited: list[object] = []


def watch_forks(pool: object) -> None:
    """Let this pool, a ``TypedPool``, start empty in a forked child."""
    _pools.add(pool)


def _in_child() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for pool in list(_pools):
            for loop_pool in pool.loops:
                for entry in loop_pool.entries:
                    pool.shared.backend.detach_from_parent(entry.dbapi_connection, null)
            _keep_for_ever(pool.loops)
            pool.start_empty()
        _keep_for_ever(forget_all_loops())
    finally:
        os.close(null)


def _keep_for_ever(inherited: object) -> None:
    """Never finalise it, not even when the interpreter exits.

    Finalisers would warn of connections that the child has never opened, and SQLite's
    may not run in a child at all: https://www.sqlite.org/howtocorrupt.html (2.6).
    """
    _inherited.append(inherited)
    with suppress(ImportError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
