"""`sqla-typedpool top`."""

from __future__ import annotations

import argparse
import sys
from typing import Protocol

from sqla_typedpool.cli.exits import COULD_NOT_RUN, OK
from sqla_typedpool.cli.options import Commands, add_command
from sqla_typedpool.cli.top_client import Lost, MonitorClient, State, header_of
from sqla_typedpool.cli.top_lines import Lines
from sqla_typedpool.ephemeral.server import signals_unwind
from sqla_typedpool.errors import CannotRun


def add(commands: Commands) -> None:
    """Add the subcommand `top`."""
    parser = add_command(commands, "top", "show the pools of a running application live", _top)
    parser.add_argument(
        "url", metavar="URL", help="where its PoolMonitor is: http://127.0.0.1:8000/_pool"
    )
    parser.add_argument(
        "--header",
        action="append",
        type=_header,
        default=[],
        metavar='"NAME: VALUE"',
        help='a header for authorize=, such as --header "Authorization: Bearer $TOKEN"',
    )
    parser.add_argument("--once", action="store_true", help="print one state, and end")


def _header(given: str) -> tuple[str, str]:
    try:
        return header_of(given)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; next: correct it") from None


class View(Protocol):
    """Shows states. It is entered before the first one."""

    def __enter__(self) -> View:
        """Begin."""
        ...

    def __exit__(self, *error: object) -> None:
        """End."""
        ...

    def show(self, state: State | Lost) -> None:
        """Show a state, or why there is none."""
        ...


def _top(arguments: argparse.Namespace) -> int:
    """Show the pools of a running application live, until Ctrl-C.

    On a terminal with rich (the extra `cli`) it fills the screen; otherwise it prints one line for
    each pool and second.
    """
    client = MonitorClient(arguments.url, arguments.header)
    if arguments.once:
        return _show_one(client)
    with signals_unwind(SystemExit), _view() as view:
        for state in client.states():
            view.show(state)
    return COULD_NOT_RUN


def _show_one(client: MonitorClient) -> int:
    """Print the first state.

    :raises CannotRun: there is none.
    """
    state = next(client.states())
    if isinstance(state, Lost):
        raise CannotRun(
            f"the application does not answer: {state.reason}; next: check the URL, and whether"
            " the application runs"
        )
    Lines().show(state)
    return OK


def _view() -> View:
    """Return the screen, or lines if there is no terminal or no rich."""
    if not sys.stdout.isatty():
        return Lines()
    try:
        from rich.console import Console

        from sqla_typedpool.cli.top_screen import Screen
    except ImportError:
        return Lines()
    console = Console(highlight=False)
    return Lines() if console.is_dumb_terminal else Screen(console)
