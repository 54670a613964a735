"""What the cancelled requests do, and how each checks that its session is clean.

A request that changes its session beyond its transaction undoes that before it returns the
connection, as applications must with any pool. It cannot when its statement was cancelled, because
SQLAlchemy then takes the connection away: the pool has to close it, or to undo the change.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool import Executor, execute, fetch_all, fetch_one, query, stream
from tests.chaos.clean_session import OWN_SETTING, SESSION_QUERY, Session
from tests.chaos.ledger import COMMITTED, UNKNOWN, Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

READ_COMMITTED = "read committed"
# What a result raises whose connection was given back.
STALE = (DBAPIError, InvalidRequestError, asyncpg.InterfaceError)
CHECK = text(SESSION_QUERY)
ANSWER_SQL = "SELECT CAST(:token AS text) FROM pg_sleep(CAST(:seconds AS float8))"
ANSWER = text(ANSWER_SQL)
SERIES_SQL = "SELECT CAST(:token AS text) || n FROM generate_series(1, :rows) AS n"
SERIES = text(SERIES_SQL)
LONG = 0.004  # seconds that a statement takes at most
LOCKS = 5  # numbers of advisory locks: few, so that the requests wait for each other


class WrongAnswer(AssertionError):
    """A statement received what belongs to another, or a session was not clean."""


@query(ANSWER_SQL)
async def declared_answer(db: Executor, *, token: str, seconds: float) -> str:
    raise NotImplementedError


@query(ANSWER_SQL, timeout=LONG / 2)
async def hurried_answer(db: Executor, *, token: str, seconds: float) -> str:
    raise NotImplementedError


@dataclass
class CancelledRequest:
    """One request: what it does, and where it is."""

    kind: str
    stage: str = "checkout"
    started_at: float = field(default_factory=time.time)


class Work:
    """All kinds of requests, on one engine."""

    def __init__(
        self, engine: AsyncEngine, ledger: Ledger, seed: int, *, table: str, role: str
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._rng = random.Random(f"{seed} work")
        self._numbers = itertools.count()
        self._insert = f"INSERT INTO {table} (id, token) VALUES (:id, :token)"
        self._role = role
        self.kinds: dict[str, Callable[[CancelledRequest], Awaitable[None]]] = {
            name: getattr(self, name) for name in sorted(vars(Work)) if not name.startswith("_")
        }

    # ------------------------------------------------------------------------ helpers

    def _token(self) -> str:
        return f"token {next(self._numbers)}"

    def _seconds(self) -> float:
        return self._rng.choice((0, 0, self._rng.uniform(0, LONG)))

    @asynccontextmanager
    async def _connected(
        self, request: CancelledRequest, isolation: str = READ_COMMITTED, **options: Any
    ) -> AsyncIterator[AsyncConnection]:
        """A connection that was checked; options are execution options."""
        async with self._engine.connect() as connection:
            if options:
                await connection.execution_options(**options)
            await self._check(request, connection, isolation)
            yield connection
            request.stage = "return"

    async def _check(
        self,
        request: CancelledRequest,
        connection: AsyncConnection | AsyncSession,
        isolation: str = READ_COMMITTED,
    ) -> None:
        token, request.stage = self._token(), "first statement"
        row = (await connection.execute(CHECK, {"token": token})).one()
        self._judge(request, Session(*row), token, isolation)
        request.stage = "statement"

    def _judge(
        self, request: CancelledRequest, session: Session, token: str, isolation: str
    ) -> None:
        if faults := session.faults(token, request.started_at, isolation):
            raise WrongAnswer(f"{request.kind}: on session {session.pid}: {'; '.join(faults)}")

    async def _ask(self, connection: AsyncConnection | AsyncSession) -> None:
        """Run a statement that takes a moment, and check its answer."""
        token = self._token()
        answers = (
            await connection.execute(ANSWER, {"token": token, "seconds": self._seconds()})
        ).all()
        self._compare([row[0] for row in answers], [token])

    def _compare(self, found: Sequence[object], expected: Sequence[object]) -> None:
        if list(found) != list(expected):
            raise WrongAnswer(f"expected {expected}, received {found}")

    async def _run(self, connection: AsyncConnection | AsyncSession, *statements: str) -> None:
        for statement in statements:
            await connection.execute(text(statement))

    def _row(self, row: int) -> dict[str, object]:
        return {"id": row, "token": f"row {row}"}

    @asynccontextmanager
    async def _committing(self, request: CancelledRequest, *rows: int) -> AsyncIterator[None]:
        """Inside, these rows are committed."""
        request.stage = "commit"
        self._ledger.set_outcome(UNKNOWN, rows)
        yield
        self._ledger.set_outcome(COMMITTED, rows)
        request.stage = "statement"

    @asynccontextmanager
    async def _undoing(
        self, request: CancelledRequest, connection: AsyncConnection, *statements: str
    ) -> AsyncIterator[None]:
        """Inside, the session is changed; at the end the change is undone, if that is possible."""
        try:
            yield
        finally:
            if not connection.invalidated:
                request.stage = "undoing"
                await connection.rollback()
                await self._run(connection, *statements)
                await connection.commit()

    # ----------------------------------------------------------- without any change

    async def read(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            await self._ask(connection)

    async def read_and_roll_back(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            await self._ask(connection)
            request.stage = "rollback"
            await connection.rollback()
            await self._ask(connection)

    async def pause(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            request.stage = "between statements"
            await asyncio.sleep(self._seconds())
            await self._ask(connection)

    async def invalidate(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            await self._run(connection, f"SET {OWN_SETTING} = 'invalidated'")
            await connection.commit()
            error = self._rng.choice((None, asyncio.CancelledError()))
            await connection.invalidate(error)

    async def many_statements(self, request: CancelledRequest) -> None:
        """More statements than the caches of prepared statements hold."""
        async with self._connected(request) as connection:
            for _ in range(4):
                number = self._rng.randrange(300)
                statement = text(f"SELECT CAST(:token AS text), {number}")
                token = self._token()
                row = (await connection.execute(statement, {"token": token})).one()
                self._compare(row, (token, number))

    # --------------------------------------------------------------------- writing

    async def write(self, request: CancelledRequest) -> None:
        row = self._ledger.open_pair()
        async with self._connected(request) as connection:
            await connection.execute(text(self._insert), self._row(row))
            await self._ask(connection)
            async with self._committing(request, row):
                await connection.commit()

    async def write_in_block(self, request: CancelledRequest) -> None:
        row = self._ledger.open_pair()
        async with self._engine.begin() as connection:
            await self._check(request, connection)
            await connection.execute(text(self._insert), [self._row(row), self._row(row + 1)])
            self._ledger.set_outcome(UNKNOWN, (row, row + 1))
            request.stage = "commit"
        self._ledger.set_outcome(COMMITTED, (row, row + 1))

    async def write_and_roll_back(self, request: CancelledRequest) -> None:
        row = self._ledger.open_pair()
        async with self._connected(request) as connection:
            await connection.execute(text(self._insert), self._row(row))
            await self._ask(connection)

    async def write_many(self, request: CancelledRequest) -> None:
        first = self._ledger.open_pair()
        for _ in range(9):
            self._ledger.open_pair()
        rows = range(first, first + 20)
        async with self._connected(request) as connection:
            await connection.execute(text(self._insert), [self._row(row) for row in rows])
            async with self._committing(request, *rows):
                await connection.commit()

    async def write_twice(self, request: CancelledRequest) -> None:
        """The first transaction of a checkout stays committed if the second is cancelled."""
        first, second = self._ledger.open_pair(), self._ledger.open_pair()
        async with self._connected(request) as connection:
            for row in (first, second):
                await connection.execute(text(self._insert), self._row(row))
                async with self._committing(request, row):
                    await connection.commit()
            await self._ask(connection)

    async def write_after_savepoint(self, request: CancelledRequest) -> None:
        row = self._ledger.open_pair()
        async with self._connected(request) as connection:
            savepoint = await connection.begin_nested()
            await connection.execute(text(self._insert), self._row(row))
            await savepoint.rollback()
            async with connection.begin_nested():
                await connection.execute(text(self._insert), self._row(row + 1))
            async with self._committing(request, row + 1):
                await connection.commit()

    async def write_in_session(self, request: CancelledRequest) -> None:
        row = self._ledger.open_pair()
        async with AsyncSession(self._engine) as session:
            await self._check(request, session)
            await session.execute(text(self._insert), self._row(row))
            async with self._committing(request, row):
                await session.commit()
            await self._ask(session)
            request.stage = "return"

    async def write_with_autocommit(self, request: CancelledRequest) -> None:
        row = self._ledger.open_pair()
        async with self._connected(request, isolation_level="AUTOCOMMIT") as connection:
            async with self._committing(request, row):
                await connection.execute(text(self._insert), self._row(row))
            await self._ask(connection)

    # --------------------------------------------- changes that a rollback undoes

    async def change_settings(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            await self._run(
                connection,
                "SET work_mem = '7MB'",
                "SET LOCAL enable_hashjoin = off",
                f"SELECT set_config('{OWN_SETTING}', 'tenant', false)",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            )
            await self._ask(connection)

    async def change_role(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            await self._run(connection, f"SET ROLE {self._role}")
            await self._ask(connection)

    async def create_temporary_table(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            await self._run(connection, "CREATE TEMPORARY TABLE kept AS SELECT 1 AS n")
            await self._ask(connection)

    async def create_table_dropped_at_commit(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            await self._run(connection, "CREATE TEMPORARY TABLE brief (n int) ON COMMIT DROP")
            await self._ask(connection)
            request.stage = "commit"
            await connection.commit()
            await self._ask(connection)

    async def lock_for_transaction(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            number = self._rng.randrange(LOCKS)
            await self._run(connection, f"SELECT pg_advisory_xact_lock({number})")
            await self._ask(connection)

    async def listen_in_transaction(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            await self._run(connection, "LISTEN uncommitted")
            await self._ask(connection)

    async def declare_cursor(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            await self._run(connection, "DECLARE own CURSOR FOR SELECT 1", "FETCH own")
            await self._ask(connection)

    async def change_isolation(self, request: CancelledRequest) -> None:
        options = {"isolation_level": "SERIALIZABLE"}
        async with self._connected(request, "serializable", **options) as connection:
            await self._ask(connection)

    # ---------------------------------------------- changes that a rollback leaves

    async def commit_settings(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            undoing = self._undoing(request, connection, "RESET work_mem", f"RESET {OWN_SETTING}")
            async with undoing:
                await self._run(connection, "SET work_mem = '7MB'", f"SET {OWN_SETTING} = 'mine'")
                await connection.commit()
                await self._ask(connection)

    async def commit_role(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            async with self._undoing(request, connection, "RESET ROLE"):
                await self._run(connection, f"SET ROLE {self._role}")
                await connection.commit()
                await self._ask(connection)

    async def commit_role_by_sql(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            async with self._undoing(request, connection, "RESET ROLE"):
                await self._run(connection, f"SET ROLE {self._role}", "COMMIT", "BEGIN")
                await self._ask(connection)

    async def commit_temporary_table(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            async with self._undoing(request, connection, "DROP TABLE IF EXISTS kept"):
                await self._run(connection, "CREATE TEMPORARY TABLE kept AS SELECT 1 AS n")
                await connection.commit()
                await self._ask(connection)

    async def change_role_with_autocommit(self, request: CancelledRequest) -> None:
        async with self._connected(request, isolation_level="AUTOCOMMIT") as connection:
            async with self._undoing(request, connection, "RESET ROLE"):
                await self._run(connection, f"SET ROLE {self._role}")
                await self._ask(connection)

    async def lock_for_session(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            async with self._undoing(request, connection, "SELECT pg_advisory_unlock_all()"):
                number = self._rng.randrange(LOCKS)
                await self._run(connection, f"SELECT pg_advisory_lock({number})")
                await self._ask(connection)

    async def prepare_by_sql(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            async with self._undoing(request, connection, "DEALLOCATE own"):
                await self._run(connection, "PREPARE own AS SELECT 1", "EXECUTE own")
                await self._ask(connection)

    async def listen_through_driver(self, request: CancelledRequest) -> None:
        await self._use_driver(request, "LISTEN events", "UNLISTEN *")

    async def set_through_driver(self, request: CancelledRequest) -> None:
        await self._use_driver(request, "SET work_mem = '7MB'", "RESET work_mem")

    async def _use_driver(self, request: CancelledRequest, change: str, undo: str) -> None:
        async with self._connected(request) as connection:
            await connection.rollback()
            driver = (await connection.get_raw_connection()).driver_connection
            try:
                request.stage = "driver"
                await driver.execute(change)
                await self._ask(connection)
                await connection.rollback()
                await driver.execute(undo)
            except BaseException:
                await connection.invalidate()
                raise

    # -------------------------------------------------------------------- streams

    async def stream_rows(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            token = self._token()
            parameters = {"token": token, "rows": 130}
            async with connection.stream(SERIES, parameters) as result:
                request.stage = "stream"
                found = [row[0] async for row in result]
            self._compare(found, [f"{token}{n}" for n in range(1, 131)])

    async def leave_stream(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            token = self._token()
            result = await connection.stream(SERIES, {"token": token, "rows": 1000})
            request.stage = "stream"
            self._compare((await result.fetchone()) or (), [f"{token}1"])
            await result.close()
            await self._ask(connection)

    async def use_stale_stream(self, request: CancelledRequest) -> None:
        """A result that is read and closed after its connection was given back."""
        async with self._connected(request) as connection:
            token = self._token()
            result = await connection.stream(SERIES, {"token": token, "rows": 1000})
            self._compare((await result.fetchone()) or (), [f"{token}1"])
            try:
                await self._ask(connection)
            except asyncio.CancelledError:
                request.stage = "stale stream"
                await connection.close()
                # meanwhile another borrower may get the connection
                await asyncio.sleep(self._rng.uniform(0, 3 * LONG))
                with suppress(*STALE):
                    rows = await result.fetchmany(200)
                    self._compare(
                        [row[0] for row in rows], [f"{token}{n + 2}" for n in range(len(rows))]
                    )
                with suppress(*STALE):
                    await result.close()
                raise
            await result.close()

    async def stream_from_engine(self, request: CancelledRequest) -> None:
        token, found = self._token(), []
        parameters = {"token": token, "rows": self._rng.choice((3, 2100))}
        request.stage = "stream"
        async with aclosing(stream(self._engine, str, SERIES_SQL, parameters)) as rows:
            async for row in rows:
                found.append(row)
                if len(found) == 1500:
                    break
        self._compare(found, [f"{token}{n + 1}" for n in range(len(found))])

    async def stream_with_timeout(self, request: CancelledRequest) -> None:
        token = self._token()
        sql = f"{SERIES_SQL}, pg_sleep(:seconds)"
        parameters = {"token": token, "rows": 50, "seconds": self._seconds()}
        async with self._connected(request) as connection:
            request.stage = "stream"
            timeout = self._rng.uniform(0.001, LONG)
            rows = stream(connection, str, sql, parameters, timeout=timeout)
            async with aclosing(rows):
                found = [row async for row in rows]
            self._compare(found, [f"{token}{n + 1}" for n in range(50)])

    # ------------------------------------------------------------- typed statements

    def _timeout(self) -> float | None:
        return self._rng.choice((None, self._rng.uniform(0.0005, 2 * LONG)))

    async def fetch_on_engine(self, request: CancelledRequest) -> None:
        token, request.stage = self._token(), "typed statement"
        session = await fetch_one(
            self._engine, Session, SESSION_QUERY, {"token": token}, timeout=self._timeout()
        )
        self._judge(request, session, token, READ_COMMITTED)

    async def fetch_slowly_on_engine(self, request: CancelledRequest) -> None:
        token, request.stage = self._token(), "typed statement"
        parameters = {"token": token, "seconds": self._seconds()}
        answers = await fetch_all(
            self._engine, str, ANSWER_SQL, parameters, timeout=self._timeout()
        )
        self._compare(answers, [token])

    async def fetch_on_connection(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            request.stage = "typed statement"
            for _ in range(2):
                token = self._token()
                parameters = {"token": token, "seconds": self._seconds()}
                answer = await fetch_one(
                    connection, str, ANSWER_SQL, parameters, timeout=self._timeout()
                )
                self._compare([answer], [token])

    async def fetch_after_role(self, request: CancelledRequest) -> None:
        async with self._connected(request) as connection:
            await self._run(connection, f"SET ROLE {self._role}")
            async with self._undoing(request, connection, "RESET ROLE"):
                if self._rng.random() < 0.5:
                    await connection.commit()
                token, request.stage = self._token(), "typed statement"
                parameters = {"token": token, "seconds": self._seconds()}
                answer = await fetch_one(
                    connection, str, ANSWER_SQL, parameters, timeout=self._timeout()
                )
                self._compare([answer], [token])

    async def lock_on_engine(self, request: CancelledRequest) -> None:
        """A lock of a transaction that is the statement's own."""
        request.stage = "typed statement"
        sql = f"SELECT CAST(pg_advisory_xact_lock({self._rng.randrange(LOCKS)}) AS text)"
        await fetch_one(self._engine, str, sql, timeout=self._timeout())

    async def fetch_in_session(self, request: CancelledRequest) -> None:
        row = self._ledger.open_pair()
        async with AsyncSession(self._engine) as session:
            await self._check(request, session)
            request.stage = "typed statement"
            sql = f"{self._insert} RETURNING token"
            answer = await fetch_one(session, str, sql, self._row(row), timeout=self._timeout())
            self._compare([answer], [f"row {row}"])
            async with self._committing(request, row):
                await session.commit()

    async def insert_on_engine(self, request: CancelledRequest) -> None:
        row = self._ledger.open_pair()
        self._ledger.set_outcome(UNKNOWN, [row])
        request.stage = "typed statement"
        sql = f"{self._insert} RETURNING token"
        answer = await fetch_one(self._engine, str, sql, self._row(row), timeout=self._timeout())
        self._ledger.set_outcome(COMMITTED, [row])
        self._compare([answer], [f"row {row}"])

    async def execute_on_engine(self, request: CancelledRequest) -> None:
        row = self._ledger.open_pair()
        self._ledger.set_outcome(UNKNOWN, [row])
        request.stage = "typed statement"
        count = await execute(self._engine, self._insert, self._row(row), timeout=self._timeout())
        self._ledger.set_outcome(COMMITTED, [row])
        self._compare([count], [1])

    async def ask_declared_query(self, request: CancelledRequest) -> None:
        ask = self._rng.choice((declared_answer, hurried_answer))
        token, request.stage = self._token(), "declared query"
        answer = await ask(self._engine, token=token, seconds=self._seconds())
        self._compare([answer], [token])
        async with self._connected(request) as connection:
            request.stage = "declared query"
            token = self._token()
            answer = await ask(connection, token=token, seconds=self._seconds())
            self._compare([answer], [token])
