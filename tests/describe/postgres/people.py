"""The database `people` of the tests of PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool.check import Description
from sqla_typedpool.describe import describer

T = TypeVar("T")

DRIVERS = ["asyncpg", "psycopg"]
SCHEMA = [
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
    "CREATE TYPE pair AS (x int, y text)",
    "CREATE DOMAIN short AS text CHECK (length(value) < 9)",
    "CREATE SEQUENCE tickets",
    "CREATE TABLE team (id bigint PRIMARY KEY, name text NOT NULL)",
    """CREATE TABLE person (id bigint PRIMARY KEY, team_id bigint REFERENCES team,
       name text NOT NULL, nick text, mood mood NOT NULL, moods mood[] NOT NULL,
       at pair NOT NULL, code short NOT NULL,
       born timestamptz NOT NULL, pay numeric NOT NULL, data jsonb NOT NULL, span int4range)""",
]


@dataclass(frozen=True)
class People:
    """The database and the driver through which it is used."""

    url: str

    @property
    def name(self) -> str:
        """The name of the database."""
        return str(make_url(self.url).database)

    def using(self, driver: str) -> People:
        """Return the same database, used by another driver."""
        url = make_url(self.url).set(drivername=f"postgresql+{driver}")
        return People(url.render_as_string(hide_password=False))

    @asynccontextmanager
    async def engine(self, **options: Any) -> AsyncGenerator[AsyncEngine, None]:
        """An engine on it, which is disposed of."""
        engine = create_async_engine(self.url, **options)
        try:
            yield engine
        finally:
            await engine.dispose()

    def run(self, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
        """Return what `work` returns for an engine."""

        async def main() -> T:
            async with self.engine() as engine:
                return await work(engine)

        return asyncio.run(main())

    def describe(self, statement: Any, **options: Any) -> Description:
        """Describe one statement on an engine of its own."""

        async def work(engine: AsyncEngine) -> Description:
            async with describer(engine) as database:
                return await database.describe(statement, **options)

        return self.run(work)

    async def execute(self, *statements: str) -> None:
        """Execute statements, each in a transaction of its own."""
        async with self.engine(isolation_level="AUTOCOMMIT") as engine:
            async with engine.connect() as connection:
                for statement in statements:
                    await connection.exec_driver_sql(statement)

    async def create(self) -> None:
        """Create it anew."""
        await self.drop()
        await self._home().execute(f"CREATE DATABASE {self.name}")
        await self.execute(*SCHEMA)

    async def drop(self) -> None:
        """Drop it if it exists; its sessions are ended."""
        await self._home().execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")

    def _home(self) -> People:
        url = make_url(self.url).set(database="postgres")
        return People(url.render_as_string(hide_password=False))
