"""The command line: ``python -m examples.demo``.

Exit codes: 0 done, 2 the demo could not run, 130 interrupted. An error is one message on standard
error.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from examples.demo.database import DemoError
from examples.demo.run import Options, run
from sqla_typedpool.cli.colors import add_color

DONE = 0
COULD_NOT_RUN = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code.

    :param argv: the arguments after the program's name; None = those of the process.
    """
    _escape_unprintable_characters()
    options = read_options(argv)
    try:
        run(options)
        sys.stdout.flush()
    except DemoError as error:
        return _print_error(str(error), COULD_NOT_RUN)
    except KeyboardInterrupt:
        return _print_error("interrupted; its server and its files are removed", INTERRUPTED)
    except BrokenPipeError:
        return _ignore_closed_pipe()
    return DONE


def read_options(argv: Sequence[str] | None = None) -> Options:
    """Parse the command line; a wrong argument ends the process with a usage error."""
    arguments = _parser().parse_args(argv)
    return Options(
        url=arguments.database_url,
        seconds=arguments.seconds,
        workers=arguments.workers,
        plain=arguments.plain,
        color=arguments.color,
        json_file=arguments.json,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        allow_abbrev=False,
        description=(
            "Put the same load on SQLAlchemy's stock pool and on TypedPool, and compare them in"
            " one table; then overload them, and the driver's own pool. The demo takes about 55"
            " seconds. It starts a temporary PostgreSQL, kills and restarts it in the middle of"
            " each run of the comparison, and removes it at the end."
        ),
    )
    parser.add_argument(
        "--database-url",
        metavar="URL",
        help="use this PostgreSQL database, through asyncpg; it is only read, and not restarted",
    )
    parser.add_argument(
        "--seconds",
        type=_number(float, 2, 600),
        default=12,
        metavar="N",
        help="duration of the load on each pool (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=_number(int, 1, 1000),
        default=30,
        metavar="N",
        help="number of concurrent callers (default: %(default)s)",
    )
    parser.add_argument(
        "--plain", action="store_true", help="print plain lines, without a live table and colours"
    )
    add_color(parser.add_argument)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures to this file as well"
    )
    return parser


def _number(kind: type[float], least: float, most: float) -> Callable[[str], float]:
    """Return an argument type that accepts the numbers from `least` to `most`."""

    def read(given: str) -> float:
        value = kind(given)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{given} is not between {least:g} and {most:g}")
        return value

    # argparse names the type in its message: "invalid whole number value: '2.5'"
    read.__name__ = "whole number" if kind is int else "number"
    return read


def _escape_unprintable_characters() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_error(message: str, code: int) -> int:
    print(f"demo: {message}", file=sys.stderr)
    return code


def _ignore_closed_pipe() -> int:
    """The reader has ended (``| head``): let the interpreter flush the rest into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
