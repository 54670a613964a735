"""Dead connections are replaced after terminations and restarts, and only those."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import PoolClosed, TypedPool
from tests.support.clocks import Stopwatch, now
from tests.support.engines import (
    admin_of,
    ask,
    by_driver,
    by_loop,
    engine_on,
    fill,
    new_name,
    run,
    until,
    url_through,
)
from tests.support.proxy import FaultProxy

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.embedded import Postgres


@by_loop
@by_driver
@pytest.mark.parametrize("idle", [5, 10, 50], ids="{} idle".format)
def test_after_a_reset_of_all_sockets_the_next_checkout_succeeds_at_once(
    postgres: Postgres, driver: str, loop: str, idle: int
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            options = {"pool_size": idle, "max_overflow": 0}
            async with engine_on(url_through(proxy, driver), **options) as engine:
                await fill(engine, idle)
                proxy.reset_all()
                await asyncio.sleep(0.02)  # until the resets have arrived
                watch = Stopwatch()
                assert await ask(engine) == 1
                assert watch.awake < 0.1
                assert await asyncio.gather(*(ask(engine) for _ in range(idle))) == [1] * idle

    run(main(), loop)


@by_driver
def test_one_terminated_backend_of_ten_is_the_only_one_replaced(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        name = new_name()
        options = {"pool_size": 10, "max_overflow": 0}
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), name, **options) as engine:
                pids = await fill(engine, 10)
                await admin.terminate(pids[3])
                await asyncio.sleep(0.02)
                after = await fill(engine, 10)
                assert len(set(pids) & set(after)) == 9
                assert TypedPool.of(engine).stats().connects == 11

    run(main())


@by_driver
def test_a_disconnect_during_a_statement_replaces_only_that_connection(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        options = {"pool_size": 10, "max_overflow": 0}
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), **options) as engine:
                pids = await fill(engine, 10)
                async with engine.connect() as connection:
                    terminated = await connection.scalar(text("SELECT pg_backend_pid()"))
                    await admin.terminate(terminated)
                    with pytest.raises(DBAPIError) as caught:
                        await connection.execute(text("SELECT 1"))
                    assert caught.value.connection_invalidated
                after = await fill(engine, 10)
                assert set(pids) - set(after) == {terminated}
                assert TypedPool.of(engine).stats().connects == 11

    run(main())


@by_driver
def test_connections_terminated_while_checked_out_are_not_handed_out_again(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), pool_size=3, max_overflow=0) as engine:
                held = [await engine.connect() for _ in range(3)]
                pids = [await one.scalar(text("SELECT pg_backend_pid()")) for one in held]
                for one in held:
                    await one.rollback()
                connections = [(await one.get_raw_connection()).driver_connection for one in held]
                await admin.terminate(*pids)
                if driver == "asyncpg":  # it knows of the end when the loop has read it
                    assert await until(lambda: all(each.is_closed() for each in connections), 2)
                for one in held:
                    await one.close()
                assert await asyncio.gather(*(ask(engine) for _ in range(9))) == [1] * 9

    run(main())


def test_a_connection_with_unread_notifications_is_handed_out(postgres: Postgres) -> None:
    """psycopg: unread notifications make an idle socket readable, and each ping reads them."""

    async def main() -> None:
        async with (
            admin_of(postgres) as admin,
            engine_on(
                postgres.url("psycopg"), pool_size=1, max_overflow=0, pool_timeout=2
            ) as engine,
        ):
            async with engine.begin() as connection:
                await connection.execute(text("LISTEN chatter"))

            async def notify() -> None:
                while True:
                    await admin.connection.execute("NOTIFY chatter, 'again'")

            notifying = asyncio.ensure_future(notify())
            try:
                for _ in range(20):
                    assert await ask(engine) == 1
                    await asyncio.sleep(0.01)
            finally:
                notifying.cancel()
                await asyncio.wait({notifying})
            assert TypedPool.of(engine).stats().connects == 1

    run(main())


# ----------------------------------------------------------------------------- restarts


class Load:
    """Fifty tasks that run statements until stopped; the times of successes, the errors."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.done: list[float] = []
        self.failed: list[tuple[str, BaseException]] = []
        self._tasks = [asyncio.ensure_future(self._ask()) for _ in range(50)]

    async def _ask(self) -> None:
        while True:
            stage = "checkout"
            try:
                async with self._engine.connect() as connection:
                    stage = "statement"
                    await connection.execute(text("SELECT pg_sleep(0.005)"))
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


@pytest.mark.parametrize(
    ("driver", "loop", "mode"),
    [
        ("asyncpg", "asyncio", "fast"),
        ("asyncpg", "uvloop", "immediate"),
        ("psycopg", "asyncio", "immediate"),
        ("psycopg", "uvloop", "fast"),
    ],
)
def test_a_restart_under_load_fails_only_the_statements_in_flight(
    own_postgres: Postgres, driver: str, loop: str, mode: Any
) -> None:
    async def main() -> None:
        options = {"pool_size": 10, "max_overflow": 0, "pool_timeout": 10}
        async with engine_on(own_postgres.url(driver), **options) as engine:
            load = Load(engine)
            await asyncio.sleep(1)
            restarted_at = now()
            usual = load.rate(restarted_at - 0.5, restarted_at)
            await asyncio.to_thread(own_postgres.restart, mode)
            await asyncio.sleep(0.5)
            # takes a second on an idle machine
            assert await until(lambda: load.rate(now() - 0.5, now()) > usual / 2, 4)
            await asyncio.sleep(1)
            await load.stop()
            stages = Counter(stage for stage, _ in load.failed)
            # the ROLLBACK of a return counts as a statement in flight
            assert stages["checkout"] == 0, load.failed
            assert len(load.failed) <= 10, load.failed

    run(main(), loop)


