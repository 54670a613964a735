"""The clients of `open_loop.py`, on a pool without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

from benchmarks.open_loop import FIXED, MIXED, Phase, Run, Workload
from benchmarks.pools import Connects, OpenPool

STEP = Workload(10, FIXED, 0.5, [Phase(5, 0.8), Phase(5, 3.0)], seed=1)
SHORT = replace(STEP, patience=0.05, phases=[Phase(0.1, 1.0)])


class Connection:
    """Executes every statement at once."""

    async def execute(self, statement: str) -> None: ...


async def nothing() -> None: ...


def pool_of(borrow: Callable[[], AbstractAsyncContextManager[Connection]]) -> OpenPool:
    async def unused(*arguments: object) -> None: ...

    return OpenPool(borrow, unused, unused, nothing, Connects())


@asynccontextmanager
async def at_once() -> AsyncIterator[Connection]:
    yield Connection()


@asynccontextmanager
async def never() -> AsyncIterator[Connection]:
    await asyncio.sleep(60)
    yield Connection()


def test_the_same_seed_gives_the_same_clients() -> None:
    assert list(STEP.arrivals()) == list(replace(STEP).arrivals())
    assert list(STEP.arrivals()) != list(replace(STEP, seed=2).arrivals())


def test_each_phase_has_its_load() -> None:
    times = [at for at, _ in STEP.arrivals()]
    low, high = sum(at < 5 for at in times), sum(at >= 5 for at in times)
    assert 700 < low < 900  # 5 s, 200 a second, 0.8 x
    assert 2800 < high < 3200


def test_the_mean_of_the_mixed_times_is_that_of_the_capacity() -> None:
    drawn = [seconds for _, seconds in replace(STEP, times=MIXED).arrivals()]
    assert 0.97 < sum(drawn) / len(drawn) / MIXED.mean < 1.03


def test_a_client_that_is_served_counts() -> None:
    run = asyncio.run(Run(pool_of(at_once), SHORT).run())
    assert run.clients == len(run.served) > 5
    assert (run.out_of_order, run.failed) == (0, 0)


def test_a_client_that_gives_up_does_not_count() -> None:
    run = asyncio.run(Run(pool_of(never), SHORT).run())
    assert run.clients > 5
    assert (run.served, run.failed) == ([], 0)
    assert run.reading()["goodput %"] == 0
