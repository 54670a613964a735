"""Checkouts, the queue and returns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool import PoolSaturated, PoolTimeout, TypedPool
from tests.support.clocks import Stopwatch
from tests.support.drivers import MARIADB, SERVERS
from tests.support.engines import SESSION_ID, SLACK, ask, by_loop, fill, run

if TYPE_CHECKING:
    from tests.support.databases import Database


@by_loop
@pytest.mark.parametrize("driver", SERVERS)
def test_connections_are_reused_and_a_return_rolls_back(database: Database, loop: str) -> None:
    async def main() -> None:
        async with database.engine(pool_size=2, max_overflow=0) as engine:
            session_id = SESSION_ID[engine.dialect.name]
            async with AsyncSession(engine) as db:
                await db.execute(text("DROP TABLE IF EXISTS kept"))
                await db.execute(text("CREATE TABLE kept (n INT)"))
                await db.execute(text("INSERT INTO kept VALUES (1)"))
                await db.commit()
                await db.execute(text("INSERT INTO kept VALUES (2)"))
            assert await ask(engine, "SELECT sum(n) FROM kept") == 1
            assert len({await ask(engine, session_id) for _ in range(5)}) == 1
            assert TypedPool.of(engine).stats().connects == 1
        assert await database.wait_for_at_most(0) == 0

    run(main(), loop)


@pytest.mark.parametrize("driver", SERVERS)
def test_waiters_are_served_in_order_and_within_the_limit(database: Database) -> None:
    async def main() -> None:
        async with database.engine(pool_size=2, max_overflow=0) as engine:
            served: list[int] = []
            busiest = 0

            async def request(number: int) -> None:
                nonlocal busiest
                async with engine.connect() as connection:
                    served.append(number)
                    busiest = max(busiest, TypedPool.of(engine).checkedout())
                    await connection.execute(text(database.sleep(0.005)))

            await asyncio.gather(*(request(number) for number in range(20)))
            assert served == list(range(20))
            assert busiest == 2
            assert len(await database.sessions()) == 2

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_a_full_pool_raises_pool_timeout_in_time_and_pool_saturated_at_once(
    database: Database,
) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.3, "pool_max_waiting": 1}
        async with database.engine(**options) as engine, engine.connect():
            watch = Stopwatch()
            waiting = asyncio.ensure_future(engine.connect())
            await asyncio.sleep(0)
            with pytest.raises(PoolSaturated):
                await engine.connect()
            assert watch.awake < 0.1
            with pytest.raises(PoolTimeout, match="while queueing"):
                await waiting
            assert watch.seconds >= 0.3
            assert watch.awake < 0.3 + SLACK

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_many_short_requests_with_idle_connections_do_not_open_one_connection_each(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=50, max_overflow=0) as engine:
            await fill(engine, 5)
            assert await asyncio.gather(*(ask(engine) for _ in range(50))) == [1] * 50
            # a connect takes no longer than a request here, so the queue is still long when
            # the first connects are done: the pool grows, but not by 45
            assert TypedPool.of(engine).stats().connects <= 40

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_an_idle_connection_is_pinged_in_one_round_trip(database: Database) -> None:
    """The ping is COM_PING. It opens no transaction, so no ROLLBACK follows."""

    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_validate_after": 0}
        async with database.administrator() as execute, database.engine(**options) as engine:
            await fill(engine, 1)
            count = "SHOW GLOBAL STATUS LIKE 'Com_admin_commands'"
            rollbacks = "SHOW GLOBAL STATUS LIKE 'Com_rollback'"
            before = [(await execute(each))[0][1] for each in (count, rollbacks)]
            async with engine.connect():
                after = [(await execute(each))[0][1] for each in (count, rollbacks)]
            assert int(after[0]) - int(before[0]) == 1
            assert after[1] == before[1]
            assert TypedPool.of(engine).stats().pings == 1

    run(main())
