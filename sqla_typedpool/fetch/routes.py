"""How a statement is run: on the fast path if possible, or else through SQLAlchemy."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
)

from sqla_typedpool._sqlalchemy.driver_errors import is_stale_plan
from sqla_typedpool._sqlalchemy.eligibility import connection_of
from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.fetch import observing, sessions
from sqla_typedpool.fetch.columns import mapper_for_result
from sqla_typedpool.fetch.deadline import within
from sqla_typedpool.fetch.decoding_errors import raise_if_undecodable
from sqla_typedpool.fetch.fast.call import Call
from sqla_typedpool.fetch.fast.path import fast_path_of, known_count
from sqla_typedpool.fetch.fast.refusals import NeedsSlowPath
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.statement import as_executable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Executable

_log = logging.getLogger("sqla_typedpool.fetch")

_EXECUTE = AsyncSession.execute  # stored at import, to detect a patch made later
_EXECUTORS = (AsyncConnection, AsyncSession)
_MIN_RETRIES = 20  # one migration may follow another
_SLOW = "slow path (%s): %s"
_BATCH = 1000  # rows of a stream that are fetched and mapped at a time


def fetch(
    db: Any, row_type: Any, statement: str | Executable, parameters: Any
) -> Coroutine[Any, Any, list[Any]]:
    """Run a statement and return all its rows, mapped to ``row_type``."""
    return _run(db, Call(statement, parameters, row_type, wants_rows=True))


def execute(
    db: Any, statement: str | Executable, parameters: Any
) -> Coroutine[Any, Any, int | None]:
    """Run a statement and return its row count; None if the driver does not report it."""
    return _run(db, Call(statement, parameters, None, wants_rows=False))


def _run(db: Any, call: Call) -> Coroutine[Any, Any, Any]:
    """Run a statement, and return its mapped rows or its row count.

    Call it in the caller's task: with a timeout the rest may run in another task, in which an
    ``async_scoped_session`` is another session.
    """
    if observing.observer is not None:
        return _run_observed(db, call, observing.observer)
    if isinstance(db, AsyncEngine):
        return _run_alone(db, call)
    return _run_on(db if type(db) in _EXECUTORS else _executor(db), call)


def _run_observed(
    db: Any, call: Call, observer: observing.CallObserver
) -> Coroutine[Any, Any, Any]:
    query = observing.calling_query()
    if isinstance(db, AsyncEngine):
        return observer.observe(db, call, query, partial(_run_alone, db, call))
    executor = db if type(db) in _EXECUTORS else _executor(db)
    return observer.observe(executor, call, query, partial(_run_on, executor, call))


async def _run_alone(engine: AsyncEngine, call: Call) -> Any:
    """Run a statement in its own transaction; again, if a migration has made it invalid."""
    for retries in count():
        try:
            try:
                if type(engine) is not AsyncEngine:
                    raise NeedsSlowPath("a subclass may do more than to run the statement")
                return await fast_path_of(engine.sync_engine).run_alone(call)
            except NeedsSlowPath as reason:
                _log.debug(_SLOW, reason, call.given)
            return await _begin_and_run(engine, call)
        except Exception as error:
            if not is_stale_plan(error) or retries >= _max_retries(engine):
                if call.wants_rows:
                    raise_if_undecodable(error, call.row_type)
                raise
    raise AssertionError("unreachable")


def _max_retries(engine: AsyncEngine) -> int:
    """On psycopg each connection of a pool may fail once after a migration."""
    pool = engine.pool
    size = pool.stats().size if isinstance(pool, TypedPool) else 0
    return max(_MIN_RETRIES, size)


async def _begin_and_run(engine: AsyncEngine, call: Call) -> Any:
    """Run a statement through SQLAlchemy in its own transaction."""
    async with engine.begin() as connection:
        read = _read(await connection.execute(as_executable(call.given), call.parameters), call)
    return read()  # a wrong value is found after the commit, as on the fast path


async def _run_on(db: AsyncConnection | AsyncSession, call: Call) -> Any:
    """Run a statement in the transaction of a connection or session, begun if needed."""
    try:
        try:
            connection = _connection_of(db, call.given)
            return await fast_path_of(connection.engine).run_on(connection, call)
        except NeedsSlowPath as reason:
            _log.debug(_SLOW, reason, call.given)
        statement = as_executable(call.given)
        if isinstance(db, AsyncSession) and sessions.is_deprecated(db):
            read = partial(_read, call=call)
            return (await sessions.execute(db, statement, call.parameters, read))()
        return _read(await db.execute(statement, call.parameters), call)()
    except Exception as error:
        if call.wants_rows:
            raise_if_undecodable(error, call.row_type)
        raise


def _connection_of(db: Any, statement: str | Executable) -> Connection:
    """Return the connection that a connection or session would use.

    :raises NeedsSlowPath: the session would do more than to run the statement there.
    """
    if type(db) is AsyncConnection:
        connection, reason = db.sync_connection, "the connection is not open"
    elif type(db).execute is _EXECUTE and "execute" not in db.__dict__:
        connection = connection_of(db.sync_session, as_executable(statement))
        reason = "the session has no connection yet, objects to flush, listeners or options"
    else:
        connection, reason = None, "a subclass may do more than to run the statement"
    if connection is None:
        raise NeedsSlowPath(reason)
    return connection


def _read(result: Any, call: Call) -> Callable[[], Any]:
    """Read a result of SQLAlchemy.

    :return: a function that returns what the fast path returns. Call it after the commit.
    """
    if call.wants_rows:
        mapper = mapper_for_result(result, call.row_type)
        return partial(mapper.map_rows, result.fetchall(), 0)
    changed = known_count(getattr(result, "rowcount", -1))
    result.close()
    return lambda: changed


def _executor(db: Any) -> Any:
    """Return a connection or a session.

    :raises TypeError: ``db`` is neither.
    """
    if isinstance(db, async_scoped_session):
        return db()
    if isinstance(db, _EXECUTORS):
        return db
    raise TypeError(
        f"db must be an AsyncEngine, AsyncConnection or AsyncSession, not {type(db).__name__}"
        + ("; next: pass the async one" if type(db).__module__.startswith("sqlalchemy") else "")
    )


def stream(
    db: Any,
    row_type: Any,
    statement: str | Executable,
    parameters: Any,
    timeout: float | None,
    declared_query: str | None = None,
) -> AsyncGenerator[Any, None]:
    """Run a statement and yield its rows, which are fetched in batches.

    :param timeout: seconds for each wait for the database; None = no limit.
    :param declared_query: the name of the declared query, for errors.
    """
    rows = _stream(db, row_type, statement, parameters, timeout, declared_query)
    if observing.observer is None:
        return rows
    return observing.observer.observe_stream(db, statement, declared_query, rows)


async def _stream(
    db: Any,
    row_type: Any,
    statement: str | Executable,
    parameters: Any,
    timeout: float | None,
    declared_query: str | None,  # the pool's reports read this local as well (QUERY_LOCAL)
) -> AsyncGenerator[Any, None]:

    async def bounded(work: Any) -> Any:
        if timeout is None:
            return await work
        return await within(timeout, statement, work, declared_query)

    _log.debug("slow path (a stream needs a cursor): %s", statement)
    with _named_errors(row_type, declared_query):
        async with _streaming(db, bounded) as executor:
            result = await bounded(_streamed(executor, as_executable(statement), parameters))
            try:
                mapper, number = mapper_for_result(result, row_type), 0
                while batch := await bounded(result.fetchmany(_BATCH)):
                    for row in mapper.map_rows(batch, number):
                        yield row
                    number += len(batch)
            finally:
                await result.close()


def _streamed(executor: Any, statement: Executable, parameters: Any) -> Any:
    options = {"yield_per": _BATCH}
    if isinstance(executor, AsyncSession) and sessions.is_deprecated(executor):
        return sessions.stream(executor, statement, parameters, options)
    return executor.stream(statement, parameters, execution_options=options)


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
