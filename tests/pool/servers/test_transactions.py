"""Guarantee 15: a transaction that SQLAlchemy does not know of is never handed out.

With more seeds: `SQLA_TYPEDPOOL_SEEDS=50 pytest tests/pool/servers -k acknowledged_commit_is_lost`
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sqlite3
import sys
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import NullPool

from sqla_typedpool import TypedPool, execute, fetch_all
from tests.support.cancellation import cancel_at_await, run_and_cancel
from tests.support.clocks import Stopwatch
from tests.support.drivers import POSTGRESQL
from tests.support.engines import SLACK, by_loop, run, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database

DRIVERS = (*POSTGRESQL, "aiosqlite")
SEEDS = int(os.environ.get("SQLA_TYPEDPOOL_SEEDS", "2"))
ONE: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 10}

by_driver = pytest.mark.parametrize("driver", DRIVERS)

_tables = itertools.count(1)


class Table:
    """A table of one test, with a column of numbers."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.name = f"transactions_{os.getpid()}_{next(_tables)}"

    async def create(self, columns: str = "id INTEGER") -> Table:
        columns = columns.format(name=self.name)
        async with self.engine.begin() as connection:
            await connection.execute(text(f"CREATE TABLE {self.name} ({columns})"))
        return self

    def insert(self, number: int) -> str:
        return f"INSERT INTO {self.name} (id) VALUES ({number})"

    async def numbers(self) -> list[int]:
        async with self.engine.connect() as connection:
            rows = await connection.execute(text(f"SELECT id FROM {self.name} ORDER BY id"))
            return list(rows.scalars())

    async def add(self, number: int) -> None:
        """Insert a number in a transaction of its own; return when it is acknowledged."""
        async with self.engine.begin() as connection:
            await connection.execute(text(self.insert(number)))


def listen(engine: AsyncEngine, name: str, action: Callable[[Any], None]) -> None:
    """Call `action` with the adapted connection at each event of this name."""
    event.listen(engine.sync_engine, name, lambda adapted, *_: action(adapted))


def run_own(adapted: Any, *statements: str) -> None:
    """Run statements with an own cursor, as listeners do, and leave the transaction open."""
    for statement in statements:
        cursor = adapted.cursor()
        cursor.execute(statement)
        cursor.close()


async def stored_numbers(database: Database, table: Table) -> list[int]:
    """The committed numbers, read over a new connection."""
    async with database.engine(poolclass=NullPool) as engine, engine.connect() as connection:
        return list((await connection.execute(text(f"SELECT id FROM {table.name}"))).scalars())


async def driver_of(connection: Any) -> Any:
    return (await connection.get_raw_connection()).driver_connection


async def check_usable(database: Database, engine: AsyncEngine, table: Table, number: int) -> None:
    """Rows that were acknowledged are stored, also by the fast path, and no others are."""
    assert await table.numbers() == []
    await table.add(number)
    assert await execute(engine, table.insert(number + 1)) == 1
    assert await table.numbers() == [number, number + 1]
    rows = await fetch_all(engine, int, f"SELECT id FROM {table.name} ORDER BY id")
    assert rows == [number, number + 1]
    assert sorted(await stored_numbers(database, table)) == rows


# ------------------------------------------------------------------------ ways to leave one


@by_driver
@pytest.mark.parametrize("level", ["default", "AUTOCOMMIT"])
def test_a_transaction_begun_through_the_driver_is_over_after_the_return(
    database: Database, level: str
) -> None:
    async def main() -> None:
        async with database.engine(**ONE) as engine:
            table = await Table(engine).create()
            options = {} if level == "default" else {"isolation_level": level}
            async with engine.execution_options(**options).connect() as connection:
                raw = await driver_of(connection)
                await raw.execute("BEGIN")
                await raw.execute(table.insert(0))
            await check_usable(database, engine, table, 1)
            assert TypedPool.of(engine).stats().connects == 1, "the connection was kept"

    run(main())


