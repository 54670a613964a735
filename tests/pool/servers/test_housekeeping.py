"""The housekeeper, warm(), leak and holder reports, and collected leaks."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import re
import threading
import warnings
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool import PoolTimeout, TypedPool
from sqla_typedpool.embedded.process import free_port
from tests.support.clocks import Stopwatch
from tests.support.drivers import POSTGRESQL, SERVERS
from tests.support.engines import PATIENCE, ask, engine_on, fill, no_gc, run, session_id, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from tests.support.databases import Database, PostgresDatabase


def current_line() -> int:
    """The number of the line that calls this function."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


# -------------------------------------------------------------------------- housekeeper


@pytest.mark.parametrize("driver", SERVERS)
def test_idle_connections_above_the_minimum_size_are_closed_and_the_others_stay_open(
    database: Database,
) -> None:
    async def main() -> None:
        options = {"pool_size": 5, "pool_min_size": 2, "pool_idle_timeout": 0.3}
        async with database.engine(**options) as engine:
            ids = await fill(engine, 5)
            assert await database.wait_for_at_most(2) == 2
            await asyncio.sleep(0.8)
            remaining = await database.sessions()
            assert len(remaining) == 2
            assert remaining <= set(ids)
            assert TypedPool.of(engine).stats().closed["idle"] == 3

    run(main())


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_connections_in_use_stay_open_while_unused_ones_are_closed_for_idle_timeout(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=5, pool_idle_timeout=0.3) as engine:
            await fill(engine, 5)
            watch = Stopwatch()
            while watch.seconds < 1.2:
                assert await ask(engine) == 1
                await asyncio.sleep(0.02)
            assert await database.wait_for_at_most(1) == 1
            assert TypedPool.of(engine).stats().connects == 5

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_the_minimum_size_is_refilled_after_its_sessions_were_killed(database: Database) -> None:
    async def main() -> None:
        async with database.engine(pool_min_size=2) as engine:
            await TypedPool.of(engine).warm()
            ids = await database.sessions()
            assert len(ids) == 2
            await database.kill(*ids)
            assert await database.wait_for_at_least(2) == 2
            assert not ids & await database.sessions()

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_expired_connections_are_replaced_without_a_checkout(database: Database) -> None:
    async def main() -> None:
        async with database.engine(pool_min_size=2, pool_max_lifetime=0.5) as engine:
            pool = TypedPool.of(engine)
            await pool.warm()
            ids = await database.sessions()
            assert await until(lambda: pool.stats().closed["lifetime"] >= 2), pool.stats()
            await database.wait_for_the_end_of(ids)
            assert await database.wait_for_at_least(2) >= 2

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_keepalive_pings_idle_connections_repeatedly(database: Database) -> None:
    async def main() -> None:
        async with database.engine(pool_keepalive=0.2) as engine:
            pool = TypedPool.of(engine)
            ids = await fill(engine, 2)
            assert await until(lambda: pool.stats().pings >= 4), pool.stats()
            assert pool.stats().failed_pings == 0
            assert set(await fill(engine, 2)) == set(ids)

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_retire_all_replaces_idle_connections_now_and_those_in_use_when_they_are_returned(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=3, max_overflow=0) as engine:
            ids = await fill(engine, 3)
            held = await engine.connect()
            held_id = await session_id(held)
            TypedPool.of(engine).retire_all()
            assert await database.wait_for_at_most(1) == 1
            assert await session_id(held) == held_id
            await held.close()
            assert await database.wait_for_at_most(0) == 0
            assert not set(await fill(engine, 3)) & set(ids)

    run(main())


# -------------------------------------------------------------------------------- warm


