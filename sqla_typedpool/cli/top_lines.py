"""The texts of `sqla-typedpool top`, and its output as lines, one for each pool and second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sqla_typedpool.cli.top_client import Lost, State

QUANTILES = ("p50", "p95", "p99")


def clock(seconds: float) -> str:
    """Return the local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def condition(pool: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the condition of a pool, and whether all is well."""
    now, most = pool["now"], pool["max"]
    if pool["is_closed"]:
        return "closed", False
    if pool["outage_seconds"]:
        error = pool["last_connect_error"]
        text = f"outage: no connection could be opened for {pool['outage_seconds']:.0f} s"
        return f"{text}: {error}" if error else text, False
    if pool["is_overloaded"]:
        return "overloaded: callers give up before they are served", False
    if most is not None and now["in_use"] >= most and now["waiting"]:
        return f"every connection is in use, {now['waiting']} waiting", False
    return "working", True


def duration(measured: Mapping[str, Any], name: str, last_bound: float) -> str:
    """Return an upper bound of a quantile with its unit; "-" if nothing was measured."""
    if not measured["count"]:
        return "-"
    seconds = measured[name]
    if seconds is None:
        return f"> {last_bound:g} s"
    return f"<= {seconds:g} s" if seconds >= 1 else f"<= {seconds * 1000:g} ms"


def used(pool: Mapping[str, Any]) -> str:
    """Return how many connections are in use, and of how many."""
    in_use, most = pool["now"]["in_use"], pool["max"]
    return str(in_use) if most is None else f"{in_use} of {most}"


class Lines:
    """Prints states as lines: for files, pipes, and terminals without rich."""

    def __init__(self) -> None:
        self._reason = ""
        self._latest_event: float | None = None

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left to be shown."""

    def show(self, state: State | Lost) -> None:
        """Print a state; on standard error once why there is none."""
        if isinstance(state, Lost):
            if state.reason != self._reason:
                text = f"the application does not answer: {state.reason}; trying again"
                print(f"{clock(time.time())} {text}", file=sys.stderr, flush=True)
            self._reason = state.reason
            return
        self._reason = ""
        for each in (*self._new_events(state), *_lines(state)):
            print(each, flush=True)

    def _new_events(self, state: State) -> Iterator[str]:
        """Yield the events since the first state, the oldest first."""
        events = state["events"]
        seen = self._latest_event
        if seen is None:
            seen = state["time"]
        for each in reversed(events):
            if each["time"] > seen:
                yield f"{clock(each['time'])} {each['pool']}: {each['event']}: {each['message']}"
        self._latest_event = max((each["time"] for each in events), default=seen)


def _lines(state: State) -> Iterator[str]:
    for pool in state["pools"]:
        now, bound = pool["now"], state["last_bound"]
        parts = (
            f"{clock(state['time'])} {pool['name']}: {condition(pool)[0]}",
            f"in use {used(pool)}",
            *(f"{name} {now[name]}" for name in ("idle", "connecting", "waiting")),
            f"{pool['checkouts_per_second']:.1f} checkouts/s",
            f"wait p50 {duration(pool['wait'], 'p50', bound)}",
            f"p99 {duration(pool['wait'], 'p99', bound)}",
        )
        yield ", ".join(parts)
