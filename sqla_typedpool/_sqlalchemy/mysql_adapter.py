"""SQLAlchemy's adapters of aiomysql and asyncmy: the driver's cursor, and the lock around it."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from typing import Any

from sqlalchemy.dialects.mysql.aiomysql import AsyncAdapt_aiomysql_connection
from sqlalchemy.dialects.mysql.asyncmy import AsyncAdapt_asyncmy_connection


def is_plain_connection(adapted: Any) -> bool:
    """Return whether a cursor of the driver does what SQLAlchemy's cursor does.

    That requires classes that are known, and an open connection on which no other statement
    runs and no stream has unread rows.

    :param adapted: SQLAlchemy's adapter of a connection.
    """
    connection = adapted._connection
    if type(adapted) is AsyncAdapt_aiomysql_connection:
        is_plain = type(connection) is adapted.dbapi.aiomysql.Connection and not connection.closed
    elif type(adapted) is AsyncAdapt_asyncmy_connection:
        driver = adapted.dbapi.asyncmy
        is_plain = type(connection) is driver.connection.Connection and connection.connected
        is_plain = is_plain and connection._cursor_cls is driver.cursors.Cursor
    else:
        return False
    return is_plain and not _has_unread_rows(connection) and not adapted._execute_mutex.locked()


def _has_unread_rows(connection: Any) -> bool:
    result = connection._result
    return result is not None and bool(result.unbuffered_active)


def commits_each_statement(adapted: Any) -> bool:
    """Whether the server commits each statement: its variable ``autocommit`` is on."""
    return bool(adapted._connection.get_autocommit())


def new_cursor(adapted: Any) -> Any:
    """Return a cursor of the driver, of the class that SQLAlchemy uses."""
    if type(adapted) is AsyncAdapt_aiomysql_connection:
        # a subclass that does not convert the server's warnings
        return adapted.dbapi.Cursor(adapted._connection, adapted._connection.echo)
    return adapted._connection.cursor()


def execute_lock(adapted: Any) -> AbstractAsyncContextManager[Any]:
    """Return the lock that SQLAlchemy's cursors hold while a statement runs."""
    lock: AbstractAsyncContextManager[Any] = adapted._execute_mutex
    return lock


def commit(adapted: Any) -> Awaitable[object]:
    """Send COMMIT."""
    sent: Awaitable[object] = adapted._connection.commit()
    return sent
