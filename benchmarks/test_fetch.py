"""Typed results compared with the bare driver and with SQLAlchemy and a constructor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import Table, event, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import Column, MetaData
from sqlalchemy.types import Boolean, DateTime, Float, Integer, Text

from benchmarks.interleave import Goal, Reading, Turn
from sqla_typedpool import TypedPool, fetch_all, fetch_one

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Runner


@dataclass(slots=True)
class User:
    id: int
    name: str
    email: str
    born: datetime
    score: float
    active: bool


@dataclass(frozen=True, slots=True)
class FrozenUser:
    id: int
    name: str
    email: str
    born: datetime
    score: float
    active: bool


TABLE = """
    CREATE TABLE IF NOT EXISTS users AS
    SELECT id::int4, 'name ' || id AS name, 'mail' || id || '@example.org' AS email,
           TIMESTAMP '1990-01-01' + id * INTERVAL '1 day' AS born,
           id / 7.0::float8 AS score, id % 2 = 0 AS active
    FROM generate_series(1, 20000) AS id;
    CREATE UNIQUE INDEX IF NOT EXISTS users_id ON users (id);
    ANALYZE users
"""
COLUMNS = "id, name, email, born, score, active"
ONE = f"SELECT {COLUMNS} FROM users WHERE id = :id"
ONE_BARE = f"SELECT {COLUMNS} FROM users WHERE id = $1"
MANY = f"SELECT {COLUMNS} FROM users WHERE id <= :most"
MANY_BARE = f"SELECT {COLUMNS} FROM users WHERE id <= $1"

users = Table(
    "users",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("email", Text),
    Column("born", DateTime),
    Column("score", Float),
    Column("active", Boolean),
)
ID = {"id": 7}
SELECTED = select(users).where(users.c.id == 7)


@dataclass
class Targets:
    """The connections, pools and engines that are compared, open and warm."""

    bare: asyncpg.Connection
    pool: asyncpg.Pool
    typed: AsyncEngine
    traced: AsyncEngine
    stock: AsyncEngine
    open: AsyncConnection
    stock_open: AsyncConnection


def _trace(*_: Any) -> None:
    """A listener that does nothing."""


async def _open(server: URL) -> Targets:
    dsn = server.set(drivername="postgresql").render_as_string(hide_password=False)
    bare = await asyncpg.connect(dsn)
    await bare.execute(TABLE)
    typed = create_async_engine(server, poolclass=TypedPool)
    traced = create_async_engine(server, poolclass=TypedPool)
    event.listen(traced.sync_engine, "before_cursor_execute", _trace)
    stock = create_async_engine(server)
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=5)
    return Targets(bare, pool, typed, traced, stock, await typed.connect(), await stock.connect())


async def _close(targets: Targets) -> None:
    for connection in (targets.open, targets.stock_open):
        await connection.close()
    for engine in (targets.typed, targets.traced, targets.stock):
        await engine.dispose()
    await targets.pool.close()
    await targets.bare.close()


@pytest.fixture
def targets(runner: Runner, server: URL) -> Iterator[Targets]:
    opened = runner.loop.run_until_complete(_open(server))
    yield opened
    runner.loop.run_until_complete(_close(opened))


def timed(call: Callable[[], Awaitable[object]], times: int) -> Turn:
    """A turn of `times` calls, one after the other; microseconds per call."""

    async def turn() -> Reading:
        started = perf_counter()
        for _ in range(times):
            await call()
        return {"us": (perf_counter() - started) / times * 1e6}

    return turn


def turns(calls: Mapping[str, Callable[[], Awaitable[object]]], times: int) -> dict[str, Turn]:
    return {name: timed(call, times) for name, call in calls.items()}


BARE, POOL, STOCK = "asyncpg, connection held", "asyncpg.Pool", "SQLAlchemy"


def test_one_row_from_an_engine(runner: Runner, targets: Targets) -> None:
    """A checkout, a statement, a return, one row."""

    async def bare() -> object:
        row = await targets.bare.fetchrow(ONE_BARE, 7)
        return User(*row)

    async def pool() -> object:
        async with targets.pool.acquire() as connection:
            return User(*await connection.fetchrow(ONE_BARE, 7))

    async def stock() -> object:
        async with targets.stock.connect() as connection:
            return User(*(await connection.execute(text(ONE), ID)).one())

    async def stock_rebuilt() -> object:
        async with targets.stock.connect() as connection:
            statement = select(users).where(users.c.id == 7)
            return User(*(await connection.execute(statement)).one())

    calls = {
        "fetch_one(engine, str)": lambda: fetch_one(targets.typed, User, ONE, ID),
        "fetch_one(engine, select)": lambda: fetch_one(targets.typed, User, SELECTED),
        "fetch_one(engine, select rebuilt)": lambda: fetch_one(
            targets.typed, User, select(users).where(users.c.id == 7)
        ),
        BARE: bare,
        POOL: pool,
        STOCK: stock,
        "SQLAlchemy, select rebuilt": stock_rebuilt,
    }
    runner.compare(
        "one row of six columns, engine",
        turns(calls, runner.scaled(150, 10)),
        [
            Goal("us", "fetch_one(engine, str)", 1.25, compared_to=BARE),
            Goal("us", "fetch_one(engine, str)", 0.5, compared_to=POOL),
            Goal("us", "fetch_one(engine, str)", 0.25, compared_to=STOCK),
            Goal("us", "fetch_one(engine, select)", 1.3, compared_to=BARE),
            Goal(
                "us",
                "fetch_one(engine, select rebuilt)",
                0.4,
                compared_to="SQLAlchemy, select rebuilt",
            ),
        ],
    )


def test_one_row_on_an_open_connection(runner: Runner, targets: Targets) -> None:
    """Inside a transaction that has begun."""

    async def bare() -> object:
        return User(*await targets.bare.fetchrow(ONE_BARE, 7))

    async def stock() -> object:
        return User(*(await targets.stock_open.execute(text(ONE), ID)).one())

    calls = {
        "fetch_one(connection, str)": lambda: fetch_one(targets.open, User, ONE, ID),
        BARE: bare,
        STOCK: stock,
    }
    runner.compare(
        "one row of six columns, open connection",
        turns(calls, runner.scaled(150, 10)),
        [
            Goal("us", "fetch_one(connection, str)", 1.2, compared_to=BARE),
            Goal("us", "fetch_one(connection, str)", 0.6, compared_to=STOCK),
        ],
    )


@pytest.mark.parametrize("kind", [User, FrozenUser], ids=["slots", "frozen"])
def test_a_thousand_rows(runner: Runner, targets: Targets, kind: type[Any]) -> None:
    """Here the mapping is most of the work."""

    async def bare() -> object:
        return [kind(*row) for row in await targets.bare.fetch(MANY_BARE, 1000)]

    async def stock() -> object:
        rows = await targets.stock_open.execute(text(MANY), {"most": 1000})
        return [kind(*row) for row in rows.all()]

    calls = {
        "fetch_all(connection)": lambda: fetch_all(targets.open, kind, MANY, {"most": 1000}),
        BARE: bare,
        STOCK: stock,
    }
    runner.compare(
        f"a thousand rows, {kind.__name__}",
        turns(calls, runner.scaled(10, 1)),
        [
            Goal(
                "us",
                "fetch_all(connection)",
                1.08 if kind is User else 0.85,
                compared_to=BARE,
            )
        ],
    )


def test_one_row_with_a_tracing_listener(runner: Runner, targets: Targets) -> None:
    """The slow path, through SQLAlchemy, as with any listener for tracing or row security."""

    async def by_hand() -> object:
        async with targets.traced.begin() as connection:
            return User(*(await connection.execute(text(ONE), ID)).one())

    calls = {"fetch_one": lambda: fetch_one(targets.traced, User, ONE, ID), STOCK: by_hand}
    runner.compare(
        "one row with a tracing listener",
        turns(calls, runner.scaled(100, 10)),
        [Goal("us", "fetch_one", 1.0, compared_to=STOCK)],
    )


def test_a_thousand_rows_with_a_tracing_listener(runner: Runner, targets: Targets) -> None:
    """The same for many rows."""

    async def by_hand() -> object:
        async with targets.traced.begin() as connection:
            rows = await connection.execute(text(MANY), {"most": 1000})
            return [User(*row) for row in rows.all()]

    calls = {
        "fetch_all": lambda: fetch_all(targets.traced, User, MANY, {"most": 1000}),
        STOCK: by_hand,
    }
    runner.compare(
        "a thousand rows with a tracing listener",
        turns(calls, runner.scaled(10, 1)),
        [Goal("us", "fetch_all", 1.0, compared_to=STOCK)],
    )
