"""HikariCP's spike: a few warm connections, many short requests at once, and a slow connect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import lineup, workloads
from benchmarks.contestants import Opener, Sizes
from benchmarks.interleave import Goal, Reading, Turn

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Stage

REQUESTS = 50
HOLD = 0.002
CONNECT_DELAY = 0.15
WARM = 5

SMALL = Sizes(core=5, most=50, warm=WARM)
LARGE = Sizes(core=50, most=50, warm=WARM)

FEW_NEW = [Goal("new", name, 2) for name in (f"{lineup.TYPED} 5+45", f"{lineup.TYPED} 50+0")]


def test_spike_without_a_server(stage: Stage) -> None:
    openers = lineup.on_the_stub()
    stage.race("spike on the stub", spikes(openers, openers), FEW_NEW, rounds=10)


def test_spike_on_a_server(stage: Stage, server: URL) -> None:
    openers = lineup.on_a_server(server)
    engines = {name: openers[name] for name in (lineup.TYPED, lineup.STOCK)}
    stage.race("spike on PostgreSQL", spikes(openers, engines), FEW_NEW, rounds=10)


def spikes(openers: Mapping[str, Opener], engines: Mapping[str, Opener]) -> dict[str, Turn]:
    """A turn for each contestant; SQLAlchemy's pools with and without overflow."""
    with_overflow = {f"{name} 5+45": partial(one_spike, engines[name], SMALL) for name in engines}
    at_full_size = {f"{name} 50+0": partial(one_spike, engines[name], LARGE) for name in engines}
    drivers = {
        name: partial(one_spike, opener, SMALL)
        for name, opener in openers.items()
        if name not in engines
    }
    return {**with_overflow, **at_full_size, **drivers}


async def one_spike(opener: Opener, sizes: Sizes) -> Reading:
    """A pool of its own, warmed at once; connects become slow only then."""
    pool = await opener(sizes)
    opened_before = pool.dials.attempts
    pool.dials.delay = CONNECT_DELAY
    reading = await workloads.spike(pool, REQUESTS, HOLD)
    await asyncio.sleep(2 * CONNECT_DELAY)  # attempts under way end, and are counted
    await pool.close()
    return {**reading, "new": pool.dials.attempts - opened_before}
