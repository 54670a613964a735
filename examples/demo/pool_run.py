"""The run of one pool: the same load, the same crash and the same limits for both pools."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from examples.demo.database import DemoError, accepts, connections_of
from examples.demo.figures import Outage, PoolFigures, Timeline, figures, percentile
from examples.demo.load import Load, Workload, clock
from sqla_typedpool import TypedPool

POOL_SIZE = 10
POOL_TIMEOUT = 5.0
IDLE_TIMEOUT = 2.0
MIN_SIZE = 2
DOWN_SECONDS = 1.5
"""How long the server is down before it is started again."""
RESTART_SECONDS = 30.0
"""How long the server may take to start again before the demo gives up."""
NOT_STARTED = (
    f"the temporary server did not start again within {RESTART_SECONDS:g} s; next: run the demo"
    " again, or with --database-url on your own server"
)
POLL_SECONDS = 0.005
"""How often the demo tries whether the server accepts connections."""
PROGRESS_SECONDS = 0.5
"""How often the progress is shown."""
PROGRESS_CHECKOUTS = 300
"""The progress shows the median of the last so many checkouts."""


@dataclass(frozen=True)
class PoolSetup:
    """A pool: its name, and the arguments of its engine besides the common limits."""

    name: str
    application_name: str
    arguments: Mapping[str, Any]

    def engine(self, url: URL) -> AsyncEngine:
        """Return a new engine with this pool and the limits that are common to both."""
        return create_async_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            connect_args={"server_settings": {"application_name": self.application_name}},
            **self.arguments,
        )


STOCK = PoolSetup("stock pool", "typedpool-demo stock", {"pool_pre_ping": True})
TYPED = PoolSetup(
    "TypedPool",
    "typedpool-demo typed",
    {
        "poolclass": TypedPool,
        "pool_min_size": MIN_SIZE,
        "pool_idle_timeout": IDLE_TIMEOUT,
    },
)


@dataclass(frozen=True)
class Schedule:
    """How long the parts of a run take, in seconds; the crash is in the middle of the load."""

    load: float = 10.0
    idle: float = 4.0

    @property
    def warm_up(self) -> float:
        """The time in which the pool fills; its checkouts are not counted."""
        return min(1.0, self.load / 5)

    @property
    def recovery(self) -> float:
        """The least duration of the load after the server is back."""
        return self.load / 3


@dataclass(frozen=True)
class RunSettings:
    """What both runs have in common."""

    url: URL
    observer: AsyncEngine
    workload: Workload
    workers: int
    schedule: Schedule
    restart: Callable[[], None] | None
    """Kills the server and starts it again; None = the server is left alone."""


@dataclass(frozen=True)
class Progress:
    """The state of a run at one moment."""

    pool: str
    phase: str
    elapsed: float
    completed: int
    failed: int
    p50_ms: float | None
    connections: int | None
    """Connections that the server reports; None = it does not answer."""


@dataclass
class PoolRun:
    """The run of one pool; `show_progress` is called twice a second."""

    setup: PoolSetup
    settings: RunSettings
    show_progress: Callable[[Progress], None]
    phase: str = "warm-up"
    started: float = field(default_factory=clock)
    over: bool = False

    async def run(self) -> PoolFigures:
        """Run the load, the crash, the recovery and the time without requests."""
        gc.collect()  # the garbage of the first run must not slow the second one
        engine = self.setup.engine(self.settings.url)
        try:
            return await self._measure(engine)
        finally:
            await engine.dispose()

    async def _measure(self, engine: AsyncEngine) -> PoolFigures:
        workers = self.settings.workers
        load = Load(engine, self.settings.workload, workers)
        tasks = [
            asyncio.create_task(load.run()),
            asyncio.create_task(self._show_progress_of(load)),
        ]
        try:
            timeline = await self._load_and_crash(load, tasks[0])
            idle_connections = await self._wait_without_requests()
        finally:
            load.stopping = self.over = True
            await _cancel(tasks)
        return figures(self.setup.name, load.records, timeline, workers, idle_connections)

    async def _load_and_crash(self, load: Load, loading: asyncio.Task[None]) -> Timeline:
        """Run the load with the crash in its middle, until the last request has ended."""
        schedule = self.settings.schedule
        end = clock() + schedule.load
        await asyncio.sleep(schedule.warm_up)
        steady_from = clock()
        self.phase = "steady load"
        crash, outage = None, None
        if self.settings.restart:
            await asyncio.sleep(schedule.load / 2 - schedule.warm_up)
            crash, outage = clock(), await self._restart(self.settings.restart)
            end = max(end, clock() + schedule.recovery)
        await asyncio.sleep(end - clock())
        load.stopping = True
        await loading
        return Timeline(steady_from, crash, outage, clock())

    async def _restart(self, restart: Callable[[], None]) -> Outage:
        """Restart the server in a thread, and measure how long it refuses connections."""
        self.phase = "server is down"
        restarting = asyncio.create_task(asyncio.to_thread(restart))
        while not restarting.done() and await accepts(self.settings.observer):
            await asyncio.sleep(POLL_SECONDS)
        began = clock()
        while not await accepts(self.settings.observer):
            if restarting.done():
                restarting.result()  # raises the error of a restart that has failed
            if clock() - began > RESTART_SECONDS:
                raise DemoError(NOT_STARTED)
            await asyncio.sleep(POLL_SECONDS)
        outage = Outage(began, clock())
        self.phase = "server is back"
        await restarting
        return outage

    async def _wait_without_requests(self) -> int | None:
        """Return how many connections the server has after a time without requests."""
        self.phase = "no requests"
        await asyncio.sleep(self.settings.schedule.idle)
        return await connections_of(self.settings.observer, self.setup.application_name)

    async def _show_progress_of(self, load: Load) -> None:
        name = self.setup.application_name
        while not self.over:
            connections = await connections_of(self.settings.observer, name)
            self.show_progress(self._progress(load, connections))
            await asyncio.sleep(PROGRESS_SECONDS)

    def _progress(self, load: Load, connections: int | None) -> Progress:
        recent = [checkout.waited for checkout in load.records.checkouts[-PROGRESS_CHECKOUTS:]]
        median = percentile(recent, 50)
        return Progress(
            pool=self.setup.name,
            phase=self.phase,
            elapsed=clock() - self.started,
            completed=len(load.records.responses),
            failed=len(load.records.failures),
            p50_ms=None if median is None else median * 1000,
            connections=connections,
        )


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel the tasks that still run, wait for them, and raise the first error of any."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
