"""The fast path: on asyncpg, a statement goes to the driver without SQLAlchemy's ``execute()``.

It is taken only where the result is identical to that of ``execute()``: no listener, option
or setting that would change it. SQLAlchemy compiles the statement, converts the parameters,
manages the transaction and raises the errors.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy.asyncpg_adapter import (
    execute_lock,
    is_prepared,
    prepare,
    prepare_again,
    send_begin_if_needed,
)
from sqla_typedpool._sqlalchemy.driver_errors import (
    raise_and_return_entry,
    raise_connect_error,
    raise_execute_error,
)
from sqla_typedpool._sqlalchemy.eligibility import (
    begin_if_needed,
    has_observers,
    is_default_connection,
    is_plain_asyncpg,
)
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from sqla_typedpool._sqlalchemy.results import result_processors
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.fetch.columns import columns_of_prepared, with_sqlalchemy_names
from sqla_typedpool.mapping.mapper import Mapper, mapper_for
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.statement import (
    StatementCache,
    is_safe_without_transaction,
    may_set_session,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Executable

    from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement
    from sqla_typedpool.pool.entry import PoolEntry

_log = logging.getLogger("sqla_typedpool.fetch")

_ATTRIBUTE = "_typedpool_fast_path"  # of the engine
_MAX_MAPPERS = 200  # for one statement; each connection that prepares it needs its own


def fast_path_of(engine: Engine) -> FastPath | None:
    """Return the fast path of an engine, or None if it has none."""
    try:
        cached: FastPath | None = engine.__dict__[_ATTRIBUTE]
    except KeyError:
        cached = FastPath(engine) if is_plain_asyncpg(engine) else None
        engine.__dict__[_ATTRIBUTE] = cached
    return cached


class FastPath:
    """The fast path of one engine.

    ``on_engine`` and ``on_connection`` return None if the statement has not been run and
    the slow path has to run it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        self._statements = StatementCache(engine)

    async def on_engine(
        self, row_type: Any, statement: str | Executable, parameters: Any
    ) -> list[Any] | None:
        """Run a statement in its own transaction, and return its rows.

        :return: None if the slow path has to run it.
        """
        engine = self._engine
        pool = engine.pool
        if has_observers(engine) or not isinstance(pool, TypedPool):
            return None
        compiled, arguments = self._compile(row_type, statement, parameters)
        if compiled is None or not is_safe_without_transaction(compiled.sql):
            return None
        entry = pool.take() or await self._wait_and_take(pool)
        if entry is None:
            return None
        adapted: Any = entry.dbapi_connection
        if not is_default_connection(adapted, self._dialect):
            pool.give_back(entry)
            return None
        try:
            mapper, rows = await self._run(
                compiled, arguments, row_type, adapted, in_transaction=False
            )
        except _NeedsSlowPath:
            pool.give_back(entry)
            return None
        except RowShapeError:
            pool.give_back(entry)
            raise
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy raises it again
            # No rollback undoes a setting that the statement makes, as its own transaction may have
            # ended, nor `jit = off`, which asyncpg sets while it queries an unknown type.
            if may_set_session(compiled.sql) or not is_prepared(adapted, compiled.sql):
                entry.note_change()
            return await greenlet_spawn(
                raise_and_return_entry, engine, entry, error, compiled.sql, arguments
            )
        pool.give_back(entry)
        return mapper.map(rows)

    async def on_connection(
        self, connection: Connection, row_type: Any, statement: str | Executable, parameters: Any
    ) -> list[Any] | None:
        """Run a statement in the connection's transaction, begun if needed; return its rows.

        :return: None if the slow path has to run it.
        """
        if has_observers(self._engine):
            return None
        compiled, arguments = self._compile(row_type, statement, parameters)
        if compiled is None or not begin_if_needed(connection):
            return None
        adapted: Any = connection.connection.dbapi_connection
        try:
            async with execute_lock(adapted):
                await send_begin_if_needed(adapted)
                mapper, rows = await self._run(
                    compiled, arguments, row_type, adapted, in_transaction=True
                )
        except _NeedsSlowPath:
            return None
        except RowShapeError:
            raise
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy raises it again
            return await greenlet_spawn(
                raise_execute_error, connection, error, compiled.sql, arguments
            )
        return mapper.map(rows)

    async def _run(
        self,
        compiled: DriverStatement,
        arguments: tuple[Any, ...],
        row_type: Any,
        adapted: Any,
        *,
        in_transaction: bool,
    ) -> tuple[_ResultMapper, Sequence[Any]]:
        """Prepare the statement, check its columns, and only then execute it."""
        _log.debug("fast path: %s", compiled.sql)
        prepared, attributes = await prepare(adapted, self._dialect, compiled.sql)
        mapper = compiled.mappers.get((row_type, id(attributes)))
        if mapper is None:
            current, mapper = await self._add_mapper(
                compiled, row_type, adapted, prepared, attributes
            )
            # A migration may have made `prepared` invalid. In a transaction it is run all the
            # same, to raise the error that SQLAlchemy raises for it.
            prepared = prepared if in_transaction else current
        return mapper, await prepared.fetch(*arguments)

    def _compile(
        self, row_type: Any, statement: str | Executable, parameters: Any
    ) -> tuple[DriverStatement | None, tuple[Any, ...]]:
        """Return the compiled statement and its arguments.

        The statement is None if it or its parameters are wrong: the slow path then raises
        SQLAlchemy's error.
        """
        if parameters is not None and type(parameters) is not dict:
            if not isinstance(parameters, Mapping):
                return None, ()
            parameters = dict(parameters)  # a defaultdict would supply missing parameters
        try:
            hash(row_type)  # fails if metadata in Annotated cannot be hashed
            compiled = self._statements.get(statement, parameters)
            if compiled is not None:
                return compiled, compiled.arguments(parameters)
        except Exception:  # noqa: BLE001
            pass
        return None, ()

    async def _wait_and_take(self, pool: TypedPool) -> PoolEntry | None:
        try:
            return await pool.wait_and_take()
        except Exception as error:  # noqa: BLE001 - raised again
            raise_connect_error(self._dialect, self._engine, error)

    async def _add_mapper(
        self,
        compiled: DriverStatement,
        row_type: Any,
        adapted: Any,
        prepared: Any,
        attributes: Sequence[Any],
    ) -> tuple[Any, _ResultMapper]:
        """Make the mapper for the columns of a prepared statement.

        If they do not fit the row type, a migration may have changed them since the
        statement was prepared: it is then prepared again.

        :return: the prepared statement that the mapper is for, and the mapper.
        :raises RowShapeError: the columns that the server sends now do not fit.
        """
        try:
            mapper = self._make_mapper(compiled, row_type, attributes)
        except RowShapeError:
            old = columns_of_prepared(attributes) if attributes else ()
            prepared, attributes = await prepare_again(adapted, self._dialect, compiled.sql)
            if (columns_of_prepared(attributes) if attributes else ()) == old:
                raise
            mapper = self._make_mapper(compiled, row_type, attributes)
        if len(compiled.mappers) >= _MAX_MAPPERS:
            compiled.mappers.clear()
        compiled.mappers[row_type, id(mapper.attributes)] = mapper
        return prepared, mapper

    def _make_mapper(
        self, compiled: DriverStatement, row_type: Any, attributes: Sequence[Any]
    ) -> _ResultMapper:
        columns = columns_of_prepared(attributes)
        processors: Any = ()
        if compiled.result_columns:
            if len(compiled.result_columns) != len(attributes):
                raise _NeedsSlowPath  # a literal `*`: SQLAlchemy matches columns by name
            oids = [attribute.type.oid for attribute in attributes]
            processors = result_processors(self._dialect, compiled.result_columns, oids)
            if processors and compiled.may_write:
                raise _NeedsSlowPath  # an error of a processor rolls the statement back there
            columns = with_sqlalchemy_names(columns, compiled.result_columns, processors)
        mapper = mapper_for(row_type, columns, "postgresql")
        return _ResultMapper(attributes, mapper, processors)


class _NeedsSlowPath(Exception):
    """The columns of a statement need the slow path. The statement has not been run."""


class _ResultMapper:
    """Maps the rows of a statement that one connection has prepared.

    It is cached by the id of ``attributes``, and refers to them so that no other object can
    get this id.
    """

    __slots__ = ("_mapper", "_processors", "attributes")

    def __init__(self, attributes: Any, mapper: Mapper[Any], processors: Sequence[Any]) -> None:
        self.attributes = attributes
        self._mapper = mapper
        self._processors = processors

    def map(self, rows: Sequence[Any]) -> list[Any]:
        if self._processors:
            rows = _process(rows, self._processors)
        return self._mapper.map_rows(rows)


def _process(rows: Sequence[Any], processors: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Apply SQLAlchemy's result processors to each row."""
    return [
        tuple(
            [
                value if process is None else process(value)
                for process, value in zip(processors, row, strict=True)
            ]
        )
        for row in rows
    ]
