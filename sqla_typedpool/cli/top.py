"""`sqla-typedpool top`."""

from __future__ import annotations

import argparse
import sys
from typing import Protocol

from sqla_typedpool.cli.colors import add_color, can_overwrite, has_colors
from sqla_typedpool.cli.exits import COULD_NOT_RUN, OK
from sqla_typedpool.cli.options import Commands, add_command
from sqla_typedpool.cli.top_client import Lost, MonitorClient, State, header_of
from sqla_typedpool.cli.top_lines import Lines
from sqla_typedpool.ephemeral.server import signals_unwind
from sqla_typedpool.errors import CannotRun

_EXAMPLES = (
    "http://127.0.0.1:8000/_pool",
    "https://app.example/_pool --once",
)


def add(commands: Commands) -> None:
    """Add the subcommand `top`."""
    summary = "show the pools of a running application live"
    surplus = 'give a header with --header "NAME: VALUE", and one URL'
    parser = add_command(commands, "top", summary, _top, "URL", _EXAMPLES, surplus=surplus)
    parser.add_argument(
        "url", metavar="URL", help="where its PoolMonitor is: http://127.0.0.1:8000/_pool"
    )
    parser.add_argument(
        "--header",
        action="append",
        type=_header,
        default=[],
        metavar='"NAME: VALUE"',
        help='a header for authorize=, such as "Authorization: Bearer $TOKEN"; can be repeated'
        " (default: none)",
    )
    parser.add_argument("--once", action="store_true", help="print one state, and end")
    add_color(parser.add_argument)


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
    with signals_unwind(SystemExit), _view(arguments.color) as view:
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


def _view(color: bool | None) -> View:
    """Return the screen, or lines if there is no terminal or no rich.

    :param color: the value of ``--color``.
    """
    if not can_overwrite(sys.stdout):
        return Lines()
    try:
        from rich.console import Console

        from sqla_typedpool.cli.top_screen import Screen
    except ImportError:
        return Lines()
    return Screen(Console(highlight=False, no_color=not has_colors(sys.stdout, color)))
