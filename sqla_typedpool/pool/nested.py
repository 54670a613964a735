"""Nested checkouts: a task holds a connection of the pool and waits for another one.

If every holder does that, none of them is served: a deadlock that only a time limit ends. Both are
reported when the wait begins.

A checkout does not note by task which connections it holds, since that would cost time where
nobody waits. So a new waiter that depends on a return makes the pool look through its connections.
A look at N connections takes about 5 us + N * 50 ns. The next one follows after N * 50 us, at least
5 ms, for all waiters that have joined meanwhile. So all looks together take about a thousandth of
the time.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio import Task
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import cast

from sqla_typedpool._asyncio.time_limit import caller_of
from sqla_typedpool._asyncio.timers import call_later
from sqla_typedpool.pool.call_sites import CallSite, sites_of_task
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.reports import Reports
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.waiting import Waiter, WaitQueue

# Seconds from a look to the next one: for each connection, and at least.
_PAUSE_PER_ENTRY, _SHORTEST_PAUSE = 50e-6, 0.005
_MAX_SITES = 100  # lines that are reported for one pool
_MAX_STACKS = 100  # that one look reads
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
    # Whether the waiters that join now are examined by a look that is scheduled.
    is_scheduled: bool = field(default=False, init=False)
    # When the connections may be looked through again.
    _next_look: float = field(default=0.0, init=False)
    # The waiters that hold connections, with these.
    _holding: dict[Waiter, list[PoolEntry]] = field(default_factory=dict, init=False)
    # The connections that these waiters held when they were examined.
    _held: int = field(default=0, init=False)

    def waiter_joined(self, waiter: Waiter) -> None:
        """Examine the waiters that have joined, now or as soon as a look may be made again.

        Called if a waiter depends on a return, and no look is scheduled.

        :param waiter: the latest.
        """
        if waiter.since >= self._next_look:
            self._examine()
        else:
            self.is_scheduled = True
            seconds = self._next_look - waiter.since
            call_later(self.queue.loop, seconds, _look_again, weakref.ref(self))

    def look_again(self) -> None:
        """Examine the waiters that have not been examined yet."""
        self.is_scheduled = False
        if self.queue.joined > self._examined and self.slots.needs_return():
            self._examine()

    def _new_waiters(self) -> list[Waiter]:
        newest = islice(reversed(self.slots.waiters), self.queue.joined - self._examined)
        return [each for each in cast("list[Waiter]", list(newest)) if each.number > self._examined]

    def _examine(self) -> None:
        waiters, self._examined = self._new_waiters(), self.queue.joined
        pause = max(_SHORTEST_PAUSE, len(self.entries) * _PAUSE_PER_ENTRY)
        self._next_look = self.queue.clock() + pause
        tasks = {caller_of(each.task): each for each in waiters if not each.future.done()}
        # most holders are told apart without a call
        possible = [
            entry
            for entry in list(self.entries)
            if (task in tasks if type(task := entry.task) is Task else task is not None)
        ]
        if not possible:
            return
        found: dict[Waiter, list[PoolEntry]] = {}
        for entry in possible:
            holder = caller_of(entry.borrower())
            if holder is not None and holder in tasks:
                found.setdefault(tasks[holder], []).append(entry)
        for waiter, entries in found.items():
            self._add(waiter, entries)
        for waiter in islice(found, _MAX_STACKS):
            self._report(waiter)
        if found and self._is_deadlock():
            self.reports.deadlock()

    def _add(self, waiter: Waiter, entries: list[PoolEntry]) -> None:
        self._holding[waiter] = entries
        self._held += len(entries)
        waiter.future.add_done_callback(partial(self._wait_ended, waiter))

    def _report(self, waiter: Waiter) -> None:
        if len(self.reported) >= _MAX_SITES:
            return
        sites = sites_of_task(caller_of(waiter.task), _MAX_CALLERS)
        key = _key_of(sites)
        if key not in self.reported:
            self.reported.add(key)
            self.reports.nested_checkout(self._holding[waiter], sites)

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
            caller_of(entry.borrower()) is caller_of(waiter.task)
            for waiter, entries in self._holding.items()
            if not waiter.future.done()
            for entry in entries
        )


def _look_again(nested: weakref.ref[NestedCheckouts]) -> None:
    alive = nested()
    if alive is not None:
        alive.look_again()


def _key_of(sites: list[CallSite]) -> tuple[str, int]:
    """What identifies the line of a checkout; no code object, which would be kept alive."""
    if not sites:
        return ("", 0)
    code, line, query = sites[0]
    return (code.co_filename if code is not None else f"query {query}", line)
