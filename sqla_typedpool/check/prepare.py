"""Snapshots are written, or compared with what a database says now."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqla_typedpool.check.describing import DatabaseTarget, DescribedQuery, ask_database
from sqla_typedpool.check.discovery import Discovered
from sqla_typedpool.check.locations import place_of_query
from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.report import Report
from sqla_typedpool.check.rules import finding
from sqla_typedpool.check.runner import no_snapshot, reported, require_queries
from sqla_typedpool.check.snapshots import Snapshots, document_of
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.queries import QueryInfo


@dataclass(frozen=True)
class PrepareResult:
    """What a ``prepare`` has done."""

    report: Report
    """Of the statements that were refused; then nothing was written."""
    is_written: bool = False
    changed: int = 0
    removed: int = 0


async def prepare(
    found: Discovered, source: DatabaseTarget, snapshots: Snapshots, selection: Selection
) -> PrepareResult:
    """Describe every query and write the snapshots, all of them or none.

    :raises CannotRun: there is nothing to do, or the database or the folder cannot be used.
    """
    began = time.monotonic()
    require_queries(found)
    name, asked = await ask_database(found.queries, source)
    findings = [each for one in asked for each in one.findings]
    report = reported(found, findings, selection, name, began, linted=False)
    if any(one.description is None for one in asked):
        return PrepareResult(report)
    family, documents = _documents(asked, snapshots)
    stale = _orphans(found, snapshots, family, documents)
    changed, removed = snapshots.write(family, documents, stale)
    return PrepareResult(report, True, changed, removed)


async def prepare_check(
    found: Discovered, source: DatabaseTarget, snapshots: Snapshots, selection: Selection
) -> Report:
    """Compare the snapshots with what a database says now; nothing is written.

    :raises CannotRun: there is nothing to check, or the database cannot be asked.
    """
    began = time.monotonic()
    require_queries(found)
    name, asked = await ask_database(found.queries, source)
    findings = [each for one in asked for each in one.findings]
    family, documents = _documents(asked, snapshots)
    for one in asked:
        if one.description is not None:
            findings += _outdated(one.info, snapshots, family, documents)
    findings += [
        finding("TP404", "no query uses this snapshot", Location(path), hint="run prepare")
        for path in _orphans(found, snapshots, family, documents)
    ]
    return reported(found, findings, selection, name, began, linted=False)


def _documents(
    asked: Iterable[DescribedQuery], snapshots: Snapshots
) -> tuple[str, dict[Path, str]]:
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
        return [no_snapshot(info, family)]
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
