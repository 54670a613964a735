"""SQLAlchemy's adapter of an aiosqlite connection: its end of a transaction, and its lock."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
)

# Whether SQLAlchemy reports the row count of a statement that returns rows: not in 2.0.
COUNTS_RETURNED_ROWS = hasattr(AsyncAdapt_aiosqlite_connection, "_execute_mutex")


class AiosqliteCursor(AsyncAdapt_aiosqlite_cursor):
    """SQLAlchemy's cursor. Nothing waits until it is closed, as its rows have been read.

    SQLAlchemy 2.0 does not use it, and aiosqlite 0.21 has to be waited for.
    """

    __slots__ = ()

    def _aenter_cursor(self, cursor: Any) -> Any:
        entered: Any = super()._aenter_cursor(cursor)
        if self._adapt_connection.dbapi.has_stop:
            entered.close = partial(_close_soon, self._connection, entered._cursor)
        return entered


async def _close_soon(connection: Any, cursor: Any) -> None:
    connection._tx.put_nowait((None, cursor.close))  # before the next call


class AiosqliteAdapter(AsyncAdapt_aiosqlite_connection):
    """SQLAlchemy's adapter. It sends no COMMIT and no ROLLBACK that would do nothing.

    Each of them takes a hop into the connection's thread and back.
    """

    __slots__ = ()

    _cursor_cls = AiosqliteCursor

    def commit(self) -> None:
        if _may_be_in_transaction(self._connection):
            super().commit()

    def rollback(self) -> None:
        if _may_be_in_transaction(self._connection):
            super().rollback()


def _may_be_in_transaction(connection: Any) -> bool:
    """Whether a transaction may be open, or a call may be running or queued that begins one."""
    try:
        return bool(connection._tx.may_run() or connection._connection.in_transaction)
    except Exception:  # noqa: BLE001 - the pool does not watch its queue, or it is closed
        return True


def sparing(adapted: Any, _: object) -> Any:
    """Return an ``AiosqliteAdapter`` in place of SQLAlchemy's adapter.

    A connection of an application's own class, or around one, keeps its adapter. So does one
    with ``autocommit=False``, which is always inside a transaction: if SQLite ends that because
    of an error, only a failed ROLLBACK tells that later statements would not be undone.
    """
    raw = raw_connection(adapted)
    if raw is None or raw.in_transaction:
        return adapted
    return AiosqliteAdapter(adapted.dbapi, adapted._connection)


def raw_connection(adapted: Any) -> Any:
    """Return the connection of ``sqlite3`` behind an adapter.

    :return: None if it is closed, or if it or an object around it is of a class that may do more
        than SQLAlchemy's, aiosqlite's and sqlite3's own.
    """
    if type(adapted) is AiosqliteAdapter:
        return adapted._connection._connection  # its classes were tested when it was made
    if type(adapted) is not AsyncAdapt_aiosqlite_connection:
        return None
    raw = getattr(adapted._connection, "_connection", None)
    is_plain = _is_plain(adapted._connection, "aiosqlite") and _is_plain(raw, "sqlite3")
    return raw if is_plain else None


def _is_plain(connection: Any, package: str) -> bool:
    """Whether its class is ``Connection`` of a package, and not a subclass of it."""
    kind = type(connection)
    return kind.__name__ == "Connection" and kind.__module__.partition(".")[0] == package


def driver_connection(adapted: Any) -> Any:
    """Return aiosqlite's connection."""
    return adapted._connection


def execute_lock(adapted: Any) -> AbstractAsyncContextManager[Any] | None:
    """Return the lock that SQLAlchemy's cursors hold while a statement runs; 2.0 has none."""
    lock: AbstractAsyncContextManager[Any] | None = getattr(adapted, "_execute_mutex", None)
    return lock
