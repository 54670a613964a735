"""What is the same on every driver: compile, decide, take, run, map, give back.

The fast path is taken only where the result is identical to that of ``execute()``: no listener,
option or setting that would change it. SQLAlchemy compiles the statement, converts the
parameters, manages the transaction of a connection, and raises the errors.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy.driver_errors import (
    raise_and_return_entry,
    raise_connect_error,
    raise_execute_error,
)
from sqla_typedpool._sqlalchemy.eligibility import begin_if_needed, driver_name, has_observers
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.fetch.fast.asyncpg import AsyncpgFast
from sqla_typedpool.fetch.fast.call import Call, FastDriver
from sqla_typedpool.fetch.fast.row_mappers import NeedsSlowPath
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.statement import StatementCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine, Executable

    from sqla_typedpool.pool.entry import PoolEntry

_log = logging.getLogger("sqla_typedpool.fetch")

_ATTRIBUTE = "_typedpool_fast_path"  # of the engine
_DRIVERS: dict[str, Callable[[Any], FastDriver]] = {"asyncpg": AsyncpgFast}


def fast_path_of(engine: Engine) -> FastPath | None:
    """Return the fast path of an engine, or None if it has none."""
    try:
        cached: FastPath | None = engine.__dict__[_ATTRIBUTE]
    except KeyError:
        make_driver = _DRIVERS.get(driver_name(engine) or "")
        cached = None if make_driver is None else FastPath(engine, make_driver(engine.dialect))
        engine.__dict__[_ATTRIBUTE] = cached
    return cached


class FastPath:
    """The fast path of one engine.

    Each method returns None if the statement has not been run and the slow path has to run it.
    """

    def __init__(self, engine: Engine, driver: FastDriver) -> None:
        self._engine = engine
        self._driver = driver
        self._statements = StatementCache(engine)

    async def fetch_on_engine(
        self, row_type: Any, statement: str | Executable, parameters: Any
    ) -> list[Any] | None:
        """Run a statement in its own transaction; return its rows."""
        call = self._call(statement, parameters, row_type, wants_rows=True, is_alone=True)
        rows = None if call is None else await self._run_alone(call)
        # a wrong value is found after the commit, and when the connection has been returned
        return None if call is None or rows is None else call.mapper.map(rows)

    async def execute_on_engine(self, statement: str | Executable, parameters: Any) -> int | None:
        """Run a statement in its own transaction; return its row count, -1 if it is unknown."""
        call = self._call(statement, parameters, None, wants_rows=False, is_alone=True)
        return None if call is None else await self._run_alone(call)

    async def fetch_on_connection(
        self, connection: Connection, row_type: Any, statement: str | Executable, parameters: Any
    ) -> list[Any] | None:
        """Run a statement in the connection's transaction, begun if needed; return its rows."""
        call = self._call(statement, parameters, row_type, wants_rows=True, is_alone=False)
        rows = None if call is None else await self._run_on(connection, call)
        return None if call is None or rows is None else call.mapper.map(rows)

    async def execute_on_connection(
        self, connection: Connection, statement: str | Executable, parameters: Any
    ) -> int | None:
        """Run a statement in the connection's transaction; return its row count, or -1."""
        call = self._call(statement, parameters, None, wants_rows=False, is_alone=False)
        return None if call is None else await self._run_on(connection, call)

    def _call(
        self,
        statement: str | Executable,
        parameters: Any,
        row_type: Any,
        *,
        wants_rows: bool,
        is_alone: bool,
    ) -> Call | None:
        """Compile a statement and its arguments.

        :return: None if only SQLAlchemy can run it, or if it or its parameters are wrong:
            SQLAlchemy then raises its error.
        """
        if has_observers(self._engine):
            return None
        if parameters is not None and type(parameters) is not dict:
            if not isinstance(parameters, Mapping):
                return None
            parameters = dict(parameters)  # a defaultdict would supply missing parameters
        try:
            hash(row_type)  # fails if metadata in Annotated cannot be hashed
            compiled = self._statements.get(statement, parameters)
            if compiled is None or not compiled.fits(
                wants_rows=wants_rows, describes_first=self._driver.describes_first
            ):
                return None
            arguments = compiled.arguments(parameters)
        except Exception:  # noqa: BLE001
            return None
        return Call(compiled, arguments, row_type, wants_rows=wants_rows, is_alone=is_alone)

    async def _run_alone(self, call: Call) -> Any:
        """Take a connection, run the statement in its own transaction, and give it back."""
        pool = self._engine.pool
        if not isinstance(pool, TypedPool) or not self._driver.may_run_alone(call.statement):
            return None
        entry = pool.take() or await self._wait_and_take(pool)
        if entry is None:
            return None
        call.adapted = entry.dbapi_connection
        if not self._driver.is_default(call):
            pool.give_back(entry)
            return None
        try:
            result = await self._run(call)
        except NeedsSlowPath:
            result = None
        except RowShapeError:
            pool.give_back(entry)
            raise
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy raises it again
            if self._driver.may_keep_settings(call):
                entry.note_change()
            return await greenlet_spawn(
                raise_and_return_entry, self._engine, entry, error, *_shown(call)
            )
        pool.give_back(entry)
        return result

    async def _run_on(self, connection: Connection, call: Call) -> Any:
        """Run the statement in the connection's transaction, begun if needed."""
        if not begin_if_needed(connection):
            return None
        call.adapted = connection.connection.dbapi_connection
        if not self._driver.is_default(call):
            return None
        try:
            return await self._run(call)
        except NeedsSlowPath:
            return None
        except RowShapeError:
            raise
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy raises it again
            return await greenlet_spawn(raise_execute_error, connection, error, *_shown(call))

    def _run(self, call: Call) -> Any:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("fast path: %s", call.statement.sql)
        return self._driver.run(call)

    async def _wait_and_take(self, pool: TypedPool) -> PoolEntry | None:
        try:
            return await pool.wait_and_take()
        except Exception as error:  # noqa: BLE001 - raised again
            raise_connect_error(self._engine.dialect, self._engine, error)


def _shown(call: Call) -> tuple[str | None, Any]:
    """The statement and the arguments that an error refers to: none for an error of COMMIT."""
    return (None, None) if call.is_committing else (call.statement.sql, call.arguments)
