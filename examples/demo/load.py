"""The load: concurrent workers that read PostgreSQL's catalogs, in the same order on both pools.

A worker sends its next request when the previous one has ended and a pause has passed. It draws
queries and pauses from a random generator with a fixed seed: worker 7 sends the same requests on
both pools, only their times differ.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

from sqlalchemy import TextClause, event, text
from sqlalchemy.exc import TimeoutError as PoolTimedOut
from sqlalchemy.ext.asyncio import AsyncEngine

from examples.demo.database import brief
from examples.demo.figures import (
    CONNECT_FAILED,
    CONNECTION_LOST,
    POOL_TIMED_OUT,
    Checkout,
    Failure,
    Records,
    Response,
)

SEED = 2024
MEAN_PAUSE = 0.05
"""Average pause of a worker after a response, in seconds."""
PAUSE_AFTER_FAILURE = 0.25
"""Pause of a worker after a failure, in seconds."""

clock = time.perf_counter


@dataclass(frozen=True)
class WorkloadQuery:
    """One query of the workload."""

    share: int
    """How often it is sent, relative to the other queries."""
    sql: TextClause
    names: str | None = None
    """The SQL that returns the possible values of `:name`."""


QUERIES = (
    WorkloadQuery(
        share=600,
        names="SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') ORDER BY 1 LIMIT 500",
        sql=text(
            "SELECT a.attname, t.typname, a.attnotnull FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid"
            " WHERE c.relname = :name AND a.attnum > 0 ORDER BY a.attnum"
        ),
    ),
    WorkloadQuery(
        share=300,
        names="SELECT DISTINCT proname FROM pg_proc ORDER BY 1 LIMIT 500",
        sql=text("SELECT oid, proname, pronargs, provolatile FROM pg_proc WHERE proname = :name"),
    ),
    WorkloadQuery(
        share=98,
        sql=text(
            "SELECT n.nspname, count(*) AS functions, avg(p.pronargs) AS arguments"
            " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace GROUP BY n.nspname"
        ),
    ),
    # A slow query: it reads the server's time zone files.
    WorkloadQuery(
        share=2, sql=text("SELECT name, abbrev, utc_offset, is_dst FROM pg_timezone_names")
    ),
)


@dataclass(frozen=True)
class Workload:
    """The possible values of `:name` for each query, read once for both pools."""

    names: tuple[tuple[str, ...], ...]

    @classmethod
    async def prepare(cls, engine: AsyncEngine) -> Workload:
        """Read the names, and run each query once, so that both pools find warm caches."""
        async with engine.connect() as connection:
            names: list[tuple[str, ...]] = []
            for query in QUERIES:
                found = await connection.scalars(text(query.names)) if query.names else ()
                names.append(tuple(found))
                await connection.execute(query.sql, {"name": "x"} if query.names else {})
        return cls(tuple(names))

    def draw(self, generator: random.Random) -> tuple[TextClause, dict[str, str]]:
        """Return the next query and its parameters; it always draws two random numbers."""
        shares = [query.share for query in QUERIES]
        chosen = generator.choices(range(len(QUERIES)), shares)[0]
        position = generator.random()
        names = self.names[chosen]
        if not names:
            return QUERIES[chosen].sql, {}
        return QUERIES[chosen].sql, {"name": names[int(position * len(names))]}


@dataclass
class Load:
    """Workers that send requests through one engine, and the records of these requests."""

    engine: AsyncEngine
    workload: Workload
    workers: int
    records: Records = field(default_factory=Records)
    stopping: bool = False

    async def run(self) -> None:
        """Run all workers, until `stopping` is set and each has ended its request."""
        event.listen(self.engine.sync_engine, "connect", self._record_connect)
        await asyncio.gather(*(self._work(number) for number in range(self.workers)))

    async def _work(self, number: int) -> None:
        generator = random.Random(f"{SEED}:{number}")
        # The workers do not start at the same moment.
        await asyncio.sleep(generator.uniform(0, MEAN_PAUSE))
        while not self.stopping:
            sql, parameters = self.workload.draw(generator)
            pause = generator.expovariate(1 / MEAN_PAUSE)
            succeeded = await self._request(number, sql, parameters)
            await asyncio.sleep(pause if succeeded else PAUSE_AFTER_FAILURE)

    async def _request(self, worker: int, sql: TextClause, parameters: dict[str, str]) -> bool:
        """Send one request and record its result; return whether it succeeded."""
        started = clock()
        connected = False
        try:
            async with self.engine.connect() as connection:
                connected = True
                self.records.checkouts.append(Checkout(started, clock() - started))
                rows = (await connection.execute(sql, parameters)).all()
        except Exception as error:  # noqa: BLE001 - every error of a caller is recorded
            self._record_failure(started, connected, error)
            return False
        self.records.responses.append(Response(worker, clock(), len(rows)))
        return True

    def _record_failure(self, started: float, connected: bool, error: Exception) -> None:
        now = clock()
        if not connected:
            self.records.checkouts.append(Checkout(started, now - started))
        self.records.failures.append(Failure(now, kind_of(error, connected), brief(error)))

    def _record_connect(self, *_: object) -> None:
        self.records.opened.append(clock())


def kind_of(error: Exception, connected: bool) -> str:
    """Classify a failure by the stage that the request had reached."""
    if connected:
        return CONNECTION_LOST
    return POOL_TIMED_OUT if isinstance(error, PoolTimedOut) else CONNECT_FAILED
