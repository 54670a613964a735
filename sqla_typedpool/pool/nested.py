"""Nested checkouts: a task holds a connection of the pool and waits for another one.

If every holder does that, none of them is served: a deadlock that only a time limit ends. Both are
reported when the wait begins.

A checkout does not note by task which connections it holds, since that would cost time where
nobody waits. So a new waiter makes the pool look through its connections, if that waiter depends
on a return. To keep the cost of a waiter constant, one look at N connections is made for N / 64
new waiters, and examines all of them; the housekeeper examines the rest, four times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, cast

from sqla_typedpool._asyncio.time_limit import caller_of
from sqla_typedpool.pool.call_sites import CallSite, sites_of_task
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.reports import Reports
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.waiting import Waiter, WaitQueue

_ENTRIES_PER_WAITER = 64  # that are looked at for each new waiter, at most
_MAX_SITES = 100  # lines that are reported for one pool
_MAX_CALLERS = 3  # lines of one report: that of the checkout, and the callers of its function


@dataclass(eq=False)
class NestedCheckouts:
    """Finds the nested checkouts of one event loop."""

    slots: Slots[PoolEntry]
    queue: WaitQueue
    entries: set[PoolEntry]
    reports: Reports
    # The lines that were reported already, of all event loops of the pool.
    reported: set[tuple[str, int]]
    # The number of the latest waiter that was examined.
    _examined: int = field(default=0, init=False)
    # The waiters that hold connections, with these.
    _holding: dict[Waiter, list[PoolEntry]] = field(default_factory=dict, init=False)
    # The connections that these waiters held when they were examined.
    _held: int = field(default=0, init=False)

    def waiter_joined(self) -> None:
        """Examine the waiters that have joined, unless the housekeeper has to do it.

        Called if a waiter depends on a return.
        """
        new = self.queue.joined - self._examined
        if new * _ENTRIES_PER_WAITER >= len(self.entries):
            self._examine()

    def tick(self) -> None:
        """Examine the waiters that were not examined when they joined."""
        if self.queue.joined > self._examined and self.slots.needs_return():
            self._examine()

    def _examine(self) -> None:
        waiters = dict(self._new_waiters())
        self._examined = self.queue.joined
        found: dict[Waiter, list[PoolEntry]] = {}
        for entry in list(self.entries):
            holder = _holder_of(entry)
            waiter = None if holder is None else waiters.get(holder)
            if waiter is not None:
                found.setdefault(waiter, []).append(entry)
        for waiter, entries in found.items():
            self._add(waiter, entries)
        if found and self._is_deadlock():
            self.reports.deadlock()

    def _new_waiters(self) -> Iterator[tuple[asyncio.Task[Any], Waiter]]:
        newest = list(islice(reversed(self.slots.waiters), self.queue.joined - self._examined))
        for waiter in cast(list[Waiter], newest):
            task = caller_of(waiter.task)
            if task and waiter.number > self._examined and not waiter.future.done():
                yield task, waiter

    def _add(self, waiter: Waiter, entries: list[PoolEntry]) -> None:
        self._holding[waiter] = entries
        self._held += len(entries)
        waiter.future.add_done_callback(partial(self._wait_ended, waiter))
        if len(self.reported) >= _MAX_SITES:
            return
        sites = sites_of_task(caller_of(waiter.task), _MAX_CALLERS)
        key = _key_of(sites)
        if key not in self.reported:
            self.reported.add(key)
            self.reports.nested_checkout(entries, sites)

    def _wait_ended(self, waiter: Waiter, future: asyncio.Future[PoolEntry]) -> None:
        self._held -= len(self._holding.pop(waiter, ()))

    def _is_deadlock(self) -> bool:
        """Whether every connection is held by a task that waits.

        It is called when a waiter that holds connections was found, so once for each deadlock:
        in a deadlock every holder waits already.
        """
        in_use = self.slots.in_use
        if self._held < in_use or in_use < self.slots.limits.max_total:
            return False
        # a connection may have been returned by another task meanwhile
        return in_use == sum(
            _holder_of(entry) is caller_of(waiter.task)
            for waiter, entries in self._holding.items()
            if not waiter.future.done()
            for entry in entries
        )


def _holder_of(entry: PoolEntry) -> asyncio.Task[Any] | None:
    task = entry.task
    # the check saves two calls for most entries
    return task if type(task) is asyncio.Task else caller_of(entry.borrower())


def _key_of(sites: list[CallSite]) -> tuple[str, int]:
    """What identifies the line of a checkout; no code object, which would be kept alive."""
    if not sites:
        return ("", 0)
    code, line, query = sites[0]
    return (code.co_filename if code is not None else f"query {query}", line)
