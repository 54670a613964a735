"""One position in the pool, and the connection in it.

SQLAlchemy owns the record: its events, ``info`` and ``record_info``, which outlive a
connection. The pool's own data about the connection are attributes of ``PoolEntry``.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from sqla_typedpool._sqlalchemy.pool_base import Pool
from sqla_typedpool._sqlalchemy.record import Finalizers, HookedRecord
from sqla_typedpool._sqlalchemy.unread_rows import UnreadRows
from sqla_typedpool.pool.call_sites import CallSite
from sqla_typedpool.pool.drivers.base import (
    ServerSession,
    SetAside,
    always_alive,
    never_in_transaction,
)
from sqla_typedpool.pool.stats import CloseReason


class EntryOwner(Protocol):
    """The part of the pool that an entry belongs to."""

    loop: asyncio.AbstractEventLoop

    def checkin(self, entry: PoolEntry) -> None:
        """Take a checked-out entry back. Called in ``loop``."""

    def reconnect(self, entry: PoolEntry) -> Any:
        """Open a connection in a checked-out entry that has none, and return it."""

    def terminate(
        self, entry: PoolEntry, connection: Any, *, wait: bool, abort: bool = False
    ) -> None:
        """Close the connection of a checked-out entry, which SQLAlchemy has given up.

        :param wait: wait a moment for the end.
        :param abort: send nothing more to the server.
        """

    def set_aside(self, entry: PoolEntry) -> SetAside | None:
        """Take the connection of a cancelled statement from its borrower, if it can be kept."""

    def borrower_gave_up(self, entry: PoolEntry) -> None:
        """A statement ended because its task was cancelled, also by the ``timeout=`` of a call."""

    def statement_cancelled(self, entry: PoolEntry) -> None:
        """A statement was cancelled, or left, that may still run on the server."""


class Condition(IntEnum):
    """What is known against an entry's connection. A higher value outweighs a lower one."""

    GOOD = 0
    # It must be pinged before the next use.
    SUSPECT = 1
    # A statement failed because nothing may be written: check its server when it is returned.
    READ_ONLY = 2
    # It is closed as soon as it is not in use.
    EVICTED = 3


@dataclass(frozen=True, eq=False)
class CancelledCheckout:
    """A checkout in which a statement was cancelled, and whose connection the pool keeps."""

    # The connection, which the entry does not have until the job on it begins.
    connection: SetAside
    error: asyncio.CancelledError
    # What SQLAlchemy would have called with the connection at its return.
    finalizers: Finalizers


