"""Typed results on every driver, compared with the bare driver and with SQLAlchemy by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from benchmarks.bare import Arguments, Bare, open_bare, with_markers
from benchmarks.interleave import Goal, Reading, Turn
from benchmarks.people import INSERT, PERSON, SIX, TWO, UPDATE, Name, make_engine, make_tables
from benchmarks.pools import STOCK_OPTIONS, TYPED_OPTIONS
from sqla_typedpool import execute, fetch_all, fetch_one
from tests.support.drivers import ALL

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Runner

TYPED, BARE, BY_HAND = "sqla-typedpool", "bare driver", "SQLAlchemy by hand"
BY_HAND_AGAIN = "SQLAlchemy again"

PLACES = ("engine", "transaction", "session")
ONE_OF_TWO, ONE_OF_SIX = "1 row of 2, us", "1 row of 6, us"
MANY_OF_TWO, MANY_OF_SIX = "1,000 of 2, us", "1,000 of 6, us"
UPDATED, INSERTED = "UPDATE, us", "INSERT, us"
ONE, MANY, WRITE = (ONE_OF_TWO, ONE_OF_SIX), (MANY_OF_TWO, MANY_OF_SIX), (UPDATED, INSERTED)

Call = Callable[[], Awaitable[object]]
Calls = Mapping[str, Call]


@dataclass(frozen=True)
class Work:
    """What every subject does, with this row type for six columns."""

    person: type[Any]
    account: int

    def reads(self) -> dict[str, tuple[type[Any], str, dict[str, Any]]]:
        one, most = {"id": 7}, {"most": 1000}
        return {
            ONE_OF_TWO: (Name, f"{TWO} WHERE id = :id", one),
            ONE_OF_SIX: (self.person, f"{SIX} WHERE id = :id", one),
            MANY_OF_TWO: (Name, f"{TWO} WHERE id < :most", most),
            MANY_OF_SIX: (self.person, f"{SIX} WHERE id < :most", most),
        }

    def writes(self) -> dict[str, tuple[str, dict[str, Any]]]:
        return {
            UPDATED: (UPDATE, {"amount": 1, "id": self.account}),
            INSERTED: (INSERT, {"account": self.account, "body": "a note"}),
        }


def typed_calls(db: Any, work: Work) -> Calls:
    """`fetch_one`, `fetch_all` and `execute`."""
    calls: dict[str, Call] = {}
    for metric, (row_type, sql, parameters) in work.reads().items():
        fetch: Callable[..., Awaitable[object]] = fetch_one if metric in ONE else fetch_all
        calls[metric] = partial(fetch, db, row_type, sql, parameters)
    for metric, (sql, parameters) in work.writes().items():
        calls[metric] = partial(execute, db, sql, parameters)
    return calls


def bare_calls(bare: Bare, work: Work) -> Calls:
    """The driver's own calls; its rows become the same objects by their constructor."""

    async def one(row_type: type[Any], sql: str, arguments: Arguments) -> object:
        return row_type(*await bare.one(sql, arguments))

    async def many(row_type: type[Any], sql: str, arguments: Arguments) -> object:
        return [row_type(*row) for row in await bare.all(sql, arguments)]

    calls: dict[str, Call] = {}
    for metric, (row_type, sql, parameters) in work.reads().items():
        fetch = one if metric in ONE else many
        sql = with_markers(sql, bare.marker)
        calls[metric] = partial(fetch, row_type, sql, tuple(parameters.values()))
    for metric, (sql, parameters) in work.writes().items():
        sql = with_markers(sql, bare.marker)
        calls[metric] = partial(bare.execute, sql, tuple(parameters.values()))
    return calls


def calls_by_hand(db: Any, work: Work) -> Calls:
    """SQLAlchemy's `execute()`, and the constructor for each row."""
    calls: dict[str, Call] = {}
    for metric, read in work.reads().items():
        calls[metric] = _by_hand(db, _one_by_hand if metric in ONE else _many_by_hand, *read)
    for metric, write in work.writes().items():
        calls[metric] = _by_hand(db, _write_by_hand, *write)
    return calls


