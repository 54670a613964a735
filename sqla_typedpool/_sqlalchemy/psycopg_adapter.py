"""SQLAlchemy's adapter of a psycopg connection: whether it is as expected, and what needs no wait.

psycopg knows without a round trip whether a transaction is open. Its coroutines that have nothing
to send do not wait, so that they can be run without a greenlet and also where nothing may be
awaited.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from sqlalchemy.dialects.postgresql.psycopg import (
    AsyncAdapt_psycopg_connection,
    PGDialectAsync_psycopg,
)

_IDLE = 0  # psycopg's TransactionStatus.IDLE


class PsycopgConnections:
    """Recognises the connections of psycopg whose behaviour is known.

    :param dialect: SQLAlchemy's dialect of psycopg, of which it takes psycopg's classes.
    """

    def __init__(self, dialect: Any) -> None:
        driver = dialect.dbapi
        self._dialect = dialect
        self._class = getattr(driver, "AsyncConnection", None)
        self._cursor_class = getattr(driver, "AsyncCursor", None)
        self._row_factory = getattr(getattr(driver, "rows", None), "tuple_row", None)

    def is_plain(self, adapted: Any) -> bool:
        """Return whether it is psycopg's own connection, without a pipeline."""
        if type(adapted) is not AsyncAdapt_psycopg_connection:
            return False
        connection = adapted._connection
        return type(connection) is self._class and not connection.pgconn.pipeline_status

    def returns_tuples(self, adapted: Any) -> bool:
        """Return whether it is a plain connection, and its cursors are psycopg's own."""
        if not self.is_plain(adapted):
            return False
        connection = adapted._connection
        return (
            connection.cursor_factory is self._cursor_class
            and connection.row_factory is self._row_factory
        )

    def is_default(self, adapted: Any) -> bool:
        """Return whether a statement of a plain connection may be its own transaction.

        That requires the default isolation level, no read-only or deferrable mode, no
        autocommit, no open transaction, and no other task that uses the connection.
        """
        connection = adapted._connection
        return (
            connection.pgconn.transaction_status == _IDLE
            and not connection.autocommit
            and connection.read_only is None
            and connection.deferrable is None
            and not connection.lock.locked()
            and (
                connection.isolation_level is None
                or _is_servers_level(connection.isolation_level, self._dialect)
            )
        )

    def end_at_once(self, adapted: Any, ending: str) -> bool:
        """Commit or roll back without a greenlet if no transaction is open.

        :param ending: ``"commit"`` or ``"rollback"``. psycopg sends nothing then. It raises an
            error inside of its own transaction blocks.
        :return: False if it has not been done.
        """
        if not self.is_plain(adapted):
            return False
        connection = adapted._connection
        if connection.pgconn.transaction_status != _IDLE or connection.lock.locked():
            return False
        run_at_once(getattr(connection, ending)())
        return True


def psycopg_connections(dialect: Any) -> PsycopgConnections | None:
    """Return what recognises psycopg's connections; None for a dialect of another driver."""
    if type(dialect) is PGDialectAsync_psycopg:
        return PsycopgConnections(dialect)
    return None


def _is_servers_level(level: Any, dialect: Any) -> bool:
    # A reset after a change of the level sets the default level by name, not None.
    name = dialect.default_isolation_level
    is_servers = dialect._on_connect_isolation_level is None
    return is_servers and level == dialect._isolation_lookup.get(name)


def run_at_once(work: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine of psycopg that has nothing to send, without awaiting it.

    Such a coroutine may still let other tasks run at its end; this is left out.
    """
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()


def begin_autocommit(connection: Any) -> None:
    """Let psycopg send no BEGIN before the next statements; nothing is sent.

    ``PsycopgConnections.is_default`` has shown that no transaction is open and that no other task
    uses the connection. ``set_autocommit`` tests the same, with ten function calls.
    """
    connection._autocommit = True
    if not connection.autocommit:  # this psycopg has another attribute
        run_at_once(connection.set_autocommit(True))


def end_autocommit(connection: Any) -> None:
    """Undo ``begin_autocommit`` after any outcome of the statement, without awaiting.

    A connection on which that is impossible, because its statement has not ended, is closed.
    """
    if connection.pgconn.transaction_status == _IDLE and not connection.lock.locked():
        connection._autocommit = False  # as in begin_autocommit
    if not connection.autocommit:
        return
    try:
        run_at_once(connection.set_autocommit(False))
    except Exception:  # noqa: BLE001 - psycopg's error would hide that of the statement
        connection.pgconn.finish()
    if connection.autocommit:  # another task uses the connection
        connection.pgconn.finish()


def is_stale_on_psycopg(error: Any) -> bool:
    """Return whether a prepared statement was not run because a migration has changed its columns.

    The text of the server's message depends on its language.
    """
    diagnostics = getattr(error, "diag", None)
    return getattr(diagnostics, "source_function", None) == "RevalidateCachedQuery"
