"""MariaDB: cancelled requests leak no slot of the pool and no session on the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool import TypedPool
from tests.support.clocks import Stopwatch
from tests.support.engines import (
    CANCELS,
    ask,
    by_loop,
    cancel_at_await,
    check_nothing_lost,
    engine_on,
    no_gc,
    run,
    run_and_cancel,
    until,
)
from tests.support.mariadb_engines import admin_of, by_driver, fill
from tests.support.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.servers.mariadb import MariaDB

LIMIT = 5
# Takes about an hour; the server does not check whether its client is still connected.
LONG_COMPUTATION = "SELECT BENCHMARK(2000000000, SHA2('x', 512))"


async def simple_query(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT SLEEP(0.004)"))


async def use_session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as db, db.begin():
        await db.execute(text("SELECT SLEEP(0.002)"))
        async with db.begin_nested():
            await db.execute(text("SELECT 1"))


async def invalidate(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await connection.invalidate()


async def checkout(engine: AsyncEngine) -> None:
    async with engine.connect():
        await asyncio.sleep(0.002)


REQUESTS: dict[str, tuple[Callable[[AsyncEngine], Awaitable[None]], dict[str, Any]]] = {
    "simple query": (simple_query, {}),
    "session": (use_session, {}),
    "invalidation": (invalidate, {}),
    "ping": (checkout, {"pool_validate_after": 0}),
}


@by_driver
@pytest.mark.parametrize(
    ("request_", "cancel", "loop"),
    [
        ("simple query", "once", "asyncio"),
        ("simple query", "until done", "asyncio"),
        ("simple query", "once", "uvloop"),
        ("session", "twice", "asyncio"),
        ("invalidation", "once", "asyncio"),
        ("ping", "once", "asyncio"),
    ],
)
def test_three_hundred_cancelled_requests_leak_no_slot_and_no_session(
    mariadb: MariaDB, driver: str, request_: str, cancel: str, loop: str
) -> None:
    async def main() -> None:
        request, more = REQUESTS[request_]
        options = {"pool_size": LIMIT, "max_overflow": 0, "pool_timeout": 20, **more}
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with engine_on(account.url(driver), **options) as engine:
                with no_gc():
                    cancelled = await run_and_cancel(
                        engine, request, cancel=CANCELS[cancel], tasks=300, at_once=40
                    )
                    assert cancelled > 30  # otherwise the test proves nothing
                    assert await admin.wait_for_at_most(account, LIMIT) <= LIMIT
                    await check_nothing_lost(engine, LIMIT)
                    assert await admin.wait_for_at_most(account, LIMIT) <= LIMIT
            assert await admin.wait_for_at_most(account, 0) == 0

    run(main(), loop)


@by_driver
def test_a_cancelled_statement_frees_its_slot_and_its_socket_at_once(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with FaultProxy(mariadb.host, mariadb.port) as proxy:
                options = {"pool_size": 1, "max_overflow": 0}
                async with engine_on(account.url(driver, proxy), **options) as engine:
                    task = asyncio.ensure_future(ask(engine, "SELECT SLEEP(1)"))
                    await admin.wait_for_at_least(account, 1)
                    await asyncio.sleep(0.1)
                    task.cancel()
                    watch = Stopwatch()
                    await asyncio.wait({task}, timeout=2)
                    assert task.cancelled()
                    assert await until(lambda: proxy.connections == 0, 1)
                    assert watch.awake < 0.2
                    assert await asyncio.wait_for(ask(engine), 2) == 1

    run(main())


@by_driver
def test_a_cancelled_statement_ends_on_the_server(mariadb: MariaDB, driver: str) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            options = {"pool_size": 1, "max_overflow": 0}
            async with engine_on(account.url(driver), **options) as engine:
                task = asyncio.ensure_future(ask(engine, LONG_COMPUTATION))
                await admin.wait_for_at_least(account, 1)
                await asyncio.sleep(0.1)
                task.cancel()
                await asyncio.wait({task}, timeout=2)
                assert await admin.wait_for_at_most(account, 0) == 0

    run(main())


@by_driver
def test_statements_cancelled_at_once_are_killed_over_one_additional_connection(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account("WITH MAX_USER_CONNECTIONS 7")
            async with engine_on(account.url(driver), pool_size=6, max_overflow=0) as engine:
                tasks = [asyncio.ensure_future(ask(engine, LONG_COMPUTATION)) for _ in range(6)]
                assert await admin.wait_for_at_least(account, 6) == 6
                await asyncio.sleep(0.1)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=2)
                assert await admin.wait_for_at_most(account, 0, 3) == 0

    run(main())


@by_driver
def test_behind_a_proxy_no_session_is_killed_because_its_owner_is_uncertain(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with FaultProxy(mariadb.host, mariadb.port) as proxy:
                async with engine_on(account.url(driver, proxy), pool_size=1) as engine:
                    task = asyncio.ensure_future(ask(engine, "SELECT SLEEP(1.5)"))
                    await admin.wait_for_at_least(account, 1)
                    await asyncio.sleep(0.1)
                    (session_id,) = await admin.sessions(account)
                    task.cancel()
                    await asyncio.wait({task}, timeout=2)
                    # the pool opens one more connection to kill the session
                    assert await until(lambda: proxy.accepted == 2, 2)
                    assert await until(lambda: proxy.connections == 0, 2)
                    assert session_id in await admin.sessions(account)

    run(main())


async def connect(engine: AsyncEngine) -> None:
    connection = await engine.connect()
    await connection.close()


async def execute(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 1"))


OPERATIONS: dict[str, tuple[Callable[[AsyncEngine], Any], bool, dict[str, Any]]] = {
    # the operation, whether each attempt needs a new engine, pool options
    "the first connect": (connect, True, {}),
    "a checkout, a statement, a commit and a return": (execute, False, {}),
    "a ping": (execute, False, {"pool_validate_after": 0}),
}


@by_loop
@by_driver
@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "result available"])
@pytest.mark.parametrize("what", OPERATIONS)
def test_a_cancel_at_any_await_leaks_no_slot_and_no_session(
    mariadb: MariaDB, driver: str, loop: str, what: str, late: bool
) -> None:
    operation, new_engine, options = OPERATIONS[what]

    async def attempt(engine: AsyncEngine, step: int) -> bool:
        reached = await cancel_at_await(operation(engine), step, late=late)
        pool = TypedPool.of(engine)
        assert await until(lambda: pool.checkedout() == 0, 1), (step, pool.stats())
        held = await asyncio.wait_for(asyncio.gather(engine.connect(), engine.connect()), 2)
        for connection in held:
            await connection.close()
        assert pool.checkedout() == 0, step
        return reached

    async def main() -> None:
        limits = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 3}
        steps = 1
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            with no_gc():
                async with engine_on(account.url(driver), **limits, **options) as engine:
                    if not new_engine:
                        await fill(engine, 2)
                    while await attempt(engine, steps):
                        steps += 1
                        assert steps < 200
                        if new_engine:
                            await engine.dispose()
                    assert steps > 1
                    assert await admin.wait_for_at_most(account, 2) <= 2
                assert await admin.wait_for_at_most(account, 0) == 0

    run(main(), loop)


@by_driver
@pytest.mark.parametrize("delay", [0, 1, 2, 3, 4, 6, 9], ids="{} ms".format)
def test_a_connect_abandoned_at_any_moment_leaves_no_socket(
    mariadb: MariaDB, driver: str, delay: int
) -> None:
    """dispose() cancels the task that connects. Warnings of the drivers fail the test."""

    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with FaultProxy(mariadb.host, mariadb.port) as proxy:
                proxy.delay = 0.001
                url = account.url(driver, proxy)
                options = {"pool_connect_timeout": max(delay, 0.1) / 1000, "pool_connect_retry": 0}
                async with engine_on(url, pool_size=1, **options) as engine:
                    with no_gc():
                        for _ in range(3):
                            await asyncio.gather(ask(engine), return_exceptions=True)
                    await engine.dispose()
                    assert await until(lambda: proxy.connections == 0, 1)
            assert await admin.wait_for_at_most(account, 0) == 0

    run(main())
