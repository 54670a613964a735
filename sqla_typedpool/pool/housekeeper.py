"""The housekeeper maintains the idle connections of one event loop.

It is a timer, not a task: it ends with its loop or its pool without a warning, and
keeps neither alive. It works on an entry only after reserving it, as a checkout does, and
never on one that a waiter needs.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator

from sqla_typedpool._asyncio.timers import call_later
from sqla_typedpool.pool.backend import CloseMode
from sqla_typedpool.pool.drivers.base import Probe
from sqla_typedpool.pool.drivers.sqlite_storage import IN_MEMORY
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.loop_pool import LoopPool
from sqla_typedpool.pool.options import ResolvedOptions
from sqla_typedpool.pool.stats import CloseReason

_MAX_PERIOD, _MIN_PERIOD = 1.0, 0.02  # seconds between two ticks
_EARLY = 0.001  # seconds that a timer may fire before its time

# A blocked loop is noticed by a late timer. The block began at any moment since the timer before,
# so a timer for this alone fires more often than there is work: the time in between is the
# uncertainty of what is reported. A second between them made 1.5 s look like 0.5 to 1.5 s.
_WATCH_PERIOD = 0.25  # seconds between two timers
_MOST_RECORDED = 100  # durations of one kind in one tick: recording one takes microseconds
_BLOCKED = 1.0  # seconds from which it is reported


class _Token:
    """What only the loop's timer keeps alive: it is dropped when the loop closes."""


class Housekeeper:
    """Closes expired and idle connections, refills, keeps alive, reports leaks.

    :param on_loop_closed: called if the loop is closed while the timer runs. That is
        how a loop that is closed by hand is detected when no checkout follows. It must
        not keep the pool alive.
    """

    def __init__(self, pool: LoopPool, on_loop_closed: Callable[[], object]) -> None:
        self._pool = weakref.ref(pool)
        self._loop = weakref.ref(pool.loop)
        self._on_loop_closed = on_loop_closed
        self._token: weakref.ref[_Token] | None = None
        self._tick_due = 0.0
        # When the timer was set, and when it fires.
        self._set_at = self._due = 0.0
        self._run_of_loop: object = None
        # Seconds between two ticks.
        self.period = _period_of(pool.shared.options)

    def start(self) -> None:
        """Start with the first checkout; nothing happens if it runs already."""
        pool = self._pool()
        if pool is not None and (self._token is None or self._token() is None):
            token = _Token()
            self._token = weakref.ref(token, self._on_dropped)
            self._tick_due = pool.clock() + self.period
            self._schedule(pool, token)

    def _schedule(self, pool: LoopPool, token: _Token) -> None:
        self._set_at = now = pool.clock()
        seconds = max(0.0, min(_WATCH_PERIOD, self._tick_due - now))
        self._due = now + seconds
        self._run_of_loop = _current_run_of_loop()
        call_later(pool.loop, seconds, self._on_timer, token)

    def _on_dropped(self, token: object) -> None:
        loop = self._loop()
        if loop is not None and loop.is_closed():
            self._on_loop_closed()

    def _on_timer(self, token: _Token) -> None:
        pool = self._pool()
        if pool is None or pool.is_disposed or pool.refusal is not None:
            return
        now = pool.clock()
        is_due = now >= self._tick_due - _EARLY
        blocked, run_of_loop = self._blocked_for(pool, now), self._run_of_loop
        if is_due or blocked:
            self._tick_due = now + self.period
        self._schedule(pool, token)
        pool.nested.look_again()
        if blocked:
            # what seems to be expired may only have been kept from returning: no tick
            if run_of_loop is not None and run_of_loop is self._run_of_loop:
                pool.reports.loop_blocked(blocked, _BLOCKED)
        elif is_due:
            self.tick(pool, now)

    def _blocked_for(self, pool: LoopPool, now: float) -> float:
        """For how many seconds the loop has been blocked; 0 = it has not.

        The block began between the moment at which the loop was last seen running and
        the timer's time. The middle is taken.
        """
        late = now - self._due
        if late < _BLOCKED - _WATCH_PERIOD:
            return 0.0
        seen = [self._set_at, *_checkouts_and_returns(pool)]
        latest = max(time for time in seen if time <= self._due)
        seconds = late + (self._due - latest) / 2
        return seconds if seconds >= _BLOCKED else 0.0

    def tick(self, pool: LoopPool, now: float) -> None:
        """Do all the work of one tick."""
        pool.counters.sort_uses()
        if pool.shared.durations is not None:
            pool.shared.durations.record(_MOST_RECORDED)
        pool.overload.tick(now)
        for entry in list(pool.entries):
            entry.hold_task_weakly()
        _report_leaks(pool, now)
        if not pool.slots.waiters and pool.shared.backend.storage not in IN_MEMORY:
            for entry in list(pool.slots.idle):  # the longest unused first
                _look_at(pool, entry, now)
            pool.serve_waiters()  # refills as well


