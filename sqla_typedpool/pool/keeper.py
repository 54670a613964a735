"""The keeper looks after connections nobody uses.

A timer on the event loop, not a task: it dies with its loop or its pool without
a warning, and holds neither alive. What it finds to do it does as a borrower
would: it claims the connection first, and never while somebody waits.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING

from sqla_typedpool.pool import ending
from sqla_typedpool.pool.alarm import later
from sqla_typedpool.pool.drivers import Probe
from sqla_typedpool.pool.holders import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqla_typedpool.pool.record import TypedRecord
    from sqla_typedpool.pool.station import Station

__all__ = ["Keeper"]

_LONGEST, _SHORTEST = 1.0, 0.02  # seconds between two rounds
_BLOCKED = 1.0  # a round this late means that something blocked the loop


class Keeper:
    """Retires, reaps, refills, keeps alive and reports for one station."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._will: Callable[[], _Will | None] = _nothing
        self._due = 0.0
        self._stretch: object = None  # the one in which the alarm was set
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
        if not self.is_running:
            will = _Will(self._station)
            self._will = weakref.ref(will)
            self._arm(will)

    def stop(self) -> None:
        will = self._will()
        if will is not None:
            will.valid = False

    @property
    def is_running(self) -> bool:
        will = self._will()
        return will is not None and will.valid

    def _arm(self, will: _Will) -> None:
        self._due = self._station.clock() + self.period
        self._stretch = _stretch_of_the_loop()
        # the loop alone holds the will, see there
        later(self._station.loop, self.period, _round, will)

    def round(self, will: _Will) -> None:
        """One round: look, act, set the alarm for the next."""
        station = self._station
        now = station.clock()
        late, stretch = now - self._due, self._stretch
        self._arm(will)
        station.tally.count_uses()
        for record in list(station.records):
            record.loosen()
        if late >= _BLOCKED:
            if stretch is self._stretch:
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
            reason, verdict = self._reason_to_close(record, now), record.probe()
            if verdict == Probe.DEAD:
                station.slots.claim(record)
                station.closer.drop(record, "dead")
            elif reason is not None:
                station.slots.claim(record)
                station.closer.close(record, reason)
            elif verdict == Probe.DOUBTFUL or self._wants_ping(record, now):
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


class _Will:
    """What the keeper's timer carries, and what is done when the loop drops it.

    ``loop.close()`` drops its timers: that is how a station hears that its loop was
    closed by hand, when no checkout follows.
    """

    __slots__ = ("__weakref__", "_loop", "_station", "valid")

    def __init__(self, station: Station) -> None:
        self.valid = True
        self._station = weakref.ref(station)
        self._loop = weakref.ref(station.loop)

    def station(self) -> Station | None:
        return self._station()

    def __del__(self) -> None:
        station, loop = self._station(), self._loop()
        if station is not None and loop is not None and loop.is_closed():
            ending.abandon(station)


def _stretch_of_the_loop() -> object:
    """Another object for each time from the loop's start to its stop.

    A loop that is run for one task after another (``run_until_complete``, a session's loop under
    tests that are not async) stands still in between, and nothing blocks it. It sets its hooks for
    asynchronous generators whenever it starts (PEP 525), asyncio's and uvloop's as new objects.
    """
    return sys.get_asyncgen_hooks().firstiter


def _round(will: _Will) -> None:
    station = will.station()
    if station is not None and will.valid:
        station.keeper.round(will)


def _nothing() -> None:
    return None
