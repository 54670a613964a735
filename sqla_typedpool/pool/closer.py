"""How connections end: politely, at once, or in the background.

Nothing here makes a borrower wait. A connection being closed counts against the
limit until its socket is gone, and every close has a bound; past it the socket
is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy import Rest, start
from sqla_typedpool.pool.alarm import Alarm

if TYPE_CHECKING:
    from sqla_typedpool.pool.record import TypedRecord
    from sqla_typedpool.pool.station import Station

__all__ = ["Closer"]

# The drivers' own limit for the farewell of an invalidated connection is 2 s; a
# little more, so that ours does not cut in where theirs would do.
_FAREWELL = 2.25

# The record keeps its identity (SQLAlchemy's record_info) where a new
# connection is to take the place of the old one.
_KEEPS_SHELL = frozenset({"lifetime", "failover", "dead", "ping", "invalidated"})


def _nothing() -> None:
    """It was not counted."""


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

        def done() -> None:
            self._ended(record, connection, reason)
            self._gone()

        rest = self._begin(record, record.close)
        self._finish(rest, connection, station.options.pool_reset_timeout, done)

    def drop(self, record: TypedRecord, reason: str) -> None:
        """(in hand) -> (free), at once: it is dead, nobody is told."""
        station = self._station
        connection = record.dbapi_connection
        station.forget(record, reason)
        if connection is None:
            return
        station.pool.parting.forced.add(id(connection))
        rest = self._begin(record, record.cut_off)
        if rest is None:
            self._ended(record, connection, reason)
            return
        # a listener of the application awaits something: until then it counts

        def done() -> None:
            self._ended(record, connection, reason)
            self._gone()

        station.slots.closing += 1
        self._finish(rest, connection, station.options.pool_reset_timeout, done)

    def terminate(self, connection: Any) -> asyncio.Task[Any] | None:
        """Say farewell in the background to a connection SQLAlchemy has given up.

        Its driver may have to cancel a statement on the server first. The slot
        of the record comes back at once, the connection counts until it is gone.

        :return: the task that does it, if it is not done already.
        """
        station = self._station
        done = self._gone if self._is_ours(connection) else _nothing
        if done is not _nothing:
            station.slots.closing += 1
        try:
            rest = start(station.pool.parting.now, connection)
        except BaseException:
            done()
            raise
        return self._finish(rest, connection, _FAREWELL, done)

    def _is_ours(self, connection: Any) -> bool:
        """Whether it counts against the limit: a detached one does not."""
        station = self._station
        for record in list(station.records):
            if record.dbapi_connection is connection:
                station.forget(record, "invalidated")
                return True
        return station.connector.is_opening(connection)

    def _begin(self, record: TypedRecord, close: Callable[[], None]) -> Rest | None:
        """Start to close; a listener of the application that fails stops nothing."""
        try:
            return start(close)
        except BaseException as error:
            self._station.pool.log.warning("closing a connection failed", exc_info=True)
            if not isinstance(error, Exception):
                self._station.pool.database.force_close(record.dbapi_connection)
            return None

    def _finish(
        self, rest: Rest | None, connection: Any, seconds: float, done: Callable[[], None]
    ) -> asyncio.Task[Any] | None:
        """Leave the rest of a close to a task; tell when it is done."""
        if rest is None:
            done()
            return None

        def never_begun() -> None:
            rest.give_up()
            self._station.pool.database.force_close(connection)
            done()

        return self._station.tasks.spawn(
            self._see_off(rest, connection, seconds, done), "close", lost=never_begun
        )

    async def _see_off(
        self, rest: Rest, connection: Any, seconds: float, done: Callable[[], None]
    ) -> None:
        """Run to the end; past the bound, or when cancelled, close by force."""
        database = self._station.pool.database
        alarm = Alarm(
            self._station.loop, seconds, self._enforce, connection, asyncio.current_task()
        )
        try:
            await rest.run()
        except asyncio.CancelledError:
            # by our own alarm, or because the loop is ending: either way it must go
            database.force_close(connection)
        except Exception:
            self._station.pool.log.warning("closing a connection failed", exc_info=True)
            database.force_close(connection)
        finally:
            alarm.cancel()
            done()

    def _enforce(self, connection: Any, task: asyncio.Task[Any]) -> None:
        self._station.pool.database.force_close(connection)
        task.cancel()

    def _ended(self, record: TypedRecord, connection: Any, reason: str) -> None:
        """The record is empty now, whatever listeners have done."""
        self._station.pool.parting.forced.discard(id(connection))
        if record.dbapi_connection is connection and connection is not None:
            self._station.pool.database.force_close(connection)
            record.dbapi_connection = None
        if reason in _KEEPS_SHELL:
            self._station.shelve(record)

    def _gone(self) -> None:
        self._station.slots.closing -= 1
        self._station.stir()
