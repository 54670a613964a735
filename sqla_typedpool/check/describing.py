"""Describe declared queries by a database: one connection, and each statement once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement, compile_statement
from sqla_typedpool.check.casts import (
    cast_without_type,
    is_unknown_type,
    parameter_in_message,
)
from sqla_typedpool.check.compare import misdeclared, refused
from sqla_typedpool.check.database import (
    CONNECT_SECONDS,
    connected,
    driver_message,
    is_driver_error,
)
from sqla_typedpool.check.database_url import shown
from sqla_typedpool.check.locations import location_of_query, offset_as_written, token_length
from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.parameters import has_no_none
from sqla_typedpool.check.rules import REFUSED_STATEMENT, finding
from sqla_typedpool.check.syntax_hints import syntax_hint
from sqla_typedpool.check.terminal import underlined
from sqla_typedpool.describe import Describer, describer
from sqla_typedpool.describe.comments import column_comments
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun, DeclarationError, DescribeTimeout, Refused
from sqla_typedpool.queries import QueryInfo
from sqla_typedpool.queries.parameter_lists import text_with_lists
from sqla_typedpool.tokens import binds

_WIDTH = 100  # columns of a line in an error message

# Called before each query with the number of queries that are done, and of all queries.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CompiledQuery:
    """A declared query, compiled for one family of databases."""

    info: QueryInfo
    family: str
    compiled: CompiledStatement

    # The parameters that are never sent as NULL: those whose annotation does not allow None, and
    # the values that a Core statement contains. ``ids[]`` stands for the elements of ``ids``.
    never_null: tuple[str, ...]


def compile_query(info: QueryInfo, family: str) -> CompiledQuery:
    """Compile a query for a family of databases.

    :raises DeclarationError: an annotation cannot be resolved.
    :raises sqlalchemy.exc.CompileError: SQLAlchemy cannot compile the statement for the family.
    """
    declared = {bind.name for bind in info.binds if not bind.is_optional}
    compiled = compile_statement(info.statement, family, info.bind_names)
    declared -= compiled.own_types
    lists = {bind.name for bind in info.binds if has_no_none(bind.annotation)}
    # the placeholders of an expanded list are its elements
    declared -= {each.name for each in compiled.placeholders if each.is_expanding} - lists
    arrays = lists - compiled.own_types if info.is_text else set()
    elements = {f"{name}[]" for name in arrays}
    never_null = declared | elements | compiled.never_null
    return CompiledQuery(info, family, compiled, tuple(sorted(never_null)))


def try_compile(info: QueryInfo, family: str) -> tuple[CompiledQuery | None, list[Finding]]:
    """Compile a query; if it cannot be compiled, return None and the findings."""
    try:
        return compile_query(info, family), []
    except DeclarationError as error:
        return None, misdeclared(info, error)
    except CompileError as error:
        message = f"SQLAlchemy cannot compile the statement for {family}: {error}"
        location = location_of_query(info)
        return None, [finding(REFUSED_STATEMENT, message, location, query=info.name)]


@dataclass(frozen=True)
class DescribedQuery:
    """The result of describing one query."""

    info: QueryInfo

    # None if it cannot be compiled.
    query: CompiledQuery | None

    # None if it cannot be compiled, or if the database refuses it.
    description: Description | None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class DatabaseTarget:
    """The database of a run."""

    url: URL

    # The name of the database in the report; "" shows parts of its URL.
    name: str = ""

    # The time limit for connecting, and for describing each statement.
    seconds: float = CONNECT_SECONDS

    # The option that sets ``seconds``, for errors; "" if the user cannot set it.
    timeout_option: str = ""

    # The ``search_path`` on PostgreSQL; None = that of the server or URL.
    search_path: str | None = None
    progress: Progress = field(default=lambda done, total: None)

    def named(self, server: str) -> str:
        """Return the name of the server and its database for the report, without a password."""
        if self.name:
            return f"{server} ({self.name})"
        url = self.url
        if url.get_backend_name() == "sqlite":
            return f"{server} at {url.database or ':memory:'}"
        port = f":{url.port}" if url.port else ""
        place = f"{url.host or 'localhost'}{port}/{url.database or ''}"
        return f"{server} at {place.rpartition('@')[2]}"  # see known_secrets()

    @property
    def timeout_hint(self) -> str:
        """How to set another time limit, as the end of a sentence, or ""."""
        return f", or set a longer {self.timeout_option}" if self.timeout_option else ""


async def describe_queries(
    queries: Sequence[QueryInfo], target: DatabaseTarget
) -> tuple[str, list[DescribedQuery]]:
    """Describe queries by a database.

    :return: the name of the database for the report, and the result for each query.
    :raises CannotRun: the database cannot be used.
    """
    async with _describer_of(target) as database:
        described = await describe_each(database, queries, target.progress)
        return target.named(database.server), described


async def describe_one(
    sql: str, target: DatabaseTarget, never_null: Collection[str] = ()
) -> Description:
    """Describe one statement.

    :param never_null: see `Describer.describe`.
    :raises CannotRun: the database refuses it or cannot be used.
    """
    async with _describer_of(target) as database:
        try:
            return await database.describe(text_with_lists(sql), never_null=never_null)
        except Refused as error:
            given = error.hint or _hint(sql, error, database.family)
            hint = f"; next: {given}" if given else ""
            message = f"{database.server} refuses the statement: {error.message}{hint}"
            raise CannotRun(f"{message}{_underlined(sql, error, database.family)}") from error


async def comments_of(description: Description, target: DatabaseTarget) -> dict[str, str]:
    """Return the comments of a statement's columns by their origins.

    :raises CannotRun: the database cannot be used.
    """
    origins = {each.origin for each in description.columns if each.origin is not None}
    async with _connection_of(target) as connection:
        return await column_comments(connection, origins)


def _hint(sql: str, error: Refused, family: str) -> str:
    if not is_unknown_type(error, has_parameters=bool(binds(sql))):
        return syntax_hint(sql, are_expanded=True)
    statement = text_with_lists(sql)
    return cast_without_type(parameter_in_message(statement, error.message, family))


def _underlined(sql: str, error: Refused, family: str) -> str:
    """Return the line of the SQL that an error points at, with carets below; "" if it does not."""
    if error.position is None:
        return ""
    sent = compile_statement(text_with_lists(sql), family).sql
    offset = offset_as_written(sql, sent, error.position)
    if offset is None or offset >= len(sql):
        return ""
    start = sql.rfind("\n", 0, offset) + 1
    line = sql[start:].partition("\n")[0]
    shown_lines = underlined(line, offset - start + 1, token_length(sql, offset), _WIDTH)
    return "\n\n" + "\n".join(f"  {each}" for each in shown_lines)


async def describe_each(
    database: Describer, queries: Sequence[QueryInfo], progress: Progress | None = None
) -> list[DescribedQuery]:
    """Describe queries, each statement once."""
    known: dict[Any, Description | Refused] = {}
    described = []
    for done, info in enumerate(queries):
        if progress is not None:
            progress(done, len(queries))
        described.append(await _describe_query(database, info, known))
    return described


async def _describe_query(
    database: Describer, info: QueryInfo, known: dict[Any, Description | Refused]
) -> DescribedQuery:
    query, findings = try_compile(info, database.family)
    if query is None:
        return DescribedQuery(info, None, None, tuple(findings))
    statement = query.compiled if query.compiled.is_text else id(info.statement)
    key = (statement, info.bind_names, query.never_null)
    if key not in known:
        known[key] = await _description_of(database, query)
    found = known[key]
    if isinstance(found, Refused):
        refusal = refused(info, found, query.family, query.compiled.sql)
        return DescribedQuery(info, query, None, (refusal,))
    return DescribedQuery(info, query, found)


async def _description_of(database: Describer, query: CompiledQuery) -> Description | Refused:
    try:
        return await database.describe_compiled(query.compiled, query.never_null)
    except Refused as error:
        return error


# ------------------------------------------------------------------ errors and limits


@asynccontextmanager
async def _describer_of(target: DatabaseTarget) -> AsyncGenerator[Describer, None]:
    async with _connection_of(target) as connection:
        async with describer(connection, timeout=target.seconds) as database:
            yield database


@asynccontextmanager
async def _connection_of(target: DatabaseTarget) -> AsyncGenerator[AsyncConnection, None]:
    async with connected(
        target.url, target.seconds, target.timeout_hint, target.search_path
    ) as connection:
        try:
            yield connection
        except Exception as error:
            explained = _as_cannot_run(error, target)
            if explained is error:
                raise
            raise explained from error


def _as_cannot_run(error: Exception, target: DatabaseTarget) -> Exception:
    """Convert an error of the database, its driver or a missing library to `CannotRun`."""
    if isinstance(error, DescribeTimeout):
        return CannotRun(
            f"{shown(target.url)} did not {error.action} within {error.seconds:g} s; next: check "
            f"whether another session has locked a table{target.timeout_hint}"
        )
    if isinstance(error, (CannotRun, Refused)):
        return error
    if isinstance(error, ImportError):
        reason, hint = str(error), 'pip install "sqla-typedpool[check]"'
    elif is_driver_error(error):
        reason, hint = driver_message(error, target.url), "check that the server is running"
    else:
        return error
    return CannotRun(f"{shown(target.url)} cannot describe statements: {reason}; next: {hint}")
