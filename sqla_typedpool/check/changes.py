"""Find out by polling that files have changed, and wait for the end of a burst of changes."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from typing import Protocol, TypeAlias

# The state of a file is its modification time in ns and its size, that of a folder the names of
# what a check may read in it. None = neither exists.
State: TypeAlias = "tuple[int, int] | tuple[str, ...] | None"
States: TypeAlias = dict[str, State]

POLL_SECONDS = 0.1
QUIET_SECONDS = 0.05
_POLLS_OF_A_BURST = 40
_POLLING_SHARE = 0.05  # of the time, at most
_NAMES_IN_FOLDERS = ("", ".py", ".sql", ".json")


def state_of(path: str) -> State:
    """Return the state of a file or folder."""
    try:
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            return found.st_mtime_ns, found.st_size
        return tuple(sorted(filter(_is_relevant, os.listdir(path))))
    except (OSError, ValueError):
        return None


def _is_relevant(name: str) -> bool:
    """Leave out caches and the temporary files of editors."""
    is_hidden = name.startswith((".", "__pycache__"))
    return not is_hidden and os.path.splitext(name)[1] in _NAMES_IN_FOLDERS


class Poller(Protocol):
    """Reads the states of files, and waits. Tests replace it by a script."""

    def states(self, paths: Iterable[str]) -> States:
        """Return the present state of each path."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait for at least this time."""


class FilePoller:
    """Reads the states of files from the disk.

    Polling takes at most 5 % of the time: with very many files, the waits are longer.
    """

    def __init__(self) -> None:
        self._seconds = 0.0

    def states(self, paths: Iterable[str]) -> States:
        """Return the present state of each path."""
        began = time.perf_counter()
        found = {path: state_of(path) for path in paths}
        self._seconds = time.perf_counter() - began
        return found

    def wait(self, seconds: float) -> None:
        """Wait for this time, or for longer if the last polling took long."""
        time.sleep(max(seconds, self._seconds / _POLLING_SHARE))


def await_changes(known: States, poller: Poller) -> list[str]:
    """Wait until files have changed and no more changes follow, and return their paths.

    A program that saves many files, or one file in several steps, causes one check. A burst that
    does not end is interrupted after about two seconds.

    :param known: the states with which the present ones are compared.
    """
    while True:
        found = poller.states(known)
        if found == known:
            poller.wait(POLL_SECONDS)
            continue
        found = _after_burst(found, poller)
        if changed := [path for path, state in known.items() if found[path] != state]:
            return changed


def _after_burst(found: States, poller: Poller) -> States:
    for _ in range(_POLLS_OF_A_BURST):
        poller.wait(QUIET_SECONDS)
        earlier, found = found, poller.states(found)
        if earlier == found:
            break
    return found
