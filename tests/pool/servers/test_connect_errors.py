"""Connects that are refused by the network, by a full server or for the account."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import TypedPool
from tests.support.clocks import Stopwatch
from tests.support.databases import MariaDBDatabase
from tests.support.drivers import MARIADB, POSTGRESQL, SERVERS
from tests.support.engines import (
    PATIENCE,
    SLACK,
    ask,
    engine_on,
    fill,
    open_all,
    return_all,
    run,
    until,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from tests.support.databases import Database


@pytest.mark.parametrize("driver", SERVERS)
def test_refused_connects_keep_waiters_queued_until_the_server_accepts_again(
    database: Database,
) -> None:
    async def main() -> None:
        options = {"pool_size": 2, "max_overflow": 0, "pool_connect_retry": 1}
        async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
            proxy.refuse()
            waiting = asyncio.gather(*(ask(engine) for _ in range(5)))
            await asyncio.sleep(0.3)
            await proxy.accept()
            assert await asyncio.wait_for(waiting, PATIENCE) == [1] * 5
            proxy.refuse()
            proxy.reset_all()
            await asyncio.sleep(0.02)
            watch = Stopwatch()
            with pytest.raises((DBAPIError, OSError), match=database.REFUSED):
                await ask(engine)
            assert watch.seconds > 0.7
            assert watch.awake < 1 + SLACK
            watch = Stopwatch()
            with pytest.raises((DBAPIError, OSError), match=database.REFUSED):
                await ask(engine)
            assert watch.awake < SLACK
            await proxy.accept()
            watch = Stopwatch()
            assert await ask(engine) == 1
            assert watch.awake < 1

    run(main())


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_server_down_for_longer_than_the_retry_fails_the_waiters_with_the_drivers_error(
    stoppable_database: Database,
) -> None:
    server = stoppable_database.server

    async def main() -> None:
        options = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 10, "pool_connect_retry": 0.5}
        async with stoppable_database.engine(**options) as engine:
            await fill(engine, 2)
            server.kill()
            watch = Stopwatch()
            ends = await asyncio.gather(*(ask(engine) for _ in range(6)), return_exceptions=True)
            assert watch.awake < 1.5
            assert all(isinstance(end, (DBAPIError, OSError)) for end in ends), ends
            watch = Stopwatch()
            with pytest.raises((DBAPIError, OSError)):
                await ask(engine)
            assert watch.awake < 1  # the request waits for one new attempt
            await asyncio.to_thread(server.restart)
            watch = Stopwatch()
            assert await ask(engine) == 1
            assert watch.awake < 1

    run(main())


async def open_until_refused(engine: AsyncEngine) -> list[AsyncConnection]:
    """Check out connections until a connect fails; return those that were opened."""
    held: list[AsyncConnection] = []
    pool = TypedPool.of(engine)
    while pool.stats().connect_failures == 0:
        getting = asyncio.ensure_future(engine.connect())
        await until(lambda: getting.done() or pool.stats().connect_failures > 0)  # noqa: B023
        if getting.done():
            held.append(getting.result())
        else:
            getting.cancel()
    return held


@pytest.mark.parametrize("driver", MARIADB)
def test_a_full_server_keeps_waiters_queued_while_a_connection_is_checked_out(
    database: MariaDBDatabase,
) -> None:
    """After error 1040 (too many connections) the next return serves the waiter."""
    other = MariaDBDatabase(database.driver, database.server)

    async def main() -> None:
        options = {"pool_size": 3, "max_overflow": 0, "pool_connect_retry": 0.2}
        async with (
            database.at_most_sessions(10),
            other.engine(pool_size=20) as other_engine,
            database.engine(**options) as engine,
        ):
            own = await engine.connect()
            held = await open_until_refused(other_engine)
            assert len(held) >= 8
            waiting = asyncio.ensure_future(ask(engine))
            await asyncio.sleep(0.6)
            assert not waiting.done()
            await own.close()
            assert await asyncio.wait_for(waiting, PATIENCE) == 1
            own = await engine.connect()
            waiting = asyncio.ensure_future(ask(engine))
            await asyncio.sleep(0.1)
            for connection in held:
                await connection.invalidate()
            await return_all(held)
            assert await asyncio.wait_for(waiting, PATIENCE) == 1
            await own.close()

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_an_account_at_its_limit_keeps_waiters_queued_while_a_connection_is_checked_out(
    database: MariaDBDatabase,
) -> None:
    """Error 1226 (max_user_connections)."""

    async def main() -> None:
        await database.limit_sessions(2)
        options = {"pool_size": 5, "max_overflow": 0, "pool_connect_retry": 0.2}
        async with database.engine(**options) as engine:
            held = await open_all(engine, 2)
            waiting = asyncio.ensure_future(ask(engine))
            await asyncio.sleep(0.5)
            assert not waiting.done()
            await held[0].close()
            assert await asyncio.wait_for(waiting, PATIENCE) == 1
            await held[1].close()

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
@pytest.mark.parametrize(
    ("changed", "number"),
    [({"password": "wrong"}, 1045), ({"database": "nowhere"}, 1049)],
    ids=["wrong password", "unknown database"],
)
def test_a_fatal_connect_error_is_raised_at_once(
    database: MariaDBDatabase, changed: dict[str, str], number: int
) -> None:
    async def main() -> None:
        if number == 1049:  # without this right the error would be 1044
            await database.run(f"GRANT ALL ON *.* TO {database.account}")
        async with engine_on(database.url.set(**changed)) as engine:
            watch = Stopwatch()
            connects = (engine.connect() for _ in range(5))
            ends = await asyncio.gather(*connects, return_exceptions=True)
            assert watch.awake < 1
            for end in ends:
                assert isinstance(end, DBAPIError)
                assert end.orig is not None
                assert end.orig.args[0] == number
            # the first error failed all five; other attempts may still be running
            assert await until(lambda: TypedPool.of(engine).stats().size == 0)

    run(main())
