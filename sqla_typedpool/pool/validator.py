"""Validates connections in the background: pings them, and ends transactions left open.

The slot of such a connection is in the state validating.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from sqla_typedpool._asyncio.tasks import BackgroundTasks
from sqla_typedpool.pool.backend import CloseMode
from sqla_typedpool.pool.drivers.sqlite_storage import IN_MEMORY
from sqla_typedpool.pool.entry import Condition, PoolEntry
from sqla_typedpool.pool.reports import Reports
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.stats import CloseReason, Counters
from sqla_typedpool.pool.validating import (
    Validation,
    end_transaction,
    query_server_mode,
    validate,
)
from sqla_typedpool.pool.waiting import WaitQueue


class ValidationOwner(Protocol):
    """What the jobs on a connection that is being validated need of their pool."""

    slots: Slots[PoolEntry]
    queue: WaitQueue
    # When a connection was last found dead; 0 = never.
    disconnected_at: float

    def release(self, entry: PoolEntry, *, validated: bool = False) -> None:
        """reserved -> a waiter, idle, or closed."""

    def check_or_release(self, entry: PoolEntry, *, validated: bool = False) -> None:
        """The same, but its server's mode is queried first if that is needed."""

    def close_entry(
        self, entry: PoolEntry, reason: CloseReason, mode: CloseMode = CloseMode.GRACEFUL
    ) -> None:
        """reserved -> closing -> free."""

    def serve_waiters(self) -> None:
        """Serve the waiters that can be served now."""


@dataclass(eq=False)
class Validator:
    """Validates the connections of one event loop."""

    owner: ValidationOwner
    shared: Shared
    tasks: BackgroundTasks
    clock: Callable[[], float]
    counters: Counters
    reports: Reports
    # Being validated, but waiters do not count on them: a ping may not be answered, and a
    # rollback has the time of ``pool_reset_timeout``.
    likely_dead: set[PoolEntry] = field(default_factory=set)
    rolling_back: set[PoolEntry] = field(default_factory=set)

    def start(self, entry: PoolEntry, *, is_likely_dead: bool = False) -> None:
        """reserved -> validating: ping it in the background.

        If a transaction was begun in it since its return, that one is rolled back instead.

        :param is_likely_dead: waiters should not count on it.
        """
        if self.shared.backend.ends_transactions and entry.in_transaction():
            self.roll_back(entry)
            self.counters.dirty_returns += 1
            self.reports.dirty_return(None, is_kept=False)
            return
        if is_likely_dead:
            self.likely_dead.add(entry)
        self._start_job(entry, validate(entry, self.shared.backend))

    def _start_job(self, entry: PoolEntry, job: Coroutine[Any, Any, Validation]) -> None:
        self.owner.slots.start_validating()
        on_done = partial(self._validated, entry, self.owner.queue.joined)
        self.tasks.spawn(job, "ping", on_done=on_done)

    def check_server(self, entry: PoolEntry) -> None:
        """reserved -> validating: query whether its server is read-only now."""
        self._start_job(entry, self._check_read_only(entry))

    async def _check_read_only(self, entry: PoolEntry) -> Validation:
        """Query its server, and replace connections opened before it became read-only."""
        result, mode = await query_server_mode(entry, self.shared.backend)
        if result is Validation.ALIVE:
            is_older = self.shared.backend.opened_before_change(entry, mode)
            if is_older is not None:
                self.reports.failover(mode, entry.server_mode)
                self.shared.evict_everywhere(is_older)
        return result

    def _validated(self, entry: PoolEntry, joined: int, task: asyncio.Task[Validation]) -> None:
        """validating -> reserved -> wherever it belongs.

        :param joined: how many waiters had joined the queue when the ping began.
        """
        if self._job_was_cancelled(entry, task):
            return
        self.counters.pings += 1
        error = task.exception()
        result = task.result() if error is None else Validation.DEAD
        if result is Validation.ALIVE and entry.dbapi_connection is not None:
            entry.mark_validated(self.clock())
            self.owner.release(entry, validated=True)
        else:
            self._validation_failed(entry, result, error, joined)
        self.owner.serve_waiters()

    def _job_was_cancelled(self, entry: PoolEntry, task: asyncio.Task[Validation]) -> bool:
        """validating -> reserved; and closed if the job was cancelled: the loop is ending."""
        self.owner.slots.validated()
        self.likely_dead.discard(entry)
        self.rolling_back.discard(entry)
        if not task.cancelled():
            return False
        self.owner.close_entry(entry, CloseReason.LOOP, CloseMode.ABORT)
        self.tasks.loop.call_soon(self.owner.serve_waiters, context=Context())
        return True

    def _validation_failed(
        self, entry: PoolEntry, result: Validation, error: BaseException | None, joined: int
    ) -> None:
        self.counters.failed_pings += 1
        if error is not None:  # it is not a disconnect
            self.owner.queue.fail_oldest(error, joined)
        else:  # before the close: it serves waiters, from idle entries too
            self.revalidate_all(is_silent=result is Validation.SILENT)
        self.owner.close_entry(entry, CloseReason.PING, CloseMode.ABORT)

    def revalidate_all(self, *, is_silent: bool = False) -> None:
        """A connection was found dead: ping the others before they are used again.

        One failure does not replace the healthy ones. Idle ones are pinged now, all at
        once, each with its limit.

        :param is_silent: it did not answer at all, and neither may the others: waiters
            should not count on them.
        """
        if not self.shared.backend.driver.needs_ping:
            return
        self.owner.disconnected_at = self.clock()  # what is in use is pinged after its return
        for entry in list(self.owner.slots.idle):
            if self.owner.slots.reserve(entry):
                self.start(entry, is_likely_dead=is_silent)

    # ------------------------------------------------------------- rolling back

    def roll_back(self, entry: PoolEntry) -> None:
        """reserved -> validating: end its transaction in the background."""
        self.rolling_back.add(entry)
        limit = self.shared.options.pool_reset_timeout
        job = end_transaction(entry, self.shared.backend, limit)
        self.owner.slots.start_validating()
        self.tasks.spawn(job, "rollback", on_done=partial(self._rolled_back, entry))

    def _rolled_back(self, entry: PoolEntry, task: asyncio.Task[Validation]) -> None:
        """validating -> reserved -> wherever it belongs."""
        if self._job_was_cancelled(entry, task):
            return
        result = task.result() if task.exception() is None else Validation.IN_TRANSACTION
        if result is Validation.ALIVE and entry.dbapi_connection is not None:
            entry.commit_failed = False
            if entry.condition is not Condition.READ_ONLY:
                entry.mark_validated(self.clock())
            self.owner.check_or_release(entry, validated=True)
        else:
            self._rollback_failed(entry, result)
        self.owner.serve_waiters()

    def _rollback_failed(self, entry: PoolEntry, result: Validation) -> None:
        is_silent, in_memory = result is Validation.SILENT, self.shared.backend.storage in IN_MEMORY
        if is_silent and in_memory and entry.evicted is None:
            self.roll_back(entry)  # its thread is busy, and closing it would lose the database
            return
        if result in (Validation.DEAD, Validation.SILENT):  # before the close: it serves waiters
            self.revalidate_all(is_silent=is_silent)
        self.owner.close_entry(entry, CloseReason.TRANSACTION, CloseMode.ABORT)
