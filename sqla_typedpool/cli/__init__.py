"""The command `sqla-typedpool`.

Exit codes: 0 no findings, 1 findings, 2 the command could not run, 130 interrupted. An error is
a message on standard error, not a traceback.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from sqla_typedpool import __version__
from sqla_typedpool.cli import check, describe
from sqla_typedpool.cli.exits import COULD_NOT_RUN, DISTRIBUTION, INTERRUPTED, complain
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import mask_secrets

__all__ = ["build_parser", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code.

    :param argv: the arguments after the program's name; None means those of the process.

    Example::

        >>> main(["check", "app", "--offline"])
        0
    """
    _escape_unprintable()
    arguments = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        code = command(arguments)
        sys.stdout.flush()
        return code
    except CannotRun as error:
        return complain(str(error), COULD_NOT_RUN)
    except KeyboardInterrupt:
        return complain("Interrupted; nothing was left running.", INTERRUPTED)
    except BrokenPipeError:
        return _discard_output()
    except OSError as error:
        _discard_output()  # printing the rest at the interpreter's exit would fail too
        message = f"the output or a file cannot be written: {error}; next: check the disk"
        return complain(message, COULD_NOT_RUN)


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
    return parser


def _escape_unprintable() -> None:
    """Print characters that the terminal's encoding does not have as escapes, without an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> int:
    """Discard all further output, for example after `| head` has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return COULD_NOT_RUN
