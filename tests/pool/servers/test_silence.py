"""A server that does not answer: nothing that a borrower awaits lasts longer than its bound."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import PoolTimeout, TypedPool
from tests.support.clocks import Stopwatch
from tests.support.drivers import MARIADB, POSTGRESQL, SERVERS
from tests.support.engines import PATIENCE, SLACK, ask, by_loop, fill, run, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database
    from tests.support.proxy import FaultProxy

NO_OVERFLOW: dict[str, Any] = {"pool_size": 5, "max_overflow": 0}
BOUND = 0.3  # pool_reset_timeout, in seconds


async def behind_a_proxy(
    database: Database,
    scenario: Callable[[AsyncEngine, FaultProxy], Awaitable[None]],
    **options: Any,
) -> None:
    """Run a scenario with an engine that connects through a proxy."""
    options = {**NO_OVERFLOW, **options}
    async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
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


# --------------------------------------------------------------------------- checkouts


@pytest.mark.parametrize(
    ("driver", "loop", "idle"),
    [
        ("asyncpg", "asyncio", 0),
        ("asyncpg", "asyncio", 3),
        ("asyncpg", "uvloop", 5),
        ("psycopg", "asyncio", 5),
        ("psycopg", "uvloop", 3),
        ("aiomysql", "asyncio", 5),
        ("asyncmy", "asyncio", 0),
        ("asyncmy", "uvloop", 3),
    ],
)
def test_on_a_silent_server_every_checkout_ends_by_its_deadline_without_a_dead_connection(
    database: Database, loop: str, idle: int
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

    run(behind_a_proxy(database, scenario, pool_timeout=0.7), loop)


@pytest.mark.slow
@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_pool_timeout_of_five_seconds_holds_on_a_silent_server_and_the_next_checkout_succeeds(
    database: Database,
) -> None:
    """With a single slot; for five slots see test_network_outages.py."""

    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        await fill(engine, 1)
        await asyncio.sleep(0.6)
        proxy.go_silent()
        await check_checkouts_end_in_time(engine, 5, 20)
        proxy.resume()
        assert await ask(engine) == 1

    run(behind_a_proxy(database, scenario, pool_size=1, pool_timeout=5))


@pytest.mark.parametrize("driver", SERVERS)
def test_waiters_on_a_silent_server_are_served_when_it_answers_before_their_deadline(
    database: Database,
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        proxy.go_silent()
        queries = asyncio.gather(*(ask(engine) for _ in range(10)))
        await asyncio.sleep(1.5)
        proxy.resume()
        watch = Stopwatch()
        assert await queries == [1] * 10
        assert watch.awake < 4.5

    run(behind_a_proxy(database, scenario, pool_timeout=6))


@pytest.mark.parametrize("driver", SERVERS)
def test_the_timeout_on_a_silent_server_names_its_stage(database: Database) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        await fill(engine, 1)
        proxy.go_silent()
        with pytest.raises(PoolTimeout, match="while validating"):
            await engine.connect()
        await engine.dispose()
        with pytest.raises(PoolTimeout, match="while connecting") as caught:
            await engine.connect()
        assert caught.value.stage == "connecting"
        assert 0.3 <= caught.value.waited < 0.3 + SLACK

    run(behind_a_proxy(database, scenario, pool_timeout=0.3, pool_validate_after=0))


@pytest.mark.parametrize("driver", SERVERS)
def test_a_ping_on_a_silent_connection_ends_at_its_bound_and_closes_the_socket(
    database: Database,
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
        assert await until(lambda: proxy.connections == 1)
        assert TypedPool.of(engine).stats().failed_pings == 1

    run(behind_a_proxy(database, scenario, pool_size=1, pool_validate_after=0))


@pytest.mark.parametrize("driver", SERVERS)
def test_a_connection_attempt_on_a_silent_server_ends_at_the_connect_timeout(
    database: Database,
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        proxy.go_silent()
        watch = Stopwatch()
        with pytest.raises(Exception, match="pool_connect_timeout"):
            await engine.connect()
        assert watch.awake < 0.3 + SLACK
        assert await until(lambda: proxy.connections == 0)

    options = {"pool_timeout": 5, "pool_connect_timeout": 0.3, "pool_connect_retry": 0}
    run(behind_a_proxy(database, scenario, **options))


@pytest.mark.parametrize("driver", SERVERS)
def test_a_longer_connect_timeout_of_the_driver_is_respected(
    database: Database, driver: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        proxy.accept_delay = 0.5
        assert await ask(engine) == 1

    longer = {"timeout" if driver == "asyncpg" else "connect_timeout": 5}
    options = {"pool_connect_timeout": 0.2, "pool_connect_retry": 0, "connect_args": longer}
    run(behind_a_proxy(database, scenario, pool_size=1, **options))


@pytest.mark.parametrize("driver", SERVERS)
def test_a_slow_server_is_reached_with_pool_size_one(database: Database) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        proxy.accept_delay = 1.2
        assert await ask(engine) == 1

    run(behind_a_proxy(database, scenario, pool_size=1, pool_timeout=8))


@pytest.mark.parametrize(
    ("driver", "loop"),
    [
        ("asyncpg", "uvloop"),
        ("psycopg", "asyncio"),
        ("aiomysql", "asyncio"),
        ("asyncmy", "asyncio"),
    ],
)
def test_with_a_frozen_server_checkouts_end_by_their_deadline_and_succeed_once_it_continues(
    stoppable_database: Database, loop: str
) -> None:
    async def main() -> None:
        async with stoppable_database.engine(pool_timeout=0.8, **NO_OVERFLOW) as engine:
            await fill(engine, 3)
            await asyncio.sleep(0.6)
            async with stoppable_database.frozen():
                await check_checkouts_end_in_time(engine, 0.8, 12)
            TypedPool.of(engine)._timeout = 5.0
            assert await ask(engine) == 1

    run(main(), loop)


# ----------------------------------------------------------------------------- returns

RETURNS: dict[str, Callable[..., Any]] = {
    "close": lambda connection: connection.close(),
    "rollback": lambda connection: connection.rollback(),
}


@by_loop
@pytest.mark.parametrize("driver", SERVERS)
@pytest.mark.parametrize("method", RETURNS)
def test_a_return_whose_rollback_is_not_answered_ends_at_the_bound_and_closes_the_connection(
    database: Database, loop: str, method: str
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
        assert watch.seconds > BOUND - 0.05
        assert watch.awake < BOUND + SLACK
        await connection.close()
        assert watch.awake < BOUND + 2 * SLACK
        assert (pool.checkedout(), pool.stats().idle) == (0, 0)
        proxy.resume()
        watch = Stopwatch()
        assert await ask(engine) == 1
        assert watch.awake < 1

    run(behind_a_proxy(database, scenario, pool_reset_timeout=BOUND), loop)


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock can be advanced."""

    offset = 0.0

    def time(self) -> float:
        return super().time() + self.offset

    def jump(self, seconds: float) -> None:
        self.offset += seconds
        self.call_soon(lambda: None)


