"""Queries in, what a database says of them out: one connection, each statement once, bounded."""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL, Executable, text
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
from sqla_typedpool.errors import CannotRun, DeclarationError, Refused
from sqla_typedpool.queries import QueryInfo

# lock_not_available, query_canceled: the next statement would wait as long.
_WAITED = ("55P03", "57014")

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
    told: list[CannotRun] = []  # before what the clearing up after it may complain of
    async with connected(source.url, source.seconds) as connection:
        try:
            opened = describer(connection)
            async with opened as database:
                try:
                    yield _Bounded(database, source)
                except CannotRun as error:
                    told.append(error)
                    raise
        except Exception as error:
            explained = _explained(error, source, told)
            if explained is error:
                raise
            raise explained from error


def _explained(error: Exception, source: DatabaseTarget, told: Sequence[CannotRun]) -> Exception:
    """One sentence for what the database, its driver or a missing library says."""
    if told or isinstance(error, (CannotRun, Refused)):
        return told[0] if told else error
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        words, hint = f"no answer within {source.seconds:g} s", "look whether it runs"
    elif isinstance(error, ImportError):
        words, hint = str(error), 'pip install "sqla-typedpool[check]"'
    elif is_of_driver(error):
        words, hint = said(error, source.url), "look whether it still runs"
    else:
        return error
    return CannotRun(f"{shown(source.url)} cannot be asked: {words}; next: {hint}")


class _Bounded:
    """A describer that does not wait for ever: a table may be locked, a server silent."""

    def __init__(self, inner: Describer, source: DatabaseTarget) -> None:
        self._inner = inner
        self._source = source
        self.family = inner.family
        self.server = inner.server

    async def describe(
        self,
        statement: Executable | str,
        *,
        keys: Collection[str] = (),
        never_null: Collection[str] = (),
    ) -> Description:
        """As the inner one, for a while."""
        began, seconds = time.monotonic(), self._source.seconds
        work = self._inner.describe(statement, keys=keys, never_null=never_null)
        try:
            return await asyncio.wait_for(work, seconds)
        except Refused as error:
            if error.code not in _WAITED:
                raise
            why = error.message
        except Exception:
            # a timeout, or what the clearing up after it says of a server that is silent
            if time.monotonic() - began < seconds:
                raise
            why = f"no answer within {seconds:g} s"
        sql = textwrap.shorten(" ".join(str(statement).split()), 80)
        raise CannotRun(
            f"{shown(self._source.url)} did not describe {sql!r}: {why}; next: look whether a "
            "table is locked, or wait longer with --timeout"
        )


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
