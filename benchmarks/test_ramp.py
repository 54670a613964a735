"""The opposite of the spike: requests that stay, so that a careful pool must grow after all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import lineup, workloads
from benchmarks.contestants import Opener, Sizes
from benchmarks.interleave import Goal, Reading

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Stage

REQUESTS = 50
HOLD = 2.0
SIZES = Sizes(core=50, most=50)
CONNECT_DELAY = 0.15

WITHIN_A_SECOND = [Goal("all running ms", lineup.TYPED, 1000)]


def test_ramp_without_a_server(stage: Stage) -> None:
    """Every connect takes 150 ms, however many run at a time."""
    ramps(stage, "on the stub, each connect 150 ms", lineup.on_the_stub(), CONNECT_DELAY)


def test_ramp_on_a_server(stage: Stage, server: URL) -> None:
    """Every connect costs what PostgreSQL takes to start a backend."""
    ramps(stage, "on PostgreSQL", lineup.on_a_server(server), 0)


def ramps(stage: Stage, where: str, openers: Mapping[str, Opener], delay: float) -> None:
    turns = {name: partial(one_ramp, opener, delay) for name, opener in openers.items()}
    stage.race(f"ramp {where}", turns, WITHIN_A_SECOND, rounds=10)


async def one_ramp(opener: Opener, delay: float) -> Reading:
    """A cold pool of its own."""
    pool = await opener(SIZES)
    pool.dials.delay = delay
    reading = await workloads.ramp(pool, REQUESTS, HOLD)
    await pool.close()
    return {**reading, "new": pool.dials.attempts}
