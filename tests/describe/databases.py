"""The databases of the contract: one `Target` for each kind of server and driver."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.check import Description
from sqla_typedpool.describe import Describer, describer
from sqla_typedpool.embedded import Postgres
from tests.describe.cases import shop
from tests.support.servers.mariadb import MariaDB

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """A kind of server and the driver through which it is used."""

    name: str
    family: str
    """As in `Description.family`."""

    driver: str
    server_fixture: str = ""

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        """The marks of the tests that need its server."""
        ring = {"postgresql": [pytest.mark.postgres], "mysql": [pytest.mark.mariadb]}
        return ring.get(self.family, [])

    def url(self, server: Postgres | MariaDB | None, folder: Path, name: str = "described") -> URL:
        """Return the URL of a database of this name."""
        if server is None:
            return make_url(f"sqlite+{self.driver}:///{folder / name}.db")
        return make_url(server.url(self.driver)).set(database=name)


TARGETS = [
    Target("postgresql-asyncpg", "postgresql", "asyncpg", "postgres"),
    Target("postgresql-psycopg", "postgresql", "psycopg", "postgres"),
    Target("newest-postgresql-asyncpg", "postgresql", "asyncpg", "newest_postgres"),
    Target("sqlite-aiosqlite", "sqlite", "aiosqlite"),
    Target("mariadb-aiomysql", "mysql", "aiomysql", "mariadb"),
    Target("mariadb-asyncmy", "mysql", "asyncmy", "mariadb"),
]


@dataclass(frozen=True)
class Database:
    """A database with the schema `shop`, used through one driver."""

    target: Target
    url: URL

    @property
    def family(self) -> str:
        """The family of its server."""
        return self.target.family

    @property
    def name(self) -> str:
        """Its name on the server, or the path of its file."""
        return self.url.database or ""

    @property
    def schema(self) -> str:
        """The schema that the origins of columns name."""
        return {"postgresql": "public", "sqlite": "main", "mysql": self.name}[self.family]

    @asynccontextmanager
    async def engine(self, **options: Any) -> AsyncGenerator[AsyncEngine, None]:
        """An engine on it, which is disposed of."""
        engine = create_async_engine(self.url, **{"poolclass": NullPool, **options})
        try:
            yield engine
        finally:
            await engine.dispose()

    async def create(self) -> None:
        """Create it anew, with the rows of `shop`."""
        if self.family == "sqlite":
            Path(self.name).unlink(missing_ok=True)
        else:
            await self._create_on_server()
        await self.execute(*shop.STRUCTURE[self.family], *shop.ROWS[self.family])

    async def _create_on_server(self) -> None:
        is_postgres = self.family == "postgresql"
        home = self.url.set(database="postgres" if is_postgres else MariaDB.database)
        force = " WITH (FORCE)" if is_postgres else ""
        engine = create_async_engine(home, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {self.name}{force}")
            await connection.exec_driver_sql(f"CREATE DATABASE {self.name}")
        await engine.dispose()

    async def execute(self, *statements: str) -> None:
        """Execute statements in one transaction and commit it."""
        async with self.engine() as engine, engine.begin() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)

    async def describe(self, statement: Any, **options: Any) -> Description:
        """Describe one statement on an engine of its own."""
        return await self.describing(lambda found: found.describe(statement, **options))

    async def describing(self, work: Callable[[Describer], Awaitable[T]]) -> T:
        """Return what `work` returns for a describer on an engine of its own."""
        async with self.engine() as engine, describer(engine) as found:
            return await work(found)

    async def contents(self) -> dict[str, Any]:
        """Return the names of all relations, and the rows of the tables u, p and ps."""
        async with self.engine() as engine, engine.connect() as connection:
            tables = {
                name: sorted(map(repr, (await connection.execute(text(f"SELECT * FROM {name}")))))
                for name in ("u", "p", "ps")
            }
            names = (await connection.execute(text(_RELATIONS[self.family]))).all()
            return {"relations": sorted(map(repr, names)), **tables}


_RELATIONS = {
    "postgresql": "SELECT oid, relname FROM pg_class UNION ALL SELECT oid, proname FROM pg_proc"
    " UNION ALL SELECT oid, nspname FROM pg_namespace UNION ALL SELECT oid, typname FROM pg_type",
    "sqlite": "SELECT rootpage, sql FROM sqlite_master",
    "mysql": "SELECT create_time, table_name FROM information_schema.tables"
    " WHERE table_schema = database()",
}


def nullability(description: Description) -> str:
    """Return one character per column: "1" = may be NULL, "0" = is never NULL."""
    return "".join("1" if column.nullable else "0" for column in description.columns)
