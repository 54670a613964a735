"""Statements executed over several data sets of a schema, to see which columns are NULL.

Every statement runs in a transaction that is rolled back, so that the data sets stay as they are.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool._sqlalchemy.compiling import compile_statement
from sqla_typedpool.embedded import Postgres
from tests.describe.cases import company, shop
from tests.support.servers.mariadb import MariaDB

STATEMENT_TIMEOUT = "2s"


@dataclass(frozen=True)
class Outcome:
    """The result of one statement over one data set."""

    error: str = ""
    """The error of the database, such as a division by zero or a timeout."""

    rows: int = 0
    names: tuple[str, ...] = ()
    """The names of the columns."""

    null_sets: frozenset[frozenset[int]] = frozenset()
    """For each row, which columns, from 0, were NULL in it; equal sets count once."""

    types: frozenset[tuple[int, type]] = frozenset()
    """The types of the values that were not NULL, with the numbers of their columns."""

    @property
    def nulls(self) -> frozenset[int]:
        """The columns that were NULL in at least one row."""
        return frozenset[int]().union(*self.null_sets)


def outcome_of(rows: Sequence[Iterable[Any]], names: Iterable[str]) -> Outcome:
    """Summarise the rows that a statement returned."""
    cells = [list(enumerate(row)) for row in rows]
    return Outcome(
        rows=len(rows),
        names=tuple(names),
        null_sets=frozenset(frozenset(at for at, value in row if value is None) for row in cells),
        types=frozenset(
            (at, _type(value)) for row in cells for at, value in row if value is not None
        ),
    )


def _type(value: Any) -> type:
    """Return the type of a value; asyncpg's UUID is a subclass, which the mapping converts."""
    return UUID if isinstance(value, UUID) else type(value)


class DataSets(Protocol):
    """A schema with several data sets in databases of their own."""

    features: frozenset[str]
    """The optional features of this server, such as "xml"."""

    major: int
    """The major version of the server; 0 where no case depends on it."""

    async def run(
        self,
        sql: str,
        *,
        set_up: str = "",
        search_path: str = "",
        values: Mapping[str, Any] | None = None,
    ) -> dict[str, Outcome]:
        """Execute a statement over each data set and return the outcomes by its name.

        :param set_up: statements to execute before it, in the same transaction.
        :param search_path: the search_path of PostgreSQL for it.
        :param values: values of its parameters; parameters without a value are NULL.
        """
        ...


class ServerCrashed(Exception):
    """A statement made PostgreSQL crash or end the session."""


# ------------------------------------------------------------------------------- PostgreSQL


def database_name(schema: str, data_set: str) -> str:
    """Return the name of the database that holds this data set."""
    return f"{schema}_{data_set}"


class PostgresDataSets:
    """Data sets on a PostgreSQL server, with one connection to each."""

    def __init__(self, connections: dict[str, asyncpg.Connection]) -> None:
        self._connections = connections
        self.major = int(self.connection("empty").get_server_version().major)
        self.features: frozenset[str] = frozenset()

    async def find_features(self) -> None:
        """Ask the server which of the optional features it has."""
        connection = self.connection("empty")
        built = await connection.fetchval("select setting from pg_config where name = 'CONFIGURE'")
        has_far = await connection.fetchval("select to_regclass('far') is not null")
        found = {"xml": "--with-libxml" in built, "file_fdw": has_far}
        self.features = frozenset(name for name, is_present in found.items() if is_present)

    def connection(self, data_set: str) -> asyncpg.Connection:
        """Return the connection to one data set."""
        return self._connections[data_set]

    async def run(
        self,
        sql: str,
        *,
        set_up: str = "",
        search_path: str = "",
        values: Mapping[str, Any] | None = None,
    ) -> dict[str, Outcome]:
        """See `DataSets`."""
        if search_path:
            set_up = f"{set_up or 'select 1'}; set local search_path = {search_path}"
        statement = compile_statement(text(sql), "postgresql")
        arguments = [(values or {}).get(each.name) for each in statement.placeholders]
        return {
            name: await _run_on_postgres(connection, statement.sql, arguments, set_up)
            for name, connection in self._connections.items()
        }


async def _run_on_postgres(
    connection: asyncpg.Connection, sql: str, arguments: list[Any], set_up: str
) -> Outcome:
    transaction = connection.transaction()
    await transaction.start()
    try:
        if set_up:
            await connection.execute(set_up)
        prepared = await connection.prepare(sql)
        rows = await prepared.fetch(*arguments)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, OverflowError) as error:
        return Outcome(f"{type(error).__name__}: {error}")
    finally:
        if connection.is_closed():
            raise ServerCrashed(f"the server crashed, or ended the session, of: {sql}")
        await transaction.rollback()
    names = (column.name for column in prepared.get_attributes())
    return outcome_of([row.values() for row in rows], names)


@contextlib.asynccontextmanager
async def postgres_data_sets(server: Postgres, schema: str) -> AsyncIterator[PostgresDataSets]:
    """Connect to the data sets of a schema; create the databases that do not exist yet."""
    scripts = await _create_postgres_databases(server, schema)
    async with contextlib.AsyncExitStack() as stack:
        connections = {}
        for name in scripts:
            connection = await connect(server, database_name(schema, name))
            stack.push_async_callback(connection.close, timeout=5)
            connections[name] = connection
        data_sets = PostgresDataSets(connections)
        await data_sets.find_features()
        yield data_sets


