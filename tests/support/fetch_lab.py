"""Helpers of the tests of typed results.

A `Lab` runs the same statement on each database, driver and path. `engine_for` is for the tests of
the two paths on asyncpg: on the fast path a statement goes to the driver, on the slow path through
SQLAlchemy. A listener that does nothing sends all statements of an engine through the slow path.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, event, text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker

from sqla_typedpool import TypedPool, fetch_all, fetch_one, rows_as, stream
from sqla_typedpool.statement import as_executable
from tests.support.engines import make_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.embedded import Postgres

DRIVERS = {
    "asyncpg": "postgresql",
    "psycopg": "postgresql",
    "aiosqlite": "sqlite",
    "aiomysql": "mysql",
    "asyncmy": "mysql",
}
FAMILIES = ("postgresql", "sqlite", "mysql")
KINDS = ("engine", "connection", "session", "rows_as", "stream")


class Lab:
    """One database through one driver, on one of the two paths."""

    def __init__(self, driver: str, url: str, *, is_slow: bool) -> None:
        self.driver = driver
        self.family = DRIVERS[driver]
        self.url = url
        self.is_slow = is_slow

    def engine(self) -> AsyncEngine:
        """Return an engine with two connections at most: the tests run one statement at a time."""
        engine = make_engine(self.url, pool_size=2, max_overflow=0)
        if self.is_slow:
            event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
        return engine

    @asynccontextmanager
    async def engine_on(self) -> AsyncIterator[AsyncEngine]:
        """Yield an engine. On leaving, check that every connection has been returned."""
        engine = self.engine()
        try:
            yield engine
            assert TypedPool.of(engine).stats().in_use == 0, "a connection was lost"
        finally:
            await engine.dispose()


def no_listener(*_: Any) -> None:
    """Do nothing. An engine with any listener uses the slow path."""


def _param(driver: str, *, is_slow: bool = False) -> Any:
    server = {"postgresql": "postgres", "mysql": "mariadb"}.get(DRIVERS[driver])
    # set here because the test requests the fixture by name, when it runs
    marks = [] if server is None else [getattr(pytest.mark, server)]
    name = f"{driver} slow path" if is_slow else driver
    return pytest.param((driver, server, is_slow), id=name, marks=marks)


LABS = [_param(driver, is_slow=is_slow) for driver in DRIVERS for is_slow in (False, True)]


def lab_of(request: pytest.FixtureRequest, folder: Path) -> Lab:
    """Return the lab for a fixture that is parametrised with `LABS`."""
    driver, server, is_slow = request.param
    pytest.importorskip(driver)
    if server is None:
        return Lab(driver, f"sqlite+aiosqlite:///{folder / 'file.db'}", is_slow=is_slow)
    return Lab(driver, request.getfixturevalue(server).url(driver), is_slow=is_slow)


class Executor:
    """Fetches rows in one of the ways that an application can choose."""

    def __init__(self, kind: str, db: Any) -> None:
        self._kind = kind
        self._db = db

    async def rows(self, row_type: Any, statement: Any) -> list[Any]:
        """Return all rows, or raise the error."""
        if self._kind == "stream":
            return [row async for row in stream(self._db, row_type, statement)]
        if self._kind != "rows_as":
            return await fetch_all(self._db, row_type, statement)
        result = await self._db.execute(as_executable(statement))
        return rows_as(result, row_type).all()


@asynccontextmanager
async def executor_of(engine: AsyncEngine, kind: str) -> AsyncIterator[Executor]:
    """Yield an executor of one of `KINDS`."""
    if kind in ("engine", "stream"):
        yield Executor(kind, engine)
    elif kind == "connection":
        async with engine.connect() as connection:
            yield Executor(kind, connection)
    else:
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))  # later statements may take the fast path
            yield Executor(kind, session)


# ------------------------------------------------------------------ the two paths on asyncpg


PATHS = ("fast", "slow")
by_path = pytest.mark.parametrize("path", PATHS, ids=[f"{path} path" for path in PATHS])
by_db = pytest.mark.parametrize("kind", ["engine", "connection", "session", "scoped"])


@dataclass(slots=True)
class User:
    id: int
    name: str
    nick: str | None = None


@asynccontextmanager
async def engine_for(server: Postgres, path: str, **options: Any) -> AsyncIterator[AsyncEngine]:
    """Yield an engine whose statements take this path, and make a new table `people`.

    On leaving, check that every connection has been returned.
    """
    engine = make_engine(server.url("asyncpg"), **{"pool_size": 3, "max_overflow": 0, **options})
    if path == "slow":
        event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("DROP TABLE IF EXISTS people CASCADE"))
            await connection.execute(
                text("CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, nick text)")
            )
            await connection.execute(
                text("INSERT INTO people VALUES (1, 'Ada', NULL), (2, 'Bob', 'bo'), (3, 'Cy', '')")
            )
        yield engine
        stats = TypedPool.of(engine).stats()
        assert stats.in_use == 0, "a connection was lost"
    finally:
        await engine.dispose()


@asynccontextmanager
async def db_of(engine: AsyncEngine, kind: str) -> AsyncIterator[Any]:
    """Yield the engine itself, a connection, or a session that has begun a transaction."""
    if kind == "engine":
        yield engine
    elif kind == "connection":
        async with engine.connect() as connection:
            yield connection
    elif kind == "session":
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))  # later statements may take the fast path
            yield session
    else:
        scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        try:
            await scoped.execute(text("SELECT 1"))
            yield scoped
        finally:
            await scoped.remove()


_LOGGER = "sqla_typedpool.fetch"


class Paths:
    """Which path statements took, by their log records."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def slow(self) -> int:
        return sum(each.getMessage().startswith("slow path ") for each in self._caplog.records)

    def last(self) -> str:
        """Return the path of the last statement, "fast" or "slow"; forget all of them."""
        messages = [each.getMessage() for each in self._caplog.records if each.name == _LOGGER]
        self._caplog.clear()
        return messages[-1].partition(" path")[0]


ALL = "SELECT id, name, nick FROM people ORDER BY id"
ONE = "SELECT id, name, nick FROM people WHERE id = :id"
PEOPLE = [User(1, "Ada"), User(2, "Bob", "bo"), User(3, "Cy", "")]
ADD_PERSON = "INSERT INTO people VALUES (:id, :name) RETURNING id"
people = Table(
    "people",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("nick", Text),
)


async def people_count(engine: AsyncEngine) -> int:
    """Return the number of rows in `people`, fetched as by an application."""
    return await fetch_one(engine, int, "SELECT count(*) FROM people")


async def error_of(work: Coroutine[Any, Any, Any]) -> BaseException:
    """Return the error that this raises; fail if it raises none."""
    try:
        await work
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")
