"""Who has which connection, and who waits for one: the pool's only state.

Everything here is plain Python that cannot await, because a return may come from
the garbage collector, outside any greenlet, with an empty record. Between two
awaits of an event loop every transition is atomic; nothing needs a lock.

A slot is in one of five states, and only the methods here move it::

    (free) -> opening -> idle <-> in use
                          |         |
                      validating  closing -> (free)

``waiters`` is a queue: first come, first served. A newcomer never takes a
connection while somebody waits.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["Limits", "Slots", "Waiter"]

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class Waiter(Protocol[R_contra]):
    """Somebody who waits for a connection."""

    def serve(self, record: R_contra) -> bool:
        """Hand over a connection; False when the waiter has gone already."""
        ...

    def fail(self, error: BaseException) -> bool:
        """Hand over an error; False when the waiter has gone already."""
        ...


@dataclass
class Limits:
    """How many connections may exist and how many are kept while idle.

    Shared by all event loops of one pool; SQLAlchemy's own helpers assign
    ``max_overflow`` after construction, so it is read at each use.
    """

    size: int
    max_overflow: int

    def __post_init__(self) -> None:
        self.kept: float = self.size or float("inf")
        """The largest number kept while idle."""

    @property
    def most(self) -> float:
        """The largest number of connections at a time (infinite = no limit)."""
        if self.size == 0 or self.max_overflow < 0:
            return float("inf")
        return self.size + self.max_overflow


class Slots(Generic[R]):
    """The connections of one event loop, and the queue for them."""

    __slots__ = (
        "closing",
        "end",
        "idle",
        "in_use",
        "kept",
        "limits",
        "opening",
        "pop_idle",
        "validating",
        "waiters",
    )

    def __init__(self, limits: Limits, *, lifo: bool = True) -> None:
        self.limits = limits
        self.kept = limits.kept
        self.idle: deque[R] = deque()  # in the order of their return, the latest at the right
        self.end = -1 if lifo else 0  # where the next to be handed out stands
        self.pop_idle = self.idle.pop if lifo else self.idle.popleft
        self.waiters: OrderedDict[Waiter[R], None] = OrderedDict()
        self.in_use = 0
        self.opening = 0
        self.validating = 0
        self.closing = 0

    def total(self) -> int:
        """Every connection that exists, or may exist, on the server."""
        return len(self.idle) + self.in_use + self.opening + self.validating + self.closing

    def has_room(self) -> bool:
        """Whether one more connection may be opened."""
        return self.total() < self.limits.most

    def next_idle(self) -> R | None:
        """The idle connection that would be handed out next; it stays where it is."""
        return self.idle[self.end] if self.idle else None

    def take(self) -> R:
        """idle -> in use: what ``next_idle`` showed."""
        record = self.pop_idle()
        self.in_use += 1
        return record

    def hand_over(self, record: R) -> bool:
        """(in hand) -> in use by the oldest waiter; False when nobody waits.

        "In hand" means the caller has taken the record out of its former state.
        """
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=False)
            if waiter.serve(record):
                self.in_use += 1
                return True
        return False

    def is_surplus(self) -> bool:
        """Whether one more idle connection would be one too many."""
        return len(self.idle) >= self.kept

    def keep(self, record: R, place: int | None = None) -> None:
        """(in hand) -> idle: as the one returned last, or at its old place."""
        self.idle.insert(len(self.idle) if place is None else place, record)

    def claim(self, record: R) -> bool:
        """idle -> (in hand), by the pool itself; False when it is gone already."""
        try:
            self.idle.remove(record)
        except ValueError:
            return False
        return True

    def join(self, waiter: Waiter[R], *, first: bool = False) -> None:
        """Queue up; ``first`` gives a place back to one who was served in vain."""
        self.waiters[waiter] = None
        if first:
            self.waiters.move_to_end(waiter, last=False)

    def leave(self, waiter: Waiter[R]) -> None:
        """Leave the queue, wherever one stands in it."""
        self.waiters.pop(waiter, None)

    def fail_oldest(self, error: BaseException) -> bool:
        """End the wait of the oldest waiter with an error; False when nobody waits."""
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=False)
            if waiter.fail(error):
                return True
        return False

    def place_of(self, waiter: Waiter[R]) -> int:
        """How many stand before this waiter."""
        for place, other in enumerate(list(self.waiters)):
            if other is waiter:
                return place
        return len(self.waiters)