async def connect(server: Postgres, database: str) -> asyncpg.Connection:
    """Open a connection whose statements end after `STATEMENT_TIMEOUT`."""
    return await asyncpg.connect(
        host=server.host,
        port=server.port,
        user="postgres",
        database=database,
        timeout=10,
        statement_cache_size=0,
        server_settings={"statement_timeout": STATEMENT_TIMEOUT, "jit": "off"},
    )


async def _create_postgres_databases(server: Postgres, schema: str) -> list[str]:
    connection = await connect(server, "postgres")
    try:
        major = int(connection.get_server_version().major)
        existing = {row["datname"] for row in await connection.fetch("select * from pg_database")}
        scripts = _postgres_scripts(schema, major)
        for name, script in scripts.items():
            database = database_name(schema, name)
            if database not in existing:
                await connection.execute(f"create database {database}")
                await _execute_in(server, database, script)
    finally:
        await connection.close(timeout=5)
    return list(scripts)


def _postgres_scripts(schema: str, major: int) -> dict[str, str]:
    """Return what creates each data set, by its name."""
    if schema == "company":
        structure = company.structure(major)
        return {name: structure + rows for name, rows in company.DATA_SETS.items()}
    return {
        "rows": ";".join(shop.STRUCTURE["postgresql"] + shop.ROWS["postgresql"]),
        "empty": ";".join(shop.STRUCTURE["postgresql"]),
    }


async def _execute_in(server: Postgres, database: str, script: str) -> None:
    connection = await connect(server, database)
    try:
        await connection.execute(script)
    finally:
        await connection.close(timeout=5)


# ----------------------------------------------------------------------------------- SQLite


class SQLiteDataSets:
    """The data sets of `shop` in SQLite databases in memory."""

    major = 0
    features: frozenset[str] = frozenset()

    def __init__(self, connections: dict[str, sqlite3.Connection]) -> None:
        self._connections = connections

    async def run(
        self,
        sql: str,
        *,
        set_up: str = "",
        search_path: str = "",
        values: Mapping[str, Any] | None = None,
    ) -> dict[str, Outcome]:
        """See `DataSets`."""
        names = [each.name for each in compile_statement(text(sql), "sqlite").placeholders]
        arguments = dict.fromkeys(names) | dict(values or {})
        return {
            name: _run_on_sqlite(connection, sql, arguments, set_up)
            for name, connection in self._connections.items()
        }


def _run_on_sqlite(
    connection: sqlite3.Connection, sql: str, arguments: dict[str, Any], set_up: str
) -> Outcome:
    connection.execute("BEGIN")
    try:
        for statement in filter(None, set_up.split(";")):
            connection.execute(statement)
        cursor = connection.execute(sql, arguments)
        return outcome_of(cursor.fetchall(), (each[0] for each in cursor.description or ()))
    except sqlite3.Error as error:
        return Outcome(f"{type(error).__name__}: {error}")
    finally:
        connection.rollback()


@contextlib.asynccontextmanager
async def sqlite_data_sets() -> AsyncIterator[SQLiteDataSets]:
    """Create the data sets."""
    structure, rows = shop.STRUCTURE["sqlite"], shop.ROWS["sqlite"]
    connections = {}
    for name, script in {"rows": structure + rows, "empty": structure}.items():
        connections[name] = sqlite3.connect(":memory:", isolation_level=None)
        connections[name].executescript(";".join(script))
    try:
        yield SQLiteDataSets(connections)
    finally:
        for connection in connections.values():
            connection.close()


# ---------------------------------------------------------------------------------- MariaDB


class MariaDBDataSets:
    """The data sets of `shop` on a MariaDB server, with one connection to each."""

    major = 0
    features: frozenset[str] = frozenset()

    def __init__(self, connections: dict[str, AsyncConnection]) -> None:
        self._connections = connections

    async def run(
        self,
        sql: str,
        *,
        set_up: str = "",
        search_path: str = "",
        values: Mapping[str, Any] | None = None,
    ) -> dict[str, Outcome]:
        """See `DataSets`."""
        names = [each.name for each in compile_statement(text(sql), "mysql").placeholders]
        arguments = dict.fromkeys(names) | dict(values or {})
        return {
            name: await _run_on_mariadb(connection, sql, arguments, set_up)
            for name, connection in self._connections.items()
        }


async def _run_on_mariadb(
    connection: AsyncConnection, sql: str, arguments: dict[str, Any], set_up: str
) -> Outcome:
    try:
        for statement in filter(None, set_up.split(";")):
            await connection.exec_driver_sql(statement)
        result = await connection.execute(text(sql), arguments)
        if not result.returns_rows:
            return Outcome()
        return outcome_of([tuple(row) for row in result.all()], result.keys())
    except DBAPIError as error:
        return Outcome(f"{type(error.orig).__name__}: {error.orig}")
    finally:
        await connection.rollback()


@contextlib.asynccontextmanager
async def mariadb_data_sets(server: MariaDB) -> AsyncIterator[MariaDBDataSets]:
    """Create the data sets in new databases and connect to them."""
    structure, rows = shop.STRUCTURE["mysql"], shop.ROWS["mysql"]
    engine = create_async_engine(server.url(), poolclass=NullPool)
    async with contextlib.AsyncExitStack() as stack:
        connections = {}
        for name, script in {"rows": structure + rows, "empty": structure}.items():
            connection = await stack.enter_async_context(engine.connect())
            database = database_name("shop", name)
            await connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {database}")
            await connection.exec_driver_sql(f"CREATE DATABASE {database}")
            await connection.exec_driver_sql(f"USE {database}")
            for statement in script:
                await connection.exec_driver_sql(statement)
            await connection.commit()
            connections[name] = connection
        yield MariaDBDataSets(connections)
