"""A day of life in some seconds: nothing is lost, and nothing grows."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest

from sqla_typedpool._sqlalchemy import greenlet_spawn
from tests.support.fake_driver import (
    Connect,
    Server,
    assert_at_rest,
    borrow,
    driver_of,
    give,
    house,
    new_pool,
    refused,
)
from tests.support.virtual_clock import now, run, virtual_loop

HOUR = 3600.0
DAY = 24 * HOUR


class Life:
    """Random load on one pool, with everything that happens in production."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.chance = random.Random(seed)
        random.seed(seed)  # the pool's jitter too: a day that fails can be lived again
        self.server = Server(usual=Connect(0.02))
        self.pool = new_pool(self.server, **options)
        self.most = options["pool_size"] + options["max_overflow"]
        self.requests = 0
        self.errors: list[BaseException] = []
        self.sizes: list[dict[str, int]] = []

    async def request(self) -> None:
        self.requests += 1
        try:
            fairy = await borrow(self.pool)
        except Exception as error:
            self.errors.append(error)
            return
        try:
            connection = driver_of(fairy)
            assert not connection.is_closed
            await asyncio.sleep(self.chance.expovariate(1 / 0.2))
            fate = self.chance.random()
            if fate < 0.01:
                await greenlet_spawn(fairy.invalidate)
            elif fate < 0.02:
                fairy.invalidate(soft=True)
            elif fate < 0.03:
                connection.die(seen=fate < 0.025)
        finally:
            await give(fairy)

    async def load(self, until: float) -> None:
        while now() < until:
            burst = self.chance.choice([1, 1, 1, 2, 5, 15])
            tasks = [asyncio.ensure_future(self.request()) for _ in range(burst)]
            if self.chance.random() < 0.1:
                self.chance.choice(tasks).cancel()
            await asyncio.wait(tasks)
            self.check()
            await asyncio.sleep(self.chance.expovariate(1 / self.chance.choice([5, 30, 300])))

    async def fate(self, until: float) -> None:
        """The server dies at times, quietly or not, and comes back."""
        while now() < until:
            await asyncio.sleep(self.chance.uniform(0.5, 1.5) * HOUR)
            self.server.usual = Connect(0.01, error=refused)
            for each in self.server.open:
                each.die(seen=self.chance.random() < 0.5)
            await asyncio.sleep(self.chance.uniform(0, 4))
            self.server.usual = Connect(0.02)

    def check(self) -> None:
        stats = self.pool.stats()
        assert stats.size <= self.most
        assert self.server.sockets <= self.most
        assert stats.in_use <= self.most
        assert len(self.server.open) <= stats.size

    def measure(self) -> None:
        loop: Any = virtual_loop()
        here = house(self.pool)
        self.sizes.append(
            {
                "records": len(here.records),
                "shells": len(here.shells),
                "tasks": len(asyncio.all_tasks()),
                "pool tasks": len(here.tasks),
                "timers": sum(not each.cancelled() for each in loop._scheduled),
                "waiters": len(here.slots.waiters),
                "marks": len(self.pool.parting.forced),
                "listeners": len(gc.get_referrers(here)),
            }
        )


@pytest.mark.parametrize("lifo", [True, False])
def test_a_day_of_life(lifo: bool) -> None:
    async def main() -> None:
        life = Life(
            7,
            pool_size=8,
            max_overflow=4,
            timeout=10,
            use_lifo=lifo,
            pool_min_size=3,
            pool_idle_timeout=300,
            pool_max_lifetime=1800,
            pool_keepalive=60,
            pool_leak_threshold=3000,
        )
        server, pool = life.server, life.pool
        working = [asyncio.ensure_future(life.load(DAY)) for _ in range(2)]
        working.append(asyncio.ensure_future(life.fate(DAY)))
        while now() < DAY:
            await asyncio.sleep(HOUR)
            life.measure()
        for each in working:
            each.cancel()
        await asyncio.wait(working)
        assert [each.exception() for each in working if not each.cancelled()] == []
        await asyncio.sleep(700.5)
        assert_at_rest(pool, server)
        assert pool.stats().idle == 3
        assert life.requests > 3_000
        assert life.errors == [], "every outage was shorter than pool_connect_retry"
        stats = pool.stats()
        assert stats.closed["lifetime"] > 20
        assert stats.closed["idle"] > 20
        assert stats.connects == len(server.connections)
        assert stats.connects - sum(stats.closed.values()) == stats.size
        ages = [(each.closed_at or each.born) - each.born for each in server.connections]
        assert max(ages) <= 1800 + 10
        _assert_nothing_grows(life.sizes)
        await pool.close()
        assert server.sockets == 0

    run(main())


def _assert_nothing_grows(sizes: list[dict[str, int]]) -> None:
    morning, evening = sizes[1:6], sizes[-5:]
    for name in morning[0]:
        before = max(each[name] for each in morning)
        after = max(each[name] for each in evening)
        assert after <= 2 * before + 20, f"{name} grows: {[each[name] for each in sizes]}"


def test_a_night_without_requests_costs_almost_nothing() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, pool_min_size=2, pool_idle_timeout=300)
        await pool.warm()
        await asyncio.sleep(8 * HOUR)
        assert len(server.open) == 2
        assert server.count("ping") == 0, "nobody asked for keepalive"
        assert len(server.attempts) <= 2 * (8 * 2 + 3)
        assert_at_rest(pool, server)

    run(main())


def test_an_outage_of_a_night_is_survived_quietly() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, pool_min_size=2)
        await pool.warm()
        server.usual = Connect(0.01, error=refused)
        for each in server.open:
            each.die(seen=True)
        await asyncio.sleep(HOUR)
        assert len(server.attempts) <= HOUR * 2.5
        server.usual = Connect(0.01)
        await asyncio.sleep(5)
        assert pool.stats().idle == 2
        fairy = await borrow(pool)
        await give(fairy)
        assert_at_rest(pool, server)

    run(main())
