"""HikariCP's spike: a few warm connections, many short requests at once, and a slow connect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import pools, workloads
from benchmarks.interleave import Goal, Reading, Turn
from benchmarks.pools import Opener, Sizes

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Runner

REQUESTS = 50
HOLD = 0.002
CONNECT_DELAY = 0.15
WARM = 5

SMALL = Sizes(core=5, most=50, warm=WARM)
LARGE = Sizes(core=50, most=50, warm=WARM)

FEW_NEW = [Goal("new", name, 2) for name in (f"{pools.TYPED} 5+45", f"{pools.TYPED} 50+0")]


def test_spike_without_a_server(runner: Runner) -> None:
    openers = pools.on_the_stub()
    runner.compare("spike on the stub", spikes(openers, openers), FEW_NEW, rounds=10)


def test_spike_on_a_server(runner: Runner, server: URL) -> None:
    openers = pools.on_a_server(server)
    engines = {name: openers[name] for name in (pools.TYPED, pools.STOCK)}
    runner.compare("spike on PostgreSQL", spikes(openers, engines), FEW_NEW, rounds=10)


def spikes(openers: Mapping[str, Opener], engines: Mapping[str, Opener]) -> dict[str, Turn]:
    """A turn for each pool; SQLAlchemy's pools with and without overflow."""
    with_overflow = {f"{name} 5+45": partial(one_spike, engines[name], SMALL) for name in engines}
    at_full_size = {f"{name} 50+0": partial(one_spike, engines[name], LARGE) for name in engines}
    drivers = {
        name: partial(one_spike, opener, SMALL)
        for name, opener in openers.items()
        if name not in engines
    }
    return {**with_overflow, **at_full_size, **drivers}


async def one_spike(opener: Opener, sizes: Sizes) -> Reading:
    """Open and warm a new pool, make its connects slow, and run the workload on it."""
    pool = await opener(sizes)
    opened_before = pool.connects.attempts
    pool.connects.delay = CONNECT_DELAY
    reading = await workloads.spike(pool, REQUESTS, HOLD)
    await asyncio.sleep(2 * CONNECT_DELAY)  # attempts under way end
    await pool.close()
    return {**reading, "new": pool.connects.attempts - opened_before}