@by_driver
@pytest.mark.parametrize("event_name", ["checkin", "reset"])
@pytest.mark.parametrize("statements", ["insert", "savepoint"])
def test_what_a_listener_leaves_open_at_a_return_is_rolled_back(
    database: Database, event_name: str, statements: str
) -> None:
    async def main() -> None:
        async with database.engine(**ONE) as engine:
            table = await Table(engine).create()
            own = [table.insert(0)]
            if statements == "savepoint":
                own = ["SAVEPOINT own", table.insert(0)]
            is_on = False

            def leave_open(adapted: Any) -> None:
                nonlocal is_on
                if is_on:
                    is_on = False
                    run_own(adapted, *own)

            listen(engine, event_name, leave_open)
            is_on = True
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
            await check_usable(database, engine, table, 1)
            stats = TypedPool.of(engine).stats()
            assert (stats.dirty_returns, stats.connects) == (1, 1)
            assert (stats.pings, stats.failed_pings) == (0, 0)

    run(main())


async def commit_that_fails(engine: AsyncEngine) -> Table:
    """Commit a row that violates a deferred constraint."""
    table = await Table(engine).create(
        "id INTEGER PRIMARY KEY, "
        "parent INTEGER REFERENCES {name} (id) DEFERRABLE INITIALLY DEFERRED"
    )
    async with AsyncSession(engine) as session:
        await session.execute(text(f"INSERT INTO {table.name} (id, parent) VALUES (1, 99)"))
        with pytest.raises(DBAPIError):
            await session.commit()
    return table


def check_foreign_keys(engine: AsyncEngine) -> None:
    """Let SQLite check foreign keys; the PRAGMA has no effect inside a transaction."""

    def enable(raw: Any) -> None:
        mode = getattr(raw, "autocommit", None)
        if mode is False:
            raw.autocommit = True
        raw.execute("PRAGMA foreign_keys = ON")
        if mode is False:
            raw.autocommit = False

    async def in_its_thread(connection: Any) -> None:
        await connection._execute(enable, connection._conn)

    listen(engine, "connect", lambda adapted: adapted.run_async(in_its_thread))


@by_driver
def test_after_a_failed_commit_the_next_borrower_sees_none_of_its_rows(database: Database) -> None:
    async def main() -> None:
        async with database.engine(**ONE) as engine:
            if database.driver == "aiosqlite":
                check_foreign_keys(engine)
            table = await commit_that_fails(engine)
            assert await table.numbers() == []
            await table.add(7)
            assert await table.numbers() == [7]
            is_kept_open = database.driver == "aiosqlite"  # PostgreSQL ends the transaction
            assert TypedPool.of(engine).stats().dirty_returns == int(is_kept_open)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3's `autocommit` came with 3.12")
@pytest.mark.parametrize("driver", ["aiosqlite"])
def test_after_a_failed_commit_without_autocommit_of_sqlite_no_row_is_left(
    database: Database,
) -> None:
    """With `autocommit=False` a connection is always inside a transaction."""

    async def main() -> None:
        async with database.engine(**ONE, connect_args={"autocommit": False}) as engine:
            check_foreign_keys(engine)
            table = await commit_that_fails(engine)
            assert await table.numbers() == []
            await table.add(7)
            assert await table.numbers() == [7]
            stats = TypedPool.of(engine).stats()
            assert (stats.dirty_returns, stats.connects) == (1, 1)

    run(main())


@by_driver
def test_a_transaction_begun_on_an_idle_connection_is_not_handed_out(database: Database) -> None:
    async def main() -> None:
        async with database.engine(**ONE) as engine:
            table = await Table(engine).create()
            async with engine.connect() as connection:
                raw = await driver_of(connection)
            await raw.execute("BEGIN")
            await raw.execute(table.insert(0))
            await check_usable(database, engine, table, 1)
            assert TypedPool.of(engine).stats().dirty_returns == 1

    run(main())


