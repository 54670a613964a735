"""The waiters of one event loop, and their deadlines."""

from __future__ import annotations

import asyncio
import weakref
from asyncio import current_task
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Generic, TypeVar, cast

from sqla_typedpool._asyncio.timers import Timer
from sqla_typedpool.errors import copy_error
from sqla_typedpool.pool.call_limits import call_limit
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.slots import Slots

W = TypeVar("W")

# Waiters that get an error in one turn of the loop, at most.
MOST_PER_TURN = 100


class Waiter:
    """One task in the queue.

    :param since: when it began to wait.
    :param limit: how long it may wait, in seconds; None = without a limit.
    """

    __slots__ = (
        *("call", "deadline", "future", "has_rejoined", "limit", "number", "since"),
        *("task", "work_before"),
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        slots: Slots[PoolEntry],
        since: float,
        limit: float | None,
    ) -> None:
        self.since = since
        # The work on connections before it began to wait: what is added is done while it waits.
        self.work_before = slots.work
        self.limit = limit
        self.deadline = None if limit is None else since + limit
        self.number = 0  # in the order of joining, from 1
        self.has_rejoined = False  # the connection that it got was unusable
        self.future: asyncio.Future[PoolEntry] = loop.create_future()
        self.task = current_task(loop)
        # of the call that waits; the timer of the queue runs in another context
        self.call = call_limit.get()

    def serve(self, entry: PoolEntry) -> bool:
        if self.future.done():
            return False
        self.future.set_result(entry)
        return True

    def fail(self, error: BaseException) -> bool:
        if self.future.done():
            return False
        self.future.set_exception(error)
        return True


class Deadlines(Generic[W]):
    """Waiters in the order of their deadlines. Each operation takes constant time.

    There is one list for each limit of the waiting time. Waiters with the same limit reach
    their deadlines in the order in which they began to wait, so nothing has to be sorted. The
    limits come from the pool's options, so there are few of them.
    """

    def __init__(self) -> None:
        # limit in seconds -> waiter -> deadline
        self._lists: dict[float, OrderedDict[W, float]] = {}

    def add(self, waiter: W, limit: float, deadline: float) -> None:
        """Add a waiter that begins to wait.

        :param limit: how long it may wait, in seconds.
        """
        waiters = self._lists.get(limit)
        if waiters is None:
            waiters = self._lists[limit] = OrderedDict()
        waiters[waiter] = deadline

    def restore(self, waiter: W, limit: float, deadline: float) -> None:
        """Add a waiter that ``pop_due`` has taken out; nothing happens if it is still there."""
        waiters = self._lists.setdefault(limit, OrderedDict())
        if waiter not in waiters:
            waiters[waiter] = deadline
            waiters.move_to_end(waiter, last=False)  # its deadline has passed

    def discard(self, waiter: W, limit: float) -> None:
        """Remove a waiter; no error if it is not there."""
        waiters = self._lists.get(limit)
        if waiters is not None:
            waiters.pop(waiter, None)
            if not waiters:
                del self._lists[limit]

    def next_due(self) -> float | None:
        """The earliest deadline; None = there is none."""
        return min((next(iter(each.values())) for each in self._lists.values()), default=None)

    def pop_due(self, now: float) -> W | None:
        """Take out the waiter with the earliest deadline; None = it has not passed."""
        due = self.next_due()
        if due is None or due > now:
            return None
        for limit, waiters in self._lists.items():
            waiter, deadline = next(iter(waiters.items()))
            if deadline == due:
                self.discard(waiter, limit)
                return waiter
        return None


