"""A credential expires, the application fetches a new one on the first error and retries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from tests.support.databases import PostgresDatabase
from tests.support.drivers import SERVERS
from tests.support.engines import ask, engine_on, run

if TYPE_CHECKING:
    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database

EXPIRED, VALID = "expired", "secret"


class Client:
    """Requests whose `do_connect` passes the password of the moment."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.password = EXPIRED
        self.retries = 0
        self.errors_of_retries: list[Any] = []

        @event.listens_for(engine.sync_engine, "do_connect")
        def pass_password(dialect: Any, record: Any, arguments: Any, named: Any) -> None:
            named["password"] = self.password

    async def request(self) -> None:
        try:
            await ask(self.engine)
        except Exception:
            self.password = VALID
            self.retries += 1
            try:
                await ask(self.engine)
            except Exception as error:
                self.errors_of_retries.append(error)


async def url_with_password(database: Database) -> URL:
    """The URL of an account whose password is `VALID`."""
    if not isinstance(database, PostgresDatabase):
        return database.url
    await database.run(f"CREATE ROLE app LOGIN PASSWORD '{VALID}'")
    await database.require_password("app")
    return database.url.set(username="app")


@pytest.mark.parametrize("driver", SERVERS)
def test_no_retry_with_a_refreshed_password_gets_the_error_of_the_old_one(
    stoppable_database: Database,
) -> None:
    async def main() -> None:
        url = await url_with_password(stoppable_database)
        for requests in (2, 5, 20) * 4:
            async with engine_on(url, pool_size=5, max_overflow=0) as engine:
                client = Client(engine)
                await asyncio.gather(*(client.request() for _ in range(requests)))
                assert client.retries >= 1
                assert client.errors_of_retries == []

    run(main())
