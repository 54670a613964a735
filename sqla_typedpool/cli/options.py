"""Subcommands, and the options that several of them have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from sqla_typedpool.check.database import CONNECT_SECONDS
from sqla_typedpool.check.report_formats import FORMATS, TEXT
from sqla_typedpool.cli.database import TIMEOUT, VARIABLE

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands, name: str, summary: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add a subcommand, and return its parser.

    :param summary: its line in the list of the commands.
    :param run: the function that runs it and returns the exit code. Its docstring is the
        description in the help of the subcommand.
    """
    parser = commands.add_parser(name, help=summary, description=run.__doc__)
    parser.set_defaults(command=run)
    return parser


def add_modules(parser: argparse.ArgumentParser) -> None:
    """Add the options for the queries, the snapshots, the database and the report."""
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="a module, a package with everything below it, a folder or a .py file (default:"
        " `modules` in [tool.sqla_typedpool] of pyproject.toml)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        metavar="MODULE",
        help="leave out a module and everything below it, such as app.migrations",
    )
    parser.add_argument(
        "--snapshots", metavar="DIR", help="the folder of snapshots (default: .sqla_typedpool)"
    )
    add_database(parser)
    _add_report(parser)


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add the options for the database."""
    parser.set_defaults(server=None)  # a server that --watch has started
    add = parser.add_argument_group("database").add_argument
    add("--database-url", metavar="URL", help=f"its URL (default: the variable {VARIABLE})")
    add("--env-file", type=Path, metavar="FILE", help=f"a file that sets {VARIABLE}")
    add(
        TIMEOUT,
        type=_number(0.1, 3600),
        default=CONNECT_SECONDS,
        metavar="SECONDS",
        help="the time limit for connecting and for each statement (default: %(default)g)",
    )
    add("--search-path", metavar="SCHEMAS", help="the search_path on PostgreSQL: app,public")
    add("--ephemeral", action="store_true", help="use a temporary PostgreSQL server")
    add(
        "--postgres",
        type=int,
        metavar="VERSION",
        help="the major version for --ephemeral: 18 (default: the newest that is installed)",
    )
    add_schema(add)


def add_schema(add: Callable[..., object]) -> None:
    """Add the options for the schema of a temporary database.

    :param add: ``add_argument`` of a parser or a group.
    """
    add("--metadata", metavar="M:ATTR", help="tables for --ephemeral: app.models:Base.metadata")
    add("--alembic", metavar="INI", help="Alembic migrations for --ephemeral: alembic.ini")
    add("--schema", metavar="FILE", help="an SQL file for --ephemeral: schema.sql")


def _number(least: float, most: float) -> Callable[[str], float]:
    """Return an argument type that accepts a number within limits, and names them in its error."""

    def read(given: str) -> float:
        value = float(given)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{given} is not between {least:g} and {most:g}")
        return value

    read.__name__ = "number"  # for argparse's message: "invalid number value: 'x'"
    return read


def _add_report(parser: argparse.ArgumentParser) -> None:
    """Add the options for the report."""
    add = parser.add_argument_group("report").add_argument
    add("--select", action="append", metavar="CODES", help="report only these: TP101,TP2xx")
    add("--ignore", action="append", metavar="CODES", help="do not report these")
    add("--format", choices=tuple(FORMATS), default=TEXT, help="(default: text)")
    add(
        "--colour",
        "--color",
        action=argparse.BooleanOptionalAction,
        help="use colours (default: on a terminal, unless NO_COLOR is set)",
    )
    add("--quiet", action="store_true", help="print only findings and errors")
