"""`sqla-typedpool describe`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqla_typedpool.check.config import read_settings
from sqla_typedpool.check.describing import DatabaseTarget, comments_of, describe_one
from sqla_typedpool.cli.completion_kinds import FILES, completed
from sqla_typedpool.cli.database import database
from sqla_typedpool.cli.exits import OK, complain, reason_of
from sqla_typedpool.cli.options import Commands, add_command, add_database
from sqla_typedpool.cli.table import as_json, as_table
from sqla_typedpool.declarations import (
    QUERY,
    ROW_KINDS,
    code_of_query,
    code_of_row,
    optional_parameters,
)
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.tokens import binds, named_queries, tokens

_EXAMPLES = (
    '"SELECT id, name FROM users WHERE id = :id"',
    "--file get_user.sql --format json",
    '--as query --name users "SELECT id FROM users"',
)


def add(commands: Commands) -> None:
    """Add the subcommand `describe`."""
    summary = "show the columns and parameters of one statement"
    parser = add_command(
        commands,
        "describe",
        summary,
        _describe,
        "[SQL]",
        _EXAMPLES,
        surplus="put the statement into quotes, or read it from a file with --file",
    )
    parser.add_argument(
        "sql", nargs="?", metavar="SQL", help="the statement; - reads standard input"
    )
    file = parser.add_argument(
        "--file", type=Path, metavar="FILE", help="a file with the statement (default: none)"
    )
    completed(file, FILES)
    parser.add_argument(
        "--format", choices=("text", "json"), help="the form of the description (default: text)"
    )
    _add_code(parser)
    add_database(parser)


def _add_code(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("code").add_argument
    add(
        "--as",
        dest="kind",
        choices=(*ROW_KINDS, QUERY),
        help="print a class for the rows, or a declared query with its class, as Python code"
        " (default: a description)",
    )
    add(
        "--name",
        metavar="NAME",
        help="the name of the class (default: Row), or of the function of --as query (default:"
        " made from the statement)",
    )


def _describe(arguments: argparse.Namespace) -> int:
    """Show how a database describes the columns and parameters of a statement.

    The statement is not run. With --as, the output is Python code that can be pasted into a module.
    """
    _require_one_output(arguments)
    sql = _statement(arguments)
    with database(arguments, read_settings()) as target:
        if arguments.kind is not None:
            facts = asyncio.run(statement_facts(sql, target))
            print(code_of(arguments.kind, arguments.name, sql, facts))
            for note in facts.description.notes:
                complain(f"note: {note}", OK)
            return OK
        description = asyncio.run(describe_one(sql, target))
    print(as_json(description) if arguments.format == "json" else as_table(description))
    return OK


def _require_one_output(arguments: argparse.Namespace) -> None:
    if arguments.kind is not None and arguments.format is not None:
        raise CannotRun("--format and --as exclude each other; next: drop one of them")
    if arguments.kind is None and arguments.name is not None:
        raise CannotRun("--name is for the code of --as; next: add --as dataclass, or drop --name")


@dataclass(frozen=True)
class StatementFacts:
    """What a database reports about a statement, for its code."""

    description: Description
    # The comments of its columns by their origins.
    comments: Mapping[str, str]
    # The parameters that may be None.
    optional: set[str]


async def statement_facts(sql: str, target: DatabaseTarget) -> StatementFacts:
    """Describe a statement as the code will declare it: most parameters are never None.

    :raises CannotRun: the database refuses it or cannot be used.
    """
    names = {bind.text[1:] for bind in binds(sql)}
    description = await describe_one(sql, target, _never_null(names))
    if optional := optional_parameters(description, sql):
        description = await describe_one(sql, target, _never_null(names - optional))
    return StatementFacts(description, await comments_of(description, target), optional)


def code_of(kind: str, name: str | None, sql: str, facts: StatementFacts) -> str:
    """Return the code of one kind; see `code_of_row` and `code_of_query`."""
    if kind == QUERY:
        return code_of_query(facts.description, sql, name, facts.comments, facts.optional)
    return code_of_row(facts.description, kind, name, facts.comments)


def _never_null(names: set[str]) -> set[str]:
    """Return these parameters, and the elements of those that are lists."""
    return names | {f"{name}[]" for name in names}


def _statement(arguments: argparse.Namespace) -> str:
    if (arguments.sql is None) == (arguments.file is None):
        raise CannotRun("describe takes one statement; next: give it as an argument or with --file")
    sql = _text_of(arguments)
    if not tokens(sql):
        raise CannotRun("there is no statement, only spaces and comments; next: write one")
    if len(named := [each.name for each in named_queries(sql) if each.is_valid]) > 1:
        raise CannotRun(
            f"describe takes one statement, but there are {len(named)} named queries "
            f"({', '.join(named)}); next: give it the text of one of them"
        )
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
            f"{source} cannot be read as UTF-8 text: {reason_of(error)}; next: check its name and"
            " encoding"
        ) from error
    return str(arguments.sql)
