"""How a statement is run: on the fast path if possible, or else through SQLAlchemy."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import NotSupportedError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
)

from sqla_typedpool._sqlalchemy.eligibility import connection_of
from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.fetch.columns import mapper_for_result
from sqla_typedpool.fetch.deadline import within
from sqla_typedpool.fetch.decoding_errors import raise_if_undecodable
from sqla_typedpool.fetch.fast.path import FastPath, fast_path_of
from sqla_typedpool.statement import as_executable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Executable

_log = logging.getLogger("sqla_typedpool.fetch")

_EXECUTE = AsyncSession.execute  # stored at import, to detect a patch made later
_BATCH = 1000  # rows of a stream that are fetched and mapped at a time


def fetch(
    db: Any, row_type: Any, statement: str | Executable, parameters: Any
) -> Coroutine[Any, Any, list[Any]]:
    """Run a statement and return all its rows, mapped to ``row_type``."""
    return _fetch(_resolved(db), row_type, statement, parameters)


def _resolved(db: Any) -> Any:
    """Return the current session of an ``async_scoped_session``; any other ``db`` unchanged.

    Call it in the caller's task: with a timeout the rest may run in another task, which has
    another current session.
    """
    return db() if isinstance(db, async_scoped_session) else db


async def _fetch(db: Any, row_type: Any, statement: str | Executable, parameters: Any) -> list[Any]:
    try:
        if isinstance(db, AsyncEngine):
            try:
                return await _fetch_on_engine(db, row_type, statement, parameters)
            except NotSupportedError as error:
                # A migration has made the prepared statement invalid. It has not been run.
                if type(error.orig).__name__ != "InvalidCachedStatementError":
                    raise
                return await _fetch_on_engine(db, row_type, statement, parameters)
        db = _executor(db)
        connection, fast_path = _fast_path_on(db, statement)
        if connection is not None and fast_path is not None:
            rows = await fast_path.fetch_on_connection(connection, row_type, statement, parameters)
            if rows is not None:
                return rows
        _log.debug("slow path: %s", statement)
        result = await db.execute(as_executable(statement), parameters)
        mapper = mapper_for_result(result, row_type)
        return mapper.map_rows(result.fetchall(), 0)
    except Exception as error:
        raise_if_undecodable(error, row_type)
        raise


async def _fetch_on_engine(
    engine: AsyncEngine, row_type: Any, statement: str | Executable, parameters: Any
) -> list[Any]:
    fast_path = fast_path_of(engine.sync_engine) if type(engine) is AsyncEngine else None
    if fast_path is not None:
        rows = await fast_path.fetch_on_engine(row_type, statement, parameters)
        if rows is not None:
            return rows
    _log.debug("slow path: %s", statement)
    async with engine.begin() as connection:
        result = await connection.execute(as_executable(statement), parameters)
        mapper = mapper_for_result(result, row_type)
        fetched = result.fetchall()
    # A wrong value is found after the commit, as on the fast path.
    return mapper.map_rows(fetched, 0)


def _fast_path_on(
    db: Any, statement: str | Executable
) -> tuple[Connection | None, FastPath | None]:
    """Return the connection that a connection or session would use, and its fast path.

    :return: None for the connection if only SQLAlchemy can run the statement.
    """
    if type(db) is AsyncConnection:
        connection = db.sync_connection
    elif type(db).execute is _EXECUTE and "execute" not in db.__dict__:
        connection = connection_of(db.sync_session, as_executable(statement))
    else:
        connection = None  # a subclass may do more than execute the statement
    return connection, None if connection is None else fast_path_of(connection.engine)


def _executor(db: Any) -> Any:
    """Return a connection or a session.

    :raises TypeError: ``db`` is neither.
    """
    if isinstance(db, async_scoped_session):
        return db()
    if isinstance(db, (AsyncConnection, AsyncSession)):
        return db
    raise TypeError(
        f"db must be an AsyncEngine, AsyncConnection or AsyncSession, not {type(db).__name__}"
        + ("; next: pass the async one" if type(db).__module__.startswith("sqlalchemy") else "")
    )


def execute(
    db: Any, statement: str | Executable, parameters: Any
) -> Coroutine[Any, Any, int | None]:
    """Run a statement and return its row count; None if the driver does not report it."""
    return _execute(_resolved(db), statement, parameters)


async def _execute(db: Any, statement: str | Executable, parameters: Any) -> int | None:
    count = await _execute_fast(db, statement, parameters)
    if count is None:
        _log.debug("slow path: %s", statement)
        async with _opened(db) as executor:
            result = await executor.execute(as_executable(statement), parameters)
            count = getattr(result, "rowcount", -1)
            result.close()
    return count if count >= 0 else None


async def _execute_fast(db: Any, statement: str | Executable, parameters: Any) -> int | None:
    """Run a statement on the fast path; return its row count, -1 if it is unknown.

    :return: None if the slow path has to run it.
    """
    if isinstance(db, AsyncEngine):
        fast_path = fast_path_of(db.sync_engine) if type(db) is AsyncEngine else None
        if fast_path is None:
            return None
        return await fast_path.execute_on_engine(statement, parameters)
    connection, fast_path = _fast_path_on(_executor(db), statement)
    if connection is None or fast_path is None:
        return None
    return await fast_path.execute_on_connection(connection, statement, parameters)


def _opened(db: Any) -> AbstractAsyncContextManager[Any]:
    return db.begin() if isinstance(db, AsyncEngine) else nullcontext(_executor(db))


async def stream(
    db: Any,
    row_type: Any,
    statement: str | Executable,
    parameters: Any,
    timeout: float | None,
    declared_query: str | None = None,
) -> AsyncGenerator[Any, None]:
    """Run a statement and yield its rows, which are fetched in batches.

    :param timeout: seconds for each wait for the database; None = no limit.
    :param declared_query: the name of the declared query, for errors. The pool's reports read
        this local as well (``QUERY_LOCAL``).
    """

    async def bounded(work: Any) -> Any:
        if timeout is None:
            return await work
        return await within(timeout, statement, work, declared_query)

    with _named_errors(row_type, declared_query):
        async with _streaming(db, bounded) as executor:
            options = {"yield_per": _BATCH}
            result = await bounded(
                executor.stream(as_executable(statement), parameters, execution_options=options)
            )
            try:
                mapper, number = mapper_for_result(result, row_type), 0
                while batch := await bounded(result.fetchmany(_BATCH)):
                    for row in mapper.map_rows(batch, number):
                        yield row
                    number += len(batch)
            finally:
                await result.close()


@contextmanager
def _named_errors(row_type: Any, declared_query: str | None) -> Iterator[None]:
    """Add the name of the declared query to the errors of a stream's rows."""
    try:
        try:
            yield
        except Exception as error:
            raise_if_undecodable(error, row_type)
            raise
    except (RowShapeError, RowValueError) as error:
        error.query = error.query or declared_query
        raise


@asynccontextmanager
async def _streaming(db: Any, bounded: Any) -> AsyncIterator[Any]:
    """Yield a connection or session that can stream; from an engine, one in a transaction.

    :param bounded: awaits the checkout with the time limit.
    """
    if not isinstance(db, AsyncEngine):
        yield _executor(db)
        return
    connection = db.connect()
    await bounded(connection.start())
    try:
        async with connection.begin():
            yield connection
    finally:
        await connection.close()
