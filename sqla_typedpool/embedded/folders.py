"""The temporary folder of a server, and the removal of what ended owners have left.

The process that creates a folder, its owner, holds a lock on a file in it. The kernel releases the
lock when the process ends, also after SIGKILL. So a free lock means that the owner has ended, and
the next start of any server ends the programs of that folder and removes it.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sqla_typedpool.embedded import process as processes
from sqla_typedpool.embedded.binaries import open_to_all

PREFIX = "sqla-typedpool-"
PATIENCE = 2.0
"""Seconds for a program of an ended owner to end after SIGQUIT, and again after SIGKILL."""

_locks: set[BinaryIO] = set()


def _close_locks() -> None:
    """Close the locks in a forked child: it is not the owner, and it may outlive the owner.

    The parent keeps them. A lock ends with the last descriptor, or when it is released explicitly.
    """
    for lock in _locks:
        lock.close()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_locks)


class ServerFolder:
    """A temporary folder that this process owns."""

    def __init__(self, kind: str = "", user: str | None = None) -> None:
        """Remove the folders of ended owners, and create a new one.

        :param kind: the beginning of its name after "sqla-typedpool-", such as "mariadb-".
        :param user: the account of the server, which must be able to enter the parent folder.
        """
        parents = [each for each in _parents() if user is None or open_to_all(each)]
        remove_abandoned(_parents())
        parent = parents[0] if parents else Path(tempfile.gettempdir())
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}", dir=parent))
        self._lock: BinaryIO | None = None
        with suppress(OSError):  # a file system without locks: it is removed only by `remove`
            self._lock = _hold_lock(self.path)

    def remove(self) -> None:
        """Remove the folder, then release its lock. It may be called several times."""
        processes.remove_tree(self.path)
        if self._lock is not None:
            _locks.discard(self._lock)
            self._lock.close()


def remove_abandoned(parents: Iterable[Path]) -> None:
    """End the programs of folders whose owner has ended, and remove these folders.

    Other users' folders are not touched, and neither are folders without a lock file. An error
    has no effect on the other folders.
    """
    for parent in parents:
        for folder in parent.glob(f"{PREFIX}*"):
            with suppress(OSError):
                _remove_if_abandoned(folder)


def _parents() -> list[Path]:
    """Return the folders in which a temporary folder may be, the preferred one first."""
    known = (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))
    return list(dict.fromkeys(each for each in known if each.is_dir()))


def _hold_lock(folder: Path) -> BinaryIO:
    """Create the lock file of a folder, and return it locked.

    It gets its name when it is locked, so that no other process can lock it first.
    """
    import fcntl  # missing on Windows, where this module must still be importable

    unnamed = folder / f"{processes.LOCK_FILE}.new"
    lock = unnamed.open("xb", buffering=0)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(folder / processes.LOCK_FILE)
    except BaseException:
        lock.close()
        raise
    _locks.add(lock)
    return lock


def _remove_if_abandoned(folder: Path) -> None:
    import fcntl

    with _open_own(folder / processes.LOCK_FILE) as lock:
        # Held until the end: of two processes that start at once, one removes the folder.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not folder.is_symlink() and _end_programs(folder):
            processes.remove_tree(folder)


def _open_own(path: Path) -> BinaryIO:
    """Open a file of this user.

    :raises OSError: there is none, it is another user's or a link.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK), "r+b", buffering=0)
    if os.fstat(file.fileno()).st_uid != os.geteuid():
        file.close()
        raise PermissionError(f"{path} is another user's")
    return file


def _end_programs(folder: Path) -> bool:
    """End the programs that run in a folder, and return whether they have ended."""
    running = list(_programs_of(folder))
    children = [child for pid in running for child in processes.children_of(pid)]
    processes.send((*running, *children), signal.SIGCONT)  # they may be stopped
    # SIGQUIT: PostgreSQL ends without waiting for its clients, and frees its shared memory.
    for number in (signal.SIGQUIT, signal.SIGKILL):
        processes.send(_programs_of(folder), number)
        if processes.wait_until(lambda: not any(map(processes.alive, running)), PATIENCE):
            break
    processes.end_orphans(children)
    return not any(map(processes.alive, running))


def _programs_of(folder: Path) -> Iterator[int]:
    """Yield the processes whose command line is one that was started in a folder.

    The command line must contain the random name of the folder, whatever the file of the commands
    contains. So it is not the command of another program.
    """
    with suppress(FileNotFoundError), _open_own(folder / processes.COMMANDS_FILE) as file:
        commands = tuple(filter(None, os.fsdecode(file.read()).split("\n")))
        for pid, line in processes.command_lines():
            # A script's command line begins with its interpreter.
            if f"{folder}/" in line and line.endswith(commands):
                yield pid
