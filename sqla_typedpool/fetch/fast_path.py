"""The short way on asyncpg: from SQLAlchemy's compiled statement straight to the driver.

It may be taken only where nobody could tell the difference but by a clock: no
listener, no option, no setting that SQLAlchemy's own way would heed and this one
would not. Compilation, parameters, transactions and errors are SQLAlchemy's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy import greenlet_spawn
from sqla_typedpool._sqlalchemy.execution import (
    begin_if_needed,
    is_attended,
    is_default_connection,
    is_plain_asyncpg,
    prepare,
    prepare_anew,
    raise_on,
    raise_unconnected,
    raise_without,
    send_begin_if_needed,
    turn_of,
)
from sqla_typedpool._sqlalchemy.results import result_processors
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.fetch.columns import described_by_asyncpg, relabelled
from sqla_typedpool.mapping.mapper import Mapper, mapper_for
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.statement import Statements, stands_alone

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Executable

    from sqla_typedpool._sqlalchemy.execution import Compiled
    from sqla_typedpool.pool.record import TypedRecord

__all__ = ["LONG_WAY", "Shortcut", "shortcut_of"]

_log = logging.getLogger("sqla_typedpool.fetch")

LONG_WAY: Any = object()
"""The answer of a shortcut that may not be taken."""

_NAME = "_typedpool_shortcut"
_MOST = 200  # mappers remembered per statement; each connection has its own attributes


def shortcut_of(engine: Engine) -> Shortcut | None:
    """This engine's shortcut, made at first use; None where there is none."""
    try:
        known: Shortcut | None = engine.__dict__[_NAME]
    except KeyError:
        known = engine.__dict__[_NAME] = Shortcut(engine) if is_plain_asyncpg(engine) else None
    return known


