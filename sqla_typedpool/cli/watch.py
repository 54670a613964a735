"""`sqla-typedpool check --watch`: check again whenever a file has changed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from sqla_typedpool.check.changes import FilePoller, Poller, States, await_changes
from sqla_typedpool.check.report import shown_path
from sqla_typedpool.check.report_formats import TEXT
from sqla_typedpool.cli.child import Checked, check_in_child, import_libraries
from sqla_typedpool.cli.colors import can_overwrite
from sqla_typedpool.cli.database import kept_server
from sqla_typedpool.cli.exits import is_output_closed
from sqla_typedpool.ephemeral.server import signals_unwind
from sqla_typedpool.errors import CannotRun

_FORMATS = (TEXT, "concise")
_CLEAR = "\x1b[2J\x1b[H"  # the screen, not the lines above it
_SHOWN_CHANGES = 3

Check = Callable[[argparse.Namespace], int]


def watch(check: Check, arguments: argparse.Namespace) -> NoReturn:
    """Check now, and again whenever a file has changed that the last check has read.

    It ends with a Ctrl-C (KeyboardInterrupt), or with SIGTERM or SIGHUP (SystemExit).

    :param check: checks once. It is called in a new process each time.
    :raises CannotRun: the format of the report is one document, not text for people.
    """
    if arguments.format not in _FORMATS:
        raise CannotRun(
            f"--watch prints reports for people, and --format {arguments.format} is for programs;"
            f" next: use --format {' or '.join(_FORMATS)}, or drop --watch"
        )
    with signals_unwind(SystemExit), kept_server(arguments):
        poller = _WatchPoller()
        check_repeatedly(lambda: check_in_child(check, arguments, poller.states), poller, Status())


class _WatchPoller(FilePoller):
    """Ends the command when nobody reads its reports: `check --watch | head`."""

    def states(self, paths: Iterable[str]) -> States:
        """Return the present state of each path.

        :raises BrokenPipeError: standard output is a pipe that has been closed.
        """
        if is_output_closed():
            raise BrokenPipeError
        return super().states(paths)


class Observer(Protocol):
    """Receives each result and each change. Tests replace it by a list."""

    def ended(self, checked: Checked, seconds: float) -> None:
        """Show the result of a check."""

    def changed(self, paths: Sequence[str]) -> None:
        """Show what has changed."""


def check_repeatedly(check: Callable[[], Checked], poller: Poller, observer: Observer) -> NoReturn:
    """Check, wait for changes, and so on."""
    while True:
        began = time.monotonic()
        checked = check()
        observer.ended(checked, time.monotonic() - began)
        import_libraries(checked.libraries)
        observer.changed(await_changes(checked.states, poller))


class Status:
    """Shows the time, the result and what has changed, on standard error."""

    def ended(self, checked: Checked, seconds: float) -> None:
        """Show the result of a check."""
        watched = f"watching {len(checked.states)} files and folders"
        _show(f"{checked.result} after {seconds:.2f} s; {watched}")

    def changed(self, paths: Sequence[str]) -> None:
        """Show what has changed. On a terminal, the last report is removed."""
        if can_overwrite(sys.stdout):
            print(_CLEAR, end="", flush=True)
        shown = [shown_path(Path(each)) for each in paths[:_SHOWN_CHANGES]]
        more = len(paths) - len(shown)
        _show(f"changed: {', '.join(shown)}{f' and {more} more' if more else ''}")


def _show(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
