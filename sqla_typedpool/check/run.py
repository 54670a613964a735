"""A whole run: queries are described by a database or read from snapshots, and compared."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL, text
from sqlalchemy.exc import CompileError, DBAPIError

from sqla_typedpool.check.codes import finding
from sqla_typedpool.check.compare import compare, misdeclared, refused
from sqla_typedpool.check.database import CONNECT_SECONDS, connected, said, shown
from sqla_typedpool.check.describe import Describer, describer
from sqla_typedpool.check.discover import Discovered
from sqla_typedpool.check.ignores import Ignores, Selection
from sqla_typedpool.check.locate import place_of_query
from sqla_typedpool.check.model import CannotRun, Description, Finding, Place, Refused
from sqla_typedpool.check.report import Report, shown_path
from sqla_typedpool.check.snapshot import Damaged, Snapshots, document_of, never_null
from sqla_typedpool.check.unchecked import unchecked
from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.query import QueryInfo

__all__ = [
    "Asked",
    "Discovered",
    "Prepared",
    "Source",
    "ask",
    "check_database",
    "check_snapshots",
    "describe_one",
    "prepare",
    "prepare_check",
    "reported",
]

Progress = Callable[[int, int], None]
"""Called before each query: how many are done, and how many there are."""


@dataclass(frozen=True)
class Source:
    """The database of a run."""

    url: URL
    name: str = ""
    """How a report calls it; "" = by its URL."""
    seconds: float = CONNECT_SECONDS
    allow_server_log: bool = False
    progress: Progress = field(default=lambda done, total: None)


@dataclass(frozen=True)
class Asked:
    """What a database has said of one query."""

    info: QueryInfo
    description: Description | None
    """None = it was refused, or cannot be understood."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Prepared:
    """What a ``prepare`` has done."""

    report: Report
    """Of the statements that were refused; then nothing was written."""
    is_written: bool = False
    changed: int = 0
    removed: int = 0


# ------------------------------------------------------------------------ database


async def check_database(found: Discovered, source: Source, selection: Selection) -> Report:
    """Compare every query with what a database says of it now.

    :raises CannotRun: there is nothing to check, or the database cannot be asked.
    """
    began = time.monotonic()
    server, asked = await _asked_of(found, source)
    findings = [each for one in asked for each in _compared(one)]
    return reported(found, findings, selection, _named(server, source), began)


async def _asked_of(found: Discovered, source: Source) -> tuple[str, list[Asked]]:
    _require_queries(found)
    async with _describer_of(source) as database:
        return database.server, await ask(database, found.queries, source.progress)


async def describe_one(sql: str, source: Source) -> Description:
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
async def _describer_of(source: Source) -> AsyncGenerator[Describer, None]:
    async with connected(source.url, source.seconds) as connection:
        try:
            opened = describer(connection, allow_server_log=source.allow_server_log)
            async with opened as database:
                yield database
        except (DBAPIError, OSError) as error:
            words = said(error, source.url)
            raise CannotRun(f"{shown(source.url)} cannot be asked: {words}") from error


async def ask(
    database: Describer, queries: Sequence[QueryInfo], progress: Progress | None = None
) -> list[Asked]:
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
) -> Asked:
    try:
        never = never_null(info)
        key = (info.sql if info.is_text else id(info.statement), info.bind_names, never)
        if key not in known:
            known[key] = await _described(database, info, never)
        answer = known[key]
    except DeclarationError as error:
        return Asked(info, None, tuple(misdeclared(info, error)))
    except CompileError as error:
        return Asked(info, None, (_uncompilable(info, error, database.family),))
    if isinstance(answer, Refused):
        return Asked(info, None, (refused(info, answer, database.family),))
    return Asked(info, answer, ())


async def _described(
    database: Describer, info: QueryInfo, never: tuple[str, ...]
) -> Description | Refused:
    try:
        return await database.describe(info.statement, keys=info.bind_names, never_null=never)
    except Refused as error:
        return error


def _uncompilable(info: QueryInfo, error: CompileError, family: str) -> Finding:
    return finding(
        "TP301",
        f"SQLAlchemy cannot compile it for {family}: {error}",
        place_of_query(info),
        query=info.name,
    )


def _compared(asked: Asked) -> list[Finding]:
    if asked.description is None:
        return list(asked.findings)
    return [*asked.findings, *compare(asked.info, asked.description)]


# ----------------------------------------------------------------------- snapshots


def check_snapshots(found: Discovered, snapshots: Snapshots, selection: Selection) -> Report:
    """Compare every query with its snapshot; no database is asked.

    :raises CannotRun: there is nothing to check, or there are no snapshots.
    """
    began = time.monotonic()
    _require_queries(found)
    families = snapshots.families()
    if not families:
        raise CannotRun(f"there are no snapshots in {snapshots.folder}")
    findings = [
        each
        for family in families
        for info in found.queries
        for each in _from_snapshot(info, snapshots, family)
    ]
    source = f"snapshots in {shown_path(snapshots.folder.absolute())}"
    return reported(found, findings, selection, source, began)


