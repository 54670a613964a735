"""What PostgreSQL really returns, over several data sets, against what was said of a statement."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import text

from sqla_typedpool._sqlalchemy.compiling import compile_statement
from sqla_typedpool.embedded import Postgres

from . import schema

PREFIX = "judged_"
STATEMENT_TIMEOUT = "2s"


@dataclass(frozen=True)
class Outcome:
    """One run of a statement over one data set."""

    error: str = ""
    """The database's words if it failed: a division by zero, a row too many, too slow."""
    rows: int = 0
    names: tuple[str, ...] = ()
    """Of the columns."""
    patterns: frozenset[frozenset[int]] = frozenset()
    """Which columns, from 0, were NULL together: one set for each kind of row there was."""
    types: frozenset[tuple[int, type]] = frozenset()
    """Of the values that were not NULL, with the numbers of their columns."""

    @property
    def nulls(self) -> frozenset[int]:
        """The columns that were NULL at least once."""
        return frozenset[int]().union(*self.patterns)


class Court:
    """One connection to a copy of the database for each data set."""

    def __init__(self, connections: dict[str, asyncpg.Connection], major: int) -> None:
        self._connections = connections
        self.major = major

    async def features(self) -> set[str]:
        """What this server has of that which one may lack; "" is there always."""
        connection = self.connection("empty")
        built = await connection.fetchval("select setting from pg_config where name = 'CONFIGURE'")
        has_far = await connection.fetchval("select to_regclass('far') is not null")
        found = {"xml": "--with-libxml" in built, "file_fdw": has_far}
        return {"", *(name for name, is_there in found.items() if is_there)}

    def connection(self, data_set: str) -> asyncpg.Connection:
        """The connection to one data set."""
        return self._connections[data_set]

    async def outcomes(
        self, sql: str, *, data: str = "", path: str = "", values: Mapping[str, Any] | None = None
    ) -> dict[str, Outcome]:
        """Run a statement over each data set, each time in a transaction that is rolled back.

        :param data: statements to run before it.
        :param values: of its parameters; those not named are NULL.
        """
        statement = compile_statement(text(sql), "postgresql")
        arguments = [(values or {}).get(place.name) for place in statement.placeholders]
        return {
            name: await _run(connection, statement.sql, arguments, data, path)
            for name, connection in self._connections.items()
        }


class ServerDied(Exception):
    """A statement was too much for PostgreSQL itself."""


async def _run(
    connection: asyncpg.Connection, sql: str, arguments: list[Any], data: str, path: str
) -> Outcome:
    transaction = connection.transaction()
    await transaction.start()
    try:
        if data:
            await connection.execute(data)
        if path:
            await connection.execute(f"set local search_path = {path}")
        prepared = await connection.prepare(sql)
        rows = await prepared.fetch(*arguments)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, OverflowError) as error:
        return Outcome(f"{type(error).__name__}: {error}")
    finally:
        if connection.is_closed():
            raise ServerDied(f"the server died, or ended the session, of: {sql}")
        await transaction.rollback()
    cells = [list(enumerate(row.values())) for row in rows]
    return Outcome(
        rows=len(rows),
        names=tuple(column.name for column in prepared.get_attributes()),
        patterns=frozenset(frozenset(at for at, value in row if value is None) for row in cells),
        types=frozenset(
            (at, _type(value)) for row in cells for at, value in row if value is not None
        ),
    )


def _type(value: Any) -> type:
    """The type of a value; asyncpg's UUID is a subclass, which the mapping converts."""
    return UUID if isinstance(value, UUID) else type(value)


@contextlib.asynccontextmanager
async def court(server: Postgres) -> AsyncIterator[Court]:
    """A court in session: the databases are made where they are not there yet."""
    major = await _make_databases(server)
    async with contextlib.AsyncExitStack() as stack:
        connections = {}
        for name in schema.DATA_SETS:
            connection = await connect(server, PREFIX + name)
            stack.push_async_callback(connection.close, timeout=5)
            connections[name] = connection
        yield Court(connections, major)


async def connect(server: Postgres, database: str) -> asyncpg.Connection:
    """A connection whose statements end, whatever they are."""
    return await asyncpg.connect(
        host=server.host,
        port=server.port,
        user="postgres",
        database=database,
        timeout=10,
        statement_cache_size=0,
        server_settings={"statement_timeout": STATEMENT_TIMEOUT, "jit": "off"},
    )


async def _make_databases(server: Postgres) -> int:
    connection = await connect(server, "postgres")
    try:
        major = int(connection.get_server_version().major)
        there = await connection.fetch("select datname from pg_database")
        for name, data in schema.DATA_SETS.items():
            if PREFIX + name not in {row["datname"] for row in there}:
                await connection.execute(f"create database {PREFIX}{name}")
                await _fill(server, PREFIX + name, schema.structure(major) + data)
    finally:
        await connection.close(timeout=5)
    return major


async def _fill(server: Postgres, database: str, script: str) -> None:
    connection = await connect(server, database)
    try:
        await connection.execute(script)
    finally:
        await connection.close(timeout=5)
