"""`sqla-typedpool check` and `sqla-typedpool prepare`."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from sqla_typedpool.check import prepare, runner
from sqla_typedpool.check.config import Settings, read_settings
from sqla_typedpool.check.discovery import Discovered, discover
from sqla_typedpool.check.report import Report
from sqla_typedpool.check.report_formats import FORMATS, TEXT
from sqla_typedpool.check.report_text import as_text
from sqla_typedpool.check.rule_docs import explain
from sqla_typedpool.check.snapshots import Snapshots
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.check.terminal import Paint
from sqla_typedpool.cli.colors import has_colors
from sqla_typedpool.cli.completion_kinds import CODES, completed
from sqla_typedpool.cli.database import HOW_TO_NAME, VARIABLE, database, names_database
from sqla_typedpool.cli.exits import FOUND, OK
from sqla_typedpool.cli.fix import check_options, fix
from sqla_typedpool.cli.options import Commands, add_command, add_modules
from sqla_typedpool.cli.watch import watch
from sqla_typedpool.errors import CannotRun

_CHECK_EXAMPLES = (
    "app --database-url postgresql+asyncpg://me@db/app",
    "app --offline --format github",
    "app --ephemeral --alembic alembic.ini --fix",
    "--explain TP101",
)
_PREPARE_EXAMPLES = (
    "app --database-url postgresql+asyncpg://me@db/app",
    "app --check --ephemeral --schema schema.sql",
)


def add(commands: Commands) -> None:
    """Add the subcommands `check` and `prepare`."""
    summary = "compare declared queries with a database or with snapshots"
    parser = add_command(commands, "check", summary, _check, "[MODULE ...]", _CHECK_EXAMPLES)
    add_modules(parser)
    parser.add_argument("--offline", action="store_true", help="use snapshots, not a database")
    code = parser.add_argument(
        "--explain", metavar="CODE", help="explain a finding, such as TP101 (default: check)"
    )
    completed(code, CODES)
    parser.add_argument("--strict", action="store_true", help="notes set the exit code to 1 too")
    parser.add_argument(
        "--watch", action="store_true", help="check again whenever a file changes, until Ctrl-C"
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="show how annotations can be corrected, as a diff; the SQL is never changed",
    )
    parser.add_argument("--write", action="store_true", help="write the corrections of --fix")

    summary = "write snapshots of declared queries, for checks without a database"
    parser = add_command(commands, "prepare", summary, _prepare, "[MODULE ...]", _PREPARE_EXAMPLES)
    add_modules(parser)
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; the exit code is 1 if snapshots are out of date",
    )


def _check(arguments: argparse.Namespace) -> int:
    """Compare every @query of the modules with a database or with snapshots.

    A database describes the SQL without running it. Snapshots are written by `prepare`. The exit
    code is 0 without findings, 1 with findings, and 2 if the check could not run.
    """
    if arguments.explain is not None:
        print(explain(arguments.explain))
        return OK
    check_options(arguments)
    return watch(_check_once, arguments) if arguments.watch else _check_once(arguments)


def _check_once(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    selection, snapshots = Selection.of(settings.select, settings.ignore), _snapshots(settings)
    _require_modules(settings)
    is_offline = _is_offline(arguments, snapshots)
    found = _discovered(settings)
    if is_offline:
        report = runner.check_snapshots(found, snapshots, selection)
    else:
        with database(arguments, settings) as target:
            report = asyncio.run(runner.check_database(found, target, selection))
    if arguments.fix:
        report = _fix(report, found, selection, arguments)
    else:
        _print(report, arguments)
    return FOUND if not report.is_clean or (settings.strict and report.findings) else OK


def _fix(
    report: Report, found: Discovered, selection: Selection, arguments: argparse.Namespace
) -> Report:
    """Show or write corrections, print the other findings, and return what is left in the end."""
    left = fix(report, found, selection, arguments, Paint(_has_colors(arguments)))
    if left.findings:
        _print(left, arguments)
    return left if arguments.write else report


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
            f"there is no database, and there are no snapshots in {snapshots.folder}; next: "
            f"{HOW_TO_NAME}, or write snapshots with `sqla-typedpool prepare`"
        )
    return True


def _prepare(arguments: argparse.Namespace) -> int:
    """Write a snapshot of every @query of the modules.

    A database describes the SQL without running it. Commit the files in .sqla_typedpool/. If a
    declaration is wrong, or the database refuses a statement, nothing is written.
    """
    settings = _settings(arguments)
    selection, snapshots = Selection.of(settings.select, settings.ignore), _snapshots(settings)
    found = _discovered(settings)
    with database(arguments, settings) as target:
        if arguments.check:
            report = asyncio.run(prepare.prepare_check(found, target, snapshots, selection))
            return _print(report, arguments)
        result = asyncio.run(prepare.prepare(found, target, snapshots, selection))
    return _print_prepared(result, snapshots, arguments)


def _print_prepared(
    result: prepare.PrepareResult, snapshots: Snapshots, arguments: argparse.Namespace
) -> int:
    if not result.is_written:
        _print(result.report, arguments)
        print("no snapshots were written, because of the errors", file=sys.stderr)
        return FOUND
    if arguments.format != TEXT:
        return _print(result.report, arguments)
    if not arguments.quiet:
        noun = "snapshot" if result.report.queries == 1 else "snapshots"
        print(
            f"{result.report.queries} {noun} in {snapshots.folder}: {result.changed} written, "
            f"{result.removed} removed ({result.report.source})"
        )
    return OK


def _settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings of the project, overridden by the options of the command line."""
    names = ("modules", "exclude", "snapshots", "select", "ignore", "strict")
    given = {name: getattr(arguments, name, None) for name in names}
    return replace(read_settings(), **{name: value for name, value in given.items() if value})


def _snapshots(settings: Settings) -> Snapshots:
    return Snapshots(Path(settings.snapshots))


def _require_modules(settings: Settings) -> None:
    if not settings.modules:
        raise CannotRun(
            "there are no modules to check; next: name them, such as `sqla-typedpool check app`,"
            " or set `modules` in [tool.sqla_typedpool] of pyproject.toml"
        )


def _discovered(settings: Settings) -> Discovered:
    _require_modules(settings)
    found = discover(settings.modules, settings.exclude)
    runner.require_queries(found)  # before a server is started
    return found


def _print(report: Report, arguments: argparse.Namespace) -> int:
    """Print a report, and return the exit code."""
    if arguments.format != TEXT:
        if written := FORMATS[arguments.format](report):
            print(written)
    elif report.findings or not arguments.quiet:
        width = shutil.get_terminal_size((100, 24)).columns
        print(as_text(report, colour=_has_colors(arguments), width=width))
    return OK if report.is_clean else FOUND


def _has_colors(arguments: argparse.Namespace) -> bool:
    return has_colors(sys.stdout, arguments.color)
