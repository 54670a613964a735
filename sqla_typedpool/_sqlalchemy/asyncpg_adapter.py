"""SQLAlchemy's adapter of an asyncpg connection: prepared statements, lock, transaction."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.util import LRUCache

from sqla_typedpool._sqlalchemy.record import HookedRecord

T = TypeVar("T")

_AUTOCOMMIT = "autocommit"
_COPIED = ("isolation_level", "_isolation_setting", "readonly", "deferrable")

# SQL that begins or ends a transaction. SQLAlchemy sends such SQL itself for a two-phase
# transaction. A savepoint is not one: ``ROLLBACK TO``.
_TRANSACTION_CONTROL = re.compile(
    r"(?:\s|;|--[^\n\r]*[\n\r]|/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/)*"  # blanks and comments
    r"(?:BEGIN|START|COMMIT|END|ABORT|PREPARE\s+TRANSACTION"
    r"|ROLLBACK(?!\s+(?:(?:WORK|TRANSACTION)\s+)?TO\b))\b",
    re.IGNORECASE,
)


class WatchedStatements(LRUCache[str, Any]):
    """SQLAlchemy's cache of prepared statements. It notes those that begin or end a transaction.

    They are not cached, so that each use of one is prepared, and noted, before it is executed.
    """

    __slots__ = ("record",)

    def __init__(self, size: int, record: HookedRecord) -> None:
        super().__init__(size)
        self.record = record

    def __setitem__(self, sql: str, prepared: Any) -> None:
        if _TRANSACTION_CONTROL.match(sql):
            self.record.note_change()
        else:
            super().__setitem__(sql, prepared)


class AsyncpgAdapter(AsyncAdapt_asyncpg_connection):
    """SQLAlchemy's adapter. It notes what a rollback does not undo, in the entry of its pool."""

    __slots__ = ("record",)

    record: HookedRecord

    def commit(self) -> None:
        self.record.note_change()  # also if it is cancelled
        super().commit()  # type: ignore[no-untyped-call]

    def set_isolation_level(self, level: str) -> None:
        if _AUTOCOMMIT in (level, self.isolation_level):
            self.record.note_change()
        super().set_isolation_level(level)  # type: ignore[no-untyped-call]

    @property
    def autocommit(self) -> bool:
        return bool(self.isolation_level == _AUTOCOMMIT)

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.record.note_change()
        self.isolation_level = _AUTOCOMMIT if value else self._isolation_setting

    @property
    def driver_connection(self) -> Any:
        self.record.note_change()
        return self._connection

    def run_async(self, fn: Any) -> Any:
        self.record.note_change()
        return super().run_async(fn)


def watched(adapted: Any, record: HookedRecord) -> AsyncpgAdapter:
    """Return an ``AsyncpgAdapter`` of a new connection, in place of SQLAlchemy's adapter."""
    new = renewed(adapted, record)
    # of size 0 if statements are not to be cached
    new._prepared_statement_cache = WatchedStatements(cache_size(adapted), record)
    return new


def renewed(adapted: Any, record: HookedRecord) -> AsyncpgAdapter:
    """A new adapter of the same connection, with its prepared statements, without a transaction."""
    new = AsyncpgAdapter(  # type: ignore[no-untyped-call]
        adapted.dbapi,
        adapted._connection,
        prepared_statement_name_func=adapted._prepared_statement_name_func,
    )
    new._prepared_statement_cache = adapted._prepared_statement_cache
    for name in _COPIED:
        setattr(new, name, getattr(adapted, name))
    # else a migration that the connection has not seen yet would be missed
    new._invalidate_schema_cache_asof = adapted._invalidate_schema_cache_asof
    new.record = record
    return new


