"""The servers of the chaos test: the same queries and faults for PostgreSQL and MariaDB."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from tests.support.engines import new_name

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from sqlalchemy import TextClause

    from sqla_typedpool.embedded import Postgres
    from tests.support.servers.mariadb import MariaDB

# No unique constraint: a row that was written twice must become visible.
TABLE = ("CREATE TABLE ledger (id bigint NOT NULL, token varchar(60) NOT NULL)",)
INDEX = ("CREATE INDEX ledger_id ON ledger (id)",)
# At COMMIT the two equal numbers that `Target.failing_commit` inserts violate its constraint.
DEFERRED = ("CREATE TABLE deferred (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)",)


class Target:
    """A server, accessed with one driver."""

    # A statement after which a COMMIT fails; None = the database has no deferred constraints.
    failing_commit: TextClause | None = None
    # What a listener runs with its own cursor before each statement.
    own_statement: str

    def __init__(self, server: Any, driver: str) -> None:
        self.server = server
        self.driver = driver
        self.name = new_name()
        self.host, self.port = server.host, server.port

    async def make_table(self) -> None:
        """Create the table of the ledger."""
        deferred = () if self.failing_commit is None else DEFERRED
        await self._run(*TABLE, *INDEX, *deferred)

    async def rows(self, since: int = 0) -> list[int]:
        """The numbers of the stored rows, starting at `since`."""
        return [row[0] for row in await self._run(f"SELECT id FROM ledger WHERE id >= {since}")]

    async def sessions(self) -> list[int]:
        """The sessions of the pool, as the server counts them."""
        raise NotImplementedError

    async def kill(self, rng: random.Random, limit: int) -> int:
        """Kill at limit so many sessions and return how many were killed."""
        found = await self.sessions()
        sample = rng.sample(found, min(limit, len(found)))
        for session in sample:
            await self._kill(session)
        return len(sample)

    def is_closed(self, connection: Any) -> bool:
        """Whether the driver reports its connection as closed; no round trip is made."""
        closed = connection.is_closed() if self.driver == "asyncpg" else connection.closed
        return bool(closed)

    async def run_on_driver(self, connection: Any, *statements: str) -> None:
        """Run statements on the driver's own connection, which SQLAlchemy does not see."""
        for statement in statements:
            await connection.execute(statement)

    async def _kill(self, session: int) -> None:
        raise NotImplementedError

    async def _run(self, *statements: str) -> list[Any]:
        raise NotImplementedError


class PostgresTarget(Target):
    server: Postgres

    # The token, the process that answers, and what a previous borrower may have left: a SET LOCAL
    # setting, an open transaction.
    check_query = text(
        "SELECT CAST(:token AS text), pg_backend_pid(), "
        "current_setting('chaos.token', true), txid_current_if_assigned()"
    )
    mark_query = text("SELECT set_config('chaos.token', :token, true)")
    sleep_query = text("SELECT pg_sleep(:seconds)")
    failing_commit = text("INSERT INTO deferred VALUES (:id), (:id)")
    own_statement = "SELECT set_config('chaos.tenant', '7', true)"

    @property
    def restart_modes(self) -> tuple[str, ...]:
        return ("fast", "immediate", "killed")

    def url(self, port: int) -> str:
        return f"postgresql+{self.driver}://postgres@{self.host}:{port}/postgres"

    def connect_args(self) -> dict[str, Any]:
        if self.driver == "asyncpg":
            return {"server_settings": {"application_name": self.name}}
        return {"application_name": self.name}

    def restart(self, mode: Any) -> None:
        if mode == "killed":
            self.server.kill()
            self.server.restart()
        else:
            self.server.restart(mode)

    async def sessions(self) -> list[int]:
        found = await self._run(
            f"SELECT pid FROM pg_stat_activity WHERE application_name = '{self.name}'"
        )
        return [row[0] for row in found]

    async def _kill(self, session: int) -> None:
        await self._run(f"SELECT pg_terminate_backend({session})")

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        import asyncpg

        admin = await asyncpg.connect(
            host=self.host,
            port=self.port,
            user="postgres",
            database="postgres",
            timeout=5,
            command_timeout=30,
        )
        try:
            yield admin
        finally:
            await admin.close(timeout=2)

    async def _run(self, *statements: str) -> list[Any]:
        rows: list[Any] = []
        async with self._admin() as admin:
            for statement in statements:
                rows = await admin.fetch(statement)
        return rows


class MariaDBTarget(Target):
    server: MariaDB

    check_query = text("SELECT :token, CONNECTION_ID(), NULL, NULLIF(@@in_transaction, 0)")
    mark_query = text("SELECT :token")
    sleep_query = text("SELECT SLEEP(:seconds)")
    own_statement = "SELECT @tenant := 7"

    @property
    def restart_modes(self) -> tuple[str, ...]:
        return ("killed",)

    def make_durable(self) -> None:
        """Let each acknowledged commit survive SIGKILL: write it to the operating system first.

        The server reads this file at each start, before it listens.
        """
        with (self.server.log.parent / "init.sql").open("a") as file:
            file.write("SET GLOBAL innodb_flush_log_at_trx_commit = 2;\n")
        self.server.restart()

    def url(self, port: int) -> str:
        account = f"{self.server.user}:{self.server.password}@{self.host}:{port}"
        return f"mysql+{self.driver}://{account}/{self.server.database}"

    def connect_args(self) -> dict[str, Any]:
        return {}

    def restart(self, mode: str) -> None:
        self.server.restart()

    async def sessions(self) -> list[int]:
        found = await self._run(
            f"SELECT id FROM information_schema.processlist WHERE user = '{self.server.user}'"
        )
        return [row[0] for row in found]

    async def run_on_driver(self, connection: Any, *statements: str) -> None:
        async with connection.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)

    async def _kill(self, session: int) -> None:
        from pymysql.err import OperationalError

        with suppress(OperationalError):  # it has ended already
            await self._run(f"KILL {session}")

    async def _run(self, *statements: str) -> list[Any]:
        import aiomysql

        admin = await aiomysql.connect(
            host=self.host,
            port=self.port,
            user="root",
            db=self.server.database,
            autocommit=True,
            connect_timeout=5,
        )
        rows: list[Any] = []
        try:
            async with admin.cursor() as cursor:
                for statement in statements:
                    await cursor.execute(statement)
                    rows = list(await cursor.fetchall())
        finally:
            admin.close()
        return rows
