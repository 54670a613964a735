"""Describing executes nothing, changes nothing and leaves nothing behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InterfaceError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_typedpool import TypedPool
from sqla_typedpool.check import Refused, describe
from sqla_typedpool.describe import describer
from tests.describe.databases import Database, nullability
from tests.support.cancellation import cancel_at_await

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


def test_a_cancelled_description_leaves_nothing(database: Database) -> None:
    async def main() -> None:
        before = await database.contents()
        async with pooled(database) as engine:
            # at the 1st, 4th, 9th ... await, up to the end of the description
            for root in count(1):
                if not await cancel_description(engine, root**2):
                    break
                assert checked_out(engine) == 0
                assert await describe_two(engine) == ["01", "00"]
            assert root > 1 or database.family == "sqlite"  # which describes without waiting
        assert await database.contents() == before

    asyncio.run(main())


async def cancel_description(engine: AsyncEngine, step: int) -> bool:
    """Cancel a description at this await; return whether it had so many.

    The drivers of MariaDB close the connection then, which reports that when it rolls back.
    """
    was_cancelled = True
    with suppress(InterfaceError):
        async with describer(engine) as found:
            work = found.describe("SELECT id, nick FROM u WHERE id = :id")
            was_cancelled = await cancel_at_await(work, step, late=False)
    return was_cancelled


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
