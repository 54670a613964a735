"""Subcommands, and the options that several of them have."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from sqla_typedpool.check.database import CONNECT_SECONDS
from sqla_typedpool.check.report_formats import FORMATS, TEXT
from sqla_typedpool.cli.colors import add_color
from sqla_typedpool.cli.completion_kinds import CODES, FILES, FOLDERS, MODULES, completed
from sqla_typedpool.cli.database import TIMEOUT, VARIABLE
from sqla_typedpool.cli.parser import CommandParser

Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"


def add_command(
    commands: Commands,
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], int],
    usage: str,
    examples: Sequence[str],
    *,
    surplus: str = "",
) -> CommandParser:
    """Add a subcommand, and return its parser.

    :param summary: its line in the list of the commands.
    :param run: the function that runs it and returns the exit code. Its docstring is the
        description in the help of the subcommand.
    :param usage: its arguments without options, as the usage shows them.
    :param examples: command lines for the end of the help, without the name of the program.
    :param surplus: the next step if there are too many arguments.
    """
    shown = "\n".join(f"  sqla-typedpool {name} {each}".rstrip() for each in examples)
    parser = commands.add_parser(
        name,
        help=summary,
        description=inspect.cleandoc(run.__doc__ or ""),
        usage=f"%(prog)s [OPTIONS] {usage}".rstrip(),
        epilog=f"examples:\n\n{shown}",
        surplus=surplus,
    )
    parser.set_defaults(command=run)
    return parser


def add_modules(parser: argparse.ArgumentParser) -> None:
    """Add the options for the queries, the snapshots, the database and the report."""
    modules = parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="a module, a package with everything below it, a folder or a .py file (default:"
        " `modules` in [tool.sqla_typedpool] of pyproject.toml)",
    )
    exclude = parser.add_argument(
        "--exclude",
        action="append",
        metavar="MODULE",
        help="leave out a module and everything below it, such as app.migrations; can be repeated"
        " (default: the setting `exclude`)",
    )
    completed(modules, MODULES)
    completed(exclude, MODULES)
    snapshots = parser.add_argument(
        "--snapshots",
        metavar="DIR",
        help="the folder of snapshots (default: the setting `snapshots`, else .sqla_typedpool)",
    )
    completed(snapshots, FOLDERS)
    add_database(parser)
    _add_report(parser)


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add the options for the database."""
    parser.set_defaults(server=None)  # a server that --watch has started
    add = parser.add_argument_group("database").add_argument
    add(
        "--database-url",
        metavar="URL",
        help=f"its URL, such as postgresql+asyncpg://user@host/database (default: ${VARIABLE})",
    )
    env_file = add(
        "--env-file",
        type=Path,
        metavar="FILE",
        help=f"a file that sets {VARIABLE} (default: none is read)",
    )
    completed(env_file, FILES)
    add(
        TIMEOUT,
        type=_number(float, 0.1, 3600),
        default=CONNECT_SECONDS,
        metavar="SECONDS",
        help="the time limit for connecting and for each statement (default: %(default)g)",
    )
    add(
        "--search-path",
        metavar="SCHEMAS",
        help="the search_path on PostgreSQL, such as app,public (default: the setting"
        " `search_path`, else that of the server)",
    )
    add("--ephemeral", action="store_true", help="use a temporary PostgreSQL server")
    add(
        "--postgres",
        type=_number(int, 1, 99),
        metavar="VERSION",
        help="its major version, such as 18 (default: the newest that is installed)",
    )
    add_schema(add)


def add_schema(add: Callable[..., argparse.Action]) -> None:
    """Add the options for the schema of a temporary database.

    :param add: ``add_argument`` of a parser or a group.
    """
    add(
        "--metadata",
        metavar="M:ATTR",
        help="tables for --ephemeral, such as app.models:Base.metadata (default: the setting"
        " `metadata`)",
    )
    alembic = add(
        "--alembic",
        metavar="INI",
        help="Alembic migrations for --ephemeral, such as alembic.ini (default: the setting"
        " `alembic`)",
    )
    schema = add(
        "--schema",
        metavar="FILE",
        help="an SQL file for --ephemeral, such as schema.sql (default: the setting `schema`)",
    )
    completed(alembic, FILES)
    completed(schema, FILES)


def _number(kind: type[float], least: float, most: float) -> Callable[[str], float]:
    """Return an argument type that accepts a number within limits, and names them in its error."""

    name = "whole number" if kind is int else "number"

    def read(given: str) -> float:
        try:
            value = kind(given)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{given!r} is not a {name}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{given} is not between {least:g} and {most:g}")
        return value

    return read


def _add_report(parser: argparse.ArgumentParser) -> None:
    """Add the options for the report."""
    add = parser.add_argument_group("report").add_argument
    select = add(
        "--select",
        action="append",
        metavar="CODES",
        help="report only these, such as TP1,TP301 (default: the setting `select`, else all)",
    )
    ignore = add(
        "--ignore",
        action="append",
        metavar="CODES",
        help="do not report these (default: the setting `ignore`)",
    )
    completed(select, CODES)
    completed(ignore, CODES)
    add(
        "--format",
        choices=tuple(FORMATS),
        default=TEXT,
        help="the form of the report (default: %(default)s)",
    )
    add_color(add)
    add("--quiet", action="store_true", help="print only findings and errors")
