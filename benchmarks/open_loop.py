"""An open loop: clients arrive at random, whether others have been served or not.

Each client executes one statement of a given length, and gives up when its patience ends, while it
waits for a connection or in the middle of the statement. The same seed gives all pools the same
clients at the same times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from time import perf_counter
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.interleave import Reading, percentile
from benchmarks.pools import OpenPool

SLEEP = text("SELECT pg_sleep(:seconds)")


@dataclass(frozen=True)
class Times:
    """The lengths of statements in seconds."""

    name: str
    draw: Callable[[Random], float]
    mean: float


FIXED = Times("fixed 50 ms", lambda _: 0.05, 0.05)
MIXED = Times("mixed 10-140 ms", lambda random: random.uniform(0.01, 0.14), 0.075)
LONG = Times("fixed 250 ms", lambda _: 0.25, 0.25)


@dataclass(frozen=True)
class Phase:
    """A time with the same load, as a multiple of the capacity."""

    seconds: float
    load: float


@dataclass(frozen=True)
class Workload:
    """The clients of one run."""

    connections: int
    times: Times
    # Seconds after which a client gives up.
    patience: float
    phases: Sequence[Phase]
    seed: int

    @property
    def capacity(self) -> float:
        """Statements a second that the connections can execute."""
        return self.connections / self.times.mean

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    def arrivals(self) -> Iterator[tuple[float, float]]:
        """When each client arrives, and the length of its statement."""
        random, begin = Random(self.seed), 0.0
        for phase in self.phases:
            now, end = begin, begin + phase.seconds
            while (now := now + random.expovariate(phase.load * self.capacity)) < end:
                yield now, self.times.draw(random)
            begin = end


async def execute(connection: Any, seconds: float) -> None:
    """A statement of this length, with SQLAlchemy or with a driver."""
    if isinstance(connection, AsyncConnection):
        await connection.execute(SLEEP, {"seconds": seconds})
    else:
        await connection.execute(f"SELECT pg_sleep({seconds:.6f})")


async def closed_loop(pool: OpenPool, workload: Workload, seconds: float) -> float:
    """What the connections can execute on this machine, in percent of their capacity.

    As many clients as connections execute one statement after the other.
    """
    random, done, end = Random(workload.seed), 0, perf_counter() + seconds

    async def client() -> None:
        nonlocal done
        while perf_counter() < end:
            async with pool.borrow() as connection:
                await execute(connection, workload.times.draw(random))
            done += 1

    await asyncio.gather(*(client() for _ in range(workload.connections)))
    return 100 * done / (workload.capacity * seconds)


class Run:
    """One run of a workload on one pool."""

    def __init__(self, pool: OpenPool, workload: Workload) -> None:
        self._pool = pool
        self._workload = workload
        self._began = 0.0
        self._connects_before = pool.connects.attempts
        self._waiting: dict[object, None] = {}  # in the order of their arrival
        self.served: list[tuple[float, float]] = []  # arrived, ended: seconds since the start
        self.clients = 0
        self.out_of_order = 0  # clients that got a connection while an earlier one waited
        self.failed = 0  # for another reason than their patience

    async def run(self) -> Run:
        """Start the clients at their times, and wait for the last one."""
        self._began = perf_counter()
        tasks: set[asyncio.Task[None]] = set()
        for at, seconds in self._workload.arrivals():
            # a late loop starts all clients whose time has come before it reads sockets again
            if (wait := at - self._now()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.ensure_future(self._client(seconds))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)
        return self

    def _now(self) -> float:
        return perf_counter() - self._began

    async def _client(self, seconds: float) -> None:
        self.clients += 1
        arrived = self._now()
        try:
            await asyncio.wait_for(self._request(seconds), self._workload.patience)
        except asyncio.TimeoutError:
            pass
        except Exception:  # noqa: BLE001 - each pool has errors of its own; they are counted
            self.failed += 1
        else:
            self._ended(arrived, self._now())

    def _ended(self, arrived: float, now: float) -> None:
        # a driver may end a cancelled statement as if it had not been cancelled, too late
        if now - arrived <= self._workload.patience:
            self.served.append((arrived, now))

    async def _request(self, seconds: float) -> None:
        me = object()
        self._waiting[me] = None
        try:
            async with self._pool.borrow() as connection:
                self.out_of_order += next(iter(self._waiting)) is not me
                del self._waiting[me]
                await execute(connection, seconds)
        finally:
            self._waiting.pop(me, None)

    # --------------------------------------------------------------------- results

    def goodput(self, begin: float, end: float) -> float:
        """Statements that ended in time between two moments, in percent of the capacity."""
        done = sum(begin <= ended < end for _, ended in self.served)
        return 100 * done / (self._workload.capacity * (end - begin))

    def goodputs(self) -> list[float]:
        """The goodput of each phase."""
        found, begin = [], 0.0
        for phase in self._workload.phases:
            found.append(self.goodput(begin, begin + phase.seconds))
            begin += phase.seconds
        return found

    def reading(self) -> Reading:
        """The figures of the whole run."""
        took = [1000 * (ended - arrived) for arrived, ended in self.served] or [0.0]
        return {
            "goodput %": self.goodput(0.0, self._workload.seconds),
            "p50 ms": percentile(took, 50),
            "p99 ms": percentile(took, 99),
            "reconnects": self._pool.connects.attempts - self._connects_before,
            "out of order %": 100 * self.out_of_order / max(1, self.clients),
            "failed": self.failed,
        }
