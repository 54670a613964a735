"""`python -m benchmarks.outage`: how an outage affects callers, TypedPool and the stock pool.

The stock pool gets `pool_pre_ping=True`, without which it hands out dead connections; both have the
same `pool_timeout`. Every scenario runs once, on asyncpg and a PostgreSQL behind a fault-injecting
proxy (`tests/support/proxy.py`): the results are bounds and counts, not averages.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from benchmarks.report import aligned, headline, machine
from sqla_typedpool import TypedPool
from sqla_typedpool.embedded import Postgres
from tests.support.proxy import FaultProxy

POOLS: dict[str, dict[str, Any]] = {
    "TypedPool": {"poolclass": TypedPool},
    "stock + pre_ping": {"poolclass": AsyncAdaptedQueuePool, "pool_pre_ping": True},
}
LONG = 30.0  # seconds after which an attempt is given up
Figures = dict[str, str]


class Setup:
    """An engine on a server behind a proxy."""

    def __init__(self, server: Postgres, proxy: FaultProxy, engine: AsyncEngine) -> None:
        self.server = server
        self.proxy = proxy
        self.engine = engine

    async def query(self, statement: str = "SELECT 1") -> Any:
        async with self.engine.connect() as connection:
            return await connection.scalar(text(statement))

    async def attempt(self) -> tuple[float, BaseException | None]:
        """Query once; return the seconds and the error, `TimeoutError` after `LONG` seconds."""
        began = time.perf_counter()
        query = asyncio.ensure_future(self.query())
        done, _ = await asyncio.wait({query}, timeout=LONG)
        seconds = time.perf_counter() - began
        if not done:
            query.cancel()
            return seconds, TimeoutError()
        return seconds, query.exception()

    async def fill(self, count: int) -> set[int]:
        """Open `count` connections and leave them idle; the pids of their backends."""
        held = await asyncio.gather(*(self.engine.connect() for _ in range(count)))
        pids = {await each.scalar(text("SELECT pg_backend_pid()")) for each in held}
        await asyncio.gather(*(each.close() for each in held))
        return pids


@asynccontextmanager
async def opened(pool: str, server: Postgres, **options: Any) -> AsyncIterator[Setup]:
    async with FaultProxy(server.host, server.port) as proxy:
        url = f"postgresql+asyncpg://postgres@127.0.0.1:{proxy.port}/postgres"
        engine = create_async_engine(url, **{"max_overflow": 0, **POOLS[pool], **options})
        try:
            yield Setup(server, proxy, engine)
        finally:
            proxy.reset_all()  # else the graceful closes of the stock pool take very long
            with suppress(Exception):
                await asyncio.wait_for(engine.dispose(), 10)


class Load:
    """Clients that query until they are stopped, with the times of checkouts and the failures."""

    def __init__(self, engine: AsyncEngine, clients: int, statement: str = "SELECT 1") -> None:
        self._engine = engine
        self._statement = statement
        self.checkouts: list[list[float]] = []  # began, ended (infinite: not yet)
        self.done: list[float] = []
        self.refused: list[float] = []  # when the checkouts that failed had begun
        self.failed = 0  # statements
        self._tasks = [asyncio.ensure_future(self._client()) for _ in range(clients)]

    async def _client(self) -> None:
        while True:
            with suppress(Exception):
                await self._request()
            await asyncio.sleep(0.002)

    async def _request(self) -> None:
        checkout = [time.perf_counter(), float("inf")]
        self.checkouts.append(checkout)
        try:
            connection = await self._engine.connect()
        except Exception:
            self.refused.append(checkout[0])
            raise
        finally:
            checkout[1] = time.perf_counter()
        try:
            await asyncio.wait_for(connection.execute(text(self._statement)), 3)
            self.done.append(time.perf_counter())
        except Exception:
            self.failed += 1
            raise
        finally:
            await connection.close()

    def longest(self) -> float:
        now = time.perf_counter()
        return max(min(ended, now) - began for began, ended in self.checkouts)

    def rate(self, since: float, until: float) -> float:
        return sum(since <= moment < until for moment in self.done) / (until - since)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=5)


def seconds(value: float) -> str:
    if value >= LONG:
        return f"over {LONG:g} s"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def outcome(attempt: tuple[float, BaseException | None]) -> str:
    took, error = attempt
    return seconds(took) + (f", {type(error).__name__}" if error is not None else "")


async def blackhole(pool: str, server: Postgres, length: float) -> Figures:
    async with opened(pool, server, pool_size=5, pool_timeout=5) as setup:
        load = Load(setup.engine, 10)
        await asyncio.sleep(1)
        setup.proxy.go_silent()
        await asyncio.sleep(length)
        setup.proxy.resume()
        back = time.perf_counter()
        first = await setup.attempt()
        await asyncio.sleep(6)
        late = sum(began >= back for began in load.refused)
        longest = load.longest()
        setup.proxy.reset_all()
        await load.stop()
    return {
        "longest checkout (pool_timeout 5 s)": seconds(longest),
        "statements that failed": str(load.failed),
        "first request after the return": outcome(first),
        "checkouts begun after the return that failed": str(late),
    }


async def refused(pool: str, server: Postgres) -> Figures:
    async with opened(pool, server, pool_size=5) as setup:
        await setup.fill(5)
        setup.proxy.refuse()
        setup.proxy.reset_all()
        began = time.perf_counter()
        ends = await asyncio.gather(*(setup.attempt() for _ in range(10)))
        later = [await setup.attempt()]
        while time.perf_counter() - began < 6:
            later.append(await setup.attempt())
            await asyncio.sleep(0.01)
        await setup.proxy.accept()
        return {
            "the first ten callers end after": seconds(max(took for took, _ in ends)),
            "later ones after": seconds(max(took for took, _ in later)),
            "first request after the return": outcome(await setup.attempt()),
        }


async def reset(pool: str, server: Postgres, idle: int) -> Figures:
    async with opened(pool, server, pool_size=idle) as setup:
        await setup.fill(idle)
        setup.proxy.reset_all()
        await asyncio.sleep(0.05)
        return {f"first request, {idle} idle": outcome(await setup.attempt())}


async def slow(pool: str, server: Postgres, delay: float) -> Figures:
    async with opened(pool, server, pool_size=1) as setup:
        setup.proxy.accept_delay = delay
        return {f"first request, {delay:g} s to accept": outcome(await setup.attempt())}


async def killed(pool: str, server: Postgres) -> Figures:
    async with opened(pool, server, pool_size=10) as setup:
        before = await setup.fill(10)
        admin = await asyncpg.connect(host=server.host, port=server.port, user="postgres")
        await admin.execute("SELECT pg_terminate_backend($1, 2000)", next(iter(before)))
        await admin.close()
        after = await setup.fill(10)
    return {"connections replaced": str(len(after - before))}


async def restarted(pool: str, server: Postgres) -> Figures:
    async with opened(pool, server, pool_size=10, pool_timeout=10) as setup:
        load = Load(setup.engine, 50, "SELECT pg_sleep(0.005)")
        await asyncio.sleep(1)
        now = time.perf_counter()
        usual = load.rate(now - 0.5, now)
        await asyncio.to_thread(server.restart, "fast")
        back = time.perf_counter()
        await asyncio.sleep(3)
        steps = [back + step / 10 for step in range(28)]
        full = [each - back for each in steps if load.rate(each, each + 0.2) > usual * 0.8]
        await load.stop()
    return {
        "statements that failed": str(load.failed),
        "checkouts that failed": str(len(load.refused)),
        "80 % of full speed after": seconds(full[0]) if full else "over 3 s",
    }


SCENARIOS: dict[str, Callable[[str, Postgres], Awaitable[Figures]]] = {
    "blackhole of 10 s, 10 clients on 5": lambda pool, server: blackhole(pool, server, 10),
    "blackhole of 60 s, 10 clients on 5": lambda pool, server: blackhole(pool, server, 60),
    "refused for 6 s, 10 callers": refused,
    "all idle sockets reset": lambda pool, server: reset(pool, server, 50),
    "slow server, one slot": lambda pool, server: slow(pool, server, 1.5),
    "slower server, one slot": lambda pool, server: slow(pool, server, 8),
    "one backend of ten killed": killed,
    "restart, 50 clients on 10": restarted,
}


async def measured(scenario: str, server: Postgres) -> list[tuple[str, ...]]:
    """The rows of a scenario: its name, the metric, and a figure for each pool."""
    figures = [await SCENARIOS[scenario](pool, server) for pool in POOLS]
    metrics = list(figures[0])
    return [(scenario, metric, *(each[metric] for each in figures)) for metric in metrics]


def main() -> None:
    logging.disable(logging.ERROR)  # both pools log a lot during an outage
    print(headline(machine()))
    rows: list[tuple[str, ...]] = [("scenario", "", *POOLS)]
    with Postgres.start(settings={"max_connections": "200"}) as server:
        for scenario in SCENARIOS:
            rows += asyncio.run(measured(scenario, server))
    print("\n".join(aligned(rows)))


if __name__ == "__main__":
    main()
