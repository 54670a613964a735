"""A whole check: queries are described by a database or read from snapshots, and compared."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy.exc import CompileError

from sqla_typedpool.check.compare import compare, misdeclared
from sqla_typedpool.check.describing import (
    DatabaseTarget,
    DescribedQuery,
    ask_database,
    uncompilable,
)
from sqla_typedpool.check.discovery import Discovered
from sqla_typedpool.check.locations import place_of_query
from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.report import Report, shown_path
from sqla_typedpool.check.rules import finding
from sqla_typedpool.check.snapshots import Snapshots
from sqla_typedpool.check.suppressions import Selection, Suppressions
from sqla_typedpool.check.undeclared_sql import unchecked
from sqla_typedpool.errors import CannotRun, DeclarationError, SnapshotError
from sqla_typedpool.queries import QueryInfo


async def check_database(found: Discovered, source: DatabaseTarget, selection: Selection) -> Report:
    """Compare every query with what a database says of it now.

    :raises CannotRun: there is nothing to check, or the database cannot be asked.
    """
    began = time.monotonic()
    require_queries(found)
    name, asked = await ask_database(found.queries, source)
    findings = [each for one in asked for each in _compared(one)]
    return reported(found, findings, selection, name, began)


def _compared(asked: DescribedQuery) -> list[Finding]:
    if asked.description is None:
        return list(asked.findings)
    return [*asked.findings, *compare(asked.info, asked.description)]


def check_snapshots(found: Discovered, snapshots: Snapshots, selection: Selection) -> Report:
    """Compare every query with its snapshot; no database is asked.

    :raises CannotRun: there is nothing to check, or there are no snapshots.
    """
    began = time.monotonic()
    require_queries(found)
    families = snapshots.families()
    if not families:
        raise CannotRun(
            f"there are no snapshots in {snapshots.folder}; next: write them with "
            "`sqla-typedpool prepare`"
        )
    findings = dict.fromkeys(  # what is true of several families is told once
        each
        for family in families
        for info in found.queries
        for each in _from_snapshot(info, snapshots, family)
    )
    source = f"snapshots in {shown_path(snapshots.folder.absolute())}"
    return reported(found, findings, selection, source, began)


def _from_snapshot(info: QueryInfo, snapshots: Snapshots, family: str) -> list[Finding]:
    try:
        description = snapshots.read(info, family)
        if description is not None:
            return compare(info, description)
        return [no_snapshot(info, family)]
    except SnapshotError as error:
        path = snapshots.path_of(info, family)
        hint = "write it anew with `sqla-typedpool prepare`"
        return [finding("TP403", f"damaged: {error}", Location(path), query=info.name, hint=hint)]
    except DeclarationError as error:
        return misdeclared(info, error)
    except CompileError as error:
        return [uncompilable(info, error, family)]


def no_snapshot(info: QueryInfo, family: str) -> Finding:
    """A query that nothing is known of."""
    return finding(
        "TP401",
        f"there is no snapshot of this statement for {family}",
        place_of_query(info),
        query=info.name,
        hint="describe it with `sqla-typedpool prepare`, and commit what that writes",
    )


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
    findings = list(dict.fromkeys(findings))  # a query may be made by a function, many times
    if linted:
        findings += unchecked(found.files, found.queries)
        findings = Suppressions(found.queries).apply(findings)
    kept = tuple(each for each in findings if selection.keeps(each.code))
    return Report(kept, len(found.queries), source, time.monotonic() - began)


def require_queries(found: Discovered) -> None:
    """There must be something to check.

    :raises CannotRun: there is no declared query; with the SQL in calls that might be one.
    """
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
        f", but {number} the SQL in place (the first: {shown_path(place.file)}:{place.line}); "
        "next: declare it with @query, see docs/tutorial.md"
    )
