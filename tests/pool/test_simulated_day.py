"""A day under random load and faults, in a few seconds: no slot is lost and nothing grows."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest

from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from tests.support.fake_driver import (
    Connect,
    Server,
    assert_only_idle,
    borrow,
    driver_of,
    give_back,
    loop_pool,
    new_pool,
    refused,
)
from tests.support.virtual_clock import now, run, virtual_loop

HOUR = 3600.0
DAY = 24 * HOUR


class Workload:
    """Random load on one pool, with cancellations, invalidations, dead connections and outages."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.rng = random.Random(seed)
        random.seed(seed)  # for the jitter of the pool too, so that a failure can be reproduced
        self.server = Server(usual=Connect(0.02))
        self.pool = new_pool(self.server, **options)
        self.limit = options["pool_size"] + options["max_overflow"]
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
            await asyncio.sleep(self.rng.expovariate(1 / 0.2))
            chance = self.rng.random()
            if chance < 0.01:
                await greenlet_spawn(fairy.invalidate)
            elif chance < 0.02:
                fairy.invalidate(soft=True)
            elif chance < 0.03:
                connection.die(seen_by_probe=chance < 0.025)
        finally:
            await give_back(fairy)

    async def load(self, until: float) -> None:
        while now() < until:
            burst = self.rng.choice([1, 1, 1, 2, 5, 15])
            tasks = [asyncio.ensure_future(self.request()) for _ in range(burst)]
            if self.rng.random() < 0.1:
                self.rng.choice(tasks).cancel()
            await asyncio.wait(tasks)
            self.check()
            await asyncio.sleep(self.rng.expovariate(1 / self.rng.choice([5, 30, 300])))

    async def outages(self, until: float) -> None:
        """Now and then the server closes every connection and refuses new ones for seconds."""
        while now() < until:
            await asyncio.sleep(self.rng.uniform(0.5, 1.5) * HOUR)
            self.server.usual = Connect(0.01, error=refused)
            for each in self.server.open:
                each.die(seen_by_probe=self.rng.random() < 0.5)
            await asyncio.sleep(self.rng.uniform(0, 4))
            self.server.usual = Connect(0.02)

    def check(self) -> None:
        stats = self.pool.stats()
        assert stats.size <= self.limit
        assert self.server.sockets <= self.limit
        assert stats.in_use <= self.limit
        assert len(self.server.open) <= stats.size

    def measure(self) -> None:
        loop: Any = virtual_loop()
        part = loop_pool(self.pool)
        self.sizes.append(
            {
                "entries": len(part.entries),
                "empty entries": len(part.empty_entries),
                "tasks": len(asyncio.all_tasks()),
                "pool tasks": len(part.tasks),
                "timers": sum(not each.cancelled() for each in loop._scheduled),
                "waiters": self.pool.stats().waiting,
                "referrers": len(gc.get_referrers(part)),
            }
        )


@pytest.mark.parametrize("lifo", [True, False], ids=["lifo", "fifo"])
def test_a_simulated_day_loses_no_slot_and_nothing_grows(lifo: bool) -> None:
    async def main() -> None:
        workload = Workload(
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
        server, pool = workload.server, workload.pool
        tasks = [asyncio.ensure_future(workload.load(DAY)) for _ in range(2)]
        tasks.append(asyncio.ensure_future(workload.outages(DAY)))
        while now() < DAY:
            await asyncio.sleep(HOUR)
            workload.measure()
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)
        assert [each.exception() for each in tasks if not each.cancelled()] == []
        await asyncio.sleep(700.5)
        assert_only_idle(pool, server)
        assert pool.stats().idle == 3
        assert workload.requests > 3_000
        assert workload.errors == [], "every outage was shorter than pool_connect_retry"
        stats = pool.stats()
        assert stats.closed["lifetime"] > 20
        assert stats.closed["idle"] > 20
        assert stats.connects == len(server.connections)
        assert stats.connects - sum(stats.closed.values()) == stats.size
        ages = [(each.closed_at or each.opened_at) - each.opened_at for each in server.connections]
        assert max(ages) <= 1800 + 10
        _assert_nothing_grows(workload.sizes)
        await pool.close()
        assert server.sockets == 0

    run(main())


def _assert_nothing_grows(sizes: list[dict[str, int]]) -> None:
    first_hours, last_hours = sizes[1:6], sizes[-5:]
    for name in first_hours[0]:
        before = max(each[name] for each in first_hours)
        after = max(each[name] for each in last_hours)
        assert after <= 2 * before + 20, f"{name} grows: {[each[name] for each in sizes]}"


def test_a_pool_unused_for_a_night_sends_no_ping_and_rarely_connects() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, pool_min_size=2, pool_idle_timeout=300)
        await pool.warm()
        await asyncio.sleep(8 * HOUR)
        assert len(server.open) == 2
        assert server.count("ping") == 0, "pool_keepalive is not set"
        assert len(server.attempts) <= 2 * (8 * 2 + 3)
        assert_only_idle(pool, server)

    run(main())


def test_a_pool_recovers_from_an_outage_of_an_hour_with_few_attempts() -> None:
    """Only the refill of the minimum size connects; no borrower waits."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, pool_min_size=2)
        await pool.warm()
        server.usual = Connect(0.01, error=refused)
        for each in server.open:
            each.die(seen_by_probe=True)
        await asyncio.sleep(HOUR)
        assert len(server.attempts) <= HOUR * 2.5
        server.usual = Connect(0.01)
        await asyncio.sleep(5)
        assert pool.stats().idle == 2
        fairy = await borrow(pool)
        await give_back(fairy)
        assert_only_idle(pool, server)

    run(main())
