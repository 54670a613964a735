"""Queries in, what a database says of them out: one connection, each statement once, bounded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL, text
from sqlalchemy.exc import CompileError

from sqla_typedpool.check.compare import misdeclared, refused
from sqla_typedpool.check.database import (
    CONNECT_SECONDS,
    connected,
    is_of_driver,
    said,
    shown,
)
from sqla_typedpool.check.locations import place_of_query
from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.rules import finding
from sqla_typedpool.check.snapshots import never_null
from sqla_typedpool.describe import Describer, describer
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun, DeclarationError, DescribeTimeout, Refused
from sqla_typedpool.queries import QueryInfo

Progress = Callable[[int, int], None]
"""Called before each query: how many are done, and how many there are."""


@dataclass(frozen=True)
class DatabaseTarget:
    """The database of a run."""

    url: URL
    name: str = ""
    """How a report calls it; "" = by its URL."""
    seconds: float = CONNECT_SECONDS
    """How long to wait for the server: for the connection, and for each statement."""
    progress: Progress = field(default=lambda done, total: None)

    def named(self, server: str) -> str:
        """How a report calls a server of that product, by its URL: no password."""
        if self.name:
            return f"{server} ({self.name})"
        url = self.url
        if url.get_backend_name() == "sqlite":
            return f"{server} at {url.database or ':memory:'}"
        port = f":{url.port}" if url.port else ""
        return f"{server} at {url.host or 'localhost'}{port}/{url.database or ''}"


@dataclass(frozen=True)
class DescribedQuery:
    """What a database has said of one query."""

    info: QueryInfo
    description: Description | None
    """None = it was refused, or cannot be understood."""
    findings: tuple[Finding, ...]


async def ask_database(
    queries: Sequence[QueryInfo], source: DatabaseTarget
) -> tuple[str, list[DescribedQuery]]:
    """Describe queries.

    :return: how a report calls the database, and its answers.
    :raises CannotRun: it cannot be asked.
    """
    async with _describer_of(source) as database:
        answers = await ask(database, queries, source.progress)
        return source.named(database.server), answers


async def describe_one(sql: str, source: DatabaseTarget) -> Description:
    """Describe one statement.

    :raises CannotRun: the database refuses it, or cannot be asked.
    """
    async with _describer_of(source) as database:
        try:
            return await database.describe(text(sql))
        except Refused as error:
            hint = f"; next: {error.hint}" if error.hint else ""
            raise CannotRun(f"{database.server} refuses it: {error.message}{hint}") from error


@asynccontextmanager
async def _describer_of(source: DatabaseTarget) -> AsyncGenerator[Describer, None]:
    async with connected(source.url, source.seconds) as connection:
        try:
            async with describer(connection, timeout=source.seconds) as database:
                yield database
        except Exception as error:
            explained = _explained(error, source)
            if explained is error:
                raise
            raise explained from error


def _explained(error: Exception, source: DatabaseTarget) -> Exception:
    """Return the error in one sentence, if a database, a driver or a missing library is the cause.

    Any other error is returned unchanged.
    """
    if isinstance(error, DescribeTimeout):
        return CannotRun(
            f"{shown(source.url)} did not {error.action} within {error.seconds:g} s; next: check "
            "whether a table is locked, or wait longer with --timeout"
        )
    if isinstance(error, (CannotRun, Refused)):
        return error
    if isinstance(error, ImportError):
        words, hint = str(error), 'pip install "sqla-typedpool[check]"'
    elif is_of_driver(error):
        words, hint = said(error, source.url), "check that the server is running"
    else:
        return error
    return CannotRun(f"{shown(source.url)} cannot be used: {words}; next: {hint}")


async def ask(
    database: Describer, queries: Sequence[QueryInfo], progress: Progress | None = None
) -> list[DescribedQuery]:
    """Describe queries, each statement once."""
    known: dict[Any, Description | Refused] = {}
    asked = []
    for done, info in enumerate(queries):
        if progress is not None:
            progress(done, len(queries))
        asked.append(await _ask(database, info, known))
    return asked


async def _ask(
    database: Describer, info: QueryInfo, known: dict[Any, Description | Refused]
) -> DescribedQuery:
    try:
        never = never_null(info, database.family)
        key = (info.sql if info.is_text else id(info.statement), info.bind_names, never)
        if key not in known:
            known[key] = await _described(database, info, never)
        answer = known[key]
    except DeclarationError as error:
        return DescribedQuery(info, None, tuple(misdeclared(info, error)))
    except CompileError as error:
        return DescribedQuery(info, None, (uncompilable(info, error, database.family),))
    if isinstance(answer, Refused):
        return DescribedQuery(info, None, (refused(info, answer, database.family),))
    return DescribedQuery(info, answer, ())


async def _described(
    database: Describer, info: QueryInfo, never: tuple[str, ...]
) -> Description | Refused:
    try:
        return await database.describe(info.statement, keys=info.bind_names, never_null=never)
    except Refused as error:
        return error


def uncompilable(info: QueryInfo, error: CompileError, family: str) -> Finding:
    """A statement that SQLAlchemy cannot write for this family."""
    return finding(
        "TP301",
        f"SQLAlchemy cannot compile it for {family}: {error}",
        place_of_query(info),
        query=info.name,
    )
