"""A connection that is checked out and has to be connected again.

A listener of the application has rejected what was handed out, or has marked it
for replacement. The borrower waits for the new one, within its one deadline; the
work is done in a task of the pool, as for every connect.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy import greenlet_spawn

if TYPE_CHECKING:
    from sqla_typedpool.pool.record import TypedRecord
    from sqla_typedpool.pool.station import Station

__all__ = ["Renewal"]


class Renewal:
    """Renews the connections of one station."""

    def __init__(self, station: Station) -> None:
        self._station = station

    async def of(self, record: TypedRecord) -> Any:
        """Connect this record again, and return the connection.

        :raises PoolTimeout: when the deadline of the checkout has passed.
        """
        station = self._station
        station.forget(record, "invalidated")
        started = station.clock()
        patient = station.pool.database.driver.connects_in_thread
        task = station.tasks.spawn(self._reopen(record), "renew", patient=patient)
        # Should the borrower be gone before the task is, nobody may find a
        # half-filled record on the shelf, and its slot is not free yet.
        record.spoiled = True
        try:
            await asyncio.wait({task}, timeout=self._time_left(record, started))
        finally:
            if not task.done():
                station.slots.opening += 1
                task.add_done_callback(lambda _: self._discard_late(record), context=Context())
                task.cancel()
        if not task.done():
            raise station.too_late(started)
        record.spoiled = False
        if task.exception() is not None:
            station.tally.connect_failures += 1
        connection = task.result()
        station.stamp(record, station.clock())
        station.tally.connect_time.add(station.clock() - started)
        return connection

    def _time_left(self, record: TypedRecord, now: float) -> float:
        """What is left of the one deadline, in seconds."""
        timeout: float | None = self._station.pool._timeout
        bound = self._station.connector.bound
        if timeout is None or timeout <= 0:
            return bound
        spent = now - (record.since if record.since is not None else now)
        return min(bound, max(0.0, timeout - spent))

    async def _reopen(self, record: TypedRecord) -> Any:
        station = self._station
        if record.dbapi_connection is not None:  # softly invalidated
            await greenlet_spawn(record.close)
        # the server may have room for one only
        while station.slots.total() > station.slots.limits.most and station.slots.closing:
            await station.tasks.settle(station.options.pool_reset_timeout)
        connection = await greenlet_spawn(record.open)
        station.look_at(record)
        return connection

    def _discard_late(self, record: TypedRecord) -> None:
        self._station.slots.opening -= 1
        if record.dbapi_connection is not None:
            self._station.closer.close(record, "invalidated")
        else:
            self._station.stir()
