"""A process that is ended leaves no server and no folder, or the next start removes them.

The programs of most tests are Python processes that sleep, in place of a server.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from sqla_typedpool.embedded import folders, process
from sqla_typedpool.embedded.folders import ServerFolder, remove_abandoned
from tests.embedded.temporary import folders_in, programs_in

LIMIT = 20.0  # seconds, for each wait
SLEEP = "import time; time.sleep(60)"


class Owner(NamedTuple):
    """A process that has started a program in a folder of its own."""

    folder: Path
    program: int
    child: int  # a fork of the owner

    @property
    def has_left(self) -> tuple[bool, bool]:
        """Whether the folder and the program exist."""
        return self.folder.exists(), process.alive(self.program)


@contextmanager
def owner() -> Iterator[Owner]:
    """Fork an owner, and kill it at the end of the block. The child of the owner lives on."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            own_and_wait(writing)
        finally:
            os._exit(1)
    try:
        folder, program, child = os.read(reading, 1000).decode().split()
        yield Owner(Path(folder), int(program), int(child))
    finally:
        os.close(reading)
        os.close(writing)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def own_and_wait(writing: int) -> None:
    folder = ServerFolder()
    command = [sys.executable, "-c", SLEEP, str(folder.path / "data")]
    program = process.spawn(command, folder.path / "server.log", None)
    if os.fork() == 0:
        os.write(writing, f"{folder.path} {program.pid} {os.getpid()}".encode())
    time.sleep(LIMIT)


def killed_owner() -> Owner:
    """Kill an owner and its child, and return what it had."""
    with owner() as killed:
        os.kill(killed.child, signal.SIGKILL)
    assert process.wait_until(lambda: not process.alive(killed.child), LIMIT)
    # The program has its final command line when it is the new program, not yet the fork.
    assert process.wait_until(lambda: killed.program in programs_in(killed.folder), LIMIT)
    return killed


def test_the_next_start_ends_the_program_of_a_killed_owner_and_removes_its_folder(
    temporary: Path,
) -> None:
    killed = killed_owner()
    assert killed.has_left == (True, True)
    ServerFolder().remove()
    assert killed.has_left == (False, False)


def test_a_stopped_program_is_ended_too(temporary: Path) -> None:
    killed = killed_owner()
    os.kill(killed.program, signal.SIGSTOP)
    remove_abandoned([temporary])
    assert killed.has_left == (False, False)


def test_nothing_of_a_running_owner_is_touched(temporary: Path) -> None:
    own = ServerFolder()
    with owner() as other:
        os.kill(other.child, signal.SIGKILL)
        remove_abandoned([temporary])
        assert own.path.exists()
        assert other.has_left == (True, True)
    own.remove()


def test_a_forked_child_does_not_keep_the_folder_of_its_dead_parent(temporary: Path) -> None:
    with owner() as killed:
        pass
    try:
        assert process.alive(killed.child)
        remove_abandoned([temporary])
        assert killed.has_left == (False, False)
    finally:
        os.kill(killed.child, signal.SIGKILL)


def test_a_folder_without_a_lock_file_is_left_alone(temporary: Path) -> None:
    folder = temporary / f"{folders.PREFIX}of-somebody"
    folder.mkdir()
    remove_abandoned([temporary])
    assert folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_folder_of_another_user_is_left_alone(temporary: Path) -> None:
    killed = killed_owner()
    os.chown(killed.folder / process.LOCK_FILE, 65534, 65534)
    remove_abandoned([temporary])
    assert killed.has_left == (True, True)


def test_a_link_to_a_folder_is_left_alone(temporary: Path) -> None:
    folder = killed_owner().folder
    target = folder.rename(temporary / "elsewhere")
    folder.symlink_to(target)
    remove_abandoned([temporary])
    assert (target / process.LOCK_FILE).exists()


def test_a_process_that_only_uses_a_file_of_the_folder_is_not_ended(temporary: Path) -> None:
    killed = killed_owner()
    folder = killed.folder
    command = [sys.executable, "-c", SLEEP, str(folder / "server.log")]
    with subprocess.Popen(command) as reader:
        # A pid file that has the number of another process, as after a reuse of the number.
        (folder / "data").mkdir()
        (folder / "data" / "postmaster.pid").write_text(f"{reader.pid}\n")
        (folder / "pid").write_text(f"{reader.pid}\n")
        try:
            remove_abandoned([temporary])
            assert process.alive(reader.pid)
        finally:
            reader.kill()
    assert killed.has_left == (False, False)


def test_a_command_without_the_name_of_the_folder_is_not_ended(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = temporary / f"{folders.PREFIX}own"
    folder.mkdir()
    program = f"postgres -D {folder}/data"
    (folder / process.COMMANDS_FILE).write_text(f"sleep 60\n\n{program}\n")
    # No real processes: if this test failed, all processes of this machine could be ended.
    listed = [
        (1, "init"),
        (2, "sleep 60"),
        (3, f"tail {folder}/log"),
        (4, f"sh {program}"),
        (5, ""),
    ]
    monkeypatch.setattr(process, "command_lines", lambda: listed)
    assert list(folders._programs_of(folder)) == [4]


def test_several_starts_at_once_remove_a_folder_without_an_error(temporary: Path) -> None:
    abandoned = [killed_owner().folder for _ in range(2)]
    errors: list[BaseException] = []

    def start() -> None:
        try:
            ServerFolder().remove()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(LIMIT)
    assert errors == []
    assert not any(each.exists() for each in abandoned)
    assert folders_in(temporary) == []


def test_a_folder_that_cannot_be_removed_does_not_fail_the_start(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_owner()
    os.mkfifo(temporary / f"{folders.PREFIX}not-a-folder")

    def refuse() -> Iterator[tuple[int, str]]:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(process, "command_lines", refuse)
        own = ServerFolder()
    assert own.path.exists()
    own.remove()


def test_processes_are_listed_without_proc_too() -> None:
    command = [sys.executable, "-c", SLEEP, "argument of the listed process"]
    with subprocess.Popen(command) as listed:
        try:
            expected = (listed.pid, " ".join(command))
            assert process.wait_until(lambda: expected in process.command_lines(), LIMIT)
            if shutil.which("ps"):
                assert expected in process._command_lines_by_ps()
        finally:
            listed.kill()
