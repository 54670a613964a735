"""`sqla-typedpool demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sqla_typedpool.cli.exits import COULD_NOT_RUN, OK, complain
from sqla_typedpool.cli.numbers import number, whole_number


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
        type=number(2, 600),
        default=12,
        metavar="N",
        help="how long each of the two runs puts load on its pool (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=whole_number(1, 1000),
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
