"""The one way a connection is opened, for waiters and for the floor alike.

Attempts are tasks of the pool, so a borrower's cancellation does not touch them;
what they bring goes to the oldest waiter or to the idle ones. Growth is slow at
first: two attempts, doubling with each success while somebody still waits. A
short spike on warm connections is over before a third one is needed.

During an outage attempts are repeated in the background with a growing pause
while waiters are kept (``pool_connect_retry``); a silent attempt is not waited
for, a fresh one is started beside it.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from typing import TYPE_CHECKING, Any, cast

from sqla_typedpool._sqlalchemy import greenlet_spawn
from sqla_typedpool.errors import copy_error
from sqla_typedpool.pool.alarm import Alarm, later
from sqla_typedpool.pool.leftovers import release_half_made
from sqla_typedpool.pool.outage import Kind, classify

if TYPE_CHECKING:
    from sqla_typedpool.pool.record import TypedRecord
    from sqla_typedpool.pool.station import LoopWaiter, Station

__all__ = ["Connector"]

_WIDTH, _WIDEST = 2, 1024  # attempts at a time: to begin with, and ever
# Seconds between attempts in an outage: a fifth of its age, so that a short one is
# not prolonged by much, and a long one not answered with a storm.
_PAUSE_MIN, _PAUSE_MAX, _PAUSE_SHARE = 0.01, 1.0, 0.2
_PAUSE_FATAL = 0.1  # before the next waiter is told of an error nothing will mend
_REFILL_MIN, _REFILL_MAX = 1.0, 30.0  # seconds between attempts nobody waits for
_NUDGE = 1.0  # seconds that waiters go unserved before a fresh attempt is started
_SLOWEST = 3.0  # the most before an attempt counts as silent, on a slow server
_FORGET = 30.0  # seconds without a failed attempt after which an outage is over


class Attempt:
    """One connection being opened."""

    __slots__ = (
        "generation",
        "has_turn",
        "is_made",
        "is_shell",
        "record",
        "started",
        "task",
        "timed_out",
        "timer",
    )

    task: asyncio.Task[None]
    timer: Alarm

    def __init__(self, record: TypedRecord, started: float, generation: int) -> None:
        self.record = record
        self.is_shell = bool(record.starttime)  # it has been connected before
        self.started = started
        self.generation = generation
        self.timed_out = self.has_turn = False
        self.is_made = False  # opened, its events fired, looked at: all of it


class Connector:
    """Opens the connections of one station."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._live: list[Attempt] = []  # those not given up, the oldest first
        self._width = _WIDTH
        self._patience = _NUDGE
        self._pausing: asyncio.TimerHandle | None = None
        self._nudging: asyncio.TimerHandle | None = None
        self._served_before = 0
        self._stopped = False
        self._outage_since: float | None = None
        self._last_failure_at = float("-inf")
        self._proven_at = float("-inf")  # when the latest attempt that succeeded had begun
        self._silent_after = _NUDGE  # an attempt this old is not counted on
        # when the last one ended, how long it was, its last error
        self._last_outage = (float("-inf"), 0.0, "")
        self._failures = 0
        self._refill_at = float("-inf")  # the floor is not worth a storm of attempts
        self._refill_pause = _REFILL_MIN
        self.bound = station.pool.database.connect_timeout()
        self.last_error: BaseException | None = None
        """The latest failure since the latest success."""

    @property
    def promising(self) -> int:
        """Attempts that waiters may count on: those not silent for long."""
        oldest = self._station.clock() - self._silent_after
        return sum(attempt.started > oldest for attempt in self._live)

    def is_opening(self, connection: Any) -> bool:
        """Whether an attempt has made it and is not through with its events."""
        return any(attempt.record.dbapi_connection is connection for attempt in self._live)

    def in_outage(self) -> bool:
        return self._outage_since is not None and bool(self._live or self._pausing)

    def explain(self, since: float) -> str:
        """Why a checkout that began then was slow, for a log line."""
        ended, seconds, error = self._last_outage
        if ended >= since:
            return f"; no connection could be opened for {seconds:.2f} s: {error}"
        return "" if self.last_error is None else f"; last connect error: {self.last_error!r}"

    def stop(self) -> None:
        """Begin nothing more; give up what is under way."""
        self._stopped = True
        for timer in (self._pausing, self._nudging):
            if timer is not None:
                timer.cancel()
        self._pausing = self._nudging = None
        for attempt in list(self._live):
            self._abandon(attempt)

    # ------------------------------------------------------------------ begin

    def grow(self) -> None:
        """Begin as many attempts as demand, room and width allow."""
        if self._stopped or self._pausing is not None:
            return
        while self.promising < self._width and self._is_wanted():
            if not self._station.slots.has_room() and not self.promising:
                self._make_room()
            if not self._may_open():
                break
            self._begin()
        if self._station.slots.waiters and self._nudging is None:
            self._served_before = self._station.tally.checkouts
            self._nudging = later(self._station.loop, _NUDGE, self._nudge)

    def _is_wanted(self) -> bool:
        station = self._station
        return station.unserved() > 0 or (
            station.keeper.gap() > 0 and station.clock() >= self._refill_at
        )

    def _may_open(self) -> bool:
        station = self._station
        if not station.slots.has_room():
            return False
        fault = station.pool.database.forbids_another(station.slots.total())
        if fault is not None:
            station.slots.fail_oldest(fault)
            return False
        return True

    def _begin(self) -> None:
        station = self._station
        attempt = Attempt(station.empty_record(), station.clock(), station.generation)
        station.slots.opening += 1
        self._live.append(attempt)
        attempt.task = station.tasks.spawn(
            self._run(attempt),
            "connect",
            lambda: self._finish(attempt, None),
            patient=station.pool.database.driver.connects_in_thread,
        )
        attempt.timer = Alarm(station.loop, self.bound, self._time_out, attempt)

    async def _run(self, attempt: Attempt) -> None:
        """Open one connection. Whatever happens, the slot is accounted for."""
        error: BaseException | None = None
        try:
            await self._station.pool.first_turn.wait(self._station)
            attempt.has_turn = True
            await greenlet_spawn(attempt.record.open)
            self._station.look_at(attempt.record)
            attempt.is_made = True
        except asyncio.CancelledError as cancelled:
            self._let_go(cancelled)
            # psycopg's half-made connection lives in these frames, and its socket
            # would stay open until the garbage collector comes
            traceback.clear_frames(cancelled.__traceback__)
            error = self._meaning_of_cancel(attempt)
        except GeneratorExit as ended:  # the loop was closed by hand
            traceback.clear_frames(ended.__traceback__)
            raise
        except BaseException as problem:  # noqa: BLE001 - whatever it is, a waiter gets it
            error = problem
            self._let_go(problem)
        self._finish(attempt, error)

    def _let_go(self, error: BaseException) -> None:
        if self._station.loop.is_closed():
            release_half_made(error)

    def _finish(self, attempt: Attempt, error: BaseException | None) -> None:
        attempt.timer.cancel()
        from_outside = error is None and attempt in self._live
        if attempt in self._live:
            self._live.remove(attempt)
        self._station.slots.opening -= 1
        if not attempt.is_made and attempt.record.dbapi_connection is not None:
            # its record goes with it: the closer may be at it for a while
            attempt.is_shell = False
            self._station.closer.drop(attempt.record, "half made")
        if attempt.has_turn:
            self._station.pool.first_turn.leave(self._station, attempt.is_made)
        if attempt.is_made:
            self._succeeded(attempt)
        else:
            self._failed(attempt, error, from_outside)

    def _meaning_of_cancel(self, attempt: Attempt) -> BaseException | None:
        if not attempt.timed_out:
            return None
        return TimeoutError(
            f"no connection after {self.bound:g} s (pool_connect_timeout): "
            f"the server does not answer"
        )

    # -------------------------------------------------------------------- end

    def _succeeded(self, attempt: Attempt) -> None:
        station = self._station
        now = station.clock()
        station.stamp(attempt.record, now)
        if attempt.generation != station.generation or station.disposed:
            attempt.record.condemn(station.ends_as)
        station.tally.connect_time.add(now - attempt.started)
        self._report_recovered(now)
        self._note_success(attempt, now)
        self._outage_since = self.last_error = None
        self._failures = 0
        self._patience = _NUDGE
        self._refill_at, self._refill_pause = float("-inf"), _REFILL_MIN
        station.place(attempt.record, verified=True)
        self._width = min(self._width * 2, _WIDEST) if station.unserved() > 0 else _WIDTH
        station.stir()

    def _note_success(self, attempt: Attempt, now: float) -> None:
        """What hangs since before is given up, and what comes of it says nothing any more."""
        self._proven_at = max(self._proven_at, attempt.started)
        self._silent_after = min(max(_NUDGE, 2 * (now - attempt.started)), _SLOWEST)
        for other in list(self._live):
            if other.started < attempt.started and now - other.started >= self._silent_after:
                self._abandon(other)

    def _failed(self, attempt: Attempt, error: BaseException | None, from_outside: bool) -> None:
        station = self._station
        if attempt.is_shell:
            station.shelve(attempt.record)
        if from_outside:
            # Somebody cancels every task of the loop. Whoever still waits then is
            # served; the floor can wait, most likely the loop is ending.
            self._refill_at = station.clock() + _REFILL_MIN
            station.stir_soon()
            return
        if error is not None and attempt.started < self._proven_at:
            station.tally.connect_failures += 1  # the server has answered since
        elif error is not None:
            self._width = 1
            self._failures += 1
            self.last_error = error
            station.tally.connect_failures += 1
            self._refill_at = station.clock() + self._refill_pause
            self._refill_pause = min(self._refill_pause * 2, _REFILL_MAX)
            self._decide(error, attempt.started)
        station.stir()

    def _decide(self, error: BaseException, started: float) -> None:
        """Keep the waiters, or tell them."""
        kind = classify(error)
        slots, now = self._station.slots, self._station.clock()
        if kind is Kind.FATAL:
            # a connection that is out may still come back and serve the others
            self._tell(error, everybody=slots.in_use == 0)
            if slots.in_use:
                self._pause_for(_PAUSE_FATAL)
            return
        if self._outage_since is None or now - self._last_failure_at > _FORGET:
            self._outage_since = now
        self._last_failure_at = now
        left = self._outage_since + self._station.options.pool_connect_retry - now
        pause = max(_PAUSE_MIN, min(_PAUSE_MAX, (now - self._outage_since) * _PAUSE_SHARE))
        if left > _PAUSE_MIN:
            self._pause_for(min(left, pause))
        elif kind is Kind.FULL and slots.in_use > 0:
            self._pause_for(pause)
        else:
            self._tell_those_since(error, started)

    def _tell(self, error: BaseException, *, everybody: bool) -> None:
        slots = self._station.slots
        while slots.fail_oldest(copy_error(error)) and everybody:
            pass

    def _tell_those_since(self, error: BaseException, started: float) -> None:
        """Those who came while the attempt was under way shall have a fresh one: it may
        have hung for long, and the network be back."""
        slots = self._station.slots
        for waiter in list(slots.waiters):
            if cast("LoopWaiter", waiter).since <= started:
                slots.leave(waiter)
                waiter.fail(copy_error(error))

    def _report_recovered(self, now: float) -> None:
        if self._outage_since is None:
            return
        self._last_outage = (now, now - self._outage_since, repr(self.last_error))
        self._station.pool.log.warning(
            "recovered: connected again after %.2f s and %d failed attempts",
            now - self._outage_since,
            self._failures,
            extra={
                "outage_seconds": now - self._outage_since,
                "failed_attempts": self._failures,
            },
        )

    # ----------------------------------------------------------------- outages

    def _pause_for(self, seconds: float) -> None:
        if self._pausing is None:
            delay = seconds * random.uniform(0.8, 1.0)
            self._pausing = later(self._station.loop, delay, self._resume_attempts)

    def _resume_attempts(self) -> None:
        self._pausing = None
        self._station.stir()

    def _nudge(self) -> None:
        """Each second that waiters go unserved: a fresh attempt beside the silent ones."""
        self._nudging = None
        station = self._station
        if not station.slots.waiters or self._stopped:
            return
        unserved = station.tally.checkouts == self._served_before
        if unserved and self._pausing is None and station.longest_wait() >= _NUDGE:
            self._start_beside()
        self.grow()
        self._served_before = station.tally.checkouts
        if self._nudging is None:
            self._nudging = later(station.loop, _NUDGE, self._nudge)

    def _start_beside(self) -> None:
        if self.promising:
            return
        if not self._station.slots.has_room():
            self._make_room()
        elif self._may_open():
            self._begin()

    def _make_room(self) -> None:
        """Give up a silent attempt for a fresh one. The oldest has more patience than the
        others: the server may just be slow."""
        now = self._station.clock()
        silent = [each for each in self._live if now - each.started >= self._silent_after]
        if len(silent) > 1:
            self._abandon(silent[1])
        elif silent and now - silent[0].started >= self._patience:
            self._patience = min(self._patience * 2, self._most_patience())
            self._abandon(silent[0])

    def _most_patience(self) -> float:
        """A single slot's: whoever comes next needs time for a fresh attempt."""
        timeout: float | None = self._station.pool._timeout
        if timeout is None or timeout <= 0:
            return self.bound
        return min(self.bound, max(_NUDGE, timeout * 0.8))

    def _abandon(self, attempt: Attempt) -> None:
        """Count on it no more; its slot is free when its socket is closed."""
        self._live.remove(attempt)
        self._insist(attempt)

    def _time_out(self, attempt: Attempt) -> None:
        attempt.timed_out = True
        self._insist(attempt)

    def _insist(self, attempt: Attempt) -> None:
        """Cancel, and again each second, should the driver swallow it."""
        attempt.timer.cancel()
        if not attempt.task.done():
            attempt.task.cancel()
            attempt.timer = Alarm(self._station.loop, 1.0, self._insist, attempt)
