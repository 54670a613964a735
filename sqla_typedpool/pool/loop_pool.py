"""The pool of one event loop: checkout, return, and which waiter gets a connection.

A checkout: ``try_checkout`` takes an idle connection that needs no round trip; else
``acquire`` joins the queue, ``serve_waiters`` starts a ping or a connect, and the
borrower gets the connection that is available first. A return: ``checkin`` makes the entry idle, or
``release`` decides what becomes of it; neither awaits.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import current_task
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import Any

from sqla_typedpool._asyncio.tasks import BackgroundTasks
from sqla_typedpool._asyncio.timers import call_in_loop, clock_of, running_loop
from sqla_typedpool._sqlalchemy.greenlets import await_only, in_greenlet
from sqla_typedpool.errors import Holder
from sqla_typedpool.pool import observers
from sqla_typedpool.pool.backend import CloseMode
from sqla_typedpool.pool.call_sites import call_site
from sqla_typedpool.pool.cancelled import CancelledStatements
from sqla_typedpool.pool.checkout_errors import CLOSED, CheckoutErrors
from sqla_typedpool.pool.closing import CLOSE_TIMEOUT, ClosingJob
from sqla_typedpool.pool.connect_policy import ConnectPolicy
from sqla_typedpool.pool.connector import Connector
from sqla_typedpool.pool.drivers.base import Probe, SetAside
from sqla_typedpool.pool.drivers.sqlite_storage import IN_MEMORY, Storage, single_connection_error
from sqla_typedpool.pool.entry import Condition, PoolEntry
from sqla_typedpool.pool.holders import HolderFinder, holder_of
from sqla_typedpool.pool.killing import StatementKiller
from sqla_typedpool.pool.labels import current_label
from sqla_typedpool.pool.nested import NestedCheckouts
from sqla_typedpool.pool.overload_control import OverloadControl
from sqla_typedpool.pool.pool_state import PoolState
from sqla_typedpool.pool.reconnecting import Reconnector
from sqla_typedpool.pool.reports import Reports
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.stats import CloseReason, Counters
from sqla_typedpool.pool.unserved import UnservedCheckouts
from sqla_typedpool.pool.validator import Validator
from sqla_typedpool.pool.waiting import Waiter, WaitQueue

_NEVER = float("inf")
_LIFETIME_JITTER = 0.1  # of a lifetime, at most: connections of one age do not expire together
# Reasons after which another connection takes the place of the closed one.
_REPLACED = {
    *(CloseReason.LIFETIME, CloseReason.FAILOVER, CloseReason.INVALIDATED),
    *(CloseReason.DEAD, CloseReason.PING, CloseReason.TRANSACTION),
}
# Results of the local probe with which a connection is not used, however new it is.
_NOT_USABLE = (Probe.DEAD, Probe.IN_TRANSACTION)
_INVALIDATE_WAIT = 0.05  # seconds that invalidate() waits to see the connection closed


def _nothing(*arguments: object) -> None:
    """A callback that is not needed."""


class LoopPool:
    """The connections of one event loop, and the queue for them."""

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self.shared = shared
        self.loop = loop
        self.trusted_for = self._trusted_for()
        self.records_sites = self._records_sites()
        self.clock = clock = clock_of(loop)
        self.slots: Slots[PoolEntry] = Slots(
            shared.limits, lifo=shared.options.use_lifo, clock=clock
        )
        self.counters = Counters(shared.keep_durations)
        self.entries: set[PoolEntry] = set()  # those with a connection
        self.empty_entries: list[PoolEntry] = []  # identities to be filled again
        # Why checkouts are refused; None = they are not.
        self.refusal: str | None = CLOSED if shared.is_closed else None
        self.is_disposed = False  # dispose() was called, and there was no checkout since
        self.ends_as = CloseReason.DISPOSE  # why attempts of an older generation have to go
        self.on_acquire: Callable[[], object] = _nothing  # starts the housekeeper
        self.policy = ConnectPolicy(shared.options.pool_connect_retry, shared.backend.masked)
        self.holders = HolderFinder(loop, self.slots, self.entries, clock, self.counters)
        self.state = PoolState(shared.options, self.slots, self.policy, clock)
        self.reports = Reports(shared, self.state, self.holders)
        self.tasks = BackgroundTasks(loop, self.reports.task_failed)
        errors = CheckoutErrors(
            *(shared, self.state, self.holders), lambda: self.connector.next_attempt_in
        )
        self._unserved = UnservedCheckouts(
            *(loop, self.slots, self.counters, errors),
            lambda: self.connector.is_retrying,
            lambda: self.overload.serves_newest,
        )
        self.queue = WaitQueue(self.slots, loop, clock, self._unserved.expired)
        self.overload = OverloadControl(*(shared, self.queue, self.counters, errors, self.reports))
        self.nested = NestedCheckouts(
            *(self.slots, self.queue, self.entries, self.reports, shared.nested_sites)
        )
        # a longer limit in connect_args wins
        limit = max(shared.options.pool_connect_timeout, shared.backend.connect_timeout)
        self.connector = Connector(self, self.policy, shared, self.tasks, clock, limit)
        self._killer: StatementKiller | None = None
        self.validator = Validator(self, shared, self.tasks, clock, self.counters, self.reports)
        self.cancelled = CancelledStatements(
            *(self, shared, self.tasks, clock, self.counters, self.validator)
        )
        self._reconnector = Reconnector(
            *(self, self.connector, self._unserved, shared, self.tasks, clock)
        )
        # When a connection was last found dead; 0 = never.
        self.disconnected_at = 0.0
        self._is_serving = self._serve_again = False
        self._returned: asyncio.Future[None] | None = None

    # ----------------------------------------------------------------- check out

    def try_checkout(self) -> PoolEntry | None:
        """Check out an idle entry; None = the caller has to wait (``acquire``)."""
        slots = self.slots
        if slots.waiters:
            return None
        idle = slots.idle
        while idle:
            entry = idle[slots.next_index]
            now = self.clock()
            if entry.condition or now - entry.validated_at >= self.trusted_for:
                return None
            result = entry.probe()
            if not result:
                slots.checkout()
                entry.checked_out_at = now
                entry.task = current_task(self.loop)
                entry.label = current_label()
                self.counters.checkouts += 1
                if self.records_sites:
                    self._note_site(entry)
                return entry
            self._probe_failed(entry, result)
        return None

    def _probe_failed(self, entry: PoolEntry, result: int) -> None:
        """Close, validate or suspect an idle entry whose local probe failed."""
        if result not in _NOT_USABLE:
            entry.mark(Condition.SUSPECT)
        elif self.slots.reserve(entry):
            if result == Probe.DEAD:
                self.close_entry(entry, CloseReason.DEAD, CloseMode.ABORT)
            else:
                self.validator.start(entry)

    async def acquire(self) -> PoolEntry:
        """Wait for a connection: a return, a connect or a ping, whichever comes first.

        :raises PoolTimeout: after ``pool_timeout``.
        :raises PoolSaturated: ``pool_max_waiting`` callers wait already.
        :raises PoolClosed: the pool is closed.
        """
        waiter = self._admit()
        self.is_disposed = False
        if self.shared.log.name.is_released:
            self.shared.log.take_name()
        self.on_acquire()
        if not self.slots.waiters:
            self.overload.joins_empty_queue(waiter)
        self.queue.join(waiter)
        try:
            self.serve_waiters()
            if not self.nested.is_scheduled and self.slots.needs_return():
                self.nested.waiter_joined(waiter)
            while not self._is_usable(entry := await waiter.future):
                waiter.future = self.loop.create_future()
                if self.refusal is not None:
                    raise self.shared.closed_error(self.refusal)
                self.queue.rejoin(waiter, first=not self.overload.serves_newest)
                self.serve_waiters()
            self._note_checkout(entry, waiter)
        except BaseException as error:
            self._withdraw(waiter, error)
            raise
        finally:
            if waiter.limit is not None:
                self.queue.deadlines.discard(waiter, waiter.limit)
            del waiter  # the traceback of its error contains this frame: a reference cycle
        return entry

    def _admit(self) -> Waiter:
        """A waiter with its deadline.

        :raises PoolClosed, PoolSaturated, PoolTimeout: it must not wait.
        """
        now, timeout = self.clock(), self.shared.timeout
        if self.refusal is not None:
            raise self.shared.closed_error(self.refusal)
        self._refuse_if_saturated()
        if timeout is None:
            return Waiter(self.loop, self.slots, now, None)
        if timeout > 0:
            return Waiter(self.loop, self.slots, now, timeout)
        # do not queue; but a free slot may still connect
        if len(self.slots.waiters) >= self.slots.limits.max_total - self.slots.in_use:
            raise self._unserved.timed_out(self._unserved.of_current_task("queueing", now))
        return Waiter(self.loop, self.slots, now, self.connector.connect_timeout)

    def _refuse_if_saturated(self) -> None:
        limit, slots = self.shared.options.pool_max_waiting, self.slots
        if limit is None:
            return
        # waiters that free capacity can serve do not count
        if len(slots.waiters) >= limit + max(0, slots.limits.max_total - slots.in_use):
            raise self._unserved.saturated(limit)

    def _is_usable(self, entry: PoolEntry) -> bool:
        """Check an assigned entry again: time has passed until its borrower runs."""
        result, evicted = entry.probe(), entry.evicted is CloseReason.INVALIDATED
        is_alive = not result or (entry.just_validated and result not in _NOT_USABLE)
        if is_alive and not evicted:
            return True
        self.slots.checkin()
        if result == Probe.DEAD:
            self.close_entry(entry, CloseReason.DEAD, CloseMode.ABORT)
        elif evicted:  # by the application, meanwhile
            self.release(entry)
        else:
            self.validator.start(entry)
        return False

    def _withdraw(self, waiter: Waiter, error: BaseException) -> None:
        """Remove the waiter. If it was just assigned an entry, release that one."""
        if observers.checkout_waited is not None and not isinstance(error, GeneratorExit):
            observers.checkout_waited(self.shared.name, self.clock() - waiter.since, error)
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            self._unserved.waiter_cancelled(waiter)
            if not isinstance(error, GeneratorExit):
                self.overload.waiter_gave_up(waiter)
        self.slots.dequeue(waiter)
        future = waiter.future
        if not future.done() or future.cancelled():
            future.cancel()
        elif future.exception() is None:
            future.result().forget_borrower()
            self.slots.checkin()
            self.release(future.result())

    def _note_checkout(self, entry: PoolEntry, waiter: Waiter) -> None:
        entry.checked_out_at = now = self.clock()
        entry.task = current_task(self.loop)
        entry.label = current_label()
        self.counters.checkouts += 1
        if self.records_sites:
            self._note_site(entry)
        self.counters.wait_time.add(now - waiter.since)
        entry.latest_wait = now, now - waiter.since
        if observers.checkout_waited is not None:
            observers.checkout_waited(self.shared.name, now - waiter.since, None)
        slow = self.shared.options.pool_slow_checkout
        if slow is not None and now - waiter.since > slow:
            self.reports.slow_checkout(entry, waiter.work_before, waiter.since, slow)

    def _records_sites(self) -> bool:
        has_threshold = self.shared.options.pool_leak_threshold is not None
        return has_threshold or observers.site_noted is not None

    def _note_site(self, entry: PoolEntry) -> None:
        """Record the data of a leak report; the task may not exist by then.

        An observer alone does not change what ``holders()`` reports of a task that still runs.
        """
        task = entry.borrower()
        site = entry.observed_site = call_site(task)
        if self.shared.options.pool_leak_threshold is not None:
            entry.site = site
        entry.task_name = None if task is None else task.get_name()
        if observers.site_noted is not None:
            observers.site_noted(entry, site)

    # ------------------------------------------------------------------ check in

    def checkin(self, entry: PoolEntry) -> None:
        """Take a checked-out entry back. Never awaits."""
        since = entry.checked_out_at
        if since is None:
            raise AssertionError(f"{entry!r} was returned but is not checked out")
        now = self.clock()
        self.counters.note_use(now - since)
        is_dirty = (
            entry.in_transaction() or entry.commit_failed
        ) and entry.dbapi_connection is not None
        holder = holder_of(entry, now) if is_dirty or entry.is_leak_reported else None
        entry.checked_out_at = entry.task = entry.label = entry.site = None
        entry.idle_since = entry.validated_at = now
        if since < self.disconnected_at:
            entry.mark(Condition.SUSPECT)
        slots = self.slots
        if (
            is_dirty
            or entry.condition
            or now >= entry.expires_at
            or entry.dbapi_connection is None
            or slots.waiters
            or len(slots.idle) >= slots.max_idle
        ):
            slots.checkin()
            self._checkin_slowly(entry, is_dirty=is_dirty)
        else:
            slots.checkin_idle(entry)
        if holder is not None:
            self._report_return(entry, holder, is_dirty=is_dirty)

    def _report_return(self, entry: PoolEntry, holder: Holder, *, is_dirty: bool) -> None:
        if entry.is_leak_reported:
            entry.is_leak_reported = False
            self.reports.leak_returned(holder)
        if is_dirty:
            self._note_dirty(holder)

    def _note_dirty(self, holder: Holder | None) -> None:
        self.counters.dirty_returns += 1
        self.reports.dirty_return(holder, is_kept=not self.shared.backend.ends_transactions)

    def _checkin_slowly(self, entry: PoolEntry, *, is_dirty: bool) -> None:
        """reserved -> wherever it belongs, if that is not simply idle."""
        if self._returned is not None and not self._returned.done():
            self._returned.set_result(None)
        if entry.cancelled is not None:
            self.cancelled.start(entry, entry.cancelled)
        elif entry.dbapi_connection is None:  # invalidated or detached: only its slot is returned
            self.untrack(entry, CloseReason.DETACHED)
            entry.detach_connection()
            self.slots.release_empty()
            self._keep_empty(entry)
            self.serve_waiters()
        elif is_dirty and entry.evicted is None and self.shared.backend.ends_transactions:
            self.validator.roll_back(entry)
        else:
            self.check_or_release(entry)

    def check_or_release(self, entry: PoolEntry, *, validated: bool = False) -> None:
        if entry.condition is Condition.READ_ONLY:
            self.validator.check_server(entry)
        else:
            self.release(entry, validated=validated)

    def _keep_empty(self, entry: PoolEntry) -> None:
        """Keep an entry to be connected again: SQLAlchemy's ``record_info`` is on it."""
        kept = len(self.slots.idle) + len(self.empty_entries)
        is_used_on = not self.is_disposed and self.refusal is None
        if entry.is_reusable and is_used_on and kept < self.slots.max_idle:
            self.empty_entries.append(entry)

    def release(self, entry: PoolEntry, *, validated: bool = False) -> None:
        """reserved -> a waiter, a ping, idle, or closed.

        :param validated: it was opened or has answered a ping a moment ago.
        """
        slots, now = self.slots, self.clock()
        entry.just_validated = validated
        if self._must_close(entry, now):
            self.close_entry(entry, entry.evicted or CloseReason.LIFETIME)
            return
        if slots.waiters:
            # a ping that takes too long would close a database in memory
            is_trusted = (
                now - entry.validated_at < self.trusted_for
                or self.shared.backend.storage in IN_MEMORY
            )
            if not validated and (entry.condition is Condition.SUSPECT or not is_trusted):
                self.validator.start(entry)
                return
            newest = self.overload.hand_over(now)
            if not slots.assign(entry, newest=newest):  # all waiters were cancelled: decide again
                self.release(entry, validated=validated)
            return
        if len(slots.idle) >= slots.max_idle:
            self.close_entry(entry, CloseReason.OVERFLOW)
        else:
            slots.park(entry, self._index_by_age(entry))

    def _must_close(self, entry: PoolEntry, now: float) -> bool:
        if entry.evicted is CloseReason.DISPOSE and self.slots.waiters:
            # Waiters come first: a new connection would be closed on its return as well.
            return False
        return entry.evicted is not None or now >= entry.expires_at

    def _index_by_age(self, entry: PoolEntry) -> int:
        """Its place among the idle entries: a ping makes none younger."""
        idle, since = self.slots.idle, entry.idle_since
        if not idle or idle[-1].idle_since <= since:
            return len(idle)
        return bisect_right(idle, since, key=lambda each: each.idle_since)

    # ------------------------------------------------------------------- waiters

    def serve_waiters(self) -> None:
        """Start a ping or a connect for every waiter, and for the minimum size.

        It is called after every change, also by the closes that it starts. A nested call only
        makes the outer one repeat its loop.
        """
        self._serve_again = True
        if self._is_serving or self.loop.is_closed():
            return
        self._is_serving = True
        try:
            while self._serve_again:
                self._serve_again = False
                self._serve_from_idle()
                self.connector.grow()
        finally:
            self._is_serving = False

    def _serve_from_idle(self) -> None:
        while self.slots.idle and self.unserved() > self.connector.expected:
            entry = self.slots.idle[self.slots.next_index]
            self.slots.reserve(entry)
            self.release(entry)

    # ------------------------------------------------- called by the connector

    def unserved(self) -> int:
        validator = self.validator
        uncertain = len(validator.likely_dead) + len(validator.rolling_back)
        uncertain += len(self.cancelled.running)
        return len(self.slots.waiters) - (self.slots.validating - uncertain)

    def working(self) -> int:
        slots = self.slots
        return slots.total - slots.opening - slots.closing - len(self.validator.likely_dead)

    def missing(self) -> int:
        if not self.shared.options.pool_min_size or self.is_disposed or self.refusal is not None:
            return 0
        return self.shared.options.pool_min_size - self.slots.total

    def begin_opening(self) -> PoolEntry | None:
        slots, storage = self.slots, self.shared.backend.storage
        if not slots.has_free():
            return None
        if storage is Storage.UNKNOWN and slots.total != slots.closing:
            return None  # the first connection shows whether others are allowed
        if storage is Storage.PRIVATE and self.shared.count_connections():
            error = single_connection_error(self.shared.name)
            self.queue.fail_oldest(error, self.queue.joined, count=self.unserved())
            return None
        slots.start_opening()
        empty = self.empty_entries
        return empty.pop() if empty else self.shared.backend.new_entry(self)

    def opened(self, entry: PoolEntry, started: float, *, is_current: bool) -> None:
        now = self.clock()
        self.slots.opened()
        self.track(entry, now)
        if not is_current or self.is_disposed:
            entry.evict(self.ends_as)
        self.counters.connect_time.add(now - started)
        self.release(entry, validated=True)

    def opening_failed(self, entry: PoolEntry) -> None:
        if entry.dbapi_connection is None:
            self.slots.opening_failed()
            self._keep_empty(entry)
            return
        # it was connected, but not completely: its listeners were interrupted
        self.slots.opened()
        self.close_entry(entry, CloseReason.INVALIDATED, CloseMode.ABORT)

    # ----------------------------------------------------------------- lifetimes

    def track(self, entry: PoolEntry, now: float) -> None:
        """A connection has been opened in this entry."""
        entry.start_lifetime(now, now + self._lifetime())
        self.entries.add(entry)

    def untrack(self, entry: PoolEntry, reason: CloseReason) -> None:
        """Its connection is no longer the pool's."""
        if entry in self.entries:
            self.entries.discard(entry)
            self.counters.closed[reason] += 1

    def _lifetime(self) -> float:
        """How long a connection opened now may live, in seconds."""
        seconds = self.shared.options.pool_max_lifetime
        if seconds is None or self.shared.backend.storage in IN_MEMORY:
            return _NEVER
        return seconds * (1 - _LIFETIME_JITTER * random.random())

    def _trusted_for(self) -> float:
        """How long an unused connection is handed out without a ping, in seconds."""
        options = self.shared.options
        lifetime = _NEVER if options.pool_max_lifetime is None else options.pool_max_lifetime
        after = options.pool_validate_after
        if after is None or not self.shared.backend.driver.needs_ping:
            return lifetime
        return min(after, lifetime)

    def lifetime_changed(self) -> None:
        """``pool_max_lifetime`` was assigned: connections may have less time left."""
        self.trusted_for = self._trusted_for()
        for entry in self.entries:
            entry.expires_at = min(entry.expires_at, self.clock() + self._lifetime())

    # ------------------------------------------------------------------- closing

    def close_entry(
        self, entry: PoolEntry, reason: CloseReason, mode: CloseMode = CloseMode.GRACEFUL
    ) -> None:
        """reserved -> closing -> free. The close starts at once; its rest is a task."""
        self.untrack(entry, reason)
        self.slots.start_closing()
        on_closed = partial(self._closed, entry if reason in _REPLACED else None)
        if entry.dbapi_connection is None:
            on_closed()
        else:
            self._closing_job(on_closed).close_entry(entry, mode)

    def abort_entry(self, entry: PoolEntry, reason: CloseReason) -> None:
        """Close the connection of an entry in any other state; the slot stays in that state."""
        self.untrack(entry, reason)
        if entry.dbapi_connection is not None:
            self.slots.start_terminating()
            self._closing_job(self._closed).close_entry(entry, CloseMode.ABORT)

    def _closing_job(self, on_closed: Callable[[], None], seconds: float = 0.0) -> ClosingJob:
        limit = seconds or self.shared.options.pool_reset_timeout
        return ClosingJob(self.shared.backend, self.tasks, self.shared.log, limit, on_closed)

    def _closed(self, replaced: PoolEntry | None = None) -> None:
        """A connection is closed; its entry is kept if another connection takes its place."""
        self.slots.closed()
        if replaced is not None:
            self._keep_empty(replaced)
        self.serve_waiters()

    def terminate(
        self, entry: PoolEntry, connection: Any, *, wait: bool, abort: bool = False
    ) -> None:
        """Close the connection of a checked-out entry, which SQLAlchemy has given up.

        The driver may have to cancel a statement on the server first. The entry's slot
        is returned at once; the connection counts until it is closed.
        """
        backend = self.shared.backend
        if not (in_greenlet() and running_loop() is self.loop):
            # the garbage collector or another thread: its return changes the counters
            if not call_in_loop(self.loop, backend.close, connection, CloseMode.ABORT):
                backend.release(connection)
            return
        self.untrack(entry, CloseReason.INVALIDATED)
        self.slots.start_terminating()
        is_graceful = wait or (backend.driver.terminates_gracefully and not abort)
        mode = CloseMode.TERMINATE if is_graceful else CloseMode.ABORT
        task = self._closing_job(self._closed, CLOSE_TIMEOUT).close_connection(connection, mode)
        if wait and task is not None:
            await_only(asyncio.wait({task}, timeout=_INVALIDATE_WAIT))

    def close_foreign(self, connection: Any, mode: CloseMode) -> None:
        """Close a connection that is not the pool's any more."""
        self._closing_job(_nothing, CLOSE_TIMEOUT).close_connection(connection, mode)

    def set_aside(self, entry: PoolEntry) -> SetAside | None:
        """Take the connection of a cancelled statement from its borrower, if it can be kept."""
        return self.cancelled.set_aside(entry)

    def borrower_gave_up(self, entry: PoolEntry) -> None:
        """A statement ended because its task was cancelled, also by the ``timeout=`` of a call."""
        self.overload.borrower_gave_up(entry)

    def statement_cancelled(self, entry: PoolEntry) -> None:
        """End on the server what may still run there."""
        if self._killer is None:
            self._killer = StatementKiller(self.shared.backend, self.tasks, self, self.shared.log)
        self._killer.kill(entry)

    def reconnect(self, entry: PoolEntry) -> Any:
        """Open a connection in a checked-out entry, whose own a listener has rejected.

        :raises PoolTimeout: the deadline of the checkout has passed.
        """
        return await_only(self._reconnector.reconnect(entry))

    # ---------------------------------------------------------------- for others

    async def fill(self, count: int) -> None:
        """Have so many connections open at the same time, then idle."""
        tasks = [asyncio.ensure_future(self.acquire()) for _ in range(count)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.add_done_callback(self._checkin_result)
                task.cancel()
            await asyncio.wait(tasks)

    def _checkin_result(self, task: asyncio.Task[PoolEntry]) -> None:
        if not task.cancelled() and task.exception() is None:
            self.checkin(task.result())

    def next_return(self) -> asyncio.Future[None]:
        """One future shared by all callers; done at the next return that is not simply idle."""
        if self._returned is None or self._returned.done():
            self._returned = self.loop.create_future()
        return self._returned
