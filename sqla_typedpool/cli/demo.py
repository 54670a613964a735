"""`sqla-typedpool demo`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from sqla_typedpool.cli.exits import COULD_NOT_RUN, OK, complain

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The subcommand `demo`."""
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
        return complain(str(error), COULD_NOT_RUN)
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
