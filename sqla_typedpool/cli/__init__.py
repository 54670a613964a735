"""The command `sqla-typedpool`.

Exit codes: 0 no findings, 1 findings, 2 the command could not run, 130 interrupted, 143 ended by
SIGTERM. An error is a message on standard error, not a traceback.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NoReturn

from sqla_typedpool import __version__
from sqla_typedpool.cli import check, describe, init, top
from sqla_typedpool.cli.exits import (
    DISTRIBUTION,
    INTERRUPTED,
    complain,
    escape_unprintable,
    guarded,
)
from sqla_typedpool.secrets import mask_secrets

__all__ = ["build_parser", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code.

    :param argv: the arguments after the program's name; None means those of the process.

    Example::

        >>> main(["check", "app", "--offline"])
        0
    """
    escape_unprintable()
    arguments = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return guarded(lambda: command(arguments))
    except KeyboardInterrupt:
        return complain("Interrupted; nothing was left running.", INTERRUPTED)


class _Parser(argparse.ArgumentParser):
    """Masks the passwords in the arguments that an error quotes."""

    def error(self, message: str) -> NoReturn:
        super().error(mask_secrets(message))


def _new_parser() -> argparse.ArgumentParser:
    return _Parser(
        prog=DISTRIBUTION,
        description="Tools for TypedPool and typed queries on SQLAlchemy's asyncio engines.",
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _new_parser()
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check.add(commands)
    describe.add(commands)
    init.add(commands)
    top.add(commands)
    return parser
