"""Random statements, described and executed for some time."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.check import Description
from sqla_typedpool.describe import describer
from sqla_typedpool.embedded import Postgres
from tests.describe.execution import DataSets, PostgresDataSets, database_name, postgres_data_sets
from tests.describe.soundness.check import Describe, Result, Statement, check_by_execution
from tests.describe.soundness.generator import random_statement
from tests.describe.soundness.shrink import shrink

SCHEMA = "company"
SHRINK_SECONDS = 15.0
BATCH = 300
"""How many statements are described by one describer, in one transaction."""


@dataclass
class FuzzReport:
    """What a run of the fuzzer found."""

    statements: int = 0
    accepted: int = 0
    """Statements that the server or the describer accepted."""

    columns: int = 0
    not_null: int = 0
    """Columns described as NOT NULL, of statements that could be executed."""

    tested: int = 0
    """Those of them that returned at least one row."""

    never_null: int = 0
    """Columns described as nullable that returned rows, and never NULL."""

    reasons: Counter[str] = field(default_factory=Counter)
    """Why those were described as nullable."""

    failures: list[str] = field(default_factory=list)
    """Wrong descriptions, as text with several lines each."""

    seconds: float = 0.0

    def add(self, result: Result) -> None:
        """Count one statement."""
        self.statements += 1
        self.accepted += bool(result.outcomes) or result.described is not None
        if not result.outcomes:
            return
        self.columns += len(result.columns)
        not_null = sum(not column.nullable for column in result.columns)
        self.not_null += not_null
        self.tested += not_null if result.has_rows else 0
        for at, column in enumerate(result.columns):
            if column.nullable and at not in result.nulls and result.has_rows:
                self.never_null += 1
                self.reasons[column.why] += 1

    def __str__(self) -> str:
        return (
            f"{self.statements} statements, {self.accepted} accepted by the server,"
            f" {self.columns} columns, {self.not_null} described as NOT NULL ({self.tested} of"
            f" them with rows), {len(self.failures)} wrong descriptions; {self.never_null} columns"
            f" described as nullable were never NULL; {self.seconds:.1f} s"
        )


async def fuzz(
    server: Postgres,
    seed: int,
    *,
    seconds: float,
    statements: int,
    describe: Describe | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> FuzzReport:
    """Check random statements until the time has passed or the number is reached.

    :param describe: the function to check; None = the describer of PostgreSQL.
    :param log: receives each failure when it is found.
    """
    report, end = FuzzReport(), time.monotonic() + seconds
    async with postgres_data_sets(server, SCHEMA) as data:
        while report.statements < statements and time.monotonic() < end:
            async with _describe_or(describe, server) as current:
                for _ in range(min(BATCH, statements - report.statements)):
                    await _check_one(f"{seed}:{report.statements}", current, data, report, log)
                    if time.monotonic() > end:
                        break
    report.seconds = seconds - (end - time.monotonic())
    return report


@contextlib.asynccontextmanager
async def _describe_or(describe: Describe | None, server: Postgres) -> AsyncIterator[Describe]:
    """Yield the given function, or else the describer of PostgreSQL on a new connection."""
    if describe is not None:
        yield describe
        return
    async with postgres_describe(server) as current:
        yield current


async def _check_one(
    seed: str,
    describe: Describe,
    data: PostgresDataSets,
    report: FuzzReport,
    log: Callable[[str], None],
) -> None:
    result = await check_by_execution(random_statement(seed, data.major), describe, data)
    report.add(result)
    if result.failures():
        report.failures.append(await _failure(seed, result, describe, data))
        log(report.failures[-1])


@contextlib.asynccontextmanager
async def postgres_describe(server: Postgres) -> AsyncIterator[Describe]:
    """Describe on the database without rows."""
    engine = create_async_engine(server.url("asyncpg", database_name(SCHEMA, "empty")))
    try:
        async with engine.connect() as connection, describer(connection) as database:

            async def describe(sql: str, never_null: frozenset[str]) -> Description:
                return await database.describe(text(sql), never_null=sorted(never_null))

            yield describe
    finally:
        await engine.dispose()


async def _failure(seed: str, result: Result, describe: Describe, data: DataSets) -> str:
    """Return the seed, what is wrong, a shortened statement and the original one, as text."""
    given = result.statement
    kinds = set(result.failures())

    async def fails_alike(sql: str) -> bool:
        candidate = Statement(sql, given.values, given.never_null)
        return kinds <= set((await check_by_execution(candidate, describe, data)).failures())

    shortened = Statement(
        await shrink(given.sql, fails_alike, SHRINK_SECONDS), given.values, given.never_null
    )
    again = await check_by_execution(shortened, describe, data)
    failures = again.failures() or result.failures()
    lines = [f"seed {seed}, PostgreSQL {data.major}"]
    lines += [sentence for sentences in failures.values() for sentence in sentences]
    if given.values:
        lines.append(f"parameters {given.values}, never None: {sorted(given.never_null)}")
    return "\n  ".join([*lines, shortened.sql, f"from: {given.sql}"])
