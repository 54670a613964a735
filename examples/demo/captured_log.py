"""Log records of the runs, kept for the end: printed at once they would break the live table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class CapturedLog(logging.Handler):
    """Keeps every warning and error of all loggers."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.entries: list[tuple[str, str]] = []
        """Each record as (message template, formatted line)."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record; `logging` calls this, in any thread."""
        line = f"{record.levelname} {record.name}: {self.format(record)}"
        self.entries.append((str(record.msg), line))

    @property
    def lines(self) -> list[str]:
        """The formatted lines of all records."""
        return [line for _, line in self.entries]


@contextmanager
def captured_log() -> Iterator[CapturedLog]:
    """Within this context log records are kept instead of printed."""
    log = CapturedLog()
    root = logging.getLogger()
    root.addHandler(log)  # `logging` prints to standard error only if the root has no handler
    try:
        yield log
    finally:
        root.removeHandler(log)


def summary(entries: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each message template: the first record, with the number of others."""
    first: dict[str, str] = {}
    more: dict[str, int] = {}
    for template, line in entries:
        more[template] = more.get(template, -1) + 1
        first.setdefault(template, line.partition("\n")[0])
    return [
        line + (f" (and {more[template]} similar)" if more[template] else "")
        for template, line in first.items()
    ]
