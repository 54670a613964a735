"""What is the same on every driver: compile, decide, take, run, map, give back.

The fast path is taken only where the result is identical to that of ``execute()``: no listener,
option or setting that would change it. SQLAlchemy compiles the statement, converts the
parameters, manages the transaction of a connection, and raises the errors.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy.driver_errors import (
    raise_and_return_entry,
    raise_connect_error,
    raise_execute_error,
)
from sqla_typedpool._sqlalchemy.driver_statement import compile_for_driver
from sqla_typedpool._sqlalchemy.eligibility import (
    begin_if_needed,
    driver_name,
    has_observers,
)
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.fetch.fast.aiosqlite import AiosqliteFast
from sqla_typedpool.fetch.fast.asyncpg import AsyncpgFast
from sqla_typedpool.fetch.fast.call import Call, FastDriver
from sqla_typedpool.fetch.fast.mysql import MysqlFast
from sqla_typedpool.fetch.fast.psycopg import PsycopgFast
from sqla_typedpool.fetch.fast.refusals import NeedsSlowPath
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.statement import StatementCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine, Executable

    from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement
    from sqla_typedpool.pool.entry import PoolEntry

_log = logging.getLogger("sqla_typedpool.fetch")

_ATTRIBUTE = "_typedpool_fast_path"  # of the engine
_DRIVERS: dict[str, Callable[[Any], FastDriver]] = {
    "asyncpg": AsyncpgFast,
    "aiosqlite": AiosqliteFast,
    "aiomysql": MysqlFast,
    "asyncmy": MysqlFast,
    "psycopg": PsycopgFast,
}


def fast_path_of(engine: Engine) -> FastPath:
    """Return the fast path of an engine.

    :raises NeedsSlowPath: it has none, or has not connected yet.
    """
    try:
        cached: FastPath | None = engine.__dict__[_ATTRIBUTE]
    except KeyError:
        if isinstance(engine.pool, TypedPool) and not engine.pool.has_connected:
            # a statement may be compiled for a server with other settings
            raise NeedsSlowPath("the engine has not connected yet") from None
        make_driver = _DRIVERS.get(driver_name(engine) or "")
        cached = None if make_driver is None else FastPath(engine, make_driver(engine.dialect))
        engine.__dict__[_ATTRIBUTE] = cached
    if cached is None:
        raise NeedsSlowPath("the engine or its driver has no fast path")
    return cached


class FastPath:
    """The fast path of one engine.

    It raises ``NeedsSlowPath`` if the statement has not been run and the slow path has to run it.
    """

    def __init__(self, engine: Engine, driver: FastDriver) -> None:
        self._engine = engine
        self._driver = driver
        self._statements = StatementCache(self._compile)

    def _compile(self, statement: Executable, keys: tuple[str, ...]) -> DriverStatement | None:
        driver = self._driver
        compiled = compile_for_driver(
            self._engine, statement, keys, describes_first=driver.describes_first
        )
        if compiled is not None:
            compiled.may_run_alone = driver.may_run_alone(compiled)
        return compiled

    async def run_alone(self, call: Call) -> Any:
        """Run a statement in its own transaction.

        :return: the mapped rows, or the row count.
        """
        self._prepare(call, is_alone=True)
        pool = self._engine.pool
        if not isinstance(pool, TypedPool):
            raise NeedsSlowPath("the pool is not a TypedPool")
        entry = pool.take() or await self._wait_and_take(pool)
        if entry is None:
            raise NeedsSlowPath("the pool has listeners")
        call.adapted = entry.dbapi_connection
        try:
            result = await self._run(call)
        except (NeedsSlowPath, RowShapeError):
            pool.give_back(entry)
            raise
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy raises it again
            if self._driver.may_keep_settings(call):
                entry.note_change()
            return await greenlet_spawn(
                raise_and_return_entry, self._engine, entry, error, *_shown(call)
            )
        pool.give_back(entry)
        # a wrong value is found after the commit, and when the connection has been returned
        return call.mapper.map(result) if call.wants_rows else known_count(result)

    async def run_on(self, connection: Connection, call: Call) -> Any:
        """Run a statement in the connection's transaction, begun if needed.

        :return: the mapped rows, or the row count.
        """
        self._prepare(call, is_alone=False)
        call.adapted = begin_if_needed(connection)
        if call.adapted is None:
            raise NeedsSlowPath("the connection has listeners or options, or is not usable")
        try:
            result = await self._run(call)
        except (NeedsSlowPath, RowShapeError):
            raise
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy raises it again
            return await greenlet_spawn(raise_execute_error, connection, error, *_shown(call))
        return call.mapper.map(result) if call.wants_rows else known_count(result)

    def _prepare(self, call: Call, *, is_alone: bool) -> None:
        """Compile the statement and its arguments.

        :raises NeedsSlowPath: only SQLAlchemy can run it; or it or its parameters are wrong, and
            SQLAlchemy raises its error.
        """
        if has_observers(self._engine):
            raise NeedsSlowPath("the engine has listeners or options, or logs statements")
        parameters = call.parameters
        if parameters is not None and type(parameters) is not dict:
            if not isinstance(parameters, Mapping):
                raise NeedsSlowPath("it runs once for each of a list of parameters")
            parameters = dict(parameters)  # a defaultdict would supply missing parameters
        try:
            statement = self._statements.get(call.given, parameters)
        except Exception:  # noqa: BLE001
            raise NeedsSlowPath("it cannot be compiled") from None
        if statement is None:
            raise NeedsSlowPath("SQLAlchemy does more than to send it")
        if not (statement.may_fetch if call.wants_rows else statement.may_execute):
            raise NeedsSlowPath("only SQLAlchemy can read what it returns")
        if is_alone and not statement.may_run_alone:
            raise NeedsSlowPath("it may need a transaction block")
        try:
            call.arguments = statement.arguments(parameters)
            call.mappers = statement.mappers[call.row_type]
        except Exception:  # noqa: BLE001 - metadata in Annotated may have no hash
            raise NeedsSlowPath(
                "a parameter is missing or wrong, or the row type has no hash"
            ) from None
        call.statement, call.is_alone, call.is_committing = statement, is_alone, False

    def _run(self, call: Call) -> Awaitable[Any]:
        if not self._driver.is_default(call):
            raise NeedsSlowPath("the connection is not in its default state")
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("fast path: %s", call.statement.sql)
        return self._driver.run(call)

    async def _wait_and_take(self, pool: TypedPool) -> PoolEntry | None:
        try:
            return await pool.wait_and_take()
        except Exception as error:  # noqa: BLE001 - raised again
            raise_connect_error(self._engine.dialect, self._engine, error)


def known_count(count: int) -> int | None:
    """Return a row count; None for that of a driver that does not report it."""
    return None if count < 0 else count


def _shown(call: Call) -> tuple[str | None, Any]:
    """The statement and the arguments that an error refers to: none for an error of COMMIT."""
    return (None, None) if call.is_committing else (call.statement.sql, call.arguments)
