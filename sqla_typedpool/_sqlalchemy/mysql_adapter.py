"""SQLAlchemy's adapters of aiomysql and asyncmy: cursors, lock, and the end of transactions."""

from __future__ import annotations

from asyncio import Lock
from collections.abc import Awaitable
from typing import Any

from sqlalchemy.dialects.mysql.aiomysql import AsyncAdapt_aiomysql_connection
from sqlalchemy.dialects.mysql.asyncmy import AsyncAdapt_asyncmy_connection

from sqla_typedpool._sqlalchemy.greenlets import await_only

_IN_TRANSACTION = 1  # the flag SERVER_STATUS_IN_TRANS


class AsyncmyAdapter(AsyncAdapt_asyncmy_connection):
    """SQLAlchemy's adapter. It sends no COMMIT and no ROLLBACK right after another one.

    Only then is it certain that they would do nothing. Otherwise the flag of the server does not
    suffice: an error does not report it, and without a transaction a ROLLBACK still undoes ``SET
    TRANSACTION``. aiomysql keeps no result of COMMIT and ROLLBACK, so nothing is left out there.
    """

    __slots__ = ("_ended",)

    def __init__(self, dbapi: Any, connection: Any) -> None:
        super().__init__(dbapi, connection)
        # The driver's result of the COMMIT or ROLLBACK that ended the last transaction.
        self._ended: Any = None

    def commit(self) -> None:
        self._end("COMMIT")

    def rollback(self) -> None:
        self._end("ROLLBACK")

    def _end(self, statement: str) -> None:
        result = self._connection._result  # None after an error and while a statement runs
        if result is not None and result is self._ended:
            return
        try:
            await_only(self.send_end(statement))
        except Exception as error:  # noqa: BLE001 - raised again
            self._handle_exception(error)

    async def send_end(self, statement: str) -> None:
        """Send COMMIT or ROLLBACK."""
        connection = self._connection
        # as its commit() does, but the result is kept until the next statement is sent
        await connection.query(statement)
        result = connection._result
        connection.server_status = result.server_status
        # with completion_type=CHAIN another transaction has begun
        self._ended = None if result.server_status & _IN_TRANSACTION else result


_ASYNCMY = (AsyncmyAdapter, AsyncAdapt_asyncmy_connection)


def noting_ends(adapted: Any, _: object) -> Any:
    """Return an ``AsyncmyAdapter`` in place of SQLAlchemy's adapter.

    A connection of an application's own class keeps its adapter.
    """
    return AsyncmyAdapter(adapted.dbapi, adapted._connection) if _is_asyncmys(adapted) else adapted


def _is_asyncmys(adapted: Any) -> bool:
    """Whether the connection behind asyncmy's adapter is not of a subclass."""
    return type(adapted._connection) is adapted.dbapi.asyncmy.connection.Connection


def is_plain_connection(adapted: Any) -> bool:
    """Return whether a cursor of the driver does what SQLAlchemy's cursor does.

    That requires classes that are known, and an open connection on which no other statement
    runs and no stream has unread rows.

    :param adapted: SQLAlchemy's adapter of a connection.
    """
    connection = adapted._connection
    if type(adapted) is AsyncAdapt_aiomysql_connection:
        is_plain = type(connection) is adapted.dbapi.aiomysql.Connection and not connection.closed
    elif type(adapted) in _ASYNCMY:
        is_plain = _is_asyncmys(adapted) and connection.connected
        is_plain = is_plain and connection._cursor_cls is adapted.dbapi.asyncmy.cursors.Cursor
    else:
        return False
    if not is_plain or adapted._execute_mutex.locked():
        return False
    result = connection._result
    return result is None or not result.unbuffered_active  # a stream's, with unread rows


def commits_each_statement(adapted: Any) -> bool:
    """Whether the server commits each statement: its variable ``autocommit`` is on."""
    return bool(adapted._connection.get_autocommit())


def lock_and_cursor(adapted: Any) -> tuple[Lock, Any]:
    """Return the lock that SQLAlchemy's cursors hold while a statement runs, and a new cursor.

    The cursor is the driver's, of the class that SQLAlchemy uses.
    """
    if type(adapted) is AsyncAdapt_aiomysql_connection:
        # a subclass that does not convert the server's warnings
        cursor = adapted.dbapi.Cursor(adapted._connection, adapted._connection.echo)
    else:
        cursor = adapted._connection.cursor()
    return adapted._execute_mutex, cursor


def commit(adapted: Any) -> Awaitable[object]:
    """Send COMMIT."""
    if type(adapted) is AsyncmyAdapter:
        return adapted.send_end("COMMIT")
    sent: Awaitable[object] = adapted._connection.commit()
    return sent
