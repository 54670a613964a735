"""Describing executes nothing, changes nothing and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from sqla_typedpool import TypedPool
from sqla_typedpool.check import Refused, describe
from sqla_typedpool.describe import describer
from tests.describe.databases import Database, nullability
from tests.support.cancellation import observe_awaits

WRITES = [
    "DELETE FROM u",
    "DELETE FROM u RETURNING id",
    "UPDATE u SET nick = 'changed'",
    "INSERT INTO ps VALUES (:id, :uid, :t)",
    "INSERT INTO u (id, name) VALUES (77, 'new') RETURNING id",
    "DROP TABLE p",
    "CREATE TABLE more (id int)",
    "CREATE TABLE copy AS SELECT * FROM u",
]


def test_nothing_is_executed(database: Database) -> None:
    async def main() -> None:
        before = await database.contents()
        async with database.engine() as engine:
            for sql in WRITES:
                await describe(engine, sql)
                assert await database.contents() == before, sql

    asyncio.run(main())


def test_the_transaction_of_the_caller_is_left_as_it_was(database: Database) -> None:
    async def main() -> None:
        async with database.engine() as engine, AsyncSession(engine) as session:
            await session.execute(text("INSERT INTO ps VALUES (70, 7, 'mine')"))
            assert nullability(await describe(session, "SELECT id, nick FROM u")) == "01"
            await describe(session, "DELETE FROM ps")
            with pytest.raises(Refused):
                await describe(session, "SELECT missing")
            assert await number_of_mine(session) == 1
            assert session.in_transaction()
            await session.commit()
        async with database.engine() as engine, AsyncSession(engine) as session:
            assert await number_of_mine(session) == 1
            await session.execute(text("DELETE FROM ps WHERE id = 70"))
            await session.commit()

    asyncio.run(main())


async def number_of_mine(session: AsyncSession) -> Any:
    """Return how many of the rows exist that the test inserts."""
    return await session.scalar(text("SELECT count(*) FROM ps WHERE t = 'mine'"))


def test_a_temporary_table_of_the_caller_is_described(database: Database) -> None:
    async def main() -> None:
        async with database.engine() as engine, engine.connect() as connection:
            await connection.exec_driver_sql("CREATE TEMPORARY TABLE mine (a int NOT NULL, b int)")
            assert nullability(await describe(connection, "SELECT a, b FROM mine")) == "01"
            await connection.rollback()

    asyncio.run(main())


def test_a_describer_returns_its_connection_to_the_pool(database: Database) -> None:
    async def main() -> None:
        async with pooled(database) as engine:
            await describe(engine, "SELECT id FROM u")
            assert checked_out(engine) == 0
            with pytest.raises(Refused):
                await describe(engine, "SELECT missing FROM u")
            assert checked_out(engine) == 0

    asyncio.run(main())


@pytest.mark.parametrize("cancellations", [1, 2])
def test_a_cancelled_description_leaves_nothing(database: Database, cancellations: int) -> None:
    async def main() -> None:
        before = await database.contents()
        async with pooled(database) as engine:
            step, is_cancelled = 1, True
            while is_cancelled:
                work = describe(engine, "SELECT id, nick FROM u WHERE id = :id")
                is_cancelled = await cancel_description(work, step, cancellations)
                assert checked_out(engine) == 0
                assert await describe_two(engine) == ["01", "00"]
                async with engine.connect() as connection:
                    await begin_of_driver(connection)
                step += 1 + step // 5
            assert step > 3
        assert await database.contents() == before

    asyncio.run(main())


def test_a_describer_is_closed_without_an_error_after_a_cancelled_description(
    database: Database,
) -> None:
    async def main() -> None:
        async with pooled(database) as engine:
            for step in range(1, 9):
                async with describer(engine) as found:
                    await cancel_description(found.describe("SELECT id, nick FROM u"), step, 1)
                assert checked_out(engine) == 0
                assert await describe_two(engine) == ["01", "00"]

    asyncio.run(main())


async def begin_of_driver(connection: AsyncConnection) -> None:
    """Begin a transaction with the driver's own method, which refuses one inside another."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if type(driver).__module__.startswith("asyncpg"):
        transaction = driver.transaction()
        await transaction.start()
        await transaction.rollback()
    elif type(driver).__module__.startswith("psycopg"):
        assert driver.info.transaction_status.name == "IDLE"


async def cancel_description(work: Coroutine[Any, Any, Any], step: int, cancellations: int) -> bool:
    """Cancel a description at this await of its tasks; return whether they have so many.

    It must end with `CancelledError`, or, if that comes too late, without an error.
    """
    loop, steps, reached = asyncio.get_running_loop(), count(1), False
    factory = loop.get_task_factory()
    waiting: asyncio.Task[Any]

    def on_await(_: object) -> None:
        nonlocal reached
        if next(steps) == step:
            reached = waiting.cancel()
            if cancellations == 2:
                loop.call_soon(loop.call_soon, waiting.cancel)

    def create_task(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        async def observed() -> Any:
            return await observe_awaits(coroutine, on_await)

        return asyncio.Task(observed(), loop=loop, **options)

    loop.set_task_factory(create_task)
    try:
        waiting = loop.create_task(work)
        done, _ = await asyncio.wait({waiting}, timeout=10)
    finally:
        loop.set_task_factory(factory)
    assert done, f"cancelled at await {step}, the description did not end within 10 s"
    with suppress(asyncio.CancelledError):
        waiting.result()
    return reached


async def describe_two(engine: AsyncEngine) -> list[str]:
    async with describer(engine) as found:
        one = await found.describe("SELECT id, nick FROM u WHERE id = :id")
        other = await found.describe("SELECT id, name FROM u")
    return [nullability(one), nullability(other)]


def pooled(database: Database) -> Any:
    """An engine with a pool of one connection."""
    return database.engine(poolclass=TypedPool, pool_size=1, max_overflow=0)


def checked_out(engine: AsyncEngine) -> int:
    pool: Any = engine.pool
    checked_out: int = pool.checkedout()
    return checked_out


def test_a_connection_can_be_used_before_and_after_it_is_described_on(database: Database) -> None:
    async def main() -> None:
        async with database.engine() as engine, engine.connect() as connection:
            for _ in range(2):
                assert await connection.scalar(text("SELECT count(*) FROM u")) == 3
                await describe(connection, "SELECT id FROM u")

    asyncio.run(main())
