"""The housekeeper, warm(), leak and holder reports, and collected leaks."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import threading
import warnings
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from sqla_typedpool import PoolTimeout, TypedPool
from sqla_typedpool.embedded.process import free_port
from tests.support.clocks import Stopwatch
from tests.support.engines import (
    admin_of,
    ask,
    by_driver,
    engine_on,
    fill,
    new_name,
    no_gc,
    run,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from sqla_typedpool.embedded import Postgres


def current_line() -> int:
    """The number of the line that calls this function."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


# -------------------------------------------------------------------------- housekeeper


@by_driver
def test_idle_connections_above_the_minimum_size_are_closed_and_the_others_stay_open(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        name = new_name()
        options = {"pool_size": 5, "pool_min_size": 2, "pool_idle_timeout": 0.3}
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), name, **options) as engine:
                pids = await fill(engine, 5)
                assert await admin.wait_for_at_most(name, 2) == 2
                await asyncio.sleep(0.8)
                remaining = await admin.pids(name)
                assert len(remaining) == 2
                assert remaining <= set(pids)
                assert TypedPool.of(engine).stats().closed["idle"] == 3

    run(main())


@by_driver
def test_connections_in_use_stay_open_while_unused_ones_are_closed_for_idle_timeout(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        name = new_name()
        options = {"pool_size": 5, "pool_idle_timeout": 0.3}
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), name, **options) as engine:
                await fill(engine, 5)
                watch = Stopwatch()
                while watch.seconds < 1.2:
                    assert await ask(engine) == 1
                    await asyncio.sleep(0.02)
                assert len(await admin.pids(name)) == 1
                assert TypedPool.of(engine).stats().connects == 5

    run(main())


@by_driver
def test_the_minimum_size_is_refilled_after_its_backends_were_terminated(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        name = new_name()
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), name, pool_min_size=2) as engine:
                await TypedPool.of(engine).warm()
                pids = await admin.pids(name)
                assert len(pids) == 2
                await admin.terminate(*pids)
                assert await admin.wait_for_at_least(name, 2, 3) == 2
                assert not pids & await admin.pids(name)

    run(main())


@by_driver
def test_expired_connections_are_replaced_without_a_checkout(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        name = new_name()
        options = {"pool_min_size": 2, "pool_max_lifetime": 0.5}
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), name, **options) as engine:
                await TypedPool.of(engine).warm()
                pids = await admin.pids(name)
                await asyncio.sleep(1)
                assert await admin.wait_for_at_least(name, 2) == 2
                assert not pids & await admin.pids(name)
                assert TypedPool.of(engine).stats().closed["lifetime"] >= 2

    run(main())


@by_driver
def test_keepalive_pings_idle_connections_repeatedly(postgres: Postgres, driver: str) -> None:
    async def main() -> None:
        async with engine_on(postgres.url(driver), pool_keepalive=0.2) as engine:
            pool = TypedPool.of(engine)
            pids = await fill(engine, 2)
            assert await until(lambda: pool.stats().pings >= 4, 3), pool.stats()
            assert pool.stats().failed_pings == 0
            assert set(await fill(engine, 2)) == set(pids)

    run(main())


@by_driver
def test_retire_all_replaces_idle_connections_now_and_those_in_use_when_they_are_returned(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        name = new_name()
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), name, pool_size=3) as engine:
                pids = await fill(engine, 3)
                held = await engine.connect()
                pid = await held.scalar(text("SELECT pg_backend_pid()"))
                TypedPool.of(engine).retire_all()
                assert await admin.wait_for_at_most(name, 1) == 1
                assert await held.scalar(text("SELECT pg_backend_pid()")) == pid
                await held.close()
                assert await admin.wait_for_at_most(name, 0) == 0
                assert not set(pids) & set(await fill(engine, 3))

    run(main())


# -------------------------------------------------------------------------------- warm


@by_driver
def test_warm_opens_the_minimum_size_before_the_first_request(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        name = new_name()
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), name, pool_min_size=3) as engine:
                pool = TypedPool.of(engine)
                await pool.warm()
                assert len(await admin.pids(name)) == 3
                assert (pool.stats().idle, pool.stats().in_use) == (3, 0)
                await pool.warm()
                assert len(await admin.pids(name)) == 3
                await asyncio.gather(*(ask(engine) for _ in range(3)))
                assert pool.stats().connects == 3

    run(main())


