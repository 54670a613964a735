"""The statistics of a pool that is used in several event loops at once."""

from __future__ import annotations

import asyncio
from threading import Barrier, Thread

import pytest

from sqla_typedpool import PoolStats
from tests.support.fake_driver import Server, borrowed, new_pool

WAIT = 10.0  # seconds


def test_the_limits_are_added_up_like_the_connections() -> None:
    pool = new_pool(Server(), pool_size=2, max_overflow=1, pool_min_size=1)
    barrier, seen = Barrier(2), list[PoolStats]()

    async def main() -> None:
        async with borrowed(pool), borrowed(pool):
            barrier.wait(WAIT)
            seen.append(pool.stats())
            barrier.wait(WAIT)

    threads = [Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert [(each.in_use, each.max, each.min) for each in seen] == [(4, 6, 2)] * 2


@pytest.mark.parametrize(("max_overflow", "most"), [(1, 3), (-1, None)])
def test_a_pool_that_is_not_used_yet_has_the_limits_of_one_loop(
    max_overflow: int, most: int | None
) -> None:
    stats = new_pool(Server(), pool_size=2, max_overflow=max_overflow, pool_min_size=1).stats()
    assert (stats.in_use, stats.max, stats.min) == (0, most, 1)
