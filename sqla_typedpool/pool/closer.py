"""How connections end: politely, at once, or in the background.

Nothing here makes a borrower wait. A connection being closed counts against the
limit until its socket is gone, and every close has a bound; past it the socket
is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy import start

if TYPE_CHECKING:
    from sqla_typedpool.pool.record import TypedRecord
    from sqla_typedpool.pool.station import Station

__all__ = ["Closer"]

# SQLAlchemy's own limit for the farewell of an invalidated asyncpg connection.
_FAREWELL = 2.0

# The record keeps its identity (SQLAlchemy's record_info) where a new
# connection is to take the place of the old one.
_KEEPS_SHELL = frozenset({"lifetime", "dead", "ping"})


class Closer:
    """Closes the connections of one station."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def close(self, record: TypedRecord, reason: str) -> None:
        """(in hand) -> closing -> (free), politely: the server is told.

        The close begins at once; only what it awaits is left to a task.
        """
        station = self._station
        connection = record.dbapi_connection
        station.forget(record, reason)
        station.slots.closing += 1
        rest = self._begin(record, record.close)
        if rest is None:
            self._closed(record, reason)
        else:
            rest = self._bounded(rest, connection, station.options.pool_reset_timeout)
            station.spawn(self._finish(rest, record, reason), "close")

    def drop(self, record: TypedRecord, reason: str) -> None:
        """(in hand) -> (free), at once: it is dead, nobody is told."""
        station = self._station
        connection = record.dbapi_connection
        station.forget(record, reason)
        if connection is not None:
            station.pool.forced.add(id(connection))
            rest = self._begin(record, record.invalidate)
            if rest is not None:  # a listener of the application awaits something
                station.spawn(
                    self._bounded(rest, connection, station.options.pool_reset_timeout), "close"
                )
        if reason in _KEEPS_SHELL:
            station.shelve(record)

    def terminate(self, connection: Any) -> None:
        """Say farewell in the background to a connection SQLAlchemy has given up.

        Its driver may have to cancel a statement on the server first. The slot
        of the record comes back at once, the connection counts until it is gone.
        """
        station = self._station
        for record in station.records:
            if record.dbapi_connection is connection:
                station.forget(record, "invalidated")
                break
        station.slots.closing += 1
        rest = start(station.pool.close_now, connection)
        if rest is None:
            self._gone()
        else:
            station.spawn(self._see_off(rest, connection), "close")

    def _begin(
        self, record: TypedRecord, close: Callable[[], None]
    ) -> Coroutine[Any, Any, None] | None:
        """Start to close; a listener of the application that fails stops nothing."""
        connection = record.dbapi_connection
        try:
            return start(close)
        except Exception:
            self._station.pool.log.warning("closing a connection failed", exc_info=True)
            self._station.pool.database.force_close(connection)
            record.dbapi_connection = None
            return None

    async def _see_off(self, rest: Coroutine[Any, Any, None], connection: Any) -> None:
        try:
            await self._bounded(rest, connection, _FAREWELL)
        finally:
            self._gone()

    async def _finish(
        self, rest: Coroutine[Any, Any, None], record: TypedRecord, reason: str
    ) -> None:
        try:
            await rest
        finally:
            self._closed(record, reason)

    async def _bounded(
        self, rest: Coroutine[Any, Any, None], connection: Any, seconds: float
    ) -> None:
        """Run to the end; past the bound, or when cancelled, close by force."""
        task = asyncio.current_task()
        timer = self._station.loop.call_later(seconds, self._enforce, connection, task)
        try:
            await rest
        except asyncio.CancelledError:
            # by our own timer, or because the loop is ending: either way it must go
            self._station.pool.database.force_close(connection)
        except Exception:
            self._station.pool.log.warning("closing a connection failed", exc_info=True)
            self._station.pool.database.force_close(connection)
        finally:
            timer.cancel()

    def _enforce(self, connection: Any, task: asyncio.Task[Any] | None) -> None:
        self._station.pool.database.force_close(connection)
        if task is not None:
            task.cancel()

    def _closed(self, record: TypedRecord, reason: str) -> None:
        if reason in _KEEPS_SHELL:
            self._station.shelve(record)
        self._gone()

    def _gone(self) -> None:
        self._station.slots.closing -= 1
        self._station.stir()
