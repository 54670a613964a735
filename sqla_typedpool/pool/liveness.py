"""Is an unused connection still alive?

Two questions, at two prices. The local probe looks at the socket and is always
asked. The ping is one round trip, asked only of a connection unused for longer
than ``pool_validate_after`` or under suspicion. It runs in the pool's own task:
the borrower waits for whatever comes first, and its cancellation costs nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy import greenlet_spawn
from sqla_typedpool.pool.drivers import cut

if TYPE_CHECKING:
    from sqla_typedpool.pool.record import TypedRecord
    from sqla_typedpool.pool.station import Station

__all__ = ["PING_BOUND", "Liveness"]

PING_BOUND = 2.0
"""Seconds a ping may take; past it the connection is dead."""

_LAST_RESORT = 0.25  # from cutting the socket to cancelling a driver that ignores it


class Liveness:
    """Pings the idle connections of one station."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def suspect_all(self) -> None:
        """A connection was found dead: ask all idle ones now, at once, each bounded.

        One failure does not replace the healthy ones. Those in use are pinged
        after their return, before anybody else gets them.
        """
        station = self._station
        station.suspect_since = station.clock()
        if not station.pool.database.driver.needs_ping:
            return
        for record in list(station.slots.idle):
            station.slots.claim(record)
            self.ping(record)

    def ping(self, record: TypedRecord) -> None:
        """(in hand) -> validating -> idle or in use, else (free)."""
        self._station.slots.validating += 1
        self._station.spawn(self._validate(record), "ping")

    async def _validate(self, record: TypedRecord) -> None:
        station = self._station
        error: BaseException | None = None
        answered = False
        try:
            answered = await self._ask(record)
        except asyncio.CancelledError:
            pass
        except Exception as problem:  # noqa: BLE001 - no disconnect: a waiter gets it
            error = problem
        finally:
            station.slots.validating -= 1
            station.tally.pings += 1
            self._judge(record, answered, error)

    def _judge(self, record: TypedRecord, answered: bool, error: BaseException | None) -> None:
        station = self._station
        if answered and record.dbapi_connection is not None:
            record.verified_at = station.clock()
            station.place(record, verified=True)
            return
        station.tally.failed_pings += 1
        station.closer.drop(record, "ping")
        if error is not None:
            station.slots.fail_oldest(error)
        else:
            self.suspect_all()
        station.stir()

    async def _ask(self, record: TypedRecord) -> bool:
        """One round trip, bounded; False = disconnected.

        :raises Exception: an error that is no disconnect (a ``handle_error``
            listener may have raised it).
        """
        station = self._station
        connection: Any = record.dbapi_connection
        database = station.pool.database
        driver = database.driver
        task = asyncio.current_task()
        assert task is not None
        timers = [
            station.loop.call_later(PING_BOUND, cut, database.dialect, connection),
            station.loop.call_later(PING_BOUND + _LAST_RESORT, task.cancel),
        ]
        try:
            if driver.ping is None or database.asks_dialect(connection):
                return await greenlet_spawn(database.ping_through_dialect, connection)
            try:
                await driver.ping(database.driver_connection(connection))
            except Exception:  # noqa: BLE001 - any failure means it is not usable
                return False
            return True
        finally:
            for timer in timers:
                timer.cancel()
