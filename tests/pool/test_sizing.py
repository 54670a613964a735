"""docs/operating/sizing.md: its rule, its table and its function, on a pool in virtual time."""

from __future__ import annotations

import asyncio
import re
from math import ceil, sqrt
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import TypedPool
from tests.support.fake_driver import Server, new_engine
from tests.support.virtual_clock import run

PAGE = (Path(__file__).parents[2] / "docs" / "operating" / "sizing.md").read_text()
ROW = re.compile(r"\| (\d+) checkouts .*? for (\d+) ms: \*a\* = (\d+) \| `pool_size=(\d+)` \|")
# checkouts per second, milliseconds held, connections in use on average, pool_size
ROWS = [tuple(map(int, row)) for row in ROW.findall(PAGE)]
REQUESTS = 20_000


async def requests(engine: AsyncEngine, rate: float, held: float) -> None:
    """Arrive at random, and hold a connection for exponential times."""
    random = Random(1)
    tasks = []
    for _ in range(REQUESTS):
        tasks.append(asyncio.ensure_future(request(engine, random.expovariate(1 / held))))
        await asyncio.sleep(random.expovariate(rate))
    await asyncio.wait(tasks)


async def request(engine: AsyncEngine, seconds: float) -> None:
    async with engine.connect():
        await asyncio.sleep(seconds)


def function_of_the_page() -> Any:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["suggest_pool_size"]


def test_the_table_follows_the_rule() -> None:
    assert len(ROWS) >= 3
    for rate, milliseconds, in_use, size in ROWS:
        assert rate * milliseconds == in_use * 1000
        assert size == ceil(in_use + 2 * sqrt(in_use))


@pytest.mark.parametrize(("rate", "milliseconds", "in_use", "size"), ROWS)
def test_with_the_pool_size_of_the_table_fewer_than_one_checkout_in_ten_waits(
    rate: int, milliseconds: int, in_use: int, size: int
) -> None:
    async def main() -> None:
        options = {"pool_size": size, "pool_min_size": size, "max_overflow": 0}
        engine = new_engine(Server(), **options)
        pool = TypedPool.of(engine)
        await pool.warm()
        suggested = function_of_the_page()(engine, 0.9 * REQUESTS / rate)
        load = requests(engine, rate, milliseconds / 1000)
        _, suggestion = await asyncio.gather(load, suggested)
        stats = pool.stats()
        assert stats.checkouts >= REQUESTS  # `warm()` has a few as well
        assert stats.waits < REQUESTS / 10
        assert stats.use_time.sum * rate / REQUESTS == pytest.approx(in_use, rel=0.05)
        assert abs(suggestion - size) <= 1

    run(main())


def test_with_as_many_connections_as_are_in_use_on_average_most_checkouts_wait() -> None:
    async def main() -> None:
        rate, milliseconds, in_use, _ = ROWS[-1]
        options = {"pool_size": in_use, "pool_min_size": in_use, "max_overflow": 0}
        engine = new_engine(Server(), **options)
        await TypedPool.of(engine).warm()
        await requests(engine, rate, milliseconds / 1000)
        stats = TypedPool.of(engine).stats()
        assert stats.waits > stats.checkouts / 2

    run(main())
