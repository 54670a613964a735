"""aiosqlite: transactions end as with the stock pool, which sends every COMMIT and ROLLBACK."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, exc, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tests.support.engines import make_engine, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    Work = Callable[[AsyncConnection], Awaitable[object]]

pytest.importorskip("aiosqlite")


async def add(connection: Any, number: int, verb: str = "INSERT") -> None:
    """Add a number; 1 is there already."""
    await connection.execute(text(f"{verb} INTO t VALUES ({number})"))


async def driver_of(connection: AsyncConnection) -> Any:
    return (await connection.get_raw_connection()).driver_connection


# ------------------------------------------------------------ what is done in one checkout


async def sql_begin(connection: AsyncConnection) -> None:
    await connection.execute(text("BEGIN IMMEDIATE"))
    await add(connection, 2)
    await connection.rollback()
    await connection.execute(text("BEGIN"))
    await add(connection, 3)
    await connection.commit()


async def sql_ends(connection: AsyncConnection) -> None:
    await add(connection, 2)
    await connection.execute(text("COMMIT"))
    await connection.rollback()
    await add(connection, 3)
    await connection.execute(text("ROLLBACK"))
    await connection.commit()


async def savepoint_alone(connection: AsyncConnection) -> None:
    await connection.execute(text("SAVEPOINT one"))
    await add(connection, 2)
    await connection.execute(text("ROLLBACK TO one"))
    await add(connection, 3)
    await connection.commit()
    await connection.execute(text("SAVEPOINT two"))
    await add(connection, 4)
    await connection.rollback()


async def released(connection: AsyncConnection) -> None:
    await connection.execute(text("SAVEPOINT one"))
    await connection.execute(text("RELEASE one"))
    await connection.rollback()
    await add(connection, 2)
    await connection.commit()


async def nested(connection: AsyncConnection) -> None:
    async with connection.begin_nested():
        await add(connection, 2)
    inner = await connection.begin_nested()
    await add(connection, 3)
    await inner.rollback()
    await connection.commit()
    async with connection.begin_nested():
        await add(connection, 4)
    await connection.rollback()


async def session_nested(connection: AsyncConnection) -> None:
    async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
        await add(session, 2)
        with suppress(exc.DBAPIError):
            async with session.begin_nested():
                await add(session, 1)
        await session.commit()
        await add(session, 3)
        await session.rollback()
    await connection.commit()


async def settings_and_schema(connection: AsyncConnection) -> None:
    await connection.execute(text("PRAGMA foreign_keys = ON"))
    await connection.execute(text("ATTACH ':memory:' AS other"))
    await connection.execute(text("CREATE TABLE other.t (a)"))
    await connection.commit()
    await connection.execute(text("CREATE TABLE u (a)"))
    await connection.rollback()
    await connection.execute(text("CREATE TABLE IF NOT EXISTS u (a)"))
    await connection.execute(text("VACUUM"))
    await add(connection, 2)
    await connection.rollback()
    await connection.execute(text("DETACH other"))


async def failed(connection: AsyncConnection) -> None:
    await add(connection, 2)
    with suppress(exc.DBAPIError):
        await add(connection, 1)
    await connection.commit()
    with suppress(exc.DBAPIError):
        await add(connection, 1)
    await connection.rollback()
    await add(connection, 3)


async def failed_and_ended(connection: AsyncConnection) -> None:
    await add(connection, 2)
    with suppress(exc.DBAPIError):
        await add(connection, 1, "INSERT OR ROLLBACK")
    await add(connection, 3)
    await connection.commit()


async def left_failed_and_ended(connection: AsyncConnection) -> None:
    with suppress(exc.DBAPIError):
        await add(connection, 1, "INSERT OR ROLLBACK")


async def by_the_driver(connection: AsyncConnection) -> None:
    driver = await driver_of(connection)
    await driver.execute("INSERT INTO t VALUES (2)")
    await connection.commit()
    await driver.executescript("BEGIN; INSERT INTO t VALUES (3);")
    await connection.rollback()
    await driver.executescript("BEGIN; INSERT INTO t VALUES (4); COMMIT; BEGIN;")
    await add(connection, 5)


async def queued_by_another_task(connection: AsyncConnection) -> None:
    driver = await driver_of(connection)
    await connection.begin()
    other = asyncio.ensure_future(driver.execute("INSERT INTO t VALUES (2)"))
    await asyncio.sleep(0)
    await connection.rollback()
    await other
    await connection.begin()
    other = asyncio.ensure_future(driver.execute("INSERT INTO t VALUES (3)"))
    await asyncio.sleep(0)
    await connection.commit()
    await other


async def unread_stream(connection: AsyncConnection) -> None:
    await add(connection, 2)
    await connection.commit()
    result = await connection.stream(text("SELECT a FROM t"))
    assert await result.fetchone() is not None
    await connection.rollback()
    await add(connection, 3)
    result = await connection.stream(text("INSERT INTO t VALUES (4), (5) RETURNING a"))
    assert await result.fetchone() == (4,)
    await result.close()
    await connection.commit()
    await connection.stream(text("SELECT a FROM t"))


async def busy_commit(connection: AsyncConnection) -> None:
    await connection.execute(text("PRAGMA busy_timeout = 0"))
    await connection.commit()
    reader = create_async_engine(connection.engine.url)
    try:
        async with reader.connect() as other:
            await other.execute(text("BEGIN"))
            await other.execute(text("SELECT a FROM t"))
            with suppress(exc.DBAPIError):
                await add(connection, 2)
                await connection.commit()
    finally:
        await reader.dispose()
    await connection.rollback()
    await add(connection, 3)
    await connection.commit()


async def deferred_foreign_key(connection: AsyncConnection) -> None:
    await connection.execute(text("PRAGMA foreign_keys = ON"))
    owner = "a REFERENCES t DEFERRABLE INITIALLY DEFERRED"
    await connection.execute(text(f"CREATE TABLE IF NOT EXISTS pets ({owner})"))
    await connection.commit()
    await add(connection, 2)
    await connection.execute(text("INSERT INTO pets VALUES (9)"))
    with suppress(exc.DBAPIError):
        await connection.commit()
    await connection.rollback()
    await connection.execute(text("DELETE FROM pets"))
    await connection.commit()


async def driver_autocommit(connection: AsyncConnection) -> None:
    await connection.execution_options(isolation_level="AUTOCOMMIT")
    await add(connection, 2)
    await connection.rollback()
    await connection.execute(text("BEGIN"))
    await add(connection, 3)
    await connection.rollback()


WORK = [
    sql_begin,
    sql_ends,
    savepoint_alone,
    released,
    nested,
    session_nested,
    settings_and_schema,
    failed,
    failed_and_ended,
    left_failed_and_ended,
    by_the_driver,
    queued_by_another_task,
    unread_stream,
    busy_commit,
    deferred_foreign_key,
    driver_autocommit,
]


# --------------------------------------------------------------------- kinds of engines


def plain(engine: AsyncEngine) -> None:
    """Keep sqlite3's defaults."""


