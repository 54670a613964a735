"""Wrappers around methods of one dialect instance.

``Connection.close()`` rolls back through the dialect before it returns the connection to the
pool, so a pool can limit that rollback only at the dialect. Errors of statements are seen there
as well, without a listener that would be visible to the application.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine.default import DefaultDialect

from sqla_typedpool._sqlalchemy.asyncpg_adapter import AsyncpgAdapter
from sqla_typedpool._sqlalchemy.greenlets import in_greenlet
from sqla_typedpool._sqlalchemy.psycopg_adapter import (
    PsycopgConnections,
    psycopg_connections,
)


class Cancellable(Protocol):
    """A timer."""

    def cancel(self) -> None: ...


def limit_resets(dialect: Any, start_timer: Callable[[Any], Cancellable]) -> None:
    """Give a dialect's rollback, and the commit that resets a connection, a time limit.

    Where psycopg reports that no transaction is open, both end at once, without a greenlet.
    A dialect that has a limit already gets the new one.

    :param start_timer: called in the event loop with the adapted connection; starts a
        timer that makes the pending operation fail.
    """
    limits = dialect.__dict__.get("_typedpool_limits")
    if limits is not None:
        limits.start_timer = start_timer
        return
    limits = dialect._typedpool_limits = _Limits(start_timer)
    is_default = getattr(dialect.do_rollback, "__func__", None) is DefaultDialect.do_rollback
    is_plain = is_default and not getattr(dialect, "skip_autocommit_rollback", False)
    is_plain_commit = getattr(dialect.do_commit, "__func__", None) is DefaultDialect.do_commit
    dialect.do_rollback = limits.around_rollback(dialect.do_rollback, is_plain=is_plain)
    dialect.do_commit = limits.around_commit(dialect.do_commit)
    connections = psycopg_connections(dialect)
    if connections is not None and is_plain:
        dialect.do_rollback = _at_once(dialect.do_rollback, connections, "rollback")
    if connections is not None and is_plain_commit:
        dialect.do_commit = _at_once(dialect.do_commit, connections, "commit")


_Operation = Callable[[Any], None]


def _at_once(operation: _Operation, connections: PsycopgConnections, ending: str) -> _Operation:
    """Wrap psycopg's rollback or commit: without a greenlet and a timer if nothing is open."""

    def end_transaction(subject: Any) -> None:
        if not connections.end_at_once(getattr(subject, "dbapi_connection", subject), ending):
            operation(subject)

    return end_transaction


class _Limits:
    def __init__(self, start_timer: Callable[[Any], Cancellable]) -> None:
        self.start_timer = start_timer

    def around_rollback(self, operation: _Operation, *, is_plain: bool) -> _Operation:
        """Wrap a dialect's rollback.

        :param is_plain: it does no more than to call ``rollback()``.
        """

        def do_rollback(subject: Any) -> None:
            adapted = getattr(subject, "dbapi_connection", subject)
            if not is_plain or getattr(adapted, "_transaction", True) is not None:
                self.run(operation, subject, adapted)
            elif type(adapted) is not AsyncpgAdapter:
                subject.rollback()  # nothing was begun, so there is nothing to limit
            # SQLAlchemy's own adapter does nothing without a transaction

        return do_rollback

    def around_commit(self, operation: _Operation) -> _Operation:
        def do_commit(subject: Any) -> None:
            # An application's own commit may take long. The pool's reset is the one
            # made when the proxied connection is no longer in use.
            if getattr(subject, "_counter", 1) != 0:
                operation(subject)
            else:
                self.run(operation, subject, subject.dbapi_connection)

        return do_commit

    def run(self, operation: _Operation, subject: Any, connection: Any) -> None:
        if not in_greenlet():
            return operation(subject)
        timer = self.start_timer(connection)
        try:
            return operation(subject)
        finally:
            timer.cancel()


def on_commit_error(dialect: Any, handler: Callable[[Any], None]) -> None:
    """Call ``handler`` for each COMMIT that fails.

    SQLAlchemy takes the transaction for ended then, and sends no ROLLBACK.

    :param handler: called with the pool's entry of the connection.
    """
    if getattr(dialect.do_commit, "_typedpool", False):
        return
    original = dialect.do_commit

    def do_commit(subject: Any) -> None:
        try:
            original(subject)
        except BaseException:
            entry = getattr(subject, "_connection_record", None)
            if entry is not None:
                handler(entry)
            raise

    do_commit._typedpool = True  # type: ignore[attr-defined]
    dialect.do_commit = do_commit


def on_statement_error(dialect: Any, handler: Callable[[Any, BaseException], None]) -> None:
    """Call ``handler`` for each error of a statement that is not a disconnect.

    SQLAlchemy calls the dialect for every driver error, with or without listeners.

    :param handler: called with the pool's entry of the connection and the driver's error.
    """
    if getattr(dialect.is_disconnect, "_typedpool", False):
        return
    original = dialect.is_disconnect

    def is_disconnect(error: Any, connection: Any, cursor: Any) -> bool:
        answer: bool = original(error, connection, cursor)
        entry = getattr(connection, "_connection_record", None)
        if not answer and entry is not None:
            handler(entry, error)
        return answer

    is_disconnect._typedpool = True  # type: ignore[attr-defined]
    dialect.is_disconnect = is_disconnect


def note_driver_use(dialect: Any) -> None:
    """Note each time that an application takes asyncpg's connection from a dialect."""
    is_known = issubclass(type(dialect), PGDialect_asyncpg)
    if not is_known or hasattr(dialect.get_driver_connection, "_typedpool"):
        return
    original: Callable[[Any], Any] = dialect.get_driver_connection

    def get_driver_connection(connection: Any) -> Any:
        if type(connection) is AsyncpgAdapter:
            connection.record.note_change()
        return original(connection)

    get_driver_connection._typedpool = True  # type: ignore[attr-defined]
    dialect.get_driver_connection = get_driver_connection
