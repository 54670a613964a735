"""The cases of `benchmarks.versions`: workloads on `TypedPool`, the mapper, and the commands.

A case runs with an older version of the package too, so it uses only the public names, the pool's
`take()` and `give_back()`, and `mapper_for()` with its `Column`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import Pool
from sqlalchemy.util import greenlet_spawn

import sqla_typedpool
from benchmarks import checking, mapper, people, stub_driver, workloads
from benchmarks.interleave import Reading, Turn
from benchmarks.pools import TYPED_OPTIONS, OpenPool, Sizes, open_engine, stub_pool
from sqla_typedpool import TypedPool, execute, fetch_all, fetch_one

DRIVERS = ("asyncpg", "psycopg", "aiosqlite")
"""Those of the cases that run on several drivers."""
COUNTED = 100
"""Operations during which function calls are counted."""


@dataclass(frozen=True)
class OpenCase:
    """A case that is ready to run."""

    turn: Turn
    """Measures the time of 50 to 100 ms of work; the cases with timers take longer."""
    run: Callable[[], Awaitable[Any]]
    """Runs `operations` operations; function calls are counted meanwhile."""
    operations: int


Case = Callable[[URL], AbstractAsyncContextManager[OpenCase]]


@asynccontextmanager
async def engine_checkouts(server: URL, *, tasks: int, size: int) -> AsyncIterator[OpenCase]:
    """`async with engine.connect()` on asyncpg."""
    pool = await open_engine(server, TYPED_OPTIONS, Sizes(size, size, warm=min(tasks, size)))
    times = 2_560 // tasks
    work = workloads.nothing if tasks == 1 else workloads.one_loop_iteration
    cycle = partial(workloads.async_with, pool, work)
    counted = max(COUNTED // tasks, 1)
    yield OpenCase(
        partial(workloads.checkouts, workloads.async_with, pool, tasks, times),
        partial(workloads.repeat, cycle, tasks, counted),
        tasks * counted,
    )
    await pool.close()


@asynccontextmanager
async def pool_checkouts(_: URL, *, tasks: int, size: int) -> AsyncIterator[OpenCase]:
    """`pool.connect()` and `close()` on the stub."""
    async with opened_stub(Sizes(size, size, warm=min(tasks, size))) as pool:
        times = (16_000 if tasks == 1 else 6_400) // tasks
        cycles = workloads.direct_cycles if tasks == 1 else workloads.yielding_cycles
        counted = max(COUNTED // tasks, 1)

        async def run() -> None:
            await asyncio.gather(*(greenlet_spawn(cycles, pool, counted) for _ in range(tasks)))

        turn = partial(workloads.stub_checkouts, cycles, pool, tasks, times)
        yield OpenCase(turn, run, tasks * counted)


@asynccontextmanager
async def takes(_: URL) -> AsyncIterator[OpenCase]:
    """`take()` and `give_back()` of an idle connection on the stub."""
    async with opened_stub(Sizes(5, 10, warm=1)) as opened:
        pool = cast(TypedPool, opened)

        async def run() -> None:
            take, give_back = pool.take, cast(Callable[[Any], None], pool.give_back)
            for _ in range(COUNTED):
                give_back(take())

        turn = partial(workloads.takes, pool, pool.take, pool.give_back, 50_000)
        yield OpenCase(turn, run, COUNTED)


@asynccontextmanager
async def opened_stub(sizes: Sizes) -> AsyncIterator[Pool]:
    pool = await greenlet_spawn(stub_pool, TYPED_OPTIONS, sizes)
    yield pool
    await greenlet_spawn(pool.dispose)


@dataclass(slots=True)
class Item:
    id: int
    name: str
    price: float


ITEMS = """
    CREATE TABLE IF NOT EXISTS items AS
    SELECT id::int4, 'name ' || id AS name, id / 7.0::float8 AS price
    FROM generate_series(1, 1000) AS id
