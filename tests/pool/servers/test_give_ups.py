"""Guarantee 13: on every driver the pool counts the borrowers that are cancelled in a statement."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_typedpool import TypedPool, execute, fetch_all, stream
from tests.support.drivers import ALL
from tests.support.engines import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.databases import Database

pytestmark = pytest.mark.filterwarnings(
    # psycopg's warning about the cursor of a stream that was cancelled
    "ignore:.*was deleted while still open:ResourceWarning"
)

SQLITE_LONG = """
    WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 8000000)
    SELECT sum(n) FROM t
"""


async def core(engine: AsyncEngine, statement: str) -> None:
    async with engine.connect() as connection:
        await connection.execute(text(statement))


async def session(engine: AsyncEngine, statement: str) -> None:
    async with AsyncSession(engine) as db:
        await db.execute(text(statement))


async def fetched(engine: AsyncEngine, statement: str) -> None:
    await fetch_all(engine, int, statement)


async def fetched_in_transaction(engine: AsyncEngine, statement: str) -> None:
    async with engine.begin() as connection:
        await fetch_all(connection, int, statement)


async def fetched_with_timeout(engine: AsyncEngine, statement: str) -> None:
    await fetch_all(engine, int, statement, timeout=0.5)


async def executed_with_timeout(engine: AsyncEngine, statement: str) -> None:
    await execute(engine, statement, timeout=0.5)


async def streamed(engine: AsyncEngine, statement: str) -> None:
    async for _ in stream(engine, int, statement):
        pass


async def streamed_with_timeout(engine: AsyncEngine, statement: str) -> None:
    async for _ in stream(engine, int, statement, timeout=0.5):
        pass


CANCELLED = [core, session, fetched, fetched_in_transaction, streamed]
TIMED_OUT = [fetched_with_timeout, executed_with_timeout, streamed_with_timeout]


def gave_up(engine: AsyncEngine) -> list[tuple[float, float]]:
    """A list to which the waiting and the holding time of each counted borrower is added."""
    order: Any = TypedPool.of(engine).loops.current().overload._order
    found: list[tuple[float, float]] = []
    order.borrower_gave_up = lambda waited, held, now: found.append((waited, held))
    return found


async def wait_for_a_connection(
    engine: AsyncEngine, use: Callable[..., Awaitable[None]], statement: str
) -> asyncio.Task[None]:
    """Let a task wait for the only connection, and return it when it has begun to use it."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        task = asyncio.ensure_future(use(engine, statement))
        await asyncio.sleep(0.15)
        assert not task.done()
    await asyncio.sleep(0.15)
    return task


@pytest.mark.parametrize("driver", ALL)
@pytest.mark.parametrize("use", CANCELLED)
def test_a_borrower_that_is_cancelled_in_a_statement_counts(
    database: Database, use: Callable[..., Awaitable[None]]
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=1, max_overflow=0) as engine:
            counted = gave_up(engine)
            statement = SQLITE_LONG if database.driver == "aiosqlite" else database.sleep(20)
            task = await wait_for_a_connection(engine, use, statement)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            ((waited, held),) = counted
            assert 0.1 < waited < 2
            assert 0.1 < held < 2

    run(main())


@pytest.mark.parametrize("driver", ALL)
@pytest.mark.parametrize("use", TIMED_OUT)
def test_a_call_that_its_timeout_ends_in_a_statement_counts(
    database: Database, use: Callable[..., Awaitable[None]]
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=1, max_overflow=0) as engine:
            counted = gave_up(engine)
            statement = SQLITE_LONG if database.driver == "aiosqlite" else database.sleep(20)
            task = await wait_for_a_connection(engine, use, statement)
            with pytest.raises(TimeoutError):
                await task
            assert len(counted) == 1

    run(main())