@pytest.mark.parametrize("driver", SERVERS)
def test_warm_opens_the_minimum_size_before_the_first_request(database: Database) -> None:
    async def main() -> None:
        async with database.engine(pool_min_size=3) as engine:
            pool = TypedPool.of(engine)
            await pool.warm()
            assert len(await database.sessions()) == 3
            assert (pool.stats().idle, pool.stats().in_use) == (3, 0)
            await pool.warm()
            assert len(await database.sessions()) == 3
            await asyncio.gather(*(ask(engine) for _ in range(3)))
            assert pool.stats().connects == 3

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_warm_raises_the_drivers_error_for_a_wrong_account_at_once(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database.url.set(username="unknown_user"), pool_min_size=2) as engine:
            watch = Stopwatch()
            with pytest.raises(Exception, match="unknown_user"):
                await TypedPool.of(engine).warm()
            assert watch.awake < 1
            assert await until(lambda: TypedPool.of(engine).stats().size == 0)

    run(main())


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_warm_raises_the_drivers_error_for_a_wrong_password(
    stoppable_database: PostgresDatabase,
) -> None:
    database = stoppable_database

    async def main() -> None:
        await database.run("CREATE ROLE app LOGIN PASSWORD 'right'")
        await database.require_password("app")
        async with engine_on(database.url.set(username="app", password="right")) as engine:
            await TypedPool.of(engine).warm()
        async with engine_on(database.url.set(username="app", password="wrong")) as engine:
            watch = Stopwatch()
            with pytest.raises(Exception, match="password authentication failed"):
                await TypedPool.of(engine).warm()
            assert watch.awake < 1

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_warm_raises_the_drivers_error_for_a_wrong_port_after_the_retry(
    database: Database,
) -> None:
    async def main() -> None:
        url = database.url.set(port=free_port())
        async with engine_on(url, pool_connect_retry=0.3, pool_min_size=2) as engine:
            watch = Stopwatch()
            with pytest.raises(Exception, match=database.REFUSED):
                await TypedPool.of(engine).warm()
            assert watch.awake < 1.5

    run(main())


# ------------------------------------------------------------------------------ reports


