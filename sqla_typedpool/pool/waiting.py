"""The waiters of one event loop, and their deadlines."""

from __future__ import annotations

import asyncio
import weakref
from asyncio import current_task
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

from sqla_typedpool._asyncio.timers import Timer
from sqla_typedpool.errors import copy_error
from sqla_typedpool.pool.call_limits import call_limit
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.slots import Slots


class Waiter:
    """One task in the queue."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        slots: Slots[PoolEntry],
        since: float,
        deadline: float | None,
    ) -> None:
        self.since = since
        # The work on connections before it began to wait: what is added is done while it waits.
        self.work_before = slots.work
        self.deadline = deadline
        self.number = 0  # in the order of joining, from 1
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


@dataclass(eq=False)
class WaitQueue:
    """Enqueues waiters, and fails those whose deadline passes.

    One timer serves the whole queue.
    """

    slots: Slots[PoolEntry]
    loop: asyncio.AbstractEventLoop
    clock: Callable[[], float]
    # Makes the error of a waiter whose deadline has passed.
    timeout_error: Callable[[Waiter], BaseException]
    # How many waiters have joined so far. An attempt notes it at its start: its error concerns
    # no waiter who joins later. Times cannot tell, because a clock may stand still for a while.
    joined: int = field(default=0, init=False)
    _timer: Timer | None = field(default=None, init=False)
    _due: float | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[Waiter]:
        return iter([cast(Waiter, waiter) for waiter in self.slots.waiters])

    def join(self, waiter: Waiter, *, first: bool = False) -> None:
        """Enqueue a waiter; ``first`` gives it its place back."""
        due = waiter.deadline
        if due is not None and (self._due is None or due < self._due):
            self._start_timer(due)
        if not first:
            self.joined += 1
            waiter.number = self.joined
        self.slots.enqueue(waiter, first=first)

    def fail_all(self, error: BaseException, *, joined: int | None = None) -> int:
        """Fail every waiter, or those of the first ``joined`` ones that still wait.

        Each gets a copy: one exception raised in many tasks would share its traceback.

        :return: how many waiters have got the error.
        """
        failed = 0
        for waiter in self:
            if joined is None or waiter.number <= joined:
                self.slots.dequeue(waiter)
                failed += waiter.fail(copy_error(error))
        return failed

    def fail_oldest(self, error: BaseException, joined: int) -> int:
        """Fail the oldest waiter, if it is one of the first ``joined`` ones.

        :return: how many waiters have got the error.
        """
        while self.slots.waiters:
            oldest = cast(Waiter, next(iter(self.slots.waiters)))
            if oldest.number > joined:
                break
            self.slots.dequeue(oldest)
            if oldest.fail(copy_error(error)):
                return 1
        return 0

    def longest_wait(self) -> float:
        """How long the oldest waiter has waited, in seconds."""
        for waiter in self.slots.waiters:
            return self.clock() - cast(Waiter, waiter).since
        return 0.0

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

    def expire(self) -> None:
        """Fail the waiters whose deadline has passed, and wait for the next deadline."""
        self._timer = self._due = None
        now = self.clock()
        for waiter in self:
            if waiter.deadline is not None and waiter.deadline <= now and not waiter.future.done():
                error = self.timeout_error(waiter)
                self.slots.dequeue(waiter)
                waiter.fail(error)
        later = [waiter.deadline for waiter in self if waiter.deadline is not None]
        if later:
            self._start_timer(min(later))


def _expire(queue: weakref.ref[WaitQueue]) -> None:
    alive = queue()
    if alive is not None:
        alive.expire()