def _by_hand(db: Any, call: Callable[..., Awaitable[object]], *arguments: Any) -> Call:
    """The call on an open connection or session; on an engine, with a connection from it."""
    if not isinstance(db, AsyncEngine):
        return partial(call, db, *arguments)
    opened = db.begin if call is _write_by_hand else db.connect

    async def with_connection() -> object:
        async with opened() as connection:
            return await call(connection, *arguments)

    return with_connection


async def _one_by_hand(
    db: Any, row_type: type[Any], sql: str, parameters: dict[str, Any]
) -> object:
    return row_type(*(await db.execute(text(sql), parameters)).one())


async def _many_by_hand(
    db: Any, row_type: type[Any], sql: str, parameters: dict[str, Any]
) -> object:
    return [row_type(*row) for row in (await db.execute(text(sql), parameters)).all()]


async def _write_by_hand(db: Any, sql: str, parameters: dict[str, Any]) -> object:
    return (await db.execute(text(sql), parameters)).rowcount


@asynccontextmanager
async def opened_at(place: str, engine: AsyncEngine) -> AsyncIterator[Any]:
    """What the calls are made on; what they write in a transaction is rolled back."""
    if place == "engine":
        yield engine
    elif place == "transaction":
        async with engine.begin() as connection:
            yield connection
            await connection.rollback()
    else:
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))  # a session connects at its first statement
            yield session


@asynccontextmanager
async def opened_bare(place: str, bare: Bare) -> AsyncIterator[Bare]:
    """The connection, in a transaction that is rolled back, or without one."""
    if place == "engine":
        yield bare
        return
    await bare.begin()
    yield bare
    await bare.roll_back()


