"""The housekeeper maintains the idle connections of one event loop.

It is a timer, not a task: it ends with its loop or its pool without a warning, and
keeps neither alive. It works on an entry only after reserving it, as a checkout does, and
never on one that a waiter needs.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable

from sqla_typedpool._asyncio.timers import call_later
from sqla_typedpool.pool.backend import CloseMode
from sqla_typedpool.pool.drivers.base import Probe
from sqla_typedpool.pool.drivers.sqlite_storage import IN_MEMORY
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.loop_pool import LoopPool
from sqla_typedpool.pool.options import PoolOptions
from sqla_typedpool.pool.stats import CloseReason

_MAX_PERIOD, _MIN_PERIOD = 1.0, 0.02  # seconds between two ticks
_BLOCKED = 1.0  # a tick this late means that something blocked the loop


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
        self._due = 0.0
        self._run_of_loop: object = None
        # Seconds between two ticks.
        self.period = _period_of(pool.shared.options)

    def start(self) -> None:
        """Start with the first checkout; nothing happens if it runs already."""
        pool = self._pool()
        if pool is not None and (self._token is None or self._token() is None):
            token = _Token()
            self._token = weakref.ref(token, self._on_dropped)
            self._schedule(pool, token)

    def _schedule(self, pool: LoopPool, token: _Token) -> None:
        self._due = pool.clock() + self.period
        self._run_of_loop = _current_run_of_loop()
        call_later(pool.loop, self.period, self._on_timer, token)

    def _on_dropped(self, token: object) -> None:
        loop = self._loop()
        if loop is not None and loop.is_closed():
            self._on_loop_closed()

    def _on_timer(self, token: _Token) -> None:
        pool = self._pool()
        if pool is not None and not pool.is_disposed and pool.refusal is None:
            self.tick(pool, token)

    def tick(self, pool: LoopPool, token: _Token) -> None:
        """Do all the work of one tick, and set the timer for the next one."""
        now = pool.clock()
        late, run_of_loop = now - self._due, self._run_of_loop
        self._schedule(pool, token)
        pool.counters.sort_uses()
        for entry in list(pool.entries):
            entry.hold_task_weakly()
        if late >= _BLOCKED:
            if run_of_loop is self._run_of_loop:
                pool.reports.loop_blocked(late)
            return  # what seems to be expired may only have been kept from returning
        _report_leaks(pool, now)
        if not pool.slots.waiters and pool.shared.backend.storage not in IN_MEMORY:
            for entry in list(pool.slots.idle):  # the longest unused first
                _look_at(pool, entry, now)
            pool.serve_waiters()  # refills as well


def _period_of(options: PoolOptions) -> float:
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
    if reason is None and result != Probe.SUSPECT and not wants_ping:
        return
    if not pool.slots.reserve(entry):
        return  # closing another one has served it to a waiter
    if reason is None:
        pool.start_validation(entry)
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
            pool.reports.leak(entry, now, threshold)


def _current_run_of_loop() -> object:
    """An object that is the same from the loop's start to its stop, and another afterwards.

    A loop that runs one task after another (``run_until_complete``) stands still in
    between, and nothing blocks it. Whenever it starts, it sets its hooks for
    asynchronous generators (PEP 525) as new objects, asyncio and uvloop alike.
    """
    return sys.get_asyncgen_hooks().firstiter
