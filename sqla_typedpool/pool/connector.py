"""Opens connections, for waiters and for the minimum size alike, as the policy decides.

Attempts are tasks of the pool: a borrower's cancellation does not touch them, and what
they open goes to the oldest waiter or becomes idle.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from sqla_typedpool._asyncio.tasks import BackgroundTasks, error_of
from sqla_typedpool._asyncio.timers import Deadline, call_later
from sqla_typedpool.pool.connect_errors import classify
from sqla_typedpool.pool.connect_policy import HEDGE_INTERVAL, Affected, ConnectPolicy
from sqla_typedpool.pool.connecting import QueuePosition, connect
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.outage_log import OutageLog
from sqla_typedpool.pool.outages import AttemptStart
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.stats import Counters
from sqla_typedpool.pool.waiting import WaitQueue

_JITTER = 0.2  # of a pause, at most
_HEDGE_LATE = 0.5  # seconds by which the timer is late if the loop was blocked


class ConnectDemand(Protocol):
    """What the connector needs of its pool."""

    slots: Slots[PoolEntry]
    counters: Counters
    queue: WaitQueue

    # Waiters that no ping is expected to serve.
    def unserved(self) -> int: ...

    # Connections that may serve a waiter soon.
    def working(self) -> int: ...

    # Connections missing from the minimum size.
    def missing(self) -> int: ...

    def begin_opening(self) -> PoolEntry | None:
        """Take a slot for an attempt; None if none may be opened."""

    def opened(self, entry: PoolEntry, started: float, *, is_current: bool) -> None:
        """An attempt has succeeded.

        :param is_current: False = ``dispose()`` or the like came after its start.
        """

    def opening_failed(self, entry: PoolEntry) -> None:
        """An attempt has ended without a connection."""

    def serve_waiters(self) -> None:
        """Serve the waiters that can be served now."""


@dataclass(eq=False)
class _Attempt:
    """One connection being opened."""

    entry: PoolEntry
    started: float
    failed_checkouts: int  # in all, when it began
    position: QueuePosition  # in the queue, when it began
    generation: int
    deadline: Deadline
    task: asyncio.Task[None] = field(init=False)

    @property
    def start(self) -> AttemptStart:
        """What an outage that begins with it needs."""
        return AttemptStart(self.started, self.failed_checkouts)


@dataclass(eq=False)
class Connector:
    """Runs the connection attempts of one event loop."""

    demand: ConnectDemand
    policy: ConnectPolicy
    shared: Shared
    tasks: BackgroundTasks
    clock: Callable[[], float]
    # The limit of one attempt, in seconds.
    connect_timeout: float
    # ``dispose()`` and the like begin a new one; attempts under way belong to the old.
    generation: int = 0
    _attempts: list[_Attempt] = field(default_factory=list)  # those not abandoned, oldest first
    _abandoned: list[_Attempt] = field(default_factory=list)  # which have not ended yet
    _pause_timer: asyncio.TimerHandle | None = None
    _pause_ends: float = 0.0
    _hedge_timer: asyncio.TimerHandle | None = None
    _hedge_due: float = 0.0
    _served_before: int = 0  # checkouts when the hedge timer was started
    _refused: int = 0  # checkouts that got a connect error
    _is_stopped: bool = False

    @property
    def expected(self) -> int:
        """Attempts that waiters may count on: those that are not silent."""
        return len(self._attempts) - self._silent()

    def _silent(self) -> int:
        """How many of the oldest attempts are silent."""
        latest = self.clock() - self.policy.silent_after
        if not self._attempts or self._attempts[0].started > latest:
            return 0
        return bisect_right(self._attempts, latest, key=lambda each: each.started)

    @property
    def is_retrying(self) -> bool:
        """Whether there is an outage, and attempts go on."""
        return self.policy.is_outage and bool(self._attempts or self._pause_timer)

    @property
    def next_attempt_in(self) -> float | None:
        """Seconds until the next attempt of an outage; None = it is not scheduled."""
        return None if self._pause_timer is None else max(0.0, self._pause_ends - self.clock())

    def stop(self) -> None:
        """Start nothing more, and abandon what is under way."""
        self._is_stopped = True
        for timer in (self._pause_timer, self._hedge_timer):
            if timer is not None:
                timer.cancel()
        self._pause_timer = self._hedge_timer = None
        self.abandon_all()

    def abandon_all(self) -> None:
        """Give up every attempt; the slot of each is free when its socket is closed."""
        for attempt in list(self._attempts):
            self._abandon(attempt)

    # ---------------------------------------------------------------------- start

    def grow(self) -> None:
        """Start as many attempts as demand, free slots and the policy allow."""
        if self._is_stopped or self._pause_timer is not None:
            return
        expected = self.expected
        wanted = self._wanted(expected)
        for _ in range(min(wanted, self.policy.parallel - expected)):
            if not self._start():
                if not self.expected:
                    self._abandon_one()
                break
        if self.demand.slots.waiters and self._hedge_timer is None:
            self._start_hedge_timer()

    def _wanted(self, expected: int) -> int:
        """How many attempts to start beside those expected, if nothing limits them."""
        wanted = self.demand.unserved() - expected
        missing = self.demand.missing() if wanted <= 0 else 0
        return missing if missing > 0 and self.policy.may_refill(self.clock()) else wanted

    def _start(self) -> bool:
        failed, shared = self._failed_checkouts(), self.shared
        entry = self.demand.begin_opening()
        if entry is None:
            return False
        deadline = Deadline(self.tasks.loop, self.connect_timeout)
        position = QueuePosition(self.demand.queue, self.demand.queue.joined)
        attempt = _Attempt(entry, self.clock(), failed, position, self.generation, deadline)
        self._attempts.append(attempt)
        job = connect(entry, shared.backend, shared.first_connect, deadline, position)
        on_done = partial(self._finish, attempt)
        in_thread = shared.backend.driver.works_in_thread
        attempt.task = self.tasks.spawn(job, "connect", on_done, in_thread=in_thread)
        return True

    # ------------------------------------------------------------------------ end

    def _finish(self, attempt: _Attempt, task: asyncio.Task[None]) -> None:
        """Account for the slot of an attempt that has ended, with any result."""
        was_abandoned = attempt in self._abandoned
        (self._abandoned if was_abandoned else self._attempts).remove(attempt)
        error = error_of(task)
        if error is None:
            self._succeeded(attempt)
            return
        self.demand.opening_failed(attempt.entry)
        if not task.cancelled():
            self._failed(attempt, error)
        elif not was_abandoned:
            # All tasks of the loop are being cancelled. Waiters that remain are served after that.
            self.policy.cancelled(self.clock())
            self.tasks.loop.call_soon(self.demand.serve_waiters, context=Context())
            return
        self.demand.serve_waiters()

    def _succeeded(self, attempt: _Attempt) -> None:
        now = self.clock()
        self.policy.succeeded(attempt.started, now)
        if self._attempts:
            self._abandon_superseded(attempt.started, now)
        is_current = attempt.generation == self.generation
        self.demand.opened(attempt.entry, attempt.started, is_current=is_current)
        self.policy.demand_after_success(remains=self.demand.unserved() > self.expected)
        self.demand.serve_waiters()
        if self.policy.outages.present is not None:
            self._end_outage(now)

    def _end_outage(self, now: float) -> None:
        ended = self.policy.outages.end(now, self._failed_checkouts())
        if ended is not None:
            OutageLog(self.shared, self.policy.outages).write_end(ended)

    def _abandon_superseded(self, success: float, now: float) -> None:
        starts = [each.started for each in self._attempts[: self._silent()]]
        superseded = self.policy.superseded(starts, success, now)
        for each in [self._attempts[index] for index in superseded]:
            self._abandon(each)

    def _failed(self, attempt: _Attempt, error: BaseException) -> None:
        now, kind = self.clock(), classify(error)
        decision = self.policy.failed(kind, attempt.started, now, self.demand.working())
        self.demand.counters.connect_failures += 1
        if not self.policy.is_outdated(attempt.started):
            self.policy.outages.failed(error, kind, attempt.start, now)
        self._refused += self._fail_waiters(error, decision.affected, attempt.position.joined)
        if decision.pause is not None and self._pause_timer is None:
            pause = decision.pause * random.uniform(1 - _JITTER, 1)
            self._pause_ends = now + pause
            self._pause_timer = call_later(self.tasks.loop, pause, self._end_pause)
        self._write_due_line(now)

    def _fail_waiters(self, error: BaseException, which: Affected, joined: int) -> int:
        if which is Affected.OLDEST:
            return self.demand.queue.fail_oldest(error, joined)
        if which is Affected.JOINED_BEFORE:
            return self.demand.queue.fail_all(error, joined=joined)
        return 0

    def _failed_checkouts(self) -> int:
        counters = self.demand.counters
        return self._refused + counters.timeouts + counters.saturated + counters.shed

    def _write_due_line(self, now: float) -> None:
        waiting, working = len(self.demand.slots.waiters), self.demand.working()
        log = OutageLog(self.shared, self.policy.outages)
        log.write_due_line(now, self._failed_checkouts(), waiting, working)

    def _end_pause(self) -> None:
        self._pause_timer = None
        self.demand.serve_waiters()

    # ------------------------------------------------------------------ hedging

    def _hedge(self) -> None:
        """Each second that waiters go unserved: a fresh attempt beside the silent ones."""
        self._hedge_timer = None
        if not self.demand.slots.waiters or self._is_stopped:
            return
        is_unserved = self.demand.counters.checkouts == self._served_before
        if is_unserved:
            self._note_silence()
        waited = self.demand.queue.longest_wait() >= HEDGE_INTERVAL
        all_silent = is_unserved and waited and self._pause_timer is None and not self.expected
        if all_silent and not self._start():
            self._abandon_one()  # its slot is free when its socket is closed
        self.grow()
        if self._hedge_timer is None:
            self._start_hedge_timer()

    def _start_hedge_timer(self) -> None:
        self._served_before = self.demand.counters.checkouts
        self._hedge_due = self.clock() + HEDGE_INTERVAL
        self._hedge_timer = call_later(self.tasks.loop, HEDGE_INTERVAL, self._hedge)

    def _note_silence(self) -> None:
        """Waiters go unserved because no attempt is answered, if that is so.

        A timer that is late shows that the loop was blocked; then nothing is known.
        """
        now = self.clock()
        if self._attempts and not self.expected and now - self._hedge_due < _HEDGE_LATE:
            self.policy.outages.silent(self._attempts[0].start, now)
        self._write_due_line(now)

    def entries_being_opened(self) -> list[PoolEntry]:
        """The entries of all attempts in progress, also of those that are abandoned."""
        return [each.entry for each in (*self._attempts, *self._abandoned)]

    def _abandon_one(self) -> None:
        if self.shared.backend.driver.works_in_thread:
            return  # it opens a file: another attempt would be no faster
        starts = [each.started for each in self._attempts[:2]]  # the others are not looked at
        patience = self.policy.max_patience(self.connect_timeout, self.shared.timeout)
        index = self.policy.to_abandon(starts, self.clock(), patience)
        if index is not None:
            start = self._attempts[index].start
            self.policy.outages.silent(start, self.clock(), is_abandoned=True)
            self._abandon(self._attempts[index])

    def _abandon(self, attempt: _Attempt) -> None:
        """Count on it no more; its slot is free when its socket is closed."""
        self._attempts.remove(attempt)
        self._abandoned.append(attempt)
        attempt.deadline.cancel_task(attempt.task)
