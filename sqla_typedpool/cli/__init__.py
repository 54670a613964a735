"""The command `sqla-typedpool`.

Exit codes: 0 done and nothing wrong, 1 something was found, 2 it could not run, 130 interrupted.
Errors are one sentence on standard error, never a traceback.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from sqla_typedpool import __version__
from sqla_typedpool.cli import check, describe
from sqla_typedpool.cli.exits import COULD_NOT_RUN, DISTRIBUTION, INTERRUPTED, complain
from sqla_typedpool.errors import CannotRun

__all__ = ["build_parser", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code.

    :param argv: the arguments after the program's name; None takes those of the process.

    Example::

        >>> main(["check", "app", "--offline"])
        0
    """
    _print_anything()
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
        return _nobody_reads()
    except OSError as error:
        _nobody_reads()  # what is left to print would fail at the interpreter's end as well
        return complain(f"it cannot go on: {error}; next: look at the disk", COULD_NOT_RUN)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog=DISTRIBUTION,
        description="Tools around TypedPool and its typed layer for SQLAlchemy's asyncio engines.",
    )
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check.add(commands)
    describe.add(commands)
    return parser


def _print_anything() -> None:
    """What a terminal cannot show is shown escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nobody_reads() -> int:
    """`... | head` went away: end quietly, and let the interpreter flush into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return COULD_NOT_RUN
