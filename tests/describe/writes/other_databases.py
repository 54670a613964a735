"""The tables in SQLite and MariaDB, and statements executed in them and rolled back."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from tests.describe.writes.execution import Written
from tests.describe.writes.schema import MARIADB, SQLITE
from tests.support.servers.mariadb import MariaDB

DATABASE = "writes"
STRICT, LENIENT = "STRICT_TRANS_TABLES", ""
"""Values of sql_mode."""


class SQLiteWrites:
    """A connection to the file of SQLite."""

    family = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def run(self, sql: str, values: dict[str, Any], set_up: str = "") -> Written:
        """Execute SQL with `:name` parameters."""
        self._connection.execute("BEGIN")
        try:
            for statement in filter(None, set_up.split(";")):
                self._connection.execute(statement)
            before = self._connection.total_changes
            self._connection.execute(sql, values).fetchall()
            return Written(rows=self._connection.total_changes - before)
        except sqlite3.Error as error:
            return Written(str(error).partition(":")[0], str(error))
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


@contextlib.contextmanager
def sqlite_writes(file: Path) -> Iterator[SQLiteWrites]:
    """Create the tables in a new file and connect to it."""
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.executescript(SQLITE)
        yield SQLiteWrites(connection)
    finally:
        connection.close()


class MariaDBWrites:
    """A connection to MariaDB."""

    family = "mysql"

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def run(self, sql: str, values: dict[str, Any], set_up: str = "") -> Written:
        """Execute SQL with `:name` parameters."""
        try:
            for statement in filter(None, set_up.split(";")):
                await self.connection.exec_driver_sql(statement)
            result = await self.connection.execute(text(sql), values)
            return Written(rows=max(0, result.rowcount))
        except DBAPIError as error:
            return Written(str(error.orig.args[0] if error.orig else ""), str(error.orig))
        finally:
            await self.connection.rollback()


@contextlib.asynccontextmanager
async def mariadb_writes(
    server: MariaDB, sql_mode: str, driver: str = "aiomysql"
) -> AsyncIterator[MariaDBWrites]:
    """Create the tables in a new database and connect to it with this `sql_mode`."""
    engine = create_async_engine(server.url(driver), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {DATABASE}")
        await connection.exec_driver_sql(f"CREATE DATABASE {DATABASE}")
        await connection.exec_driver_sql(f"USE {DATABASE}")
        for statement in MARIADB:
            await connection.exec_driver_sql(statement)
        await connection.exec_driver_sql(f"SET SESSION sql_mode = '{sql_mode}'")
        await connection.commit()
        yield MariaDBWrites(connection)
    await engine.dispose()
