"""The jobs on one connection: does it answer, is its server read-only, end its transaction.

Each is one round trip with a limit. They run in tasks of the pool, so a borrower takes the
first available connection, and its cancellation costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from enum import Enum
from functools import partial
from typing import Any

from sqla_typedpool._asyncio.timers import Deadline
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from sqla_typedpool.pool.backend import Backend
from sqla_typedpool.pool.drivers.base import Probe
from sqla_typedpool.pool.entry import PoolEntry

# Seconds that a ping may take; past it the connection is aborted.
PING_TIMEOUT = 2.0

_ABORT_PATIENCE = 0.25  # seconds for a driver to notice that its socket was shut down


class Validation(Enum):
    """The result of a ping or a rollback."""

    # It has answered, and no transaction is open.
    ALIVE = "alive"
    # It is disconnected.
    DEAD = "dead"
    # It has not answered in time.
    SILENT = "silent"
    # It has answered, but a transaction may still be open.
    IN_TRANSACTION = "in transaction"


async def validate(entry: PoolEntry, backend: Backend) -> Validation:
    """Ping this entry's connection.

    :raises Exception: an error that is not a disconnect (a ``handle_error`` listener
        may raise one).
    """
    return await limited(entry, backend, _ping(entry, backend))


async def query_server_mode(entry: PoolEntry, backend: Backend) -> tuple[Validation, object]:
    """Query whether the server of this entry is read-only.

    :return: how it went, and the server's mode (None = it is not reported).
    """
    mode: object = None

    async def ask() -> bool:
        nonlocal mode
        try:
            mode = await greenlet_spawn(backend.server_mode, entry.dbapi_connection)
        except Exception:  # noqa: BLE001 - any failure means that it is not usable
            return False
        return True

    return await limited(entry, backend, ask()), mode


async def end_transaction(entry: PoolEntry, backend: Backend, seconds: float) -> Validation:
    """Roll back the transaction that was left open on this entry's connection.

    :param seconds: the limit; past it the connection is aborted.
    """
    failed = False

    async def roll_back() -> bool:
        nonlocal failed
        try:
            await backend.end_transaction(entry.dbapi_connection)
        except Exception:  # noqa: BLE001 - the state that the driver reports now decides
            failed = True
        return entry.probe() != Probe.DEAD

    result = await limited(entry, backend, roll_back(), seconds)
    is_open = entry.in_transaction() or (failed and entry.commit_failed)
    return Validation.IN_TRANSACTION if result is Validation.ALIVE and is_open else result


async def _ping(entry: PoolEntry, backend: Backend) -> bool:
    """One round trip; False = disconnected."""
    connection = entry.dbapi_connection
    if not backend.has_own_ping(connection):
        rolls_back = backend.driver.dialect_ping_opens_transaction
        return await greenlet_spawn(backend.ping_by_dialect, connection, rolls_back=rolls_back)
    try:
        await backend.ping(connection)
    except Exception:  # noqa: BLE001 - any failure means that it is not usable
        return False
    return True


async def limited(
    entry: PoolEntry,
    backend: Backend,
    question: Coroutine[Any, Any, bool],
    seconds: float = PING_TIMEOUT,
) -> Validation:
    """Await work on this entry's connection; past its limit the socket is shut down.

    :param question: returns whether the connection can be used.
    :raises Exception: an error of the work, unless the connection is lost.
    """
    loop, abort = asyncio.get_running_loop(), partial(backend.abort_io, entry.dbapi_connection)
    with Deadline(loop, seconds, abort, patience=_ABORT_PATIENCE) as deadline:
        try:
            answered = await question
        except (asyncio.CancelledError, Exception) as error:
            is_lost = isinstance(error, Exception) and entry.probe() == Probe.DEAD
            if not deadline.is_expired and not is_lost:
                raise
            answered = False
    if deadline.is_expired:
        return Validation.SILENT
    return Validation.ALIVE if answered else Validation.DEAD
