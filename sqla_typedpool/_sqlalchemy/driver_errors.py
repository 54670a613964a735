"""Errors of the driver, raised as SQLAlchemy's ``execute()`` and ``connect()`` raise them.

SQLAlchemy does the work: it chooses the exception type, sets ``__cause__``, applies
``hide_parameters``, calls ``handle_error`` listeners and invalidates connections. The code
follows ``Connection._execute_context`` of SQLAlchemy 2.0.58 and 2.1.9.
"""

from __future__ import annotations

import weakref
from typing import Any, NoReturn

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import NotSupportedError
from sqlalchemy.pool.base import _ConnectionFairy

from sqla_typedpool._sqlalchemy.psycopg_adapter import is_stale_on_psycopg


class _ErrorContext:
    """The part of an execution context that ``_handle_dbapi_exception`` uses."""

    executemany = False

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect

    def handle_dbapi_exception(self, error: BaseException) -> None:
        self.dialect.execution_ctx_cls.handle_dbapi_exception(self, error)


def raise_execute_error(
    connection: Connection, error: BaseException, sql: str | None, arguments: Any
) -> NoReturn:
    """Raise an error of the driver as ``connection.execute()`` would. Call it in a greenlet.

    :param sql: None for an error of COMMIT, in which SQLAlchemy shows no statement.
    """
    adapted: Any = connection.connection.dbapi_connection
    try:
        try:
            raise error
        except Exception:
            # raises the adapter's exception for it
            getattr(adapted, "_handle_exception", _unchanged)(error)
            raise
    except BaseException as translated:  # noqa: BLE001 - SQLAlchemy raises it again
        context: Any = None if sql is None else _ErrorContext(connection.dialect)
        connection._handle_dbapi_exception(translated, sql, arguments, None, context)
    raise AssertionError("unreachable")


def _unchanged(error: BaseException) -> None:
    """An adapter that raises the driver's exceptions as they are."""


def raise_and_return_entry(
    engine: Engine, entry: Any, error: BaseException, sql: str | None, arguments: Any
) -> NoReturn:
    """Raise an error of the driver, and return the pool entry it happened on to its pool.

    Call it in a greenlet.
    """
    fairy = _ConnectionFairy(engine.pool, entry.dbapi_connection, entry, False)
    fairy._counter = 1  # checked out once
    entry.fairy_ref = weakref.ref(fairy)
    connection = Connection(engine, connection=fairy, _allow_autobegin=False)
    try:
        raise_execute_error(connection, error, sql, arguments)
    finally:
        connection.close()


def raise_connect_error(dialect: Any, engine: Engine | None, error: BaseException) -> NoReturn:
    """Raise an error of a checkout as ``engine.connect()`` would.

    Call it in a greenlet if there are ``handle_error`` listeners.

    :param dialect: that of the pool; without an engine it may be a stand-in.
    :param engine: for the listeners; None = it is not known.
    """
    driver = getattr(dialect, "loaded_dbapi", None)
    if driver is not None and isinstance(error, driver.Error):
        Connection._handle_dbapi_exception_noconnection(error, dialect, engine)
    raise error


def is_stale_plan(error: Exception) -> bool:
    """Return whether a migration has made a prepared statement invalid. It has not been run."""
    return isinstance(error, NotSupportedError) and (
        type(error.orig).__name__ == "InvalidCachedStatementError"
        or is_stale_on_psycopg(error.orig)
    )
