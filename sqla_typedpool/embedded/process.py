"""Start, signal, await and end server processes. Each wait has a time limit.

The children of a process are read from /proc, or from `ps` if there is no /proc.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqla_typedpool.secrets import mask_secrets

if TYPE_CHECKING:
    from pwd import struct_passwd


LOCK_FILE = "owner.lock"
COMMANDS_FILE = "commands"
_NOT_GIVEN = (LOCK_FILE, COMMANDS_FILE)


class EmbeddedServerError(RuntimeError):
    """A temporary server could not be found, started or restarted."""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Check `condition` every 10 ms; return whether it became true within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now. Another process may use it at any time."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def log_tail(path: Path, lines: int = 20) -> str:
    """Return the last `lines` lines of a log, indented, for the end of an error message."""
    try:
        text = mask_secrets(path.read_text(errors="replace")).splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join(f"    {line}" for line in text) or "    (empty)"


def _accounts() -> dict[str, struct_passwd]:
    import pwd  # missing on Windows, where this module must still be importable

    return {account.pw_name: account for account in pwd.getpwall()}


def service_user(*names: str) -> str | None:
    """Return the account that a server is to run as; None = the account of this process.

    For root it is the first existing one of the accounts `names` and "nobody", because database
    servers refuse to run as root.
    """
    if os.geteuid() != 0:
        return None
    known = _accounts()
    for name in (*names, "nobody"):
        if name in known:
            return name
    raise EmbeddedServerError(
        "a database server cannot run as root, and there is no other account for it (searched: "
        f"{', '.join((*names, 'nobody'))}); next: create one of them, or do not run as root"
    )


def spawn(command: Sequence[str], log: Path, user: str | None) -> subprocess.Popen[bytes]:
    """Start a server's program as `user`, in the folder of `log`. Its output is added to `log`.

    It runs in a new session, so that a Ctrl-C in the terminal does not reach it. Its command line
    is first added to the file `COMMANDS_FILE`, so that the program is found if its owner is killed.
    """
    with (log.parent / COMMANDS_FILE).open("a", errors="surrogateescape") as commands:
        commands.write(" ".join(command) + "\n")
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            user=user,
            group=None if user is None else _accounts()[user].pw_gid,
            extra_groups=None if user is None else [],
        )


def give_to(user: str | None, folder: Path) -> None:
    """Make `user` the owner of a folder and everything in it; None = leave the owner.

    The lock file and the list of commands stay those of this process's account.
    """
    if user is None:
        return
    account = _accounts()[user]
    for path in (folder, *(each for each in folder.rglob("*") if each.name not in _NOT_GIVEN)):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def remove_tree(folder: Path, seconds: float = 5.0) -> None:
    """Remove a folder. Processes that are ending may still write to it for `seconds`.

    The lock file is removed after the folders inside, which take longest: if this process is
    killed meanwhile, the next start finds the lock file and removes the rest.
    """

    def is_removed() -> bool:
        for inside in folder.glob("*/"):
            shutil.rmtree(inside, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    wait_until(is_removed, seconds)


def children_of(pid: int) -> list[int]:
    """Return the running direct children of a process."""
    return [child for child, parent, state in _processes() if parent == pid and state != "Z"]


def alive(pid: int) -> bool:
    """Return whether a process exists. A stopped process does, a zombie does not."""
    return any(pid == other and state != "Z" for other, _, state in _processes())


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each process that still exists."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end(
    process: subprocess.Popen[bytes], signals: Sequence[signal.Signals], patience: float
) -> None:
    """End a server and its children.

    Send SIGCONT (it may be stopped), then each of `signals` with a wait of `patience` seconds,
    then SIGKILL.
    """
    children = children_of(process.pid) if process.poll() is None else []
    send((process.pid, *children) if children else (), signal.SIGCONT)
    for number in signals:
        if process.poll() is None:
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
    process.kill()
    process.wait()
    end_orphans(children)


def end_orphans(orphans: Sequence[int], patience: float = 2.0) -> None:
    """Wait until the children of an ended server have ended; kill them after `patience` seconds."""
    if not wait_until(lambda: not any(map(alive, orphans)), patience):
        send(filter(alive, orphans), signal.SIGKILL)
        wait_until(lambda: not any(map(alive, orphans)), patience)


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield the pid, the parent's pid and the state letter of each process."""
    if not Path("/proc/self/stat").exists():
        yield from _processes_by_ps()
        return
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            # "pid (name) state ppid ...". The name may contain spaces and parentheses.
            stat = Path("/proc", name, "stat").read_text(errors="replace")
            state, parent = stat[stat.rindex(")") + 1 :].split()[:2]
            yield int(name), int(parent), state


def _processes_by_ps() -> Iterator[tuple[int, int, str]]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    )
    for line in listing.stdout.splitlines():
        pid, parent, state = line.split()
        yield int(pid), int(parent), state[0]


def command_lines() -> Iterator[tuple[int, str]]:
    """Yield the pid and the command line of each process, with its arguments joined by spaces."""
    if not Path("/proc/self/cmdline").exists():
        yield from _command_lines_by_ps()
        return
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            line = os.fsdecode(Path("/proc", name, "cmdline").read_bytes())
            yield int(name), line.rstrip("\0").replace("\0", " ")


def _command_lines_by_ps() -> Iterator[tuple[int, str]]:
    command = ["ps", "-A", "-ww", "-o", "pid=,args="]
    listing = subprocess.run(command, capture_output=True, errors="surrogateescape", check=True)
    for line in listing.stdout.splitlines():
        pid, _, arguments = line.strip().partition(" ")
        yield int(pid), arguments.strip()
