"""The same output on a terminal, with rich: a table that moves while the legs run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from sqla_typedpool.demo.leg import CONTENDERS, Progress
from sqla_typedpool.demo.report import Row, milliseconds
from sqla_typedpool.demo.show import wrapped

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


class LiveShow:
    """Prints through a rich console, which honours NO_COLOR and the terminal's width."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._shown: dict[str, Progress] = {}

    def say(self, text: str = "") -> None:
        """Print one paragraph, wrapped."""
        self._console.print(wrapped(text))

    def quote(self, text: str) -> None:
        """Print text that a program said, indented."""
        from rich.padding import Padding
        from rich.text import Text

        self._console.print(Padding(Text(text, style="yellow"), (0, 0, 0, 4)))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep a table at the bottom of the screen, until the final one takes its place."""
        from rich.live import Live

        live = Live(live_table({}), console=self._console, auto_refresh=False, transient=True)
        with live as self._live:
            yield
        self._live = None

    def progress(self, progress: Progress) -> None:
        """Draw the table anew."""
        self._shown[progress.pool] = progress
        if self._live:
            self._live.update(live_table(self._shown), refresh=True)

    def compare(self, names: tuple[str, str], rows: Sequence[Row]) -> None:
        """Print the final table."""
        self._console.print(final_table(names, rows))


def live_table(shown: dict[str, Progress]) -> Table:
    """How each leg stands; one that has not begun has a row too, so that nothing jumps."""
    table = _empty_table()
    table.add_column("pool")
    table.add_column("now", min_width=18)
    for heading in ("time", "answered", "failed", "checkout p50", "connections"):
        table.add_column(heading, justify="right")
    for contender in CONTENDERS:
        progress = shown.get(contender.name)
        cells = live_cells(progress) if progress else ["waits for its turn"]
        style = "red" if progress and progress.failed else None
        table.add_row(contender.name, *cells, style=style)
    return table


def live_cells(progress: Progress) -> list[str]:
    """One row of the live table."""
    return [
        progress.phase,
        f"{progress.elapsed:.0f} s",
        f"{progress.answered:,}",
        f"{progress.failed:,}",
        milliseconds(progress.p50_ms),
        "no answer" if progress.connections is None else str(progress.connections),
    ]


def final_table(names: tuple[str, str], rows: Sequence[Row]) -> Table:
    """The comparison; its headings are the rows without figures."""
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
