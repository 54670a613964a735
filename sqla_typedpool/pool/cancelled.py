"""Keeps the connections of cancelled statements, where the driver and the checkout allow it.

SQLAlchemy invalidates a connection when a statement on it is cancelled. A new one would cost a
connect, just when callers give up because the database is busy. Instead:

1. ``set_aside``, in SQLAlchemy's call of ``invalidate``, decides. If the connection can be kept,
   its borrower can no longer reach it, and SQLAlchemy takes it for invalidated.
2. ``start``, at the return of the empty entry, gives the entry its connection again, and ends in
   the background what the statement has left. The slot is in the state validating.
3. The entry is released, or its connection is closed if anything went wrong.

The fast path of ``fetch`` needs nothing of this: it raises its errors through SQLAlchemy, so a
cancelled statement arrives here as well. A caller that does something which a rollback does not
undo calls ``entry.note_change()``: a cancellation in the same checkout then closes the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial

from sqla_typedpool._asyncio.tasks import BackgroundTasks
from sqla_typedpool._asyncio.timers import running_loop
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn, in_greenlet
from sqla_typedpool.pool.backend import CloseMode
from sqla_typedpool.pool.drivers.base import SetAside
from sqla_typedpool.pool.entry import CancelledCheckout, Condition, PoolEntry
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.stats import CloseReason, Counters
from sqla_typedpool.pool.validating import Validation, limited
from sqla_typedpool.pool.validator import ValidationOwner, Validator


@dataclass(eq=False)
class CancelledStatements:
    """Keeps the connections of one event loop."""

    owner: ValidationOwner
    shared: Shared
    tasks: BackgroundTasks
    clock: Callable[[], float]
    counters: Counters
    validator: Validator
    # Waiters do not count on them: the server may take long to end the statement.
    running: set[PoolEntry] = field(default_factory=set)

    def set_aside(self, entry: PoolEntry) -> SetAside | None:
        """Take the connection of a cancelled statement from its borrower, if it can be kept."""
        return self.shared.backend.set_aside(entry) if self._may_keep(entry) else None

    def _may_keep(self, entry: PoolEntry) -> bool:
        since = entry.checked_out_at
        return (
            self.shared.options.pool_keep_cancelled
            and self.shared.backend.ends_transactions
            and since is not None
            and entry.changed_in != since  # a rollback would not undo everything
            and entry.condition is Condition.GOOD
            and since >= self.owner.disconnected_at
            and self.clock() < entry.expires_at
            and in_greenlet()
            and running_loop() is self.tasks.loop
        )

    def start(self, entry: PoolEntry, checkout: CancelledCheckout) -> None:
        """reserved -> validating: end the statement in the background."""
        entry.dbapi_connection = checkout.connection.adapted
        if entry.evicted is not None:  # by a listener of its return
            self.owner.close_entry(entry, entry.evicted, CloseMode.ABORT)
            self.owner.serve_waiters()
            return
        self.running.add(entry)
        self.owner.slots.start_validating()
        on_done = partial(self._ended, entry)
        self.tasks.spawn(self._end(entry, checkout), "keep", on_done=on_done)

    async def _end(self, entry: PoolEntry, checkout: CancelledCheckout) -> Validation:
        backend = self.shared.backend
        result = await limited(entry, backend, self._clean(entry, checkout))
        is_open = result is Validation.ALIVE and entry.in_transaction()
        return Validation.IN_TRANSACTION if is_open else result

    async def _clean(self, entry: PoolEntry, checkout: CancelledCheckout) -> bool:
        await checkout.connection.end_statement()
        await greenlet_spawn(entry.complete_return, checkout.finalizers)
        if entry.in_transaction():  # begun by a listener
            await self.shared.backend.end_transaction(entry.dbapi_connection)
        return True

    def _ended(self, entry: PoolEntry, task: asyncio.Task[Validation]) -> None:
        """validating -> reserved -> wherever it belongs."""
        self.owner.slots.validated()
        self.running.discard(entry)
        if task.cancelled():  # the loop is ending
            self.owner.close_entry(entry, CloseReason.LOOP, CloseMode.ABORT)
            self.tasks.loop.call_soon(self.owner.serve_waiters, context=Context())
            return
        result = task.result() if task.exception() is None else Validation.IN_TRANSACTION
        if result is Validation.ALIVE and entry.dbapi_connection is not None:
            self._keep(entry)
        else:
            if result in (Validation.DEAD, Validation.SILENT):  # before the close, as for a ping
                self.validator.revalidate_all(is_silent=result is Validation.SILENT)
            self.owner.close_entry(entry, CloseReason.INVALIDATED, CloseMode.ABORT)
        self.owner.serve_waiters()

    def _keep(self, entry: PoolEntry) -> None:
        entry.cancelled = None
        self.counters.kept_cancelled += 1
        if entry.condition is not Condition.READ_ONLY:
            entry.mark_validated(self.clock())
        self.owner.check_or_release(entry, validated=True)
