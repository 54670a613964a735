"""The database of the tests of both paths: its tables, an observer, and the engines' options."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import event
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

MARK = "INSERT INTO bp_items (id, name, price) VALUES (100, 'mark', 1)"

_TABLES = {"bp_made", "bp_moved", "bp_children", "bp_items", "bp odd %"}
_CREATE = (
    "CREATE TABLE bp_items (id int PRIMARY KEY, name varchar(40) NOT NULL, "
    "price numeric(10, 2), nick varchar(40) UNIQUE, color varchar(10), tags {json}, "
    "at {timestamp}, is_new {boolean}, raw {bytes}, "
    "CONSTRAINT bp_not_negative CHECK (price >= 0))",
    "CREATE TABLE bp_children (id int PRIMARY KEY, item_id int, CONSTRAINT bp_parent "
    "FOREIGN KEY (item_id) REFERENCES bp_items (id) {deferred})",
    "CREATE TABLE {q}bp odd %{q} ({q}a b{q} int, {q}a:b{q} int, {q}a%b{q} int, {q}a;b{q} int, "
    "{q}ünï{q} int)",
)
_ROWS = (
    "INSERT INTO bp_items (id, name, price, nick, color, tags, at, is_new, raw) VALUES "
    "(1, 'Ada', 1.50, NULL, 'RED', '{\"a\": [1, null]}', '2024-02-29 01:02:03', {true}, NULL), "
    "(2, 'Bob', 2, 'bo', 'BLUE', NULL, NULL, {false}, {bytes_value}), "
    "(3, 'Cy', NULL, 'c', NULL, '[]', '1999-12-31 23:59:59', NULL, NULL)",
    "INSERT INTO bp_children (id, item_id) VALUES (1, 1), (2, NULL)",
    "INSERT INTO {q}bp odd %{q} VALUES (1, 2, 3, 4, 5)",
)
_WORDS = {
    "postgresql": {
        "json": "json",
        "timestamp": "timestamp",
        "boolean": "boolean",
        "bytes": "bytea",
        "deferred": "DEFERRABLE INITIALLY DEFERRED",
        "q": '"',
        "true": "true",
        "false": "false",
        "bytes_value": "'\\x00ff'",
    },
    "sqlite": {
        "json": "json",
        "timestamp": "datetime",
        "boolean": "boolean",
        "bytes": "blob",
        "deferred": "DEFERRABLE INITIALLY DEFERRED",
        "q": '"',
        "true": "1",
        "false": "0",
        "bytes_value": "x'00ff'",
    },
    "mysql": {
        "json": "json",
        "timestamp": "datetime",
        "boolean": "boolean",
        "bytes": "blob",
        "deferred": "",
        "q": "`",
        "true": "1",
        "false": "0",
        "bytes_value": "x'00ff'",
    },
}
_PROCEDURES = {
    "postgresql": (
        "CREATE OR REPLACE PROCEDURE bp_rename(wanted int, given text) LANGUAGE sql "
        "AS 'UPDATE bp_items SET name = given WHERE id = wanted'",
        "CREATE OR REPLACE PROCEDURE bp_twice(INOUT n int) LANGUAGE plpgsql "
        "AS 'BEGIN n := 2 * n; END'",
        "CREATE OR REPLACE FUNCTION bp_write(given int) RETURNS int LANGUAGE sql "
        "AS 'INSERT INTO bp_items (id, name) VALUES (given, ''written'') RETURNING id'",
    ),
    "mysql": (
        "CREATE OR REPLACE PROCEDURE bp_rename(wanted int, given text) "
        "UPDATE bp_items SET name = given WHERE id = wanted",
        "CREATE OR REPLACE PROCEDURE bp_rows() SELECT id, name FROM bp_items ORDER BY id",
    ),
    "sqlite": (),
}
# The names of the tables and the rows of two of them, in one statement.
_SNAPSHOT = (
    "SELECT 'table', NULL, {name}, NULL, NULL FROM {tables} LIKE 'bp%' "
    "UNION ALL SELECT 'item', id, name, {price}, nick FROM bp_items "
    "UNION ALL SELECT 'child', id, NULL, NULL, {item_id} FROM bp_children"
)
_SNAPSHOT_PARTS = {
    "postgresql": {
        "name": "relname",
        "tables": "pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
        "AND relname",
        "price": "price::text",
        "item_id": "item_id::text",
    },
    "mysql": {
        "name": "table_name",
        "tables": "information_schema.tables WHERE table_schema = database() AND table_name",
        "price": "price",
        "item_id": "item_id",
    },
    "sqlite": {
        "name": "name",
        "tables": "sqlite_master WHERE type = 'table' AND name",
        "price": "price",
        "item_id": "item_id",
    },
}


class RawConnection(Protocol):
    """A connection that does not come from a pool; each statement is committed."""

    async def rows(self, sql: str) -> Sequence[Any]: ...
    async def close(self) -> None: ...


class _Asyncpg:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, sql: str) -> Sequence[Any]:
        return [tuple(each) for each in await self._connection.fetch(sql)]

    async def close(self) -> None:
        await self._connection.close(timeout=5)


class _Aiomysql:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, sql: str) -> Sequence[Any]:
        async with self._connection.cursor() as cursor:
            await cursor.execute(sql)
            return list(await cursor.fetchall())

    async def close(self) -> None:
        await self._connection.ensure_closed()


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def rows(self, sql: str) -> Sequence[Any]:
        return self._connection.execute(sql).fetchall()

    async def close(self) -> None:
        self._connection.close()


async def connect_raw(family: str, url: str) -> RawConnection:
    """Connect to a database without a pool."""
    parts = make_url(url)
    if family == "sqlite":
        return _Sqlite(sqlite3.connect(parts.database or "", isolation_level=None, timeout=0))
    address = {"host": parts.host, "port": parts.port, "user": parts.username}
    if family == "postgresql":
        import asyncpg

        return _Asyncpg(await asyncpg.connect(database=parts.database, **address))
    import aiomysql

    return _Aiomysql(
        await aiomysql.connect(
            db=parts.database,
            password=parts.password,
            autocommit=True,
            charset="utf8mb4",
            # without notes such as "Unknown table", which aiomysql reports as warnings
            init_command="SET SESSION sql_notes = 0",
            **address,
        )
    )


class Observer:
    """Sees what is committed, and restores it."""

    def __init__(self, family: str, connection: RawConnection) -> None:
        self._family = family
        self._connection = connection
        self._initial: Any = None
        self._last: Any = None

    async def rows(self, sql: str) -> Sequence[Any]:
        """Run a statement and commit it."""
        return await self._connection.rows(sql)

    async def close(self) -> None:
        await self._connection.close()

    async def create(self) -> None:
        """Create the tables with their rows."""
        quote = _WORDS[self._family]["q"]
        for table in sorted(_TABLES, reverse=True):
            if table != "bp_items":
                await self.rows(f"DROP TABLE IF EXISTS {quote}{table}{quote}")
        await self.rows("DROP TABLE IF EXISTS bp_items")
        for statement in _CREATE:
            await self.rows(statement.format(**_WORDS[self._family]))
        for statement in _PROCEDURES[self._family]:
            await self.rows(statement)
        if self._family == "sqlite":
            await self.rows("PRAGMA synchronous = OFF")
        await self._insert()
        self._initial = await self.snapshot()

    async def _insert(self) -> None:
        for statement in _ROWS:
            for word, value in _WORDS[self._family].items():
                statement = statement.replace(f"{{{word}}}", value)
            await self.rows(statement)

    async def snapshot(self) -> Any:
        """Return the committed tables, and the rows in them."""
        sql = _SNAPSHOT.format(**_SNAPSHOT_PARTS[self._family])
        self._last = sorted(await self.rows(sql), key=repr)
        return self._last

    async def reset(self) -> None:
        """Restore the tables and the rows, if the last snapshot differs from the first."""
        if self._last == self._initial:
            return
        quote = _WORDS[self._family]["q"]
        for table in ("bp_made", "bp_moved"):
            await self.rows(f"DROP TABLE IF EXISTS {table}")
        for table in ("bp_children", "bp_items", "bp odd %"):
            await self.rows(f"DELETE FROM {quote}{table}{quote}")
        await self._insert()
        self._last = self._initial


async def observer_of(family: str, url: str) -> Observer:
    """Return an observer of a database, with new tables."""
    observer = Observer(family, await connect_raw(family, url))
    await observer.create()
    return observer


# ------------------------------------------------------------------- state of a connection


def driver_connection(connection: AsyncConnection) -> Any:
    """Return the driver's connection. SQLAlchemy's way to get it is noted by the pool."""
    fairy: Any = connection.sync_connection.connection  # type: ignore[union-attr]
    return fairy.dbapi_connection._connection


async def driver_state(
    connection: AsyncConnection, driver: str, observer: Observer | RawConnection
) -> dict[str, Any]:
    """Return the state of the transaction, by the driver and by the server."""
    raw = driver_connection(connection)
    if driver == "asyncpg":
        if raw.is_closed():
            return {"closed": True}
        return {
            "in transaction": raw.is_in_transaction(),
            "server": await _postgres_state(observer, raw.get_server_pid()),
        }
    if driver == "psycopg":
        if raw.closed:
            return {"closed": True}
        return {
            "status": raw.info.transaction_status.name,
            "autocommit": raw.autocommit,
            "isolation level": raw.isolation_level,
            "server": await _postgres_state(observer, raw.info.backend_pid),
        }
    if driver == "aiosqlite":
        if raw._connection is None:
            return {"closed": True}
        return {"in transaction": raw.in_transaction, "isolation level": raw.isolation_level}
    if raw.closed if driver == "aiomysql" else not raw.connected:
        return {"closed": True}
    async with raw.cursor() as cursor:
        await cursor.execute("SELECT @@in_transaction, @@autocommit, @@tx_isolation")
        return {"server": await cursor.fetchone(), "autocommit": raw.get_autocommit()}


async def _postgres_state(observer: Observer | RawConnection, pid: int) -> Any:
    return await observer.rows(
        "SELECT state, backend_xid IS NOT NULL, xact_start IS NOT NULL FROM pg_stat_activity "
        f"WHERE pid = {int(pid)}"
    )


# -------------------------------------------------------------------- options of the engines


def variant_options(variant: str, driver: str) -> dict[str, Any]:
    """Return the options of an engine for one of the variants that cases use."""
    if variant == "hidden parameters":
        return {"hide_parameters": True}
    if variant in ("AUTOCOMMIT", "SERIALIZABLE"):
        return {"isolation_level": variant}
    if variant == "statement timeout":
        return {"connect_args": _setting(driver, "statement_timeout", "60")}
    if variant == "read only" and driver in ("asyncpg", "psycopg"):
        return {"connect_args": _setting(driver, "default_transaction_read_only", "on")}
    if variant == "read only" and driver in ("aiomysql", "asyncmy"):
        return {"connect_args": {"init_command": "SET SESSION TRANSACTION READ ONLY"}}
    return {}


def _setting(driver: str, name: str, value: str) -> dict[str, Any]:
    if driver == "asyncpg":
        return {"server_settings": {name: value}}
    if driver == "psycopg":
        return {"options": f"-c {name}={value}"}
    return {"init_command": f"SET SESSION max_statement_time = {int(value) / 1000}"}


def prepare_connections(engine: AsyncEngine, driver: str, variant: str = "") -> None:
    """Prepare each connection that the engine opens."""

    def prepare(adapted: Any, _: Any) -> None:
        raw = adapted._connection
        if driver == "aiosqlite":
            statements = ["PRAGMA foreign_keys = ON", "PRAGMA synchronous = OFF"]
            if variant == "read only":
                statements.append("PRAGMA query_only = ON")
            for statement in statements:
                cursor = adapted.cursor()
                cursor.execute(statement)
                cursor.close()
        if variant == "row factory" and driver == "aiosqlite":
            raw.row_factory = sqlite3.Row
        if variant == "row factory" and driver == "psycopg":
            from psycopg.rows import namedtuple_row

            raw.row_factory = namedtuple_row

    if driver == "aiosqlite" or variant == "row factory":
        event.listen(engine.sync_engine, "connect", prepare)