class _ReleasedConnection:
    """Takes the place of the driver's connection in the adapter of a borrower who was cancelled."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def is_closed(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        raise self._error(
            "the connection was returned to its pool: a statement on it was cancelled"
        )


def release(adapted: Any) -> None:
    """Cut an adapter off from its connection: cursors that are left of it raise InterfaceError."""
    forget_transaction(adapted)
    adapted._prepared_statement_cache = None  # it is the new adapter's
    released: Any = _ReleasedConnection(adapted.dbapi.asyncpg.InterfaceError)
    adapted._connection = released


def statements_of(adapted: Any) -> list[Any]:
    """Return the prepared statements of asyncpg that SQLAlchemy keeps for the connection."""
    cache = adapted._prepared_statement_cache
    return [] if cache is None else [prepared for prepared, *_ in cache.values()]


def cache_size(adapted: Any) -> int:
    """How many prepared statements SQLAlchemy keeps for the connection at most."""
    cache = adapted._prepared_statement_cache
    return 0 if cache is None else int(cache.capacity)


def has_begun(adapted: Any) -> bool:
    """Whether the adapter has begun a transaction and not ended it."""
    return bool(getattr(adapted, "_started", adapted._transaction is not None))


def is_undone_by_rollback(adapted: Any) -> bool:
    """Whether a rollback undoes the statements of an adapter, as far as the adapter can tell.

    Not with autocommit, and not if another task runs a statement on it.
    """
    is_known = type(adapted) is AsyncpgAdapter and adapted.isolation_level != _AUTOCOMMIT
    return is_known and not adapted._execute_mutex.locked()


def prepare(adapted: Any, dialect: Any, sql: str) -> Awaitable[tuple[Any, Any]]:
    """Prepare a statement, or take it from the cache that SQLAlchemy uses.

    :return: asyncpg's prepared statement and the attributes of its columns.
    """
    result: Awaitable[tuple[Any, Any]] = adapted._prepare(
        sql, dialect._invalidate_schema_cache_asof
    )
    return result


def prepare_again(adapted: Any, dialect: Any, sql: str) -> Awaitable[tuple[Any, Any]]:
    """Remove a statement from the cache and prepare it again."""
    if adapted._prepared_statement_cache is not None:
        adapted._prepared_statement_cache.pop(sql, None)
    return prepare(adapted, dialect, sql)


async def end_preparation(
    adapted: Any, error: Exception, refusals: tuple[type[Exception], ...]
) -> None:
    """End the message exchange of a preparation, if the statement was not executed.

    asyncpg ends the exchange (Sync) only when it executes. Until then the server holds the locks
    of the preparation and counts ``statement_timeout``, also while the connection is idle.

    :param error: why the statement was not executed, or the error of its execution, which ended
        the exchange.
    :param refusals: the types of errors that are raised before the execution.
    """
    connection, driver = adapted._connection, adapted.dbapi.asyncpg
    # asyncpg raises these for arguments that it cannot convert; those of the server have a severity
    before_execution = (*refusals, driver.InterfaceError, driver.DataError)
    is_open = isinstance(error, before_execution) and not getattr(error, "severity", None)
    if is_open and not connection.is_closed():
        await connection.execute("SELECT 1")  # asyncpg fails on an empty statement


def is_prepared(adapted: Any, sql: str) -> bool:
    """Whether the preparation of a statement has been completed, and SQLAlchemy caches it."""
    return sql in adapted._prepared_statement_cache


async def in_transaction(adapted: Any, run: Callable[[T], Awaitable[Any]], argument: T) -> Any:
    """Run something in the adapter's transaction, begun if needed, as SQLAlchemy's cursors do.

    They hold the same lock meanwhile.
    """
    async with adapted._execute_mutex:
        if adapted._transaction is None:
            await adapted._start_transaction()
        return await run(argument)


def forget_transaction(adapted: Any) -> None:
    """Let the adapter begin a transaction before the next statement: the last one is over.

    An adapter of another driver, which does not note its transaction, is left alone.
    """
    if hasattr(adapted, "_transaction"):
        adapted._transaction = None
        if hasattr(adapted, "_started"):  # SQLAlchemy 2.0
            adapted._started = False


def is_default_connection(adapted: Any, dialect: Any) -> bool:
    """Return whether a statement may run on this connection without a transaction block.

    That requires the default isolation level, no read-only or deferrable mode, no open
    transaction, and SQLAlchemy's default cache of prepared statements.

    :param adapted: SQLAlchemy's adapter of an asyncpg connection.
    """
    cache, level = adapted._prepared_statement_cache, adapted.isolation_level
    return (
        (level is None or _is_default_level(level, dialect))
        and not adapted.readonly
        and not adapted.deferrable
        # left open by a BEGIN in the application's SQL, in a pool that does not reset
        and not adapted._connection.is_in_transaction()
        and cache is not None
        and cache.capacity > 0
        and adapted._prepared_statement_name_func is type(adapted)._default_name_func
    )


def _is_default_level(level: str, dialect: Any) -> bool:
    # A reset after a change of the level sets the default level by name, not None.
    name = dialect.default_isolation_level
    is_servers = dialect._on_connect_isolation_level is None
    return is_servers and level == dialect._isolation_lookup.get(name)


# what SQLAlchemy's cursor reads the row count from
_ROW_COUNT = re.compile(r"(?:SELECT|UPDATE|DELETE|INSERT \d+) (\d+)")


def row_count(prepared: Any) -> int:
    """Return how many rows a statement has changed or found; -1 if that is unknown."""
    found = _ROW_COUNT.match(prepared.get_statusmsg() or "")
    return -1 if found is None else int(found[1])
