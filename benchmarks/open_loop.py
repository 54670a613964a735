"""An open loop: clients arrive at random, whether others have been served or not.

Each client executes one statement of a given length, and gives up when its patience ends, while it
waits for a connection or in the middle of the statement; then it may try again. The same seed gives
all pools the same clients at the same times.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from time import perf_counter, process_time
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.interleave import Reading, percentile
from benchmarks.loop_lag import LoopLag
from benchmarks.machine_load import MOST
from benchmarks.pools import OpenPool

LAST_CLIENT = 15.0  # seconds that the last clients may need after their patience
ORDER_INTERVAL = 0.02  # seconds between two looks at the order of service
SLEEP = text("SELECT pg_sleep(:seconds)")
SLEEP_MYSQL = text("SELECT SLEEP(:seconds)")


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
    # How often a client that has given up tries again, at once.
    retries: int = 0

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
        is_mysql = connection.dialect.name in ("mysql", "mariadb")
        await connection.execute(SLEEP_MYSQL if is_mysql else SLEEP, {"seconds": seconds})
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


class Outcome(Enum):
    """How an attempt of a client ended."""

    SERVED = "served"
    # The statement ended as the client gave up, too late for it.
    LATE = "late"
    LEFT_QUEUE = "gave up in the queue"
    LEFT_STATEMENT = "gave up in the statement"
    # An error instead of a connection.
    REFUSED = "refused"
    # An error after it had a connection.
    FAILED = "failed"


UNSERVED = (
    Outcome.LEFT_QUEUE,
    Outcome.LEFT_STATEMENT,
    Outcome.LATE,
    Outcome.REFUSED,
    Outcome.FAILED,
)


class Attempt:
    """One attempt of a client, in the present task."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self.has_connection = False
        self.has_given_up = False

    def give_up(self) -> None:
        assert self._task is not None
        self.has_given_up = True
        self._task.cancel()

    def unserved(self) -> Outcome:
        """The outcome after its cancellation."""
        return Outcome.LEFT_STATEMENT if self.has_connection else Outcome.LEFT_QUEUE

    def failed(self) -> Outcome:
        """The outcome after an error."""
        return Outcome.FAILED if self.has_connection else Outcome.REFUSED


class Run:
    """One run of a workload on one pool."""

    def __init__(self, pool: OpenPool, workload: Workload) -> None:
        self._pool = pool
        self._workload = workload
        self._began = 0.0
        self._connects_before = pool.connects.attempts
        self._waiting: dict[Attempt, None] = {}  # in the order of their arrival
        self.lag = LoopLag()
        # What others took of a computation before or after the run, in percent.
        self.taken_by_others = 0.0
        self._cpu = 0.0  # share of one core that this process used, in percent
        # When a client arrived and was served, in seconds since the start.
        self.served: list[tuple[float, float]] = []
        self.outcomes: Counter[Outcome] = Counter()
        # When a client got a connection while an earlier one waited.
        self.overtakings: list[float] = []
        # When TypedPool was last seen to serve the newest first.
        self.last_overloaded = 0.0

    async def run(self) -> Run:
        """Start the clients at their times, and wait for the last one."""
        gc.collect()  # the garbage of other runs must not slow this one
        self.lag.start()
        self._began, cpu_before = perf_counter(), process_time()
        watch = asyncio.ensure_future(self._watch_order())
        tasks: set[asyncio.Task[None]] = set()
        for at, seconds in self._workload.arrivals():
            # a late loop starts all clients whose time has come before it reads sockets again
            if (wait := at - self._now()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.ensure_future(self._client(at, seconds))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await self._end_of(set(tasks))
        watch.cancel()
        self._cpu = 100 * (process_time() - cpu_before) / self._now()
        await self.lag.stop()
        return self

    async def _watch_order(self) -> None:
        while self._pool.typed is not None:
            if self._pool.typed.stats().is_overloaded:
                self.last_overloaded = self._now()
            await asyncio.sleep(ORDER_INTERVAL)

    async def _end_of(self, clients: set[asyncio.Task[None]]) -> None:
        if not clients:
            return
        limit = (1 + self._workload.retries) * self._workload.patience + LAST_CLIENT
        ended, pending = await asyncio.wait(clients, timeout=limit)
        if pending:
            raise RuntimeError(f"{len(pending)} clients have not ended within {limit:g} s")
        for client in ended:
            client.result()

    def _now(self) -> float:
        return perf_counter() - self._began

    async def _client(self, arrived: float, seconds: float) -> None:
        for _ in range(1 + self._workload.retries):
            outcome = await self._attempt(arrived, seconds)
            self.outcomes[outcome] += 1
            if outcome is Outcome.SERVED:
                self.served.append((arrived, self._now()))
                return
            arrived = self._now()

    async def _attempt(self, arrived: float, seconds: float) -> Outcome:
        """Execute the statement, and give up `patience` seconds after the arrival."""
        attempt = Attempt()
        left = arrived + self._workload.patience - self._now()
        # not asyncio.wait_for, which starts a task for each client before Python 3.12
        timer = asyncio.get_running_loop().call_later(left, attempt.give_up)
        try:
            await self._execute(attempt, seconds)
        except asyncio.CancelledError:
            if not attempt.has_given_up:
                raise
            return attempt.unserved()
        except Exception:  # noqa: BLE001 - each pool has errors of its own; they are counted
            return attempt.failed()
        finally:
            timer.cancel()
        # a driver may end a cancelled statement as if it had not been cancelled
        is_late = attempt.has_given_up or self._now() > arrived + self._workload.patience
        return Outcome.LATE if is_late else Outcome.SERVED

    async def _execute(self, attempt: Attempt, seconds: float) -> None:
        self._waiting[attempt] = None
        try:
            async with self._pool.borrow() as connection:
                attempt.has_connection = True
                if next(iter(self._waiting)) is not attempt:
                    self.overtakings.append(self._now())
                del self._waiting[attempt]
                await execute(connection, seconds)
        finally:
            self._waiting.pop(attempt, None)

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

    def in_order_after(self, moment: float) -> float:
        """Seconds from a moment until clients were served in order, as clients and pool see it."""
        last = max([self.last_overloaded, *self.overtakings])
        return max(0.0, last - moment)

    @property
    def is_valid(self) -> bool:
        """Whether the machine was free for it, so that the figures are those of the pool."""
        return self.taken_by_others <= MOST

    def _orders(self) -> Reading:
        """How often TypedPool has begun to serve the newest first; nothing for other pools."""
        typed = self._pool.typed
        return {} if typed is None else {"overloads": typed.stats().overloads}

    def reading(self) -> Reading:
        """The figures of the whole run; the goodput counts from the end of the first statements."""
        took = [1000 * (ended - arrived) for arrived, ended in self.served] or [0.0]
        attempts = sum(self.outcomes.values())
        percent = 100 / max(1, attempts)
        reconnects = self._pool.connects.attempts - self._connects_before
        return {
            "goodput %": self.goodput(self._workload.times.mean, self._workload.seconds),
            "p50 ms": percentile(took, 50),
            "p99 ms": percentile(took, 99),
            "requests": attempts,
            "reconnects %": percent * reconnects,
            "overtakings %": percent * len(self.overtakings),
            **{outcome.value: self.outcomes[outcome] for outcome in UNSERVED},
            **self._orders(),
            "mean loop lag ms": self.lag.mean,
            "p99 loop lag ms": self.lag.p99,
            "cpu %": self._cpu,
            "taken by others %": self.taken_by_others,
        }
