"""Cancelled requests leak no slot of the pool and no session on the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_typedpool import TypedPool
from tests.support.engines import (
    CANCELS,
    admin_of,
    ask,
    by_driver,
    by_loop,
    cancel_at_await,
    cancel_until_done,
    check_nothing_lost,
    engine_on,
    fill,
    new_name,
    no_gc,
    run,
    run_and_cancel,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import Any

    from sqla_typedpool.embedded import Postgres

LIMIT = 5


async def simple_query(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_sleep(0.004)"))


async def use_session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as db, db.begin():
        await db.execute(text("SELECT pg_sleep(0.002)"))
        async with db.begin_nested():
            await db.execute(text("SELECT 1"))


async def without_context_manager(engine: AsyncEngine) -> None:
    connection = await engine.connect()
    try:
        await connection.execute(text("SELECT pg_sleep(0.002)"))
        await connection.rollback()
    finally:
        await connection.close()


async def invalidate(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await connection.invalidate()


async def checkout(engine: AsyncEngine) -> None:
    async with engine.connect():
        await asyncio.sleep(0.002)


REQUESTS: dict[str, Callable[[AsyncEngine], Awaitable[None]]] = {
    "simple query": simple_query,
    "session": use_session,
    "without context manager": without_context_manager,
    "invalidation": invalidate,
    "checkout only": checkout,
}


async def check_cancelled_requests(
    server: Postgres, driver: str, request: str, cancel: str, **more: Any
) -> None:
    name = new_name()
    options = {"pool_size": LIMIT, "max_overflow": 0, "pool_timeout": 20, **more}
    async with admin_of(server) as admin:
        async with engine_on(server.url(driver), name, **options) as engine:
            with no_gc():
                cancelled = await run_and_cancel(engine, REQUESTS[request], cancel=CANCELS[cancel])
                assert cancelled > 100  # otherwise the test proves nothing
                assert await admin.wait_for_at_most(name, LIMIT) <= LIMIT
                await check_nothing_lost(engine, LIMIT)
                assert await admin.wait_for_at_most(name, LIMIT) <= LIMIT
        assert await admin.wait_for_at_most(name, 0) == 0


@pytest.mark.slow
@by_driver
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_thousand_cancelled_requests_leak_no_slot_and_no_session(
    postgres: Postgres, driver: str, request_: str
) -> None:
    run(check_cancelled_requests(postgres, driver, request_, "once"))


@pytest.mark.slow
@by_driver
@pytest.mark.parametrize("cancel", ["twice", "until done"])
@pytest.mark.parametrize("request_", ["simple query", "session"])
def test_a_thousand_requests_cancelled_repeatedly_leak_no_slot_and_no_session(
    postgres: Postgres, driver: str, request_: str, cancel: str
) -> None:
    run(check_cancelled_requests(postgres, driver, request_, cancel))


@pytest.mark.slow
@by_driver
def test_a_thousand_requests_cancelled_around_a_ping_leak_no_slot_and_no_session(
    postgres: Postgres, driver: str
) -> None:
    run(check_cancelled_requests(postgres, driver, "checkout only", "once", pool_validate_after=0))


@pytest.mark.slow
@by_driver
def test_a_thousand_requests_cancelled_on_uvloop_leak_no_slot_and_no_session(
    postgres: Postgres, driver: str
) -> None:
    run(check_cancelled_requests(postgres, driver, "simple query", "once"), "uvloop")


@pytest.mark.slow
@pytest.mark.parametrize("cancel", CANCELS)
def test_a_thousand_cancelled_requests_on_sqlite_leak_no_slot(tmp_path: Path, cancel: str) -> None:
    async def request(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as db:
            for _ in range(5):
                await db.execute(text("SELECT 1"))
                await asyncio.sleep(0)

    async def main() -> None:
        url = f"sqlite+aiosqlite:///{tmp_path / 'cancelled.db'}"
        options = {"pool_size": LIMIT, "max_overflow": 0, "pool_timeout": 20}
        async with engine_on(url, **options) as engine:
            with no_gc():
                await run_and_cancel(engine, request, cancel=CANCELS[cancel], longest=0.03)
                await check_nothing_lost(engine, LIMIT)

    run(main())


@by_driver
def test_a_connect_is_completed_though_every_client_that_waited_for_it_was_cancelled(
    postgres: Postgres, driver: str
) -> None:
    """Each client waits for less time than a connect takes; the pool completes the connect."""

    async def main() -> None:
        async with engine_on(postgres.url(driver), pool_size=LIMIT, max_overflow=0) as engine:
            for _ in range(3):
                task = asyncio.ensure_future(ask(engine))
                await asyncio.sleep(0.001)
                task.cancel()
                await asyncio.wait({task})
            pool = TypedPool.of(engine)
            assert await until(lambda: pool.stats().idle >= 1, 2), pool.stats()
            assert pool.checkedout() == 0

    run(main())


@by_driver
def test_a_cancelled_statement_frees_its_slot_at_once_and_ends_on_the_server(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        name = new_name()
        async with admin_of(postgres) as admin:
            options = {"pool_size": 1, "max_overflow": 0}
            async with engine_on(postgres.url(driver), name, **options) as engine:
                task = asyncio.ensure_future(ask(engine, "SELECT pg_sleep(30)"))
                await admin.wait_for_at_least(name, 1)
                await asyncio.sleep(0.1)
                task.cancel()
                await asyncio.wait({task}, timeout=2)
                assert task.cancelled()
                assert await asyncio.wait_for(ask(engine), 2) == 1
                assert await admin.wait_for_at_most(name, 1) == 1

    run(main())


# ------------------------------------------------------------- a cancel at each await


async def connect(engine: AsyncEngine) -> None:
    connection = await engine.connect()
    await connection.close()


async def execute(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 1"))


async def commit_in_session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as db:
        await db.execute(text("SELECT 1"))
        await db.commit()
        await db.execute(text("SELECT 1"))


OPERATIONS: dict[str, tuple[Callable[[AsyncEngine], Any], bool, dict[str, Any]]] = {
    # the operation, whether each attempt needs a new engine, pool options
    "the first connect": (connect, True, {}),
    "a checkout, a statement, a commit and a return": (execute, False, {}),
    "a ping": (execute, False, {"pool_validate_after": 0}),
    "a session": (commit_in_session, False, {}),
}


@by_loop
@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "result available"])
@pytest.mark.parametrize("what", OPERATIONS)
def test_a_cancel_at_any_await_leaks_no_slot_and_no_session(
    postgres: Postgres, loop: str, what: str, late: bool
) -> None:
    operation, new_engine, options = OPERATIONS[what]
    name = new_name()

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
        async with admin_of(postgres) as admin:
            with no_gc():
                async with engine_on(postgres.url(), name, **limits, **options) as engine:
                    if not new_engine:
                        await fill(engine, 2)
                    while await attempt(engine, steps):
                        steps += 1
                        assert steps < 200
                        if new_engine:
                            await engine.dispose()
                    assert steps > 1
                    assert await admin.wait_for_at_most(name, 2) <= 2
                assert await admin.wait_for_at_most(name, 0) == 0

    run(main(), loop)


@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "result available"])
def test_a_waiter_cancelled_at_any_await_passes_its_connection_on(
    postgres: Postgres, late: bool
) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 3}
        async with engine_on(postgres.url(), **options) as engine:
            step = 1
            reached = True
            while reached:
                holding = await engine.connect()
                cancelling = asyncio.ensure_future(
                    cancel_at_await(execute(engine), step, late=late)
                )
                await asyncio.sleep(0.002)
                next_waiter = asyncio.ensure_future(ask(engine))
                await asyncio.sleep(0.002)
                await holding.close()
                assert await asyncio.wait_for(next_waiter, 2) == 1
                reached = await cancelling
                assert TypedPool.of(engine).checkedout() == 0
                step += 1
            assert step > 3

    run(main())


def test_a_repeatedly_cancelled_waiter_is_dequeued_at_once(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_on(postgres.url(), pool_size=1, max_overflow=0) as engine:
            async with engine.connect():
                task = asyncio.ensure_future(ask(engine))
                cancel_until_done(task, 0.01)
                done, _ = await asyncio.wait({task}, timeout=1)
                assert done
                assert TypedPool.of(engine).stats().waiting == 0

    run(main())


@by_driver
def test_a_connect_listener_that_raises_a_base_exception_leaks_no_slot(
    postgres: Postgres, driver: str
) -> None:
    class UnexpectedError(BaseException):
        pass

    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 2}
        async with engine_on(postgres.url(driver), **options) as engine:
            failing = [True]

            @event.listens_for(engine.sync_engine, "connect")
            def _(connection: Any, record: Any) -> None:
                if failing:
                    raise UnexpectedError

            with pytest.raises(UnexpectedError):
                await engine.connect()
            failing.clear()
            assert await ask(engine) == 1

    run(main())
