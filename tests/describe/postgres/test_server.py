"""Locks, lost connections and missing privileges on PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool.check import CannotRun
from sqla_typedpool.describe import describer
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.errors import DescribeTimeout
from tests.describe.databases import nullability
from tests.describe.postgres.people import DRIVERS, People

pytestmark = pytest.mark.postgres


def test_many_statements_hold_few_locks(people_by_driver: People) -> None:
    async def work(engine: AsyncEngine) -> int:
        async with engine.connect() as connection, engine.connect() as other:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with describer(connection) as database:
                for number in range(60):
                    await database.describe(f"SELECT id + {number} FROM person")
                locks = text("SELECT count(*) FROM pg_locks WHERE pid = :pid")
                held: int = (await other.execute(locks, {"pid": pid})).scalar_one()
            return held

    assert people_by_driver.run(work) < 25


def test_the_statement_cache_of_asyncpg_stays_as_it_was(people: People) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.fetch("SELECT 41 + 1")
            async with describer(connection) as database:
                for number in range(5):
                    await database.describe(f"SELECT id + {number}, mood FROM person")
            names = "SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%person%'"
            assert [row[0] for row in await driver.fetch(names)] == [names]

    people.run(work)


def test_a_locked_table_exceeds_the_timeout_and_the_next_statement_is_described(
    people_by_driver: People,
) -> None:
    async def work(engine: AsyncEngine) -> float:
        async with engine.begin() as holder:
            await holder.execute(text("LOCK TABLE person IN ACCESS EXCLUSIVE MODE"))
            async with describer(engine, timeout=0.5) as database:
                began = time.monotonic()
                with pytest.raises(DescribeTimeout) as raised:
                    await database.describe("SELECT id FROM person")
                seconds = time.monotonic() - began
                assert str(raised.value) == (
                    "the database did not describe 'SELECT id FROM person' within 0.5 s; next: "
                    "check whether a table is locked, or set a longer timeout"
                )
                assert nullability(await database.describe("SELECT id FROM team")) == "0"
        return seconds

    assert 0.5 <= people_by_driver.run(work) < 4


def test_a_lock_is_waited_for_as_long_as_the_timeout_allows(own_people: People) -> None:
    """Also if the server has lower limits of its own."""

    async def work(engine: AsyncEngine) -> str:
        for limit in ("statement_timeout", "lock_timeout"):
            await own_people.execute(f"ALTER DATABASE {own_people.name} SET {limit} = 100")
        async with engine.connect() as other, engine.begin() as holder:
            await holder.execute(text("SET statement_timeout = 0"))
            await holder.execute(text("LOCK TABLE person IN ACCESS EXCLUSIVE MODE"))
            async with describer(engine, timeout=60) as database:
                running = asyncio.create_task(database.describe("SELECT id FROM person"))
                began = time.monotonic()
                while time.monotonic() - began < 0.5 or not await other.scalar(text(_WAITING)):
                    assert not running.done()
                    await asyncio.sleep(0.02)
                await holder.rollback()
                return nullability(await running)

    assert own_people.run(work) == "0"


_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_silent_server_exceeds_the_timeout_and_the_connection_is_not_used_again(
    own_postgres: Postgres, driver: str
) -> None:
    async def main() -> float:
        engine = create_async_engine(own_postgres.url(driver))
        began = time.monotonic()
        try:
            async with engine.connect() as connection:
                with pytest.raises(DescribeTimeout):
                    async with describer(connection, timeout=0.5) as database:
                        own_postgres.freeze()
                        began = time.monotonic()
                        await database.describe("SELECT 1")
                assert connection.invalidated
            return time.monotonic() - began
        finally:
            own_postgres.thaw()
            await engine.dispose()

    assert 0.5 <= asyncio.run(main()) < 10


def test_a_lost_connection_is_reported_as_such(people_by_driver: People) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as other:
            async with describer(engine) as database:
                kill = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                          WHERE datname = current_database() AND pid <> pg_backend_pid()"""
                await other.execute(text(kill))
                await database.describe("SELECT id FROM person")

    with pytest.raises(CannotRun, match="connection to the database is lost"):
        people_by_driver.run(work)


# ------------------------------------------------- databases that allow no temporary function


async def make_read_only(database: People) -> None:
    await database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")


async def revoke_temp(database: People) -> None:
    await database.execute(
        f"REVOKE TEMP ON DATABASE {database.name} FROM PUBLIC",
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
        f"ALTER DATABASE {database.name} SET role = reader",
    )


async def create_event_trigger(database: People) -> None:
    await database.execute(
        """CREATE FUNCTION fail() RETURNS event_trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'the application''s code was executed'; END $$""",
        "CREATE EVENT TRIGGER failing ON ddl_command_end EXECUTE FUNCTION fail()",
    )


@pytest.mark.parametrize(
    ("forbid", "reason"),
    [
        (make_read_only, "read-only"),
        (revoke_temp, "TEMP"),
        (create_event_trigger, "event trigger failing"),
    ],
)
def test_every_column_is_nullable_with_a_note_where_no_function_can_be_created(
    own_people: People, forbid: Callable[[People], Awaitable[None]], reason: str
) -> None:
    sql = """SELECT p.id, p.nick, t.name FROM person p
             LEFT JOIN team t ON t.id = p.team_id AND t.id > :low"""

    async def work(engine: AsyncEngine) -> None:
        await forbid(own_people)
        async with describer(engine) as database:
            found = await database.describe(sql)
            assert nullability(found) == "111"
            assert reason in found.notes[0]
            assert "--ephemeral" in found.notes[0]
            assert [each.type for each in found.columns] == ["int8", "text", "text"]

    own_people.run(work)
