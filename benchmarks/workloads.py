"""What the contestants are made to do: checkouts, a spike, a ramp, a crowd, a hog.

A workload drives an open pool and returns one reading. Only the clock inside it counts: opening
and closing pools happens outside.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter

from benchmarks.contestants import OpenPool
from benchmarks.interleave import Reading, percentile

Work = Callable[[], Awaitable[None]]
"""What is done while a connection is out."""

Form = Callable[[OpenPool, Work], Awaitable[None]]
"""How a program writes one checkout and its return."""


async def async_with(pool: OpenPool, work: Work) -> None:
    """`async with engine.connect(): ...`, or the contestant's own context manager."""
    async with pool.borrow():
        await work()


async def plain(pool: OpenPool, work: Work) -> None:
    """`await engine.connect()` and `await connection.close()`, or the contestant's own pair."""
    connection = await pool.take()
    await work()
    await pool.give(connection)


async def nothing() -> None:
    """Give the connection back at once."""


async def one_turn_of_the_loop() -> None:
    """Hold the connection until every other task had its turn, as any statement would."""
    await asyncio.sleep(0)


async def repeat(cycle: Work, tasks: int, times: int) -> None:
    """So many cycles by each of so many tasks."""

    async def worker() -> None:
        for _ in range(times):
            await cycle()

    await asyncio.gather(*(worker() for _ in range(tasks)))


async def checkouts(form: Form, pool: OpenPool, tasks: int, times: int) -> Reading:
    """Microseconds per checkout and return, hot: a short untimed run wakes up what rested.

    One task gives back at once; several hold for a turn of the loop, else they would run one after
    the other and never meet.
    """
    cycle = partial(form, pool, nothing if tasks == 1 else one_turn_of_the_loop)
    await repeat(cycle, tasks, max(times // 10, 1))
    start = perf_counter()
    await repeat(cycle, tasks, times)
    return {"us": 1e6 * (perf_counter() - start) / (tasks * times)}


async def spike(pool: OpenPool, requests: int, hold: float) -> Reading:
    """Many short requests at once: how long until all are done, and how long one of them takes."""
    latencies: list[float] = []

    async def request() -> None:
        asked = perf_counter()
        async with pool.borrow():
            await asyncio.sleep(hold)
        latencies.append(perf_counter() - asked)

    start = perf_counter()
    await asyncio.gather(*(request() for _ in range(requests)))
    return {
        "total ms": 1e3 * (perf_counter() - start),
        "p50 ms": 1e3 * statistics.median(latencies),
    }


async def ramp(pool: OpenPool, requests: int, hold: float) -> Reading:
    """Many long requests at once on a cold pool: when the last of them got its connection.

    They end as soon as all of them run, or after their own time.
    """
    start = perf_counter()
    handed_out: list[float] = []
    all_run = asyncio.get_running_loop().create_future()

    async def request() -> None:
        async with pool.borrow():
            handed_out.append(perf_counter() - start)
            if len(handed_out) == requests:
                all_run.set_result(None)
            await asyncio.wait({all_run}, timeout=hold)

    await asyncio.gather(*(request() for _ in range(requests)))
    return {
        "all running ms": 1e3 * handed_out[-1],
        "p50 ms": 1e3 * statistics.median(handed_out),
    }


async def crowd(
    form: Form, pool: OpenPool, clients: int, connections: int, laps: int, hold: float
) -> Reading:
    """More clients than connections, each coming back at once: who waits how long.

    Ideal is a queue without gaps: every client waits for the same `clients / connections` turns.
    """
    waits: list[float] = []
    holds: list[float] = []

    async def work(asked: float) -> None:
        served = perf_counter()
        waits.append(served - asked)
        await asyncio.sleep(hold)
        holds.append(perf_counter() - served)

    async def client() -> None:
        for _ in range(laps):
            await form(pool, partial(work, perf_counter()))

    await asyncio.gather(*(client() for _ in range(clients)))
    ideal = clients / connections * statistics.mean(holds)
    return {
        "p50 ms": 1e3 * statistics.median(waits),
        "p99 ms": 1e3 * percentile(waits, 99),
        "max ms": 1e3 * max(waits),
        "p99 / ideal": percentile(waits, 99) / ideal,
    }


async def hog(form: Form, pool: OpenPool, turns: int, hold: float) -> Reading:
    """One client loops on the only connection, another waits: turns the first gets meanwhile."""
    passed = 0
    somebody_waits = False
    taken = asyncio.Event()

    async def turn() -> None:
        nonlocal passed
        passed += somebody_waits
        taken.set()
        await asyncio.sleep(hold)

    async def served() -> None:
        nonlocal somebody_waits
        somebody_waits = False

    async def looper() -> None:
        for _ in range(turns):
            await form(pool, turn)

    async def waiter() -> None:
        nonlocal somebody_waits
        await taken.wait()
        somebody_waits = True
        await form(pool, served)

    await asyncio.gather(looper(), waiter())
    return {"turns passed by": passed}
