"""Cancelled calls and timeouts end the statement on the server and return the connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import StatementTimeout, TypedPool, execute, fetch_all, fetch_one
from tests.support.clocks import Stopwatch
from tests.support.engines import admin_of, new_name, run, until
from tests.support.fetch_lab import ALL, PEOPLE, User, by_path, db_of, engine_for, people_count

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
def test_a_cancelled_statement_ends_on_the_server_and_loses_no_connection(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with admin_of(postgres) as admin, engine_for(postgres, path) as engine:
            mark = new_name()
            async with db_of(engine, kind) as db:
                task = asyncio.ensure_future(
                    fetch_one(db, object, f'SELECT pg_sleep(30) AS "{mark}"')
                )
                assert await running(admin, mark, 1) == 1
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await running(admin, mark, 0) == 0
            assert await asyncio.gather(*(people_count(engine) for _ in range(5))) == [3] * 5

    run(main())


async def running(admin: Any, mark: str, number: int) -> int:
    """Wait until `number` backends run a statement that contains this mark, 5 s at most.

    :return: how many do. If `number` is not 0, only those that sleep are counted: a cancel request
        that arrives before the statement has no effect.
    """
    watch = Stopwatch()
    while True:
        found: int = await admin.connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
            "AND pid <> pg_backend_pid() AND strpos(query, $1) > 0 "
            "AND (wait_event IS NOT DISTINCT FROM 'PgSleep' OR NOT $2)",
            mark,
            number > 0,
        )
        if found == number or watch.seconds > 5:
            return found
        await asyncio.sleep(0.01)


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
def test_a_timeout_bounds_the_call_and_ends_the_statement(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with admin_of(postgres) as admin, engine_for(postgres, path) as engine:
            mark = new_name()
            async with db_of(engine, kind) as db:
                watch = Stopwatch()
                with pytest.raises(StatementTimeout, match=r"timeout=0\.2"):
                    await fetch_one(db, object, f'SELECT pg_sleep(30) AS "{mark}"', timeout=0.2)
                assert watch.awake < 2
                assert await running(admin, mark, 0) == 0
            assert await people_count(engine) == 3

    run(main())


@by_path
def test_a_timeout_covers_the_checkout(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, pool_size=1) as engine:
            async with engine.connect():
                with pytest.raises(StatementTimeout):
                    await fetch_one(engine, int, "SELECT 1", timeout=0.1)
                with pytest.raises(TimeoutError):
                    await execute(engine, "SELECT 1", timeout=0.1)
            assert await fetch_one(engine, int, "SELECT 1", timeout=1) == 1

    run(main())


@by_path
@pytest.mark.parametrize("threshold", [None, 60])
def test_the_holder_of_a_fetch_shows_the_line_that_calls_it(
    postgres: Postgres, path: str, threshold: float | None
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, pool_leak_threshold=threshold) as engine:
            pool = TypedPool.of(engine)
            task = asyncio.ensure_future(holds(engine))
            assert await until(lambda: pool.stats().in_use == 1, 2)
            await asyncio.sleep(0.05)
            (holder,) = pool.holders()
            assert "test_timeouts.py" in str(holder.where)
            assert "holds" in str(holder.where)
            task.cancel()
            await asyncio.wait({task})

    run(main())


async def holds(engine: AsyncEngine) -> None:
    await fetch_one(engine, object, "SELECT pg_sleep(30)")


@by_path
def test_a_hundred_cancelled_calls_lose_no_connection(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            tasks = [
                asyncio.ensure_future(fetch_all(engine, User, ALL + f" LIMIT {n % 4}"))
                for n in range(100)
            ]
            for number, task in enumerate(tasks):
                if number % 3:
                    asyncio.get_running_loop().call_later(0.0005 * number, task.cancel)
            await asyncio.wait(tasks)
            for number, task in enumerate(tasks):
                if not task.cancelled():
                    assert task.result() == PEOPLE[: number % 4]
            assert await asyncio.gather(*(people_count(engine) for _ in range(9))) == [3] * 9

    run(main())


def test_a_call_that_is_closed_instead_of_cancelled_loses_no_connection(postgres: Postgres) -> None:
    """The garbage collector closes a coroutine that is never resumed."""

    async def main() -> None:
        # asyncpg logs an answer that arrives after the call was closed
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with engine_for(postgres, "fast") as engine:
            await people_count(engine)  # prepares the statement
            call = fetch_one(engine, object, "SELECT pg_sleep(30)")
            awaited = call.send(None)  # runs until it first waits for the server
            awaited._asyncio_future_blocking = False
            assert TypedPool.of(engine).stats().in_use == 1
            call.close()
            assert TypedPool.of(engine).stats().in_use == 0
            assert await asyncio.gather(*(people_count(engine) for _ in range(5))) == [3] * 5

    asyncio.run(main())
