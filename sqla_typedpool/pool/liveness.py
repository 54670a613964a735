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
from sqla_typedpool.pool.alarm import Alarm
from sqla_typedpool.pool.drivers import Probe, cut

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
        self._hopeless: set[TypedRecord] = set()

    def suspect_all(self, *, silent: bool = False) -> None:
        """A connection was found dead: ask all idle ones now, at once, each bounded.

        One failure does not replace the healthy ones. Those in use are pinged
        after their return, before anybody else gets them.

        :param silent: it did not answer at all; then the others may be as silent, and
            waiters should not have to count on them.
        """
        station = self._station
        station.suspect_since = station.clock()
        if not station.pool.database.driver.needs_ping:
            return
        for record in list(station.slots.idle):
            station.slots.claim(record)
            self.ping(record, hopeless=silent)

    @property
    def promising(self) -> int:
        """Pings that waiters may count on."""
        return self._station.slots.validating - len(self._hopeless)

    def ping(self, record: TypedRecord, *, hopeless: bool = False) -> None:
        """(in hand) -> validating -> idle or in use, else (free)."""
        self._station.slots.validating += 1
        if hopeless:
            self._hopeless.add(record)
        self._station.tasks.spawn(self._validate(record), "ping", lambda: self._give_up(record))

    def _no_longer(self, record: TypedRecord) -> None:
        self._station.slots.validating -= 1
        self._hopeless.discard(record)

    async def _validate(self, record: TypedRecord) -> None:
        error: BaseException | None = None
        answered = False
        deadline = _Deadline(self._station, record.dbapi_connection)
        try:
            answered = await self._ask(record) and not deadline.passed
        except asyncio.CancelledError:
            if not deadline.passed:  # not by us: the loop is ending
                self._give_up(record)
                return
        except Exception as problem:  # noqa: BLE001 - no disconnect: a waiter gets it
            error = None if deadline.passed or record.probe() == Probe.DEAD else problem
        finally:
            deadline.cancel()
        self._no_longer(record)
        self._station.tally.pings += 1
        self._judge(record, answered, error, silent=deadline.passed)

    def _give_up(self, record: TypedRecord) -> None:
        self._no_longer(record)
        self._station.closer.drop(record, "loop")
        self._station.stir_soon()

    def _judge(
        self, record: TypedRecord, answered: bool, error: BaseException | None, *, silent: bool
    ) -> None:
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
            self.suspect_all(silent=silent)
        station.stir()

    async def _ask(self, record: TypedRecord) -> bool:
        """One round trip, bounded; False = disconnected.

        :raises Exception: an error that is no disconnect (a ``handle_error``
            listener may have raised it).
        """
        if self._station.failover.is_doubted(record):
            return await self._station.failover.examine(record)
        database = self._station.pool.database
        ping, connection = database.driver.ping, record.dbapi_connection
        if ping is None or database.asks_dialect(connection):
            return await greenlet_spawn(database.ping_through_dialect, connection)
        try:
            await ping(database.driver_connection(connection))
        except Exception:  # noqa: BLE001 - any failure means it is not usable
            return False
        return True


class _Deadline:
    """Cuts the socket of a ping that takes too long, then cancels a driver that
    does not even notice that."""

    def __init__(self, station: Station, connection: Any) -> None:
        self.passed = False
        self._station = station
        self._connection = connection
        self._task = asyncio.current_task()
        self._alarm = Alarm(station.loop, PING_BOUND, self._cut)

    def _cut(self) -> None:
        self.passed = True
        cut(self._station.pool.database.dialect, self._connection)
        if self._task is not None:
            self._alarm = Alarm(self._station.loop, _LAST_RESORT, self._task.cancel)

    def cancel(self) -> None:
        self._alarm.cancel()
        self._connection = self._task = None  # the alarm knows us: no cycle shall hold them
