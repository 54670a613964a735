"""One leg: the script that both pools play, with the same moments and the same limits."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool import TypedPool
from sqla_typedpool.demo.figures import LegFigures, Outage, Windows, figures, percentile
from sqla_typedpool.demo.load import Load, Workload, clock
from sqla_typedpool.demo.target import DemoError, accepts, connections_of

POOL_SIZE = 10
POOL_TIMEOUT = 5.0
IDLE_TIMEOUT = 2.0
MIN_SIZE = 2
AWAY = 1.5
"""Seconds between the server's death and the order to start it again."""
RESTART_PATIENCE = 30.0
"""Seconds the server may take to come back before the demo gives up."""
NOT_BACK = (
    f"The embedded server did not come back within {RESTART_PATIENCE:g} s of its restart; run the"
    " demo again, or with --url on a server of your own."
)
POLL = 0.005
"""Seconds between two looks at whether the server accepts connections."""
LIVE_SAMPLE = 300
"""The live figures are those of the last so many checkouts."""


@dataclass(frozen=True)
class Contender:
    """A pool under test: its name, and what it is made with beside the common limits."""

    name: str
    application_name: str
    arguments: Mapping[str, Any]

    def engine(self, url: URL) -> AsyncEngine:
        """A new engine with this pool; limits are the same for every contender."""
        return create_async_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            connect_args={"server_settings": {"application_name": self.application_name}},
            **self.arguments,
        )


CONTENDERS = (
    Contender("stock pool", "typedpool-demo stock", {"pool_pre_ping": True}),
    Contender(
        "TypedPool",
        "typedpool-demo typed",
        {
            "poolclass": TypedPool,
            "pool_min_size": MIN_SIZE,
            "pool_idle_timeout": IDLE_TIMEOUT,
        },
    ),
)


@dataclass(frozen=True)
class Timetable:
    """When things happen in a leg, in seconds; the restart comes in the middle of the load."""

    load: float = 10.0
    quiet: float = 4.0

    @property
    def warm_up(self) -> float:
        """The first moments, when pools fill, are left out of the checkout times."""
        return min(1.0, self.load / 5)

    @property
    def recovery(self) -> float:
        """The least time the load goes on after the server is back."""
        return self.load / 3


@dataclass(frozen=True)
class Stage:
    """What a run of legs needs besides its contenders."""

    url: URL
    observer: AsyncEngine
    workload: Workload
    workers: int
    times: Timetable
    restart: Callable[[], None] | None


@dataclass(frozen=True)
class Progress:
    """How a leg stands at one moment, for the live display."""

    pool: str
    phase: str
    elapsed: float
    answered: int
    failed: int
    p50_ms: float | None
    connections: int | None


@dataclass
class Leg:
    """One contender playing the script; `watch` is told how it stands twice a second."""

    contender: Contender
    stage: Stage
    watch: Callable[[Progress], None]
    phase: str = "warm-up"
    started: float = field(default_factory=clock)
    over: bool = False

    async def play(self) -> LegFigures:
        """Load, crash, recovery, quiet; returns what was measured."""
        gc.collect()  # neither leg pays for the other's garbage
        engine = self.contender.engine(self.stage.url)
        try:
            return await self._play(engine)
        finally:
            await engine.dispose()

    async def _play(self, engine: AsyncEngine) -> LegFigures:
        workers = self.stage.workers
        load = Load(engine, self.stage.workload, workers)
        tasks = [asyncio.create_task(load.run()), asyncio.create_task(self._report(load))]
        try:
            windows = await self._script(load, tasks[0])
            idle = await self._quiet()
        finally:
            load.stopping = self.over = True
            await _end(tasks)
        return figures(self.contender.name, load.records, windows, workers, idle)

    async def _script(self, load: Load, loading: asyncio.Task[None]) -> Windows:
        """The load with the restart in its middle; ends when the last caller has its answer."""
        times = self.stage.times
        end = clock() + times.load
        await asyncio.sleep(times.warm_up)
        calm_from = clock()
        self.phase = "steady load"
        restarted, outage = None, None
        if self.stage.restart:
            await asyncio.sleep(times.load / 2 - times.warm_up)
            restarted, outage = clock(), await self._restart(self.stage.restart)
            end = max(end, clock() + times.recovery)
        await asyncio.sleep(end - clock())
        load.stopping = True
        await loading
        return Windows(calm_from, restarted, outage, clock())

    async def _restart(self, restart: Callable[[], None]) -> Outage:
        """Restart the server in a thread; bare connections tell when it was away."""
        self.phase = "server is away"
        restarting = asyncio.create_task(asyncio.to_thread(restart))
        while not restarting.done() and await accepts(self.stage.observer):
            await asyncio.sleep(POLL)
        began = clock()
        while not await accepts(self.stage.observer):
            if restarting.done():
                restarting.result()  # raises if the restart failed: nothing to wait for
            if clock() - began > RESTART_PATIENCE:
                raise DemoError(NOT_BACK)
            await asyncio.sleep(POLL)
        outage = Outage(began, clock())
        self.phase = "server is back"
        await restarting
        return outage

    async def _quiet(self) -> int | None:
        """Nobody asks for a while; how many connections does the server still hold?"""
        self.phase = "nobody asks"
        await asyncio.sleep(self.stage.times.quiet)
        return await connections_of(self.stage.observer, self.contender.application_name)

    async def _report(self, load: Load) -> None:
        """Tell `watch` twice a second; the server itself is asked for the connections."""
        name = self.contender.application_name
        while not self.over:
            connections = await connections_of(self.stage.observer, name)
            self.watch(self._progress(load, connections))
            await asyncio.sleep(0.5)

    def _progress(self, load: Load, connections: int | None) -> Progress:
        recent = [checkout.waited for checkout in load.records.checkouts[-LIVE_SAMPLE:]]
        median = percentile(recent, 50)
        return Progress(
            pool=self.contender.name,
            phase=self.phase,
            elapsed=clock() - self.started,
            answered=len(load.records.answers),
            failed=len(load.records.failures),
            p50_ms=None if median is None else median * 1000,
            connections=connections,
        )


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel what still runs and wait for it; an error of its own is not swallowed."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
