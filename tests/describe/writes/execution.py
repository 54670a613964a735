"""The schema `writes` in a database of its own on PostgreSQL, and statements executed in it.

Every statement runs in a transaction that is rolled back.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool._sqlalchemy.compiling import compile_statement
from sqla_typedpool.check import Description
from sqla_typedpool.describe import describer
from sqla_typedpool.embedded import Postgres
from tests.describe.execution import connect
from tests.describe.writes.schema import SCHEMA, postgres_foreign, postgres_structure

DATABASE = "writes"

_COUNT = "select coalesce(sum(n_tup_ins + n_tup_upd), 0) from pg_stat_xact_user_tables"


class Describe(Protocol):
    """Describes a statement.

    It is given the names of the parameters that are never None, and for Core of those that a call
    passes.
    """

    async def __call__(
        self, statement: Any, never_null: frozenset[str], keys: Collection[str] = ()
    ) -> Description: ...


@dataclass(frozen=True)
class Written:
    """What happened when a statement was executed."""

    code: str = ""
    """The code of the error, such as 23502; "" = it succeeded."""

    error: str = ""
    """The message of the error."""

    rows: int = 0
    """How many rows were inserted or updated."""


class WritesDatabase:
    """The schema on one server, with one connection that executes statements."""

    family = "postgresql"

    def __init__(self, connection: asyncpg.Connection, features: frozenset[str]) -> None:
        self.connection = connection
        self.features = features
        self.major = int(connection.get_server_version().major)

    def accepts(self, since: int, feature: str) -> bool:
        """Return whether the server has at least this major version and this feature."""
        return since <= self.major and (not feature or feature in self.features)

    async def run(self, sql: str, values: Mapping[str, Any], set_up: str = "") -> Written:
        """Execute SQL with `:name` parameters.

        :param set_up: statements that are executed before it.
        """
        statement = compile_statement(text(sql), "postgresql")
        arguments = [values[each.name] for each in statement.placeholders]
        return await self.run_compiled(statement.sql, arguments, set_up)

    async def run_compiled(self, sql: str, arguments: list[Any], set_up: str = "") -> Written:
        """Execute SQL with `$1` parameters."""
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            if set_up:
                await self.connection.execute(set_up)
            before = await self.connection.fetchval(_COUNT)
            await self.connection.fetch(sql, *arguments)
            return Written(rows=int(await self.connection.fetchval(_COUNT) - before))
        except asyncpg.PostgresError as error:
            return Written(str(error.sqlstate), str(error))
        finally:
            await transaction.rollback()


@contextlib.asynccontextmanager
async def writes_database(server: Postgres) -> AsyncIterator[WritesDatabase]:
    """Connect to the database; create it first if it does not exist."""
    await _create(server)
    connection = await connect(server, DATABASE)
    try:
        has_far = await connection.fetchval(f"select to_regclass('{SCHEMA}.far') is not null")
        yield WritesDatabase(connection, frozenset({"postgres_fdw"} if has_far else ()))
    finally:
        await connection.close(timeout=5)


async def _create(server: Postgres) -> None:
    home = await connect(server, "postgres")
    try:
        if await home.fetchval("select 1 from pg_database where datname = $1", DATABASE):
            return
        await home.execute(f"create database {DATABASE}")
        await home.execute(f"alter database {DATABASE} set search_path = {SCHEMA}")
    finally:
        await home.close(timeout=5)
    connection = await connect(server, DATABASE)
    try:
        await connection.execute(postgres_structure(int(connection.get_server_version().major)))
        with contextlib.suppress(asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFileError):
            await connection.execute(postgres_foreign(server.host, server.port, DATABASE))
    finally:
        await connection.close(timeout=5)


def writes_describer(
    server: Postgres, driver: str = "asyncpg"
) -> AbstractAsyncContextManager[Describe]:
    """Describe statements in the database `writes`."""
    return describer_in(server, DATABASE, driver)


@contextlib.asynccontextmanager
async def describer_in(
    server: Postgres, name: str, driver: str = "asyncpg"
) -> AsyncIterator[Describe]:
    """Describe statements in the database of this name."""
    engine = create_async_engine(server.url(driver, name), poolclass=NullPool)
    try:
        async with engine.connect() as connection, describer_on(connection) as describe:
            yield describe
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def describer_on(connection: AsyncConnection) -> AsyncIterator[Describe]:
    """Describe statements on a connection, as it is set up."""
    async with describer(connection) as database:

        async def describe(
            statement: Any, never_null: frozenset[str], keys: Collection[str] = ()
        ) -> Description:
            found = text(statement) if isinstance(statement, str) else statement
            return await database.describe(found, keys=keys, never_null=sorted(never_null))

        yield describe
