"""`sqla-typedpool check`, `prepare` and `describe`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqla_typedpool.check import asking, preparing, run
from sqla_typedpool.check.codes import explain
from sqla_typedpool.check.config import Settings
from sqla_typedpool.check.database import CONNECT_SECONDS, database_url
from sqla_typedpool.check.discover import discover
from sqla_typedpool.check.ignores import Selection
from sqla_typedpool.check.model import CannotRun
from sqla_typedpool.check.report import Report, as_github, as_json, as_text
from sqla_typedpool.check.snapshot import Snapshots
from sqla_typedpool.cli.exits import FOUND, OK
from sqla_typedpool.cli.numbers import number
from sqla_typedpool.cli.project import read_env_file, settings

__all__ = ["add"]

VARIABLE = "DATABASE_URL"
_SHOW_PROGRESS_AFTER = 1.0  # seconds


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The three subcommands."""
    check = commands.add_parser(
        "check",
        help="compare declared queries with a database, or with their snapshots",
        description=(
            "Compares every @query of the modules with what a database says of its SQL (described,"
            " never run), or with the snapshots that `prepare` has written. Exit code 0: nothing"
            " wrong, 1: findings, 2: it could not run."
        ),
    )
    _add_modules(check)
    check.add_argument("--offline", action="store_true", help="snapshots only, no database")
    check.add_argument("--explain", metavar="CODE", help="explain a finding, such as TP101")
    check.add_argument("--strict", action="store_true", help="notes count as findings")
    _add_report(check)
    check.set_defaults(command=_check)

    prepare = commands.add_parser(
        "prepare",
        help="write snapshots of declared queries, for checks without a database",
        description=(
            "Describes every @query of the modules by a database and writes what it says to"
            " .sqla_typedpool/, to be committed. Nothing is written when a statement is refused."
        ),
    )
    _add_modules(prepare)
    prepare.add_argument(
        "--check", action="store_true", help="write nothing; 1 if the snapshots are out of date"
    )
    _add_report(prepare)
    prepare.set_defaults(command=_prepare, offline=False, strict=False)
    _add_describe(commands)


def _add_describe(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "describe",
        help="show columns, types, nullability and parameters of one statement",
        description="Shows what a database says of one statement, without running it.",
    )
    parser.add_argument("sql", nargs="?", metavar="SQL", help="the statement; - = standard input")
    parser.add_argument("--file", type=Path, metavar="FILE", help="a file that holds the statement")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    _add_database(parser)
    parser.set_defaults(command=_describe)


def _add_modules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="modules, packages with all below them, or .py files (default: `modules` of"
        " [tool.sqla_typedpool] in pyproject.toml)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        metavar="MODULE",
        help="leave out a module and all below it, such as app.migrations",
    )
    parser.add_argument("--snapshots", type=Path, metavar="DIR", help="(default: .sqla_typedpool)")
    _add_database(parser)


