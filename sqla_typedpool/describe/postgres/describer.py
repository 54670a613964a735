"""PostgreSQL, through the engine's own connection (asyncpg or psycopg).

Types and parameters come from PREPARE; what can be NULL from PostgreSQL's own analysis of
the statement. Statements are never executed; all is done in a transaction, or a savepoint
of the caller's, that is always rolled back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256

from sqlalchemy import Executable
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement, compile_statement
from sqla_typedpool.describe.core_columns import as_read
from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.describe.nullability import Nullability, maybe
from sqla_typedpool.describe.postgres.analysis import Analysis, Analyst
from sqla_typedpool.describe.postgres.catalog import Catalog, References
from sqla_typedpool.describe.postgres.fingerprint import facts_of
from sqla_typedpool.describe.postgres.inference import RULES
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.outputs import entries, infer_statement
from sqla_typedpool.describe.postgres.privileges import Privileges
from sqla_typedpool.describe.postgres.scope import Inference
from sqla_typedpool.describe.postgres.session import PreparedStatement, Session, session_of
from sqla_typedpool.describe.postgres.types import Types
from sqla_typedpool.errors import CannotRun, Refused
from sqla_typedpool.statement import as_executable

# A lock that somebody holds, or whatever else makes the server wait, ends with an error.
_BOUNDS = ("SET LOCAL statement_timeout = '10s'", "SET LOCAL lock_timeout = '5s'")
_UNCHECKED = "SET LOCAL check_function_bodies = off"  # the analysis is enough, and is made anyway


@asynccontextmanager
async def describer(
    connection: AsyncConnection,
) -> AsyncGenerator[PostgresDescriber, None]:
    """A describer on this connection; what it has begun is left as it was."""
    raw = await connection.get_raw_connection()
    session = session_of(raw.driver_connection)
    async with session.rolled_back():
        try:
            for setting in (*_BOUNDS, _UNCHECKED):
                await session.fetch(setting)
            analyst = await Analyst.arrive(session)
        except Refused as error:
            raise CannotRun(f"the database cannot be asked: {error.message}") from error
        yield PostgresDescriber(session, analyst)


class PostgresDescriber:
    """Describes statements in one transaction; catalogue entries are asked for once."""

    family = "postgresql"

    def __init__(self, session: Session, analyst: Analyst) -> None:
        self._session = session
        self._analyst = analyst
        self._types = Types(session)
        self._catalog = Catalog(session)
        self._permissions = Privileges(session)
        self.server = f"PostgreSQL {analyst.version // 10000}"

    async def describe(
        self,
        statement: Executable | str,
        *,
        keys: Collection[str] = (),
        never_null: Collection[str] = (),
    ) -> Description:
        """See `sqla_typedpool.describe.Describer`."""
        try:
            as_sent = compile_statement(as_executable(statement), self.family, keys)
        except SQLAlchemyError as error:
            raise Refused(f"SQLAlchemy cannot compile the statement: {error}") from error
        _be_sendable(as_sent.sql)
        async with self._session.rolled_back():
            prepared = await self._session.prepare(as_sent.sql)
            await self._types.learn((*prepared.parameters, *(oid for _, oid in prepared.columns)))
            analysis = await self._analyst.analyse(as_sent.sql, prepared, self._types)
            await self._permissions.require(analysis.query)
            mentioned = await self._catalog.learn(analysis.query)
        inference = Inference(self._catalog, RULES, _names(as_sent), frozenset(never_null))
        return self._description(as_sent, prepared, analysis, mentioned, inference)

    def _description(
        self,
        as_sent: CompiledStatement,
        prepared: PreparedStatement,
        analysis: Analysis,
        mentioned: References,
        inference: Inference,
    ) -> Description:
        analysis, judged = _judged(analysis, inference, len(prepared.columns))
        numbers = (*prepared.parameters, *(oid for _, oid in prepared.columns))
        facts = facts_of(analysis.query, mentioned) + self._types.facts(numbers)
        return Description(
            family=self.family,
            sql=as_sent.sql,
            parameters=self._parameters(as_sent, prepared),
            columns=self._columns(as_sent, prepared, judged, _origins(analysis, self._catalog)),
            server=self.server,
            fingerprint=sha256("\n".join(sorted(facts)).encode()).hexdigest(),
            notes=(analysis.note,) if analysis.note and prepared.columns else (),
        )

    def _parameters(
        self, as_sent: CompiledStatement, prepared: PreparedStatement
    ) -> tuple[ParameterDescription, ...]:
        return tuple(
            ParameterDescription(
                place.name,
                self._types.db_type(oid),
                is_list=place.is_expanding,
                is_processed=place.is_processed,
            )
            for place, oid in zip(as_sent.placeholders, prepared.parameters, strict=False)
            if place.is_required
        )

    def _columns(
        self,
        as_sent: CompiledStatement,
        prepared: PreparedStatement,
        judged: list[Nullability],
        origins: list[str | None],
    ) -> tuple[ColumnDescription, ...]:
        found = []
        for place, (name, oid) in enumerate(prepared.columns):
            db_type, why = self._types.db_type(oid), judged[place]
            origin = origins[place] if place < len(origins) else None
            found.append(
                ColumnDescription(name, db_type, why.nullable, why.reason, origin, why.missing_with)
            )
        return as_read(as_sent.columns, found, [oid for _, oid in prepared.columns])


def _be_sendable(sql: str) -> None:
    """A character that cannot be sent would cost the connection."""
    for place, character in enumerate(sql):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise Refused(f"the character {character!r} cannot be sent", position=place)


def _names(as_sent: CompiledStatement) -> tuple[str, ...]:
    return tuple(place.name for place in as_sent.placeholders)


def _judged(
    analysis: Analysis, inference: Inference, columns: int
) -> tuple[Analysis, list[Nullability]]:
    """What the walker says of each column; all nullable where it cannot follow."""
    unknown = [maybe("nullability is unknown on this server or for this role")] * columns
    if analysis.query is None:
        return analysis, unknown
    try:
        judged = infer_statement(inference, analysis.query)
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # the tree of a version to come: nothing is known, and nothing is guessed
        note = f"nullability is unknown: the server's analysis could not be followed ({error!r})"
        return replace(analysis, note=note), unknown
    return analysis, judged if len(judged) == columns else unknown


def _origins(analysis: Analysis, catalog: Catalog) -> list[str | None]:
    if analysis.query is None:
        return []
    return [_origin(entry, catalog) for entry in entries(analysis.query)]


def _origin(entry: Node, catalog: Catalog) -> str | None:
    relation = catalog.relations.get(entry.number("resorigtbl"))
    column = relation and relation.columns.get(entry.number("resorigcol"))
    return f"{relation.full_name}.{column.name}" if relation and column else None
