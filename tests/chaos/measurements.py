"""What the chaos test measures: durations, logs, file descriptors, memory."""

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


class LongestDurations:
    """The longest duration of each kind, and how many there were."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.count: Counter[str] = Counter()

    def add(self, kind: str, seconds: float) -> None:
        """Add a duration of this kind."""
        self.count[kind] += 1
        self.seconds[kind] = max(seconds, self.seconds.get(kind, 0.0))

    def __str__(self) -> str:
        return ", ".join(
            f"{kind} {self.seconds[kind]:.2f} s of {self.count[kind]}"
            for kind in sorted(self.seconds)
        )


class LogRecorder(logging.Handler):
    """Stores log records as text: stored records would keep tracebacks, frames and sockets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.recent: deque[str] = deque(maxlen=60)

    def emit(self, record: logging.LogRecord) -> None:
        first = str(record.msg).splitlines()[0][:60]
        self.counts[record.name, record.levelname, first] += 1
        error = record.exc_info[1] if record.exc_info else None
        cause = "" if error is None else f" <- {error!r:.200}"
        self.recent.append(f"{record.levelname} {record.name}: {record.getMessage():.300}{cause}")


@contextmanager
def logs_as_text() -> Iterator[LogRecorder]:
    """Within the block, log records go to a `LogRecorder` and nowhere else."""
    root, recorder = logging.getLogger(), LogRecorder()
    saved, root.handlers = root.handlers, [recorder]
    try:
        yield recorder
    finally:
        root.handlers = saved


def count_descriptors() -> int:
    """How many file descriptors this process has open."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    return len(os.listdir(folder))


def open_files() -> str:
    """A list of the open descriptors; for sockets with both addresses."""
    lines: list[str] = []
    for name in (
        sorted(os.listdir("/proc/self/fd"), key=int) if os.path.isdir("/proc/self/fd") else ()
    ):
        with suppress(OSError):
            lines.append(f"{name} {os.readlink('/proc/self/fd/' + name)}")
            with socket.socket(fileno=os.dup(int(name))) as copy:
                lines[-1] += f" {copy.getsockname()} -> {copy.getpeername()}"
    return "\n    ".join((f"{len(lines)} open:", *lines))


class Memory:
    """Memory that is allocated while the load is paused and no operation is running.

    It counts blocks of Python's allocator: the count is exact, costs nothing while the load runs,
    and does not depend on how the system treats freed pages. The process's resident bytes are
    measured as well, since C libraries allocate without Python, but with a coarse limit.
    """

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self.bytes: list[int] = []
        self._first: Counter[str] = Counter()
        self._last: Counter[str] = Counter()

    def measure(self) -> None:
        """Collect the garbage and add a sample."""
        for _ in range(3):  # finalisers create new garbage
            gc.collect()
        self.blocks.append(sys.getallocatedblocks())
        self.bytes.append(resident_bytes())
        self._last = Counter(type(each).__qualname__ for each in gc.get_objects())
        if len(self.blocks) <= 2:
            self._first = self._last

    def growth(self) -> int:
        """How many blocks were added, see `growth_of`."""
        return growth_of(self.blocks)

    def growth_in_bytes(self) -> int:
        """How many resident bytes were added."""
        return growth_of(self.bytes)

    def grown_types(self) -> list[tuple[str, int]]:
        """The types with more objects than at the second sample, for the message of a failure."""
        return (self._last - self._first).most_common(8)


def growth_of(samples: list[int]) -> int:
    """By how much the median of the second half exceeds that of the first half.

    The first sample is left out, since caches are being filled then. With fewer than four further
    samples the result is 0.
    """
    counted = samples[1:]
    half = len(counted) // 2
    return int(median(counted[half:]) - median(counted[:half])) if half >= 2 else 0


def resident_bytes() -> int:
    """The memory of this process; 0 where there is no /proc."""
    with suppress(OSError), open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
    return 0
