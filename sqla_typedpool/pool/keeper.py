"""The keeper looks after connections nobody uses.

A timer on the event loop, not a task: it dies with its loop or its pool without
a warning, and holds neither alive. What it finds to do it does as a borrower
would: it claims the connection first, and never while somebody waits.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from sqla_typedpool.pool.alarm import later
from sqla_typedpool.pool.holders import describe

if TYPE_CHECKING:
    import asyncio

    from sqla_typedpool.pool.record import TypedRecord
    from sqla_typedpool.pool.station import Station

__all__ = ["Keeper"]

_LONGEST, _SHORTEST = 1.0, 0.02  # seconds between two rounds
_BLOCKED = 1.0  # a round this late means that something blocked the loop


class Keeper:
    """Retires, reaps, refills, keeps alive and reports for one station."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.period = self._choose_period()

    def _choose_period(self) -> float:
        options = self._station.options
        times = (
            options.pool_idle_timeout,
            options.pool_max_lifetime,
            options.pool_keepalive,
            options.pool_leak_threshold,
        )
        shortest = min((time for time in times if time is not None), default=_LONGEST)
        return max(_SHORTEST, min(_LONGEST, shortest / 4))

    # ------------------------------------------------------------------- timer

    def start(self) -> None:
        """Begin with the first checkout; nothing happens when it runs already."""
        if self._timer is None:
            self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def is_running(self) -> bool:
        return self._timer is not None

    def _arm(self) -> None:
        loop = self._station.loop
        self._due = self._station.clock() + self.period
        self._timer = later(loop, self.period, _round, weakref.ref(self._station))

    def round(self) -> None:
        """One round: look, act, set the alarm for the next."""
        station = self._station
        now = station.clock()
        late = now - self._due
        self._arm()
        station.tally.count_uses()
        if late >= _BLOCKED:
            self._report_blocked(late)
            return  # what seems to be expired may only have been kept from returning
        if station.options.pool_leak_threshold is not None:
            self._report_leaks(now, station.options.pool_leak_threshold)
        if not station.slots.waiters and not station.pool.database.in_memory:
            self._look_at_idle(now)
            station.connector.grow()

    # -------------------------------------------------------------------- work

    def gap(self) -> int:
        """How many connections are missing from the floor."""
        if not self.is_running or self._station.refusing:
            return 0
        return self._station.options.pool_min_size - self._station.slots.total()

    def _look_at_idle(self, now: float) -> None:
        station = self._station
        for record in list(station.slots.idle):  # the longest unused first
            reason = self._reason_to_close(record, now)
            if record.is_dead():
                station.slots.claim(record)
                station.closer.drop(record, "dead")
            elif reason is not None:
                station.slots.claim(record)
                station.closer.close(record, reason)
            elif self._wants_ping(record, now):
                station.slots.claim(record)
                station.liveness.ping(record)

    def _reason_to_close(self, record: TypedRecord, now: float) -> str | None:
        station, options = self._station, self._station.options
        if now >= record.expires_at:
            return "lifetime"
        above_floor = station.slots.total() - station.slots.closing > options.pool_min_size
        timeout = options.pool_idle_timeout
        if timeout is not None and above_floor and now - record.idle_since >= timeout:
            return "idle"
        return None

    def _wants_ping(self, record: TypedRecord, now: float) -> bool:
        keepalive = self._station.options.pool_keepalive
        return keepalive is not None and now - record.verified_at >= keepalive

    # ----------------------------------------------------------------- reports

    def _report_blocked(self, late: float) -> None:
        self._station.pool.log.warning(
            "the event loop was blocked for %.1f s: timeouts and connections suffer; "
            "next: find the synchronous call (asyncio debug mode names it)",
            late,
            extra={"blocked_seconds": late},
        )

    def _report_leaks(self, now: float, threshold: float) -> None:
        station = self._station
        for record in list(station.records):  # a log handler may do anything
            since = record.since
            if since is None or record.reported or now - since < threshold:
                continue
            record.reported = True
            station.pool.log.warning(
                "leak: a connection has been out for %.1f s (pool_leak_threshold=%g), held by %s",
                now - since,
                threshold,
                describe([station.holder(record, now)]),
                extra={"held_seconds": now - since, "threshold_seconds": threshold},
            )


def _round(station: weakref.ref[Station]) -> None:
    alive = station()
    if alive is not None:
        alive.keeper.round()
