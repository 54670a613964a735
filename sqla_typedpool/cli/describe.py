"""`sqla-typedpool describe`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from sqla_typedpool.check.config import read_settings
from sqla_typedpool.check.describing import describe_one
from sqla_typedpool.cli.database import database
from sqla_typedpool.cli.exits import OK
from sqla_typedpool.cli.options import Commands, add_command, add_database
from sqla_typedpool.cli.table import as_json, as_table
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.tokens import tokens


def add(commands: Commands) -> None:
    """Add the subcommand `describe`."""
    summary = "show the columns and parameters of one statement"
    parser = add_command(commands, "describe", summary, _describe)
    parser.add_argument(
        "sql", nargs="?", metavar="SQL", help="the statement; - reads standard input"
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="read the statement from a file")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="(default: text)"
    )
    add_database(parser)


def _describe(arguments: argparse.Namespace) -> int:
    """Show how a database describes the columns and parameters of a statement.

    The statement is not run.
    """
    sql = _statement(arguments)
    with database(arguments, read_settings()) as target:
        description = asyncio.run(describe_one(sql, target))
    print(as_json(description) if arguments.format == "json" else as_table(description))
    return OK


def _statement(arguments: argparse.Namespace) -> str:
    if (arguments.sql is None) == (arguments.file is None):
        raise CannotRun("describe takes one statement; next: give it as an argument or with --file")
    sql = _text_of(arguments)
    if not tokens(sql):
        raise CannotRun("there is no statement, only spaces and comments; next: write one")
    return sql


def _text_of(arguments: argparse.Namespace) -> str:
    try:
        if arguments.file is not None:
            return Path(arguments.file).read_text(encoding="utf-8-sig")
        if arguments.sql == "-":
            return sys.stdin.read().removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        source = arguments.file or "standard input"
        raise CannotRun(
            f"{source} cannot be read as UTF-8 text: {error}; next: check its name and encoding"
        ) from error
    return str(arguments.sql)
