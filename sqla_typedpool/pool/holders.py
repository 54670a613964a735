"""Who holds connections: the tasks, the lines of code, and for how long."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from sqla_typedpool._asyncio.time_limit import caller_of
from sqla_typedpool.errors import Holder
from sqla_typedpool.pool.call_sites import site_of_task
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.stats import Counters

MAX_HOLDERS = 20  # that an error or a log line names


def holder_of(entry: PoolEntry, now: float) -> Holder:
    """Who holds this entry."""
    task = caller_of(entry.borrower())
    site = entry.site or site_of_task(task) or entry.observed_site
    where, query = (None, None) if site is None else (site.where, site.query)
    name = (task.get_name() if task is not None else entry.task_name) or "?"
    since = entry.checked_out_at if entry.checked_out_at is not None else now
    return Holder(name, now - since, where, entry.label, query)


def describe_holders(holders: Sequence[Holder], total: int, limit: int = 3) -> str:
    """The longest holders in one line.

    :param total: how many holders there are.
    """
    shown = holders[:limit]
    rest = total - len(shown)
    return "; ".join(map(str, shown)) + (f"; and {rest} more" if rest > 0 else "")


def fields_of(holder: Holder | None) -> dict[str, Any]:
    """The fields of a log record that name a holder, of several the longest."""
    if holder is None:
        return {"holder": None, "site": None}
    return {"holder": holder.name, "site": holder.where}


def use_began(entry: PoolEntry) -> float:
    """When an entry was checked out, to sort entries by it."""
    return entry.checked_out_at or 0.0


@dataclass(frozen=True)
class Holders:
    """Who holds connections at one moment: what the errors of that moment have in common."""

    # Checkouts so far, and connections in use: other numbers, other holders.
    uses: tuple[int, int]
    # The longest first, at most ``MAX_HOLDERS``.
    longest: tuple[Holder, ...]
    # How many connections are held.
    total: int
    # How many of them each task holds.
    by_task: Mapping[Task[Any] | None, int]
    # Seconds until the next one of them is returned, on average; None = none is held.
    next_return: float | None

    def __str__(self) -> str:
        return describe_holders(self.longest, self.total)


@dataclass(eq=False)
class HolderFinder:
    """Finds the holders of one event loop."""

    loop: AbstractEventLoop
    slots: Slots[PoolEntry]
    entries: set[PoolEntry]
    clock: Callable[[], float]
    counters: Counters
    _now: Holders | None = field(default=None, init=False)  # in this turn of the loop

    def in_use(self) -> list[PoolEntry]:
        """The entries that are checked out."""
        # a copy, since the garbage collector may return one meanwhile
        return [entry for entry in list(self.entries) if entry.checked_out_at is not None]

    def describe(
        self, entries: list[PoolEntry], limit: int | None = MAX_HOLDERS
    ) -> tuple[Holder, ...]:
        """The longest holders of these entries; None = all."""
        now, longest = self.clock(), sorted(entries, key=use_began)[:limit]
        return tuple(holder_of(each, now) for each in longest)

    def all(self) -> list[Holder]:
        """Who holds a connection, the longest first."""
        return list(self.describe(self.in_use(), limit=None))

    def longest_use(self) -> float:
        """For how long the connection that was checked out first has been in use; 0 = none is."""
        began = min(map(use_began, self.in_use()), default=None)
        return 0.0 if began is None else max(0.0, self.clock() - began)

    def leaked(self) -> list[PoolEntry]:
        """The entries in use without those whose task was cancelled.

        A loop that ends cancels every task, also one in which an ``AsyncSession`` returns
        its connection: cancelled before its first step, it never does.
        """
        tasks = [(each, each.borrower()) for each in self.in_use()]
        return [each for each, task in tasks if not (task and task.cancelled())]

    def now(self) -> Holders:
        """The holders, listed once for the checkouts that fail in one turn of the loop."""
        uses = self.counters.checkouts, self.slots.in_use
        if self._now is None or self._now.uses != uses:
            if self._now is None and not self.loop.is_closed():
                self.loop.call_soon(self._forget, context=Context())
            self._now = self._find(uses)
        return self._now

    def _forget(self) -> None:
        self._now = None

    def _find(self, uses: tuple[int, int]) -> Holders:
        now, used = self.clock(), self.in_use()
        return Holders(
            uses,
            self.describe(used),
            len(used),
            Counter(caller_of(each.borrower()) for each in used),
            self._next_return(used, now),
        )

    def _next_return(self, used: list[PoolEntry], now: float) -> float | None:
        if not used:
            return None
        mean_age = sum(now - use_began(each) for each in used) / len(used)
        return max(self.counters.mean_use(), mean_age) / len(used)
