"""MariaDB: minimum size, idle timeout, retire_all(), close() and leaked connections."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import PoolClosed, TypedPool
from tests.support.clocks import Stopwatch
from tests.support.engines import ask, engine_on, no_gc, run
from tests.support.mariadb_engines import admin_of, by_driver, fill

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers.mariadb import MariaDB


@by_driver
def test_idle_connections_above_the_minimum_size_are_closed_and_killed_ones_are_refilled(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            options = {"pool_size": 5, "pool_min_size": 2, "pool_idle_timeout": 0.3}
            async with engine_on(account.url(driver), **options) as engine:
                ids = await fill(engine, 5)
                assert await admin.wait_for_at_most(account, 2) == 2
                left = await admin.sessions(account)
                assert left <= set(ids)
                await admin.kill(*left)
                assert await admin.wait_for_at_least(account, 2, 3) == 2
                assert not left & await admin.sessions(account)

    run(main())


@by_driver
def test_retire_all_replaces_idle_connections_now_and_those_in_use_when_they_are_returned(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with engine_on(account.url(driver), pool_size=3, max_overflow=0) as engine:
                ids = await fill(engine, 3)
                held = await engine.connect()
                TypedPool.of(engine).retire_all()
                assert await admin.wait_for_at_most(account, 1) == 1
                assert await held.scalar(text("SELECT 1")) == 1
                await held.close()
                assert await admin.wait_for_at_most(account, 0) == 0
                assert not set(await fill(engine, 3)) & set(ids)

    run(main())


@by_driver
def test_close_waits_for_the_holders_and_then_terminates_their_connections(
    mariadb: MariaDB, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with engine_on(account.url(driver), pool_size=3) as engine:
                await fill(engine, 2)
                holder = asyncio.ensure_future(ask(engine, "SELECT SLEEP(2)"))
                holder.set_name("slow report")
                await asyncio.sleep(0.1)
                watch = Stopwatch()
                closing = asyncio.ensure_future(TypedPool.of(engine).close(timeout=0.3))
                await asyncio.sleep(0.05)
                with pytest.raises(PoolClosed):
                    await engine.connect()
                await closing
                assert watch.seconds >= 0.3
                assert watch.awake < 1
                with pytest.raises(DBAPIError):
                    await asyncio.wait_for(holder, 1)
                assert TypedPool.of(engine).checkedout() == 0
                await engine.dispose()
                assert await ask(engine) == 1

    with caplog.at_level("WARNING", "sqla_typedpool.pool"):
        run(main())
    assert any("slow report" in record.getMessage() for record in caplog.records)


def collect_on_another_thread() -> None:
    thread = threading.Thread(target=gc.collect)
    thread.start()
    thread.join()


COLLECT: dict[str, Callable[[], object]] = {
    "on the thread of the loop": gc.collect,
    "on another thread": collect_on_another_thread,
}


@by_driver
@pytest.mark.parametrize("where", COLLECT)
def test_collecting_a_leaked_connection_frees_its_slot_and_serves_the_waiter(
    mariadb: MariaDB, driver: str, where: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
            async with engine_on(account.url(driver), **options) as engine:
                with no_gc():
                    connection: Any = await engine.connect()
                    await connection.execute(text("SELECT 1"))
                    cycle = [connection]
                    cycle.append(cycle)
                    del connection, cycle
                    waiting = asyncio.ensure_future(ask(engine))
                    await asyncio.sleep(0.1)
                    assert not waiting.done()
                    COLLECT[where]()
                    assert await asyncio.wait_for(waiting, 1) == 1
                assert TypedPool.of(engine).checkedout() == 0
                assert await admin.wait_for_at_most(account, 1) == 1

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(main())
    assert any("garbage collector" in str(each.message) for each in caught)
    assert not any("nclosed" in str(each.message) for each in caught)
