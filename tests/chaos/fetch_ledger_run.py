"""Typed writes that are cancelled or refused while the table changes: what is stored in the end?

Each call notes in a ledger what it reported. In the end the table must agree with the ledger: no
statement ran twice, no transaction is stored in part, and a refused call has left nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_typedpool import (
    RowShapeError,
    StatementTimeout,
    TypedPool,
    execute,
    fetch_all,
    fetch_one,
    fetch_optional,
)
from tests.chaos.expected_errors import traceback_text
from tests.chaos.ledger import ABSENT, COMMITTED, UNKNOWN, Ledger
from tests.support.both_paths_database import connect_raw, driver_state, prepare_connections
from tests.support.cancellation import cancel_at_await
from tests.support.clocks import Stopwatch
from tests.support.engines import PATIENCE, make_engine, new_name, open_all, return_all, until
from tests.support.fetch_lab import DRIVERS, no_listener

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.both_paths_database import RawConnection

WORKERS = 6
SIZE = 4
MAX_FAULTS = 10
# Errors after which nothing of the transaction is stored. A statement whose columns a migration has
# changed fails inside a transaction. SQLite's writers do not queue.
ENDED = (
    "InvalidCachedStatementError",
    "cached plan must not change result type",
    "database is locked",
)


@dataclass
class Stored:
    """A row of the table before its migration."""

    id: int
    amount: int


class LedgerRun:
    """A run with a seed, of so many calls, on one engine.

    :param driver: such as "asyncpg".
    """

    def __init__(self, driver: str, url: str, count: int, seed: int) -> None:
        self._driver = driver
        self._url = url
        self._count = self._left = count
        self._seed = seed
        self._rng = random.Random(f"{seed} ledger {driver}")
        self._ledger = Ledger()
        self._table = "fetch_ledger_" + "".join(filter(str.isdigit, new_name()))
        self._insert = f"INSERT INTO {self._table} (id, amount) VALUES (:id, :amount)"
        self._is_migrated = False
        self._has_listener = False
        self._admin: Any = None
        self._gate = asyncio.Lock()
        self.faults: list[str] = []
        self.results: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()

    async def run(self) -> str:
        """Run everything.

        :return: a summary.
        :raises AssertionError: with the seed and the faults.
        """
        self._admin: RawConnection = await connect_raw(DRIVERS[self._driver], self._url)
        try:
            if DRIVERS[self._driver] == "sqlite":
                await self._administer("PRAGMA journal_mode = WAL")  # readers block no writers
            # no unique constraint: a row that was written twice must become visible
            await self._administer(
                f"CREATE TABLE {self._table} (id bigint NOT NULL, amount int NOT NULL)"
            )
            await self._run_calls()
            rows = await self._administer(f"SELECT id FROM {self._table}")
            self.faults += self._ledger.differences(row[0] for row in rows)[:MAX_FAULTS]
            await self._administer(f"DROP TABLE {self._table}")
        finally:
            await self._admin.close()
        summary = self._summary()
        assert not self.faults, "\n".join((summary, *self.faults))
        return summary

    async def _run_calls(self) -> None:
        engine = make_engine(self._url, pool_size=SIZE, max_overflow=0, pool_timeout=30)
        prepare_connections(engine, self._driver)
        try:
            with self._counted_paths():
                await asyncio.gather(*(self._work(engine) for _ in range(WORKERS)))
            await self._check_pool(engine)
        finally:
            await engine.dispose()

    @contextmanager
    def _counted_paths(self) -> Iterator[None]:
        logger = logging.getLogger("sqla_typedpool.fetch")
        counter, level = _PathCounter(self.paths), logger.level
        logger.addHandler(counter)
        logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.removeHandler(counter)
            logger.setLevel(level)

    # ------------------------------------------------------------------------- calls

    async def _work(self, engine: AsyncEngine) -> None:
        calls: tuple[Callable[[AsyncEngine], Coroutine[Any, Any, None]], ...] = (
            self.execute_on_engine,
            self.fetch_on_engine,
            self.fetch_star_on_engine,
            self.refused_on_engine,
            self.in_transaction,
            self.in_savepoint,
            self.in_session,
            self.rolled_back,
            self.read,
        )
        while self._left > 0 and len(self.faults) < MAX_FAULTS:
            self._left -= 1
            # SQLAlchemy's engine remembers that it had a listener: all is slow from then on
            if self._left % 10 == 0 and self._left < self._count / 4:
                await self.toggle_listener(engine)
            if self._rng.random() < 0.03:
                await self.migrate()
                continue
            if DRIVERS[self._driver] == "sqlite":
                async with self._gate:
                    pass  # SQLite's writers do not queue: a migration would wait for ever
            call = self._rng.choice(calls)
            try:
                await self._maybe_cancelled(call(engine))
            except Exception as error:
                self.faults.append(f"{call.__name__}: {traceback_text(error)}")

    async def _maybe_cancelled(self, work: Coroutine[Any, Any, None]) -> None:
        if self._rng.random() < 0.5:
            await work
            return
        step, late = self._rng.randint(1, 12), self._rng.random() < 0.5
        reached = await cancel_at_await(work, step, late=late)
        self.results["cancelled" if reached else "completed"] += 1

    def _new_pair(self) -> tuple[int, int]:
        row = self._ledger.open_pair()
        return row, row + 1

    def _values(self, row: int) -> dict[str, int]:
        return {"id": row, "amount": row % 100}

    def _timeout(self) -> float | None:
        return self._rng.choice((None, None, None, 0.002, 0.01))

    def _check(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.faults.append(f"{what}: {found!r}, not {expected!r}")

    @contextmanager
    def _reported(self, *rows: int) -> Iterator[None]:
        """Note what the call in the block reports about its rows, which it commits."""
        self._ledger.set_outcome(UNKNOWN, rows)
        try:
            yield
        except RowShapeError:
            self.results["refused"] += 1
            self._ledger.set_outcome(ABSENT, rows)
        except StatementTimeout:
            self.results["timed out"] += 1
        except exc.DBAPIError as error:
            if not _has_ended(error):
                raise
            self._ledger.set_outcome(ABSENT, rows)
        else:
            self.results["committed"] += 1
            self._ledger.set_outcome(COMMITTED, rows)

    async def execute_on_engine(self, engine: AsyncEngine) -> None:
        row, _ = self._new_pair()
        with self._reported(row):
            count = await execute(engine, self._insert, self._values(row), timeout=self._timeout())
            self._check("row count", count, 1)

    async def fetch_on_engine(self, engine: AsyncEngine) -> None:
        row, _ = self._new_pair()
        with self._reported(row):
            sql = f"{self._insert} RETURNING id, amount"
            found = await fetch_one(engine, Stored, sql, self._values(row), timeout=self._timeout())
            self._check("stored", found, Stored(**self._values(row)))

    async def fetch_star_on_engine(self, engine: AsyncEngine) -> None:
        """The row type fits only before the migration."""
        row, _ = self._new_pair()
        was_migrated = self._is_migrated
        with self._reported(row):
            found = await fetch_all(
                engine, Stored, f"{self._insert} RETURNING *", self._values(row)
            )
            self._check("stored", found, [Stored(**self._values(row))])
            if was_migrated and self._is_migrated == was_migrated and not self._gate.locked():
                self.results["fits after a migration"] += 1

    async def refused_on_engine(self, engine: AsyncEngine) -> None:
        row, _ = self._new_pair()
        sql = self._rng.choice((self._insert, f"{self._insert} RETURNING id, amount, 7 AS more"))
        with self._reported(row):
            await fetch_optional(engine, Stored, sql, self._values(row))
            self.faults.append(f"a wrong shape was not refused: {sql}")

    async def in_transaction(self, engine: AsyncEngine) -> None:
        rows = self._new_pair()
        async with _ending_at_known_errors():
            async with engine.begin() as connection:
                await self._write(connection, rows[0])
                await self._write(connection, rows[1])
                self._ledger.set_outcome(UNKNOWN, rows)
            self._ledger.set_outcome(COMMITTED, rows)

    async def in_savepoint(self, engine: AsyncEngine) -> None:
        """The second row is refused, and only its savepoint is rolled back."""
        rows = self._new_pair()
        async with _ending_at_known_errors():
            async with engine.begin() as connection:
                await self._write(connection, rows[0])
                try:
                    async with connection.begin_nested():
                        sql = f"{self._insert} RETURNING id, amount, 8 AS more"
                        await fetch_one(connection, Stored, sql, self._values(rows[1]))
                except RowShapeError:
                    self.results["refused"] += 1
                self._ledger.set_outcome(UNKNOWN, rows[:1])
            self._ledger.set_outcome(COMMITTED, rows[:1])

    async def in_session(self, engine: AsyncEngine) -> None:
        rows = self._new_pair()
        async with _ending_at_known_errors(), AsyncSession(engine) as session:
            await self._write(session, rows[0])
            await self._write(session, rows[1])
            self._ledger.set_outcome(UNKNOWN, rows)
            await session.commit()
            self._ledger.set_outcome(COMMITTED, rows)

    async def rolled_back(self, engine: AsyncEngine) -> None:
        row, _ = self._new_pair()
        async with _ending_at_known_errors(), engine.connect() as connection:
            await self._write(connection, row)
            await connection.rollback()

    async def read(self, engine: AsyncEngine) -> None:
        """Every acknowledged row is visible to the next call."""
        row = self._rng.randrange(max(1, len(self._ledger)))
        is_committed = self._ledger.is_committed(row)
        sql = f"SELECT count(*) FROM {self._table} WHERE id = :id"
        found = await fetch_one(engine, int, sql, {"id": row})
        if found > 1 or (is_committed and not found):
            self.faults.append(f"row {row} is read {found} times")

    async def _write(self, db: AsyncConnection | AsyncSession, row: int) -> None:
        if self._rng.random() < 0.5:
            self._check("row count", await execute(db, self._insert, self._values(row)), 1)
            return
        sql = f"{self._insert} RETURNING id, amount"
        found = await fetch_one(db, Stored, sql, self._values(row))
        self._check("stored", found, Stored(**self._values(row)))

    # ----------------------------------------------------------------------- changes

    async def migrate(self) -> None:
        """Add a column, or remove it; change the type of another."""
        async with self._gate:
            self._is_migrated = not self._is_migrated
            alter = f"ALTER TABLE {self._table}"
            change = "ADD COLUMN extra int" if self._is_migrated else "DROP COLUMN extra"
            await self._administer(f"{alter} {change}")
            if DRIVERS[self._driver] == "postgresql":
                new = "bigint" if self._is_migrated else "int"
                await self._administer(f"{alter} ALTER COLUMN amount TYPE {new}")
            self.results["migrations"] += 1

    async def _administer(self, sql: str) -> Any:
        """Run a statement outside the pool. SQLite's does not wait for the calls, but fails."""
        watch = Stopwatch()
        while True:
            try:
                return await self._admin.rows(sql)
            except Exception as error:
                if "locked" not in str(error) or watch.seconds > PATIENCE:
                    raise
                await asyncio.sleep(0.002)

    async def toggle_listener(self, engine: AsyncEngine) -> None:
        """Send all statements through the slow path, or no longer."""
        change = event.remove if self._has_listener else event.listen
        change(engine.sync_engine, "before_cursor_execute", no_listener)
        self._has_listener = not self._has_listener
        await asyncio.sleep(0)

    # ------------------------------------------------------------------------ checks

    async def _check_pool(self, engine: AsyncEngine) -> None:
        """No slot is lost, and no connection is in a transaction or in autocommit."""
        pool = TypedPool.of(engine)
        if not await until(lambda: pool.stats().in_use == pool.stats().waiting == 0):
            self.faults.append(f"slots or waiters are left: {pool.stats()}")
            return
        held = [await engine.connect() for _ in range(SIZE)]
        states = [str(await driver_state(each, self._driver, self._admin)) for each in held]
        fresh = make_engine(self._url)
        async with fresh.connect() as connection:
            expected = str(await driver_state(connection, self._driver, self._admin))
        await fresh.dispose()
        await return_all(held)
        for state in states:
            self._check("a connection", state, expected)
        await return_all(await asyncio.wait_for(open_all(engine, SIZE), 10))

    def _summary(self) -> str:
        ledger = self._ledger
        return (
            f"{self._driver}, seed {self._seed}: {dict(self.results)}; paths {dict(self.paths)}; "
            f"rows: {ledger.count(COMMITTED)} acknowledged, {ledger.count(UNKNOWN)} of unknown "
            f"outcome, {ledger.count(ABSENT)} never committed"
        )


class _PathCounter(logging.Handler):
    """Counts the statements on each path, by their log records."""

    def __init__(self, paths: Counter[str]) -> None:
        super().__init__(logging.DEBUG)
        self._paths = paths

    def emit(self, record: logging.LogRecord) -> None:
        self._paths[record.getMessage().partition(" ")[0]] += 1


class _ending_at_known_errors:  # noqa: N801 - used like a function
    """Suppress the errors that end a transaction without any fault."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _: Any, error: BaseException | None, __: Any) -> bool:
        return isinstance(error, exc.DBAPIError) and _has_ended(error)


def _has_ended(error: exc.DBAPIError) -> bool:
    """Return whether this error is expected, and its transaction has been rolled back."""
    return any(each in f"{type(error.orig).__name__} {error}" for each in ENDED)
