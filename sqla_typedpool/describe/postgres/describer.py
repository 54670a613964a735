"""Describe statements of PostgreSQL through the engine's own connection (asyncpg or psycopg).

Types and parameters come from PREPARE, nullability and origins of columns from PostgreSQL's own
analysis of the statement. Everything is done in a transaction, or a savepoint in the caller's
transaction, that is always rolled back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import chain, repeat
from math import ceil
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement
from sqla_typedpool.describe.base import DatabaseReport, Describer, described_column
from sqla_typedpool.describe.model import ColumnDescription
from sqla_typedpool.describe.nullability import Nullability, unknown
from sqla_typedpool.describe.postgres.analysis import Analysis, Analyzer
from sqla_typedpool.describe.postgres.catalog import Catalog
from sqla_typedpool.describe.postgres.composites import nullable_fields
from sqla_typedpool.describe.postgres.fingerprint import facts_of
from sqla_typedpool.describe.postgres.inference import RULES
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.outputs import entries, infer_statement
from sqla_typedpool.describe.postgres.predicates import mark_lists
from sqla_typedpool.describe.postgres.privileges import Privileges
from sqla_typedpool.describe.postgres.scope import Inference
from sqla_typedpool.describe.postgres.session import Session, session_for
from sqla_typedpool.describe.postgres.targets import WrittenCatalog
from sqla_typedpool.describe.postgres.types import Types
from sqla_typedpool.describe.postgres.write_targets import relations_written, write_facts
from sqla_typedpool.describe.postgres.writes import writes_of
from sqla_typedpool.describe.writes import ColumnWrite
from sqla_typedpool.errors import CannotRun, Refused
from sqla_typedpool.secrets import masked_repr
from sqla_typedpool.tokens import statement_keyword, tokens, writes_rows

# Errors of the rules for the tree of a later version of PostgreSQL.
_NOT_UNDERSTOOD = (LookupError, ValueError, TypeError, AttributeError, RecursionError)
_MAX_MILLISECONDS = 2**31 - 1

# The analysis of a function's body is always made; the further checks are not needed.
_SETTINGS = """
SET LOCAL statement_timeout = {milliseconds};
SET LOCAL lock_timeout = {milliseconds};
SET LOCAL check_function_bodies = off
"""


@asynccontextmanager
async def open_describer(
    connection: AsyncConnection, timeout: float
) -> AsyncGenerator[Describer, None]:
    """Open a describer on this connection; see `sqla_typedpool.describe.describer`."""
    session = await session_for(connection, timeout)
    milliseconds = min(ceil(timeout * 1000), _MAX_MILLISECONDS)
    async with session.rolled_back():
        try:
            await session.execute(_SETTINGS.format(milliseconds=milliseconds))
            analyzer = await Analyzer.create(session)
        except Refused as error:
            raise CannotRun(f"the database cannot describe statements: {error.message}") from error
        yield PostgresDescriber(session, analyzer, timeout)


class PostgresDescriber(Describer):
    """Describes statements in one transaction; each catalog entry is read once."""

    family = "postgresql"

    def __init__(self, session: Session, analyzer: Analyzer, timeout: float) -> None:
        super().__init__(f"PostgreSQL {analyzer.version // 10000}", timeout, session.encoding)
        self._session = session
        self._analyzer = analyzer
        self._types = Types(session)
        self._catalog = Catalog(session)
        self._written = WrittenCatalog(session)
        self._privileges = Privileges(session)

    async def _describe(
        self, compiled: CompiledStatement, never_null: frozenset[str]
    ) -> DatabaseReport:
        _require_no_copy(compiled.sql)
        async with self._session.rolled_back():
            prepared = await self._session.prepare(compiled.sql)
            type_codes = [oid for _, oid in prepared.columns]
            await self._types.learn((*prepared.parameters, *type_codes))
            analysis = await self._analyzer.analyze(compiled.sql, prepared, self._types)
            await self._privileges.require(analysis.query)
            references = await self._catalog.learn(analysis.query)
            await self._written.learn(_written(analysis.query, self._catalog))
        numbered = enumerate(compiled.placeholders, 1)
        mark_lists(analysis.query, {number for number, each in numbered if each.may_be_empty})
        names = tuple(placeholder.name for placeholder in compiled.placeholders)
        inference = Inference(self._catalog, RULES, names, never_null)
        analysis, nullability = _nullability(analysis, inference, len(type_codes))
        analysis, writes = _writes(analysis, inference, self._written, compiled)
        may_write = writes_rows(compiled.sql)
        note = analysis.note(has_columns=bool(type_codes), may_write=may_write)
        listed = [] if analysis.query is None else entries(analysis.query)
        origins = chain((_origin(entry, self._catalog) for entry in listed), repeat(None))
        columns = zip(prepared.columns, nullability, origins, strict=False)
        facts = facts_of(analysis.query, references)
        facts += write_facts(analysis.query, self._catalog, self._written.relations)
        described = [
            described_column(name, self._types.db_type(oid), found, origin)
            for (name, oid), found, origin in columns
        ]
        return DatabaseReport(
            columns=_with_fields(described, analysis, inference),
            catalog_facts=facts + self._types.facts((*prepared.parameters, *type_codes)),
            type_codes=type_codes,
            parameter_types=list(map(self._types.db_type, prepared.parameters)),
            notes=(note,) if note else (),
            writes=() if writes is None and not may_write else writes,
        )


def _require_no_copy(sql: str) -> None:
    """Refuse ``COPY ... TO STDOUT``: PREPARE accepts it, but drivers do not run it as a query."""
    if statement_keyword(sql) != "COPY":
        return
    for token in tokens(sql):
        if token.is_word("STDOUT", "STDIN"):
            hint = "use the driver: asyncpg's copy_from_query(), or psycopg's cursor.copy()"
            raise Refused("COPY cannot be run as a query", position=token.start, hint=hint)


def _nullability(
    analysis: Analysis, inference: Inference, count: int
) -> tuple[Analysis, list[Nullability]]:
    """Infer the nullability of each column; all are nullable if the tree is not understood."""
    missing = [unknown("nullability is unknown on this server or for this role")] * count
    if analysis.query is None:
        return analysis, missing
    try:
        inferred = infer_statement(inference, analysis.query)
    except _NOT_UNDERSTOOD as error:
        return _not_understood(analysis, error), missing
    return analysis, inferred if len(inferred) == count else missing


def _writes(
    analysis: Analysis, inference: Inference, written: WrittenCatalog, compiled: CompiledStatement
) -> tuple[Analysis, tuple[ColumnWrite, ...] | None]:
    """Return what a statement writes; None if that is unknown."""
    if analysis.query is None or analysis.reason:
        return analysis, None
    converted = frozenset(each.name for each in compiled.placeholders if not each.none_is_null)
    try:
        return analysis, writes_of(analysis.query, inference, written.relations, converted)
    except _NOT_UNDERSTOOD as error:
        return _not_understood(analysis, error), None


def _written(query: Node | None, catalog: Catalog) -> set[int]:
    """Return the OIDs of the relations that a statement writes; none if it is not understood."""
    try:
        return relations_written(query, catalog)
    except _NOT_UNDERSTOOD:
        return set()


def _not_understood(analysis: Analysis, error: Exception) -> Analysis:
    reason = f"the server's analysis was not understood ({masked_repr(error)})"
    return replace(analysis, reason=reason)


def _with_fields(
    columns: list[ColumnDescription], analysis: Analysis, inference: Inference
) -> list[ColumnDescription]:
    """Add the fields of composite values that may be NULL."""
    query = None if analysis.reason else analysis.query
    expressions: list[Any] = [None] * len(columns)
    if query is not None and query.setOperations is None:
        expressions = [entry.expr for entry in entries(query)]
    pairs = zip(columns, expressions, strict=False)
    return [
        replace(each, nullable_fields=nullable_fields(expression, each.db_type, query, inference))
        if each.db_type.fields
        else each
        for each, expression in pairs
    ]


def _origin(entry: Node, catalog: Catalog) -> str | None:
    relation = catalog.relations.get(entry.number("resorigtbl"))
    column = relation and relation.columns.get(entry.number("resorigcol"))
    return f"{relation.full_name}.{column.name}" if relation and column else None
