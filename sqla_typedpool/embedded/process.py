"""Server processes: found, signalled, waited for and ended, every wait with a bound.

No third party is used here: the children come from /proc, or from `ps` where there is no /proc.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pwd import struct_passwd


class EmbeddedServerError(RuntimeError):
    """A throw-away server could not be found, started or restarted; the message says what next."""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask `condition` every 10 ms until it holds (True) or `seconds` have passed (False)."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago; somebody else may still take it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def log_tail(path: Path, lines: int = 20) -> str:
    """The last `lines` of a log, indented, ready to end an error message."""
    try:
        text = path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join(f"    {line}" for line in text) or "    (empty)"


def _accounts() -> dict[str, struct_passwd]:
    import pwd  # not on Windows, where nothing here is supported, but must say so

    return {account.pw_name: account for account in pwd.getpwall()}


def service_user(*wanted: str) -> str | None:
    """The first of the `wanted` accounts that exists, if we are root; else None: stay who we are.

    Database servers refuse to run as root.
    """
    if os.geteuid() != 0:
        return None
    known = _accounts()
    for name in (*wanted, "nobody"):
        if name in known:
            return name
    raise EmbeddedServerError(
        "a database server does not run as root, and there is no account to run it as "
        f"(looked for {', '.join((*wanted, 'nobody'))}). Next: create one, or do not run as root."
    )


def spawn(command: Sequence[str], log: Path, user: str | None) -> subprocess.Popen[bytes]:
    """Start a server's program as `user`, its output added to `log`, in the log's folder.

    It gets a session of its own: a Ctrl-C in the terminal reaches us alone, and we stop it.
    """
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
    """Make `user` the owner of a folder and all below it; nothing for None."""
    if user is None:
        return
    account = _accounts()[user]
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def remove_tree(folder: Path, seconds: float = 5.0) -> None:
    """Remove a folder that dying processes may still be writing to."""

    def gone() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    wait_until(gone, seconds)


def children_of(pid: int) -> list[int]:
    """The living direct children of a process."""
    return [child for child, parent, state in _processes() if parent == pid and state != "Z"]


def alive(pid: int) -> bool:
    """Whether a process runs or is stopped; one that only waits to be reaped does not count."""
    return any(pid == other and state != "Z" for other, _, state in _processes())


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each process; those already gone are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end(
    process: subprocess.Popen[bytes], signals: Sequence[signal.Signals], patience: float
) -> None:
    """End a server: thaw it, send `signals` in turn, each given `patience` seconds, then SIGKILL.

    Children that outlive their parent are killed too, so that nothing is left.
    """
    family = children_of(process.pid) if process.poll() is None else []
    send((process.pid, *family) if family else (), signal.SIGCONT)
    for number in signals:
        if process.poll() is None:
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
    process.kill()
    process.wait()
    bury(family)


def bury(orphans: Sequence[int], patience: float = 2.0) -> None:
    """Let the children of a dead server notice its death; kill those that do not."""
    if not wait_until(lambda: not any(map(alive, orphans)), patience):
        send(filter(alive, orphans), signal.SIGKILL)
        wait_until(lambda: not any(map(alive, orphans)), patience)


def _processes() -> Iterator[tuple[int, int, str]]:
    """Every process as (pid, parent's pid, state letter)."""
    if not Path("/proc/self/stat").exists():
        yield from _processes_by_ps()
        return
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            # "pid (name) state ppid ...", and the name may hold spaces and brackets.
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
