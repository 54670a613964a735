"""The state of the pool: its connections, its free slots and its waiters.

A slot is the right to one connection. Every slot is in one state, and only the
methods here change it::

    free -> opening -> reserved -> idle <-> in use
                       reserved -> in use (assigned to a waiter)
                       reserved -> validating -> reserved
                       reserved -> closing -> free
                                   in use -> reserved (returned)

``reserved`` means that the pool itself has the entry, and decides now on its next
state. Every state except ``free`` counts against the limit.

No caller takes a connection while others wait. They are served in the order of their arrival,
but for an overload, in which the pool serves the newest first.

This module is plain Python that cannot await, because a return may come from the
garbage collector, outside any greenlet. Between two awaits of an event loop each
transition is atomic, so nothing needs a lock.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)


class SlotWaiter(Protocol[E_contra]):
    """Somebody in the queue."""

    # Hand over a connection; False if this waiter does not wait any more.
    def serve(self, entry: E_contra) -> bool: ...

    # Hand over an error; False if this waiter does not wait any more.
    def fail(self, error: BaseException) -> bool: ...


@dataclass
class Limits:
    """How many connections may exist, and how many are kept while idle.

    All event loops of a pool share one object. SQLAlchemy's test helpers assign
    ``max_overflow`` after construction, so it is read at each use.
    """

    # ``pool_size``; 0 = no limit.
    size: int
    # Connections allowed beyond ``size``; -1 = no limit.
    max_overflow: int

    @property
    def max_total(self) -> float:
        """The most connections at a time; infinite = no limit."""
        if self.size == 0 or self.max_overflow < 0:
            return float("inf")
        return self.size + self.max_overflow


class WorkTime(NamedTuple):
    """For how long at least one connection has been in a state so far."""

    # The periods that have ended, in seconds.
    ended: float = 0.0
    # When the present period began; None = no connection is in the state.
    since: float | None = None

    def begun(self, now: float) -> WorkTime:
        """With a period that begins now."""
        return WorkTime(self.ended, now)

    def stopped(self, now: float) -> WorkTime:
        """With the present period ended now."""
        return WorkTime(self.until(now))

    def until(self, now: float) -> float:
        """All periods, in seconds."""
        return self.ended if self.since is None else self.ended + now - self.since


class Work(NamedTuple):
    """For how long connections have been opened and validated so far."""

    opening: WorkTime = WorkTime()
    validating: WorkTime = WorkTime()


class Slots(Generic[E]):
    """The slots of one event loop, and the queue for them."""

    def __init__(
        self, limits: Limits, *, lifo: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.work = Work()
        self.max_idle: float = limits.size or float("inf")
        self.idle: deque[E] = deque()  # in the order of their last use, the latest at the right
        self.next_index = -1 if lifo else 0  # of the idle entry that is checked out next
        self.waiters: OrderedDict[SlotWaiter[E], None] = OrderedDict()
        self.total = 0  # slots that are not free; those in no other state are in use
        self.opening = 0
        self.reserved = 0
        self.validating = 0
        self.closing = 0
        # The two changes of every request are methods of the deque itself, without a call between:
        # idle -> in use, of ``idle[next_index]``
        self.checkout: Callable[[], E] = self.idle.pop if lifo else self.idle.popleft
        # in use -> idle, if no waiter is queued and fewer than ``max_idle`` are idle
        self.checkin_idle: Callable[[E], None] = self.idle.append

    @property
    def in_use(self) -> int:
        """How many connections are checked out."""
        working = self.opening + self.reserved + self.validating + self.closing
        return self.total - len(self.idle) - working

    def has_free(self) -> bool:
        """Whether one more connection may be opened."""
        return self.total < self.limits.max_total

    def needs_return(self) -> bool:
        """Whether one of the waiters depends on a return: the slots not in use do not suffice."""
        return len(self.waiters) > self.limits.max_total - self.in_use

    # ------------------------------------------------------------------ check in

    def checkin(self) -> None:
        """in use -> reserved."""
        self.reserved += 1

    # ------------------------------------------------------------------ reserved

    def reserve(self, entry: E) -> bool:
        """idle -> reserved; False if the entry is not idle."""
        idle = self.idle
        if idle and idle[-1] is entry:  # ``remove`` looks for it from the left
            idle.pop()
        else:
            try:
                idle.remove(entry)
            except ValueError:
                return False
        self.reserved += 1
        return True

    def assign(self, entry: E, *, newest: bool = False) -> bool:
        """reserved -> in use by the oldest or the newest waiter; False if there is no waiter."""
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=newest)
            if waiter.serve(entry):
                self.reserved -= 1
                return True
        return False

    def park(self, entry: E, index: int | None = None) -> None:
        """reserved -> idle: as the latest, or at this index."""
        self.reserved -= 1
        self.idle.insert(len(self.idle) if index is None else index, entry)

    def release_empty(self) -> None:
        """reserved -> free: the entry has no connection."""
        self.reserved -= 1
        self.total -= 1

    # ------------------------------------------------- opening, validating, closing

    def start_opening(self) -> None:
        """free -> opening."""
        if not self.opening:
            self.work = self.work._replace(opening=self.work.opening.begun(self.clock()))
        self.opening += 1
        self.total += 1

    def opened(self) -> None:
        """opening -> reserved."""
        self._end_opening()
        self.reserved += 1

    def opening_failed(self) -> None:
        """opening -> free."""
        self._end_opening()
        self.total -= 1

    def _end_opening(self) -> None:
        self.opening -= 1
        if not self.opening:
            self.work = self.work._replace(opening=self.work.opening.stopped(self.clock()))

    def start_validating(self) -> None:
        """reserved -> validating."""
        if not self.validating:
            self.work = self.work._replace(validating=self.work.validating.begun(self.clock()))
        self.reserved -= 1
        self.validating += 1

    def validated(self) -> None:
        """validating -> reserved, with any result."""
        self.validating -= 1
        self.reserved += 1
        if not self.validating:
            self.work = self.work._replace(validating=self.work.validating.stopped(self.clock()))

    def start_closing(self) -> None:
        """reserved -> closing."""
        self.reserved -= 1
        self.closing += 1

    def start_terminating(self) -> None:
        """free -> closing: of a connection whose entry is still in use, without it."""
        self.closing += 1
        self.total += 1

    def closed(self) -> None:
        """closing -> free."""
        self.closing -= 1
        self.total -= 1

    # --------------------------------------------------------------------- queue

    def enqueue(self, waiter: SlotWaiter[E]) -> None:
        """Add a waiter at the end of the queue."""
        self.waiters[waiter] = None

    def enqueue_again(
        self, waiter: SlotWaiter[E], *, first: bool, beyond: Sequence[SlotWaiter[E]] = ()
    ) -> None:
        """Add a waiter again, as the connection that it got was unusable.

        :param first: at the beginning of the queue, instead of at its end.
        :param beyond: those that stay between it and that end, the outermost first.
        """
        self.waiters[waiter] = None
        if first:
            self.waiters.move_to_end(waiter, last=False)
        for other in reversed(beyond):
            self.waiters.move_to_end(other, last=not first)

    def dequeue(self, waiter: SlotWaiter[E]) -> None:
        """Remove a waiter, wherever it stands; no error if it is not there."""
        self.waiters.pop(waiter, None)

    def position_of(self, waiter: SlotWaiter[E], limit: int, *, newest: bool = False) -> int:
        """How many waiters are before this one in the order of service; at most ``limit``.

        :param newest: the newest is served first.
        """
        if not newest and next(iter(self.waiters), None) is waiter:
            return 0
        order = reversed(self.waiters) if newest else iter(self.waiters)
        for position, other in enumerate(list(islice(order, limit))):
            if other is waiter:
                return position
        return limit

    def fail_oldest(self, error: BaseException) -> bool:
        """End the wait of the oldest waiter with an error; False if there is no waiter."""
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=False)
            if waiter.fail(error):
                return True
        return False
