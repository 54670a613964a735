"""Typed results against the bare driver and against SQLAlchemy doing the same by hand."""

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

    from benchmarks.conftest import Stage


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
class Scene:
    """Everything a contestant may want, open and warm."""

    bare: asyncpg.Connection
    pool: asyncpg.Pool
    typed: AsyncEngine
    traced: AsyncEngine
    stock: AsyncEngine
    open: AsyncConnection
    stock_open: AsyncConnection


def _trace(*_: Any) -> None:
    """A listener that does nothing: SQLAlchemy calls it all the same."""


async def _open(server: URL) -> Scene:
    dsn = server.set(drivername="postgresql").render_as_string(hide_password=False)
    bare = await asyncpg.connect(dsn)
    await bare.execute(TABLE)
    typed = create_async_engine(server, poolclass=TypedPool)
    traced = create_async_engine(server, poolclass=TypedPool)
    event.listen(traced.sync_engine, "before_cursor_execute", _trace)
    stock = create_async_engine(server)
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=5)
    return Scene(bare, pool, typed, traced, stock, await typed.connect(), await stock.connect())


async def _close(scene: Scene) -> None:
    for connection in (scene.open, scene.stock_open):
        await connection.close()
    for engine in (scene.typed, scene.traced, scene.stock):
        await engine.dispose()
    await scene.pool.close()
    await scene.bare.close()


@pytest.fixture
def scene(stage: Stage, server: URL) -> Iterator[Scene]:
    opened = stage.loop.run_until_complete(_open(server))
    yield opened
    stage.loop.run_until_complete(_close(opened))


def timed(call: Callable[[], Awaitable[object]], times: int) -> Turn:
    """One turn: so many calls, one after the other; microseconds each."""

    async def turn() -> Reading:
        started = perf_counter()
        for _ in range(times):
            await call()
        return {"us": (perf_counter() - started) / times * 1e6}

    return turn


def turns(calls: Mapping[str, Callable[[], Awaitable[object]]], times: int) -> dict[str, Turn]:
    return {name: timed(call, times) for name, call in calls.items()}


BARE, POOL, STOCK = "asyncpg, connection held", "asyncpg.Pool", "SQLAlchemy"


def test_one_row_from_an_engine(stage: Stage, scene: Scene) -> None:
    """A checkout, a statement, a return, one row."""

    async def bare() -> object:
        row = await scene.bare.fetchrow(ONE_BARE, 7)
        return User(*row)

    async def pool() -> object:
        async with scene.pool.acquire() as connection:
            return User(*await connection.fetchrow(ONE_BARE, 7))

    async def stock() -> object:
        async with scene.stock.connect() as connection:
            return User(*(await connection.execute(text(ONE), ID)).one())

    async def stock_rebuilt() -> object:
        async with scene.stock.connect() as connection:
            statement = select(users).where(users.c.id == 7)
            return User(*(await connection.execute(statement)).one())

    calls = {
        "fetch_one(engine, str)": lambda: fetch_one(scene.typed, User, ONE, ID),
        "fetch_one(engine, select)": lambda: fetch_one(scene.typed, User, SELECTED),
        "fetch_one(engine, select rebuilt)": lambda: fetch_one(
            scene.typed, User, select(users).where(users.c.id == 7)
        ),
        BARE: bare,
        POOL: pool,
        STOCK: stock,
        "SQLAlchemy, select rebuilt": stock_rebuilt,
    }
    stage.race(
        "one row of six columns, engine",
        turns(calls, stage.scaled(150, 10)),
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


def test_one_row_on_an_open_connection(stage: Stage, scene: Scene) -> None:
    """Inside a transaction that has begun."""

    async def bare() -> object:
        return User(*await scene.bare.fetchrow(ONE_BARE, 7))

    async def stock() -> object:
        return User(*(await scene.stock_open.execute(text(ONE), ID)).one())

    calls = {
        "fetch_one(connection, str)": lambda: fetch_one(scene.open, User, ONE, ID),
        BARE: bare,
        STOCK: stock,
    }
    stage.race(
        "one row of six columns, open connection",
        turns(calls, stage.scaled(150, 10)),
        [
            Goal("us", "fetch_one(connection, str)", 1.2, compared_to=BARE),
            Goal("us", "fetch_one(connection, str)", 0.6, compared_to=STOCK),
        ],
    )


@pytest.mark.parametrize("kind", [User, FrozenUser], ids=["slots", "frozen"])
def test_a_thousand_rows(stage: Stage, scene: Scene, kind: type[Any]) -> None:
    """Where mapping shows."""

    async def bare() -> object:
        return [kind(*row) for row in await scene.bare.fetch(MANY_BARE, 1000)]

    async def stock() -> object:
        rows = await scene.stock_open.execute(text(MANY), {"most": 1000})
        return [kind(*row) for row in rows.all()]

    calls = {
        "fetch_all(connection)": lambda: fetch_all(scene.open, kind, MANY, {"most": 1000}),
        BARE: bare,
        STOCK: stock,
    }
    stage.race(
        f"a thousand rows, {kind.__name__}",
        turns(calls, stage.scaled(10, 1)),
        [
            Goal(
                "us",
                "fetch_all(connection)",
                1.08 if kind is User else 0.85,
                compared_to=BARE,
            )
        ],
    )


def test_one_row_with_a_tracing_listener(stage: Stage, scene: Scene) -> None:
    """The slow path, through SQLAlchemy, which an engine with tracing or row security uses."""

    async def by_hand() -> object:
        async with scene.traced.begin() as connection:
            return User(*(await connection.execute(text(ONE), ID)).one())

    calls = {"fetch_one": lambda: fetch_one(scene.traced, User, ONE, ID), STOCK: by_hand}
    stage.race(
        "one row with a tracing listener",
        turns(calls, stage.scaled(100, 10)),
        [Goal("us", "fetch_one", 1.0, compared_to=STOCK)],
    )


def test_a_thousand_rows_with_a_tracing_listener(stage: Stage, scene: Scene) -> None:
    """The same for many rows."""

    async def by_hand() -> object:
        async with scene.traced.begin() as connection:
            rows = await connection.execute(text(MANY), {"most": 1000})
            return [User(*row) for row in rows.all()]

    calls = {
        "fetch_all": lambda: fetch_all(scene.traced, User, MANY, {"most": 1000}),
        STOCK: by_hand,
    }
    stage.race(
        "a thousand rows with a tracing listener",
        turns(calls, stage.scaled(10, 1)),
        [Goal("us", "fetch_all", 1.0, compared_to=STOCK)],
    )