@by_driver
def test_warm_raises_the_drivers_error_for_a_wrong_account_at_once(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        url = postgres.url(driver).replace("postgres@", "unknown_user@")
        async with engine_on(url, pool_min_size=2) as engine:
            watch = Stopwatch()
            with pytest.raises(Exception, match="unknown_user"):
                await TypedPool.of(engine).warm()
            assert watch.awake < 1
            assert await until(lambda: TypedPool.of(engine).stats().size == 0, 1)

    run(main())


@by_driver
def test_warm_raises_the_drivers_error_for_a_wrong_password(
    own_postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(own_postgres) as admin:
            await admin.connection.execute("CREATE ROLE app LOGIN PASSWORD 'right'")
            await admin.require_password(own_postgres, "app")
            url = own_postgres.url(driver)
            async with engine_on(url.replace("postgres@", "app:right@")) as engine:
                await TypedPool.of(engine).warm()
            async with engine_on(url.replace("postgres@", "app:wrong@")) as engine:
                watch = Stopwatch()
                with pytest.raises(Exception, match="password authentication failed"):
                    await TypedPool.of(engine).warm()
                assert watch.awake < 1

    run(main())


@by_driver
def test_warm_raises_the_drivers_error_for_a_wrong_port_after_the_retry(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        url = postgres.url(driver).replace(str(postgres.port), str(free_port()))
        async with engine_on(url, pool_connect_retry=0.3, pool_min_size=2) as engine:
            watch = Stopwatch()
            with pytest.raises(Exception, match=r"(?i)refused|connect call failed"):
                await TypedPool.of(engine).warm()
            assert watch.awake < 1.5

    run(main())


# ------------------------------------------------------------------------------ reports


@by_driver
def test_a_leak_is_reported_once_with_the_line_of_its_checkout_and_again_on_return(
    postgres: Postgres, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    where = 0

    async def main() -> None:
        nonlocal where
        async with engine_on(postgres.url(driver), pool_leak_threshold=0.2) as engine:
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
    assert "returned after" in back


def test_a_leak_through_a_session_is_reported_with_the_line_that_used_the_session(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession

    where = 0

    async def main() -> None:
        nonlocal where
        async with engine_on(postgres.url(), pool_leak_threshold=0.2) as engine:
            async with AsyncSession(engine) as db:
                where = current_line() + 1
                await db.execute(text("SELECT 1"))
                await asyncio.sleep(0.5)

    with caplog.at_level("WARNING", "sqla_typedpool.pool"):
        run(main())
    assert any(f"{__file__}:{where}" in record.getMessage() for record in caplog.records)


@by_driver
def test_holders_without_a_leak_threshold_name_the_current_line_of_the_task(
    postgres: Postgres, driver: str
) -> None:
    where = 0

    async def report(engine: AsyncEngine) -> None:
        nonlocal where
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            where = current_line() + 1
            await asyncio.sleep(5)

    async def main() -> None:
        async with engine_on(postgres.url(driver)) as engine:
            task = asyncio.ensure_future(report(engine))
            task.set_name("monthly report")
            assert await until(lambda: bool(where), 2)
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


@by_driver
def test_the_timeout_names_the_holder_its_line_and_the_numbers(
    postgres: Postgres, driver: str
) -> None:
    async def hold(engine: AsyncEngine) -> None:
        async with engine.connect():
            await asyncio.sleep(5)

    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
        async with engine_on(postgres.url(driver), **options) as engine:
            task = asyncio.ensure_future(hold(engine))
            task.set_name("long holder")
            assert await until(lambda: TypedPool.of(engine).checkedout() == 1, 2)
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


@by_driver
def test_the_timeout_of_a_nested_checkout_mentions_the_nesting(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
        async with engine_on(postgres.url(driver), **options) as engine:
            async with engine.connect():
                with pytest.raises(PoolTimeout, match="nested checkout"):
                    await engine.connect()

    run(main())


# ---------------------------------------------------------------------- collected leaks

COLLECT: dict[str, Callable[[], object]] = {
    "this thread": gc.collect,
    "another thread": lambda: asyncio.to_thread(gc.collect),
}


def make_garbage(connection: AsyncConnection) -> None:
    """Put the connection into a reference cycle, which only the garbage collector finds."""
    cycle: list[object] = [connection]
    cycle.append(cycle)


@by_driver
@pytest.mark.parametrize("where", COLLECT)
def test_collecting_a_leaked_connection_frees_its_slot_and_serves_the_waiter(
    postgres: Postgres, driver: str, where: str
) -> None:
    async def main() -> None:
        name = new_name()
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), name, **options) as engine:
                pool = TypedPool.of(engine)
                with no_gc():
                    connection = await engine.connect()
                    await connection.execute(text("SELECT 1"))
                    make_garbage(connection)
                    del connection
                    waiting = asyncio.ensure_future(ask(engine))
                    await asyncio.sleep(0.1)
                    assert not waiting.done()
                    found = COLLECT[where]()
                    if asyncio.iscoroutine(found):
                        await found
                    watch = Stopwatch()  # leaves out the time of the collection
                    assert await asyncio.wait_for(waiting, 2) == 1
                    assert watch.awake < 0.5
                assert pool.checkedout() == 0
                assert await admin.wait_for_at_most(name, 1) <= 1

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(main())
    assert any("garbage collector" in str(each.message) for each in caught)


@by_driver
def test_a_leak_collected_after_its_loop_has_ended_frees_its_slot(
    postgres: Postgres, driver: str
) -> None:
    lost: list[AsyncConnection] = []

    async def leak(engine: AsyncEngine) -> None:
        connection = await engine.connect()
        await connection.execute(text("SELECT 1"))
        lost.append(connection)

    async def use(engine: AsyncEngine) -> None:
        assert await ask(engine) == 1
        await engine.dispose()

    from tests.support.engines import make_engine

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        engine = make_engine(postgres.url(driver), pool_size=1, max_overflow=0, pool_timeout=2)
        run(leak(engine))
        collector = threading.Thread(target=lambda: (lost.clear(), gc.collect()))
        collector.start()
        collector.join()
        assert TypedPool.of(engine).checkedout() == 0
        run(use(engine))
