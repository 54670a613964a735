"""`sqla-typedpool check --watch` in a process group of its own, with limits for every wait."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.commands import LEFT_OUT, ROOT

LIMIT = 30.0  # seconds, for each wait
CODE = r"exit code (\d+) after"


def save(file: Path, text: str) -> None:
    """Write a file in one step, so that no check finds it half written."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    os.replace(new, file)


class Watched:
    """The running command. What it prints is read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.err: list[str] = []
        self.out: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        assert process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for each in self._threads:
            each.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(line)
            if lines is self.err:
                self._lines.put(line)

    def next_code(self) -> int:
        """Wait for the end of the next check, and return its exit code."""
        return int(self.next_line(CODE)[1])

    def next_line(self, pattern: str) -> re.Match[str]:
        """Wait for a line on standard error in which a pattern is found."""
        while True:
            try:
                line = self._lines.get(timeout=LIMIT)
            except queue.Empty:
                raise AssertionError(f"no {pattern} in\n{''.join(self.err)}") from None
            if found := re.search(pattern, line):
                return found

    def end(self, number: signal.Signals, *, whole_group: bool = True) -> int:
        """Send a signal, as a terminal does, and return the exit code."""
        if whole_group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        for each in self._threads:
            each.join(LIMIT)
        return code

    @property
    def has_processes(self) -> bool:
        """Whether any process of the group exists."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@contextmanager
def watching(folder: Path, *arguments: str, **variables: str) -> Iterator[Watched]:
    """Run `check --watch` in a folder, and kill what is left of it at the end."""
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    process = subprocess.Popen(
        [sys.executable, "-m", "sqla_typedpool", "check", "--watch", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield Watched(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
