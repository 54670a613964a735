"""Printing: what an output can do, and the output in plain lines for pipes and logs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from examples.demo.pool_run import Progress
from examples.demo.report import Row

WIDTH = 79
LINE_SECONDS = 2.0
"""A plain line of progress is printed this often, and when the phase changes."""


class Output(Protocol):
    """A way to print the demo."""

    def paragraph(self, text: str = "") -> None:
        """Print one paragraph, wrapped."""

    def indented(self, text: str) -> None:
        """Print code, values or messages: indented and not wrapped."""

    def showing_progress(self) -> AbstractContextManager[None]:
        """Return a context within which `progress` may be called."""
        raise NotImplementedError

    def progress(self, progress: Progress) -> None:
        """Show the progress of a run."""

    def table(self, names: tuple[str, str], rows: Sequence[Row]) -> None:
        """Print the final table."""


class PlainOutput:
    """Prints lines of text and flushes each of them; no colours, nothing is overwritten."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: Progress | None = None

    def paragraph(self, text: str = "") -> None:
        """Print one paragraph, wrapped."""
        self._write(wrapped(text))

    def indented(self, text: str) -> None:
        """Print code, values or messages: indented and not wrapped."""
        self._write(textwrap.indent(text, "    "))

    @contextmanager
    def showing_progress(self) -> Iterator[None]:
        """Plain lines need no preparation."""
        yield

    def progress(self, progress: Progress) -> None:
        """Print a line for a new phase, and every `LINE_SECONDS`."""
        if self._shown is None or _is_due(self._shown, progress):
            self._shown = progress
            self._write(progress_line(progress))

    def table(self, names: tuple[str, str], rows: Sequence[Row]) -> None:
        """Print the final table."""
        self._write(plain_table(names, rows))

    def _write(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def wrapped(text: str) -> str:
    """Wrap a paragraph; the further lines of a list item are indented."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def progress_line(progress: Progress) -> str:
    """Format the progress of a run as one line."""
    held = "no answer" if progress.connections is None else f"{progress.connections} connections"
    return (
        f"  {progress.elapsed:5.1f} s  {progress.pool:<10}  {progress.phase:<14}"
        f"  {progress.completed:>6,} completed  {progress.failed:>4,} failed  server: {held}"
    )


def plain_table(names: tuple[str, str], rows: Sequence[Row]) -> str:
    """Format the comparison as aligned text."""
    table = [Row("", *names), *rows]
    label = max(len(row.label) for row in table)
    stock = max(len(row.stock) for row in table)
    typed = max(len(row.typed) for row in table)
    lines = [f"{row.label:<{label}}  {row.stock:>{stock}}  {row.typed:>{typed}}" for row in table]
    rule = "-" * (label + stock + typed + 4)
    return "\n".join(line.rstrip() for line in (rule, lines[0], rule, *lines[1:], rule))


def _is_due(shown: Progress, progress: Progress) -> bool:
    same = (shown.pool, shown.phase) == (progress.pool, progress.phase)
    return not same or progress.elapsed - shown.elapsed >= LINE_SECONDS
