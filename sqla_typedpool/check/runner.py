"""A check: compare every query with a database or with its snapshot, and report the findings."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from sqla_typedpool.check import rules
from sqla_typedpool.check.compare import compare, faulty_declarations
from sqla_typedpool.check.describing import (
    CompiledQuery,
    DatabaseTarget,
    describe_queries,
    try_compile,
)
from sqla_typedpool.check.discovery import Discovered
from sqla_typedpool.check.locations import location_of_query
from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.named_queries import unused_names
from sqla_typedpool.check.report import Report, shown_path
from sqla_typedpool.check.rules import finding
from sqla_typedpool.check.snapshots import Snapshots
from sqla_typedpool.check.suppressions import Selection, Suppressions
from sqla_typedpool.check.undeclared_sql import undeclared_sql
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun, SnapshotError
from sqla_typedpool.queries import QueryInfo, declared


async def check_database(found: Discovered, target: DatabaseTarget, selection: Selection) -> Report:
    """Compare every query with its description by a database.

    :raises CannotRun: there is nothing to check, or the database cannot be used.
    """
    began = time.monotonic()
    require_queries(found)
    name, described = await describe_queries(found.queries, target)
    findings: list[Finding] = []
    for each in described:
        findings += each.findings
        if each.description is not None:
            findings += compare(each.info, each.description)
    report = make_report(found, findings, selection, name, began)
    return replace(report, descriptions=tuple((each.info, each.description) for each in described))


def check_snapshots(found: Discovered, snapshots: Snapshots, selection: Selection) -> Report:
    """Compare every query with its snapshot, without a database.

    :raises CannotRun: there is nothing to check, or there are queries but no snapshots.
    """
    began = time.monotonic()
    require_queries(found)
    families = snapshots.families()
    if found.queries and not families:
        raise CannotRun(
            f"there are no snapshots in {snapshots.folder}; next: write them with "
            "`sqla-typedpool prepare`"
        )
    findings: list[Finding] = []
    descriptions: list[tuple[QueryInfo, Description | None]] = []
    for family in families:
        for info in found.queries:
            description, faults = _read(info, snapshots, family)
            descriptions.append((info, description))
            findings += faults if description is None else compare(info, description)
    source = f"snapshots in {shown_path(snapshots.folder.absolute())}"
    report = make_report(found, findings, selection, source, began)
    return replace(report, descriptions=tuple(descriptions))


def _read(
    info: QueryInfo, snapshots: Snapshots, family: str
) -> tuple[Description | None, list[Finding]]:
    """Return the description of a query from its snapshot; if there is none, the findings."""
    query, findings = try_compile(info, family)
    if query is None:
        return None, findings
    found = read_snapshot(query, snapshots)
    return (None, [found]) if isinstance(found, Finding) else (found, [])


def read_snapshot(query: CompiledQuery, snapshots: Snapshots) -> Description | Finding:
    """Return the description in a query's snapshot; if it is missing or damaged, the finding."""
    try:
        description = snapshots.read(query)
    except SnapshotError as error:
        return finding(
            rules.DAMAGED_SNAPSHOT,
            str(error),
            Location(snapshots.path_of(query)),
            query=query.info.name,
            hint="write it again with `sqla-typedpool prepare`",
        )
    return _missing_snapshot(query) if description is None else description


def _missing_snapshot(query: CompiledQuery) -> Finding:
    return finding(
        rules.MISSING_SNAPSHOT,
        f"there is no snapshot of this statement for {query.family}",
        location_of_query(query.info),
        query=query.info.name,
        hint="run `sqla-typedpool prepare`, and commit the files that it writes",
    )


def make_report(
    found: Discovered,
    findings: Iterable[Finding],
    selection: Selection,
    source: str,
    began: float,
    *,
    complete: bool = True,
) -> Report:
    """Return the report on findings and faulty declarations.

    :param source: what the queries were compared with.
    :param began: the start of the run, on the monotonic clock.
    :param complete: whether these are all findings of a check. Only then SQL that is not
        declared, unused names and unused comments are reported, and comments suppress findings.
    """
    # without duplicates: a function can declare the same query many times, and several
    # families of databases can have the same finding
    findings = list(dict.fromkeys([*faulty_declarations(found.errors), *findings]))
    if complete:
        findings += undeclared_sql(found.files, found.queries)
        if not found.errors:  # the name in a faulty declaration is not unused
            findings += unused_names(found.queries, declared())
        findings = Suppressions(found.queries, found.errors).apply(findings)
    reported = tuple(each for each in findings if selection.includes(each.code))
    checked = len(found.queries) + len(found.errors)
    return Report(reported, checked, source, time.monotonic() - began)


def require_queries(found: Discovered) -> None:
    """Make sure that there is something to check.

    :raises CannotRun: there is no declared query. The message names calls with SQL text, which
        could be declared.
    """
    if found.queries or found.errors:
        return
    names = ", ".join(found.roots)
    raise CannotRun(f"nothing to check: no @query in {names}{_calls_with_sql(found)}")


def _calls_with_sql(found: Discovered) -> str:
    locations = [
        each.location
        for each in undeclared_sql(found.files)
        if each.code == rules.UNDECLARED_SQL.code and each.location is not None
    ]
    if not locations:
        return "; next: declare a query, or name the modules that declare queries"
    first = locations[0]
    calls = "1 call contains" if len(locations) == 1 else f"{len(locations)} calls contain"
    return (
        f", but {calls} SQL text (first: {shown_path(first.file)}:{first.line}); next: declare it "
        "with @query, see docs/tutorial.md"
    )
