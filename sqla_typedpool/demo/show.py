"""What is printed: plain lines for pipes and logs, and the choice between them and a live table."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Protocol, TextIO

from sqla_typedpool.demo.leg import Progress
from sqla_typedpool.demo.report import Row

WIDTH = 79
PROGRESS_SECONDS = 2.0
"""Plain lines come this often, and when the phase changes."""


class Show(Protocol):
    """The ways to print a run."""

    def say(self, text: str = "") -> None:
        """Print one paragraph, wrapped."""

    def quote(self, text: str) -> None:
        """Print text that a program said, indented and not wrapped."""

    def watching(self) -> AbstractContextManager[None]:
        """Within this context `progress` shows how the legs stand."""
        raise NotImplementedError

    def progress(self, progress: Progress) -> None:
        """Show how a leg stands."""

    def compare(self, names: tuple[str, str], rows: Sequence[Row]) -> None:
        """Print the final table."""


def make_show(stream: TextIO, *, plain: bool) -> Show:
    """A live table where `stream` is a terminal and rich is installed, else plain lines."""
    dumb = os.environ.get("TERM") in ("dumb", "unknown")
    if plain or dumb or not stream.isatty() or find_spec("rich") is None:
        return PlainShow(stream)
    from sqla_typedpool.demo.live import LiveShow

    return LiveShow(stream)


class PlainShow:
    """Lines of text, each flushed as it comes, without colour or movement."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: Progress | None = None

    def say(self, text: str = "") -> None:
        """Print one paragraph, wrapped."""
        self._write(wrapped(text))

    def quote(self, text: str) -> None:
        """Print text that a program said, indented and not wrapped."""
        self._write(textwrap.indent(text, "    "))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Nothing to set up for plain lines."""
        yield

    def progress(self, progress: Progress) -> None:
        """Print a line now and then, and for every new phase."""
        if self._shown is None or _is_news(self._shown, progress):
            self._shown = progress
            self._write(progress_line(progress))

    def compare(self, names: tuple[str, str], rows: Sequence[Row]) -> None:
        """Print the final table."""
        self._write(plain_table(names, rows))

    def _write(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def wrapped(text: str) -> str:
    """A paragraph in lines of a readable length; a list item hangs behind its dash."""
    hang = "  " if text.startswith("- ") else ""
    return textwrap.fill(
        text, WIDTH, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False
    )


def progress_line(progress: Progress) -> str:
    """How a leg stands, on one line."""
    held = "no answer" if progress.connections is None else f"{progress.connections} connections"
    return (
        f"  {progress.elapsed:5.1f} s  {progress.pool:<10}  {progress.phase:<14}"
        f"  {progress.answered:>6,} answered  {progress.failed:>4,} failed  server: {held}"
    )


def plain_table(names: tuple[str, str], rows: Sequence[Row]) -> str:
    """The comparison as aligned text."""
    table = [Row("", *names), *rows]
    label = max(len(row.label) for row in table)
    stock = max(len(row.stock) for row in table)
    typed = max(len(row.typed) for row in table)
    lines = [f"{row.label:<{label}}  {row.stock:>{stock}}  {row.typed:>{typed}}" for row in table]
    rule = "-" * (label + stock + typed + 4)
    return "\n".join(line.rstrip() for line in (rule, lines[0], rule, *lines[1:], rule))


def _is_news(shown: Progress, progress: Progress) -> bool:
    same = (shown.pool, shown.phase) == (progress.pool, progress.phase)
    return not same or progress.elapsed - shown.elapsed >= PROGRESS_SECONDS