def _from_snapshot(info: QueryInfo, snapshots: Snapshots, family: str) -> list[Finding]:
    try:
        description = snapshots.read(info, family)
        if description is not None:
            return compare(info, description)
        return [_no_snapshot(info, family)]
    except Damaged as error:
        path = snapshots.path_of(info, family)
        hint = "write it anew with `sqla-typedpool prepare`"
        return [finding("TP403", f"damaged: {error}", Place(path), query=info.name, hint=hint)]
    except DeclarationError as error:
        return misdeclared(info, error)
    except CompileError as error:
        return [_uncompilable(info, error, family)]


def _no_snapshot(info: QueryInfo, family: str) -> Finding:
    return finding(
        "TP401",
        f"there is no snapshot of this statement for {family}",
        place_of_query(info),
        query=info.name,
        hint="describe it with `sqla-typedpool prepare`, and commit what that writes",
    )


async def prepare(
    found: Discovered, source: Source, snapshots: Snapshots, selection: Selection
) -> Prepared:
    """Describe every query and write the snapshots, all of them or none.

    :raises CannotRun: there is nothing to do, or the database or the folder cannot be used.
    """
    began = time.monotonic()
    server, asked = await _asked_of(found, source)
    findings = [each for one in asked for each in one.findings]
    report = reported(found, findings, selection, _named(server, source), began, linted=False)
    if any(one.description is None for one in asked):
        return Prepared(report)
    family, documents = _documents(asked, snapshots)
    stale = _orphans(found, snapshots, family, documents)
    changed, removed = snapshots.write(family, documents, stale)
    return Prepared(report, True, changed, removed)


async def prepare_check(
    found: Discovered, source: Source, snapshots: Snapshots, selection: Selection
) -> Report:
    """Compare the snapshots with what a database says now; nothing is written.

    :raises CannotRun: there is nothing to check, or the database cannot be asked.
    """
    began = time.monotonic()
    server, asked = await _asked_of(found, source)
    findings = [each for one in asked for each in one.findings]
    family, documents = _documents(asked, snapshots)
    for one in asked:
        if one.description is not None:
            findings += _outdated(one.info, snapshots, family, documents)
    findings += [
        finding("TP404", "no query uses this snapshot", Place(path), hint="run prepare")
        for path in _orphans(found, snapshots, family, documents)
    ]
    return reported(found, findings, selection, _named(server, source), began, linted=False)


def _documents(asked: Iterable[Asked], snapshots: Snapshots) -> tuple[str, dict[Path, str]]:
    family, documents = "", {}
    for one in asked:
        if one.description is not None:
            family = one.description.family
            documents[snapshots.path_of(one.info, family)] = document_of(one.info, one.description)
    return family, documents


def _orphans(
    found: Discovered, snapshots: Snapshots, family: str, documents: dict[Path, str]
) -> list[Path]:
    """Files of queries that are gone from the modules that were looked at."""
    return snapshots.orphans(family, documents, found.roots) if family else []


def _outdated(
    info: QueryInfo, snapshots: Snapshots, family: str, documents: dict[Path, str]
) -> list[Finding]:
    written = snapshots.written(info, family)
    if written is None:
        return [_no_snapshot(info, family)]
    if written == documents[snapshots.path_of(info, family)]:
        return []
    return [
        finding(
            "TP402",
            "the snapshot is not what the database says now",
            place_of_query(info),
            query=info.name,
            hint="run `sqla-typedpool prepare`, look at the difference, and commit it",
        )
    ]


# -------------------------------------------------------------------------- report


def reported(
    found: Discovered,
    findings: Iterable[Finding],
    selection: Selection,
    source: str,
    began: float,
    *,
    linted: bool = True,
) -> Report:
    """What is left after comments and the selection.

    :param began: on the monotonic clock.
    :param linted: whether statements that nobody checks are told too, and idle comments.
    """
    findings = list(findings)
    if linted:
        findings += unchecked(found.files, found.queries)
        findings = Ignores(found.queries).heeded(findings)
    kept = tuple(each for each in findings if selection.keeps(each.code))
    return Report(kept, len(found.queries), source, time.monotonic() - began)


def _require_queries(found: Discovered) -> None:
    if found.queries:
        return
    names = ", ".join(found.roots)
    raise CannotRun(f"nothing to check: no @query in {names}{_in_place(found)}")


def _in_place(found: Discovered) -> str:
    """How everybody begins: with SQL in the calls."""
    calls = [each for each in unchecked(found.files) if each.code == "TP002"]
    if not calls or calls[0].place is None:
        return "; next: declare one, or name the modules that do"
    place = calls[0].place
    number = "a call has" if len(calls) == 1 else f"{len(calls)} calls have"
    return (
        f", but {number} SQL of their own (the first: {shown_path(place.file)}:{place.line}); "
        "next: declare it with @query, see docs/tutorial.md"
    )


def _named(server: str, source: Source) -> str:
    if source.name:
        return f"{server} ({source.name})"
    url = source.url
    port = f":{url.port}" if url.port else ""
    return f"{server} at {url.host or 'localhost'}{port}/{url.database or ''}"
