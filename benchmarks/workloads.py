"""The workloads: checkouts, a spike, a ramp, many clients, a looping client, cancelled waiters.

A workload uses an open pool and returns one reading. It measures the time itself; opening and
closing the pool is not part of it.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Any

from sqlalchemy.pool import Pool
from sqlalchemy.util import await_only, greenlet_spawn

from benchmarks.interleave import Reading, percentile
from benchmarks.pools import OpenPool

Work = Callable[[], Awaitable[None]]
"""What is done while a connection is out."""

Form = Callable[[OpenPool, Work], Awaitable[None]]
"""One checkout and its return, written in one of two ways."""


async def async_with(pool: OpenPool, work: Work) -> None:
    """`async with engine.connect(): ...`, or the context manager of a driver's pool."""
    async with pool.borrow():
        await work()


async def plain(pool: OpenPool, work: Work) -> None:
    """`await engine.connect()` and `await connection.close()`, or the pair of a driver's pool."""
    connection = await pool.take()
    await work()
    await pool.give(connection)


async def nothing() -> None:
    """Return the connection at once."""


async def one_loop_iteration() -> None:
    """Hold the connection until every other task has run, as during a statement."""
    await asyncio.sleep(0)


async def repeat(cycle: Work, tasks: int, times: int) -> None:
    """Run `times` cycles in each of `tasks` tasks."""

    async def worker() -> None:
        for _ in range(times):
            await cycle()

    await asyncio.gather(*(worker() for _ in range(tasks)))


async def checkouts(form: Form, pool: OpenPool, tasks: int, times: int) -> Reading:
    """Microseconds per checkout and return, after a short untimed run that validates connections.

    One task returns its connection at once. Several tasks hold theirs for one iteration of the
    event loop; otherwise they would run one after the other.
    """
    cycle = partial(form, pool, nothing if tasks == 1 else one_loop_iteration)
    await repeat(cycle, tasks, max(times // 10, 1))
    start = perf_counter()
    await repeat(cycle, tasks, times)
    return {"us": 1e6 * (perf_counter() - start) / (tasks * times)}


def direct_cycles(pool: Pool, times: int) -> None:
    """Check out and return `times` times; must be called in a greenlet."""
    connect = pool.connect
    for _ in range(times):
        connect().close()


def yielding_cycles(pool: Pool, times: int) -> None:
    """As above, but hold each connection for one iteration of the event loop."""
    connect = pool.connect
    for _ in range(times):
        connection = connect()
        await_only(asyncio.sleep(0))
        connection.close()


async def stub_checkouts(
    cycles: Callable[[Pool, int], None], pool: Pool, tasks: int, times: int
) -> Reading:
    """Microseconds per cycle; every task runs its `times` cycles in one greenlet."""
    await asyncio.gather(*(greenlet_spawn(cycles, pool, times // 10) for _ in range(tasks)))
    start = perf_counter()
    await asyncio.gather(*(greenlet_spawn(cycles, pool, times) for _ in range(tasks)))
    return {"us": 1e6 * (perf_counter() - start) / (tasks * times)}


async def takes(
    pool: Pool, take: Callable[[], Any], give_back: Callable[[Any], None], times: int
) -> Reading:
    """Microseconds per `take()` and `give_back()`, after a checkout that validates if needed."""
    await greenlet_spawn(direct_cycles, pool, 1)
    start = perf_counter()
    for _ in range(times):
        give_back(take())
    return {"us": 1e6 * (perf_counter() - start) / times}


async def spike(pool: OpenPool, requests: int, hold: float) -> Reading:
    """Many short requests at once: the time until all are done, and the time of one request."""
    latencies: list[float] = []

    async def request() -> None:
        requested = perf_counter()
        async with pool.borrow():
            await asyncio.sleep(hold)
        latencies.append(perf_counter() - requested)

    start = perf_counter()
    await asyncio.gather(*(request() for _ in range(requests)))
    return {
        "total ms": 1e3 * (perf_counter() - start),
        "p50 ms": 1e3 * statistics.median(latencies),
    }


async def ramp(pool: OpenPool, requests: int, hold: float) -> Reading:
    """Many long requests at once on a cold pool: the time until the last one has a connection.

    The requests end when all of them run, or after `hold` seconds.
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


async def many_clients(
    form: Form, pool: OpenPool, clients: int, connections: int, times: int, hold: float
) -> Reading:
    """More clients than connections: how long they wait. Each makes its next request at once.

    Ideal is a queue without gaps: every wait is `clients / connections` times the mean hold.
    """
    waits: list[float] = []
    holds: list[float] = []

    async def work(requested: float) -> None:
        served = perf_counter()
        waits.append(served - requested)
        await asyncio.sleep(hold)
        holds.append(perf_counter() - served)

    async def client() -> None:
        for _ in range(times):
            await form(pool, partial(work, perf_counter()))

    await asyncio.gather(*(client() for _ in range(clients)))
    ideal = clients / connections * statistics.mean(holds)
    return {
        "p50 ms": 1e3 * statistics.median(waits),
        "p99 ms": 1e3 * percentile(waits, 99),
        "max ms": 1e3 * max(waits),
        "p99 / ideal": percentile(waits, 99) / ideal,
    }


async def looping_client(form: Form, pool: OpenPool, times: int, hold: float) -> Reading:
    """One client checks the only connection out in a loop while another client waits for it.

    Counts how often the looping client gets the connection during that wait.
    """
    passed = 0
    somebody_waits = False
    taken = asyncio.Event()

    async def work() -> None:
        nonlocal passed
        passed += somebody_waits
        taken.set()
        await asyncio.sleep(hold)

    async def served() -> None:
        nonlocal somebody_waits
        somebody_waits = False

    async def looping() -> None:
        for _ in range(times):
            await form(pool, work)

    async def waiter() -> None:
        nonlocal somebody_waits
        await taken.wait()
        somebody_waits = True
        await form(pool, served)

    await asyncio.gather(looping(), waiter())
    return {"turns while one waits": passed}


async def cancelled_waiters(pool: OpenPool, waiters: int) -> Reading:
    """Cancel many waiters at once: the time until all of their tasks have ended.

    The pool must have one connection, which is checked out meanwhile.
    """

    async def wait() -> None:
        async with pool.borrow():
            raise AssertionError("a waiter got the connection")

    async with pool.borrow():
        waiting = [asyncio.ensure_future(wait()) for _ in range(waiters)]
        for _ in range(3):  # until every task is in the queue
            await asyncio.sleep(0)
        start = perf_counter()
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        elapsed = perf_counter() - start
    assert all(task.cancelled() for task in waiting)
    return {"ms": 1e3 * elapsed}