@by_driver
def test_a_server_down_for_longer_than_the_retry_fails_the_waiters_with_the_drivers_error(
    own_postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        options = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 10, "pool_connect_retry": 0.5}
        async with engine_on(own_postgres.url(driver), **options) as engine:
            await fill(engine, 2)
            own_postgres.kill()
            watch = Stopwatch()
            ends = await asyncio.gather(*(ask(engine) for _ in range(6)), return_exceptions=True)
            assert watch.awake < 1.5
            assert all(isinstance(end, (DBAPIError, OSError)) for end in ends), ends
            watch = Stopwatch()
            with pytest.raises((DBAPIError, OSError)):
                await ask(engine)
            assert watch.awake < 1  # the request waits for one new attempt
            await asyncio.to_thread(own_postgres.restart)
            watch = Stopwatch()
            assert await ask(engine) == 1
            assert watch.awake < 1

    run(main())


# ---------------------------------------------------------------------- dispose, close


@by_driver
def test_a_connection_checked_out_during_dispose_stays_usable_and_is_closed_when_returned(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        name = new_name()
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), name, pool_size=3) as engine:
                await fill(engine, 3)
                held = await engine.connect()
                old = TypedPool.of(engine)
                await engine.dispose()
                assert await admin.wait_for_at_most(name, 1) == 1
                assert await held.scalar(text("SELECT 1")) == 1
                await held.close()
                assert await admin.wait_for_at_most(name, 0) == 0
                assert old.checkedout() == 0
                assert TypedPool.of(engine) is not old
                assert await ask(engine) == 1

    run(main())


@by_driver
def test_waiters_of_a_disposed_pool_are_served(postgres: Postgres, driver: str) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
        async with engine_on(postgres.url(driver), **options) as engine:
            held = await engine.connect()
            waiting = asyncio.gather(*(ask(engine) for _ in range(3)))
            await asyncio.sleep(0.05)
            await engine.dispose()
            await held.close()
            watch = Stopwatch()
            assert await waiting == [1, 1, 1]
            assert watch.awake < 1

    run(main())


@by_loop
@by_driver
def test_close_refuses_new_checkouts_waits_for_the_holders_and_leaves_nothing_open(
    postgres: Postgres, driver: str, loop: str
) -> None:
    async def main() -> None:
        name = new_name()
        async with admin_of(postgres) as admin:
            async with engine_on(postgres.url(driver), name, pool_size=3) as engine:
                pool = TypedPool.of(engine)
                await fill(engine, 3)
                held = await engine.connect()
                watch = Stopwatch()
                closing = asyncio.ensure_future(pool.close(timeout=5))
                await asyncio.sleep(0.05)
                with pytest.raises(PoolClosed):
                    await engine.connect()
                assert await held.scalar(text("SELECT 1")) == 1
                assert not closing.done()
                await held.close()
                await closing
                assert watch.awake < 1.5
                assert await admin.wait_for_at_most(name, 0) == 0
                await pool.close()
                await pool.close(timeout=0)
                with pytest.raises(PoolClosed):
                    await engine.connect()
                await engine.dispose()
                assert await ask(engine) == 1

    run(main(), loop)


def test_close_fails_the_waiters_at_once(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_on(postgres.url(), pool_size=1, max_overflow=0) as engine:
            held = await engine.connect()
            waiting = asyncio.ensure_future(ask(engine))
            await asyncio.sleep(0.05)
            closing = asyncio.ensure_future(TypedPool.of(engine).close())
            with pytest.raises(PoolClosed):
                await asyncio.wait_for(waiting, 1)
            await held.close()
            await closing

    run(main())


@by_driver
def test_close_terminates_connections_still_checked_out_and_names_their_holder(
    postgres: Postgres, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with engine_on(postgres.url(driver), pool_size=3) as engine:
            holder = asyncio.ensure_future(ask(engine, "SELECT pg_sleep(20)"))
            holder.set_name("slow report")
            assert await until(lambda: TypedPool.of(engine).checkedout() == 1, 2)
            await asyncio.sleep(0.1)  # until the statement has been sent
            watch = Stopwatch()
            await TypedPool.of(engine).close(timeout=0.3)
            assert watch.seconds >= 0.3
            assert watch.awake < 1
            with pytest.raises(DBAPIError):
                await asyncio.wait_for(holder, 2)
            assert TypedPool.of(engine).checkedout() == 0

    with caplog.at_level("WARNING", "sqla_typedpool.pool"):
        run(main())
    assert any("slow report" in record.getMessage() for record in caplog.records)


@by_driver
def test_waiters_are_served_as_soon_as_a_server_that_refused_connects_accepts_them_again(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with FaultProxy(postgres.host, postgres.port) as proxy:
            proxy.refuse()
            options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 8}
            async with engine_on(url_through(proxy, driver), **options) as engine:
                waiting = asyncio.gather(*(ask(engine) for _ in range(5)))
                await asyncio.sleep(0.5)
                await proxy.accept()
                watch = Stopwatch()
                assert await waiting == [1] * 5
                assert watch.awake < 1
                pool = TypedPool.of(engine)
                assert await until(lambda: pool.stats().size == 1, 1)

    run(main())