@pytest.mark.parametrize("driver", MARIADB)
def test_a_rollback_may_take_a_minute_by_default(database: Database) -> None:
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
            await asyncio.wait_for(returning, PATIENCE)
        assert caught.value.connection_invalidated
        assert TypedPool.of(engine).checkedout() == 0

    loop = JumpingLoop()
    loop.run_until_complete(behind_a_proxy(database, scenario))
    loop.close()


@pytest.mark.parametrize("driver", SERVERS)
def test_a_transaction_block_that_raises_on_a_silent_server_ends_at_the_bound(
    database: Database,
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        watch = Stopwatch()
        with pytest.raises((ZeroDivisionError, DBAPIError)):
            async with engine.begin() as connection:
                await connection.execute(text("SELECT 1"))
                proxy.go_silent()
                watch = Stopwatch()
                raise ZeroDivisionError
        assert watch.awake < BOUND + SLACK
        assert TypedPool.of(engine).checkedout() == 0
        proxy.resume()
        assert await ask(engine) == 1

    run(behind_a_proxy(database, scenario, pool_reset_timeout=BOUND))


@pytest.mark.slow  # psycopg's cancel request takes ten seconds
@pytest.mark.parametrize("driver", SERVERS)
def test_a_statement_cancelled_on_a_silent_server_blocks_its_borrower_no_longer_than_the_bound(
    database: Database, driver: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        pool = TypedPool.of(engine)
        await fill(engine, 1)
        task = asyncio.ensure_future(ask(engine, database.sleep(1)))
        await asyncio.sleep(0.1)
        proxy.go_silent()
        task.cancel()
        watch = Stopwatch()
        done, _ = await asyncio.wait({task}, timeout=15)
        assert done
        assert task.cancelled()
        # psycopg cancels the statement on the server, with 5 s to connect and 5 s for the
        # answer; a pool cannot shorten that
        assert watch.awake < (10 if driver == "psycopg" else BOUND) + SLACK
        assert pool.checkedout() == 0
        proxy.resume()
        assert await ask(engine) == 1
        assert await until(lambda: pool.stats().size == 1), pool.stats()
        if driver != "psycopg":  # the connection of its cancel request stays open
            assert await until(lambda: proxy.connections == 1)

    run(behind_a_proxy(database, scenario, pool_reset_timeout=BOUND))


@pytest.mark.parametrize("driver", SERVERS)
def test_a_connection_invalidated_on_a_silent_server_does_not_block_its_borrower(
    database: Database,
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            proxy.go_silent()
            watch = Stopwatch()
            await connection.invalidate()
        assert watch.awake < SLACK
        assert TypedPool.of(engine).checkedout() == 0
        proxy.resume()
        assert await ask(engine) == 1

    run(behind_a_proxy(database, scenario, pool_reset_timeout=BOUND))


@pytest.mark.parametrize("driver", SERVERS)
def test_an_overflow_connection_closed_on_a_silent_server_blocks_no_borrower_beyond_the_bound(
    database: Database, driver: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        pooled, overflow = await engine.connect(), await engine.connect()
        await pooled.close()
        proxy.go_silent()
        watch = Stopwatch()
        await overflow.close()
        # to MariaDB a rollback is sent even if no transaction was begun
        assert watch.awake < (BOUND if driver in MARIADB else 0) + SLACK
        assert TypedPool.of(engine).checkedout() == 0

    options = {"pool_size": 1, "max_overflow": 1, "pool_reset_timeout": BOUND}
    run(behind_a_proxy(database, scenario, **options))


def is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


@pytest.mark.parametrize("driver", MARIADB)
def test_unsent_data_does_not_delay_a_close(database: Database, driver: str) -> None:
    """The driver's own close would wait until all data has been sent."""

    async def main() -> None:
        async with database.engine(pool_size=1, pool_reset_timeout=BOUND) as engine:
            connection = await engine.connect()
            raw: Any = (await connection.get_raw_connection()).driver_connection
            await raw.query("SELECT 1")  # asyncmy's adapter sends no ROLLBACK right after another
            transport = raw._writer.transport if driver == "aiomysql" else raw._transport
            descriptor = transport.get_extra_info("socket").fileno()
            async with database.frozen():
                raw._write_bytes(b"\x00" * 50_000_000)
                watch = Stopwatch()
                await connection.close()
                assert watch.awake < BOUND + SLACK
                assert await until(lambda: TypedPool.of(engine).stats().size == 0)
                assert await until(lambda: is_closed(descriptor))

    run(main())


# ---------------------------------------------------------------------- dispose, close


@by_loop
@pytest.mark.parametrize("driver", SERVERS)
def test_disposing_of_five_silent_connections_takes_a_single_reset_timeout(
    database: Database, loop: str
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        await fill(engine, 5)
        proxy.go_silent()
        watch = Stopwatch()
        await engine.dispose()
        assert watch.awake < 0.5 + SLACK
        assert await until(lambda: proxy.connections == 0)

    run(behind_a_proxy(database, scenario, pool_reset_timeout=0.5), loop)


@pytest.mark.parametrize("driver", SERVERS)
def test_closing_a_pool_of_silent_connections_takes_its_timeout_and_a_single_reset_timeout(
    database: Database,
) -> None:
    async def scenario(engine: AsyncEngine, proxy: FaultProxy) -> None:
        await fill(engine, 5)
        held = await engine.connect()
        await held.execute(text("SELECT 1"))
        proxy.go_silent()
        watch = Stopwatch()
        await TypedPool.of(engine).close(timeout=0.3)
        assert watch.awake < 0.3 + 0.5 + SLACK
        assert await until(lambda: proxy.connections == 0)
        watch = Stopwatch()
        with pytest.raises(DBAPIError):
            await held.execute(text("SELECT 1"))
        await held.close()
        assert watch.awake < 0.5 + SLACK
        assert TypedPool.of(engine).checkedout() == 0

    run(behind_a_proxy(database, scenario, pool_reset_timeout=0.5))