"""
INDEX = "CREATE UNIQUE INDEX IF NOT EXISTS items_id ON items (id)"
ONE = "SELECT id, name, price FROM items WHERE id = :id"
MANY = "SELECT id, name, price FROM items WHERE id <= :most"


@asynccontextmanager
async def fetches_on_engine(server: URL) -> AsyncIterator[OpenCase]:
    """`fetch_one(engine, ...)` on asyncpg."""
    async with opened_items(server) as engine:
        yield calls(lambda: fetch_one(engine, Item, ONE, {"id": 7}), times=1_500)


@asynccontextmanager
async def fetches_on_connection(server: URL) -> AsyncIterator[OpenCase]:
    """`fetch_one(connection, ...)` on asyncpg."""
    async with opened_items(server) as engine, engine.connect() as connection:
        yield calls(lambda: fetch_one(connection, Item, ONE, {"id": 7}), times=1_500)


@asynccontextmanager
async def fetches_of_many(server: URL) -> AsyncIterator[OpenCase]:
    """`fetch_all(connection, ...)` of 100 rows on asyncpg."""
    async with opened_items(server) as engine, engine.connect() as connection:
        yield calls(lambda: fetch_all(connection, Item, MANY, {"most": 100}), times=700)


@asynccontextmanager
async def opened_items(server: URL) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(server, **TYPED_OPTIONS)
    async with engine.begin() as connection:
        await connection.execute(text(ITEMS))
        await connection.execute(text(INDEX))
    yield engine
    await engine.dispose()


@asynccontextmanager
async def driver_engine(server: URL, driver: str) -> AsyncIterator[AsyncEngine]:
    """An engine with the tables of `people`: on the PostgreSQL server, or on a new SQLite file."""
    with TemporaryDirectory() as folder:
        if driver == "aiosqlite":
            url = make_url(f"sqlite+aiosqlite:///{Path(folder) / 'file.db'}")
        else:
            url = server.set(drivername=f"postgresql+{driver}")
        engine = people.make_engine(url, TYPED_OPTIONS)
        await people.make_tables(engine)
        yield engine
        await engine.dispose()


@asynccontextmanager
async def typed_calls(
    server: URL, *, driver: str, work: Callable[[Any], Awaitable[Any]], on_engine: bool
) -> AsyncIterator[OpenCase]:
    """A typed call on an engine, or in a transaction that is open for all calls of a turn."""
    async with driver_engine(server, driver) as engine:
        if on_engine:
            yield calls(partial(work, engine), times=300)
            return
        yield in_transactions(engine, work, times=300)


def in_transactions(
    engine: AsyncEngine, work: Callable[[Any], Awaitable[Any]], *, times: int
) -> OpenCase:
    """Calls in one transaction for each turn, which is rolled back."""

    async def run() -> None:
        async with engine.connect() as connection:
            await calls(partial(work, connection), times=times).run()

    async def turn() -> Reading:
        async with engine.connect() as connection:
            return await calls(partial(work, connection), times=times).turn()

    return OpenCase(turn, run, COUNTED)


def fetch_a_person(db: Any) -> Awaitable[people.Name]:
    return fetch_one(db, people.Name, f"{people.TWO} WHERE id = :id", {"id": 7})


def update_an_account(db: Any) -> Awaitable[int | None]:
    return execute(db, people.UPDATE, {"amount": 1, "id": 1})


async def connect_and_select(engine: AsyncEngine) -> None:
    """SQLAlchemy's own calls, without any function of this package."""
    async with engine.connect() as connection:
        (await connection.execute(text(f"{people.TWO} WHERE id = :id"), {"id": 7})).one()


async def begin_and_update(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(people.UPDATE), {"amount": 1, "id": 1})