class Shortcut:
    """The short way of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        self._statements = Statements(engine)

    async def on_engine(
        self, row_type: Any, statement: str | Executable, parameters: Any
    ) -> list[Any]:
        """One statement that is its own transaction; ``LONG_WAY`` if it may not be sent."""
        engine = self._engine
        pool = engine.pool
        if is_attended(engine) or not isinstance(pool, TypedPool):
            return LONG_WAY  # type: ignore[no-any-return]
        compiled, values = self._prepare(row_type, statement, parameters)
        if compiled is None or not stands_alone(compiled.sql):
            return LONG_WAY  # type: ignore[no-any-return]
        record = pool.take() or await self._wait(pool)
        if record is None:
            return LONG_WAY  # type: ignore[no-any-return]
        adapted: Any = record.dbapi_connection
        if not is_default_connection(adapted, self._dialect):
            pool.give_back(record)
            return LONG_WAY  # type: ignore[no-any-return]
        try:
            known, rows = await self._run(compiled, values, row_type, adapted, heals=True)
        except _Unfit:
            pool.give_back(record)
            return LONG_WAY  # type: ignore[no-any-return]
        except RowShapeError:
            pool.give_back(record)
            raise
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy judges it, and raises
            return await greenlet_spawn(raise_without, engine, record, error, compiled.sql, values)
        pool.give_back(record)
        return known.map(rows)

    async def on_connection(
        self, connection: Connection, row_type: Any, statement: str | Executable, parameters: Any
    ) -> list[Any]:
        """One statement in the connection's transaction, which is begun if need be."""
        if is_attended(self._engine):
            return LONG_WAY  # type: ignore[no-any-return]
        compiled, values = self._prepare(row_type, statement, parameters)
        if compiled is None or not begin_if_needed(connection):
            return LONG_WAY  # type: ignore[no-any-return]
        adapted: Any = connection.connection.dbapi_connection
        try:
            async with turn_of(adapted):
                await send_begin_if_needed(adapted)
                known, rows = await self._run(compiled, values, row_type, adapted, heals=False)
        except _Unfit:
            return LONG_WAY  # type: ignore[no-any-return]
        except RowShapeError:
            raise
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy judges it, and raises
            return await greenlet_spawn(raise_on, connection, error, compiled.sql, values)
        return known.map(rows)

    async def _run(
        self,
        compiled: Compiled,
        values: tuple[Any, ...],
        row_type: Any,
        adapted: Any,
        *,
        heals: bool,
    ) -> tuple[_Known, Sequence[Any]]:
        """Prepare, look at the columns, and only then execute."""
        _log.debug("straight to asyncpg: %s", compiled.sql)
        prepared, attributes = await prepare(adapted, self._dialect, compiled.sql)
        known = compiled.memory.get((row_type, id(attributes)))
        if known is None:
            fresh, known = await self._learn(compiled, row_type, adapted, prepared, attributes)
            # Out of date after a migration? Inside a transaction the old one is run all the
            # same: it fails with the error that SQLAlchemy's users know.
            prepared = fresh if heals else prepared
        return known, await prepared.fetch(*values)

    def _prepare(
        self, row_type: Any, statement: str | Executable, parameters: Any
    ) -> tuple[Compiled | None, tuple[Any, ...]]:
        """The compiled statement and its values. Whatever is wrong with them,
        SQLAlchemy finds it too, and says it in its own words."""
        if parameters is not None and type(parameters) is not dict:
            if not isinstance(parameters, Mapping):
                return None, ()
            parameters = dict(parameters)  # a defaultdict would invent what is missing
        try:
            hash(row_type)  # metadata in Annotated may have no hash
            compiled = self._statements.get(statement, parameters)
            if compiled is not None:
                return compiled, compiled.arguments(parameters)
        except Exception:  # noqa: BLE001
            pass
        return None, ()

    async def _wait(self, pool: TypedPool) -> TypedRecord | None:
        try:
            return await pool.wait_and_take()
        except Exception as error:  # noqa: BLE001 - raised again, as engine.connect() would
            raise_unconnected(self._engine, error)

    async def _learn(
        self,
        compiled: Compiled,
        row_type: Any,
        adapted: Any,
        prepared: Any,
        attributes: Sequence[Any],
    ) -> tuple[Any, _Known]:
        """Plan the mapping of what the server says it will send.

        :raises RowShapeError: when it does not fit, and the server has not changed its
            mind since the statement was prepared.
        """
        try:
            known = self._known(compiled, row_type, attributes)
        except RowShapeError:
            old = described_by_asyncpg(attributes) if attributes else ()
            prepared, attributes = await prepare_anew(adapted, self._dialect, compiled.sql)
            if (described_by_asyncpg(attributes) if attributes else ()) == old:
                raise
            known = self._known(compiled, row_type, attributes)
        if len(compiled.memory) >= _MOST:
            compiled.memory.clear()
        compiled.memory[row_type, id(known.attributes)] = known
        return prepared, known

    def _known(self, compiled: Compiled, row_type: Any, attributes: Sequence[Any]) -> _Known:
        columns = described_by_asyncpg(attributes)
        processors: Any = ()
        if compiled.result_columns:
            if len(compiled.result_columns) != len(attributes):
                raise _Unfit  # SELECT * as a literal: SQLAlchemy matches columns by name
            oids = [attribute.type.oid for attribute in attributes]
            processors = result_processors(self._dialect, compiled.result_columns, oids)
            if processors and compiled.is_dml:
                raise _Unfit  # what they raise undoes the statement there
            columns = relabelled(columns, compiled.result_columns, processors)
        mapper = mapper_for(row_type, columns, "postgresql")
        return _Known(attributes, mapper, processors)


class _Unfit(Exception):
    """Only now it shows that SQLAlchemy's own way would differ; nothing has been run."""


class _Known:
    """What a statement returns on one connection, and how it is mapped.

    It keeps the attributes alive by whose id it is found.
    """

    __slots__ = ("_mapper", "_processors", "attributes")

    def __init__(self, attributes: Any, mapper: Mapper[Any], processors: Sequence[Any]) -> None:
        self.attributes = attributes
        self._mapper = mapper
        self._processors = processors

    def map(self, rows: Sequence[Any]) -> list[Any]:
        if self._processors:
            rows = _processed(rows, self._processors)
        return self._mapper.map_rows(rows)


def _processed(rows: Sequence[Any], processors: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Rows as SQLAlchemy would deliver them."""
    return [
        tuple(
            [
                value if process is None else process(value)
                for process, value in zip(processors, row, strict=True)
            ]
        )
        for row in rows
    ]
