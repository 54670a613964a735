"""`sqla-typedpool check` and `sqla-typedpool prepare`."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from pathlib import Path

from sqla_typedpool.check import prepare, runner
from sqla_typedpool.check.config import Settings, read_settings
from sqla_typedpool.check.discovery import Discovered, discover
from sqla_typedpool.check.report import Report, as_github, as_json, as_text
from sqla_typedpool.check.rule_docs import explain
from sqla_typedpool.check.snapshots import Snapshots
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.cli.database import VARIABLE, database, names_database
from sqla_typedpool.cli.exits import FOUND, OK
from sqla_typedpool.cli.options import add_modules, add_report
from sqla_typedpool.errors import CannotRun


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands `check` and `prepare`."""
    _add_check(commands)
    _add_prepare(commands)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "check",
        help="compare declared queries with a database or with snapshots",
        description=(
            "Compare every @query of the modules with a database, which describes the SQL without"
            " running it, or with the snapshots that `prepare` has written. The exit code is 0"
            " without findings, 1 with findings, and 2 if the check could not run."
        ),
    )
    add_modules(parser)
    parser.add_argument("--offline", action="store_true", help="use snapshots, not a database")
    parser.add_argument("--explain", metavar="CODE", help="explain a finding, such as TP101")
    parser.add_argument("--strict", action="store_true", help="notes set the exit code to 1 too")
    add_report(parser)
    parser.set_defaults(command=_check)


def _add_prepare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "prepare",
        help="write snapshots of declared queries, for checks without a database",
        description=(
            "Let a database describe every @query of the modules, and write the descriptions to"
            " .sqla_typedpool/. Commit these files. If a statement is refused, nothing is written."
        ),
    )
    add_modules(parser)
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; the exit code is 1 if snapshots are out of date",
    )
    add_report(parser)
    parser.set_defaults(command=_prepare)


def _check(arguments: argparse.Namespace) -> int:
    if arguments.explain:
        print(explain(arguments.explain))
        return OK
    settings = read_settings()
    selection = _selection(arguments, settings)
    snapshots = _snapshots(arguments, settings)
    is_offline = _is_offline(arguments, snapshots)
    found = _discovered(arguments, settings)
    if is_offline:
        report = runner.check_snapshots(found, snapshots, selection)
    else:
        with database(arguments, settings) as target:
            report = asyncio.run(runner.check_database(found, target, selection))
    return _print(report, arguments, is_strict=arguments.strict or settings.strict)


def _is_offline(arguments: argparse.Namespace, snapshots: Snapshots) -> bool:
    is_named = names_database(arguments)
    if arguments.offline and is_named:
        raise CannotRun(
            "--offline uses no database; next: drop it, or drop the options of the database"
        )
    if arguments.offline:
        return True
    if is_named or VARIABLE in os.environ:
        return False
    if not snapshots.families():
        raise CannotRun(
            f"there is no database, and there are no snapshots in {snapshots.folder}; next: give"
            f" --database-url or set ${VARIABLE}, use a temporary server with --ephemeral, or write"
            " snapshots with `sqla-typedpool prepare`"
        )
    return True


def _prepare(arguments: argparse.Namespace) -> int:
    settings = read_settings()
    selection = _selection(arguments, settings)
    snapshots = _snapshots(arguments, settings)
    found = _discovered(arguments, settings)
    with database(arguments, settings) as target:
        if arguments.check:
            report = asyncio.run(prepare.prepare_check(found, target, snapshots, selection))
            return _print(report, arguments)
        result = asyncio.run(prepare.prepare(found, target, snapshots, selection))
    if not result.is_written:
        code = _print(result.report, arguments)
        print("no snapshots were written, because of the errors", file=sys.stderr)
        return max(code, FOUND)
    if arguments.format != "text":
        return _print(result.report, arguments)
    if not arguments.quiet:
        noun = "snapshot" if result.report.queries == 1 else "snapshots"
        print(
            f"{result.report.queries} {noun} in {snapshots.folder}: {result.changed} written, "
            f"{result.removed} removed ({result.report.source})"
        )
    return OK


def _discovered(arguments: argparse.Namespace, settings: Settings) -> Discovered:
    modules = arguments.modules or settings.modules
    if not modules:
        raise CannotRun(
            "no modules; next: name them (sqla-typedpool check app), or set `modules` in"
            " [tool.sqla_typedpool] of pyproject.toml"
        )
    exclude = arguments.exclude if arguments.exclude is not None else settings.exclude
    found = discover(modules, exclude)
    runner.require_queries(found)  # before a server is started
    return found


def _selection(arguments: argparse.Namespace, settings: Settings) -> Selection:
    select = arguments.select if arguments.select is not None else settings.select
    ignore = arguments.ignore if arguments.ignore is not None else settings.ignore
    return Selection.of(select, ignore)


def _snapshots(arguments: argparse.Namespace, settings: Settings) -> Snapshots:
    return Snapshots(arguments.snapshots or Path(settings.snapshots))


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
