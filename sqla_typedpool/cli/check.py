"""`sqla-typedpool check` and `prepare`."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from pathlib import Path

from sqla_typedpool.check import prepare, runner
from sqla_typedpool.check.config import Settings
from sqla_typedpool.check.discovery import Discovered, discover
from sqla_typedpool.check.report import Report, as_github, as_json, as_text
from sqla_typedpool.check.rules import explain
from sqla_typedpool.check.snapshots import Snapshots
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.cli.database import VARIABLE, asks_for_database, database
from sqla_typedpool.cli.exits import FOUND, OK
from sqla_typedpool.cli.options import add_modules, add_report
from sqla_typedpool.cli.project import settings
from sqla_typedpool.errors import CannotRun


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The subcommands `check` and `prepare`."""
    check = commands.add_parser(
        "check",
        help="compare declared queries with a database, or with their snapshots",
        description=(
            "Compares every @query of the modules with what a database says of its SQL (described,"
            " never run), or with the snapshots that `prepare` has written. Exit code 0: nothing"
            " wrong, 1: findings, 2: it could not run."
        ),
    )
    add_modules(check)
    check.add_argument("--offline", action="store_true", help="snapshots only, no database")
    check.add_argument("--explain", metavar="CODE", help="explain a finding, such as TP101")
    check.add_argument("--strict", action="store_true", help="notes count as findings")
    add_report(check)
    check.set_defaults(command=_check)

    parser = commands.add_parser(
        "prepare",
        help="write snapshots of declared queries, for checks without a database",
        description=(
            "Describes every @query of the modules by a database and writes what it says to"
            " .sqla_typedpool/, to be committed. Nothing is written when a statement is refused."
        ),
    )
    add_modules(parser)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; 1 if the snapshots are out of date"
    )
    add_report(parser)
    parser.set_defaults(command=_prepare, offline=False, strict=False)


def _check(arguments: argparse.Namespace) -> int:
    if arguments.explain:
        print(explain(arguments.explain))
        return OK
    project = settings()
    selection = _selection(arguments, project)
    snapshots = _snapshots(arguments, project)
    is_offline = _is_offline(arguments, snapshots)
    found = _found(arguments, project)
    if is_offline:
        report = runner.check_snapshots(found, snapshots, selection)
    else:
        with database(arguments, project) as source:
            report = asyncio.run(runner.check_database(found, source, selection))
    return _print(report, arguments, is_strict=arguments.strict or project.strict)


def _is_offline(arguments: argparse.Namespace, snapshots: Snapshots) -> bool:
    asks = asks_for_database(arguments)
    if arguments.offline and asks:
        raise CannotRun("--offline asks no database; drop it, or the options of the database")
    if arguments.offline:
        return True
    if asks or VARIABLE in os.environ:
        return False
    if not snapshots.families():
        raise CannotRun(
            f"neither a database nor snapshots in {snapshots.folder}; next, one of three: give"
            f" --database-url or ${VARIABLE}, start a throw-away server with --ephemeral, or write"
            " snapshots with `sqla-typedpool prepare`"
        )
    return True


def _prepare(arguments: argparse.Namespace) -> int:
    project = settings()
    selection = _selection(arguments, project)
    snapshots = _snapshots(arguments, project)
    found = _found(arguments, project)
    with database(arguments, project) as source:
        if arguments.check:
            report = asyncio.run(prepare.prepare_check(found, source, snapshots, selection))
            return _print(report, arguments)
        done = asyncio.run(prepare.prepare(found, source, snapshots, selection))
    if not done.is_written:
        code = _print(done.report, arguments)
        print("nothing was written: a statement was refused", file=sys.stderr)
        return max(code, FOUND)
    if arguments.format != "text":
        return _print(done.report, arguments)
    if not arguments.quiet:
        noun = "snapshot" if done.report.queries == 1 else "snapshots"
        print(
            f"{done.report.queries} {noun} in {snapshots.folder}: {done.changed} written, "
            f"{done.removed} removed ({done.report.source})"
        )
    return OK


def _found(arguments: argparse.Namespace, project: Settings) -> Discovered:
    modules = arguments.modules or project.modules
    if not modules:
        raise CannotRun(
            "no modules; next: name them (sqla-typedpool check app), or set `modules` in"
            " [tool.sqla_typedpool] of pyproject.toml"
        )
    exclude = arguments.exclude if arguments.exclude is not None else project.exclude
    found = discover(modules, exclude)
    runner.require_queries(found)  # before a database is started
    return found


def _selection(arguments: argparse.Namespace, project: Settings) -> Selection:
    select = arguments.select if arguments.select is not None else project.select
    ignore = arguments.ignore if arguments.ignore is not None else project.ignore
    return Selection.of(select, ignore)


def _snapshots(arguments: argparse.Namespace, project: Settings) -> Snapshots:
    return Snapshots(arguments.snapshots or Path(project.snapshots))


def _print(report: Report, arguments: argparse.Namespace, *, is_strict: bool = False) -> int:
    if arguments.format == "json":
        print(as_json(report))
    elif arguments.format == "github":
        if lines := as_github(report):
            print(lines)
    elif report.findings or not arguments.quiet:
        width = shutil.get_terminal_size((100, 24)).columns
        print(as_text(report, colour=_colour(arguments), width=width))
    if is_strict:
        return FOUND if report.findings else OK
    return OK if report.is_clean else FOUND


def _colour(arguments: argparse.Namespace) -> bool:
    if arguments.colour is not None:
        return bool(arguments.colour)
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
