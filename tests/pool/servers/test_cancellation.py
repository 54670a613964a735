"""Cancelled requests leak no slot of the pool and no session on the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_typedpool import TypedPool
from tests.support.cancellation import (
    CANCELS,
    cancel_at_await,
    cancel_until_done,
    check_nothing_lost,
    run_and_cancel,
)
from tests.support.clocks import Stopwatch
from tests.support.drivers import MARIADB, POSTGRESQL, SERVERS
from tests.support.engines import PATIENCE, ask, by_loop, fill, no_gc, return_all, run, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.databases import Database, MariaDBDatabase

LIMIT = 5
FULL: dict[str, Any] = {"pool_size": LIMIT, "max_overflow": 0, "pool_timeout": 20}


# ------------------------------------------------------------ cancelled at any moment


async def simple_query(engine: AsyncEngine, database: Database) -> None:
    async with engine.connect() as connection:
        await connection.execute(text(database.sleep(0.004)))


async def use_session(engine: AsyncEngine, database: Database) -> None:
    async with AsyncSession(engine) as db, db.begin():
        await db.execute(text(database.sleep(0.002)))
        async with db.begin_nested():
            await db.execute(text("SELECT 1"))


async def without_context_manager(engine: AsyncEngine, database: Database) -> None:
    connection = await engine.connect()
    try:
        await connection.execute(text(database.sleep(0.002)))
        await connection.rollback()
    finally:
        await connection.close()


async def invalidate(engine: AsyncEngine, database: Database) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await connection.invalidate()


async def checkout(engine: AsyncEngine, database: Database) -> None:
    async with engine.connect():
        await asyncio.sleep(0.002)


REQUESTS: dict[str, tuple[Callable[[AsyncEngine, Database], Awaitable[None]], dict[str, Any]]] = {
    # the request, pool options
    "simple query": (simple_query, {}),
    "session": (use_session, {}),
    "without context manager": (without_context_manager, {}),
    "invalidation": (invalidate, {}),
    "checkout only": (checkout, {}),
    "ping": (checkout, {"pool_validate_after": 0}),
}
ON_EVERY_SERVER = [
    ("simple query", "once", "asyncio"),
    ("simple query", "until done", "asyncio"),
    ("simple query", "once", "uvloop"),
    ("session", "twice", "asyncio"),
    ("invalidation", "once", "asyncio"),
    ("ping", "once", "asyncio"),
]
ONLY_ON_POSTGRESQL = [
    ("simple query", "twice", "asyncio"),
    ("session", "once", "asyncio"),
    ("session", "until done", "asyncio"),
    ("without context manager", "once", "asyncio"),
    ("checkout only", "once", "asyncio"),
]


async def check_cancelled_requests(
    database: Database, request_: str, cancel: str, tasks: int, at_once: int
) -> None:
    request, options = REQUESTS[request_]
    async with database.engine(**FULL, **options) as engine:
        with no_gc():
            cancelled = await run_and_cancel(
                engine,
                lambda engine: request(engine, database),
                cancel=CANCELS[cancel],
                tasks=tasks,
                at_once=at_once,
            )
            assert cancelled > tasks / 10  # otherwise the test proves nothing
            assert await database.wait_for_at_most(LIMIT) <= LIMIT
            await check_nothing_lost(engine, LIMIT)
            assert await database.wait_for_at_most(LIMIT) <= LIMIT
    assert await database.wait_for_at_most(0) == 0


@pytest.mark.slow
@pytest.mark.parametrize("driver", POSTGRESQL)
@pytest.mark.parametrize(("request_", "cancel", "loop"), [*ON_EVERY_SERVER, *ONLY_ON_POSTGRESQL])
def test_a_thousand_cancelled_requests_leak_no_slot_and_no_session(
    database: Database, request_: str, cancel: str, loop: str
) -> None:
    run(check_cancelled_requests(database, request_, cancel, 1000, 60), loop)


@pytest.mark.parametrize("driver", MARIADB)
@pytest.mark.parametrize(("request_", "cancel", "loop"), ON_EVERY_SERVER)
def test_three_hundred_cancelled_requests_leak_no_slot_and_no_session(
    database: Database, request_: str, cancel: str, loop: str
) -> None:
    """Fewer than on PostgreSQL: each cancelled statement costs a connect."""
    run(check_cancelled_requests(database, request_, cancel, 300, 40), loop)


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["aiosqlite"])
@pytest.mark.parametrize("cancel", CANCELS)
def test_a_thousand_cancelled_requests_on_sqlite_leak_no_slot(
    database: Database, cancel: str
) -> None:
    async def request(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as db:
            for _ in range(5):
                await db.execute(text("SELECT 1"))
                await asyncio.sleep(0)

    async def main() -> None:
        async with database.engine(**FULL) as engine:
            with no_gc():
                await run_and_cancel(engine, request, cancel=CANCELS[cancel], longest=0.03)
                await check_nothing_lost(engine, LIMIT)

    run(main())


# ------------------------------------------------------------------ connects, statements


@pytest.mark.parametrize("driver", SERVERS)
def test_a_connect_is_completed_though_every_client_that_waited_for_it_was_cancelled(
    database: Database,
) -> None:
    async def main() -> None:
        options = {"pool_size": LIMIT, "max_overflow": 0}
        async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
            pool = TypedPool.of(engine)
            proxy.accept_delay = 1  # no connect is completed before all clients are cancelled
            for _ in range(3):
                task = asyncio.ensure_future(ask(engine))
                assert await until(lambda: pool.stats().connecting > 0)
                task.cancel()
                await asyncio.wait({task})
            assert (pool.stats().checkouts, pool.stats().connects) == (0, 0)
            assert await until(lambda: pool.stats().idle >= 1), pool.stats()
            assert pool.checkedout() == 0

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
@pytest.mark.parametrize("delay", [0, 1, 2, 3, 4, 6, 9], ids="{} ms".format)
def test_a_connect_abandoned_at_any_moment_leaves_no_socket(database: Database, delay: int) -> None:
    """dispose() cancels the task that connects. Warnings of the drivers fail the test."""

    async def main() -> None:
        async with database.proxy() as proxy:
            proxy.delay = 0.001
            options = {"pool_connect_timeout": max(delay, 0.1) / 1000, "pool_connect_retry": 0}
            async with database.engine(proxy, pool_size=1, **options) as engine:
                with no_gc():
                    for _ in range(3):
                        await asyncio.gather(ask(engine), return_exceptions=True)
                await engine.dispose()
                assert await until(lambda: proxy.connections == 0)
        assert await database.wait_for_at_most(0) == 0

    run(main())


async def run_and_cancel_statements(database: Database, engine: AsyncEngine, count: int) -> None:
    """Run so many long statements at once, and cancel them while they run on the server."""
    tasks = [asyncio.ensure_future(ask(engine, database.LONG_STATEMENT)) for _ in range(count)]
    assert await database.wait_for_at_least(count) == count
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=PATIENCE)
    assert all(task.cancelled() for task in tasks)


@pytest.mark.parametrize("driver", SERVERS)
def test_a_cancelled_statement_frees_its_slot_at_once_and_ends_on_the_server(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=1, max_overflow=0) as engine:
            await run_and_cancel_statements(database, engine, 1)
            assert await asyncio.wait_for(ask(engine), PATIENCE) == 1
            assert await database.wait_for_at_most(1) == 1

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_a_cancelled_statement_frees_its_slot_and_its_socket_at_once(database: Database) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0}
        async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
            task = asyncio.ensure_future(ask(engine, database.sleep(5)))
            await database.wait_for_at_least(1)
            await asyncio.sleep(0.1)
            task.cancel()
            watch = Stopwatch()
            await asyncio.wait({task}, timeout=PATIENCE)
            assert task.cancelled()
            assert await until(lambda: proxy.connections == 0)
            assert watch.awake < 1
            assert await asyncio.wait_for(ask(engine), PATIENCE) == 1

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_statements_cancelled_at_once_are_killed_over_one_additional_connection(
    database: MariaDBDatabase,
) -> None:
    async def main() -> None:
        await database.limit_sessions(7)
        async with database.engine(pool_size=6, max_overflow=0) as engine:
            await run_and_cancel_statements(database, engine, 6)
            assert await database.wait_for_at_most(0) == 0

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_behind_a_proxy_no_session_is_killed_because_its_owner_is_uncertain(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.proxy() as proxy, database.engine(proxy, pool_size=1) as engine:
            task = asyncio.ensure_future(ask(engine, database.sleep(20)))
            await database.wait_for_at_least(1)
            await asyncio.sleep(0.1)
            (session_id,) = await database.sessions()
            task.cancel()
            await asyncio.wait({task}, timeout=PATIENCE)
            # the pool opens one more connection to kill the session
            assert await until(lambda: proxy.accepted == 2)
            assert await until(lambda: proxy.connections == 0)
            assert session_id in await database.sessions()

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_a_connect_listener_that_raises_a_base_exception_leaks_no_slot(database: Database) -> None:
    class UnexpectedError(BaseException):
        pass

    async def main() -> None:
        async with database.engine(pool_size=1, max_overflow=0, pool_timeout=2) as engine:
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
OPERATIONS_BY_DRIVER = [
    (driver, what)
    for driver in ("asyncpg", *MARIADB)
    for what in OPERATIONS
    if driver == "asyncpg" or what != "a session"
]
by_lateness = pytest.mark.parametrize(
    "late", [False, True], ids=["while waiting", "result available"]
)


async def cancel_and_check_slots(
    engine: AsyncEngine, operation: Callable[[AsyncEngine], Any], step: int, *, late: bool
) -> bool:
    """Cancel an operation at its `step`-th await; return whether it had so many."""
    reached = await cancel_at_await(operation(engine), step, late=late)
    pool = TypedPool.of(engine)
    assert await until(lambda: pool.checkedout() == 0), (step, pool.stats())
    await return_all(
        await asyncio.wait_for(asyncio.gather(engine.connect(), engine.connect()), PATIENCE)
    )
    assert pool.checkedout() == 0, step
    return reached


@by_loop
@by_lateness
@pytest.mark.parametrize(("driver", "what"), OPERATIONS_BY_DRIVER)
def test_a_cancel_at_any_await_leaks_no_slot_and_no_session(
    database: Database, loop: str, what: str, late: bool
) -> None:
    operation, new_engine, options = OPERATIONS[what]

    async def main() -> None:
        limits = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 3}
        steps = 1
        with no_gc():
            async with database.engine(**limits, **options) as engine:
                if not new_engine:
                    await fill(engine, 2)
                while await cancel_and_check_slots(engine, operation, steps, late=late):
                    steps += 1
                    assert steps < 200
                    if new_engine:
                        await engine.dispose()
                assert steps > 1
                assert await database.wait_for_at_most(2) <= 2
            assert await database.wait_for_at_most(0) == 0

    run(main(), loop)


@by_lateness
@pytest.mark.parametrize("driver", ["asyncpg"])
def test_a_waiter_cancelled_at_any_await_passes_its_connection_on(
    database: Database, late: bool
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=1, max_overflow=0, pool_timeout=3) as engine:
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
                assert await asyncio.wait_for(next_waiter, PATIENCE) == 1
                reached = await cancelling
                assert TypedPool.of(engine).checkedout() == 0
                step += 1
            assert step > 3

    run(main())


@pytest.mark.parametrize("driver", ["asyncpg"])
def test_a_repeatedly_cancelled_waiter_is_dequeued_at_once(database: Database) -> None:
    async def main() -> None:
        async with database.engine(pool_size=1, max_overflow=0) as engine, engine.connect():
            task = asyncio.ensure_future(ask(engine))
            cancel_until_done(task, 0.01)
            done, _ = await asyncio.wait({task}, timeout=PATIENCE)
            assert done
            assert TypedPool.of(engine).stats().waiting == 0

    run(main())
