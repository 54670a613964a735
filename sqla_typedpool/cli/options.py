"""Options of several subcommands."""

from __future__ import annotations

import argparse
from pathlib import Path

from sqla_typedpool.check.database import CONNECT_SECONDS
from sqla_typedpool.cli.database import TIMEOUT, VARIABLE
from sqla_typedpool.cli.numbers import number


def add_modules(parser: argparse.ArgumentParser) -> None:
    """Add the options for the queries, the snapshots and the database."""
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
        "--snapshots",
        type=Path,
        metavar="DIR",
        help="the folder of snapshots (default: .sqla_typedpool)",
    )
    add_database(parser)


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add the options for the database."""
    group = parser.add_argument_group("database")
    group.add_argument("--database-url", metavar="URL", help=f"(default: the variable {VARIABLE})")
    group.add_argument("--env-file", type=Path, metavar="FILE", help=f"a file that sets {VARIABLE}")
    group.add_argument(
        TIMEOUT,
        type=number(0.1, 3600),
        default=CONNECT_SECONDS,
        metavar="SECONDS",
        help="the time limit for connecting and for each statement (default: %(default)g)",
    )
    group.add_argument("--ephemeral", action="store_true", help="use a temporary PostgreSQL server")
    group.add_argument(
        "--metadata", metavar="M:ATTR", help="create its tables: app.models:Base.metadata"
    )
    group.add_argument("--alembic", metavar="INI", help="run its Alembic migrations")
    group.add_argument("--schema", metavar="FILE", help="run an SQL file in it")


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the options for the report."""
    group = parser.add_argument_group("report")
    group.add_argument(
        "--select", action="append", metavar="CODES", help="report only these: TP101,TP2xx"
    )
    group.add_argument("--ignore", action="append", metavar="CODES", help="do not report these")
    group.add_argument("--format", choices=("text", "json", "github"), default="text")
    group.add_argument("--colour", "--color", dest="colour", action="store_true", default=None)
    group.add_argument("--no-colour", "--no-color", dest="colour", action="store_false")
    group.add_argument("--quiet", action="store_true", help="print only findings and errors")
