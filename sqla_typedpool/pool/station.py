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
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, cast

from sqla_typedpool._sqlalchemy import await_only, greenlet_spawn
from sqla_typedpool.errors import PoolClosed, PoolSaturated
from sqla_typedpool.pool import loops
from sqla_typedpool.pool.alarm import Alarm
from sqla_typedpool.pool.closer import Closer
from sqla_typedpool.pool.connector import Connector
from sqla_typedpool.pool.drivers import Probe, release
from sqla_typedpool.pool.holders import describe
from sqla_typedpool.pool.house import House
from sqla_typedpool.pool.keeper import Keeper
from sqla_typedpool.pool.liveness import Liveness

if TYPE_CHECKING:
    from sqla_typedpool.pool.pool import TypedPool
    from sqla_typedpool.pool.record import TypedRecord

__all__ = ["LoopWaiter", "Station"]

_CLOSE = "typedpool-close"
_NEVER = float("inf")


def _clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    # asyncio's loops keep monotonic time; a loop of a test may move it. uvloop's
    # time stands still within one iteration.
    own = getattr(type(loop), "time", None)
    is_moved = isinstance(loop, asyncio.BaseEventLoop) and own is not asyncio.BaseEventLoop.time
    return loop.time if is_moved else time.monotonic


async def _note(begun: list[bool], work: Coroutine[Any, Any, Any]) -> Any:
    begun.append(True)
    return await work


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
        self.refusing = pool.is_closed  # hand out nothing more
        self.tasks: set[asyncio.Task[Any]] = set()
        self._returned: asyncio.Future[None] | None = None  # drain() waits for a return
        self._alarm: Alarm | None = None
        self._alarm_due = _NEVER
        self.suspect_since = -_NEVER  # when a connection was last found dead
        self.closer = Closer(self)
        self.liveness = Liveness(self)
        self.connector = Connector(self)
        self.keeper = Keeper(self)
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
        self.connector.resume()
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
        self._alarm = Alarm(self.loop, max(0.0, due - self.clock()), self._ring)

    def _ring(self) -> None:
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

    def longest_wait(self) -> float:
        """How long the oldest waiter has been waiting, in seconds."""
        for waiter in self.slots.waiters:
            return self.clock() - cast(LoopWaiter, waiter).since
        return 0.0

    def unserved(self) -> int:
        """Waiters nobody works for."""
        return len(self.slots.waiters) - self.slots.validating - self.connector.promising

    # ------------------------------------------------------------------- renewal

    def renew(self, record: TypedRecord) -> Any:
        """Connect a checked-out record again, bounded, in a task of the pool's."""
        return await_only(self._renew(record))

    async def _renew(self, record: TypedRecord) -> Any:
        self.forget(record, "invalidated")
        timeout: float | None = self.pool._timeout
        bound = min(self.connector.bound, timeout) if timeout else self.connector.bound
        started = self.clock()
        task = self.spawn(self._reopen(record), "connect")
        # Should the borrower be gone before the task is, nobody may find a
        # half-filled record on the shelf, and its slot is not free yet.
        record.spoiled = True
        try:
            await asyncio.wait({task}, timeout=bound)
        finally:
            if not task.done():
                self.slots.opening += 1
                task.add_done_callback(lambda _: self._discard_late(record), context=Context())
                task.cancel()
        if not task.done():
            raise self.timeout_error("connecting", bound, None)
        record.spoiled = False
        connection = task.result()
        now = self.clock()
        self.stamp(record, now)
        self.tally.connect_time.add(now - started)
        return connection

    async def _reopen(self, record: TypedRecord) -> Any:
        if record.dbapi_connection is not None:  # softly invalidated
            await greenlet_spawn(record.close)
        while self.slots.total() > self.slots.limits.most and self.slots.closing:
            await self.settle(self.options.pool_reset_timeout)
        connection = await greenlet_spawn(record.open)
        self.look_at(record)
        return connection

    def _discard_late(self, record: TypedRecord) -> None:
        self.slots.opening -= 1
        if record.dbapi_connection is not None:
            self.closer.close(record, "invalidated")
        else:
            self.stir()

    # --------------------------------------------------------------------- tasks

    def spawn(
        self,
        work: Coroutine[Any, Any, Any],
        what: str,
        lost: Callable[[], object] | None = None,
    ) -> asyncio.Task[Any]:
        """A task of the pool's own, in no request's context.

        Not ``loop.create_task``: a task factory that starts tasks at once (eager
        ones) would enter another greenlet in the middle of this one.

        :param lost: called when the task was cancelled before its first step, so
            that not even a ``finally`` of its work has run.
        """
        begun: list[bool] = []
        task: asyncio.Task[Any] = Context().run(
            asyncio.Task, _note(begun, work), loop=self.loop, name=f"typedpool-{what}"
        )
        self.tasks.add(task)
        task.add_done_callback(
            lambda ended: self._ended(ended, begun, work, lost), context=Context()
        )
        return task

    def _ended(
        self,
        task: asyncio.Task[Any],
        begun: list[bool],
        work: Coroutine[Any, Any, Any],
        lost: Callable[[], object] | None,
    ) -> None:
        self.tasks.discard(task)
        if not begun:
            work.close()
            if lost is not None:
                lost()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.pool.log.debug("a task of the pool ended with %r", error)

    # ----------------------------------------------------------------------- end

    def refuse(self) -> None:
        """Hand out nothing more; those who wait are told at once."""
        self.refusing = True
        self._condemn_all("close")
        self.keeper.stop()
        self.connector.stop()
        while self.slots.fail_oldest(PoolClosed("this pool was closed while you waited")):
            pass
        if self._alarm is not None:
            self._alarm.cancel()
        self.empty_idle("close")

    def dispose(self) -> None:
        """Close what is idle; what is out is closed when it comes back."""
        self._condemn_all("dispose")
        self.keeper.stop()
        self.empty_idle("dispose")

    def _condemn_all(self, reason: str) -> None:
        self.generation += 1
        for record in self.records:
            record.condemn(reason)

    def retire_all(self) -> None:
        """Let every connection be replaced: idle ones now, the others on return."""
        for record in self.records:
            record.condemn("lifetime")
        for record in list(self.slots.idle):
            self.slots.claim(record)
            self.closer.close(record, "lifetime")

    def empty_idle(self, reason: str) -> None:
        """Close every idle connection, all at once, in the background."""
        self.shells.clear()
        while self.slots.idle:
            self.closer.close(self.slots.idle.pop(), reason)

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

    async def drain(self, seconds: float) -> None:
        """Wait for every connection that is out; close the rest by force."""
        deadline = self.clock() + seconds
        while self.slots.in_use and (left := deadline - self.clock()) > 0:
            if self._returned is None or self._returned.done():
                self._returned = self.loop.create_future()
            await asyncio.wait({self._returned}, timeout=left)
        if self.slots.in_use:
            self.pool.log.warning(
                "close: %d connections were still out after %.1f s and are closed by force; "
                "held by %s",
                self.slots.in_use,
                seconds,
                describe(self.holders(), most=self.slots.in_use),
                extra={"held": self.slots.in_use, "timeout_seconds": seconds},
            )
            self.drop_all("close")
        await self.quiet(self.options.pool_reset_timeout)

    async def settle(self, seconds: float) -> None:
        """Wait until what is being closed is closed, at most so long."""
        closing = {task for task in self.tasks if task.get_name() == _CLOSE}
        if closing:
            await asyncio.wait(closing, timeout=seconds)

    async def quiet(self, seconds: float) -> None:
        """Wait until no task of the pool runs any more, at most so long."""
        deadline = self.clock() + seconds
        while self.tasks and (left := deadline - self.clock()) > 0:
            await asyncio.wait(set(self.tasks), timeout=left)
            await asyncio.sleep(0)  # let the callbacks of those tasks begin new ones

    def drop_all(self, reason: str) -> None:
        """Force-close every connection, in use or not."""
        for record in list(self.records):
            self.closer.drop(record, reason)

    async def end(self) -> None:
        """The loop is about to close: leave nothing open in it."""
        self.keeper.stop()
        self.connector.stop()
        self._condemn_all("loop")
        self.empty_idle("loop")
        await self.quiet(self.options.pool_reset_timeout)
        self.drop_all("loop")
        for task in self.tasks:
            task.cancel()
        self.pool.houses.part_with(self)
        await asyncio.sleep(0)  # transports tell of their end one round later

    def abandon(self) -> None:
        """The loop has closed without a word: let go of its sockets, without I/O."""
        for record in list(self.records):
            self.forget(record, "loop")
            if record.dbapi_connection is not None:
                release(self.pool._dialect, record.dbapi_connection)
                record.dbapi_connection = None
        self.slots.idle.clear()
        self.tasks.clear()
        self.pool.houses.part_with(self)
