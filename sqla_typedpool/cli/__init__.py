"""The command `sqla-typedpool`.

Exit codes: 0 done and nothing wrong, 1 something was found, 2 it could not run, 130 interrupted.
Errors are one sentence on standard error, never a traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sqla_typedpool import __version__

OK = 0
COULD_NOT_RUN = 2
INTERRUPTED = 130

DISTRIBUTION = "sqla-typedpool"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code.

    :param argv: the arguments after the program's name; None takes those of the process.

    Example::

        >>> main(["demo", "--seconds", "5"])
        0
    """
    arguments = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except KeyboardInterrupt:
        return _complain("Interrupted; nothing was left running.", INTERRUPTED)
    except BrokenPipeError:
        return _nobody_reads()


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog=DISTRIBUTION,
        description="Tools around TypedPool, a connection pool for SQLAlchemy's asyncio engines.",
    )
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="compare the stock pool and TypedPool under real load, on a PostgreSQL of its own",
        description=(
            "Runs the same load through SQLAlchemy's stock pool and through TypedPool and prints"
            " one table. Takes about 35 seconds. Starts a throw-away PostgreSQL, restarts it in"
            " the middle of each run, and removes it at the end."
        ),
    )
    parser.add_argument(
        "--url",
        help="use this PostgreSQL database instead (through asyncpg): it is only read, and not"
        " restarted",
    )
    parser.add_argument(
        "--seconds",
        type=_number(2, 600),
        default=12,
        metavar="N",
        help="how long each of the two runs puts load on its pool (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=_whole_number(1, 1000),
        default=30,
        metavar="N",
        help="how many callers ask at the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--plain", action="store_true", help="plain lines, no live table and no colours"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    parser.set_defaults(command=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from sqla_typedpool import demo

    options = demo.Options(
        url=arguments.url,
        seconds=arguments.seconds,
        workers=arguments.workers,
        plain=arguments.plain,
        json_file=arguments.json,
    )
    try:
        demo.run(options)
    except demo.DemoError as error:
        return _complain(str(error), COULD_NOT_RUN)
    return OK


def _number(least: float, most: float) -> Callable[[str], float]:
    """An argument type: a number within bounds, else a usage error that names them."""

    def read(given: str) -> float:
        value = float(given)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{given} is not within {least:g} and {most:g}")
        return value

    read.__name__ = "number"  # argparse: "invalid number value: 'x'"
    return read


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    """As `_number`, without a fraction."""

    def read(given: str) -> int:
        _number(least, most)(given)
        return int(given)

    read.__name__ = "whole number"
    return read


def _complain(sentence: str, code: int) -> int:
    print(f"{DISTRIBUTION}: {sentence}", file=sys.stderr)
    return code


def _nobody_reads() -> int:
    """`... | head` went away: end quietly, and let the interpreter flush into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return COULD_NOT_RUN
