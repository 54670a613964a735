"""The files that a process reads and the folders that it lists: what a check depends on.

They are recorded by an audit hook, which Python calls before each ``open`` and each listing. So
the record is complete: it has the modules that cannot be imported, the SQL files and snapshots that
do not exist yet, and whatever else the application reads while it is imported.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any, Protocol

from sqla_typedpool.check.changes import State, States, state_of
from sqla_typedpool.check.importing import LIBRARY_FOLDERS

_WRITING = os.O_WRONLY | os.O_RDWR
_SYSTEM_FOLDERS = ("/dev", "/proc", "/sys", "/etc")
OWN_FOLDER = str(Path(__file__).parents[1])
_IGNORED = tuple(f"{each}{os.sep}" for each in (*LIBRARY_FOLDERS, *_SYSTEM_FOLDERS, OWN_FOLDER))
_IGNORED_NAMES = {".git", ".hg", ".svn", "node_modules", "__pycache__"}


class ReadFiles:
    """What a process has read and written, with the states before that.

    If a file changes later, also during the check, its present state differs from the recorded one.
    """

    def __init__(self) -> None:
        self._states: States = {}
        self._written: set[str] = set()

    def add(self, path: str, state: State, *, is_written: bool) -> None:
        """Add a path that was read, or written."""
        if is_written:
            self._written.add(path)
        else:
            self._states[path] = state

    def states(self) -> States:
        """Return the states of all paths that were read.

        Files that the process writes itself are left out: each check would cause the next one.
        """
        return {path: self._states[path] for path in self._states if path not in self._written}


class ReadObserver(Protocol):
    """Receives each path, before it is read or written."""

    def __call__(self, path: str, state: State, *, is_written: bool) -> None:
        """Receive a path, and its present state if it is read."""


def report_reads(report: ReadObserver) -> None:
    """Report what this process reads and writes from now on, until it ends. Each path is once."""
    seen: set[tuple[str, bool]] = set()

    def add(given: Any, *, is_written: bool) -> None:
        path = _absolute(given) if is_written else _source_of(_absolute(given))
        if path and (path, is_written) not in seen and not _is_ignored(path):
            seen.add((path, is_written))  # before a folder is listed, which is an event too
            report(path, None if is_written else state_of(path), is_written=is_written)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        # an exception would be raised by the call that opens the file
        with contextlib.suppress(OSError, TypeError, ValueError):
            if event == "open":
                path, _, flags = arguments
                add(path, is_written=bool(flags & _WRITING))
            elif event in ("os.listdir", "os.scandir"):
                add("." if arguments[0] is None else arguments[0], is_written=False)
            elif event == "os.rename":
                add(arguments[1], is_written=True)

    sys.addaudithook(hook)


def _absolute(path: Any) -> str:
    """Return the absolute path; "" if it is a file descriptor."""
    return "" if isinstance(path, int) else os.path.abspath(os.fsdecode(path))


def _source_of(path: str) -> str:
    """Return the module's source if the path is that of its bytecode."""
    with contextlib.suppress(ValueError):  # it is not in a __pycache__
        return source_from_cache(path) if path.endswith(".pyc") else path
    return path


def _is_ignored(path: str) -> bool:
    return f"{path}{os.sep}".startswith(_IGNORED) or not _IGNORED_NAMES.isdisjoint(
        path.split(os.sep)
    )
