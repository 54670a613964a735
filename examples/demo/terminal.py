"""The output on a terminal, with rich: a table that is updated while the load runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TextIO

from examples.demo.output import Output, PlainOutput, wrapped
from examples.demo.pool_run import STOCK, TYPED, Progress
from examples.demo.report import Row, milliseconds
from sqla_typedpool.cli.colors import can_overwrite, has_colors

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


def output_for(stream: TextIO, *, plain: bool, color: bool | None = None) -> Output:
    """Return the terminal's output if `stream` is a terminal and rich is installed, else plain.

    :param color: the value of ``--color``.
    """
    if plain or not can_overwrite(stream) or find_spec("rich") is None:
        return PlainOutput(stream)
    return TerminalOutput(stream, has_colors=has_colors(stream, color))


class TerminalOutput:
    """Prints through a rich console, which respects the terminal's width."""

    def __init__(self, stream: TextIO, *, has_colors: bool) -> None:
        from rich.console import Console

        self._console = Console(
            file=stream, no_color=not has_colors, highlight=False, markup=False, emoji=False
        )
        self._live: Live | None = None
        self._shown: dict[str, Progress] = {}

    def paragraph(self, text: str = "") -> None:
        """Print one paragraph, wrapped."""
        self._console.print(wrapped(text))

    def indented(self, text: str) -> None:
        """Print code, values or messages: indented."""
        from rich.padding import Padding
        from rich.text import Text

        self._console.print(Padding(Text(text, style="yellow"), (0, 0, 0, 4)))

    @contextmanager
    def showing_progress(self) -> Iterator[None]:
        """Keep a table at the bottom of the screen, and remove it at the end."""
        from rich.live import Live

        live = Live(live_table({}), console=self._console, auto_refresh=False, transient=True)
        with live as self._live:
            yield
        self._live = None

    def progress(self, progress: Progress) -> None:
        """Update the table."""
        self._shown[progress.pool] = progress
        if self._live:
            self._live.update(live_table(self._shown), refresh=True)

    def table(self, names: tuple[str, str], rows: Sequence[Row]) -> None:
        """Print the final table."""
        self._console.print(final_table(names, rows))


def live_table(shown: dict[str, Progress]) -> Table:
    """Return the table of both runs; the second has a row from the start, so nothing moves."""
    table = _empty_table()
    table.collapse_padding = True  # its columns need all of 80
    table.add_column("pool")
    table.add_column("phase", min_width=len("server is down"))
    for heading in ("time", "completed", "failed", "checkout p50", "connections"):
        table.add_column(heading, justify="right")
    for setup in (STOCK, TYPED):
        progress = shown.get(setup.name)
        cells = live_cells(progress) if progress else ["not started"]
        style = "red" if progress and progress.failed else None
        table.add_row(setup.name, *cells, style=style)
    return table


def live_cells(progress: Progress) -> list[str]:
    """Return the cells of one row of the live table, without the pool's name."""
    return [
        progress.phase,
        f"{progress.elapsed:.0f} s",
        f"{progress.completed:,}",
        f"{progress.failed:,}",
        milliseconds(progress.p50_ms),
        "no answer" if progress.connections is None else str(progress.connections),
    ]


def final_table(names: tuple[str, str], rows: Sequence[Row]) -> Table:
    """Return the comparison as a table of rich, with its headings in bold."""
    table = _empty_table()
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row, style=None if row.label.startswith(" ") else "bold")
    return table


def _empty_table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, header_style="bold cyan", pad_edge=False)
