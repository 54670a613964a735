"""One description for each database, so that a test is written once and runs on several.

A test gets its `Database` from the fixture `database`, for the driver in its parameter `driver`:

    @pytest.mark.parametrize("driver", SERVERS)
    def test_something(database: Database) -> None:
        async def main() -> None:
            async with database.engine(pool_size=2) as engine:
                ...
                assert await database.wait_for_at_most(2) == 2

        run(main())
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from sqlalchemy.engine import URL

from tests.support.clocks import Stopwatch
from tests.support.drivers import MARIADB, POSTGRESQL
from tests.support.engines import PATIENCE, admin_of, engine_on, make_engine, new_name
from tests.support.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.embedded import Postgres
    from tests.support.servers.mariadb import MariaDB

Run = Callable[[str], Awaitable[list[Any]]]

_account_numbers = itertools.count(1)


class Database:
    """A database that one test uses with one driver, and the sessions of that test.

    Attributes:
        driver: the name of the driver, such as "asyncpg".
        server: the running server.
        name: no other test uses it: the application_name of the sessions, or their account.
        url: the SQLAlchemy URL.

    Methods that a database does not support raise NotImplementedError.
    """

    LONG_STATEMENT: ClassVar[str]
    """A statement that runs for a long time unless it is cancelled or killed on the server."""
    REFUSED: ClassVar[str]
    """A regular expression that matches the driver's error for a refused connect."""
    READ_ONLY: ClassVar[str]
    """A regular expression that matches the error of a write to a read-only server."""
    IS_READ_ONLY: ClassVar[str]
    """A statement that returns "on" or 1 if the session accepts no write."""

    application_name = ""
    server: Any
    name: str
    url: URL

    def __init__(self, driver: str) -> None:
        pytest.importorskip(driver)
        self.driver = driver

    @property
    def dsn(self) -> str:
        """The URL with its password, as an argument for a program."""
        return self.url.render_as_string(hide_password=False)

    @staticmethod
    def sleep(seconds: float) -> str:
        """A statement that takes so many seconds."""
        raise NotImplementedError

    def proxy(self) -> FaultProxy:
        """A proxy in front of the server, to be used with `async with`."""
        return FaultProxy(self.server.host, self.server.port)

    def make_engine(self, proxy: FaultProxy | None = None, /, **options: Any) -> AsyncEngine:
        """An engine with our pool, which connects directly or through `proxy`."""
        return make_engine(self.url_through(proxy), self.application_name, **options)

    def engine(
        self, proxy: FaultProxy | None = None, /, **options: Any
    ) -> AbstractAsyncContextManager[AsyncEngine]:
        """The same as a context manager, which disposes of the engine."""
        return engine_on(self.url_through(proxy), self.application_name, **options)

    def url_through(self, proxy: FaultProxy | None) -> URL:
        """The URL of the server, or of the proxy if there is one."""
        return self.url if proxy is None else self.url.set(port=proxy.port)

    # ------------------------------------------------------------------- administration

    def administrator(self) -> AbstractAsyncContextManager[Run]:
        """Open a connection that does not come from the pool; yield a function that runs SQL."""
        raise NotImplementedError

    @property
    def sessions_query(self) -> str:
        """The query for the numbers of this test's sessions on the server."""
        raise NotImplementedError

    async def run(self, statement: str) -> list[Any]:
        """Run one statement as administrator and return its rows."""
        async with self.administrator() as run:
            return await run(statement)

    async def sessions(self) -> set[int]:
        """The numbers of this test's sessions on the server."""
        return {row[0] for row in await self.run(self.sessions_query)}

    async def wait_for_at_most(self, most: int) -> int:
        """Wait until there are at most `most` sessions; return how many after `PATIENCE`."""
        return await self._wait_for_sessions(lambda count: count <= most)

    async def wait_for_at_least(self, least: int) -> int:
        """Wait until there are at least `least` sessions; return how many after `PATIENCE`."""
        return await self._wait_for_sessions(lambda count: count >= least)

    async def _wait_for_sessions(self, condition: Callable[[int], bool]) -> int:
        watch = Stopwatch()
        async with self.administrator() as run:
            while True:
                count = len(await run(self.sessions_query))
                if condition(count) or watch.awake > PATIENCE:
                    return count
                await asyncio.sleep(0.02)

    async def wait_for_the_end_of(self, ids: set[int]) -> None:
        """Wait until the server has none of these sessions; the test's timeout bounds the wait."""
        while ids & await self.sessions():
            await asyncio.sleep(0.02)

    async def kill(self, *ids: int) -> None:
        """Kill these sessions; return when they have ended."""
        raise NotImplementedError

    def read_only(self) -> AbstractAsyncContextManager[None]:
        """Make the server read-only inside the block."""
        raise NotImplementedError

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Stop all processes of the server inside the block: it answers nothing on open sockets."""
        self.server.freeze()
        await asyncio.sleep(0.1)  # until all of its threads have stopped
        try:
            yield
        finally:
            self.server.thaw()


class PostgresDatabase(Database):
    """PostgreSQL; the sessions of each test have a unique application_name."""

    LONG_STATEMENT = "SELECT pg_sleep(30)"
    REFUSED = r"(?i)refused|connect call failed"
    READ_ONLY = "read-only transaction"
    IS_READ_ONLY = "SHOW transaction_read_only"

    server: Postgres

    def __init__(self, driver: str, server: Postgres) -> None:
        super().__init__(driver)
        self.server = server
        self.name = self.application_name = new_name()
        self.url = URL.create(
            f"postgresql+{driver}", "postgres", None, server.host, server.port, "postgres"
        )

    @staticmethod
    def sleep(seconds: float) -> str:
        return f"SELECT pg_sleep({seconds})"

    @asynccontextmanager
    async def administrator(self) -> AsyncIterator[Run]:
        async with admin_of(self.server) as admin:
            yield admin.connection.fetch

    @property
    def sessions_query(self) -> str:
        return f"SELECT pid FROM pg_stat_activity WHERE application_name = '{self.name}'"

    async def kill(self, *ids: int) -> None:
        async with admin_of(self.server) as admin:
            await admin.terminate(*ids)

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[None]:
        """Make the server read-only as managed servers do before a switchover or on a full disk.

        Each session reloads its settings a little later.
        """
        async with self.administrator() as run:
            try:
                await run("ALTER SYSTEM SET default_transaction_read_only = on")
                await run("SELECT pg_reload_conf()")
                yield
            finally:
                await run("SET default_transaction_read_only = off")
                await run("ALTER SYSTEM RESET default_transaction_read_only")
                await run("SELECT pg_reload_conf()")

    async def require_password(self, role: str) -> None:
        """Require a password of `role`; return when the server does."""
        driver = pytest.importorskip("asyncpg")
        hba_file = self.server.data_directory / "pg_hba.conf"
        hba_file.write_text(f"host all {role} all scram-sha-256\n" + hba_file.read_text())
        await self.run("SELECT pg_reload_conf()")
        address = {"host": self.server.host, "port": self.server.port, "database": "postgres"}
        watch = Stopwatch()
        while watch.seconds < PATIENCE:  # the server reloads the file asynchronously
            try:
                connection = await driver.connect(**address, user=role, password="")
            except (driver.PostgresError, driver.InterfaceError):
                return
            await connection.close()
        raise AssertionError("the server has not reloaded pg_hba.conf")


class MariaDBDatabase(Database):
    """MariaDB; the sessions of each test have a unique account, without administrator rights.

    The server is the one of the test session: a test must leave it running and not frozen.
    """

    # The server does not check during the computation whether its client is still connected.
    LONG_STATEMENT = "SELECT BENCHMARK(2000000000, SHA2('x', 512))"
    REFUSED = "2003"
    READ_ONLY = "1290"
    IS_READ_ONLY = "SELECT @@read_only"

    server: MariaDB

    def __init__(self, driver: str, server: MariaDB) -> None:
        super().__init__(driver)
        self.server = server
        self.name = f"u{os.getpid()}_{next(_account_numbers)}"
        self.url = URL.create(
            f"mysql+{driver}", self.name, "secret", server.host, server.port, server.database
        )
        asyncio.run(self._create_account())

    async def _create_account(self) -> None:
        async with self.administrator() as run:
            await run(f"CREATE USER {self.account} IDENTIFIED BY '{self.url.password}'")
            await run(f"GRANT ALL ON {self.server.database}.* TO {self.account}")

    @property
    def account(self) -> str:
        """The account in the notation of SQL."""
        return f"'{self.name}'@'127.0.0.1'"

    async def limit_sessions(self, most: int) -> None:
        """Let the account have so many sessions at once."""
        await self.run(f"ALTER USER {self.account} WITH MAX_USER_CONNECTIONS {most}")

    @staticmethod
    def sleep(seconds: float) -> str:
        return f"SELECT SLEEP({seconds})"

    @asynccontextmanager
    async def administrator(self) -> AsyncIterator[Run]:
        driver = pytest.importorskip("aiomysql")
        connection = await driver.connect(
            host=self.server.host, port=self.server.port, user="root", autocommit=True
        )

        async def run(statement: str) -> list[Any]:
            async with connection.cursor() as cursor:
                await cursor.execute(statement)
                return list(await cursor.fetchall())

        try:
            yield run
        finally:
            await connection.ensure_closed()

    @property
    def sessions_query(self) -> str:
        return f"SELECT id FROM information_schema.processlist WHERE user = '{self.name}'"

    async def kill(self, *ids: int) -> None:
        watch = Stopwatch()
        killed = f"id IN ({', '.join(map(str, ids))})"
        async with self.administrator() as run:
            for each in ids:
                await run(f"KILL {each}")
            while watch.seconds < PATIENCE and await run(
                f"SELECT id FROM information_schema.processlist WHERE {killed}"
            ):
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def at_most_sessions(self, most: int) -> AsyncIterator[None]:
        """Let the server have so many sessions at once; root can have one more.

        Sessions that earlier tests have left are ended first: if one ended later, the server would
        have a free connection.
        """
        async with self.administrator() as run:
            rows = await run(
                "SELECT id FROM information_schema.processlist "
                "WHERE id <> CONNECTION_ID() AND user NOT IN ('system user', 'event_scheduler')"
            )
            for row in rows:
                with suppress(Exception):  # it has ended meanwhile
                    await self.kill(int(row[0]))
            await run(f"SET GLOBAL max_connections = {most}")
            try:
                yield
            finally:
                await run("SET GLOBAL max_connections = 151")

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[None]:
        try:
            await self.run("SET GLOBAL read_only = 1")
            yield
        finally:
            await self.run("SET GLOBAL read_only = 0")


class SQLiteDatabase(Database):
    """A file of SQLite in the folder of the test; it has no server and no sessions."""

    def __init__(self, driver: str, folder: Path) -> None:
        super().__init__(driver)
        self.name = new_name()
        self.url = URL.create(f"sqlite+{driver}", database=str(folder / "file.db"))

    async def _wait_for_sessions(self, condition: Callable[[int], bool]) -> int:
        return 0


def database_of(
    driver: str, request: pytest.FixtureRequest, postgres: str = "postgres"
) -> Database:
    """Return the database of a driver; `postgres` is the name of the fixture for PostgreSQL."""
    if driver in POSTGRESQL:
        return PostgresDatabase(driver, request.getfixturevalue(postgres))
    if driver in MARIADB:
        return MariaDBDatabase(driver, request.getfixturevalue("mariadb"))
    return SQLiteDatabase(driver, request.getfixturevalue("tmp_path"))
