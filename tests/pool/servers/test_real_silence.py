"""A server that does not answer: nothing that a borrower awaits lasts longer than its bound."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import PoolTimeout, TypedPool
from tests.support.clocks import Stopwatch
from tests.support.engines import (
    SLACK,
    ask,
    by_driver,
    by_loop,
    engine_on,
    fill,
    run,
    until,
    url_through,
)
from tests.support.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.embedded import Postgres

NO_OVERFLOW: dict[str, Any] = {"pool_size": 5, "max_overflow": 0}


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
        ("asyncpg", "asyncio", 0),
        ("asyncpg", "asyncio", 3),
        ("asyncpg", "uvloop", 5),
        ("psycopg", "asyncio", 5),
        ("psycopg", "uvloop", 3),
    ],
)
def test_on_a_silent_server_every_checkout_ends_by_its_deadline_without_a_dead_connection(
    postgres: Postgres, driver: str, loop: str, idle: int
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            url = url_through(proxy, driver)
            async with engine_on(url, pool_timeout=1.2, **NO_OVERFLOW) as engine:
                await fill(engine, idle)
                await asyncio.sleep(0.6)  # past pool_validate_after
                proxy.go_silent()
                await check_checkouts_end_in_time(engine, 1.2, 12)
                await check_checkouts_end_in_time(engine, 1.2, 1)
                proxy.resume()
                TypedPool.of(engine)._timeout = 5.0
                assert await ask(engine) == 1

    run(main(), loop)


@pytest.mark.slow
@by_driver
@pytest.mark.parametrize("size", [1, 5], ids="size {}".format)
def test_a_pool_timeout_of_five_seconds_holds_on_a_silent_server_and_the_next_checkout_succeeds(
    postgres: Postgres, driver: str, size: int
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            url = url_through(proxy, driver)
            options = {"pool_size": size, "max_overflow": 0, "pool_timeout": 5}
            async with engine_on(url, **options) as engine:
                await fill(engine, size)
                await asyncio.sleep(0.6)
                proxy.go_silent()
                await check_checkouts_end_in_time(engine, 5, 20)
                proxy.resume()
                assert await ask(engine) == 1

    run(main())


@by_driver
def test_waiters_on_a_silent_server_are_served_when_it_answers_before_their_deadline(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            url = url_through(proxy, driver)
            async with engine_on(url, pool_timeout=6, **NO_OVERFLOW) as engine:
                proxy.go_silent()
                queries = asyncio.gather(*(ask(engine) for _ in range(10)))
                await asyncio.sleep(1.5)
                proxy.resume()
                watch = Stopwatch()
                assert await queries == [1] * 10
                assert watch.awake < 4.5

    run(main())


@by_driver
def test_the_timeout_on_a_silent_server_names_the_connecting_stage(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            proxy.go_silent()
            url = url_through(proxy, driver)
            async with engine_on(url, pool_timeout=0.3) as engine:
                with pytest.raises(PoolTimeout, match="while connecting") as caught:
                    await engine.connect()
        assert caught.value.stage == "connecting"
        assert 0.3 <= caught.value.waited < 0.3 + SLACK

    run(main())


@by_driver
def test_the_timeout_of_a_ping_names_the_validating_stage(postgres: Postgres, driver: str) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            url = url_through(proxy, driver)
            async with engine_on(url, pool_timeout=0.3, pool_validate_after=0) as engine:
                await fill(engine, 1)
                proxy.go_silent()
                with pytest.raises(PoolTimeout, match="while validating"):
                    await engine.connect()

    run(main())


@by_driver
def test_a_connection_attempt_on_a_silent_server_ends_at_the_connect_timeout(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            proxy.go_silent()
            url = url_through(proxy, driver)
            options = {"pool_connect_timeout": 0.3, "pool_connect_retry": 0}
            async with engine_on(url, pool_timeout=5, **options) as engine:
                watch = Stopwatch()
                with pytest.raises(Exception, match="pool_connect_timeout"):
                    await engine.connect()
                assert watch.awake < 0.3 + SLACK
                assert await until(lambda: proxy.connections == 0, 1)

    run(main())


@by_driver
def test_a_slow_server_is_reached_with_pool_size_one(postgres: Postgres, driver: str) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            proxy.accept_delay = 1.5
            url = url_through(proxy, driver)
            async with engine_on(url, pool_size=1, max_overflow=0, pool_timeout=8) as engine:
                assert await ask(engine) == 1

    run(main())


# ------------------------------------------------------------------------------ frozen


@pytest.mark.parametrize(("driver", "loop"), [("asyncpg", "uvloop"), ("psycopg", "asyncio")])
def test_with_a_frozen_server_checkouts_end_by_their_deadline_and_succeed_once_it_continues(
    own_postgres: Postgres, driver: str, loop: str
) -> None:
    async def main() -> None:
        async with engine_on(own_postgres.url(driver), pool_timeout=1.2, **NO_OVERFLOW) as engine:
            await fill(engine, 3)
            await asyncio.sleep(0.6)
            own_postgres.freeze()
            try:
                await check_checkouts_end_in_time(engine, 1.2, 12)
            finally:
                own_postgres.thaw()
            TypedPool.of(engine)._timeout = 5.0
            assert await ask(engine) == 1

    run(main(), loop)


# ----------------------------------------------------------------------------- returns

RETURNS: dict[str, Callable[..., Any]] = {
    "close": lambda connection: connection.close(),
    "rollback": lambda connection: connection.rollback(),
}


@by_loop
@by_driver
@pytest.mark.parametrize("method", RETURNS)
def test_a_return_whose_rollback_is_not_answered_ends_at_the_bound_and_closes_the_connection(
    postgres: Postgres, driver: str, loop: str, method: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            url = url_through(proxy, driver)
            async with engine_on(url, pool_reset_timeout=0.5, **NO_OVERFLOW) as engine:
                pool = TypedPool.of(engine)
                connection = await engine.connect()
                await connection.execute(text("SELECT 1"))
                proxy.go_silent()
                watch = Stopwatch()
                try:
                    await RETURNS[method](connection)
                except DBAPIError as error:
                    assert error.connection_invalidated  # noqa: PT017
                assert watch.seconds > 0.4
                assert watch.awake < 0.5 + SLACK
                await connection.close()
                assert watch.awake < 0.5 + 2 * SLACK
                assert (pool.checkedout(), pool.stats().idle) == (0, 0)
                proxy.resume()
                watch = Stopwatch()
                assert await ask(engine) == 1
                assert watch.awake < 0.5

    run(main(), loop)


@by_driver
def test_a_transaction_block_that_raises_on_a_silent_server_ends_at_the_bound(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            url = url_through(proxy, driver)
            async with engine_on(url, pool_reset_timeout=0.5, **NO_OVERFLOW) as engine:
                watch = Stopwatch()
                with pytest.raises((ZeroDivisionError, DBAPIError)):
                    async with engine.begin() as connection:
                        await connection.execute(text("SELECT 1"))
                        proxy.go_silent()
                        watch = Stopwatch()
                        raise ZeroDivisionError
                assert watch.awake < 0.5 + SLACK
                assert TypedPool.of(engine).checkedout() == 0
                proxy.resume()
                assert await ask(engine) == 1

    run(main())


@by_driver
def test_a_statement_cancelled_on_a_silent_server_blocks_its_borrower_no_longer_than_the_bound(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            url = url_through(proxy, driver)
            async with engine_on(url, pool_reset_timeout=0.5, **NO_OVERFLOW) as engine:
                pool = TypedPool.of(engine)
                await fill(engine, 1)
                task = asyncio.ensure_future(ask(engine, "SELECT pg_sleep(30)"))
                await asyncio.sleep(0.1)
                proxy.go_silent()
                task.cancel()
                watch = Stopwatch()
                done, _ = await asyncio.wait({task}, timeout=15)
                assert done
                assert task.cancelled()
                # psycopg cancels the statement on the server, with 5 s to connect and 5 s for the
                # answer; a pool cannot shorten that
                assert watch.awake < (10 if driver == "psycopg" else 0.5) + SLACK
                assert pool.checkedout() == 0
                proxy.resume()
                assert await ask(engine) == 1
                assert await until(lambda: pool.stats().size == 1, 4), pool.stats()

    run(main())


@by_driver
def test_a_connection_invalidated_on_a_silent_server_blocks_no_borrower_beyond_the_bound(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            url = url_through(proxy, driver)
            async with engine_on(url, pool_reset_timeout=0.5, **NO_OVERFLOW) as engine:
                async with engine.connect() as connection:
                    await connection.execute(text("SELECT 1"))
                    proxy.go_silent()
                    watch = Stopwatch()
                    await connection.invalidate()
                assert watch.awake < 0.5 + SLACK
                assert TypedPool.of(engine).checkedout() == 0
                proxy.resume()
                assert await ask(engine) == 1

    run(main())


@by_driver
def test_an_overflow_connection_closed_on_a_silent_server_does_not_block_its_borrower(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            options = {"pool_size": 1, "max_overflow": 1, "pool_reset_timeout": 0.5}
            async with engine_on(url_through(proxy, driver), **options) as engine:
                pooled, overflow = await engine.connect(), await engine.connect()
                await pooled.close()
                proxy.go_silent()
                watch = Stopwatch()
                await overflow.close()
                assert watch.awake < SLACK
                assert TypedPool.of(engine).checkedout() == 0

    run(main())


# ---------------------------------------------------------------------- dispose, close


@by_loop
@by_driver
def test_disposing_of_five_silent_connections_takes_a_single_reset_timeout(
    postgres: Postgres, driver: str, loop: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            url = url_through(proxy, driver)
            async with engine_on(url, pool_reset_timeout=0.5, **NO_OVERFLOW) as engine:
                await fill(engine, 5)
                proxy.go_silent()
                watch = Stopwatch()
                await engine.dispose()
                assert watch.awake < 0.5 + SLACK
                assert await until(lambda: proxy.connections == 0, 1)

    run(main(), loop)


@by_driver
def test_closing_a_pool_of_silent_connections_takes_its_timeout_and_a_single_reset_timeout(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            url = url_through(proxy, driver)
            async with engine_on(url, pool_reset_timeout=0.5, **NO_OVERFLOW) as engine:
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

    run(main())
