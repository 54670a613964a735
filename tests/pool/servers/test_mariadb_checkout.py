"""MariaDB with aiomysql and asyncmy: checkouts, the queue, returns, and connect errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from sqla_typedpool import PoolSaturated, PoolTimeout, TypedPool
from tests.support.clocks import Stopwatch
from tests.support.engines import SLACK, ask, by_loop, engine_on, open_all, run, until
from tests.support.mariadb_engines import admin_of, by_driver, fill
from tests.support.proxy import FaultProxy

if TYPE_CHECKING:
    from tests.support.servers.mariadb import MariaDB


@by_loop
@by_driver
def test_connections_are_reused_and_a_return_rolls_back(
    mariadb: MariaDB, driver: str, loop: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with engine_on(account.url(driver), pool_size=2, max_overflow=0) as engine:
                async with AsyncSession(engine) as db:
                    await db.execute(text("CREATE OR REPLACE TABLE kept (n INT) ENGINE=InnoDB"))
                    await db.execute(text("INSERT INTO kept VALUES (1)"))
                    await db.commit()
                    await db.execute(text("INSERT INTO kept VALUES (2)"))
                assert await ask(engine, "SELECT GROUP_CONCAT(n) FROM kept") == "1"
                assert len({await ask(engine, "SELECT CONNECTION_ID()") for _ in range(5)}) == 1
                assert TypedPool.of(engine).stats().connects == 1
            assert await admin.wait_for_at_most(account, 0) == 0

    run(main(), loop)


@by_driver
def test_waiters_are_served_in_order_and_within_the_limit(mariadb: MariaDB, driver: str) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with engine_on(account.url(driver), pool_size=2, max_overflow=0) as engine:
                served: list[int] = []
                busiest = 0

                async def request(number: int) -> None:
                    nonlocal busiest
                    async with engine.connect() as connection:
                        served.append(number)
                        busiest = max(busiest, TypedPool.of(engine).checkedout())
                        await connection.execute(text("SELECT SLEEP(0.005)"))

                await asyncio.gather(*(request(number) for number in range(20)))
                assert served == list(range(20))
                assert busiest == 2
                assert len(await admin.sessions(account)) == 2

    run(main())


@by_driver
def test_a_full_pool_raises_pool_timeout_in_time_and_pool_saturated_at_once(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.3}
            async with engine_on(account.url(driver), pool_max_waiting=1, **options) as engine:
                async with engine.connect():
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


@by_driver
def test_many_short_requests_with_idle_connections_do_not_open_one_connection_each(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with engine_on(account.url(driver), pool_size=50, max_overflow=0) as engine:
                await fill(engine, 5)
                assert await asyncio.gather(*(ask(engine) for _ in range(50))) == [1] * 50
                # a connect takes no longer than a request here, so the queue is still long when
                # the first connects are done: the pool grows, but not by 45
                assert TypedPool.of(engine).stats().connects <= 40

    run(main())


@by_driver
def test_an_idle_connection_is_pinged_in_one_round_trip(mariadb: MariaDB, driver: str) -> None:
    """The ping is COM_PING. It opens no transaction, so no ROLLBACK follows."""

    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            options = {"pool_size": 1, "max_overflow": 0, "pool_validate_after": 0}
            async with engine_on(account.url(driver), **options) as engine:
                await fill(engine, 1)
                count = "SHOW GLOBAL STATUS LIKE 'Com_admin_commands'"
                rollbacks = "SHOW GLOBAL STATUS LIKE 'Com_rollback'"
                before = [(await admin.run(each))[0][1] for each in (count, rollbacks)]
                async with engine.connect():
                    after = [(await admin.run(each))[0][1] for each in (count, rollbacks)]
                assert int(after[0]) - int(before[0]) == 1
                assert after[1] == before[1]
                assert TypedPool.of(engine).stats().pings == 1

    run(main())


@by_driver
def test_a_full_server_keeps_waiters_queued_while_a_connection_is_checked_out(
    mariadb: MariaDB, driver: str
) -> None:
    """After error 1040 (too many connections) the next return serves the waiter."""

    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            other_account = await admin.account()
            await admin.run("SET GLOBAL max_connections = 10")
            try:
                async with engine_on(other_account.url(driver), pool_size=20) as other_engine:
                    options = {"pool_size": 3, "max_overflow": 0, "pool_connect_retry": 0.2}
                    async with engine_on(account.url(driver), **options) as engine:
                        own = await engine.connect()
                        held = await open_until_refused(other_engine)
                        assert len(held) >= 8
                        waiting = asyncio.ensure_future(ask(engine))
                        await asyncio.sleep(0.6)
                        assert not waiting.done()
                        await own.close()
                        assert await asyncio.wait_for(waiting, 1) == 1
                        own = await engine.connect()
                        waiting = asyncio.ensure_future(ask(engine))
                        await asyncio.sleep(0.1)
                        for connection in held:
                            await connection.invalidate()
                            await connection.close()
                        assert await asyncio.wait_for(waiting, 2) == 1
                        await own.close()
            finally:
                await admin.run("SET GLOBAL max_connections = 151")

    async def open_until_refused(other_engine: AsyncEngine) -> list[AsyncConnection]:
        held: list[AsyncConnection] = []
        pool = TypedPool.of(other_engine)
        while pool.stats().connect_failures == 0:
            getting = asyncio.ensure_future(other_engine.connect())
            await until(lambda: getting.done() or pool.stats().connect_failures > 0, 2)  # noqa: B023
            if getting.done():
                held.append(getting.result())
            else:
                getting.cancel()
        return held

    run(main())


@by_driver
def test_an_account_at_its_limit_keeps_waiters_queued_while_a_connection_is_checked_out(
    mariadb: MariaDB, driver: str
) -> None:
    """Error 1226 (max_user_connections)."""

    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account("WITH MAX_USER_CONNECTIONS 2")
            options = {"pool_size": 5, "max_overflow": 0, "pool_connect_retry": 0.2}
            async with engine_on(account.url(driver), **options) as engine:
                held = await open_all(engine, 2)
                waiting = asyncio.ensure_future(ask(engine))
                await asyncio.sleep(0.5)
                assert not waiting.done()
                await held[0].close()
                assert await asyncio.wait_for(waiting, 1) == 1
                await held[1].close()

    run(main())


@by_driver
@pytest.mark.parametrize(
    ("changed", "number"),
    [({"password": "wrong"}, 1045), ({"database": "nowhere"}, 1049)],
    ids=["wrong password", "unknown database"],
)
def test_a_fatal_connect_error_is_raised_at_once(
    mariadb: MariaDB, driver: str, changed: dict[str, str], number: int
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            if number == 1049:  # without this right the error would be 1044
                await admin.run(f"GRANT ALL ON *.* TO '{account.name}'@'127.0.0.1'")
            async with engine_on(account.url(driver, None, **changed)) as engine:
                watch = Stopwatch()
                ends = await asyncio.gather(
                    *(engine.connect() for _ in range(5)), return_exceptions=True
                )
                assert watch.awake < 0.5
                for end in ends:
                    assert isinstance(end, DBAPIError)
                    assert end.orig is not None
                    assert end.orig.args[0] == number
                # the first error failed all five; other attempts may still be running
                assert await until(lambda: TypedPool.of(engine).stats().size == 0, 1)

    run(main())


@by_driver
def test_refused_connects_keep_waiters_queued_until_the_server_accepts_again(
    mariadb: MariaDB, driver: str
) -> None:
    """Error 2003 (cannot connect)."""

    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with FaultProxy(mariadb.host, mariadb.port) as proxy:
                proxy.refuse()
                options = {"pool_size": 2, "max_overflow": 0, "pool_connect_retry": 1}
                async with engine_on(account.url(driver, proxy), **options) as engine:
                    waiting = asyncio.gather(*(ask(engine) for _ in range(5)))
                    await asyncio.sleep(0.3)
                    await proxy.accept()
                    assert await asyncio.wait_for(waiting, 1) == [1] * 5
                    proxy.refuse()
                    proxy.reset_all()
                    await asyncio.sleep(0.02)
                    watch = Stopwatch()
                    with pytest.raises(DBAPIError, match="2003"):
                        await ask(engine)
                    assert watch.seconds > 0.7
                    assert watch.awake < 1 + SLACK
                    watch = Stopwatch()
                    with pytest.raises(DBAPIError, match="2003"):
                        await ask(engine)
                    assert watch.awake < SLACK
                    await proxy.accept()
                    watch = Stopwatch()
                    assert await ask(engine) == 1
                    assert watch.awake < 0.5

    run(main())


READ_ONLY = """
BEGIN NOT ATOMIC
  SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'read only';
END
"""


@by_driver
@pytest.mark.parametrize("number", [1290, 1836])
def test_a_read_only_error_evicts_no_connection_when_the_server_is_not_read_only(
    mariadb: MariaDB, driver: str, number: int
) -> None:
    async def main() -> None:
        async with admin_of(mariadb) as admin:
            account = await admin.account()
            async with engine_on(account.url(driver), pool_size=3, max_overflow=0) as engine:
                ids = await fill(engine, 3)
                async with engine.connect() as connection:
                    with pytest.raises(DBAPIError) as caught:
                        await connection.execute(text(READ_ONLY.format(number=number)))
                    assert caught.value.orig is not None
                    assert caught.value.orig.args[0] == number
                    assert not caught.value.connection_invalidated
                assert set(await fill(engine, 3)) == set(ids)
                pool = TypedPool.of(engine)
                assert await until(lambda: pool.stats().idle == 3, 1)

    run(main())