def _checkouts_and_returns(pool: LoopPool) -> Iterator[float]:
    """When each connection was last checked out or returned."""
    for entry in list(pool.entries):
        yield entry.idle_since if entry.checked_out_at is None else entry.checked_out_at


def _period_of(options: ResolvedOptions) -> float:
    """A quarter of the shortest time that it has to notice, in seconds."""
    times = [options.pool_idle_timeout, options.pool_max_lifetime, options.pool_keepalive]
    times.append(options.pool_leak_threshold)
    shortest = min((time for time in times if time is not None), default=_MAX_PERIOD)
    return max(_MIN_PERIOD, min(_MAX_PERIOD, shortest / 4))


def _look_at(pool: LoopPool, entry: PoolEntry, now: float) -> None:
    """Close or ping one idle entry, if it is time."""
    reason, result = _reason_to_close(pool, entry, now), entry.probe()
    keepalive = pool.shared.options.pool_keepalive
    wants_ping = keepalive is not None and now - entry.validated_at >= keepalive
    if result == Probe.DEAD:
        reason = CloseReason.DEAD
    if reason is None and result == Probe.ALIVE and not wants_ping:
        return
    if not pool.slots.reserve(entry):
        return  # closing another one has served it to a waiter
    if reason is None:
        pool.validator.start(entry)
    else:
        is_dead = reason is CloseReason.DEAD
        pool.close_entry(entry, reason, CloseMode.ABORT if is_dead else CloseMode.GRACEFUL)


def _reason_to_close(pool: LoopPool, entry: PoolEntry, now: float) -> CloseReason | None:
    options = pool.shared.options
    if entry.evicted is not None:
        return entry.evicted
    if now >= entry.expires_at:
        return CloseReason.LIFETIME
    open_or_opening = pool.slots.total - pool.slots.closing
    timeout = options.pool_idle_timeout
    if timeout is None or open_or_opening <= options.pool_min_size:
        return None
    return CloseReason.IDLE if now - entry.idle_since >= timeout else None


def _report_leaks(pool: LoopPool, now: float) -> None:
    threshold = pool.shared.options.pool_leak_threshold
    if threshold is None:
        return
    for entry in list(pool.entries):  # a copy: a log handler may do anything
        since = entry.checked_out_at
        if since is not None and now - since >= threshold and not entry.is_leak_reported:
            entry.is_leak_reported = True
            pool.counters.leaks += 1
            pool.reports.leak(entry, now, threshold)


def _current_run_of_loop() -> object:
    """An object that is the same from the loop's start to its stop, and another afterwards.

    A loop that runs one task after another (``run_until_complete``) stands still in
    between, and nothing blocks it. Whenever it starts, it sets its hooks for
    asynchronous generators (PEP 525) as new objects, asyncio and uvloop alike.

    :return: None if the loop has no hooks (nest_asyncio); then this is not known.
    """
    return sys.get_asyncgen_hooks().firstiter
