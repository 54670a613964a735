"""One event loop's part of the pool: how a connection is got and given back.

The story of a checkout: the pool takes what is at hand; else ``acquire``: queue
up, ``stir`` somebody to work for the queue (validate an idle connection, open a
new one), and wait for whichever comes first. The story of a return: it is idle
again, or ``take_back`` finds the place for it; neither awaits.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import current_task
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from sqla_typedpool._sqlalchemy import await_only
from sqla_typedpool.errors import PoolClosed, PoolSaturated
from sqla_typedpool.pool import loops
from sqla_typedpool.pool.alarm import Alarm
from sqla_typedpool.pool.closer import Closer
from sqla_typedpool.pool.connector import Connector
from sqla_typedpool.pool.drivers import Probe, Session
from sqla_typedpool.pool.failover import Failover
from sqla_typedpool.pool.house import House
from sqla_typedpool.pool.keeper import Keeper
from sqla_typedpool.pool.killer import Killer
from sqla_typedpool.pool.liveness import Liveness
from sqla_typedpool.pool.renewal import Renewal
from sqla_typedpool.pool.tasks import Tasks

if TYPE_CHECKING:
    from sqla_typedpool.pool.pool import TypedPool
    from sqla_typedpool.pool.record import TypedRecord

__all__ = ["LoopWaiter", "Station"]

_NEVER = float("inf")


def _clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    # asyncio's loops keep monotonic time; a loop of a test may move it. uvloop's
    # time stands still within one iteration.
    own = getattr(type(loop), "time", None)
    is_moved = isinstance(loop, asyncio.BaseEventLoop) and own is not asyncio.BaseEventLoop.time
    return loop.time if is_moved else time.monotonic


def _ring(station: ref[Station]) -> None:
    alive = station()
    if alive is not None:
        alive.ring()


class LoopWaiter:
    """One task in the queue."""

    __slots__ = ("deadline", "future", "since", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop, since: float) -> None:
        self.deadline = _NEVER
        self.future: asyncio.Future[TypedRecord] = loop.create_future()
        self.since = since
        self.task = current_task(loop)

    def serve(self, record: TypedRecord) -> bool:
        if self.future.done():
            return False
        self.future.set_result(record)
        return True

    def fail(self, error: BaseException) -> bool:
        if self.future.done():
            return False
        self.future.set_exception(error)
        return True


class Station(House):
    """The slots, queue, connector and keeper of one event loop."""

    def __init__(self, pool: TypedPool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(pool, _clock_of(loop))
        self.loop: asyncio.AbstractEventLoop = loop
        self.disposed = False  # dispose() was called, and nobody has asked since
        self.refusing = pool.is_closed  # hand out nothing more
        self.tasks = Tasks(loop, pool.log)
        self._returned: asyncio.Future[None] | None = None  # drain() waits for a return
        self._alarm: Alarm | None = None
        self._alarm_due = _NEVER
        self.suspect_since = -_NEVER  # when a connection was last found dead
        self.closer = Closer(self)
        self.liveness = Liveness(self)
        self.connector = Connector(self)
        self.keeper = Keeper(self)
        self.renewal = Renewal(self)
        self.failover = Failover(self)
        self.killer = Killer(self)
        loops.watch(self)

    # ------------------------------------------------------------------ checkout

    def reject(self, record: TypedRecord, verdict: int) -> None:
        """The local probe spoke against the idle connection that stands next."""
        if verdict == Probe.DOUBTFUL:
            record.verified_at = -_NEVER  # to be pinged
        else:
            self.slots.claim(record)
            self.closer.drop(record, "dead")

    async def acquire(self) -> TypedRecord:
        """Wait for a connection: a return, a connect or a ping, whichever is first.

        :raises PoolTimeout: when ``pool_timeout`` has passed.
        :raises PoolSaturated: when ``pool_max_waiting`` callers wait already.
        :raises PoolClosed: when the pool is closed.
        """
        started = self.clock()
        waiter = LoopWaiter(self.loop, started)
        self._admit(waiter)
        self.keeper.start()
        self.disposed = False
        self._join(waiter)
        try:
            while True:
                self.stir()
                record = await waiter.future
                now = self.clock()
                if self._is_usable(record):
                    break
                waiter.future = self.loop.create_future()
                self._join(waiter, first=True)
        except BaseException as error:
            self._withdraw(waiter, error)
            raise
        self.hand_out(record, now, current_task(self.loop))
        self._served(started, now)
        return record

    def checkout(self) -> TypedRecord:
        """``acquire`` for code in a greenlet."""
        return await_only(self.acquire())

    def _admit(self, waiter: LoopWaiter) -> None:
        """Refuse a newcomer, or start the clock of its deadline."""
        slots, options, timeout = self.slots, self.options, self.pool._timeout
        if self.refusing:
            raise PoolClosed("this pool was closed with close(); engine.dispose() starts a new one")
        if options.pool_max_waiting is not None:
            self._refuse_if_saturated(options.pool_max_waiting)
        if timeout is None:
            return
        if timeout <= 0:
            # do not queue; but an open slot may still connect
            if len(slots.waiters) >= slots.limits.most - slots.in_use:
                raise self._timed_out(waiter, "queueing")
            timeout = self.connector.bound
        waiter.deadline = waiter.since + timeout

    def _refuse_if_saturated(self, most: int) -> None:
        # Those whom a slot not in use will serve are not waiting for a holder.
        waiting, slots = len(self.slots.waiters), self.slots
        if waiting >= most + max(0, slots.limits.most - slots.in_use):
            self.tally.saturated += 1
            raise PoolSaturated(
                f"{waiting} callers wait for a connection already (pool_max_waiting={most}); "
                f"{slots.in_use} in use; next: shed load, or raise pool_size or pool_max_waiting"
            )

    def _join(self, waiter: LoopWaiter, *, first: bool = False) -> None:
        self.slots.join(waiter, first=first)
        if waiter.deadline < self._alarm_due:
            self._set_alarm(waiter.deadline)

    def _set_alarm(self, due: float) -> None:
        """One timer serves the whole queue: deadlines come in the order of arrival."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_due = due
        self._alarm = Alarm(self.loop, max(0.0, due - self.clock()), _ring, ref(self))

    def ring(self) -> None:
        """The earliest deadline has come, unless its waiter was served long ago."""
        self._alarm, self._alarm_due = None, _NEVER
        now = self.clock()
        waiters = [cast(LoopWaiter, waiter) for waiter in self.slots.waiters]
        for waiter in waiters:
            if waiter.deadline <= now and not waiter.future.done():
                self._expire(waiter)
        due = min((each.deadline for each in waiters if each.deadline > now), default=_NEVER)
        if due < _NEVER:
            self._set_alarm(due)

    def _expire(self, waiter: LoopWaiter) -> None:
        stage = self._stage_of(waiter)
        error = self._timed_out(waiter, stage)
        self.slots.leave(waiter)
        waiter.fail(error)

    def _timed_out(self, waiter: LoopWaiter, stage: str) -> BaseException:
        waited = self.clock() - waiter.since
        self.tally.timeouts += 1
        error = self.timeout_error(stage, waited, waiter.task)
        error.__cause__ = self.connector.last_error
        return error

    def too_late(self, since: float) -> BaseException:
        """The error of a renewal that took too long."""
        return self._timed_out(LoopWaiter(self.loop, since), "connecting")

    def _stage_of(self, waiter: LoopWaiter) -> str:
        """What somebody does for this waiter just now."""
        place = self.slots.place_of(waiter)
        if place < self.slots.validating:
            return "validating"
        working = self.slots.validating + self.slots.opening
        return "connecting" if place < working or self.connector.in_outage() else "queueing"

    def _is_usable(self, record: TypedRecord) -> bool:
        """The local probe, between hand-over and use: the task had to wake up first."""
        verdict = record.probe()
        if not verdict or (verdict == Probe.DOUBTFUL and record.answered):
            return True
        self.slots.in_use -= 1
        if verdict == Probe.DEAD:
            self.closer.drop(record, "dead")
        else:
            self.liveness.ping(record)
        return False

    def _withdraw(self, waiter: LoopWaiter, error: BaseException) -> None:
        """This one no longer waits; what it was given at that instant goes on."""
        self.slots.leave(waiter)
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            self.tally.cancelled += 1
        if waiter.future.done() and not waiter.future.cancelled():
            if waiter.future.exception() is None:
                self.slots.in_use -= 1
                self.place(waiter.future.result())
        else:
            waiter.future.cancel()

    def _served(self, since: float, now: float) -> None:
        waited = now - since
        self.tally.wait_time.add(waited)
        slow = self.options.pool_slow_checkout
        if slow is not None and waited > slow:
            self.pool.log.warning(
                "slow checkout: %.2f s (threshold %.2f s); %d in use, %d connecting, %d waiting%s",
                waited,
                slow,
                self.slots.in_use,
                self.slots.opening,
                len(self.slots.waiters),
                self.connector.explain(since),
                extra={"waited_seconds": waited, "threshold_seconds": slow},
            )

    # -------------------------------------------------------------------- return

    def take_back(self, record: TypedRecord, now: float) -> None:
        """(in hand) -> wherever it belongs, when that is not just idle. Never awaits."""
        if self._returned is not None and not self._returned.done():
            self._returned.set_result(None)
        if record.dbapi_connection is None:
            self._take_empty(record)
        elif now < record.expires_at or (self.slots.waiters and record.leaves_as == "dispose"):
            # After dispose() waiters come first: else they would wait for a new
            # connection only to see it closed on its return, and so on.
            self.place(record)
        elif self.failover.is_doubted(record):
            self.liveness.ping(record)
        else:
            # Also with waiters, or in a busy pool it would live for ever.
            self.closer.close(record, record.leaves_as)

    def _take_empty(self, record: TypedRecord) -> None:
        """It was invalidated or detached: only the slot comes back."""
        self.forget(record, "detached")
        if not record.spoiled:
            self.shelve(record)
        self.stir()

    def place(self, record: TypedRecord, *, verified: bool = False) -> None:
        """(in hand) -> the oldest waiter, a ping, idle, or closed."""
        slots, now = self.slots, self.clock()
        record.answered = verified
        if slots.waiters:
            if verified or now - record.verified_at < self.trusted_for:
                if slots.hand_over(record):
                    return
            elif now < record.expires_at:
                self.liveness.ping(record)
                return
        if now >= record.expires_at:
            self.closer.close(record, record.leaves_as)
        elif slots.is_surplus():
            self.closer.close(record, "overflow")
        else:
            slots.keep(record, self._place_by_age(record))

    def _place_by_age(self, record: TypedRecord) -> int:
        """Where it stands among the idle: a ping makes nothing younger."""
        idle = self.slots.idle
        place = len(idle)
        while place and idle[place - 1].idle_since > record.idle_since:
            place -= 1
        return place

    def stir(self) -> None:
        """Set somebody to work for every waiter, and for the floor."""
        while self.unserved() > 0:
            record = self.slots.next_idle()
            if record is None:
                break
            self.slots.claim(record)
            self.place(record)
        self.connector.grow()

    def stir_soon(self) -> None:
        """``stir``, when the tasks that are being cancelled just now have gone."""
        self.loop.call_soon(self.stir, context=Context())

    def longest_wait(self) -> float:
        """How long the oldest waiter has been waiting, in seconds."""
        for waiter in self.slots.waiters:
            return self.clock() - cast(LoopWaiter, waiter).since
        return 0.0

    def unserved(self) -> int:
        """Waiters nobody works for."""
        return len(self.slots.waiters) - self.liveness.promising - self.connector.promising

    def renew(self, record: TypedRecord) -> Any:
        return await_only(self.renewal.of(record))

    def kill(self, session: Session) -> None:
        self.killer.kill(session)

    # ------------------------------------------------------------------ for others

    async def fill(self, count: int) -> None:
        """Get so many connections at the same time, and give them back."""
        tasks = [asyncio.ensure_future(self.acquire()) for _ in range(count)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.add_done_callback(self._give_back_result)
                task.cancel()
            await asyncio.wait(tasks)

    def _give_back_result(self, task: asyncio.Task[TypedRecord]) -> None:
        if not task.cancelled() and task.exception() is None:
            self.pool.give_back(task.result())

    def next_return(self) -> asyncio.Future[None]:
        """Done when a connection comes back; whoever waits shares it."""
        if self._returned is None or self._returned.done():
            self._returned = self.loop.create_future()
        return self._returned

    def stop_alarm(self) -> None:
        """Nobody waits any more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm, self._alarm_due = None, _NEVER
