"""aiosqlite: a COMMIT or ROLLBACK that would do nothing is not sent to the connection's thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from sqla_typedpool._sqlalchemy.aiosqlite_adapter import COUNTS_RETURNED_ROWS
from tests.support.engines import run
from tests.support.sqlite_lab import Blocker, Hops, driver_of, people_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

pytest.importorskip("aiosqlite")


def test_neither_commit_nor_rollback_is_sent_when_nothing_is_open(tmp_path: Path) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            hops = Hops(await driver_of(engine))
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
            async with engine.begin() as connection:
                await connection.execute(text("SELECT 1"))
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
                await connection.rollback()
                await connection.commit()
            names = hops.taken()
            assert names.count("execute") == 3
            assert "commit" not in names
            assert "rollback" not in names

    run(main())


@pytest.mark.skipif(not COUNTS_RETURNED_ROWS, reason="SQLAlchemy 2.0 has another cursor")
def test_a_select_takes_three_hops_that_are_awaited(tmp_path: Path) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            hops = Hops(await driver_of(engine))
            async with engine.connect() as connection:
                result = await connection.execute(text("SELECT name FROM people"))
                assert result.all() == [("Ada",)]
            assert hops.taken() == ["cursor", "execute", "fetchall", "close later"]
            async with engine.connect() as connection:
                with pytest.raises(OperationalError, match="no such table"):
                    await connection.execute(text("SELECT name FROM missing"))
            assert hops.taken() == ["cursor", "execute", "close later"]
            await execute_many(engine)
            assert hops.taken() == ["cursor", "executemany", "close later", "commit"]
            async with engine.connect() as connection:
                await stream_one(connection)
            assert "close" in hops.taken(), "the rows of a stream may not all have been read"

    run(main())


async def execute_many(engine: AsyncEngine) -> None:
    """Add two rows in one statement of DB-API."""
    async with engine.begin() as connection:
        add = text("INSERT INTO people VALUES (:id, 'new')")
        await connection.execute(add, [{"id": 2}, {"id": 3}])


async def stream_one(connection: AsyncConnection) -> None:
    """Read the first row of a stream."""
    result = await connection.stream(text("SELECT id FROM people"))
    assert await result.first() == (1,)


@pytest.mark.parametrize(
    "sql", ["INSERT INTO people VALUES (2, 'Bob')", "BEGIN IMMEDIATE", "SAVEPOINT one"]
)
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_commit_and_rollback_are_sent_when_a_transaction_is_open(
    tmp_path: Path, sql: str, end: str
) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            driver = await driver_of(engine)
            hops = Hops(driver)
            async with engine.connect() as connection:
                await connection.execute(text(sql))
                await getattr(connection, end)()
                assert not driver.in_transaction
            assert [each for each in hops.taken() if each in ("commit", "rollback")] == [end]

    run(main())


def test_rollback_is_sent_when_a_cancelled_call_may_be_running(tmp_path: Path) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            blocker = Blocker()
            async with engine.connect() as connection:
                driver = (await connection.get_raw_connection()).driver_connection
                assert driver is not None
                hops = Hops(driver)
                await driver.create_function("block", 0, blocker)
                task = asyncio.ensure_future(
                    driver.execute("INSERT INTO people VALUES (2, block())")
                )
                await blocker.wait_until_called()
                task.cancel()
                await asyncio.wait({task})
                await connection.begin()
                closing = asyncio.ensure_future(connection.rollback())
                await asyncio.sleep(0)
                blocker.release.set()
                await closing
                assert "rollback" in hops.taken()
                assert not driver.in_transaction
            async with engine.connect() as connection:
                assert await connection.scalar(text("SELECT count(*) FROM people")) == 1

    run(main())


def noted(name: str, function: Callable[[Any], None], seen: list[str]) -> Callable[[Any], None]:
    """Return the same function; each call of it is noted in `seen`."""

    def note_and_call(subject: Any) -> None:
        seen.append(name)
        function(subject)

    return note_and_call


def test_listeners_and_the_dialect_see_the_rollback_that_is_not_sent(tmp_path: Path) -> None:
    async def main() -> None:
        async with people_on(tmp_path) as engine:
            seen: list[str] = []
            sync = engine.sync_engine
            event.listen(sync, "rollback", lambda _: seen.append("rollback"))
            event.listen(sync, "commit", lambda _: seen.append("commit"))
            event.listen(sync.pool, "reset", lambda *_: seen.append("reset"))
            for name in ("do_rollback", "do_commit"):
                setattr(sync.dialect, name, noted(name, getattr(sync.dialect, name), seen))
            hops = Hops(await driver_of(engine))
            seen.clear()
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
                await connection.commit()
                assert seen == ["commit", "do_commit"]
                seen.clear()
                await connection.execute(text("SELECT 1"))
            assert seen == ["rollback", "do_rollback", "reset"]
            assert not {"commit", "rollback"} & set(hops.taken())

    run(main())
