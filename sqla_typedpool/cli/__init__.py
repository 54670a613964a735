"""The command `sqla-typedpool`.

Exit codes: 0 no findings, 1 findings, 2 the command could not run, 130 interrupted, 143 ended by
SIGTERM. An error is a message on standard error, not a traceback.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence

import sqlalchemy

from sqla_typedpool import __version__
from sqla_typedpool.cli import check, completion, describe, init, top
from sqla_typedpool.cli.exits import (
    COULD_NOT_RUN,
    DISTRIBUTION,
    INTERRUPTED,
    complain,
    escape_unprintable,
    guarded,
)
from sqla_typedpool.cli.parser import CommandParser

__all__ = ["build_parser", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code.

    :param argv: the arguments after the program's name; None means those of the process.
    :raises SystemExit: the arguments are wrong, or ask for the help or the version.

    Example::

        >>> main(["check", "app", "--offline"])
        1 query checked, no findings (snapshots in .sqla_typedpool, 0.02 s)
        0
    """
    escape_unprintable()
    try:
        return guarded(lambda: _run(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return complain("Interrupted; nothing was left running.", INTERRUPTED)


def _run(argv: Sequence[str]) -> int:
    parser = build_parser()
    if not argv:
        parser.print_help(sys.stderr)
        return COULD_NOT_RUN
    arguments = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=DISTRIBUTION,
        usage="%(prog)s [OPTIONS] COMMAND ...",
        description="Tools for TypedPool and typed queries on SQLAlchemy's asyncio engines.",
        epilog=f"`{DISTRIBUTION} COMMAND --help` describes a command.",
    )
    parser.add_argument(
        "--version",
        action="version",
        version=_versions(),
        help="show the versions of the package, of Python and of SQLAlchemy",
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, prog=DISTRIBUTION
    )
    for module in (check, describe, init, top):
        module.add(commands)
    completion.add(commands, parser)
    for each in (parser, *commands.choices.values()):
        each.know_commands(commands.choices)
    return parser


def _versions() -> str:
    python, database = platform.python_version(), sqlalchemy.__version__
    return f"{DISTRIBUTION} {__version__} (Python {python}, SQLAlchemy {database})"