@dataclass(eq=False)
class WaitQueue:
    """Enqueues waiters, and fails those whose deadline passes.

    One timer serves the whole queue. The task of a waiter that fails runs in the next turn of
    the loop, so only ``MOST_PER_TURN`` waiters fail in one turn, and the others in the next ones.
    """

    slots: Slots[PoolEntry]
    loop: asyncio.AbstractEventLoop
    clock: Callable[[], float]
    # Makes the error of a waiter whose deadline has passed.
    timeout_error: Callable[[Waiter], BaseException]
    # How many waiters have joined so far. An attempt notes it at its start: its error concerns
    # no waiter who joins later. Times cannot tell, because a clock may stand still for a while.
    joined: int = field(default=0, init=False)
    # Of all waiters whose checkout has not ended: until then they may join again.
    deadlines: Deadlines[Waiter] = field(default_factory=Deadlines, init=False)
    _timer: Timer | None = field(default=None, init=False)
    _due: float | None = field(default=None, init=False)
    # Waiters that are out of the queue and get an error in one of the next turns.
    _failing: deque[tuple[Waiter, BaseException]] = field(default_factory=deque, init=False)
    _left: int = field(default=MOST_PER_TURN, init=False)  # that may fail in this turn

    def join(self, waiter: Waiter) -> None:
        """Enqueue a waiter."""
        self.joined = waiter.number = self.joined + 1
        if waiter.limit is not None and waiter.deadline is not None:
            self.deadlines.add(waiter, waiter.limit, waiter.deadline)
            if self._due is None or waiter.deadline < self._due:
                self._start_timer(waiter.deadline)
        self.slots.enqueue(waiter)

    def rejoin(self, waiter: Waiter, *, first: bool) -> None:
        """Enqueue a waiter again, as the connection that it got was unusable.

        :param first: at the beginning of the queue, instead of at its end.
        """
        if waiter.limit is not None and waiter.deadline is not None:
            self.deadlines.restore(waiter, waiter.limit, waiter.deadline)
            if self._due is None or waiter.deadline < self._due:
                self._start_timer(waiter.deadline)
        waiter.has_rejoined = True
        beyond = self._rejoined_beyond(waiter, first=first)
        self.slots.enqueue_again(waiter, first=first, beyond=beyond)

    def _rejoined_beyond(self, waiter: Waiter, *, first: bool) -> list[Waiter]:
        """Waiters that have rejoined already, and are served before this one in either order.

        Several connections often become unusable together, as when the server restarts.
        """
        queue = iter(self.slots.waiters) if first else reversed(self.slots.waiters)
        order = cast("Iterator[Waiter]", queue)
        return list(
            takewhile(
                lambda each: each.has_rejoined and (each.number < waiter.number) == first, order
            )
        )

    # --------------------------------------------------------------------- errors

    @property
    def is_failing(self) -> bool:
        """Whether waiters will get an error in the next turns of the loop."""
        return bool(self._failing)

    def fail_all(self, error: BaseException, *, joined: int | None = None) -> int:
        """Fail every waiter, or those of the first ``joined`` ones that still wait.

        All of them leave the queue now, so that no attempt is started for them any more.

        :return: how many waiters get the error.
        """
        last, failed = self.joined if joined is None else joined, 0
        for waiter in cast("list[Waiter]", list(self.slots.waiters)):
            if waiter.number <= last:
                failed += self._fail(waiter, error)
        self._tell()
        return failed

    def fail_oldest(self, error: BaseException, joined: int, *, count: int = 1) -> int:
        """Fail the oldest ``count`` waiters, as far as they are of the first ``joined`` ones.

        :return: how many waiters get the error.
        """
        failed = 0
        while failed < count and self.slots.waiters:
            oldest = cast(Waiter, next(iter(self.slots.waiters)))
            if oldest.number > joined:
                break
            failed += self._fail(oldest, error)
        self._tell()
        return failed

    def _fail(self, waiter: Waiter, error: BaseException) -> bool:
        """Remove a waiter, which gets a copy of the error; False if it does not wait any more."""
        self.slots.dequeue(waiter)
        if waiter.future.done():
            return False
        self._failing.append((waiter, error))
        return True

    def _tell(self) -> None:
        """Fail those that have left the queue, as many as may fail in this turn.

        Each gets a copy: one exception raised in many tasks would share its traceback.
        """
        while self._failing and self._left:
            waiter, error = self._failing.popleft()
            if waiter.fail(copy_error(error)):
                self._count_failed()

    def _count_failed(self) -> None:
        if self._left == MOST_PER_TURN:
            self.loop.call_soon(self._next_turn, context=Context())
        self._left -= 1

    def _next_turn(self) -> None:
        self._left = MOST_PER_TURN
        self._tell()
        if self._due is not None and self._due <= self.clock():
            self.expire()

    def longest_wait(self) -> float:
        """How long the oldest waiter has waited, in seconds."""
        for waiter in self.slots.waiters:
            return self.clock() - cast(Waiter, waiter).since
        return 0.0

    def still_waiting(self, most: int) -> int:
        """How many wait, at most ``most``.

        A cancelled waiter is in the queue until its task runs; those that are found leave it.
        """
        count, ended = 0, []
        for waiter in cast("OrderedDict[Waiter, None]", self.slots.waiters):
            if waiter.future.done():
                ended.append(waiter)
            else:
                count += 1
                if count == most:
                    break
        for each in ended:
            self.slots.dequeue(each)
        return count

    # ------------------------------------------------------------------ deadlines

    def expire(self) -> None:
        """Fail the waiters whose deadline has passed, and wait for the next deadline."""
        self.stop_timer()
        now = self.clock()
        while self._left and (waiter := self.deadlines.pop_due(now)) is not None:
            if waiter in self.slots.waiters and not waiter.future.done():
                error = self.timeout_error(waiter)  # it still counts among the waiters
                self.slots.dequeue(waiter)
                waiter.fail(error)
                self._count_failed()
        due = self.deadlines.next_due()
        if due is not None:
            self._start_timer(due)

    def stop_timer(self) -> None:
        """Stop the timer, as there are no waiters any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._due = None

    def _start_timer(self, due: float) -> None:
        self.stop_timer()
        self._due = due
        seconds = max(0.0, due - self.clock())
        self._timer = Timer(self.loop, seconds, _expire, weakref.ref(self))


def _expire(queue: weakref.ref[WaitQueue]) -> None:
    alive = queue()
    if alive is not None:
        alive.expire()
