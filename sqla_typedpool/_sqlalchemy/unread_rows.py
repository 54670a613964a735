"""Streams that end before their last row, on drivers that cannot tell the server to stop.

MySQL's protocol has no such message: the rest of an unbuffered result must be read before the
connection can be used again. SQLAlchemy's cursor reads it when it is closed, and the driver
before it sends ROLLBACK, for as long as that takes. Here a closed cursor leaves the rows. They
are read if the application goes on in its transaction. If it rolls back or returns the
connection, they are read for a moment only; then the connection is closed instead, and the
server rolls back.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from sqla_typedpool._sqlalchemy.greenlets import await_only, in_greenlet
from sqla_typedpool._sqlalchemy.record import HookedRecord


class UnreadRows(Exception):
    """The reason for which a connection is invalidated whose stream has ended early."""


class StreamingDriver(Protocol):
    """What is needed of a driver; ``connection`` is its own."""

    def has_unread_rows(self, connection: Any) -> bool:
        """Whether the rows of a statement have not all been read."""
        ...

    def read_rest(self, connection: Any) -> Awaitable[object]:
        """Read and drop all its rows."""
        ...

    def read_rest_soon(self, connection: Any) -> Awaitable[bool]:
        """Read and drop the rows that arrive in a moment; False = there are more."""
        ...


def leave_unread_rows(dialect: Any, driver: StreamingDriver) -> None:
    """Let the cursors of a dialect leave unread rows, and its rollback not wait for them.

    Call it again for another pool of the dialect; it does nothing then.
    """
    if "_typedpool_streams" in dialect.__dict__:
        return
    streams = dialect._typedpool_streams = _Streams(dialect, driver)
    dialect.execution_ctx_cls = _context_class(dialect.execution_ctx_cls, streams)
    dialect.do_rollback = streams.before_rollback(dialect.do_rollback)
    dialect.do_commit = streams.before_commit(dialect.do_commit)


class _Streams:
    def __init__(self, dialect: Any, driver: StreamingDriver) -> None:
        self._connection_of: Callable[[Any], Any] = dialect.get_driver_connection
        self._driver = driver
        self._cursor_classes: dict[Any, Any] = {}

    def cursor_class(self, original: Any) -> Any:
        """A subclass of the adapter's class of streaming cursors."""
        if original not in self._cursor_classes:
            self._cursor_classes[original] = _cursor_class(original, self)
        return self._cursor_classes[original]

    def has_unread_rows(self, adapted: Any) -> bool:
        try:
            return self._driver.has_unread_rows(self._connection_of(adapted))
        except AttributeError:  # a stand-in for a connection (a mock, a proxy)
            return False

    def read_rest(self, subject: Any) -> None:
        """Read what a closed cursor has left; else the driver would warn of it."""
        record = _record_of(subject)
        if record is not None and record.has_left_rows:
            record.has_left_rows = False
            if self.has_unread_rows(subject.dbapi_connection):
                connection = self._connection_of(subject.dbapi_connection)
                await_only(self._driver.read_rest(connection))

    def before_rollback(self, operation: Callable[[Any], None]) -> Callable[[Any], None]:
        def do_rollback(subject: Any) -> None:
            if not self._is_given_up(subject):
                operation(subject)

        return do_rollback

    def _is_given_up(self, subject: Any) -> bool:
        """Invalidate a connection that still has unread rows after a moment."""
        record, adapted = _record_of(subject), getattr(subject, "dbapi_connection", None)
        if record is None or not in_greenlet() or not self.has_unread_rows(adapted):
            return False
        connection = record.streaming()
        if connection is None or connection._dbapi_connection is not subject:
            connection = None
            if subject._counter != 0:
                return False  # it is a cursor of the application's own, and still in use
        if await_only(self._driver.read_rest_soon(self._connection_of(adapted))):
            return False
        error = UnreadRows("a stream has ended before its last row")
        if connection is not None:
            connection.invalidate(error)  # it connects again when it is used again
        else:
            record.invalidate(error)  # it is being returned
        return True

    def before_commit(self, operation: Callable[[Any], None]) -> Callable[[Any], None]:
        def do_commit(subject: Any) -> None:
            self.read_rest(subject)
            operation(subject)

        return do_commit


def _record_of(subject: Any) -> HookedRecord | None:
    """The record of a connection that a pool has handed out; None if the pool is another one."""
    record = getattr(subject, "_connection_record", None)
    return record if isinstance(record, HookedRecord) else None


def _context_class(original: Any, streams: _Streams) -> Any:
    class StreamContext(original):  # type: ignore[misc]
        def create_cursor(self) -> Any:
            streams.read_rest(self._dbapi_connection)
            return super().create_cursor()

        def create_server_side_cursor(self) -> Any:
            proxied = self._dbapi_connection
            record = _record_of(proxied)
            cursor_class = getattr(proxied.dbapi_connection, "_ss_cursor_cls", None)
            if record is None or cursor_class is None:
                return super().create_server_side_cursor()
            record.streaming = weakref.ref(self.root_connection)
            cursor = streams.cursor_class(cursor_class)(proxied.dbapi_connection)
            cursor.record = record
            return cursor

    return StreamContext


def _cursor_class(original: Any, streams: _Streams) -> Any:
    class StreamCursor(original):  # type: ignore[misc]
        record: HookedRecord
        _cursor: Any

        def close(self) -> None:
            if self._cursor is None or not streams.has_unread_rows(self._adapt_connection):
                super().close()
            else:
                self._cursor, self.record.has_left_rows = None, True

    return StreamCursor
