"""What the chaos test measures: durations, logs, descriptors, memory."""

from __future__ import annotations

import gc
import logging
import os
import resource
import socket
import sys
from collections import Counter, deque
from contextlib import contextmanager, suppress
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Longest:
    """The longest duration of each kind, and how many there were."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.count: Counter[str] = Counter()

    def add(self, kind: str, seconds: float) -> None:
        self.count[kind] += 1
        self.seconds[kind] = max(seconds, self.seconds.get(kind, 0.0))

    def __str__(self) -> str:
        return ", ".join(
            f"{kind} {self.seconds[kind]:.2f} s of {self.count[kind]}"
            for kind in sorted(self.seconds)
        )


class Logbook(logging.Handler):
    """Log records as text. pytest keeps the records, and with them tracebacks, frames, sockets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kinds: Counter[tuple[str, str, str]] = Counter()
        self.last: deque[str] = deque(maxlen=60)

    def emit(self, record: logging.LogRecord) -> None:
        first = str(record.msg).splitlines()[0][:60]
        self.kinds[record.name, record.levelname, first] += 1
        error = record.exc_info[1] if record.exc_info else None
        because = "" if error is None else f" <- {error!r:.200}"
        self.last.append(f"{record.levelname} {record.name}: {record.getMessage():.300}{because}")


@contextmanager
def logs_as_text() -> Iterator[Logbook]:
    """All that is logged goes to a logbook and nowhere else."""
    root, book = logging.getLogger(), Logbook()
    others, root.handlers = root.handlers, [book]
    try:
        yield book
    finally:
        root.handlers = others


def descriptors() -> int:
    """How many file descriptors this process has open."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    return len(os.listdir(folder))


def open_files() -> str:
    """What they are; of sockets, who is at the other end."""
    lines: list[str] = []
    for name in (
        sorted(os.listdir("/proc/self/fd"), key=int) if os.path.isdir("/proc/self/fd") else ()
    ):
        with suppress(OSError):
            lines.append(f"{name} {os.readlink('/proc/self/fd/' + name)}")
            with socket.socket(fileno=os.dup(int(name))) as twin:
                lines[-1] += f" {twin.getsockname()} -> {twin.getpeername()}"
    return "\n    ".join((f"{len(lines)} descriptors:", *lines))


class Memory:
    """What is allocated at moments of calm, when nothing is under way.

    Blocks of Python's allocator are counted, and not bytes of the process alone: the count is
    exact, costs nothing while the load runs, and does not depend on what the system does with
    freed pages. The bytes are watched as well, for what C libraries take, but coarsely.
    """

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self.bytes: list[int] = []
        self._first: Counter[str] = Counter()
        self._last: Counter[str] = Counter()

    def look(self) -> None:
        for _ in range(3):  # finalisers leave new garbage
            gc.collect()
        self.blocks.append(sys.getallocatedblocks())
        self.bytes.append(resident_bytes())
        self._last = Counter(type(each).__qualname__ for each in gc.get_objects())
        if len(self.blocks) <= 2:
            self._first = self._last

    def growth(self) -> int:
        """In blocks, as `grown` tells."""
        return grown(self.blocks)

    def growth_in_bytes(self) -> int:
        return grown(self.bytes)

    def grown_kinds(self) -> list[tuple[str, int]]:
        """The types that have become more since the second look, for a failure's message."""
        return (self._last - self._first).most_common(8)


def grown(looks: list[int]) -> int:
    """How much more the median look of the second half is than that of the first half.

    The first look is left out: caches are being filled then. Of fewer than four others nothing is
    said.
    """
    later = looks[1:]
    half = len(later) // 2
    return int(median(later[half:]) - median(later[:half])) if half >= 2 else 0


def resident_bytes() -> int:
    """The memory of this process; 0 where there is no /proc."""
    with suppress(OSError), open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
    return 0