@pytest.mark.parametrize("driver", SERVERS)
def test_a_leak_is_reported_once_with_the_line_of_its_checkout_and_again_on_return(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    where = 0

    async def main() -> None:
        nonlocal where
        async with database.engine(pool_leak_threshold=0.2) as engine:
            where = current_line() + 1
            held = await engine.connect()
            await asyncio.sleep(0.7)
            (holder,) = TypedPool.of(engine).holders()
            assert f"{__file__}:{where}" in str(holder)
            await held.close()

    with caplog.at_level("WARNING", "sqla_typedpool.pool"):
        run(main())
    out, back = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert f"{__file__}:{where}" in out
    assert "leak returned: " in back
    assert f"{__file__}:{where}" in back


@pytest.mark.parametrize("driver", ["asyncpg"])
def test_a_leak_through_a_session_is_reported_with_the_line_that_used_the_session(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    where = 0

    async def main() -> None:
        nonlocal where
        async with database.engine(pool_leak_threshold=0.2) as engine:
            async with AsyncSession(engine) as db:
                where = current_line() + 1
                await db.execute(text("SELECT 1"))
                await asyncio.sleep(0.5)

    with caplog.at_level("WARNING", "sqla_typedpool.pool"):
        run(main())
    assert any(f"{__file__}:{where}" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("driver", SERVERS)
def test_holders_without_a_leak_threshold_name_the_current_line_of_the_task(
    database: Database,
) -> None:
    where = 0

    async def report(engine: AsyncEngine) -> None:
        nonlocal where
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            where = current_line() + 1
            await asyncio.sleep(5)

    async def main() -> None:
        async with database.engine() as engine:
            task = asyncio.ensure_future(report(engine))
            task.set_name("monthly report")
            assert await until(lambda: bool(where))
            await asyncio.sleep(0.1)
            (holder,) = TypedPool.of(engine).holders()
            assert holder.task == "monthly report"
            assert holder.where is not None
            assert f"{__file__}:{where}" in holder.where
            assert 0 < holder.seconds < 2
            task.cancel()
            await asyncio.wait({task})
            assert TypedPool.of(engine).holders() == []

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_the_timeout_names_the_holder_its_line_and_the_numbers(database: Database) -> None:
    async def hold(engine: AsyncEngine) -> None:
        async with engine.connect():
            await asyncio.sleep(5)

    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
        async with database.engine(**options) as engine:
            task = asyncio.ensure_future(hold(engine))
            task.set_name("long holder")
            assert await until(lambda: TypedPool.of(engine).checkedout() == 1)
            with pytest.raises(PoolTimeout, match="long holder") as caught:
                await engine.connect()
            task.cancel()
            await asyncio.wait({task})
        message = str(caught.value)
        assert re.search(r"1 in use, 0 idle, 0 connecting, \d waiting, max 1", message)
        assert __file__ in message
        assert "nested" not in message
        assert (caught.value.stage, caught.value.holders[0].task) == ("queueing", "long holder")

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_the_timeout_of_a_nested_checkout_mentions_the_nesting(database: Database) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
        async with database.engine(**options) as engine:
            async with engine.connect():
                with pytest.raises(PoolTimeout, match="nested checkout"):
                    await engine.connect()

    run(main())


# ---------------------------------------------------------------------- collected leaks


def make_garbage(connection: AsyncConnection) -> None:
    """Put the connection into a reference cycle, which only the garbage collector finds."""
    cycle: list[object] = [connection]
    cycle.append(cycle)


async def collect_on_this_thread() -> None:
    gc.collect()


async def collect_on_another_thread() -> None:
    await asyncio.to_thread(gc.collect)


async def collect_on_another_thread_while_the_loop_is_blocked() -> None:
    collector = threading.Thread(target=gc.collect)
    collector.start()
    collector.join(10)


@pytest.mark.parametrize("driver", SERVERS)
@pytest.mark.parametrize(
    "collect",
    [
        collect_on_this_thread,
        collect_on_another_thread,
        collect_on_another_thread_while_the_loop_is_blocked,
    ],
    ids=lambda collect: collect.__name__.replace("_", " "),
)
def test_collecting_a_leaked_connection_frees_its_slot_and_serves_the_waiter(
    database: Database, collect: Callable[[], Coroutine[object, object, None]]
) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
        async with database.engine(**options) as engine:
            pool = TypedPool.of(engine)
            with no_gc():
                connection = await engine.connect()
                await connection.execute(text("SELECT 1"))
                make_garbage(connection)
                del connection
                waiting = asyncio.ensure_future(ask(engine))
                assert await until(lambda: pool.stats().waiting == 1)
                await asyncio.sleep(0.05)
                assert not waiting.done()
                await collect()
                watch = Stopwatch()  # leaves out the time of the collection
                assert await asyncio.wait_for(waiting, PATIENCE) == 1
                assert watch.awake < 1
            assert pool.checkedout() == 0
            assert await database.wait_for_at_most(1) == 1

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(main())
    assert any("garbage collector" in str(each.message) for each in caught)
    assert not any("nclosed" in str(each.message) for each in caught)


class BlockingHandler(logging.Handler):
    """Blocks the thread in which SQLAlchemy logs that the collector has found a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.is_blocking, self.release_it = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "garbage collector" in record.getMessage():
            self.is_blocking.set()
            self.release_it.wait(PATIENCE)


@pytest.mark.parametrize("driver", SERVERS)
def test_a_leak_collected_on_another_thread_returns_nothing_of_the_next_borrower(
    database: Database,
) -> None:
    handler = BlockingHandler()
    logger = logging.getLogger("sqlalchemy.pool")

    async def main() -> None:
        async with database.engine(pool_size=1, max_overflow=0) as engine:
            with no_gc():
                connection = await engine.connect()
                await connection.execute(text("SELECT 1"))
                make_garbage(connection)
                del connection
                collector = asyncio.ensure_future(asyncio.to_thread(gc.collect))
                assert await until(handler.is_blocking.is_set)
                async with engine.connect() as next_borrowers:
                    handler.release_it.set()
                    await collector
                    assert TypedPool.of(engine).checkedout() == 1
                    assert await next_borrowers.scalar(text("SELECT 1")) == 1

    logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            run(main())
    finally:
        handler.release_it.set()
        logger.removeHandler(handler)


@pytest.mark.parametrize("driver", SERVERS)
def test_a_leak_collected_after_its_loop_has_ended_frees_its_slot(database: Database) -> None:
    lost: list[AsyncConnection] = []

    async def leak(engine: AsyncEngine) -> None:
        connection = await engine.connect()
        await connection.execute(text("SELECT 1"))
        lost.append(connection)

    async def use(engine: AsyncEngine) -> None:
        assert await ask(engine) == 1
        await engine.dispose()

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        engine = database.make_engine(pool_size=1, max_overflow=0, pool_timeout=2)
        run(leak(engine))
        collector = threading.Thread(target=lambda: (lost.clear(), gc.collect()))
        collector.start()
        collector.join()
        assert TypedPool.of(engine).checkedout() == 0
        run(use(engine))
