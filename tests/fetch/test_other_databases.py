"""Typed results on the drivers that have no fast path: psycopg, SQLite, MariaDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_typedpool import (
    RowShapeError,
    RowValueError,
    StatementTimeout,
    TypedPool,
    execute,
    fetch_all,
    fetch_one,
    fetch_optional,
    rows_as,
    stream,
)
from tests.support.clocks import Stopwatch
from tests.support.engines import make_engine, run, until

if TYPE_CHECKING:
    from pathlib import Path

by_driver = pytest.mark.parametrize(
    "driver",
    [
        pytest.param("psycopg", marks=pytest.mark.postgres),
        "aiosqlite",
        pytest.param("aiomysql", marks=pytest.mark.mariadb),
        pytest.param("asyncmy", marks=pytest.mark.mariadb),
    ],
)

SLEEPS = {"psycopg": "SELECT 1 FROM pg_sleep(20)", "mysql": "SELECT SLEEP(20)"}


@dataclass(slots=True)
class User:
    id: int
    name: str
    nick: str | None = None


PEOPLE = [User(1, "Ada"), User(2, "Bob", "bo")]
ALL = "SELECT id, name, nick FROM people_elsewhere ORDER BY id"
ADD = "INSERT INTO people_elsewhere (id, name) VALUES (:id, :name)"


@pytest.fixture
def url(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    pytest.importorskip(driver)
    if driver == "aiosqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'people.db'}"
    return request.getfixturevalue("postgres" if driver == "psycopg" else "mariadb").url(driver)


@asynccontextmanager
async def people(url: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(url, pool_size=3, max_overflow=0)
    try:
        async with engine.begin() as connection:
            for statement in (
                "DROP TABLE IF EXISTS people_elsewhere",
                "CREATE TABLE people_elsewhere "
                "(id int PRIMARY KEY, name varchar(20) NOT NULL, nick varchar(20))",
                "INSERT INTO people_elsewhere VALUES (1, 'Ada', NULL), (2, 'Bob', 'bo')",
            ):
                await connection.execute(text(statement))
        yield engine
        assert await until(lambda: TypedPool.of(engine).stats().in_use == 0, 1)
    finally:
        await engine.dispose()


@by_driver
def test_rows_are_typed_on_every_driver(driver: str, url: str) -> None:
    async def main() -> None:
        async with people(url) as engine:
            assert await fetch_all(engine, User, ALL) == PEOPLE
            assert await fetch_optional(engine, User, f"{ALL} LIMIT 0") is None
            assert await fetch_one(engine, int, "SELECT count(*) FROM people_elsewhere") == 2
            with pytest.raises(exc.MultipleResultsFound):
                await fetch_one(engine, User, ALL)
            with pytest.raises(RowValueError, match='row 1, column "nick"'):
                await fetch_all(engine, str, "SELECT nick FROM people_elsewhere ORDER BY id")
            with pytest.raises(RowShapeError, match="nick"):
                await fetch_all(engine, tuple[int, str], ALL)
            async with AsyncSession(engine) as session:
                assert rows_as(await session.execute(text(ALL)), User).all() == PEOPLE

    run(main())


@by_driver
def test_an_engine_commits_and_a_connection_does_not(driver: str, url: str) -> None:
    async def main() -> None:
        async with people(url) as engine:
            assert await execute(engine, ADD, {"id": 3, "name": "Cy"}) == 1
            async with engine.connect() as connection:
                assert await execute(connection, ADD, {"id": 4, "name": "Di"}) == 1
                await connection.rollback()
            many = [{"id": 5, "name": "Ed"}, {"id": 6, "name": "Flo"}]
            assert await execute(engine, ADD, many) in (2, None)
            ids = await fetch_all(engine, int, "SELECT id FROM people_elsewhere ORDER BY id")
            assert ids == [1, 2, 3, 5, 6]

    run(main())


@by_driver
def test_a_wrong_shape_on_an_engine_is_rolled_back(driver: str, url: str) -> None:
    async def main() -> None:
        async with people(url) as engine:
            with pytest.raises(RowShapeError, match="returns no rows"):
                await fetch_one(engine, int, ADD, {"id": 9, "name": "Ida"})
            assert await fetch_one(engine, int, "SELECT count(*) FROM people_elsewhere") == 2

    run(main())


@by_driver
def test_a_stream_is_typed_and_can_be_left_early(driver: str, url: str) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) "
    cross = numbers + "SELECT a.i FROM n AS a, n AS b WHERE b.i <= 5"

    async def main() -> None:
        async with people(url) as engine:
            assert len([i async for i in stream(engine, int, cross)]) == 4500
            async with aclosing(stream(engine, int, cross)) as rows:
                async for _ in rows:
                    break
            assert await until(lambda: TypedPool.of(engine).stats().in_use == 0, 1)
            assert await fetch_all(engine, User, ALL) == PEOPLE

    run(main())


@by_driver
def test_a_timeout_ends_the_call_and_frees_its_slot(driver: str, url: str) -> None:
    if driver == "aiosqlite":
        pytest.skip("SQLite has no function that sleeps, and a statement cannot be cancelled")

    async def main() -> None:
        async with people(url) as engine:
            watch = Stopwatch()
            sleep = SLEEPS.get(driver, SLEEPS["mysql"])
            with pytest.raises(StatementTimeout):
                await fetch_one(engine, int, sleep, timeout=0.3)
            assert watch.awake < 3
            assert await asyncio.gather(*(fetch_all(engine, User, ALL) for _ in range(5))) == (
                [PEOPLE] * 5
            )

    run(main())
