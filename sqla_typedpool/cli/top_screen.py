"""The screen of `sqla-typedpool top`, with rich."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sqla_typedpool.cli.top_client import Lost, State
from sqla_typedpool.cli.top_lines import QUANTILES, clock, condition, duration, used

_BARS: Final = (
    ("in_use", "in use", "blue"),
    ("idle", "idle", "cyan"),
    ("connecting", "connecting", "yellow"),
    ("waiting", "waiting", "red"),
)
_TOTALS: Final = (
    *("timeouts", "cancelled", "saturated", "shed", "connect_failures", "leaks"),
    *("dirty_returns", "overloads"),
)
_NARROW: Final = 90  # columns
_FIXED_LINES: Final = 14  # of a pool, without its holders
_EVENTS: Final = 5


class Screen:
    """Shows the latest state on the whole terminal, and removes it at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._latest: State | None = None

    def __enter__(self) -> Screen:
        self._live.start()
        self.show(Lost(""))
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, state: State | Lost) -> None:
        """Show a state, or the latest one and why there is none."""
        if not isinstance(state, Lost):
            self._latest = state
        width, height = self._console.size
        below = [] if self._latest is None else [screen(self._latest, width, height)]
        self._live.update(Group(_head(state, self._latest), *below), refresh=True)


def _head(state: State | Lost, latest: State | None) -> Text:
    if not isinstance(state, Lost):
        text = f"{clock(state['time'])}  process {state['worker']}  (Ctrl-C ends)"
        return Text(text, style="dim", no_wrap=True, overflow="ellipsis")
    if not state.reason:
        return Text("connecting ...", style="dim")
    since = "" if latest is None else f"; the latest state is of {clock(latest['time'])}"
    reason = f"{clock(time.time())}  the application does not answer: {state.reason}"
    return Text(f"{reason}; trying again{since}", style="bold red")


def screen(state: State, width: int, height: int) -> RenderableType:
    """Return what is shown of a state on a terminal of this size."""
    pools = state["pools"]
    events = state["events"][:_EVENTS]
    free = height - 1 - len(events) - _FIXED_LINES * len(pools)
    most_holders = max(1, free // max(1, len(pools)))
    parts = [_pool(each, state["last_bound"], width, most_holders) for each in pools]
    return Group(*parts, *(_event(each) for each in events))


def _event(event: Mapping[str, Any]) -> Text:
    text = f"{clock(event['time'])} {event['pool']}: {event['event']}: {event['message']}"
    style = "red" if event["level"] == "ERROR" else "yellow"
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _pool(
    pool: Mapping[str, Any], last_bound: float, width: int, most_holders: int
) -> RenderableType:
    text, is_good = condition(pool)
    text = f"{text}, {pool['checkouts_per_second']:.1f} checkouts/s"
    style = "green" if is_good else "bold red"
    body = Group(
        Text(text, style=style, no_wrap=True, overflow="ellipsis"),
        *_bars(pool, width),
        _durations(pool, last_bound),
        *_totals(pool),
        _holders(pool, width, most_holders),
    )
    title = Text(pool["name"], style="bold", overflow="ellipsis", no_wrap=True)
    return Panel(body, title=title, title_align="left", border_style="dim" if is_good else "red")


def _bars(pool: Mapping[str, Any], width: int) -> Iterator[Text]:
    """Yield a bar for each state of a connection, and one for the callers that wait."""
    now = pool["now"]
    longest = max(1, pool["max"] or 0, *now.values())
    values = {name: str(now[name]) for name, _, _ in _BARS} | {"in_use": used(pool)}
    room = max(5, min(60, width - 16 - max(map(len, values.values()))))
    for name, label, colour in _BARS:
        filled = min(room, -(-now[name] * room // longest))  # at least one, unless it is 0
        line = Text(f"{label:>10} ", no_wrap=True, overflow="crop")
        line.append("█" * filled, style=colour).append("·" * (room - filled), style="dim")
        yield line.append(f" {values[name]}")


def _durations(pool: Mapping[str, Any], last_bound: float) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for each in QUANTILES:
        table.add_column(each, justify="right", no_wrap=True)
    for name in ("wait", "use"):
        found = (duration(pool[name], each, last_bound) for each in QUANTILES)
        table.add_row(name, *(each.replace("<=", "≤") for each in found))
    return table


def _totals(pool: Mapping[str, Any]) -> Iterator[Text]:
    counted = {
        name.replace("_", " "): pool["totals"][name] for name in _TOTALS if pool["totals"][name]
    }
    for label, numbers in (("since the start", counted), ("closed", pool["closed"])):
        if numbers:
            shown = ", ".join(f"{name} {count}" for name, count in numbers.items())
            yield Text(f"{label}: {shown}", no_wrap=True, overflow="ellipsis")


def _holders(pool: Mapping[str, Any], width: int, most: int) -> RenderableType:
    if not pool["holders"]:
        return Text("nobody holds a connection", style="dim")
    is_wide = width >= _NARROW
    has_query = is_wide and any(each["query"] for each in pool["holders"])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    table.add_column("held", justify="right", no_wrap=True)
    table.add_column("by", no_wrap=True, overflow="ellipsis", ratio=2)
    if has_query:
        table.add_column("query", no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column("at", no_wrap=True, overflow="ellipsis", ratio=3)
    for each in pool["holders"][:most]:
        query, place = each["query"] or "", _short(each["where"] or "", 3 if is_wide else 1)
        cells = [f"{each['seconds']:.1f} s", each["label"] or each["task"]]
        cells += [query, place] if has_query else [query or place]
        table.add_row(*map(Text, cells))
    more = pool["held"] - min(most, len(pool["holders"]))
    return table if more <= 0 else Group(table, Text(f"and {more} more", style="dim"))


def _short(place: str, parts: int) -> str:
    """Return a place with the last parts of the path of its file only."""
    path, line, rest = place.partition(".py:")
    return "/".join(path.split("/")[-parts:]) + line + rest
