"""aiosqlite: how often a call hops into the connection's thread, and what it does there."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import StaticPool

from sqla_typedpool import RowShapeError, execute, fetch_all, fetch_one
from tests.support.engines import PATIENCE, make_engine, run
from tests.support.fetch_lab import Paths
from tests.support.sqlite_lab import Blocker, Hops, driver_of, people_on

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

pytest.importorskip("aiosqlite")

ADD = "INSERT INTO people VALUES (:id, :name) RETURNING id"
RENAME = "UPDATE people SET name = :name WHERE id = :id"
ALL = "SELECT id, name FROM people ORDER BY id"
COUNT = "SELECT count(*) FROM people"


@dataclass
class Person:
    id: int
    name: str


# ------------------------------------------------------------------ how many hops


def test_a_statement_on_an_engine_takes_one_hop(tmp_path: Path) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            hops = Hops(await driver_of(engine))
            for _ in range(2):  # the columns are new, then known
                assert await fetch_all(engine, Person, ALL) == [Person(1, "Ada")]
                assert hops.taken() == ["run"]
            assert await execute(engine, RENAME, {"id": 1, "name": "Bob"}) == 1
            assert hops.taken() == ["run"]

    run(main())


def test_only_the_first_call_that_writes_and_returns_rows_takes_a_second_hop(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            hops = Hops(await driver_of(engine))
            assert await fetch_one(engine, int, ADD, {"id": 2, "name": "Bob"}) == 2
            assert hops.taken() == ["run", "commit"]
            assert await fetch_one(engine, int, ADD, {"id": 3, "name": "Cy"}) == 3
            assert hops.taken() == ["run"]
            assert await fetch_one(engine, int, COUNT) == 3

    run(main())


def test_a_statement_in_a_transaction_takes_one_hop(tmp_path: Path) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            hops = Hops(await driver_of(engine))
            async with engine.begin() as connection:
                await fetch_one(connection, int, ADD, {"id": 2, "name": "Bob"})
                await execute(connection, RENAME, {"id": 1, "name": "Bea"})
                assert hops.taken() == ["run", "run"]
            assert hops.taken() == ["commit"]
            async with AsyncSession(engine) as session:
                await session.execute(text("SELECT 1"))  # connects
                hops.taken()
                assert await fetch_all(session, Person, ALL) == [Person(1, "Bea"), Person(2, "Bob")]
                assert hops.taken() == ["run"]

    run(main())


# ------------------------------------------------------------------ what is committed


@pytest.mark.parametrize("first", [True, False], ids=["first call", "after a migration"])
def test_an_insert_whose_columns_do_not_fit_is_undone(tmp_path: Path, first: bool) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            add = "INSERT INTO people (id, name) VALUES (:id, 'new') RETURNING *"
            row_type = Person
            if first:
                add = "INSERT INTO people (id, name) VALUES (:id, 'new') RETURNING id"
            else:
                await fetch_one(engine, row_type, add, {"id": 2})
                await execute(engine, "ALTER TABLE people ADD COLUMN nick")
            before = await fetch_one(engine, int, COUNT)
            hops = Hops(await driver_of(engine))
            with pytest.raises(RowShapeError):
                await fetch_one(engine, row_type, add, {"id": 3})
            assert hops.taken() == ["run", "roll_back"]
            assert not (await driver_of(engine)).in_transaction
            assert await fetch_one(engine, int, COUNT) == before

    run(main())


def test_a_failed_commit_leaves_no_transaction_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            owner = "owner REFERENCES people DEFERRABLE INITIALLY DEFERRED"
            await execute(engine, f"CREATE TABLE pets ({owner})")
            await execute(engine, "PRAGMA foreign_keys = ON")
            for sql in ("INSERT INTO pets VALUES (9)", "INSERT INTO pets VALUES (9) RETURNING 1"):
                for _ in range(2):
                    call = fetch_one(engine, int, sql) if "RETURN" in sql else execute(engine, sql)
                    with pytest.raises(exc.IntegrityError) as caught:
                        await call
                    assert caught.value.statement is None  # it is an error of COMMIT
                    assert not (await driver_of(engine)).in_transaction
            assert await fetch_one(engine, int, "SELECT count(*) FROM pets") == 0
            assert "dirty return" not in caplog.text

    run(main())


@pytest.mark.parametrize("kind", ["execute", "fetch", "transaction"])
def test_a_statement_that_is_cancelled_while_it_runs_is_not_committed(
    tmp_path: Path, kind: str
) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            blocker = Blocker()
            driver = await driver_of(engine)
            await driver.create_function("block", 0, blocker)
            add = "INSERT INTO people VALUES (2, block())"

            async def in_transaction() -> None:
                async with engine.begin() as connection:
                    await execute(connection, add)

            calls: dict[str, Any] = {
                "execute": lambda: execute(engine, add),
                "fetch": lambda: fetch_one(engine, int, f"{add} RETURNING id"),
                "transaction": in_transaction,
            }
            task = asyncio.ensure_future(calls[kind]())
            await blocker.wait_until_called()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            blocker.release.set()
            # the next borrower sees the table as it was, and can write to it
            assert await fetch_all(engine, Person, ALL) == [Person(1, "Ada")]
            assert await execute(engine, RENAME, {"id": 1, "name": "Bob"}) == 1

    run(main())


def test_a_call_that_is_cancelled_while_it_is_queued_does_not_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine, engine.connect() as connection:
            blocker = Blocker()
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            await driver.create_function("block", 0, blocker)
            # not a call of SQLAlchemy, which would hold the lock of the connection
            other = asyncio.ensure_future(driver.execute_fetchall("SELECT block()"))
            await blocker.wait_until_called()
            queued = asyncio.ensure_future(execute(connection, "CREATE TABLE never (id)"))
            await asyncio.sleep(0)
            queued.cancel()
            with pytest.raises(asyncio.CancelledError):
                await queued
            blocker.release.set()
            with pytest.raises(sqlite3.OperationalError, match="interrupted"):
                await other  # the connection is closed
            await connection.rollback()  # the cancellation has invalidated the connection
            tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
            assert await fetch_all(connection, str, tables) == ["people"]

    run(main())


# ------------------------------------------------------------------ the gate


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("row_factory", lambda _, row: row[::-1]), ("isolation_level", None)],
    ids=["row_factory", "isolation_level"],
)
def test_a_connection_with_other_settings_takes_the_slow_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, attribute: str, value: Any
) -> None:
    caplog.set_level(logging.DEBUG, "sqla_typedpool.fetch")

    async def main() -> None:
        async with people_on(tmp_path) as engine:
            setattr((await driver_of(engine))._connection, attribute, value)
            await execute(engine, RENAME, {"id": 1, "name": "Bob"})
            assert Paths(caplog).slow() == 1

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3's `autocommit` came with 3.12")
@pytest.mark.parametrize("autocommit", [True, False])
def test_a_connection_with_autocommit_takes_the_slow_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, autocommit: bool
) -> None:
    caplog.set_level(logging.DEBUG, "sqla_typedpool.fetch")

    async def main() -> None:
        options = {"connect_args": {"autocommit": autocommit}}
        async with people_on(tmp_path, **options) as engine:
            assert await fetch_one(engine, int, ADD, {"id": 2, "name": "Bob"}) == 2
            assert await fetch_one(engine, int, COUNT) == 2
            assert Paths(caplog).slow() == 2

    run(main())


def test_an_engine_with_another_pool_uses_the_fast_path_on_its_connections(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sqla_typedpool.fetch")

    async def main() -> None:
        engine = make_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        async with engine.connect() as connection:
            assert await fetch_one(connection, int, "SELECT 1") == 1
            assert Paths(caplog).slow() == 0
        await engine.dispose()

    run(main())


def test_two_event_loops_in_two_threads_use_one_engine(tmp_path: Path) -> None:
    async def set_up() -> AsyncEngine:
        async with people_on(tmp_path) as engine:
            return engine

    engine = run(set_up())
    errors: list[BaseException] = []

    async def work() -> None:
        for _ in range(20):
            await execute(engine, "INSERT INTO people (name) VALUES ('new')")
            await fetch_all(engine, Person, ALL)

    def in_thread() -> None:
        try:
            run(work())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=in_thread) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []

    async def count() -> int:
        return await fetch_one(engine, int, COUNT)

    assert run(count()) == 41
