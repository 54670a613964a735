"""Options that several subcommands take."""

from __future__ import annotations

import argparse
from pathlib import Path

from sqla_typedpool.check.database import CONNECT_SECONDS
from sqla_typedpool.cli.database import VARIABLE
from sqla_typedpool.cli.numbers import number


def add_modules(parser: argparse.ArgumentParser) -> None:
    """Which queries, which snapshots, which database."""
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
    add_database(parser)


def add_database(parser: argparse.ArgumentParser) -> None:
    """Which database, and how it is asked."""
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
        "--ephemeral", action="store_true", help="start a throw-away PostgreSQL, and stop it"
    )
    group.add_argument("--metadata", metavar="M:ATTR", help="its schema: app.models:Base.metadata")
    group.add_argument("--alembic", metavar="INI", help="its schema: Alembic's migrations")
    group.add_argument("--schema", metavar="FILE", help="its schema: a file of SQL")


def add_report(parser: argparse.ArgumentParser) -> None:
    """What is told, and how."""
    group = parser.add_argument_group("report")
    group.add_argument("--select", action="append", metavar="CODES", help="TP101,TP2xx: only these")
    group.add_argument("--ignore", action="append", metavar="CODES", help="all but these")
    group.add_argument("--format", choices=("text", "json", "github"), default="text")
    group.add_argument("--colour", "--color", dest="colour", action="store_true", default=None)
    group.add_argument("--no-colour", "--no-color", dest="colour", action="store_false")
    group.add_argument("--quiet", action="store_true", help="no progress, and no word of success")
