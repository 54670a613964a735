"""docs/operating/pgbouncer.md: its engines and its listener, with PgBouncer in transaction mode.

The code is read from the page.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sqla_typedpool import TypedPool, execute, fetch_one
from tests.support.drivers import POSTGRESQL
from tests.support.engines import PATIENCE, ask, run
from tests.support.servers.pgbouncer import PgBouncer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database

PAGE = (Path(__file__).parents[3] / "docs" / "operating" / "pgbouncer.md").read_text()
*_, LISTENER = BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.parametrize("driver", POSTGRESQL)


@contextmanager
def pgbouncer_of(database: Database, **settings: str) -> Iterator[PgBouncer]:
    bouncer = PgBouncer.start(database.server, **settings)
    try:
        yield bouncer
    finally:
        bouncer.stop()


@asynccontextmanager
async def engine_of_the_page(
    bouncer: PgBouncer, driver: str, *, has_listener: bool = False
) -> AsyncIterator[AsyncEngine]:
    """An engine as on the page, with two connections."""
    names: dict[str, Any] = {"url": bouncer.url(driver)}
    for code in BLOCKS[: 1 + POSTGRESQL.index(driver)]:
        options = "url, pool_size=2, max_overflow=0, pool_connect_retry=20,"
        exec(re.sub(r'"postgresql\+\w+://.*?",', options, code), names)
    engine: AsyncEngine = names["engine"]
    if has_listener:
        exec(LISTENER, names)
    try:
        yield engine
    finally:
        await engine.dispose()


def test_two_clients_that_share_their_sessions_get_their_own_results(
    database: Database, driver: str
) -> None:
    async def main() -> None:
        with pgbouncer_of(database, default_pool_size="1") as bouncer:
            async with (
                engine_of_the_page(bouncer, driver) as one,
                engine_of_the_page(bouncer, driver) as other,
            ):
                await execute(one, "CREATE TABLE of_two_clients (id integer)")
                try:
                    for number in range(10):
                        added = "INSERT INTO of_two_clients VALUES (:id) RETURNING id"
                        calls = [
                            fetch_one(engine, int, added, {"id": 100 * each + number})
                            for each, engine in enumerate([one, other, one, other])
                        ]
                        expected = [100 * each + number for each in range(4)]
                        assert await asyncio.gather(*calls) == expected
                    count = "SELECT count(*) FROM of_two_clients"
                    assert await fetch_one(one, int, count) == 40
                finally:
                    await execute(one, "DROP TABLE of_two_clients")

    run(main())


RESTARTED = {"server_login_retry": "1", "query_wait_timeout": "2"}


def test_with_the_listener_callers_wait_while_the_server_behind_it_restarts(
    stoppable_database: Database, driver: str
) -> None:
    database = stoppable_database

    async def main() -> None:
        with pgbouncer_of(database, **RESTARTED) as bouncer:
            async with engine_of_the_page(bouncer, driver, has_listener=True) as engine:
                assert await ask(engine) == 1
                await engine.dispose()
                database.server.kill()
                waiting = [asyncio.ensure_future(ask(engine)) for _ in range(3)]
                await asyncio.sleep(3.5)
                assert not any(each.done() for each in waiting)
                assert TypedPool.of(engine).stats().outage_seconds > 0
                await asyncio.to_thread(database.server.restart)
                assert await asyncio.wait_for(asyncio.gather(*waiting), 2 * PATIENCE) == [1] * 3

    run(main())


def test_without_it_no_outage_is_reported_and_a_statement_fails_at_query_wait_timeout(
    stoppable_database: Database, driver: str
) -> None:
    database = stoppable_database

    async def main() -> None:
        with pgbouncer_of(database, **RESTARTED) as bouncer:
            async with engine_of_the_page(bouncer, driver) as engine:
                assert await ask(engine) == 1
                await engine.dispose()
                database.server.kill()
                with pytest.raises(Exception, match=r"query_wait_timeout|server_login_retry"):
                    await asyncio.wait_for(ask(engine), PATIENCE)
                assert TypedPool.of(engine).stats().outage_seconds == 0
                await asyncio.to_thread(database.server.restart)

    run(main())