def _add_database(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("database")
    group.add_argument("--database-url", metavar="URL", help=f"(default: ${VARIABLE})")
    group.add_argument("--env-file", type=Path, metavar="FILE", help=f"read {VARIABLE} from it")
    group.add_argument(
        "--timeout",
        type=number(0.1, 3600),
        default=CONNECT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for the server, and for each answer (default: %(default)g)",
    )
    group.add_argument(
        "--allow-server-log",
        action="store_true",
        help="where temporary functions are forbidden (read-only roles, standbys), let PostgreSQL"
        " print its analysis, which goes to the server's log too",
    )
    group.add_argument(
        "--ephemeral", action="store_true", help="start a throw-away PostgreSQL, and stop it"
    )
    group.add_argument("--metadata", metavar="M:ATTR", help="its schema: app.models:Base.metadata")
    group.add_argument("--alembic", metavar="INI", help="its schema: Alembic's migrations")
    group.add_argument("--schema", metavar="FILE", help="its schema: a file of SQL")


def _add_report(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("report")
    group.add_argument("--select", action="append", metavar="CODES", help="TP101,TP2xx: only these")
    group.add_argument("--ignore", action="append", metavar="CODES", help="all but these")
    group.add_argument("--format", choices=("text", "json", "github"), default="text")
    group.add_argument("--colour", "--color", dest="colour", action="store_true", default=None)
    group.add_argument("--no-colour", "--no-color", dest="colour", action="store_false")
    group.add_argument("--quiet", action="store_true", help="no progress, and no word of success")


# ------------------------------------------------------------------------ commands


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
        report = run.check_snapshots(found, snapshots, selection)
    else:
        with _database(arguments, project) as source:
            report = asyncio.run(run.check_database(found, source, selection))
    return _print(report, arguments, is_strict=arguments.strict or project.strict)


def _is_offline(arguments: argparse.Namespace, snapshots: Snapshots) -> bool:
    asks = _asks_for_database(arguments)
    if arguments.offline and asks:
        raise CannotRun("--offline asks no database; drop it, or the options of the database")
    if arguments.offline:
        return True
    if asks or os.environ.get(VARIABLE):
        return False
    if not snapshots.families():
        raise CannotRun(
            f"neither a database nor snapshots in {snapshots.folder}; next, one of three: give"
            f" --database-url or ${VARIABLE}, start a throw-away server with --ephemeral, or write"
            " snapshots with `sqla-typedpool prepare`"
        )
    return True


def _asks_for_database(arguments: argparse.Namespace) -> bool:
    given = (arguments.database_url, arguments.env_file, arguments.ephemeral, *_schemas(arguments))
    return any(given)


def _prepare(arguments: argparse.Namespace) -> int:
    project = settings()
    selection = _selection(arguments, project)
    snapshots = _snapshots(arguments, project)
    found = _found(arguments, project)
    with _database(arguments, project) as source:
        if arguments.check:
            report = asyncio.run(preparing.prepare_check(found, source, snapshots, selection))
            return _print(report, arguments)
        done = asyncio.run(preparing.prepare(found, source, snapshots, selection))
    if not done.is_written:
        code = _print(done.report, arguments)
        print("nothing was written: a statement was refused", file=sys.stderr)
        return max(code, FOUND)
    if arguments.format != "text":
        return _print(done.report, arguments)
    if not arguments.quiet:
        print(
            f"{done.report.queries} snapshots in {snapshots.folder}: {done.changed} written, "
            f"{done.removed} removed ({done.report.source})"
        )
    return OK


def _describe(arguments: argparse.Namespace) -> int:
    from sqla_typedpool.cli.table import as_json as described_json
    from sqla_typedpool.cli.table import as_table

    sql = _statement(arguments)
    with _database(arguments, settings()) as source:
        description = asyncio.run(asking.describe_one(sql, source))
    print(described_json(description) if arguments.format == "json" else as_table(description))
    return OK


def _statement(arguments: argparse.Namespace) -> str:
    if (arguments.sql is None) == (arguments.file is None):
        raise CannotRun("describe takes one statement: as an argument, - or --file")
    if arguments.file is None:
        return sys.stdin.read() if arguments.sql == "-" else str(arguments.sql)
    try:
        return Path(arguments.file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(f"{arguments.file} cannot be read as UTF-8 text: {error}") from error


# ------------------------------------------------------------------------- options


def _found(arguments: argparse.Namespace, project: Settings) -> run.Discovered:
    modules = arguments.modules or project.modules
    if not modules:
        raise CannotRun(
            "no modules; next: name them (sqla-typedpool check app), or set `modules` in"
            " [tool.sqla_typedpool] of pyproject.toml"
        )
    exclude = arguments.exclude if arguments.exclude is not None else project.exclude
    found = discover(modules, exclude)
    run.require_queries(found)  # before a database is started
    return found


def _selection(arguments: argparse.Namespace, project: Settings) -> Selection:
    select = arguments.select if arguments.select is not None else project.select
    ignore = arguments.ignore if arguments.ignore is not None else project.ignore
    return Selection.of(select, ignore)


def _snapshots(arguments: argparse.Namespace, project: Settings) -> Snapshots:
    return Snapshots(arguments.snapshots or Path(project.snapshots))


def _schemas(arguments: argparse.Namespace) -> tuple[str | None, ...]:
    return arguments.metadata, arguments.alembic, arguments.schema


@contextlib.contextmanager
def _database(arguments: argparse.Namespace, project: Settings) -> Iterator[asking.Source]:
    """The database of this run, started where it is ephemeral."""
    progress = _Progress(is_wanted=not getattr(arguments, "quiet", False))
    common = _Common(arguments.timeout, arguments.allow_server_log, progress)
    try:
        if not arguments.ephemeral:
            yield common.source(_given_url(arguments))
            return
        with _ephemeral(arguments, project) as url:
            yield common.source(url, "ephemeral")
    finally:
        progress.clear()


@dataclass(frozen=True)
class _Common:
    seconds: float
    allow_server_log: bool
    progress: Callable[[int, int], None]

    def source(self, url: str, name: str = "") -> asking.Source:
        parsed = database_url(url)
        return asking.Source(parsed, name, self.seconds, self.allow_server_log, self.progress)


def _given_url(arguments: argparse.Namespace) -> str:
    if any(_schemas(arguments)):
        raise CannotRun("--metadata, --alembic and --schema need --ephemeral")
    if arguments.database_url:
        return str(arguments.database_url)
    if arguments.env_file:
        return read_env_file(arguments.env_file, VARIABLE)
    if url := os.environ.get(VARIABLE):
        return url
    raise CannotRun(
        f"no database; next: give --database-url or ${VARIABLE}, or start a throw-away one with"
        " --ephemeral"
    )


def _ephemeral(
    arguments: argparse.Namespace, project: Settings
) -> contextlib.AbstractContextManager[str]:
    from sqla_typedpool import ephemeral

    if arguments.database_url or arguments.env_file:
        raise CannotRun("--ephemeral starts a database of its own; drop --database-url")
    names = ("metadata", "alembic", "schema")
    given = dict(zip(names, _schemas(arguments), strict=True))
    if not any(given.values()):
        given = {name: getattr(project, name) for name in names}
    return ephemeral.database(**given)


# -------------------------------------------------------------------------- output


class _Progress:
    """One line on a terminal's standard error, once it takes longer than a second."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted and sys.stderr.isatty()
        self._began = time.monotonic()
        self._is_shown = False

    def __call__(self, done: int, total: int) -> None:
        if self._is_wanted and time.monotonic() - self._began > _SHOW_PROGRESS_AFTER:
            print(f"\r{done} of {total} queries", end="", file=sys.stderr, flush=True)
            self._is_shown = True

    def clear(self) -> None:
        if self._is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


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