@by_driver
def test_what_a_connect_listener_leaves_open_is_committed(database: Database) -> None:
    """Such as a setting: the first borrower's rollback must not undo it."""
    setting, query = {
        "aiosqlite": ("CREATE TABLE made_at_connect (id)", "SELECT count(*) FROM made_at_connect"),
    }.get(
        database.driver,
        ("SET search_path TO pg_catalog, pg_toast", "SELECT current_setting('search_path')"),
    )

    async def main() -> None:
        async with database.engine(**ONE) as engine:
            own = ["BEGIN", setting] if database.driver == "aiosqlite" else [setting]
            listen(engine, "connect", lambda adapted: run_own(adapted, *own))
            found = []
            for _ in range(3):
                async with engine.connect() as connection:
                    found.append(await connection.scalar(text(query)))
            assert found == [0 if database.driver == "aiosqlite" else "pg_catalog, pg_toast"] * 3
            assert TypedPool.of(engine).stats().dirty_returns == 0

    run(main())


# ----------------------------------------------------------------------------- lost commits


@pytest.mark.parametrize("driver", POSTGRESQL)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_acknowledged_commit_is_lost_after_cancelled_requests_with_a_listener(
    database: Database, loop: str
) -> None:
    """The recipe of row security: a listener sets the tenant with an own cursor."""

    async def main(seed: int) -> None:
        async with database.engine(pool_size=5, max_overflow=0, pool_timeout=20) as engine:
            table = await Table(engine).create()

            @event.listens_for(engine.sync_engine, "before_cursor_execute")
            def set_tenant(connection: Any, *_: Any) -> None:
                run_own(connection.connection, "SELECT set_config('app.tenant', '7', true)")

            numbers = itertools.count()
            await run_and_cancel(
                engine,
                lambda _: table.add(next(numbers)),
                tasks=200,
                at_once=8,
                longest=0.01,
                seed=seed,
            )
            last = range(1000, 1030)
            for number in last:
                await table.add(number)
            stored = await stored_numbers(database, table)
            missing = [number for number in last if number not in stored]
            assert not missing, f"seed {seed}: {len(missing)} of 30 are missing"

    for seed in range(SEEDS):
        run(main(seed), loop)


@pytest.mark.parametrize("driver", ["asyncpg"])
@pytest.mark.parametrize("late", [False, True])
def test_a_begin_cancelled_at_any_await_leaves_no_transaction(
    database: Database, late: bool
) -> None:
    async def main() -> None:
        async with database.engine(**ONE) as engine:
            table = await Table(engine).create()

            async def begin() -> None:
                async with engine.connect() as connection:
                    raw = await driver_of(connection)
                    await raw.transaction().start()
                    await raw.execute(table.insert(0))

            for step in itertools.count(1):
                reached = await cancel_at_await(begin(), step, late=late)
                await table.add(step)
                assert await table.numbers() == list(range(1, step + 1))
                if not reached:
                    break

    run(main())


