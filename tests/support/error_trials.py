"""One database, and one of the ways in which an application runs a statement on it.

The situations of docs/guide/errors.md (tests/support/error_situations.py) use a `Trial`, so that
each one is written once.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_typedpool import execute, fetch_all
from tests.support.databases import MariaDBDatabase, PostgresDatabase
from tests.support.drivers import MARIADB
from tests.support.engines import PATIENCE, new_name, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.engine import URL

    from tests.support.databases import Database
    from tests.support.proxy import FaultProxy

    Run = Callable[[str], Awaitable[object]]

# In the last three the typed functions run the statement.
WAYS = ("connection", "session", "typed connection", "typed session", "typed engine")

# Options that keep the waits of a test short.
SHORT = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5, "pool_connect_retry": 0.1}

# Statements that return a row while a session of the test executes `Database.sleep`, or waits for
# a lock.
_ACTIVITY = "SELECT 1 FROM pg_stat_activity WHERE application_name = '{name}' AND "
_PROCESSES = "SELECT 1 FROM information_schema.processlist WHERE user = '{name}' AND "
SLEEPS = {
    PostgresDatabase: _ACTIVITY + "wait_event = 'PgSleep'",
    MariaDBDatabase: _PROCESSES + "state = 'User sleep'",
}
WAITS_FOR_LOCK = {
    PostgresDatabase: _ACTIVITY + "wait_event_type = 'Lock'",
    MariaDBDatabase: "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
}

# A moment of computing; SQLite has no function that sleeps.
COMPUTE = """
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 600000)
SELECT count(*) FROM c
"""


@dataclass(frozen=True)
class Trial:
    """One database and one of `WAYS`.

    :param marks: a table in which each transaction begins with an INSERT, if it is given.
    """

    database: Database
    way: str
    marks: str | None = None

    def engine(
        self, proxy: FaultProxy | None = None, /, **options: Any
    ) -> AbstractAsyncContextManager[AsyncEngine]:
        """An engine with one connection, whose waits are short."""
        return self.database.engine(proxy, **{**SHORT, **options})

    @property
    def long_statement(self) -> str:
        """A statement that takes a moment on SQLite, and 30 seconds on a server."""
        return COMPUTE if self.database.driver == "aiosqlite" else self.database.sleep(30)

    # ------------------------------------------------------------------------ statements

    @asynccontextmanager
    async def transaction(self, engine: AsyncEngine) -> AsyncIterator[Run]:
        """Yield a function that runs a statement; commit at the end of the block.

        On an engine each statement has a transaction of its own.
        """
        async with self._opened(engine) as db:
            run = run_typed if self.way.startswith("typed") else run_plain
            if self.marks is not None and db is not engine:
                await run(db, f"INSERT INTO {self.marks} VALUES (99, 0)")
            yield lambda statement: run(db, statement)

    @asynccontextmanager
    async def _opened(self, engine: AsyncEngine) -> AsyncIterator[Any]:
        if self.way == "typed engine":
            yield engine
        elif "session" in self.way:
            async with AsyncSession(engine) as session, session.begin():
                yield session
        else:
            async with engine.begin() as connection:
                yield connection

    async def run(self, engine: AsyncEngine, statement: str) -> None:
        """Run one statement in a transaction."""
        async with self.transaction(engine) as run:
            await run(statement)

    async def run_until(self, engine: AsyncEngine, act: Callable[[], Awaitable[object]]) -> None:
        """Run a long statement; call `act` when the server executes it; wait for the end."""
        running = asyncio.ensure_future(self.run(engine, self.long_statement))
        await self.wait_until(SLEEPS)
        await act()
        await asyncio.wait_for(running, PATIENCE)

    async def wait_until(self, queries: Mapping[type[Database], str]) -> None:
        """Wait until the query for this database returns a row; the test's timeout is the limit."""
        query = queries[type(self.database)].format(name=self.database.name)
        async with self.database.administrator() as run:
            while not await run(query):
                await asyncio.sleep(0.01)

    # --------------------------------------------------------------------- preparations

    @asynccontextmanager
    async def table(self) -> AsyncIterator[str]:
        """A table with the rows 1 and 2, which every account may change."""
        name = "t" + "".join(each for each in new_name() if each.isdigit())
        await self._administer(
            f"CREATE TABLE {name} (n integer PRIMARY KEY, m integer)",
            f"INSERT INTO {name} VALUES (1, 0), (2, 0)",
        )
        if isinstance(self.database, PostgresDatabase):
            await self._administer(f"GRANT ALL ON {name} TO PUBLIC")
        try:
            yield name
        finally:
            await self._end_sessions()
            await self._administer(f"DROP TABLE {name}")

    async def _end_sessions(self) -> None:
        """End the statements that were cancelled: they may still lock a table."""
        if self.database.driver == "aiosqlite":
            await until_threads_end()
            return
        for session in await self.database.sessions():
            with suppress(Exception):  # it has ended meanwhile
                await self.database.kill(session)

    async def rows(self, table: str, condition: str) -> int:
        """Count the rows that are committed."""
        (row,) = await self._administer(f"SELECT count(*) FROM {table} WHERE {condition}")
        return int(row[0])

    async def _administer(self, *statements: str) -> list[Any]:
        """Run statements without an engine, and return the rows of the last one."""
        if self.database.driver == "aiosqlite":
            with closing(sqlite3.connect(str(self.database.url.database))) as file, file:
                return [file.execute(statement).fetchall() for statement in statements][-1]
        async with self.database.administrator() as run:
            if isinstance(self.database, MariaDBDatabase):
                await run(f"USE {self.database.server.database}")
            return [await run(statement) for statement in statements][-1]

    @asynccontextmanager
    async def role(self, *options: str) -> AsyncIterator[URL]:
        """A role of PostgreSQL without administrator rights; yield the URL that uses it."""
        name = "r" + "".join(each for each in new_name() if each.isdigit())
        async with self.database.administrator() as run:
            await run(f"CREATE ROLE {name} LOGIN")
            try:
                for option in options:
                    await run(f"ALTER ROLE {name} {option}")
                yield self.database.url.set(username=name)
            finally:
                await run(f"DROP ROLE {name}")


async def until_threads_end() -> None:
    """Wait until aiosqlite's threads have ended: they report their end to the loop."""
    await until(lambda: not any("worker" in each.name for each in threading.enumerate()))


async def run_plain(db: Any, statement: str) -> None:
    """Run a statement with SQLAlchemy's `execute`."""
    (await db.execute(text(statement))).close()


async def run_typed(db: Any, statement: str) -> None:
    """Run a statement with one of the typed functions."""
    if statement.lstrip().startswith(("SELECT", "WITH")) or "RETURNING" in statement:
        await fetch_all(db, object, statement)  # type: ignore[arg-type]
    else:
        await execute(db, statement)  # type: ignore[arg-type]


def snapshot_options(database: Database) -> dict[str, Any]:
    """Options of an engine on MariaDB whose transactions detect concurrent changes."""
    assert database.driver in MARIADB
    return {"connect_args": {"init_command": "SET SESSION innodb_snapshot_isolation = ON"}}
