"""SQLAlchemy's adapter of an asyncpg connection: prepared statements, lock, transaction."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from typing import Any


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


def execute_lock(adapted: Any) -> AbstractAsyncContextManager[Any]:
    """Return the lock that SQLAlchemy's cursors hold while a statement runs."""
    lock: AbstractAsyncContextManager[Any] = adapted._execute_mutex
    return lock


async def send_begin_if_needed(adapted: Any) -> None:
    """Begin the driver's transaction, if it has not been begun."""
    if adapted._transaction is None:
        await adapted._start_transaction()


def forget_transaction(adapted: Any) -> None:
    """Let the adapter begin a transaction before the next statement: the last one is over.

    An adapter of another driver, which does not note its transaction, is left alone.
    """
    if hasattr(adapted, "_transaction"):
        adapted._transaction = None
        if hasattr(adapted, "_started"):  # SQLAlchemy 2.0
            adapted._started = False
