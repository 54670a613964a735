"""Connections that were killed or closed, also by a restart, are replaced, and only those."""

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
from tests.support.drivers import MARIADB, SERVERS
from tests.support.engines import ask, by_loop, fill, return_all, run, session_id, until
from tests.support.fake_driver import SUSPECT, loop_pool

if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database


def probe_results(engine: AsyncEngine) -> list[int]:
    """The result of the local probe for each idle connection."""
    return [entry.probe() for entry in loop_pool(TypedPool.of(engine)).slots.idle]


@by_loop
@pytest.mark.parametrize("driver", SERVERS)
@pytest.mark.parametrize("idle", [5, 50], ids="{} idle".format)
def test_after_a_reset_of_all_sockets_the_next_checkout_succeeds_at_once(
    database: Database, loop: str, idle: int
) -> None:
    async def main() -> None:
        options = {"pool_size": idle, "max_overflow": 0}
        async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
            await fill(engine, idle)
            proxy.reset_all()
            await asyncio.sleep(0.02)  # until the resets have arrived
            watch = Stopwatch()
            assert await ask(engine) == 1
            assert watch.awake < 1
            assert await asyncio.gather(*(ask(engine) for _ in range(idle))) == [1] * idle

    run(main(), loop)


@pytest.mark.parametrize("driver", SERVERS)
def test_one_killed_connection_of_ten_is_the_only_one_replaced(database: Database) -> None:
    async def main() -> None:
        async with database.engine(pool_size=10, max_overflow=0) as engine:
            ids = await fill(engine, 10)
            await database.kill(ids[3])
            await asyncio.sleep(0.02)
            after = await fill(engine, 10)
            assert len(set(ids) & set(after)) == 9
            assert TypedPool.of(engine).stats().connects == 11
            assert await database.wait_for_at_most(10) == 10

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_a_statement_on_a_killed_connection_replaces_only_that_connection(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=10, max_overflow=0) as engine:
            ids = await fill(engine, 10)
            async with engine.connect() as connection:
                killed = await session_id(connection)
                await database.kill(killed)
                with pytest.raises(DBAPIError) as caught:
                    await connection.execute(text("SELECT 1"))
                assert caught.value.connection_invalidated
            assert set(ids) - set(await fill(engine, 10)) == {killed}
            assert TypedPool.of(engine).stats().connects == 11

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_connections_killed_while_checked_out_are_not_handed_out_again(
    database: Database, driver: str
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=3, max_overflow=0) as engine:
            held = [await engine.connect() for _ in range(3)]
            ids = [await session_id(one) for one in held]
            for one in held:
                await one.rollback()
            connections = [(await one.get_raw_connection()).driver_connection for one in held]
            await database.kill(*ids)
            if driver == "asyncpg":  # its connections are closed when the loop has read the end
                assert await until(lambda: all(each.is_closed() for each in connections))
            await return_all(held)
            assert await asyncio.gather(*(ask(engine) for _ in range(9))) == [1] * 9

    run(main())


@pytest.mark.parametrize(("driver", "loop"), [("aiomysql", "uvloop"), ("asyncmy", "asyncio")])
def test_connections_closed_by_wait_timeout_are_detected_without_a_round_trip(
    database: Database, loop: str
) -> None:
    async def main() -> None:
        options = {"pool_size": 3, "max_overflow": 0, "pool_validate_after": None}
        arguments = {"init_command": "SET SESSION wait_timeout = 1"}
        async with database.engine(connect_args=arguments, **options) as engine:
            ids = await fill(engine, 3)
            assert probe_results(engine) == [Probe.ALIVE] * 3
            assert await database.wait_for_at_most(0) == 0
            await asyncio.sleep(0.05)
            assert probe_results(engine) == [Probe.DEAD] * 3
            watch = Stopwatch()
            assert await ask(engine, "SELECT CONNECTION_ID()") not in ids
            assert watch.awake < 1
            assert TypedPool.of(engine).stats().pings == 0

    run(main(), loop)


@pytest.mark.parametrize("driver", MARIADB)
def test_a_connection_with_an_unread_end_of_stream_is_pinged_before_use(database: Database) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0}
        async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
            await fill(engine, 1)
            proxy.half_close_all()
            assert probe_results(engine) == [SUSPECT]  # the loop has not read it yet
            assert await ask(engine) == 1
            assert TypedPool.of(engine).stats().connects == 2

    run(main())


@pytest.mark.parametrize("driver", ["psycopg"])
def test_a_connection_with_unread_notifications_is_handed_out(database: Database) -> None:
    """Unread notifications make an idle socket readable, and each ping reads them."""

    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 2}
        async with database.administrator() as execute, database.engine(**options) as engine:
            async with engine.begin() as connection:
                await connection.execute(text("LISTEN chatter"))

            async def notify() -> None:
                while True:
                    await execute("NOTIFY chatter, 'again'")

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


@pytest.mark.parametrize("driver", MARIADB)
def test_idle_connections_are_replaced_after_a_restart(stoppable_database: Database) -> None:
    async def main() -> None:
        async with stoppable_database.engine(pool_size=5, max_overflow=0) as engine:
            await fill(engine, 5)
            stoppable_database.server.restart()
            watch = Stopwatch()
            assert await asyncio.gather(*(ask(engine) for _ in range(20))) == [1] * 20
            assert watch.awake < 1

    run(main())


class Load:
    """Many tasks that run `statement` until stopped; the times of successes, the errors."""

    def __init__(self, engine: AsyncEngine, statement: str, tasks: int) -> None:
        self._engine = engine
        self._statement = text(statement)
        self.done: list[float] = []
        self.failed: list[tuple[str, BaseException]] = []
        self._tasks = [asyncio.ensure_future(self._ask()) for _ in range(tasks)]

    async def _ask(self) -> None:
        while True:
            stage = "checkout"
            try:
                async with self._engine.connect() as connection:
                    stage = "statement"
                    await connection.execute(self._statement)
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
        ("asyncpg", "asyncio", ["fast"]),
        ("asyncpg", "uvloop", ["immediate"]),
        ("psycopg", "asyncio", ["immediate"]),
        ("psycopg", "uvloop", ["fast"]),
        ("aiomysql", "asyncio", []),  # MariaDB has a single mode: it is killed
        ("asyncmy", "asyncio", []),
    ],
)
def test_a_restart_under_load_fails_only_the_statements_in_flight(
    stoppable_database: Database, driver: str, loop: str, mode: list[Any]
) -> None:
    async def main() -> None:
        options = {"pool_size": 10, "max_overflow": 0, "pool_timeout": 10}
        async with stoppable_database.engine(**options) as engine:
            tasks = 20 if driver in MARIADB else 50
            load = Load(engine, stoppable_database.sleep(0.005), tasks)
            await asyncio.sleep(0.7)
            restarted_at = now()
            usual = load.rate(restarted_at - 0.4, restarted_at)
            await asyncio.to_thread(stoppable_database.server.restart, *mode)
            await asyncio.sleep(0.4)
            # takes a second on an idle machine
            assert await until(lambda: load.rate(now() - 0.4, now()) > usual / 2)
            await asyncio.sleep(1)
            await load.stop()
            stages = Counter(stage for stage, _ in load.failed)
            # the ROLLBACK of a return counts as a statement in flight
            assert stages["checkout"] == 0, load.failed
            assert len(load.failed) <= 10, load.failed

    run(main(), loop)
