"""A temporary directory whose folders and programs a test can list."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqla_typedpool.embedded import folders, process


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Yield a directory that every account may enter, and end what runs in it at the end."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="typedpool-ends-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        process.send(programs_in(folder), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def programs_in(folder: Path) -> list[int]:
    """Return the processes whose command line contains the folder."""
    return [pid for pid, command in process.command_lines() if f"{folder}/" in command]


def folders_in(temporary: Path) -> list[Path]:
    """Return the folders of servers."""
    return list(temporary.glob(f"{folders.PREFIX}*"))
