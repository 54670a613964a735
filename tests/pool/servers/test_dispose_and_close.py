"""`engine.dispose()` and `TypedPool.close()` with connections in use and tasks that wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import PoolClosed, TypedPool
from tests.support.clocks import Stopwatch
from tests.support.drivers import SERVERS
from tests.support.engines import PATIENCE, ask, by_loop, fill, run, until

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database


@pytest.mark.parametrize("driver", SERVERS)
def test_a_connection_checked_out_during_dispose_stays_usable_and_is_closed_when_returned(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=3) as engine:
            await fill(engine, 3)
            held = await engine.connect()
            old = TypedPool.of(engine)
            await engine.dispose()
            assert await database.wait_for_at_most(1) == 1
            assert await held.scalar(text("SELECT 1")) == 1
            await held.close()
            assert await database.wait_for_at_most(0) == 0
            assert old.checkedout() == 0
            assert TypedPool.of(engine) is not old
            assert await ask(engine) == 1

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_waiters_of_a_disposed_pool_are_served(database: Database) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
        async with database.engine(**options) as engine:
            held = await engine.connect()
            waiting = asyncio.gather(*(ask(engine) for _ in range(3)))
            await asyncio.sleep(0.05)
            await engine.dispose()
            await held.close()
            watch = Stopwatch()
            assert await waiting == [1, 1, 1]
            assert watch.awake < 1

    run(main())


@by_loop
@pytest.mark.parametrize("driver", SERVERS)
def test_close_refuses_new_checkouts_waits_for_the_holders_and_leaves_nothing_open(
    database: Database, loop: str
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=3) as engine:
            pool = TypedPool.of(engine)
            await fill(engine, 3)
            held = await engine.connect()
            watch = Stopwatch()
            closing = asyncio.ensure_future(pool.close(timeout=5))
            await asyncio.sleep(0.05)
            with pytest.raises(PoolClosed):
                await engine.connect()
            assert await held.scalar(text("SELECT 1")) == 1
            assert not closing.done()
            await held.close()
            await closing
            assert watch.awake < 1.5
            assert await database.wait_for_at_most(0) == 0
            await pool.close()
            await pool.close(timeout=0)
            with pytest.raises(PoolClosed):
                await engine.connect()
            await engine.dispose()
            assert await ask(engine) == 1

    run(main(), loop)


@pytest.mark.parametrize("driver", ["asyncpg"])
def test_close_fails_the_waiters_at_once(database: Database) -> None:
    async def main() -> None:
        async with database.engine(pool_size=1, max_overflow=0) as engine:
            held = await engine.connect()
            waiting = asyncio.ensure_future(ask(engine))
            await asyncio.sleep(0.05)
            closing = asyncio.ensure_future(TypedPool.of(engine).close())
            with pytest.raises(PoolClosed):
                await asyncio.wait_for(waiting, PATIENCE)
            await held.close()
            await closing

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_close_terminates_connections_still_checked_out_and_names_their_holder(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=3) as engine:
            await fill(engine, 2)
            holder = asyncio.ensure_future(ask(engine, database.sleep(10)))
            holder.set_name("slow report")
            assert await until(lambda: TypedPool.of(engine).checkedout() == 1)
            await asyncio.sleep(0.1)  # until the statement has been sent
            watch = Stopwatch()
            closing = asyncio.ensure_future(TypedPool.of(engine).close(timeout=0.3))
            await asyncio.sleep(0.05)
            with pytest.raises(PoolClosed):
                await engine.connect()
            await closing
            assert watch.seconds >= 0.3
            assert watch.awake < 1
            with pytest.raises(DBAPIError):
                await asyncio.wait_for(holder, PATIENCE)
            assert TypedPool.of(engine).checkedout() == 0
            await engine.dispose()
            assert await ask(engine) == 1

    with caplog.at_level("WARNING", "sqla_typedpool.pool"):
        run(main())
    assert any("slow report" in record.getMessage() for record in caplog.records)


@pytest.mark.slow
@pytest.mark.parametrize("driver", SERVERS)
def test_connects_that_dispose_gives_up_leave_no_session_and_no_slot(database: Database) -> None:
    """At many moments of a connect, one after another; some of them succeed all the same."""
    # asyncpg reports an error of its own if it is cancelled when it begins to negotiate TLS
    options = {"connect_args": {"ssl": False}} if database.driver == "asyncpg" else {}

    async def cancel_and_dispose(engine: AsyncEngine, seconds: float) -> None:
        pool, borrower = TypedPool.of(engine), asyncio.ensure_future(ask(engine))
        await asyncio.sleep(seconds)
        borrower.cancel()
        watch = Stopwatch()
        await engine.dispose()
        assert watch.awake < pool.options.pool_reset_timeout
        await asyncio.wait({borrower})
        assert await until(lambda: pool.stats().size == 0)

    async def main() -> None:
        async with database.engine(pool_size=3, pool_min_size=3, **options) as engine:
            for step in range(40):
                await cancel_and_dispose(engine, step * 0.0005)
            assert await database.wait_for_at_most(0) == 0
            assert await ask(engine) == 1

    run(main())
