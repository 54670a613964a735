"""MariaDB that does not answer: nothing that a borrower awaits lasts longer than its bound."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import PoolTimeout, TypedPool
from tests.support.clocks import Stopwatch
from tests.support.engines import SLACK, ask, by_loop, engine_on, run, until
from tests.support.mariadb_engines import admin_of, by_driver, fill
from tests.support.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.servers.mariadb import MariaDB

NO_OVERFLOW: dict[str, Any] = {"pool_size": 5, "max_overflow": 0}

Scenario = Any  # (engine, proxy) -> awaitable


async def behind_a_proxy(server: MariaDB, driver: str, scenario: Scenario, **options: Any) -> None:
    """Run a scenario with an engine that connects through a proxy."""
    async with admin_of(server) as admin:
        account = await admin.account()
    async with FaultProxy(server.host, server.port) as proxy:
        async with engine_on(account.url(driver, proxy), **{**NO_OVERFLOW, **options}) as engine:
            await scenario(engine, proxy)


async def timed_checkout(engine: AsyncEngine) -> tuple[float, object]:
    """How many seconds a checkout took, and the error or connection it ended with."""
    watch = Stopwatch()
    try:
        connection = await engine.connect()
    except Exception as error:
        return watch.awake, error
    seconds = watch.awake
    await connection.close()
    return seconds, connection


async def check_checkouts_end_in_time(engine: AsyncEngine, timeout: float, tasks: int) -> None:
    """Check that so many checkouts all end with PoolTimeout by their deadline."""
    ends = await asyncio.gather(*(timed_checkout(engine) for _ in range(tasks)))
    assert max(seconds for seconds, _ in ends) <= timeout + SLACK
    assert {type(end) for _, end in ends} == {PoolTimeout}
    assert TypedPool.of(engine).checkedout() == 0


@pytest.mark.parametrize(
    ("driver", "loop", "idle"),
    [
        ("aiomysql", "asyncio", 5),
        ("asyncmy", "asyncio", 0),
        ("asyncmy", "uvloop", 3),
    ],
)
def test_on_a_silent_server_every_checkout_ends_by_its_deadline_without_a_dead_connection(
    mariadb: MariaDB, driver: str, loop: str, idle: int
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        await fill(engine, idle)
        await asyncio.sleep(0.6)  # past pool_validate_after
        proxy.go_silent()
        await check_checkouts_end_in_time(engine, 0.7, 12)
        await check_checkouts_end_in_time(engine, 0.7, 1)
        proxy.resume()
        TypedPool.of(engine)._timeout = 5.0
        assert await ask(engine) == 1

    run(behind_a_proxy(mariadb, driver, scenario, pool_timeout=0.7), loop)


@by_driver
def test_the_timeout_on_a_silent_server_names_its_stage(mariadb: MariaDB, driver: str) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        await fill(engine, 1)
        proxy.go_silent()
        with pytest.raises(PoolTimeout, match="while validating"):
            await engine.connect()
        await engine.dispose()
        with pytest.raises(PoolTimeout, match="while connecting"):
            await engine.connect()

    run(behind_a_proxy(mariadb, driver, scenario, pool_timeout=0.3, pool_validate_after=0))


@by_driver
def test_a_ping_on_a_silent_connection_ends_at_its_bound_and_closes_the_socket(
    mariadb: MariaDB, driver: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        await fill(engine, 1)
        proxy.go_silent()
        asking = asyncio.ensure_future(ask(engine))
        await asyncio.sleep(0.1)
        proxy.resume()  # for new connections
        watch = Stopwatch()
        assert await asking == 1
        assert watch.awake < 2 + SLACK
        assert await until(lambda: proxy.connections == 1, 2)
        assert TypedPool.of(engine).stats().failed_pings == 1

    run(behind_a_proxy(mariadb, driver, scenario, pool_size=1, pool_validate_after=0))


@by_driver
def test_a_connection_attempt_on_a_silent_server_ends_at_the_connect_timeout(
    mariadb: MariaDB, driver: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        proxy.go_silent()
        watch = Stopwatch()
        with pytest.raises(Exception, match="pool_connect_timeout"):
            await engine.connect()
        assert watch.awake < 0.3 + SLACK
        assert await until(lambda: proxy.connections == 0, 1)

    options = {"pool_timeout": 5, "pool_connect_timeout": 0.3, "pool_connect_retry": 0}
    run(behind_a_proxy(mariadb, driver, scenario, **options))


@by_driver
def test_a_longer_connect_timeout_of_the_driver_is_respected(mariadb: MariaDB, driver: str) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        proxy.accept_delay = 0.5
        assert await ask(engine) == 1

    options = {"pool_connect_timeout": 0.2, "connect_args": {"connect_timeout": 5}}
    run(behind_a_proxy(mariadb, driver, scenario, pool_size=1, pool_connect_retry=0, **options))


@by_driver
def test_a_slow_server_is_reached_with_pool_size_one(mariadb: MariaDB, driver: str) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        proxy.accept_delay = 1.2
        assert await ask(engine) == 1

    run(behind_a_proxy(mariadb, driver, scenario, pool_size=1, pool_timeout=8))


@by_driver
def test_with_a_frozen_server_checkouts_end_by_their_deadline_and_succeed_once_it_continues(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            url = account.url(driver)
            async with engine_on(url, pool_timeout=0.8, **NO_OVERFLOW) as engine:
                await fill(engine, 3)
                await asyncio.sleep(0.6)
                mariadb.freeze()
                await asyncio.sleep(0.1)  # until all of its threads are stopped
                try:
                    await check_checkouts_end_in_time(engine, 0.8, 12)
                finally:
                    mariadb.thaw()
                TypedPool.of(engine)._timeout = 5.0
                assert await ask(engine) == 1

    run(main())


# ----------------------------------------------------------------------------- returns

RETURNS: dict[str, Callable[..., Any]] = {
    "close": lambda connection: connection.close(),
    "rollback": lambda connection: connection.rollback(),
}


@by_loop
@by_driver
@pytest.mark.parametrize("method", RETURNS)
def test_a_return_whose_rollback_is_not_answered_ends_at_the_bound_and_closes_the_connection(
    mariadb: MariaDB, driver: str, loop: str, method: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        pool = TypedPool.of(engine)
        connection = await engine.connect()
        await connection.execute(text("SELECT 1"))
        proxy.go_silent()
        watch = Stopwatch()
        try:
            await RETURNS[method](connection)
        except DBAPIError as error:
            assert error.connection_invalidated  # noqa: PT017
        assert watch.seconds > 0.25
        assert watch.awake < 0.3 + SLACK
        await connection.close()
        assert watch.awake < 0.3 + 2 * SLACK
        assert (pool.checkedout(), pool.stats().idle) == (0, 0)
        proxy.resume()
        watch = Stopwatch()
        assert await ask(engine) == 1
        assert watch.awake < 0.5

    run(behind_a_proxy(mariadb, driver, scenario, pool_reset_timeout=0.3), loop)


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock can be advanced."""

    offset = 0.0

    def time(self) -> float:
        return super().time() + self.offset

    def jump(self, seconds: float) -> None:
        self.offset += seconds
        self.call_soon(lambda: None)


