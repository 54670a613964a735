"""Write snapshots, or compare them with the descriptions by a database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqla_typedpool.check.describing import (
    CompiledQuery,
    DatabaseTarget,
    DescribedQuery,
    describe_queries,
)
from sqla_typedpool.check.discovery import Discovered
from sqla_typedpool.check.locations import location_of_query
from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.report import Report
from sqla_typedpool.check.rules import STALE_SNAPSHOT, UNUSED_SNAPSHOT, finding
from sqla_typedpool.check.runner import make_report, read_snapshot, require_queries
from sqla_typedpool.check.snapshot_format import is_same
from sqla_typedpool.check.snapshots import Snapshots, snapshot_text
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.describe.model import Description


@dataclass(frozen=True)
class PrepareResult:
    """The result of `prepare`."""

    # The faulty declarations and the statements that were refused. If there are any, nothing
    # was written.
    report: Report
    is_written: bool = False
    changed: int = 0
    removed: int = 0


async def prepare(
    found: Discovered, target: DatabaseTarget, snapshots: Snapshots, selection: Selection
) -> PrepareResult:
    """Describe every query and write all snapshots, or none if a query cannot be described.

    :raises CannotRun: there is nothing to do, or the database or the folder cannot be used.
    """
    began = time.monotonic()
    require_queries(found)
    name, described = await describe_queries(found.queries, target)
    findings = [one for each in described for one in each.findings]
    report = make_report(found, findings, selection, name, began, complete=False)
    if found.errors or any(each.description is None for each in described):
        return PrepareResult(report)
    documents = {
        snapshots.path_of(each.query): snapshot_text(each.query, each.description)
        for each in described
        if each.query is not None and each.description is not None
    }
    changed, removed = snapshots.write(documents, _unused_snapshots(found, described, snapshots))
    return PrepareResult(report, True, changed, removed)


async def prepare_check(
    found: Discovered, target: DatabaseTarget, snapshots: Snapshots, selection: Selection
) -> Report:
    """Compare the snapshots with the descriptions by a database, and write nothing.

    :raises CannotRun: there is nothing to check, or the database cannot be used.
    """
    began = time.monotonic()
    require_queries(found)
    name, described = await describe_queries(found.queries, target)
    findings: list[Finding] = []
    for each in described:
        findings += each.findings
        if each.query is not None and each.description is not None:
            findings += _check_snapshot(each.query, each.description, snapshots)
    if not found.errors:  # the snapshot of a faulty declaration is not unused
        hint = "remove it with `sqla-typedpool prepare`"
        findings += [
            finding(UNUSED_SNAPSHOT, "no query uses this snapshot", Location(path), hint=hint)
            for path in _unused_snapshots(found, described, snapshots)
        ]
    return make_report(found, findings, selection, name, began, complete=False)


def _check_snapshot(
    query: CompiledQuery, description: Description, snapshots: Snapshots
) -> list[Finding]:
    kept = read_snapshot(query, snapshots)
    if isinstance(kept, Finding):
        return [kept]
    is_older = kept.writes is None and description.writes is not None
    message = (
        "the snapshot was written by an earlier version, and does not contain what is written"
        if is_older
        else "the snapshot differs from the description by the database"
    )
    location, name = location_of_query(query.info), query.info.name
    hint = "run `sqla-typedpool prepare`, review the changes, and commit them"
    stale = finding(STALE_SNAPSHOT, message, location, query=name, hint=hint)
    return [] if is_same(kept, description) else [stale]


def _unused_snapshots(
    found: Discovered, described: Sequence[DescribedQuery], snapshots: Snapshots
) -> list[Path]:
    compiled = [each.query for each in described if each.query is not None]
    used = {snapshots.path_of(query) for query in compiled}
    families = {query.family for query in compiled}
    return [path for each in families for path in snapshots.unused(each, used, found.roots)]
