"""Requests cancelled at every moment: no slot is lost, and no connection on the server."""

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
    cancel_until_done,
    cancelled_at,
    check_nothing_lost,
    engine_on,
    fill,
    new_name,
    no_gc,
    run,
    storm,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import Any

    from sqla_typedpool.embedded import Postgres

LIMIT = 5


async def plain(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_sleep(0.004)"))


async def session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as db, db.begin():
        await db.execute(text("SELECT pg_sleep(0.002)"))
        async with db.begin_nested():
            await db.execute(text("SELECT 1"))


async def by_hand(engine: AsyncEngine) -> None:
    connection = await engine.connect()
    try:
        await connection.execute(text("SELECT pg_sleep(0.002)"))
        await connection.rollback()
    finally:
        await connection.close()


async def always_new(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await connection.invalidate()


async def touch(engine: AsyncEngine) -> None:
    async with engine.connect():
        await asyncio.sleep(0.002)


REQUESTS: dict[str, Callable[[AsyncEngine], Awaitable[None]]] = {
    "plain": plain,
    "session": session,
    "by hand": by_hand,
    "always new": always_new,
    "touch": touch,
}


async def check_storm(
    server: Postgres, driver: str, request: str, cancel: str, **given: Any
) -> None:
    name = new_name()
    options = {"pool_size": LIMIT, "max_overflow": 0, "pool_timeout": 20, **given}
    async with admin_of(server) as admin:
        async with engine_on(server.url(driver), name, **options) as engine:
            with no_gc():
                cancelled = await storm(engine, REQUESTS[request], cancel=CANCELS[cancel])
                assert cancelled > 100  # else the storm was none
                assert await admin.settled(name, LIMIT) <= LIMIT
                await check_nothing_lost(engine, LIMIT)
                assert await admin.settled(name, LIMIT) <= LIMIT
        assert await admin.settled(name, 0) == 0


@pytest.mark.slow
@by_driver
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_thousand_cancelled_requests_lose_nothing(
    postgres: Postgres, driver: str, request_: str
) -> None:
    run(check_storm(postgres, driver, request_, "once"))


@pytest.mark.slow
@by_driver
@pytest.mark.parametrize("cancel", ["twice", "until done"])
@pytest.mark.parametrize("request_", ["plain", "session"])
def test_a_thousand_requests_cancelled_again_and_again_lose_nothing(
    postgres: Postgres, driver: str, request_: str, cancel: str
) -> None:
    run(check_storm(postgres, driver, request_, cancel))


@pytest.mark.slow
@by_driver
def test_a_thousand_requests_cancelled_around_a_ping_lose_nothing(
    postgres: Postgres, driver: str
) -> None:
    run(check_storm(postgres, driver, "touch", "once", pool_validate_after=0))


@pytest.mark.slow
@by_driver
def test_a_thousand_requests_cancelled_in_uvloop_lose_nothing(
    postgres: Postgres, driver: str
) -> None:
    run(check_storm(postgres, driver, "plain", "once"), "uvloop")


@pytest.mark.slow
@pytest.mark.parametrize("cancel", CANCELS)
def test_a_thousand_cancelled_requests_on_sqlite_lose_nothing(tmp_path: Path, cancel: str) -> None:
    async def request(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as db:
            for _ in range(5):
                await db.execute(text("SELECT 1"))
                await asyncio.sleep(0)

    async def main() -> None:
        url = f"sqlite+aiosqlite:///{tmp_path / 'storm.db'}"
        options = {"pool_size": LIMIT, "max_overflow": 0, "pool_timeout": 20}
        async with engine_on(url, **options) as engine:
            with no_gc():
                await storm(engine, request, cancel=CANCELS[cancel], longest=0.03)
                await check_nothing_lost(engine, LIMIT)

    run(main())


@by_driver
def test_clients_that_all_give_up_early_still_get_a_connection_opened(
    postgres: Postgres, driver: str
) -> None:
    """Each waits less than a connect takes; the pool finishes what they began."""

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
def test_a_statement_cancelled_frees_its_slot_at_once_and_ends_on_the_server(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        name = new_name()
        async with admin_of(postgres) as admin:
            options = {"pool_size": 1, "max_overflow": 0}
            async with engine_on(postgres.url(driver), name, **options) as engine:
                task = asyncio.ensure_future(ask(engine, "SELECT pg_sleep(30)"))
                await admin.grown(name, 1)
                await asyncio.sleep(0.1)
                task.cancel()
                await asyncio.wait({task}, timeout=2)
                assert task.cancelled()
                assert await asyncio.wait_for(ask(engine), 2) == 1
                assert await admin.settled(name, 1) == 1

    run(main())


# -------------------------------------------------------------------- at each await


async def connects(engine: AsyncEngine) -> None:
    connection = await engine.connect()
    await connection.close()


async def works(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 1"))


async def in_session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as db:
        await db.execute(text("SELECT 1"))
        await db.commit()
        await db.execute(text("SELECT 1"))


SWEPT: dict[str, tuple[Callable[[AsyncEngine], Any], bool, dict[str, Any]]] = {
    # what is swept, whether each time on a fresh engine, pool options
    "the first connect": (connects, True, {}),
    "a checkout, a statement, a commit and a return": (works, False, {}),
    "a ping": (works, False, {"pool_validate_after": 0}),
    "a session": (in_session, False, {}),
}


@by_loop
@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "result already there"])
@pytest.mark.parametrize("what", SWEPT)
def test_a_cancel_at_each_successive_await_loses_nothing(
    postgres: Postgres, loop: str, what: str, late: bool
) -> None:
    work, fresh, options = SWEPT[what]
    name = new_name()

    async def once(engine: AsyncEngine, step: int) -> bool:
        reached = await cancelled_at(work(engine), step, late=late)
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
                    if not fresh:
                        await fill(engine, 2)
                    while await once(engine, steps):
                        steps += 1
                        assert steps < 200
                        if fresh:
                            await engine.dispose()
                    assert steps > 1
                    assert await admin.settled(name, 2) <= 2
                assert await admin.settled(name, 0) == 0

    run(main(), loop)


@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "result already there"])
def test_a_cancel_at_each_await_of_a_waiter_passes_the_connection_on(
    postgres: Postgres, late: bool
) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 3}
        async with engine_on(postgres.url(), **options) as engine:
            step = 1
            reached = True
            while reached:
                holding = await engine.connect()
                served = asyncio.ensure_future(cancelled_at(works(engine), step, late=late))
                await asyncio.sleep(0.002)
                next_in_line = asyncio.ensure_future(ask(engine))
                await asyncio.sleep(0.002)
                await holding.close()
                assert await asyncio.wait_for(next_in_line, 2) == 1
                reached = await served
                assert TypedPool.of(engine).checkedout() == 0
                step += 1
            assert step > 3

    run(main())


def test_a_waiter_under_repeated_cancels_leaves_the_queue_at_once(postgres: Postgres) -> None:
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
def test_a_connect_listener_that_raises_what_nobody_catches_costs_no_slot(
    postgres: Postgres, driver: str
) -> None:
    class Odd(BaseException):
        pass

    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 2}
        async with engine_on(postgres.url(driver), **options) as engine:
            failing = [True]

            @event.listens_for(engine.sync_engine, "connect")
            def _(connection: Any, record: Any) -> None:
                if failing:
                    raise Odd

            with pytest.raises(Odd):
                await engine.connect()
            failing.clear()
            assert await ask(engine) == 1

    run(main())
