"""Goodput under overload, in a short form of `python -m benchmarks.overload`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from benchmarks import pools
from benchmarks.interleave import Goal, Reading
from benchmarks.open_loop import Phase, Workload
from benchmarks.overload import SCENARIOS, run_once
from benchmarks.pools import Opener

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Runner

FULL_GOODPUT = [Goal("lost %", pools.TYPED, 5), Goal("reconnects %", pools.TYPED, 0.1)]


@pytest.mark.parametrize(("scenario", "load"), [("fixed", 1.5), ("mixed", 3.0)])
def test_goodput_under_overload(runner: Runner, server: URL, scenario: str, load: float) -> None:
    chosen = SCENARIOS[scenario]
    workload = chosen.workload([Phase(0.6 if runner.quick else 4.0, load)], runner.seed)
    turns = {
        name: partial(one_run, opener, workload)
        for name, opener in pools.on_a_server(server).items()
    }
    title = f"overload: {chosen.title}, {load:g} x"
    # each run opens a pool of its own, so there is nothing to warm up
    runner.compare(title, turns, FULL_GOODPUT, rounds=2, warms_up=False)


async def one_run(opener: Opener, workload: Workload) -> Reading:
    """Run the clients on a new pool; what is missing of the full goodput is `lost %`."""
    run = await run_once(opener, workload)
    reading = run.reading()
    return {**reading, "lost %": max(0.0, 100 - reading["goodput %"])}