def calls(call: Callable[[], Awaitable[Any]], *, times: int) -> OpenCase:
    """A case of calls that are made one after the other."""

    async def repeat(count: int) -> None:
        for _ in range(count):
            await call()

    async def turn() -> Reading:
        await repeat(times // 10)
        start = perf_counter()
        await repeat(times)
        return {"us": 1e6 * (perf_counter() - start) / times}

    return OpenCase(turn, partial(repeat, COUNTED), COUNTED)


@asynccontextmanager
async def mapped_rows(_: URL, *, row_type: type) -> AsyncIterator[OpenCase]:
    """10,000 rows of 8 columns, without a database."""
    convert, found = mapper.our_mapper(row_type), mapper.rows()

    async def run() -> None:
        convert(found[:COUNTED])

    yield OpenCase(mapper.turn_of(convert, found), run, COUNTED)


@asynccontextmanager
async def converted_rows(_: URL) -> AsyncIterator[OpenCase]:
    """10,000 rows with an Enum, a nested object in JSON, and the forms in which SQLite stores."""
    convert, found = mapper.our_converting_mapper(), mapper.stored_rows()

    async def run() -> None:
        convert(found[:COUNTED])

    yield OpenCase(mapper.turn_of(convert, found), run, COUNTED)


@asynccontextmanager
async def new_mapper(_: URL) -> AsyncIterator[OpenCase]:
    """A mapper for a class that has no mapper yet."""

    async def make(count: int) -> None:
        for _ in range(count):
            mapper.our_mapper(mapper.new_class())

    async def turn() -> Reading:
        start = perf_counter()
        await make(50)
        return {"us": 1e6 * (perf_counter() - start) / 50}

    yield OpenCase(turn, partial(make, 10), 10)


@asynccontextmanager
async def command(server: URL, *, offline: bool) -> AsyncIterator[OpenCase]:
    """`sqla-typedpool check` of 66 queries in its own process, imports included.

    Function calls are not counted: they happen in another process.
    """
    url = server.render_as_string(hide_password=False)
    with TemporaryDirectory() as made:
        folder = Path(made)
        names = checking.copy_queries(folder, 3)
        await checking.make_tables(url)
        commands = checking.commands(names, url)
        run = partial(checking.run, folder, checkout=Path(sqla_typedpool.__file__).parents[1])
        run(*commands["prepare"])
        arguments = commands["check, offline" if offline else "check, database"]

        async def turn() -> Reading:
            return {"ms": 1000 * run(*arguments)[0]}

        yield OpenCase(turn, _nothing, 1)


async def _nothing() -> None:
    pass


@asynccontextmanager
async def spike(_: URL) -> AsyncIterator[OpenCase]:
    """50 requests of 2 ms on 5 warm connections, at most 50; a connect takes 150 ms."""
    delay, requests = 0.15, 50

    async def turn() -> Reading:
        pool = await open_engine(stub_driver.URL, TYPED_OPTIONS, Sizes(5, 50, warm=5))
        before = pool.connects.attempts
        pool.connects.delay = delay
        reading = await workloads.spike(pool, requests, 0.002)
        await asyncio.sleep(1.5 * delay)  # attempts under way end
        await pool.close()
        return {"total ms": reading["total ms"], "new": pool.connects.attempts - before}

    yield OpenCase(turn, turn, requests)


@asynccontextmanager
async def ramp(_: URL) -> AsyncIterator[OpenCase]:
    """50 long requests on a cold pool of 50; a connect takes 20 ms."""
    requests = 50

    async def turn() -> Reading:
        pool = await open_engine(stub_driver.URL, TYPED_OPTIONS, Sizes(requests, requests))
        pool.connects.delay = 0.02
        reading = await workloads.ramp(pool, requests, 2)
        await pool.close()
        return {"all running ms": reading["all running ms"]}

    yield OpenCase(turn, turn, requests)


@asynccontextmanager
async def many_clients(server: URL) -> AsyncIterator[OpenCase]:
    """100 clients on 5 connections of asyncpg, each with 20 checkouts of 1 ms."""
    clients, connections, times = 100, 5, 20
    pool = await open_engine(server, TYPED_OPTIONS, Sizes(connections, connections, connections))
    clients_of = partial(workloads.many_clients, workloads.async_with, pool, clients, connections)

    async def turn() -> Reading:
        reading = await clients_of(times, 0.001)
        return {"p99 / ideal": reading["p99 / ideal"]}

    counted = 2
    yield OpenCase(turn, partial(clients_of, counted, 0.001), clients * counted)
    await pool.close()


@asynccontextmanager
async def cancelled_waiters(server: URL) -> AsyncIterator[OpenCase]:
    """1,000 waiters on the only connection of asyncpg are cancelled at once."""
    waiters = 1_000
    pool: OpenPool = await open_engine(server, TYPED_OPTIONS, Sizes(1, 1, warm=1))
    turn = partial(workloads.cancelled_waiters, pool, waiters)
    yield OpenCase(turn, turn, waiters)
    await pool.close()


CASES: dict[str, Case] = {
    "engine checkout, 1 task": partial(engine_checkouts, tasks=1, size=32),
    "engine checkout, 32 tasks on 32": partial(engine_checkouts, tasks=32, size=32),
    "engine checkout, 32 tasks on 16": partial(engine_checkouts, tasks=32, size=16),
    "pool checkout, 1 task": partial(pool_checkouts, tasks=1, size=32),
    "pool checkout, 32 tasks on 16": partial(pool_checkouts, tasks=32, size=16),
    "take and give back": takes,
    "fetch_one, engine": fetches_on_engine,
    "fetch_one, connection": fetches_on_connection,
    "fetch_all, 100 rows": fetches_of_many,
    **{
        f"{name}, {place}, {driver}": partial(
            typed_calls, driver=driver, work=work, on_engine=place == "engine"
        )
        for driver in DRIVERS
        for name, work in (("fetch_one", fetch_a_person), ("execute", update_an_account))
        for place in ("engine", "transaction")
        if (name, driver) != ("fetch_one", "asyncpg")  # those above
    },
    **{
        f"{name}, {driver}": partial(typed_calls, driver=driver, work=work, on_engine=True)
        for driver in DRIVERS
        for name, work in (
            ("connect and SELECT", connect_and_select),
            ("begin and UPDATE", begin_and_update),
        )
    },
    "mapper, slots": partial(mapped_rows, row_type=mapper.Order),
    "mapper, frozen": partial(mapped_rows, row_type=mapper.FrozenOrder),
    "mapper, conversions": converted_rows,
    "mapper, new class": new_mapper,
    "check, database": partial(command, offline=False),
    "check, offline": partial(command, offline=True),
    "spike": spike,
    "ramp": ramp,
    "many clients": many_clients,
    "cancelled waiters": cancelled_waiters,
}


@dataclass(frozen=True)
class Bound:
    """What is accepted of a new version."""

    ratio: float = 1.03
    """The largest new / old."""
    calls: float = 0.5
    """Smaller increases of the function calls per operation are ignored. In cases with timers the
    number of calls varies from run to run."""


BOUND = Bound()
BOUNDS = {
    "take and give back": Bound(ratio=1.10),
    "spike": Bound(calls=5),
    "ramp": Bound(calls=5),
    "many clients": Bound(calls=5),
}
"""The bounds of cases that differ from `BOUND`."""
