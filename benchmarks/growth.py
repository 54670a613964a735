"""`python -m benchmarks.growth`: how long the loop stands still when many waiters end together.

They time out, are cancelled, get one connect error, or the pool is closed. On a driver without a
server (`stub_driver.py`): all time is spent in the pool and in SQLAlchemy, and in the garbage
collector. The stock pool has no counterpart of the last two: its waiters do not end then.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from benchmarks import pools, stub_driver
from benchmarks.pools import OpenPool, Sizes
from benchmarks.report import Rows, aligned, headline, machine

CONNECTIONS = 10
WAITERS = (1_000, 5_000, 20_000)
LARGE = 2_000  # connections, and waiters, of a large pool
POOL_TIMEOUT = 2.0  # seconds, of the waiters

TIME_OUT = "time out"
CANCELLED = "are cancelled"
ONE_ERROR = "get one error"
CLOSED = "are closed"
ENDINGS = (TIME_OUT, CANCELLED, ONE_ERROR, CLOSED)
ONLY_TYPED = (ONE_ERROR, CLOSED)


class StandStill:
    """The longest time in which the event loop ran nothing else."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._since = time.perf_counter()
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            self._note()

    def _note(self) -> None:
        now = time.perf_counter()
        self._longest = max(self._longest, now - self._since - 0.001)
        self._since = now

    def stop(self) -> float:
        self._task.cancel()
        self._note()  # the caller may run before the task does, after a long iteration
        return self._longest


async def wait_in_vain(pool: OpenPool) -> None:
    with suppress(Exception):
        await pool.give(await pool.take())


@dataclass(frozen=True)
class Growth:
    """How many seconds the event loop stood still for so many waiters of one pool."""

    ending: str
    connections: int
    waiters: int
    pool: str
    # When they arrived, all in one iteration.
    arrival: float
    # The longest such time until all had ended.
    longest: float


class Trial:
    """Waiters that end together on a pool whose connections are all held, or cannot be opened."""

    def __init__(
        self, name: str, ending: str, waiters: int, connections: int = CONNECTIONS
    ) -> None:
        self._name = name
        self._ending = ending
        self._waiters = waiters
        self._connections = connections

    async def run(self) -> Growth:
        pool = await self._opened()
        held = 0 if self._ending == ONE_ERROR else self._connections
        connections = [await pool.take() for _ in range(held)]
        if self._ending == ONE_ERROR:
            pool.connects.delay, pool.connects.error = 0.5, ValueError("refused")
        tasks = [asyncio.ensure_future(wait_in_vain(pool)) for _ in range(self._waiters)]
        began = time.perf_counter()
        await asyncio.sleep(0)  # every task has run until it waits
        arrival = time.perf_counter() - began
        watch = StandStill()
        await self._end(pool, tasks)
        longest = watch.stop()
        for connection in connections:
            await pool.give(connection)
        await pool.close()
        return Growth(self._ending, self._connections, self._waiters, self._name, arrival, longest)

    async def _opened(self) -> OpenPool:
        options = pools.STOCK_OPTIONS if self._name == pools.STOCK else pools.TYPED_OPTIONS
        seconds = POOL_TIMEOUT if self._ending == TIME_OUT else 600.0
        options = {**options, "pool_timeout": seconds}
        sizes = Sizes(self._connections, self._connections)
        return await pools.open_engine(stub_driver.URL, options, sizes)

    async def _end(self, pool: OpenPool, tasks: Sequence[asyncio.Future[None]]) -> None:
        if self._ending == CANCELLED:
            for task in tasks:
                task.cancel()
        elif self._ending == CLOSED and pool.typed is not None:
            await pool.typed.close(timeout=0)
        await asyncio.wait(tasks)


def trials(numbers: Sequence[int], names: Sequence[str]) -> list[Trial]:
    """Each ending with each number of waiters, and on a large pool with as many as connections."""
    return [
        Trial(name, ending, waiters, connections)
        for ending in ENDINGS
        for waiters, connections in [*((each, CONNECTIONS) for each in numbers), (LARGE, LARGE)]
        for name in (pools.TYPED, pools.STOCK)
        if name in names and not (name == pools.STOCK and ending in ONLY_TYPED)
    ]


async def measured(numbers: Sequence[int], names: Sequence[str]) -> list[Growth]:
    """Measure each number of waiters with each of these pools that SQLAlchemy has."""
    return [await trial.run() for trial in trials(numbers, names)] if numbers else []


def as_rows(found: Sequence[Growth]) -> Rows:
    rows: Rows = [("waiters that", "connections", "waiters", "", "stand-still", "as they arrive")]
    for each in found:
        numbers = f"{each.connections:,}", f"{each.waiters:,}"
        seconds = f"{each.longest:.3f} s", f"{each.arrival:.3f} s"
        rows.append((each.ending, *numbers, each.pool, *seconds))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--waiters", type=int, nargs="*", default=WAITERS, help="that end together")
    chosen = parser.parse_args()
    logging.disable(logging.ERROR)
    print(headline(machine()))
    found = asyncio.run(measured(chosen.waiters, (pools.TYPED, pools.STOCK)))
    print(*aligned(as_rows(found)), sep="\n")


if __name__ == "__main__":
    main()
