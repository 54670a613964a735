"""A ramp: many long requests on a cold pool, which has to open a connection for each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import pools, workloads
from benchmarks.interleave import Goal, Reading
from benchmarks.pools import Opener, Sizes

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Runner

REQUESTS = 50
HOLD = 2.0
SIZES = Sizes(core=50, most=50)
CONNECT_DELAY = 0.15

WITHIN_A_SECOND = [Goal("all running ms", pools.TYPED, 1000)]


def test_ramp_without_a_server(runner: Runner) -> None:
    """Every connect takes 150 ms, however many run at the same time."""
    ramps(runner, "on the stub, each connect 150 ms", pools.on_the_stub(), CONNECT_DELAY)


def test_ramp_on_a_server(runner: Runner, server: URL) -> None:
    """Every connect takes as long as PostgreSQL needs to start a backend."""
    ramps(runner, "on PostgreSQL", pools.on_a_server(server), 0)


def ramps(runner: Runner, where: str, openers: Mapping[str, Opener], delay: float) -> None:
    turns = {name: partial(one_ramp, opener, delay) for name, opener in openers.items()}
    runner.compare(f"ramp {where}", turns, WITHIN_A_SECOND, rounds=10)


async def one_ramp(opener: Opener, delay: float) -> Reading:
    """Open a new, cold pool and run the workload on it."""
    pool = await opener(SIZES)
    pool.connects.delay = delay
    reading = await workloads.ramp(pool, REQUESTS, HOLD)
    await pool.close()
    return {**reading, "new": pool.connects.attempts}
