"""The overload of one event loop: who is served next, who is refused, and what is logged of it.

``overload`` decides; this applies its decisions to the queue.
"""

from __future__ import annotations

from sqla_typedpool._asyncio.timers import call_in_loop
from sqla_typedpool.pool.checkout_errors import CheckoutErrors
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.overload import Overload, ServiceOrder, Shedding
from sqla_typedpool.pool.reports import Reports
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.stats import Counters
from sqla_typedpool.pool.waiting import Waiter, WaitQueue


class OverloadControl:
    """Applies ``pool_overload`` and ``pool_shed_after`` to the queue of one event loop."""

    def __init__(
        self,
        shared: Shared,
        queue: WaitQueue,
        counters: Counters,
        errors: CheckoutErrors,
        reports: Reports,
    ) -> None:
        options = shared.options
        self._queue = queue
        self._counters = counters
        self._errors = errors
        self._reports = reports
        self._order = ServiceOrder(
            is_adaptive=options.pool_overload == "adaptive", on_change=self._changed
        )
        limit = options.pool_shed_after
        self._shedding = None if limit is None else Shedding(limit)

    # --------------------------------------------------------------------- events

    def joins_empty_queue(self, waiter: Waiter) -> None:
        """A waiter is about to join the queue, in which no other one is."""
        self._order.joined_empty_queue(waiter.since)
        if self._shedding is not None:
            self._shedding.joined_empty_queue(waiter.since)

    def waiter_gave_up(self, waiter: Waiter) -> None:
        """A waiter was cancelled, also by the ``timeout=`` of its call.

        One that had got a connection, but was cancelled before it ran again, counts as well.
        One that had got an error does not: ``pool_timeout`` had ended its wait before.
        """
        future = waiter.future
        if not future.done() or future.cancelled() or future.exception() is None:
            now = self._queue.clock()
            self._order.waiter_gave_up(now - waiter.since, now)

    def borrower_gave_up(self, entry: PoolEntry) -> None:
        """A statement ended because its task was cancelled: it counts if that task had waited."""
        since, wait = entry.checked_out_at, entry.latest_wait
        if since is not None and wait is not None and wait[0] == since:
            now = self._queue.clock()
            self._order.borrower_gave_up(wait[1], now - since, now)

    def hand_over(self, now: float) -> bool:
        """A connection is about to be handed over: refuse waiters, if it is time.

        :return: whether the newest of those that are left gets it.
        """
        if self._shedding is not None:
            self._shed(self._shedding, now)
        return self._order.serves_newest(now, self._queue.longest_wait)

    def _shed(self, shedding: Shedding, now: float) -> None:
        queue = self._queue
        waiting = queue.still_waiting(2)
        shedding.handed_over(now, queue.longest_wait())
        while shedding.refuses(queue.longest_wait(), waiting):
            error = self._errors.shed(shedding.limit, queue.longest_wait())
            self._counters.shed += queue.slots.fail_oldest(error)
            waiting = queue.still_waiting(2)

    # ---------------------------------------------------------------------- state

    @property
    def serves_newest(self) -> bool:
        """Whether the newest waiter is served first, as long as one waits."""
        return self._order.is_overloaded(self._queue.clock(), has_waiters=True)

    @property
    def is_overloaded(self) -> bool:
        """Whether the newest waiter is served first now."""
        has_waiters = bool(self._queue.slots.waiters)
        return self._order.is_overloaded(self._queue.clock(), has_waiters=has_waiters)

    def tick(self, now: float) -> None:
        """End an overload that no later waiter ends; called from time to time."""
        self._order.end_if_over(now, has_waiters=bool(self._queue.slots.waiters))

    def _changed(self, overload: Overload) -> None:
        """An overload has begun, or ended.

        It is logged in the loop's next turn: a log handler may do anything, and a connection
        is being handed over.
        """
        has_begun = overload.ended_at is None
        self._counters.overloads += has_begun
        report = self._reports.overload_began if has_begun else self._reports.overload_ended
        call_in_loop(self._queue.loop, report, overload)
