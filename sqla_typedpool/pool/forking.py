"""A forked child and the connections of its parent.

The child begins with copies of the parent's pools and with descriptors of the same
sockets. To use one would mix two processes on one wire. To close one would be no
better: a farewell ends the parent's session, ``shutdown`` ends its socket, and even
to unregister it reaches the parent, whose event loop shares its selector with the
child. So before anything else runs in the child, every inherited descriptor is
pointed at the null device: what is written to it then, or closed, meets nobody. The
pools start anew, and what belonged to the parent is never finalised.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakSet

from sqla_typedpool.pool import loops
from sqla_typedpool.pool.drivers import disconnect_from_parent

if TYPE_CHECKING:
    from sqla_typedpool.pool.pool import TypedPool

__all__ = ["watch"]

_pools: WeakSet[TypedPool] = WeakSet()
_inherited: list[object] = []


def watch(pool: TypedPool) -> None:
    """Let this pool start anew in a forked child."""
    _pools.add(pool)


def _in_child() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for pool in list(_pools):
            for house in pool.houses:
                for record in house.records:
                    disconnect_from_parent(pool.database.dialect, record.dbapi_connection, null)
            _keep(pool.houses)
            pool.start_anew()
        _keep(loops.forget_all())
    finally:
        os.close(null)


def _keep(thing: object) -> None:
    """Never finalise it, not even when the interpreter ends.

    Finalisers would warn of connections the child has never opened, and SQLite's
    may not run in a child at all: https://www.sqlite.org/howtocorrupt.html (2.6).
    """
    _inherited.append(thing)
    with suppress(ImportError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