@by_driver
def test_a_rollback_may_take_a_minute_by_default(mariadb: MariaDB, driver: str) -> None:
    """InnoDB rolls a large transaction back row by row. For other databases the default is 5 s."""

    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        assert TypedPool.of(engine).options.pool_reset_timeout == 60
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        connection = await engine.connect()
        await connection.execute(text("SELECT 1"))
        proxy.go_silent()
        returning = asyncio.ensure_future(connection.close())
        await asyncio.sleep(0.1)
        loop.jump(59)
        await asyncio.sleep(0.5)
        assert not returning.done()
        loop.jump(1)
        with pytest.raises(DBAPIError) as caught:  # raised by the rollback, as with any pool
            await asyncio.wait_for(returning, 1)
        assert caught.value.connection_invalidated
        assert TypedPool.of(engine).checkedout() == 0

    loop = JumpingLoop()
    loop.run_until_complete(behind_a_proxy(mariadb, driver, scenario))
    loop.close()


@by_driver
def test_a_transaction_block_that_raises_on_a_silent_server_ends_at_the_bound(
    mariadb: MariaDB, driver: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        watch = Stopwatch()
        with pytest.raises((ZeroDivisionError, DBAPIError)):
            async with engine.begin() as connection:
                await connection.execute(text("SELECT 1"))
                proxy.go_silent()
                watch = Stopwatch()
                raise ZeroDivisionError
        assert watch.awake < 0.3 + SLACK
        assert TypedPool.of(engine).checkedout() == 0
        proxy.resume()
        assert await ask(engine) == 1

    run(behind_a_proxy(mariadb, driver, scenario, pool_reset_timeout=0.3))


@by_driver
def test_a_statement_cancelled_on_a_silent_server_blocks_its_borrower_no_longer_than_the_bound(
    mariadb: MariaDB, driver: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        pool = TypedPool.of(engine)
        await fill(engine, 1)
        task = asyncio.ensure_future(ask(engine, "SELECT SLEEP(1)"))
        await asyncio.sleep(0.1)
        proxy.go_silent()
        task.cancel()
        watch = Stopwatch()
        done, _ = await asyncio.wait({task}, timeout=15)
        assert done
        assert task.cancelled()
        assert watch.awake < 0.3 + SLACK
        assert pool.checkedout() == 0
        proxy.resume()
        assert await ask(engine) == 1
        assert await until(lambda: pool.stats().size == 1, 4), pool.stats()
        assert await until(lambda: proxy.connections == 1, 1)

    run(behind_a_proxy(mariadb, driver, scenario, pool_reset_timeout=0.3))


@by_driver
def test_invalidated_and_overflow_connections_on_a_silent_server_block_no_borrower_beyond_the_bound(
    mariadb: MariaDB, driver: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        pooled, invalidated = await engine.connect(), await engine.connect()
        await invalidated.execute(text("SELECT 1"))
        overflow = await engine.connect()
        await pooled.close()
        proxy.go_silent()
        watch = Stopwatch()
        await invalidated.invalidate()
        await invalidated.close()
        assert watch.awake < SLACK
        await overflow.close()  # a rollback is sent even if no transaction was begun
        assert watch.awake < 0.3 + SLACK
        assert TypedPool.of(engine).checkedout() == 0

    options = {"pool_size": 1, "max_overflow": 2, "pool_reset_timeout": 0.3}
    run(behind_a_proxy(mariadb, driver, scenario, **options))


def is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


@by_driver
def test_unsent_data_does_not_delay_a_close(mariadb: MariaDB, driver: str) -> None:
    """The driver's own close would wait until all data has been sent."""

    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            options = {"pool_size": 1, "pool_reset_timeout": 0.3}
            async with engine_on(account.url(driver), **options) as engine:
                connection = await engine.connect()
                raw: Any = (await connection.get_raw_connection()).driver_connection
                transport = raw._writer.transport if driver == "aiomysql" else raw._transport
                descriptor = transport.get_extra_info("socket").fileno()
                mariadb.freeze()
                try:
                    raw._write_bytes(b"\x00" * 50_000_000)
                    watch = Stopwatch()
                    await connection.close()
                    assert watch.awake < 0.3 + SLACK
                    assert await until(lambda: TypedPool.of(engine).stats().size == 0, 1)
                    assert await until(lambda: is_closed(descriptor), 0.2)
                finally:
                    mariadb.thaw()

    run(main())


# ---------------------------------------------------------------------- dispose, close


@by_loop
@by_driver
def test_disposing_of_five_silent_connections_takes_a_single_reset_timeout(
    mariadb: MariaDB, driver: str, loop: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        await fill(engine, 5)
        proxy.go_silent()
        watch = Stopwatch()
        await engine.dispose()
        assert watch.awake < 0.5 + SLACK
        assert await until(lambda: proxy.connections == 0, 1)

    run(behind_a_proxy(mariadb, driver, scenario, pool_reset_timeout=0.5), loop)


@by_driver
def test_closing_a_pool_of_silent_connections_takes_its_timeout_and_a_single_reset_timeout(
    mariadb: MariaDB, driver: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        await fill(engine, 5)
        held = await engine.connect()
        await held.execute(text("SELECT 1"))
        proxy.go_silent()
        watch = Stopwatch()
        await TypedPool.of(engine).close(timeout=0.3)
        assert watch.awake < 0.3 + 0.5 + SLACK
        assert await until(lambda: proxy.connections == 0, 1)
        watch = Stopwatch()
        with pytest.raises(DBAPIError):
            await held.execute(text("SELECT 1"))
        await held.close()
        assert watch.awake < 0.5 + SLACK
        assert TypedPool.of(engine).checkedout() == 0

    run(behind_a_proxy(mariadb, driver, scenario, pool_reset_timeout=0.5))