def begin_in_listener(engine: AsyncEngine) -> None:
    """SQLAlchemy's recipe for SAVEPOINT."""

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(adapted: Any, _: object) -> None:
        adapted.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Any) -> None:
        if not connection.connection.dbapi_connection._connection.in_transaction:
            connection.exec_driver_sql("BEGIN")


def wal(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(adapted: Any, _: object) -> None:
        cursor = adapted.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()


KINDS: dict[str, tuple[Callable[[AsyncEngine], None], dict[str, Any]]] = {
    "plain": (plain, {}),
    "begin in a listener": (begin_in_listener, {}),
    "WAL": (wal, {}),
    "autocommit=False": (plain, {"autocommit": False}),
}


async def change_left_open(connection: AsyncConnection) -> None:
    await add(connection, 90)


async def cleaned(connection: AsyncConnection) -> None:
    await connection.execute(text("DELETE FROM t WHERE a > 1"))
    await connection.commit()


async def seen_after(engine: AsyncEngine, work: Work) -> list[object]:
    """Return the errors, and what is committed then."""
    seen: list[object] = []

    async def read(connection: AsyncConnection) -> None:
        seen.extend(await connection.scalars(text("SELECT a FROM t ORDER BY a")))

    for each in (work, read):
        try:
            async with engine.connect() as connection:
                await each(connection)
        except Exception as error:
            seen.append((type(error), str(error)))
    return seen


async def outcome(path: Path, kind: str, work: Work, make: Any) -> list[object]:
    """Return what is committed after `work`, and after later checkouts of its connection."""
    set_up, connect_args = KINDS[kind]
    options = {"pool_size": 1, "max_overflow": 0, "connect_args": connect_args}
    engine = make(f"sqlite+aiosqlite:///{path}", **options)
    set_up(engine)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE t (a INTEGER PRIMARY KEY)"))
            await add(connection, 1)
        works = [work, change_left_open, cleaned] * 2
        return [await seen_after(engine, each) for each in works]
    finally:
        await engine.dispose()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("work", WORK)
def test_what_is_committed_is_what_the_stock_pool_commits(
    tmp_path: Path, kind: str, work: Work
) -> None:
    if "autocommit" in kind and sys.version_info < (3, 12):
        pytest.skip("sqlite3's `autocommit` came with 3.12")
    if (kind, work) == ("autocommit=False", failed_and_ended):
        pytest.skip("the stock pool hands out a connection whose ROLLBACK fails; ours closes it")

    async def main() -> None:
        stock = await outcome(tmp_path / "stock.db", kind, work, create_async_engine)
        assert await outcome(tmp_path / "typed.db", kind, work, make_engine) == stock

    run(main())
