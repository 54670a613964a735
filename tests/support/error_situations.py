"""The situations of docs/guide/errors.md: each function raises the error of its situation.

cause = SITUATIONS["unique violation"].cause
await cause(Trial(database, "session"))  # raises IntegrityError
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqla_typedpool import PoolTimeout, TypedPool, execute, fetch_all, fetch_one
from sqla_typedpool.embedded import Postgres
from tests.support.databases import MariaDBDatabase, PostgresDatabase
from tests.support.drivers import ALL, POSTGRESQL, SERVERS
from tests.support.engines import PATIENCE, engine_on, fill, return_all
from tests.support.error_trials import (
    SHORT,
    WAITS_FOR_LOCK,
    WAYS,
    Trial,
    snapshot_options,
    until_threads_end,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

Cause = Callable[[Trial], Awaitable[object]]

TYPED = tuple(way for way in WAYS if way.startswith("typed"))
IN_TRANSACTION = tuple(way for way in WAYS if way != "typed engine")
AT_CHECKOUT = ("connection", "session", "typed engine")
ON_ENGINE = ("typed engine",)


@dataclass(frozen=True)
class Situation:
    """A situation, and the drivers and the ways in which it can happen."""

    cause: Cause
    drivers: tuple[str, ...]
    ways: tuple[str, ...]


SITUATIONS: dict[str, Situation] = {}


def situation(
    name: str, drivers: tuple[str, ...] = SERVERS, ways: tuple[str, ...] = WAYS
) -> Callable[[Cause], Cause]:
    """Add a function to `SITUATIONS`, under its name in the documentation."""

    def add(cause: Cause) -> Cause:
        SITUATIONS[name] = Situation(cause, drivers, ways)
        return cause

    return add


def on_url(trial: Trial, url: URL) -> AbstractAsyncContextManager[AsyncEngine]:
    """An engine on another URL than that of the database."""
    return engine_on(url, trial.database.application_name, **SHORT)


# ------------------------------------------------------------------------------ connecting


@situation("the server refuses the connection", ways=AT_CHECKOUT)
async def refused(trial: Trial) -> None:
    async with trial.database.proxy() as proxy, trial.engine(proxy) as engine:
        proxy.refuse()
        await trial.run(engine, "SELECT 1")


@situation("the server refuses the connection until `pool_timeout` is over", ways=AT_CHECKOUT)
async def refused_for_the_checkout(trial: Trial) -> None:
    options = {"pool_timeout": 0.2, "pool_connect_retry": 5}
    async with trial.database.proxy() as proxy, trial.engine(proxy, **options) as engine:
        proxy.refuse()
        await trial.run(engine, "SELECT 1")


@situation("the host name is unknown", ways=AT_CHECKOUT)
async def unknown_host(trial: Trial) -> None:
    async with on_url(trial, trial.database.url.set(host="nowhere.invalid")) as engine:
        await trial.run(engine, "SELECT 1")


@situation("no answer within `pool_connect_timeout`", ways=AT_CHECKOUT)
async def silent(trial: Trial) -> None:
    options = {"pool_connect_timeout": 0.2}
    async with trial.database.proxy() as proxy, trial.engine(proxy, **options) as engine:
        proxy.go_silent()
        await trial.run(engine, "SELECT 1")


@situation("no answer within `pool_timeout`", ways=AT_CHECKOUT)
async def silent_for_the_checkout(trial: Trial) -> None:
    async with trial.database.proxy() as proxy, trial.engine(proxy, pool_timeout=0.2) as engine:
        proxy.go_silent()
        await trial.run(engine, "SELECT 1")


@situation("the server has no free connection", ways=AT_CHECKOUT[1:])
async def full_server(trial: Trial) -> None:
    async with full(trial) as full_trial, full_trial.engine() as engine:
        await full_trial.run(engine, "SELECT 1")


@asynccontextmanager
async def full(trial: Trial) -> AsyncIterator[Trial]:
    """A trial on a server without a free connection."""
    database = trial.database
    if isinstance(database, PostgresDatabase):
        settings = {"max_connections": "4", "superuser_reserved_connections": "0"}
        with await asyncio.to_thread(Postgres.start, settings=settings) as server:
            small = PostgresDatabase(database.driver, server)
            async with occupied(small):
                yield Trial(small, trial.way)
        return
    other = await asyncio.to_thread(MariaDBDatabase, database.driver, database.server)
    async with database.at_most_sessions(10), occupied(other):
        yield trial


@asynccontextmanager
async def occupied(database: PostgresDatabase | MariaDBDatabase) -> AsyncIterator[None]:
    """Hold all connections that the server has inside the block."""
    async with database.engine(poolclass=None, max_overflow=-1) as engine:
        held = []
        try:
            with suppress(Exception):  # the server has no more
                while True:
                    held.append(await engine.connect())
            yield
        finally:
            await return_all(held)


@situation("the account or the database has no free connection", ways=AT_CHECKOUT)
async def full_account(trial: Trial) -> None:
    database = trial.database
    if isinstance(database, MariaDBDatabase):
        await database.limit_sessions(1)
        try:
            async with occupied(database), trial.engine() as engine:
                await trial.run(engine, "SELECT 1")
        finally:
            await database.limit_sessions(0)
    async with trial.role("CONNECTION LIMIT 0") as url, on_url(trial, url) as engine:
        await trial.run(engine, "SELECT 1")


@situation("the password is wrong", ways=AT_CHECKOUT)
async def wrong_password(trial: Trial) -> None:
    database = trial.database
    if isinstance(database, PostgresDatabase):
        async with trial.role("PASSWORD 'secret'") as url:
            await database.require_password(str(url.username))
            async with on_url(trial, url.set(password="wrong")) as engine:
                await trial.run(engine, "SELECT 1")
    async with on_url(trial, database.url.set(password="wrong")) as engine:
        await trial.run(engine, "SELECT 1")


@situation("the database does not exist", ALL, AT_CHECKOUT)
async def unknown_database(trial: Trial) -> None:
    database = trial.database
    if isinstance(database, MariaDBDatabase):  # without this right the error would be 1044
        await database.run(f"GRANT ALL ON *.* TO {database.account}")
    name = "/nowhere/file.db" if database.driver == "aiosqlite" else "nowhere"
    async with on_url(trial, database.url.set(database=name)) as engine:
        try:
            await trial.run(engine, "SELECT 1")
        finally:
            await until_threads_end()


# -------------------------------------------------------------------------------- the pool


@situation("every connection is in use", ALL, AT_CHECKOUT)
async def exhausted(trial: Trial) -> None:
    async with trial.engine(pool_timeout=0.1) as engine:
        await until_warm(engine)
        async with engine.connect():
            await trial.run(engine, "SELECT 1")


async def until_warm(engine: AsyncEngine) -> None:
    """Open a connection, however long that takes on a busy machine; the attempt goes on."""
    pool = TypedPool.of(engine)
    while not pool.stats().idle:
        with suppress(PoolTimeout):
            await pool.warm()


@situation("`pool_max_waiting` is exceeded", ALL, AT_CHECKOUT)
async def saturated(trial: Trial) -> None:
    async with trial.engine(pool_max_waiting=0) as engine, engine.connect():
        await trial.run(engine, "SELECT 1")


@situation("the pool is closed", ALL, AT_CHECKOUT)
async def closed(trial: Trial) -> None:
    async with trial.engine() as engine:
        await TypedPool.of(engine).close()
        await trial.run(engine, "SELECT 1")


# ----------------------------------------------------------------------------- time limits


@situation("`timeout=` is over, while waiting for a connection", ALL, ON_ENGINE)
async def own_timeout_queueing(trial: Trial) -> None:
    async with trial.engine() as engine, engine.connect():
        await fetch_all(engine, int, "SELECT 1", timeout=0.1)


@situation("`timeout=` is over, while the statement runs", ALL, ON_ENGINE)
async def own_timeout(trial: Trial) -> None:
    async with trial.engine() as engine:
        await TypedPool.of(engine).warm()
        await fetch_all(engine, object, trial.long_statement, timeout=0.05)  # type: ignore[arg-type]


@situation("`asyncio.timeout()` or `asyncio.wait_for()` of the application", ALL)
async def application_timeout(trial: Trial) -> None:
    async with trial.engine() as engine:
        await TypedPool.of(engine).warm()
        await asyncio.wait_for(trial.run(engine, trial.long_statement), 0.05)


@situation("the task is cancelled", ALL)
async def cancelled(trial: Trial) -> None:
    async with trial.engine() as engine:
        await TypedPool.of(engine).warm()
        task = asyncio.ensure_future(trial.run(engine, trial.long_statement))
        asyncio.get_running_loop().call_later(0.05, task.cancel)
        await task


@situation("the time limit of the server")
async def server_timeout(trial: Trial) -> None:
    database = trial.database
    if isinstance(database, MariaDBDatabase):
        await database.run(f"ALTER USER {database.account} WITH MAX_STATEMENT_TIME 0.2")
        async with trial.engine() as engine:
            await trial.run(engine, trial.long_statement)
        return
    async with trial.role("SET statement_timeout = 200") as url, on_url(trial, url) as engine:
        await trial.run(engine, trial.long_statement)


@situation("the time limit of the driver", ("asyncpg", "asyncmy"))
async def driver_timeout(trial: Trial) -> None:
    option = {"asyncpg": "command_timeout", "asyncmy": "read_timeout"}[trial.database.driver]
    async with trial.engine(connect_args={option: 0.3}) as engine:
        await trial.run(engine, trial.long_statement)


# ------------------------------------------------------------------- the connection is lost


@situation("the server ends the session during a statement")
async def killed(trial: Trial) -> None:
    async def kill() -> None:
        await trial.database.kill(*await trial.database.sessions())

    async with trial.engine() as engine:
        await trial.run_until(engine, kill)


@situation("the server ends the session between two statements", ways=IN_TRANSACTION)
async def killed_between_statements(trial: Trial) -> None:
    async with trial.engine() as engine, trial.transaction(engine) as run:
        await run("SELECT 1")
        await trial.database.kill(*await trial.database.sessions())
        await run("SELECT 1")


@situation("the network fails during a statement")
async def reset(trial: Trial) -> None:
    async with trial.database.proxy() as proxy, trial.engine(proxy) as engine:

        async def cut() -> None:
            proxy.reset_all()

        await trial.run_until(engine, cut)


@situation("the connection is lost during COMMIT")
async def lost_commit(trial: Trial) -> None:
    async with trial.table() as table:
        await lose_commit(trial, f"INSERT INTO {table} VALUES (3, 0)", received=True)


async def lose_commit(trial: Trial, statement: str, *, received: bool) -> None:
    """Run a statement, and reset the connection when its COMMIT is sent.

    PostgreSQL commits a statement of ``execute(engine, ...)`` without a COMMIT.

    :param received: whether the server receives the COMMIT; its answer is lost.
    """
    async with trial.database.proxy() as proxy, trial.engine(proxy) as engine:
        await fill(engine, 1)  # while a connection is opened, a driver may send AUTOCOMMIT
        commits_itself = trial.way == "typed engine" and trial.database.driver in POSTGRESQL
        last = statement if commits_itself else "COMMIT"
        proxy.cut_at(last.encode(), received=received)
        await trial.run(engine, statement)


# --------------------------------------------------------- the database refuses a statement


@situation("the server is read-only", ALL)
async def read_only(trial: Trial) -> None:
    database, url = trial.database, trial.database.url
    async with trial.table() as table:
        insert = f"INSERT INTO {table} VALUES (3, 0) RETURNING n"
        if isinstance(database, MariaDBDatabase):
            async with database.read_only(), trial.engine() as engine:
                await trial.run(engine, insert)
        elif isinstance(database, PostgresDatabase):
            async with trial.role("SET default_transaction_read_only = on") as url:
                async with on_url(trial, url) as engine:
                    await trial.run(engine, insert)
        query = {"mode": "ro", "uri": "true"}
        async with on_url(trial, url.set(database=f"file:{url.database}", query=query)) as engine:
            await trial.run(engine, insert)


@situation("serialization failure", ways=IN_TRANSACTION)
async def serialization_failure(trial: Trial) -> None:
    async with trial.table() as table:
        if isinstance(trial.database, PostgresDatabase):
            level = "SET default_transaction_isolation = 'repeatable read'"
            async with trial.role(level) as url, on_url(trial, url) as engine:
                await change_row_changed_by_another(trial, engine, table)
        async with trial.engine(**snapshot_options(trial.database)) as engine:
            await change_row_changed_by_another(trial, engine, table)


async def change_row_changed_by_another(trial: Trial, engine: AsyncEngine, table: str) -> None:
    async with trial.transaction(engine) as run, trial.engine() as other:
        await run(f"SELECT n FROM {table}")
        plain = Trial(trial.database, "connection")
        await plain.run(other, f"UPDATE {table} SET m = 1 WHERE n = 1")
        await run(f"UPDATE {table} SET m = 2 WHERE n = 1")


@situation("deadlock", ways=IN_TRANSACTION)
async def deadlock(trial: Trial) -> None:
    plain = Trial(trial.database, "connection")
    async with (
        trial.table() as table,
        trial.engine() as other,
        trial.engine() as engine,
        plain.transaction(other) as run_other,
        trial.transaction(engine) as run,
    ):
        if isinstance(trial.database, PostgresDatabase):
            await run("SET LOCAL deadlock_timeout = 50")
            await run_other("SET LOCAL deadlock_timeout = 20000")
        else:  # of the two transactions, the one that has changed fewer rows is rolled back
            await run_other(f"INSERT INTO {table} VALUES (5, 0), (6, 0), (7, 0), (8, 0)")
        await run(f"UPDATE {table} SET m = 1 WHERE n = 1")
        await run_other(f"UPDATE {table} SET m = 1 WHERE n = 2")
        waiting = asyncio.ensure_future(run_other(f"UPDATE {table} SET m = 2 WHERE n = 1"))
        await trial.wait_until(WAITS_FOR_LOCK)
        try:
            await run(f"UPDATE {table} SET m = 2 WHERE n = 2")
        finally:
            await asyncio.wait({waiting}, timeout=PATIENCE)


@situation("a lock is not available in time", ALL, IN_TRANSACTION)
async def locked(trial: Trial) -> None:
    plain = Trial(trial.database, "connection")
    is_sqlite = trial.database.driver == "aiosqlite"
    options: dict[str, Any] = {"connect_args": {"timeout": 0.1}} if is_sqlite else {}
    async with (
        trial.table() as table,
        trial.engine() as other,
        trial.engine(**options) as engine,
        plain.transaction(other) as run_other,
    ):
        await run_other(f"UPDATE {table} SET m = 1 WHERE n = 1")
        async with trial.transaction(engine) as run:
            if isinstance(trial.database, PostgresDatabase):
                await run("SET LOCAL lock_timeout = 50")
            elif not is_sqlite:
                await run("SET SESSION innodb_lock_wait_timeout = 1")
            await run(f"UPDATE {table} SET m = 2 WHERE n = 1")


@situation("unique violation", ALL)
async def unique_violation(trial: Trial) -> None:
    async with trial.table() as table, trial.engine() as engine:
        await trial.run(engine, f"INSERT INTO {table} VALUES (1, 1) RETURNING n")


# --------------------------------------------------------------------------------- results


@situation("the columns do not fit the row type", ALL, ON_ENGINE)
async def wrong_shape(trial: Trial) -> None:
    async with trial.engine() as engine:
        await fetch_all(engine, tuple[int, int], "SELECT 1 AS n")


@situation("a value does not fit the row type", ALL, ON_ENGINE)
async def wrong_value(trial: Trial) -> None:
    async with trial.table() as table, trial.engine() as engine:
        await execute(engine, f"UPDATE {table} SET m = NULL")  # type: ignore[arg-type]
        await fetch_all(engine, int, f"SELECT m FROM {table}")  # type: ignore[arg-type]


@situation("no row", ALL, ON_ENGINE)
async def no_row(trial: Trial) -> None:
    async with trial.engine() as engine:
        await fetch_one(engine, int, "SELECT 1 AS n WHERE 1 = 0")


@situation("several rows", ALL, ON_ENGINE)
async def several_rows(trial: Trial) -> None:
    async with trial.engine() as engine:
        await fetch_one(engine, int, "SELECT 1 AS n UNION ALL SELECT 2")
