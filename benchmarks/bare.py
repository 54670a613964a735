"""The drivers without SQLAlchemy: one open connection of each, behind one interface.

Where a driver has one call for it, a method returns that call's awaitable: a coroutine around it
would make the driver slower than it is.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from sqlalchemy.engine import URL

Row = Sequence[Any]
Arguments = tuple[Any, ...]


class Bare(Protocol):
    """A connection that commits each statement, but for those between `begin` and `roll_back`."""

    @property
    def marker(self) -> str:
        """How a parameter is written; `{}` stands for its number."""
        ...

    def one(self, sql: str, arguments: Arguments) -> Awaitable[Row]: ...

    def all(self, sql: str, arguments: Arguments) -> Awaitable[Sequence[Row]]: ...

    def execute(self, sql: str, arguments: Arguments) -> Awaitable[object]: ...

    async def begin(self) -> None: ...

    async def roll_back(self) -> None: ...

    async def close(self) -> None: ...


def with_markers(sql: str, marker: str) -> str:
    """SQL with the driver's markers in place of `:name`. Each name must occur once."""
    names = iter(range(1, 100))
    return re.sub(r":\w+", lambda _: marker.format(next(names)), sql)


@dataclass
class BareAsyncpg:
    connection: Any
    marker = "${}"

    def one(self, sql: str, arguments: Arguments) -> Awaitable[Row]:
        found: Awaitable[Row] = self.connection.fetchrow(sql, *arguments)
        return found

    def all(self, sql: str, arguments: Arguments) -> Awaitable[Sequence[Row]]:
        found: Awaitable[Sequence[Row]] = self.connection.fetch(sql, *arguments)
        return found

    def execute(self, sql: str, arguments: Arguments) -> Awaitable[object]:
        status: Awaitable[object] = self.connection.execute(sql, *arguments)
        return status

    async def begin(self) -> None:
        await self.connection.execute("BEGIN")

    async def roll_back(self) -> None:
        await self.connection.execute("ROLLBACK")

    async def close(self) -> None:
        await self.connection.close()


@dataclass
class BarePsycopg:
    """In autocommit, with a new cursor for each statement."""

    connection: Any
    marker = "%s"

    async def one(self, sql: str, arguments: Arguments) -> Row:
        found: Row = await (await self.connection.execute(sql, arguments)).fetchone()
        return found

    async def all(self, sql: str, arguments: Arguments) -> Sequence[Row]:
        found: Sequence[Row] = await (await self.connection.execute(sql, arguments)).fetchall()
        return found

    def execute(self, sql: str, arguments: Arguments) -> Awaitable[object]:
        cursor: Awaitable[object] = self.connection.execute(sql, arguments)
        return cursor

    async def begin(self) -> None:
        await self.connection.set_autocommit(False)

    async def roll_back(self) -> None:
        """Roll back as SQLAlchemy does: psycopg then forgets what it has prepared."""
        await self.connection.rollback()
        await self.connection.set_autocommit(True)

    async def close(self) -> None:
        await self.connection.close()


@dataclass
class BareAiosqlite:
    """Each statement is one function that aiosqlite's thread runs: the fewest switches to it.

    aiosqlite's own methods need three for a row (`execute`, `fetchone`, `close`). A statement that
    writes is committed in the same function.
    """

    connection: Any
    is_in_transaction: bool = False
    marker = "?"

    def one(self, sql: str, arguments: Arguments) -> Awaitable[Row]:
        return self._run(_one, sql, arguments)

    def all(self, sql: str, arguments: Arguments) -> Awaitable[Sequence[Row]]:
        return self._run(_all, sql, arguments)

    def execute(self, sql: str, arguments: Arguments) -> Awaitable[object]:
        return self._run(_execute if self.is_in_transaction else _commit, sql, arguments)

    def _run(self, function: Callable[..., Any], sql: str, arguments: Arguments) -> Awaitable[Any]:
        connection = self.connection
        done: Awaitable[Any] = connection._execute(function, connection._conn, sql, arguments)
        return done

    async def begin(self) -> None:
        """Begin nothing: `sqlite3` begins before the first statement that writes."""
        self.is_in_transaction = True

    async def roll_back(self) -> None:
        self.is_in_transaction = False
        await self.connection.rollback()

    async def close(self) -> None:
        await self.connection.close()


def _one(connection: sqlite3.Connection, sql: str, arguments: Arguments) -> Any:
    return connection.execute(sql, arguments).fetchone()


def _all(connection: sqlite3.Connection, sql: str, arguments: Arguments) -> list[Any]:
    return connection.execute(sql, arguments).fetchall()


def _execute(connection: sqlite3.Connection, sql: str, arguments: Arguments) -> int:
    return connection.execute(sql, arguments).rowcount


def _commit(connection: sqlite3.Connection, sql: str, arguments: Arguments) -> int:
    count = _execute(connection, sql, arguments)
    connection.commit()
    return count


@dataclass
class BareMySQL:
    """aiomysql and asyncmy, in autocommit, with a new cursor for each statement."""

    connection: Any
    marker = "%s"

    async def one(self, sql: str, arguments: Arguments) -> Row:
        async with self.connection.cursor() as cursor:
            await cursor.execute(sql, arguments)
            found: Row = await cursor.fetchone()
            return found

    async def all(self, sql: str, arguments: Arguments) -> Sequence[Row]:
        async with self.connection.cursor() as cursor:
            await cursor.execute(sql, arguments)
            found: Sequence[Row] = await cursor.fetchall()
            return found

    async def execute(self, sql: str, arguments: Arguments) -> object:
        async with self.connection.cursor() as cursor:
            count: object = await cursor.execute(sql, arguments)
            return count

    async def begin(self) -> None:
        await self.connection.begin()

    async def roll_back(self) -> None:
        await self.connection.rollback()

    async def close(self) -> None:
        await self.connection.ensure_closed()


async def open_bare(driver: str, url: URL) -> Bare:
    """Connect to the database of an SQLAlchemy URL. Only the driver that is used is imported."""
    if driver == "asyncpg":
        import asyncpg

        return BareAsyncpg(await asyncpg.connect(_dsn(url)))
    if driver == "psycopg":
        import psycopg

        return BarePsycopg(await psycopg.AsyncConnection.connect(_dsn(url), autocommit=True))
    if driver == "aiosqlite":
        import aiosqlite

        connection = await aiosqlite.connect(url.database or "")
        await connection.execute("PRAGMA synchronous = OFF")
        return BareAiosqlite(connection)
    return BareMySQL(await _mysql_connect(driver)(**_mysql_address(url), autocommit=True))


def _dsn(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _mysql_connect(driver: str) -> Callable[..., Awaitable[Any]]:
    connect: Callable[..., Awaitable[Any]] = import_module(driver).connect
    return connect


def _mysql_address(url: URL) -> dict[str, Any]:
    return {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "db": url.database,
        "charset": "utf8mb4",
    }
