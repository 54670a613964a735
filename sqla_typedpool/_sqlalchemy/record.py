"""SQLAlchemy's record of a pooled connection, with hooks where it would do I/O itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _ConnectionRecord


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
        try:
            self.fire_invalidate(e)
            self.fire_close()
        finally:
            self.dbapi_connection = None
            self.hard_invalidated(connection, e)

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