async def microseconds(call: Call, times: int) -> float:
    """The time of one call, after a few untimed ones."""
    for _ in range(times // 10):
        await call()
    started = perf_counter()
    for _ in range(times):
        await call()
    return (perf_counter() - started) / times * 1e6


def turn_of(
    opened: Callable[[], Any], calls_on: Callable[[Any, Work], Calls], work: Work, times: int
) -> Turn:
    """Opens the place, and makes each call `times` times, those of many rows a tenth of it."""

    async def turn() -> Reading:
        async with opened() as db:
            return {
                metric: await microseconds(call, max(times // 10, 1) if metric in MANY else times)
                for metric, call in calls_on(db, work).items()
            }

    return turn


@dataclass
class Targets:
    """The connection and the engines that are compared, open."""

    bare: Bare
    typed: AsyncEngine
    stock: AsyncEngine

    def turns(self, place: str, person: type[Any], times: int) -> dict[str, Turn]:
        typed, stock, bare = (
            partial(opened_at, place, self.typed),
            partial(opened_at, place, self.stock),
            partial(opened_bare, place, self.bare),
        )
        return {
            TYPED: turn_of(typed, typed_calls, Work(person, 1), times),
            BARE: turn_of(bare, bare_calls, Work(person, 2), times),
            BY_HAND: turn_of(stock, calls_by_hand, Work(person, 3), times),
            BY_HAND_AGAIN: turn_of(stock, calls_by_hand, Work(person, 4), times),
        }

    async def close(self) -> None:
        await self.bare.close()
        await self.typed.dispose()
        await self.stock.dispose()


async def _open(driver: str, url: URL) -> Targets:
    typed = make_engine(url, TYPED_OPTIONS)
    await make_tables(typed)
    return Targets(await open_bare(driver, url), typed, make_engine(url, STOCK_OPTIONS))


@pytest.fixture
def targets(runner: Runner, driver: str, database_url: URL) -> Iterator[Targets]:
    opened = runner.loop.run_until_complete(_open(driver, database_url))
    yield opened
    runner.loop.run_until_complete(opened.close())


Limits = Mapping[tuple[str, ...], float]
TO_BARE: Mapping[tuple[str, str], Limits] = {
    ("asyncpg", "engine"): {WRITE: 1.3},
    ("psycopg", "engine"): {ONE: 1.35, MANY: 1.15, WRITE: 1.3},
    ("psycopg", "transaction"): {ONE: 1.2},
    ("aiosqlite", "engine"): {ONE: 1.5, MANY: 1.1, WRITE: 1.5},
    ("aiosqlite", "transaction"): {ONE: 1.5},
    ("aiosqlite", "session"): {ONE: 1.6},
    ("aiomysql", "transaction"): {ONE: 1.2, WRITE: 1.2},
    ("asyncmy", "transaction"): {ONE: 1.2, WRITE: 1.2},
}
TO_BY_HAND: Mapping[tuple[str, str], Limits] = {
    ("asyncpg", "engine"): {WRITE: 0.35},
    ("psycopg", "engine"): {ONE: 0.3, WRITE: 0.35},
    ("aiosqlite", "engine"): {ONE: 0.15},
}
"""The goals, by driver and place: metrics and the largest ratio."""


def goals_of(driver: str, place: str) -> list[Goal]:
    """The ratios to the bare driver and to SQLAlchemy, with the limits of those that are goals."""
    return [
        Goal(metric, TYPED, _limit(limits.get((driver, place), {}), metric), compared_to=other)
        for other, limits in ((BARE, TO_BARE), (BY_HAND, TO_BY_HAND))
        for metric in (*ONE, *MANY, *WRITE)
    ] + [Goal(metric, BY_HAND_AGAIN, compared_to=BY_HAND) for metric in (ONE_OF_TWO, UPDATED)]


def _limit(limits: Limits, metric: str) -> float | None:
    return next((limit for metrics, limit in limits.items() if metric in metrics), None)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("driver", ALL)
def test_typed_results(runner: Runner, targets: Targets, driver: str, place: str) -> None:
    """Rows and writes on an engine, in an open transaction, and in a session."""
    turns = targets.turns(place, PERSON[driver], runner.scaled(60, 2))
    runner.compare(f"{driver}, {place}", turns, goals_of(driver, place))


TYPED_POOL, STOCK, STOCK_AGAIN = "TypedPool", "stock", "stock again"


def plain_turn(engine: AsyncEngine, times: int) -> Turn:
    """SQLAlchemy's own calls, without any function of this package."""
    reads, writes = Work(Name, 5).reads()[ONE_OF_TWO], Work(Name, 5).writes()[UPDATED]

    async def connect_and_select() -> None:
        async with engine.connect() as connection:
            (await connection.execute(text(reads[1]), reads[2])).one()

    async def begin_and_select() -> None:
        async with engine.begin() as connection:
            (await connection.execute(text(reads[1]), reads[2])).one()

    async def begin_and_update() -> None:
        async with engine.begin() as connection:
            await connection.execute(text(writes[0]), writes[1])

    async def turn() -> Reading:
        return {
            "connect and SELECT, us": await microseconds(connect_and_select, times),
            "begin and SELECT, us": await microseconds(begin_and_select, times),
            "begin and UPDATE, us": await microseconds(begin_and_update, times),
        }

    return turn


@pytest.mark.parametrize("driver", ALL)
def test_plain_sqlalchemy(runner: Runner, targets: Targets, driver: str) -> None:
    """An application that calls no `fetch_*`, on TypedPool and on the stock pool."""
    times = runner.scaled(60, 2)
    turns = {
        TYPED_POOL: plain_turn(targets.typed, times),
        STOCK: plain_turn(targets.stock, times),
        STOCK_AGAIN: plain_turn(targets.stock, times),
    }
    metrics = ("connect and SELECT, us", "begin and SELECT, us", "begin and UPDATE, us")
    goals = [
        Goal(metric, subject, compared_to=STOCK)
        for subject in (TYPED_POOL, STOCK_AGAIN)
        for metric in metrics
    ]
    runner.compare(f"{driver}, plain SQLAlchemy", turns, goals)
