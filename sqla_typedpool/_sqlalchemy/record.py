"""SQLAlchemy's record of a pooled connection, with hooks where it would do I/O itself."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.pool import Pool, PoolResetState
from sqlalchemy.pool.base import _ConnectionFairy, _ConnectionRecord, _finalize_fairy

# The functions through which SQLAlchemy invalidates a connection after a cancellation, from the
# inside out: that of a statement, and that of the rollback of a return.
_CANCELLED_STATEMENT = (
    _ConnectionFairy.invalidate.__code__,
    Connection.invalidate.__code__,
    Connection._handle_dbapi_exception.__code__,
)
_CANCELLED_RETURN = (_ConnectionRecord._checkin_failed.__code__, _finalize_fairy.__code__)

Finalizers = deque[Callable[[Any], None]]


def _nothing() -> None:
    """No connection has streamed."""


class HookedRecord(_ConnectionRecord):
    """A position in a pool: it connects, fires the events and keeps ``record_info``.

    A subclass implements connecting again, closing after an invalidation, and a failed
    return.
    """

    # Whether a closed cursor has left rows that must be read before the next statement.
    has_left_rows = False
    # The ``Connection`` that streamed last.
    streaming: Callable[[], Any] = staticmethod(_nothing)
    # When it was checked out; None = it is not in use.
    checked_out_at: float | None = None
    # ``checked_out_at`` of the latest checkout in which something was done that no rollback undoes:
    # a commit, or anything with the driver's own connection.
    changed_in: float | None = None

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, connect=False)
        self.pool = pool

    open = _ConnectionRecord.get_connection
    """Connect a record that has no connection; in a greenlet, unless the driver is synchronous."""

    # --------------------------------------------------------------------- hooks

    def reconnect(self) -> Any:
        """A listener has rejected the connection of a checkout: return a new one."""
        raise NotImplementedError

    def soft_invalidated(self) -> None:
        """The connection is to be closed before its next use."""
        raise NotImplementedError

    def hard_invalidated(self, connection: Any, error: BaseException | None) -> None:
        """Close this connection, which the record has no more."""
        raise NotImplementedError

    def set_aside(self, error: asyncio.CancelledError) -> bool:
        """A statement was cancelled: take its connection from the borrower, to keep it.

        :return: False = it has to be closed.
        """
        raise NotImplementedError

    def checkin_failed(self) -> None:
        """A ``checkin`` listener has failed; the record may not have been returned."""
        raise NotImplementedError

    # ------------------------------------------------------ what SQLAlchemy calls

    def get_connection(self) -> Any:
        connection = self.dbapi_connection
        return connection if connection is not None else self.reconnect()

    def checkin(self, _fairy_was_created: bool = True) -> None:
        try:
            super().checkin(_fairy_was_created)
        except BaseException:
            self.checkin_failed()
            raise

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:
        """This follows ``_ConnectionRecord.invalidate``, which would close in place."""
        connection = self.dbapi_connection
        if connection is None:
            return
        if soft:
            super().invalidate(e, soft=True)
            self.soft_invalidated()
            return
        # the application's own call of invalidate() means that it has to be closed
        if isinstance(e, asyncio.CancelledError) and _calls_sqlalchemy() and self.set_aside(e):
            self.dbapi_connection = None
            return
        try:
            self.fire_invalidate(e)
            self.fire_close()
        finally:
            self.dbapi_connection = None
            self.hard_invalidated(connection, e)

    @property  # as in SQLAlchemy's record
    def driver_connection(self) -> Any:  # type: ignore[override]
        self.note_change()  # the application may do anything with it
        return super().driver_connection

    def close(self) -> None:
        """Close the connection, if there is one. The pool itself uses its own jobs."""
        connection = self.dbapi_connection
        if connection is None:
            return
        try:
            self.fire_close()
        finally:
            self.dbapi_connection = None
            self.hard_invalidated(connection, None)

    def fire_invalidate(self, error: BaseException | None = None) -> None:
        """Fire and log the ``invalidate`` event."""
        self.pool.dispatch.invalidate(self.dbapi_connection, self, error)
        self._log_invalidate(error, False)

    def fire_close(self) -> None:
        """Fire the ``close`` event, as ``_ConnectionRecord.close`` does."""
        self.finalize_callback.clear()
        if self.pool.dispatch.close:
            self.pool.dispatch.close(self.dbapi_connection, self)

    # -------------------------------------------------- after a cancelled statement

    def note_change(self) -> None:
        """What was done in this checkout is not all undone by a rollback."""
        self.changed_in = self.checked_out_at

    def take_finalizers(self) -> Finalizers:
        """Remove and return what SQLAlchemy would call at the return, such as for the isolation."""
        taken, self.finalize_callback = self.finalize_callback, deque()
        return taken

    def complete_return(self, finalizers: Finalizers) -> None:
        """Do what was left out at the return of a connection set aside; in a greenlet."""
        try:
            if self.pool.dispatch.reset:
                state = PoolResetState(
                    transaction_was_reset=True, terminate_only=False, asyncio_safe=True
                )
                self.pool.dispatch.reset(self.dbapi_connection, self, state)
            while finalizers:
                finalizers.pop()(self.dbapi_connection)
        except Exception:
            self.pool.logger.exception("Exception during reset or similar")
            raise


def _calls_sqlalchemy() -> bool:
    """Whether SQLAlchemy itself invalidates the connection; called in ``invalidate``."""
    frame: FrameType | None = sys._getframe(2)
    callers: tuple[CodeType, ...] = ()
    while frame is not None and len(callers) < len(_CANCELLED_STATEMENT):
        callers += (frame.f_code,)
        frame = frame.f_back
    return callers == _CANCELLED_STATEMENT or callers[:2] == _CANCELLED_RETURN
