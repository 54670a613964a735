"""Helpers of the MariaDB tests: an account for each test, and the sessions of that account."""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from sqla_typedpool import TypedPool
from tests.support.clocks import Stopwatch
from tests.support.engines import open_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.proxy import FaultProxy
    from tests.support.servers.mariadb import MariaDB

by_driver = pytest.mark.parametrize("driver", ["aiomysql", "asyncmy"])

PASSWORD = "secret"

_numbers = itertools.count(1)


class Account:
    """A user without administrative rights that no other test uses."""

    def __init__(self, server: MariaDB) -> None:
        self.name = f"u{os.getpid()}_{next(_numbers)}"
        self._server = server

    def url(self, driver: str, proxy: FaultProxy | None = None, **changed: Any) -> str:
        """The URL of this account, directly or through a proxy."""
        pytest.importorskip(driver)
        port = self._server.port if proxy is None else proxy.port
        password = changed.get("password", PASSWORD)
        database = changed.get("database", self._server.database)
        return f"mysql+{driver}://{self.name}:{password}@127.0.0.1:{port}/{database}"


class Admin:
    """A connection to the server that does not come from the pool."""

    def __init__(self, server: MariaDB, connection: Any) -> None:
        self._server = server
        self._connection = connection

    async def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run the statements and return the rows of the last one."""
        rows: list[tuple[Any, ...]] = []
        async with self._connection.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)
                rows = list(await cursor.fetchall())
        return rows

    async def account(self, limits: str = "") -> Account:
        """Create a new account, with the given resource limits."""
        account = Account(self._server)
        await self.run(
            f"CREATE USER '{account.name}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}' {limits}",
            f"GRANT ALL ON {self._server.database}.* TO '{account.name}'@'127.0.0.1'",
        )
        return account

    async def sessions(self, account: Account) -> set[int]:
        """The ids of the account's sessions on the server."""
        rows = await self.run(
            f"SELECT id FROM information_schema.processlist WHERE user = '{account.name}'"
        )
        return {row[0] for row in rows}

    async def wait_for_at_most(self, account: Account, most: int, seconds: float = 2.0) -> int:
        """Wait until it has at most `most` sessions, or `seconds`; return how many it has."""
        watch = Stopwatch()
        while (count := len(await self.sessions(account))) > most and watch.seconds < seconds:
            await asyncio.sleep(0.02)
        return count

    async def wait_for_at_least(self, account: Account, least: int, seconds: float = 2.0) -> int:
        """Wait until it has at least `least` sessions, or `seconds`; return how many it has."""
        watch = Stopwatch()
        while (count := len(await self.sessions(account))) < least and watch.seconds < seconds:
            await asyncio.sleep(0.02)
        return count

    async def kill(self, *ids: int) -> None:
        """Kill these sessions; return when they have ended."""
        for each in ids:
            await self.run(f"KILL {each}")
        id_list = ", ".join(map(str, ids))
        watch = Stopwatch()
        while watch.seconds < 2 and await self.run(
            f"SELECT id FROM information_schema.processlist WHERE id IN ({id_list})"
        ):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def admin_of(server: MariaDB) -> AsyncIterator[Admin]:
    """An `Admin` of this server."""
    driver = pytest.importorskip("aiomysql")
    connection = await driver.connect(
        host=server.host, port=server.port, user="root", autocommit=True
    )
    try:
        yield Admin(server, connection)
    finally:
        await connection.ensure_closed()


async def fill(engine: AsyncEngine, count: int) -> list[int]:
    """Leave so many idle connections in the pool; return the ids of their sessions."""
    held = await open_all(engine, count)
    ids = [await connection.scalar(text("SELECT CONNECTION_ID()")) for connection in held]
    for connection in held:
        await connection.close()
    assert TypedPool.of(engine).stats().idle == count
    return ids
