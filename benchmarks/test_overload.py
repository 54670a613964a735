"""Goodput under overload; `python -m benchmarks.overload` measures more loads, and the growth."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from benchmarks import pools
from benchmarks.interleave import Goal, Reading
from benchmarks.open_loop import FIXED, MIXED, Phase, Times, Workload
from benchmarks.overload import CONNECTIONS, PATIENCE, run_once
from benchmarks.pools import Opener

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Runner

FULL_GOODPUT = [Goal("lost %", pools.TYPED, 5), Goal("reconnects", pools.TYPED, 1)]


@pytest.mark.parametrize(("times", "load"), [(FIXED, 1.5), (MIXED, 3.0)], ids=["fixed", "mixed"])
def test_goodput_under_overload(runner: Runner, server: URL, times: Times, load: float) -> None:
    phases = [Phase(0.6 if runner.quick else 6.0, load)]
    workload = Workload(CONNECTIONS, times, PATIENCE, phases, runner.seed)
    turns = {
        name: partial(one_run, opener, workload)
        for name, opener in pools.on_a_server(server).items()
    }
    runner.compare(f"overload, {times.name}, {load:g} x", turns, FULL_GOODPUT, rounds=2)


async def one_run(opener: Opener, workload: Workload) -> Reading:
    """Run the clients on a new pool; what is missing of the full goodput is `lost %`."""
    run = await run_once(opener, workload)
    reading = run.reading()
    return {**reading, "lost %": max(0.0, 100 - reading["goodput %"])}
