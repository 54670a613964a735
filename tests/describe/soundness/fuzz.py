"""Random statements described and run: whoever says NOT NULL must never be shown a NULL."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.describe.model import Description
from sqla_typedpool.embedded import Postgres

from .generator import Statement, statement
from .judge import PREFIX, Court, court
from .shrink import shrunk
from .verdict import Describe, Verdict, verdict_of

SHRINK_SECONDS = 15.0
TOGETHER = 300
"""How many statements are described by one describer, in one transaction."""


@dataclass
class Tally:
    """What a run of the fuzzer found."""

    statements: int = 0
    accepted: int = 0
    columns: int = 0
    not_null: int = 0
    """Columns called NOT NULL, of statements that could be run."""
    put_to_test: int = 0
    """Those of them that had at least one row to be NULL in."""
    never_null: int = 0
    """Columns called nullable that had rows, and never a NULL."""
    caution: Counter[str] = field(default_factory=Counter)
    """Why those were called nullable."""
    found: list[str] = field(default_factory=list)
    """Unsound columns, wrong refusals and the like, as text to be read."""
    seconds: float = 0.0

    def count(self, verdict: Verdict) -> None:
        """Add one statement."""
        self.statements += 1
        self.accepted += bool(verdict.runs) or verdict.described is not None
        if not verdict.runs:
            return
        self.columns += len(verdict.columns)
        firm = sum(not column.nullable for column in verdict.columns)
        self.not_null += firm
        self.put_to_test += firm if verdict.has_rows else 0
        for at, column in enumerate(verdict.columns):
            if column.nullable and at not in verdict.nulls and verdict.has_rows:
                self.never_null += 1
                self.caution[column.why] += 1

    def __str__(self) -> str:
        return (
            f"{self.statements} statements, {self.accepted} accepted by the server,"
            f" {self.columns} columns, {self.not_null} inferred NOT NULL ({self.put_to_test} of"
            f" them had rows), {len(self.found)} found wrong; {self.never_null} called nullable"
            f" never were NULL; {self.seconds:.1f} s"
        )


async def fuzz(
    server: Postgres,
    seed: int,
    *,
    seconds: float,
    statements: int,
    describe: Describe | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Judge random statements until the time or the number is reached.

    :param describe: who is judged; None = the describer of PostgreSQL.
    """
    tally, end = Tally(), time.monotonic() + seconds
    async with court(server) as bench:
        while tally.statements < statements and time.monotonic() < end:
            async with _witness(server, describe) as judged:
                for _ in range(min(TOGETHER, statements - tally.statements)):
                    await _judge(f"{seed}:{tally.statements}", judged, bench, tally, say)
                    if time.monotonic() > end:
                        break
    tally.seconds = seconds - (end - time.monotonic())
    return tally


@contextlib.asynccontextmanager
async def _witness(server: Postgres, describe: Describe | None) -> AsyncIterator[Describe]:
    if describe is not None:
        yield describe
        return
    async with postgres_describe(server) as judged:
        yield judged


async def _judge(
    name: str, describe: Describe, bench: Court, tally: Tally, say: Callable[[str], None]
) -> None:
    verdict = await verdict_of(statement(name, bench.major), describe, bench)
    tally.count(verdict)
    if verdict.faults():
        tally.found.append(await _told(name, verdict, describe, bench))
        say(tally.found[-1])


@contextlib.asynccontextmanager
async def postgres_describe(server: Postgres) -> AsyncIterator[Describe]:
    """The describer under judgement, on a database without any rows."""
    from sqla_typedpool.describe import describer

    engine = create_async_engine(server.url("asyncpg", PREFIX + "empty"))
    try:
        async with engine.connect() as connection, describer(connection) as witness:

            async def describe(sql: str, never_null: frozenset[str]) -> Description:
                return await witness.describe(text(sql), never_null=sorted(never_null))

            yield describe
    finally:
        await engine.dispose()


async def _told(name: str, verdict: Verdict, describe: Describe, bench: Court) -> str:
    """What is wrong with a verdict, for people: seed, statement, column, why, and a shorter one."""

    given = verdict.statement
    kinds = set(verdict.faults())

    async def is_as_wrong(sql: str) -> bool:
        candidate = Statement(sql, given.values, given.never_null)
        return kinds <= set((await verdict_of(candidate, describe, bench)).faults())

    short = Statement(
        await shrunk(given.sql, is_as_wrong, SHRINK_SECONDS), given.values, given.never_null
    )
    faults = (await verdict_of(short, describe, bench)).faults() or verdict.faults()
    told = [
        f"seed {name}, PostgreSQL {bench.major}",
        *(each for one in faults.values() for each in one),
    ]
    if given.values:
        told.append(f"parameters {given.values}, never None: {sorted(given.never_null)}")
    return "\n  ".join([*told, short.sql, f"from: {given.sql}"])