@contextmanager
def locked_by_another(database: Database) -> Iterator[sqlite3.Connection]:
    """Hold SQLite's write lock until ``commit()`` of what this yields."""
    with closing(sqlite3.connect(str(database.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


async def cancel_in(work: Coroutine[Any, Any, None]) -> BaseException | None:
    """Start `work`, cancel it where it waits, and return how it ended."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert task.done()
    try:
        return task.exception()
    except asyncio.CancelledError as error:
        return error


@pytest.mark.parametrize("driver", ["aiosqlite"])
def test_a_begin_that_the_thread_of_sqlite_still_runs_is_rolled_back_before_the_next_use(
    database: Database,
) -> None:
    """SQLAlchemy sends no ROLLBACK with these options; else it would wait for the thread."""
    options = {**ONE, "isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}

    async def main() -> None:
        async with database.engine(**options) as engine:
            table, pool = await Table(engine).create(), TypedPool.of(engine)

            async def begin() -> None:
                async with engine.connect() as connection:
                    await (await driver_of(connection)).execute("BEGIN IMMEDIATE")

            async def write() -> None:
                async with engine.connect() as connection:  # no commit: each statement has its own
                    await connection.execute(text(table.insert(1)))

            with locked_by_another(database) as other:
                await cancel_in(begin())
                assert (pool.stats().idle, pool.stats().dirty_returns) == (0, 1)
                writer = asyncio.ensure_future(write())
                await asyncio.sleep(0)
                other.commit()
                await asyncio.wait_for(writer, 10)
            assert await stored_numbers(database, table) == [1]
            assert (pool.stats().dirty_returns, pool.stats().connects) == (1, 1)

    run(main())


@pytest.mark.parametrize("driver", ["aiosqlite"])
def test_a_cancelled_transaction_of_sqlite_keeps_no_lock_while_its_error_is_kept(
    database: Database,
) -> None:
    """The traceback refers to the cursor, and SQLite closes no connection with a statement."""
    slow = (
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers "
        "LIMIT 3000000) SELECT sum(n) FROM numbers"
    )

    async def main() -> None:
        async with database.engine(**ONE) as engine:
            table = await Table(engine).create()

            async def insert_and_compute() -> None:
                async with engine.begin() as connection:
                    await connection.execute(text(table.insert(0)))
                    await connection.execute(text(slow))

            error = await cancel_in(insert_and_compute())
            assert isinstance(error, asyncio.CancelledError)
            await asyncio.wait_for(table.add(1), 10)
            await engine.dispose()
            assert await stored_numbers(database, table) == [1]
            del error

    run(main())


# ------------------------------------------------------------------------- what it is not


@by_driver
def test_with_reset_on_return_none_an_open_transaction_is_kept_and_only_counted(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with database.engine(**ONE, pool_reset_on_return=None) as engine:
            table = await Table(engine).create()
            pool = TypedPool.of(engine)
            before = pool.stats().dirty_returns
            for number in range(3):
                connection = await engine.connect()
                raw = await driver_of(connection)
                if not number:
                    await raw.execute("BEGIN")
                await raw.execute(table.insert(number))
                await connection.close()
            assert pool.stats().dirty_returns == before + 3
            connection = await engine.connect()
            raw = await driver_of(connection)
            await raw.execute("COMMIT")
            await connection.close()
            assert await table.numbers() == [0, 1, 2]

    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        run(main())
    lines = [each.getMessage() for each in caplog.records]
    assert sum("dirty return" in line for line in lines) == 1, lines


@by_driver
def test_ordinary_use_returns_nothing_dirty(database: Database) -> None:
    async def main() -> None:
        async with database.engine(pool_size=3, max_overflow=0) as engine:
            table = await Table(engine).create()
            with suppress(ZeroDivisionError):
                async with engine.begin() as connection:
                    await connection.execute(text(table.insert(0)))
                    raise ZeroDivisionError
            async with engine.connect() as connection:
                await connection.execute(text(table.insert(0)))
                await connection.begin_nested()
                with suppress(DBAPIError):
                    await connection.execute(text("SELECT nonsense"))
            async with AsyncSession(engine) as session:
                await session.execute(text(table.insert(0)))
            autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
            async with autocommit.connect() as connection:
                await connection.execute(text("SELECT 1"))
            await asyncio.gather(*(table.add(number) for number in range(20)))
            assert await table.numbers() == list(range(20))
            assert TypedPool.of(engine).stats().dirty_returns == 0

    run(main())


# ------------------------------------------------------------------------------- silence


@pytest.mark.parametrize("driver", POSTGRESQL)
@by_loop
def test_a_rollback_that_is_not_answered_ends_and_another_connection_is_opened(
    database: Database, loop: str
) -> None:
    bound = 0.3

    async def main() -> None:
        options = {**ONE, "pool_reset_timeout": bound}
        async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
            table = await Table(engine).create()

            def leave_open(adapted: Any) -> None:
                run_own(adapted, table.insert(0))
                proxy.go_silent()

            listen(engine, "checkin", leave_open)
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
            pool = TypedPool.of(engine)
            assert pool.stats().idle == 0, "it is not handed out meanwhile"
            proxy.resume()  # for new connections
            watch = Stopwatch()
            async with engine.connect() as connection:
                assert await connection.scalar(text(f"SELECT count(*) FROM {table.name}")) == 0
            assert watch.awake < bound + 1 + SLACK
            assert await until(lambda: pool.stats().closed["transaction"] == 1), pool.stats()

    run(main(), loop)
