"""How rows are got: by a shortcut where one may be taken, else through SQLAlchemy."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import NotSupportedError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
)

from sqla_typedpool._sqlalchemy.execution import connection_of
from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.fetch.columns import mapper_of
from sqla_typedpool.fetch.deadline import within
from sqla_typedpool.fetch.shortcut import LONG_WAY, shortcut_of
from sqla_typedpool.statement import as_executable

if TYPE_CHECKING:
    from sqlalchemy import Executable

__all__ = ["execute", "fetch", "stream"]

_log = logging.getLogger("sqla_typedpool.fetch")

_EXECUTE = AsyncSession.execute  # as it was when nobody had patched it
_BATCH = 1000  # rows of a stream that are fetched and mapped at a time


def fetch(
    db: Any, row_type: Any, statement: str | Executable, parameters: Any
) -> Coroutine[Any, Any, list[Any]]:
    """All rows of one statement."""
    return _fetch(_settled(db), row_type, statement, parameters)


def _settled(db: Any) -> Any:
    """The session of a registry, asked for in the caller's task: a timeout may run the
    rest in another, which would have a session of its own."""
    return db() if isinstance(db, async_scoped_session) else db


async def _fetch(db: Any, row_type: Any, statement: str | Executable, parameters: Any) -> list[Any]:
    if isinstance(db, AsyncEngine):
        try:
            return await _fetch_on_engine(db, row_type, statement, parameters)
        except NotSupportedError as error:
            # Its plan was older than the last migration, and nothing has been run.
            if type(error.orig).__name__ != "InvalidCachedStatementError":
                raise
            return await _fetch_on_engine(db, row_type, statement, parameters)
    rows = await _by_shortcut(db, row_type, statement, parameters)
    if rows is LONG_WAY:
        _log.debug("through SQLAlchemy: %s", statement)
        result = await _executor(db).execute(as_executable(statement), parameters)
        mapper = mapper_of(result, row_type)
        rows = mapper.map_rows(result.fetchall(), 0)
    return rows


async def _fetch_on_engine(
    engine: AsyncEngine, row_type: Any, statement: str | Executable, parameters: Any
) -> list[Any]:
    shortcut = shortcut_of(engine.sync_engine) if type(engine) is AsyncEngine else None
    if shortcut is not None:
        rows = await shortcut.on_engine(row_type, statement, parameters)
        if rows is not LONG_WAY:
            return rows
    _log.debug("through SQLAlchemy: %s", statement)
    async with engine.begin() as connection:
        result = await connection.execute(as_executable(statement), parameters)
        mapper = mapper_of(result, row_type)
        found = result.fetchall()
    # committed before a value can fail, as on the short way
    return mapper.map_rows(found, 0)


async def _by_shortcut(
    db: Any, row_type: Any, statement: str | Executable, parameters: Any
) -> list[Any]:
    """The rows, if this connection or session may take the short way."""
    db = _executor(db)
    if type(db) is AsyncConnection:
        connection = db.sync_connection
    elif type(db).execute is _EXECUTE and "execute" not in db.__dict__:
        connection = connection_of(db.sync_session, as_executable(statement))
    else:
        connection = None  # a subclass may put anything before its statements
    shortcut = None if connection is None else shortcut_of(connection.engine)
    if connection is None or shortcut is None:
        return LONG_WAY  # type: ignore[no-any-return]
    return await shortcut.on_connection(connection, row_type, statement, parameters)


def _executor(db: Any) -> Any:
    """A connection or a session.

    :raises TypeError: for anything else.
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
    """Run a statement for its effect; the number of rows, if the driver tells."""
    return _execute(_settled(db), statement, parameters)


async def _execute(db: Any, statement: str | Executable, parameters: Any) -> int | None:
    async with _opened(db) as executor:
        result = await executor.execute(as_executable(statement), parameters)
        count: int = getattr(result, "rowcount", -1)
        result.close()
    return count if count >= 0 else None


def _opened(db: Any) -> AbstractAsyncContextManager[Any]:
    return db.begin() if isinstance(db, AsyncEngine) else nullcontext(_executor(db))


async def stream(
    db: Any,
    row_type: Any,
    statement: str | Executable,
    parameters: Any,
    timeout: float | None,
    query: str | None = None,
) -> AsyncGenerator[Any, None]:
    """The rows of one statement, portion by portion.

    :param query: the name of the declared query, for errors.
    """

    async def soon(work: Any) -> Any:
        return await (work if timeout is None else within(timeout, statement, work))

    async with _streaming(db, soon) as executor:
        options = {"yield_per": _BATCH}
        result = await soon(
            executor.stream(as_executable(statement), parameters, execution_options=options)
        )
        try:
            mapper, number = mapper_of(result, row_type), 0
            while batch := await soon(result.fetchmany(_BATCH)):
                for row in mapper.map_rows(batch, number):
                    yield row
                number += len(batch)
        except (RowShapeError, RowValueError) as error:
            error.query = error.query or query
            raise
        finally:
            await result.close()


@asynccontextmanager
async def _streaming(db: Any, soon: Any) -> AsyncIterator[Any]:
    """What can stream, in a transaction. The checkout is bounded, the use is not."""
    if not isinstance(db, AsyncEngine):
        yield _executor(db)
        return
    connection = db.connect()
    await soon(connection.start())
    try:
        async with connection.begin():
            yield connection
    finally:
        await connection.close()
