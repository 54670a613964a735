"""Checkouts that end without a connection: how they are counted and reported."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Callable
from dataclasses import dataclass

from sqla_typedpool.errors import PoolSaturated, PoolTimeout
from sqla_typedpool.pool.call_limits import call_limit
from sqla_typedpool.pool.checkout_errors import CheckoutErrors, UnservedCheckout
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.stats import Counters
from sqla_typedpool.pool.waiting import Waiter


@dataclass(eq=False)
class UnservedCheckouts:
    """Counts the checkouts of one event loop that end without a connection."""

    loop: asyncio.AbstractEventLoop
    slots: Slots[PoolEntry]
    counters: Counters
    errors: CheckoutErrors
    # Whether there is an outage, and connection attempts go on.
    is_retrying: Callable[[], bool]
    # Whether the newest waiter is served first.
    serves_newest: Callable[[], bool]

    def of_waiter(self, waiter: Waiter) -> UnservedCheckout:
        """The checkout of a waiter."""
        return UnservedCheckout(self._stage_of(waiter), waiter.since, waiter.task, waiter.call)

    def of_current_task(self, stage: str, since: float) -> UnservedCheckout:
        """The checkout of the current task, which is not in the queue."""
        task = current_task(self.loop)
        return UnservedCheckout(stage, since, task, call_limit.get(), is_queued=False)

    def expired(self, waiter: Waiter) -> PoolTimeout:
        """Count a waiter whose deadline has passed, and return its error."""
        return self.timed_out(self.of_waiter(waiter))

    def timed_out(self, checkout: UnservedCheckout) -> PoolTimeout:
        """Count a checkout whose deadline has passed, and return its error."""
        self.counters.timeouts += 1
        return self.errors.timeout(checkout)

    def saturated(self, limit: int) -> PoolSaturated:
        """Count a checkout beyond ``pool_max_waiting``, and return its error."""
        self.counters.saturated += 1
        return self.errors.saturated(limit)

    def waiter_cancelled(self, waiter: Waiter) -> None:
        """Count a waiter that was cancelled, perhaps by the ``timeout=`` of its call."""
        if waiter.call is None or not waiter.call.is_expired:
            self.counters.cancelled += 1
        else:
            self.cancelled(self.of_waiter(waiter))

    def cancelled(self, checkout: UnservedCheckout) -> None:
        """Count a checkout that was cancelled, perhaps by the ``timeout=`` of its call."""
        if checkout.call is not None and checkout.call.is_expired:
            self.counters.timeouts += 1
            self.errors.leave_report(checkout, checkout.call)
        else:
            self.counters.cancelled += 1

    def _stage_of(self, waiter: Waiter) -> str:
        """What this waiter is waiting for just now."""
        slots = self.slots
        limit = slots.validating + slots.opening
        position = slots.position_of(waiter, limit, newest=self.serves_newest())
        if position < slots.validating:
            return "validating"
        if position < limit or self.is_retrying():
            return "connecting"
        return "queueing"