class PoolEntry(HookedRecord):
    """SQLAlchemy's record with the pool's state beside it."""

    # who has it
    # The task that checked it out.
    task: asyncio.Task[Any] | weakref.ref[asyncio.Task[Any]] | None = None
    # What the application calls the borrower's work: ``holder_label``.
    label: str | None = None
    # Where it was checked out, with ``pool_leak_threshold``.
    site: CallSite | None = None
    # The same, also if only an observer needs it: for reports on a task that has ended.
    observed_site: CallSite | None = None
    # Noted with the site: the task may not exist when it is needed.
    task_name: str | None = None
    is_leak_reported = False
    # The latest checkout of it that had to wait: when it got the connection, and the seconds that
    # it had waited. It is the present one if the first equals ``checked_out_at``.
    latest_wait: tuple[float, float] | None = None

    # its connection
    condition = Condition.GOOD
    # Why it is evicted.
    evicted: CloseReason | None = None
    # The local probe of its connection.
    probe: Callable[[], int] = staticmethod(always_alive)
    # Whether its connection may be inside a transaction.
    in_transaction: Callable[[], bool] = staticmethod(never_in_transaction)
    # A COMMIT failed, and neither ``in_transaction`` nor the driver's rules show its end.
    commit_failed = False
    idle_since = 0.0
    # When it was last known to work: opened, pinged or returned.
    validated_at = 0.0
    # When its connection reaches its maximum lifetime.
    expires_at = 0.0
    # Until its connection is ready for the next borrower.
    cancelled: CancelledCheckout | None = None
    # It was pinged or opened a moment ago, so what its socket shows needs no ping.
    just_validated = False
    # It has been connected, and no task may still be connecting it: kept when empty.
    is_reusable = False
    # Whether its server was read-only when it was opened; None = unknown.
    server_mode: object = None
    # How to kill a statement of it, where that is needed.
    server_session: ServerSession | None = None

    def __init__(self, pool: Pool, owner: EntryOwner) -> None:
        super().__init__(pool)
        self.owner = owner

    def start_opening(self) -> None:
        """Reset the data of the connection before."""
        self.condition, self.evicted = Condition.GOOD, None
        self.just_validated = self.commit_failed = self.has_left_rows = False
        self.changed_in = None

    def attach(
        self,
        probe: Callable[[], int],
        mode: object = None,
        session: ServerSession | None = None,
        in_transaction: Callable[[], bool] = never_in_transaction,
    ) -> None:
        """Note what is known of a new connection."""
        self.probe, self.in_transaction = probe, in_transaction
        self.server_mode, self.server_session = mode, session
        self.is_reusable = self.evicted is None  # else no waiter needs it any more

    def start_lifetime(self, now: float, expires_at: float) -> None:
        """Note when its connection was opened, and when it expires."""
        self.idle_since = self.validated_at = now
        self.expires_at = expires_at

    def detach_connection(self) -> Any:
        """Remove and return the connection, which is closed or has been detached."""
        connection, self.dbapi_connection = self.dbapi_connection, None
        if connection is None and self.cancelled is not None:
            connection = self.cancelled.connection.adapted
        self.cancelled = None
        # the old ones hold the driver's connection
        self.probe, self.in_transaction = always_alive, never_in_transaction
        self.server_session = None
        return connection

    # ----------------------------------------------------------------- condition

    def mark(self, condition: Condition) -> None:
        """Record a condition; a worse one is kept."""
        self.condition = max(self.condition, condition)

    def evict(self, reason: CloseReason) -> None:
        """Close it as soon as it is not in use."""
        if self.evicted is not CloseReason.INVALIDATED:
            self.evicted = reason
        self.condition = Condition.EVICTED

    def mark_validated(self, now: float) -> None:
        """It has answered."""
        self.validated_at = now
        if self.condition is not Condition.EVICTED:
            self.condition = Condition.GOOD

    # ------------------------------------------------------------------ borrower

    def borrower(self) -> asyncio.Task[Any] | None:
        """The task that checked it out, if it still exists."""
        return self.task() if isinstance(self.task, weakref.ref) else self.task

    def forget_borrower(self) -> None:
        """Remove what is known of the borrower, who has returned it."""
        self.checked_out_at = self.task = self.label = self.site = None

    def hold_task_weakly(self) -> None:
        """Keep the borrower's task no longer alive.

        A task that will never run again would not be collected, and its connection
        would not be returned. A weak reference costs more than all else that a checkout
        notes, so only the housekeeper makes it, for the entries that stay out.
        """
        if self.task is not None and not isinstance(self.task, weakref.ref):
            self.task = weakref.ref(self.task)

    # ------------------------------------------------------------ SQLAlchemy's hooks

    def checkin(self, _fairy_was_created: bool = True) -> None:
        has_listeners = self.finalize_callback or self.pool.dispatch.checkin
        try:
            is_here = self.owner.loop is asyncio.get_running_loop()
        except RuntimeError:
            is_here = False
        if is_here and not has_listeners and self.fairy_ref is not None:
            self.fairy_ref = None  # all that an ordinary return does
            self.owner.checkin(self)
        else:
            super().checkin(_fairy_was_created)

    def reconnect(self) -> Any:
        return self.owner.reconnect(self)

    def soft_invalidated(self) -> None:
        self.evict(CloseReason.INVALIDATED)

    def set_aside(self, error: asyncio.CancelledError) -> bool:
        aside = self.owner.set_aside(self)
        if aside is None:
            return False
        self.cancelled = CancelledCheckout(aside, error, self.take_finalizers())
        self.owner.borrower_gave_up(self)
        return True

    def hard_invalidated(self, connection: Any, error: BaseException | None) -> None:
        """Close the connection in the background.

        No caller should wait for a server that may be silent. Without an error the
        application has called ``invalidate()``, and this waits a moment for the close.
        """
        has_unread_rows = isinstance(error, UnreadRows)
        is_cancelled = isinstance(error, asyncio.CancelledError)
        if is_cancelled:
            self.owner.borrower_gave_up(self)
        may_run_on = has_unread_rows or is_cancelled
        if may_run_on and self.server_session is not None:
            self.owner.statement_cancelled(self)
        self.owner.terminate(self, connection, wait=error is None, abort=has_unread_rows)

    def checkin_failed(self) -> None:
        """What the listener was to do has not been done, so the connection is not used again."""
        if self.checked_out_at is not None:
            self.evict(CloseReason.INVALIDATED)
            self.pool._return_conn(self)
