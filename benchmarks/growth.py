"""How long the event loop stands still while many waiters time out together.

On a driver without a server (`stub_driver.py`): all time is spent in the pool and in SQLAlchemy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmarks import pools, stub_driver
from benchmarks.pools import OpenPool, Sizes
from benchmarks.report import Rows

CONNECTIONS = 10
WAITERS = (1_000, 5_000, 20_000)
POOL_TIMEOUT = 2.0  # seconds, of the waiters


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

    waiters: int
    pool: str
    # When they arrived, all in one iteration.
    arrival: float
    # The longest such time until all had timed out.
    longest: float


async def time_out_together(options: dict[str, Any], waiters: int) -> tuple[float, float]:
    """Let waiters time out on a pool whose connections are all held.

    Returns the seconds that the loop stands still as they arrive, and afterwards.
    """
    options = {**options, "pool_timeout": POOL_TIMEOUT}
    pool = await pools.open_engine(stub_driver.URL, options, Sizes(CONNECTIONS, CONNECTIONS))
    held = [await pool.take() for _ in range(CONNECTIONS)]
    tasks = [asyncio.ensure_future(wait_in_vain(pool)) for _ in range(waiters)]
    began = time.perf_counter()
    await asyncio.sleep(0)  # every task has run until it waits
    arrival = time.perf_counter() - began
    watch = StandStill()
    await asyncio.wait(tasks)
    longest = watch.stop()
    for connection in held:
        await pool.give(connection)
    await pool.close()
    return arrival, longest


async def measured(numbers: Sequence[int], names: Sequence[str]) -> list[Growth]:
    """Measure each number of waiters with each of these pools that SQLAlchemy has."""
    subjects = {pools.TYPED: pools.TYPED_OPTIONS, pools.STOCK: pools.STOCK_OPTIONS}
    found: list[Growth] = []
    for waiters in numbers:
        for name, options in subjects.items():
            if name in names:
                found.append(Growth(waiters, name, *await time_out_together(options, waiters)))
    return found


def as_rows(found: Sequence[Growth]) -> Rows:
    headings = ("waiters that time out together", "", "stand-still", "as they arrive")
    return [
        headings,
        *((f"{g.waiters:,}", g.pool, f"{g.longest:.3f} s", f"{g.arrival:.3f} s") for g in found),
    ]
