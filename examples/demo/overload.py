"""Overload: more requests arrive than the connections can serve, and callers give up.

All pools get the same requests at the same moments: the arrivals are drawn once, from a random
generator with a fixed seed, and do not wait for the responses to earlier requests.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import asyncpg
from sqlalchemy import URL, event, text
from sqlalchemy.ext.asyncio import create_async_engine

from examples.demo.captured_log import CapturedLog, captured_log
from examples.demo.figures import percentile
from examples.demo.load import SEED, clock
from examples.demo.pool_run import POOL_SIZE
from sqla_typedpool import TypedPool

SERVICE_SECONDS = 0.05
"""How long each request uses its connection."""
PATIENCE = 0.5
"""A caller gives up so many seconds after its request has arrived."""
LOAD = 1.5
"""How many requests arrive, as a multiple of those that the connections can serve."""
END_SECONDS = 10.0
"""How long the last requests may need to end after their callers have given up."""
APPLICATION_NAME = "typedpool-demo overload"
STATEMENT = f"SELECT pg_sleep({SERVICE_SECONDS})"

Request = Callable[[], Awaitable[Any]]


@dataclass
class OverloadFigures:
    """What became of the requests to one pool."""

    pool: str
    arrived: int = 0
    answered: int = 0
    """Requests that received their response before the caller gave up."""
    gave_up: int = 0
    failed: int = 0
    opened: int = 0
    """Connections that were opened during the load."""
    p50_ms: float | None = None
    """The median time of the answered requests, from arrival to response."""

    def as_json(self) -> dict[str, Any]:
        """Return the figures as data for `json.dumps`."""
        return asdict(self)


@dataclass(frozen=True)
class OpenedPool:
    """A pool whose connections are all open: `request()` sends one request."""

    request: Request
    connects: list[float]
    """When each connection was opened."""


def capacity(seconds: float) -> int:
    """Return how many requests the connections can serve in this time."""
    return round(POOL_SIZE / SERVICE_SECONDS * seconds)


def arrivals(seconds: float) -> list[float]:
    """Return when each request arrives, in seconds after the start; always the same moments."""
    generator = random.Random(f"{SEED}:overload")
    moments, now = list[float](), 0.0
    while (now := now + generator.expovariate(LOAD * POOL_SIZE / SERVICE_SECONDS)) < seconds:
        moments.append(now)
    return moments


@dataclass
class OverloadRun:
    """The load on one pool."""

    pool: OpenedPool
    figures: OverloadFigures
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _took: list[float] = field(default_factory=list)

    async def run(self, moments: Sequence[float]) -> OverloadFigures:
        """Send all requests, and wait until each has been answered or given up."""
        gc.collect()  # the garbage of another run must not slow this one
        opened_before = len(self.pool.connects)
        started = clock()
        try:
            for moment in moments:
                if (pause := started + moment - clock()) > 0:
                    await asyncio.sleep(pause)
                self._send(started + moment)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=PATIENCE + END_SECONDS)
        finally:
            await self._end_all()
        self.figures.opened = len(self.pool.connects) - opened_before
        median = percentile(self._took, 50)
        self.figures.p50_ms = None if median is None else median * 1000
        return self.figures

    def _send(self, arrived: float) -> None:
        self.figures.arrived += 1
        task = asyncio.ensure_future(self.pool.request())
        loop = asyncio.get_running_loop()
        timer = loop.call_later(arrived + PATIENCE - clock(), task.cancel)
        task.add_done_callback(partial(self._ended, arrived, timer))
        self._tasks.add(task)

    def _ended(self, arrived: float, timer: asyncio.TimerHandle, task: asyncio.Task[Any]) -> None:
        timer.cancel()
        self._tasks.discard(task)
        took = clock() - arrived
        if not task.cancelled() and task.exception():
            self.figures.failed += 1
        elif task.cancelled() or took > PATIENCE:
            self.figures.gave_up += 1
        else:
            self.figures.answered += 1
            self._took.append(took)

    async def _end_all(self) -> None:
        """Cancel the requests that are left after an interruption, or because they hang."""
        left = set(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=END_SECONDS)


# --- the pools -----------------------------------------------------------------------------------


@asynccontextmanager
async def _open_engine(url: URL, **arguments: Any) -> AsyncIterator[OpenedPool]:
    """An engine of SQLAlchemy."""
    engine = create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        connect_args={"server_settings": {"application_name": APPLICATION_NAME}},
        **arguments,
    )
    connects: list[float] = []
    event.listen(engine.sync_engine, "connect", lambda *_: connects.append(clock()))
    statement = text(STATEMENT)

    async def request() -> None:
        async with engine.connect() as connection:
            await connection.execute(statement)

    try:
        held = await asyncio.gather(*(engine.connect() for _ in range(POOL_SIZE)))
        for connection in held:
            await connection.close()
        yield OpenedPool(request, connects)
    finally:
        await engine.dispose()


@asynccontextmanager
async def _open_asyncpg_pool(url: URL) -> AsyncIterator[OpenedPool]:
    """The pool of the driver, without SQLAlchemy."""
    connects: list[float] = []

    async def note_connect(_: object) -> None:
        connects.append(clock())

    _, options = url.get_dialect()().create_connect_args(url)
    pool = asyncpg.create_pool(
        min_size=POOL_SIZE,
        max_size=POOL_SIZE,
        init=note_connect,
        server_settings={"application_name": APPLICATION_NAME},
        **options,
    )

    async def request() -> None:
        async with pool.acquire() as connection:
            await connection.execute(STATEMENT)

    try:
        await pool
        yield OpenedPool(request, connects)
    finally:
        pool.terminate()


def pools(url: URL) -> dict[str, AbstractAsyncContextManager[OpenedPool]]:
    """Return the pools, in the order of their runs; each is opened with `async with`."""
    return {
        "stock pool": _open_engine(url),
        "asyncpg.Pool": _open_asyncpg_pool(url),
        "TypedPool": _open_engine(url, poolclass=TypedPool),
    }


async def overload(
    url: URL, seconds: float, show: Callable[[OverloadFigures, CapturedLog], None]
) -> list[OverloadFigures]:
    """Run the load on each pool, and call `show` after each.

    :param seconds: the duration of the load.
    """
    moments = arrivals(seconds)
    found = []
    for name, opening in pools(url).items():
        with captured_log() as log:
            async with opening as pool:
                figures = await OverloadRun(pool, OverloadFigures(name)).run(moments)
            gc.collect()  # errors of tasks and futures are logged when they are deleted
        show(figures, log)
        found.append(figures)
    return found


# --- the output ----------------------------------------------------------------------------------


def introduction(seconds: float) -> str:
    """Describe the load."""
    per_second = capacity(1)
    return (
        f"Overload. For {seconds:g} s, {LOAD * per_second:,.0f} requests arrive each second, on"
        f" average. Each runs pg_sleep({SERVICE_SECONDS:g}), so the capacity of the {POOL_SIZE}"
        f" connections is {per_second:,} a second. A caller gives up {PATIENCE:g} s after its"
        " request has arrived. All pools get the same requests at the same moments."
        " Answered in time:"
    )


def line(figures: OverloadFigures, seconds: float) -> str:
    """Format the figures of one pool."""
    share = 100 * figures.answered / capacity(seconds)
    median = "-" if figures.p50_ms is None else f"{figures.p50_ms:,.0f} ms"
    return (
        f"{figures.pool:<12}  {figures.answered:>5,} of {figures.arrived:,}"
        f" = {share:.0f} % of the capacity, median {median}"
    )


def explanation() -> str:
    """Explain the difference, whatever the figures are."""
    return (
        "In a queue that is served in order, the next caller is the one that has the least time"
        " left. It often gives up while its query runs, and the work is lost. When many callers"
        " give up, TypedPool serves the newest caller first, until they stop. It refuses no caller."
    )
