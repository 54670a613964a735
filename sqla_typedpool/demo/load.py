"""The callers: closed-loop workers that read PostgreSQL's own catalogs, the same in both legs.

Each worker draws its queries and its pauses from its own seeded generator, so worker 7 asks the
same questions in the same order whatever the pool does; only the answers' moments differ.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import TextClause, event, text
from sqlalchemy.exc import TimeoutError as PoolTimedOut
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.demo.figures import (
    CUT_OFF,
    NOT_CONNECTED,
    TIMED_OUT,
    Answer,
    Checkout,
    Failure,
    Records,
)

SEED = 2024
MEAN_PAUSE = 0.05
"""Seconds a worker rests after an answer, on average."""
PAUSE_AFTER_FAILURE = 0.25
"""Seconds a worker waits after a failure: a client that retries politely, not a hammer."""

clock = time.perf_counter


@dataclass(frozen=True)
class Question:
    """One kind of read: how often it is asked, and what `:name` is drawn from."""

    share: int
    sql: TextClause
    names: str | None = None


QUESTIONS = (
    Question(
        share=600,
        names="SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') ORDER BY 1 LIMIT 500",
        sql=text(
            "SELECT a.attname, t.typname, a.attnotnull FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid"
            " WHERE c.relname = :name AND a.attnum > 0 ORDER BY a.attnum"
        ),
    ),
    Question(
        share=300,
        names="SELECT DISTINCT proname FROM pg_proc ORDER BY 1 LIMIT 500",
        sql=text("SELECT oid, proname, pronargs, provolatile FROM pg_proc WHERE proname = :name"),
    ),
    Question(
        share=98,
        sql=text(
            "SELECT n.nspname, count(*) AS functions, avg(p.pronargs) AS arguments"
            " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace GROUP BY n.nspname"
        ),
    ),
    # Reads the server's time zone files: the slow report that every application has.
    Question(share=2, sql=text("SELECT name, abbrev, utc_offset, is_dst FROM pg_timezone_names")),
)


@dataclass(frozen=True)
class Workload:
    """The questions with the names found in the database, fetched once for both legs."""

    names: tuple[tuple[str, ...], ...]

    @classmethod
    async def prepare(cls, engine: AsyncEngine) -> Workload:
        """Fetch the names; every question runs once, so that no leg pays for a cold cache."""
        async with engine.connect() as connection:
            names: list[tuple[str, ...]] = []
            for question in QUESTIONS:
                found = await connection.scalars(text(question.names)) if question.names else ()
                names.append(tuple(found))
                await connection.execute(question.sql, {"name": "x"} if question.names else {})
        return cls(tuple(names))

    def draw(self, generator: random.Random) -> tuple[TextClause, dict[str, str]]:
        """The next question and its parameters; always the same number of draws."""
        shares = [question.share for question in QUESTIONS]
        chosen = generator.choices(range(len(QUESTIONS)), shares)[0]
        position = generator.random()
        names = self.names[chosen]
        if not names:
            return QUESTIONS[chosen].sql, {}
        return QUESTIONS[chosen].sql, {"name": names[int(position * len(names))]}


@dataclass
class Load:
    """Workers that ask one engine until they are told to stop, and what they saw."""

    engine: AsyncEngine
    workload: Workload
    workers: int
    records: Records = field(default_factory=Records)
    stopping: bool = False

    async def run(self) -> None:
        """Run all workers; ends once `stopping` is set and each has finished its request."""
        event.listen(self.engine.sync_engine, "connect", self._note_connect)
        await asyncio.gather(*(self._work(number) for number in range(self.workers)))

    async def _work(self, number: int) -> None:
        generator = random.Random(f"{SEED}:{number}")
        # A staggered start: thirty callers never come in the same microsecond.
        await asyncio.sleep(generator.uniform(0, MEAN_PAUSE))
        while not self.stopping:
            sql, parameters = self.workload.draw(generator)
            pause = generator.expovariate(1 / MEAN_PAUSE)
            answered = await self._ask(number, sql, parameters)
            await asyncio.sleep(pause if answered else PAUSE_AFTER_FAILURE)

    async def _ask(self, worker: int, sql: TextClause, parameters: dict[str, str]) -> bool:
        """One request; every error that reaches the caller is a failure, none is hidden."""
        asked = clock()
        connected = False
        try:
            async with self.engine.connect() as connection:
                connected = True
                self.records.checkouts.append(Checkout(asked, clock() - asked))
                rows = (await connection.execute(sql, parameters)).all()
        except Exception as error:  # noqa: BLE001 - whatever the caller gets is what is measured
            self._note_failure(asked, connected, error)
            return False
        self.records.answers.append(Answer(worker, clock(), len(rows)))
        return True

    def _note_failure(self, asked: float, connected: bool, error: Exception) -> None:
        now = clock()
        if not connected:
            self.records.checkouts.append(Checkout(asked, now - asked))
        self.records.failures.append(Failure(now, kind_of(error, connected), brief(error)))

    def _note_connect(self, *_: object) -> None:
        self.records.opened.append(clock())


def kind_of(error: Exception, connected: bool) -> str:
    """What a caller would say of this error: it depends on how far the request had come."""
    if connected:
        return CUT_OFF
    return TIMED_OUT if isinstance(error, PoolTimedOut) else NOT_CONNECTED


def brief(error: BaseException, limit: int = 200) -> str:
    """An error's type and the first line of its message."""
    lines: Sequence[str] = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:limit]
