"""What the pools logged during a leg, kept for the end: lines in between would break the table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Logbook(logging.Handler):
    """Keeps every warning and error, of whatever logger, as (message template, line)."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.entries: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record; called by logging, from any thread."""
        line = f"{record.levelname} {record.name}: {self.format(record)}"
        self.entries.append((str(record.msg), line))

    @property
    def lines(self) -> list[str]:
        """Everything that was logged."""
        return [line for _, line in self.entries]


@contextmanager
def logbook() -> Iterator[Logbook]:
    """Within this context log records are kept instead of printed."""
    book = Logbook()
    root = logging.getLogger()
    root.addHandler(book)  # with a handler there, logging prints nothing of its own accord
    try:
        yield book
    finally:
        root.removeHandler(book)


def digest(entries: Sequence[tuple[str, str]]) -> list[str]:
    """One line for each kind of message, the first of its kind, with how many more came."""
    first: dict[str, str] = {}
    more: dict[str, int] = {}
    for template, line in entries:
        more[template] = more.get(template, -1) + 1
        first.setdefault(template, line)
    return [
        line + (f" (and {more[template]} more like it)" if more[template] else "")
        for template, line in first.items()
    ]
