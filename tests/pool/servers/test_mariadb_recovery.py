"""MariaDB: connections that were killed, closed or made read-only are replaced, and only those."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import TypedPool
from sqla_typedpool.pool.drivers.base import Probe
from tests.support.clocks import Stopwatch, now
from tests.support.engines import ask, engine_on, run, until
from tests.support.fake_driver import SUSPECT, loop_pool
from tests.support.mariadb_engines import admin_of, by_driver, fill
from tests.support.proxy import FaultProxy

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.servers.mariadb import MariaDB


def probe_results(engine: AsyncEngine) -> list[int]:
    """The result of the local probe for each idle connection."""
    return [entry.probe() for entry in loop_pool(TypedPool.of(engine)).slots.idle]


@by_driver
def test_one_killed_connection_of_ten_is_the_only_one_replaced(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with engine_on(account.url(driver), pool_size=10, max_overflow=0) as engine:
                ids = await fill(engine, 10)
                await admin.kill(ids[3])
                await asyncio.sleep(0.02)
                after = await fill(engine, 10)
                assert len(set(ids) & set(after)) == 9
                assert TypedPool.of(engine).stats().connects == 11
                assert await admin.wait_for_at_most(account, 10) == 10

    run(main())


@by_driver
def test_a_statement_on_a_killed_connection_replaces_only_that_connection(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with engine_on(account.url(driver), pool_size=10, max_overflow=0) as engine:
                ids = await fill(engine, 10)
                async with engine.connect() as connection:
                    killed = await connection.scalar(text("SELECT CONNECTION_ID()"))
                    await admin.kill(killed)
                    with pytest.raises(DBAPIError) as caught:
                        await connection.execute(text("SELECT 1"))
                    assert caught.value.connection_invalidated
                assert set(ids) - set(await fill(engine, 10)) == {killed}
                assert TypedPool.of(engine).stats().connects == 11

    run(main())


@pytest.mark.parametrize(("driver", "loop"), [("aiomysql", "uvloop"), ("asyncmy", "asyncio")])
def test_connections_closed_by_wait_timeout_are_detected_without_a_round_trip(
    mariadb: MariaDB, driver: str, loop: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            options = {"pool_size": 3, "max_overflow": 0, "pool_validate_after": None}
            arguments = {"init_command": "SET SESSION wait_timeout = 1"}
            url = account.url(driver)
            async with engine_on(url, connect_args=arguments, **options) as engine:
                ids = await fill(engine, 3)
                assert probe_results(engine) == [Probe.ALIVE] * 3
                assert await admin.wait_for_at_most(account, 0, 3) == 0
                await asyncio.sleep(0.05)
                assert probe_results(engine) == [Probe.DEAD] * 3
                watch = Stopwatch()
                assert await ask(engine, "SELECT CONNECTION_ID()") not in ids
                assert watch.awake < 0.3
                assert TypedPool.of(engine).stats().pings == 0

    run(main(), loop)


@by_driver
def test_a_connection_with_an_unread_end_of_stream_is_pinged_before_use(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with FaultProxy(mariadb.host, mariadb.port) as proxy:
                url = account.url(driver, proxy)
                async with engine_on(url, pool_size=1, max_overflow=0) as engine:
                    await fill(engine, 1)
                    proxy.half_close_all()
                    assert probe_results(engine) == [SUSPECT]  # the loop has not read it yet
                    assert await ask(engine) == 1
                    pool = TypedPool.of(engine)
                    assert pool.stats().connects == 2

    run(main())


@pytest.mark.parametrize(
    ("driver", "loop", "idle"),
    [
        ("aiomysql", "asyncio", 50),
        ("aiomysql", "uvloop", 5),
        ("asyncmy", "asyncio", 5),
        ("asyncmy", "uvloop", 50),
    ],
)
def test_after_a_reset_of_all_sockets_the_next_checkout_succeeds_at_once(
    mariadb: MariaDB, driver: str, loop: str, idle: int
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
        async with FaultProxy(mariadb.host, mariadb.port) as proxy:
            options = {"pool_size": idle, "max_overflow": 0}
            async with engine_on(account.url(driver, proxy), **options) as engine:
                await fill(engine, idle)
                proxy.reset_all()
                await asyncio.sleep(0.02)  # until the resets have arrived
                watch = Stopwatch()
                assert await ask(engine) == 1
                assert watch.awake < 0.1
                assert await asyncio.gather(*(ask(engine) for _ in range(idle))) == [1] * idle

    run(main(), loop)


# ----------------------------------------------------------------------------- restarts


@by_driver
def test_idle_connections_are_replaced_after_a_restart(mariadb: MariaDB, driver: str) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
        async with engine_on(account.url(driver), pool_size=5, max_overflow=0) as engine:
            await fill(engine, 5)
            mariadb.restart()
            watch = Stopwatch()
            assert await asyncio.gather(*(ask(engine) for _ in range(20))) == [1] * 20
            assert watch.awake < 1

    run(main())


class Load:
    """Twenty tasks that run statements until stopped; the times of successes, the errors."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.done: list[float] = []
        self.failed: list[tuple[str, BaseException]] = []
        self._tasks = [asyncio.ensure_future(self._ask()) for _ in range(20)]

    async def _ask(self) -> None:
        while True:
            stage = "checkout"
            try:
                async with self._engine.connect() as connection:
                    stage = "statement"
                    await connection.execute(text("SELECT SLEEP(0.005)"))
                    stage = "return"
                self.done.append(now())
            except Exception as error:
                self.failed.append((stage, error))
                await asyncio.sleep(0)

    def rate(self, since: float, until: float) -> float:
        return sum(since <= moment < until for moment in self.done) / (until - since)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@by_driver
def test_a_restart_under_load_fails_only_the_statements_in_flight(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
        options = {"pool_size": 8, "max_overflow": 0, "pool_timeout": 10}
        async with engine_on(account.url(driver), **options) as engine:
            load = Load(engine)
            await asyncio.sleep(0.7)
            restarted_at = now()
            usual = load.rate(restarted_at - 0.4, restarted_at)
            await asyncio.to_thread(mariadb.restart)
            await asyncio.sleep(0.4)
            # takes a second on an idle machine
            assert await until(lambda: load.rate(now() - 0.4, now()) > usual / 2, 4)
            await asyncio.sleep(1)
            await load.stop()
            stages = Counter(stage for stage, _ in load.failed)
            assert stages["checkout"] == 0, load.failed
            assert len(load.failed) <= 8, load.failed

    run(main())


# ---------------------------------------------------------------------------- read-only


@by_driver
def test_connections_opened_before_the_server_became_read_only_are_replaced(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with engine_on(account.url(driver), pool_size=3, max_overflow=0) as engine:
                ids = await fill(engine, 3)
                try:
                    await admin.run("SET GLOBAL read_only = 1")
                    async with engine.connect() as connection:
                        with pytest.raises(DBAPIError, match="1290"):
                            await connection.execute(text("CREATE TABLE late (n INT)"))
                    pool = TypedPool.of(engine)
                    assert await until(lambda: pool.stats().closed["failover"] == 3, 2)
                finally:
                    await admin.run("SET GLOBAL read_only = 0")
                assert not set(await fill(engine, 3)) & set(ids)

    run(main())
