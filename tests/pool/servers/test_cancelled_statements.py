"""Cancelled statements on PostgreSQL through asyncpg: what becomes of their connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sqla_typedpool import StatementTimeout, TypedPool, fetch_all
from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from sqla_typedpool.pool.drivers import asyncpg as asyncpg_driver
from tests.conftest import no_server
from tests.support.cancellation import cancel_at_await
from tests.support.clocks import Stopwatch
from tests.support.engines import PATIENCE, ask, by_loop, engine_on, run, session_id, until

if TYPE_CHECKING:
    from tests.support.databases import Database
    from tests.support.proxy import FaultProxy
    from tests.support.servers.pgbouncer import PgBouncer

pytestmark = pytest.mark.parametrize("driver", ["asyncpg"])

ONE: dict[str, Any] = {"pool_size": 1, "max_overflow": 0}
SLEEP = "SELECT pg_sleep(30)"
Step = Callable[[AsyncConnection], Awaitable[object]]


def on_engine(
    database: Database, main: Callable[[AsyncEngine], Awaitable[None]], **more: Any
) -> None:
    loop = more.pop("loop", "asyncio")

    async def with_engine() -> None:
        async with database.engine(**{**ONE, **more}) as engine:
            await main(engine)

    run(with_engine(), loop)


async def cancel(
    engine: AsyncEngine, *before: Step | str, statement: str = SLEEP, **options: Any
) -> int:
    """Cancel a statement; return the number of its session.

    :param before: what the borrower does before the statement.
    :param options: execution options of the connection.
    """
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def borrower() -> None:
        async with engine.connect() as connection:
            if options:
                await connection.execution_options(**options)
            pid = await session_id(connection)
            await connection.rollback()
            for step in before:
                await (
                    connection.execute(text(step)) if isinstance(step, str) else step(connection)
                )
            started.set_result(pid)
            await connection.execute(text(statement))

    return await cancel_when(started, borrower())


async def cancel_when(started: asyncio.Future[int], work: Any) -> int:
    task = asyncio.ensure_future(work)
    await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.02)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return started.result()


def kept(engine: AsyncEngine) -> int:
    return TypedPool.of(engine).stats().kept_cancelled


# ------------------------------------------------------------------------------- kept


@by_loop
def test_nothing_that_a_cancelled_borrower_did_reaches_the_next_one(
    database: Database, loop: str
) -> None:
    async def main(engine: AsyncEngine) -> None:
        pid = await cancel(
            engine,
            "SET ROLE pg_monitor",
            "SET work_mem = '3MB'",
            "SET LOCAL search_path = pg_temp",
            "CREATE TEMPORARY TABLE leftover (i int)",
            "LISTEN somewhere",
            "SELECT pg_advisory_lock(7), pg_advisory_lock_shared(8), pg_advisory_xact_lock(9)",
            "DECLARE left_open CURSOR FOR SELECT 1",
            "SAVEPOINT inner_one",
        )
        async with engine.connect() as connection:
            assert await session_id(connection) == pid
            assert await connection.scalar(text("SELECT current_user")) == "postgres"
            assert await connection.scalar(text("SHOW work_mem")) != "3MB"
            assert await connection.scalar(text("SHOW search_path")) != "pg_temp"
            assert await connection.scalar(text("SELECT to_regclass('leftover')")) is None
            for left in ("pg_listening_channels()", "pg_cursors WHERE name <> ''"):
                assert await connection.scalar(text(f"SELECT count(*) FROM {left}")) == 0
            locks = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            assert await connection.scalar(locks) == 0
        assert kept(engine) == 1
        assert TypedPool.of(engine).stats().dirty_returns == 0

    on_engine(database, main, loop=loop)


def test_a_cancelled_statement_is_ended_on_the_server(database: Database) -> None:
    async def main(engine: AsyncEngine) -> None:
        pid = await cancel(engine)
        assert await until(lambda: TypedPool.of(engine).stats().idle == 1)
        query = f"SELECT state FROM pg_stat_activity WHERE pid = {pid}"
        assert [row[0] for row in await database.run(query)] == ["idle"]

    on_engine(database, main)


def test_the_isolation_level_of_a_cancelled_borrower_ends_with_its_checkout(
    database: Database,
) -> None:
    async def main(engine: AsyncEngine) -> None:
        pid = await cancel(
            engine,
            isolation_level="SERIALIZABLE",
            postgresql_readonly=True,
            postgresql_deferrable=True,
        )
        async with engine.connect() as connection:
            assert await session_id(connection) == pid
            for setting, value in (("isolation", "read committed"), ("read_only", "off")):
                assert await connection.scalar(text(f"SHOW transaction_{setting}")) == value
            assert await connection.scalar(text("SHOW transaction_deferrable")) == "off"
            assert await connection.get_isolation_level() == "READ COMMITTED"

    on_engine(database, main)


def test_the_isolation_level_of_an_engine_holds_on_a_kept_connection(database: Database) -> None:
    async def main(engine: AsyncEngine) -> None:
        pid = await cancel(engine)
        async with engine.connect() as connection:
            assert await session_id(connection) == pid
            assert await connection.scalar(text("SHOW transaction_isolation")) == "serializable"

    on_engine(database, main, isolation_level="SERIALIZABLE")


@pytest.mark.parametrize("late", [False, True])
def test_a_request_cancelled_at_any_await_costs_no_connection(
    database: Database, late: bool
) -> None:
    """BEGIN, the preparation and execution of the statement, and ROLLBACK."""

    async def main(engine: AsyncEngine) -> None:
        pid = await ask(engine, "SELECT pg_backend_pid()")
        for number in range(1, 15):
            await cancel_at_await(ask(engine, "SELECT 1"), number, late=late)
            assert await ask(engine, "SELECT pg_backend_pid()") == pid, number
        assert TypedPool.of(engine).stats().connects == 1
        assert kept(engine) > 2

    on_engine(database, main)


def test_calls_of_the_typed_layer_that_are_cancelled_or_time_out_cost_no_connection(
    database: Database,
) -> None:
    async def main(engine: AsyncEngine) -> None:
        pid = await ask(engine, "SELECT pg_backend_pid()")
        task = asyncio.ensure_future(fetch_all(engine, object, SLEEP))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait({task})
        with pytest.raises(StatementTimeout):
            await fetch_all(engine, object, SLEEP, timeout=0.1)
        async with engine.connect() as connection:
            with pytest.raises(StatementTimeout):
                await fetch_all(connection, object, SLEEP, timeout=0.1)
        assert await ask(engine, "SELECT pg_backend_pid()") == pid
        assert kept(engine) == 3

    on_engine(database, main)


def test_statements_are_prepared_again_on_a_kept_connection(database: Database) -> None:
    async def main(engine: AsyncEngine) -> None:
        async def ask_often(connection: AsyncConnection) -> None:
            for _ in range(10):
                assert await connection.scalar(text("SELECT 5")) == 5

        pid = await cancel(engine, ask_often)
        async with engine.connect() as connection:
            await ask_often(connection)
            assert await session_id(connection) == pid

    on_engine(database, main)


def test_a_typed_call_that_is_cancelled_at_any_await_changes_no_setting_of_asyncpg(
    database: Database,
) -> None:
    """asyncpg switches `jit` off while it queries the definition of an unknown type."""

    async def main(engine: AsyncEngine) -> None:
        assert await ask(engine, "SHOW jit") == "on"
        for number in range(1, 20):
            await database.run("DROP TYPE IF EXISTS mood")
            await database.run(f"CREATE TYPE mood AS ENUM ('{number}')")
            call = fetch_all(engine, str, f"SELECT CAST('{number}' AS mood)")
            if not await cancel_at_await(call, number, late=False):
                break
            assert await ask(engine, "SHOW jit") == "on", number
        assert number > 5
        await database.run("DROP TYPE mood")

    on_engine(database, main)


# ---------------------------------------------------------------------------- refused


async def commit(connection: AsyncConnection) -> None:
    await connection.execute(text("SET work_mem = '3MB'"))
    await connection.commit()


async def commit_through_the_proxy(connection: AsyncConnection) -> None:
    await connection.execute(text("SET work_mem = '3MB'"))
    proxy = await connection.get_raw_connection()
    await connection.run_sync(lambda _: proxy.commit())


async def use_autocommit(connection: AsyncConnection) -> None:
    await connection.execution_options(isolation_level="AUTOCOMMIT")
    await connection.execute(text("SET work_mem = '3MB'"))


async def use_autocommit_first(connection: AsyncConnection) -> None:
    await use_autocommit(connection)
    await connection.rollback()
    await connection.execution_options(isolation_level="SERIALIZABLE")


async def use_driver(connection: AsyncConnection) -> None:
    driver = (await connection.get_raw_connection()).driver_connection
    await driver.execute("SET work_mem = '3MB'")  # type: ignore[union-attr]


async def use_driver_of_the_adapter(connection: AsyncConnection) -> None:
    adapted: Any = (await connection.get_raw_connection()).dbapi_connection
    await adapted.driver_connection.execute("SET work_mem = '3MB'")


async def use_driver_of_the_dialect(connection: AsyncConnection) -> None:
    adapted: Any = (await connection.get_raw_connection()).dbapi_connection
    await connection.dialect.get_driver_connection(adapted).execute(SET)


async def run_with_driver(connection: AsyncConnection) -> None:
    proxy: Any = await connection.get_raw_connection()
    await connection.run_sync(
        lambda _: proxy.run_async(lambda driver: driver.execute("SET work_mem = '3MB'"))
    )


async def commit_in_sql(connection: AsyncConnection) -> None:
    await connection.execute(text("SET work_mem = '3MB'"))
    await connection.execute(text("COMMIT"))


def in_sql(*statements: str) -> Step:
    async def execute_all(connection: AsyncConnection) -> None:
        for statement in statements:
            await connection.execute(text(statement))

    return execute_all


async def commit_in_sql_and_roll_back(connection: AsyncConnection) -> None:
    await commit_in_sql(connection)
    await connection.rollback()


async def use_autocommit_of_the_adapter(connection: AsyncConnection) -> None:
    """SQLAlchemy's documentation does this in a listener."""
    adapted: Any = (await connection.get_raw_connection()).dbapi_connection
    adapted.autocommit = True
    await connection.execute(text("SET work_mem = '3MB'"))
    adapted.autocommit = False


SET = "SET work_mem = '3MB'"


async def prepare_in_two_phases(connection: AsyncConnection) -> None:
    await connection.run_sync(Connection.begin_twophase, "cancelled")
    await connection.execute(text("SET work_mem = '3MB'"))
    await connection.execute(text("COMMIT"))  # PREPARE TRANSACTION needs a server setting


REFUSED: dict[str, Step] = {
    "commit": commit,
    "commit of the proxy": commit_through_the_proxy,
    "autocommit": use_autocommit,
    "autocommit before": use_autocommit_first,
    "driver's connection": use_driver,
    "driver's connection, from the adapter": use_driver_of_the_adapter,
    "driver's connection, from the dialect": use_driver_of_the_dialect,
    "run_async": run_with_driver,
    "autocommit of the adapter": use_autocommit_of_the_adapter,
    "COMMIT in SQL": commit_in_sql,
    "COMMIT and BEGIN in SQL": in_sql(SET, "COMMIT", "BEGIN"),
    "COMMIT AND CHAIN in SQL": in_sql(SET, "/* in */ commit and chain"),
    "COMMIT in SQL and a rollback": commit_in_sql_and_roll_back,
    "ROLLBACK and BEGIN in SQL": in_sql("SELECT 1", "ROLLBACK", SET, "START TRANSACTION"),
    "COMMIT in a two-phase transaction": prepare_in_two_phases,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_connection_is_closed_after_a_cancelled_statement_if_it_was_used_with(
    database: Database, reason: str
) -> None:
    async def main(engine: AsyncEngine) -> None:
        pid = await cancel(engine, REFUSED[reason])
        async with engine.connect() as connection:
            assert await session_id(connection) != pid
            assert await connection.scalar(text("SHOW work_mem")) != "3MB"
        assert kept(engine) == 0

    on_engine(database, main)


@pytest.mark.parametrize("size", [0, 100])
def test_a_commit_in_sql_is_noted_in_each_checkout_that_has_one(
    database: Database, size: int
) -> None:
    """Also if the same statement was executed, and prepared, in an earlier checkout."""

    async def main(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await in_sql("COMMIT", "BEGIN")(connection)
            pid = await session_id(connection)
        assert await cancel(engine) == pid
        assert await until(lambda: kept(engine) == 1)
        assert await cancel(engine, in_sql(SET, "COMMIT", "BEGIN")) == pid
        assert await ask(engine, "SELECT pg_backend_pid()") != pid
        assert kept(engine) == 1

    on_engine(database, main, connect_args={"prepared_statement_cache_size": size})


def test_a_setting_of_a_two_phase_transaction_that_is_cancelled_at_any_await_is_not_left(
    driver: str,
) -> None:
    """It remains after PREPARE TRANSACTION. SQLAlchemy then begins, and rolls back, another."""

    async def commit_in_two_phases(engine: AsyncEngine, name: str) -> None:
        async with engine.connect() as connection:
            transaction: Any = await connection.run_sync(Connection.begin_twophase, name)
            await connection.execute(text(SET))
            for step in (transaction.prepare, transaction.commit):
                await connection.run_sync(lambda _, step=step: step())
            await connection.execute(text("RESET work_mem"))
            await connection.commit()

    async def main(url: str) -> None:
        async with engine_on(url, **ONE) as engine:
            for number in range(1, 100):
                work = commit_in_two_phases(engine, f"cancelled {number}")
                if not await cancel_at_await(work, number, late=False):
                    break
                assert await ask(engine, "SHOW work_mem") != "3MB", number
            assert 15 < number < 99

    try:
        server = Postgres.start(settings={"max_prepared_transactions": "100"})
    except EmbeddedServerError as error:
        no_server(error)
    with server:
        run(main(server.url(driver)))


def test_a_rollback_to_a_savepoint_does_not_close_the_connection(database: Database) -> None:
    async def roll_back_to_savepoint(connection: AsyncConnection) -> None:
        async with connection.begin_nested() as savepoint:
            await connection.execute(text(SET))
            await savepoint.rollback()

    async def main(engine: AsyncEngine) -> None:
        pid = await cancel(engine, roll_back_to_savepoint)
        assert await ask(engine, "SELECT pg_backend_pid()") == pid
        assert kept(engine) == 1

    on_engine(database, main)


def test_a_commit_in_sql_that_is_cancelled_too_late_closes_the_connection(
    database: Database,
) -> None:
    """The server commits before the cancel request arrives."""

    async def main(engine: AsyncEngine) -> None:
        for number in range(30):
            before = kept(engine)
            await cancel_in_commit(engine, number * 0.0001)
            async with engine.connect() as connection:
                if kept(engine) > before:
                    assert await connection.scalar(text("SHOW work_mem")) != "3MB", number
                await connection.execute(text("RESET work_mem"))
                await connection.commit()

    on_engine(database, main)


async def cancel_in_commit(engine: AsyncEngine, delay: float) -> None:
    async def borrower() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SET work_mem = '3MB'"))
            asyncio.get_running_loop().call_later(delay, task.cancel)
            await connection.execute(text("COMMIT"))
            await asyncio.sleep(1)  # if it was not cancelled before, the connection is returned

    task = asyncio.ensure_future(borrower())
    await asyncio.wait({task})


def test_a_cancelled_commit_closes_the_connection(database: Database) -> None:
    slow_commit = (
        "CREATE OR REPLACE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(30); RETURN NULL; END'",
        "DROP TABLE IF EXISTS slowly_committed",
        "CREATE TABLE slowly_committed (i int)",
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slowly_committed"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow_commit()",
    )

    async def main(engine: AsyncEngine) -> None:
        for statement in slow_commit:
            await database.run(statement)
        started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def borrower() -> None:
            async with engine.begin() as connection:
                pid = await session_id(connection)
                await connection.execute(text("INSERT INTO slowly_committed VALUES (1)"))
                started.set_result(pid)

        pid = await cancel_when(started, borrower())
        assert await ask(engine, "SELECT pg_backend_pid()") != pid
        await database.run("DROP TABLE slowly_committed")

    on_engine(database, main)


def test_another_task_that_uses_the_same_connection_cannot_reach_the_next_borrower(
    database: Database,
) -> None:
    """Which is a fault of the application; its statement fails, as on a closed connection."""

    async def main(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            pid = await session_id(connection)
            first = asyncio.ensure_future(connection.execute(text(SLEEP)))
            await asyncio.sleep(0.05)
            second = asyncio.ensure_future(connection.execute(text("SELECT 2")))
            await asyncio.sleep(0.05)
            second.cancel()  # it waits for the first
            await asyncio.wait({first, second}, timeout=PATIENCE)
            assert first.done()
            assert isinstance(first.exception(), (DBAPIError, asyncpg.InterfaceError)), first
        assert await ask(engine, "SELECT pg_backend_pid()") != pid

    on_engine(database, main)


def test_an_asyncpg_without_the_private_names_in_use_closes_the_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncpg_driver, "_IN_USE", ("_renamed_in_a_later_version",))

    async def main(engine: AsyncEngine) -> None:
        pid = await cancel(engine)
        assert await ask(engine, "SELECT pg_backend_pid()") != pid

    on_engine(database, main)


# -------------------------------------------------------------------- stale cursors


def test_a_stream_of_a_cancelled_borrower_cannot_be_read_on(database: Database) -> None:
    async def main(engine: AsyncEngine) -> None:
        found: list[Any] = []

        async def open_cursors(connection: AsyncConnection) -> None:
            proxy: Any = await connection.get_raw_connection()

            def open_both(_: Any) -> None:
                stream = proxy.dbapi_connection.cursor(server_side=True)
                stream.execute("SELECT generate_series(1, 1000)", ())
                stream.fetchone()
                found.extend((stream, proxy.dbapi_connection.cursor()))

            await connection.run_sync(open_both)

        pid = await cancel(engine, open_cursors)
        stream, cursor = found
        async with engine.connect() as connection:
            assert await session_id(connection) == pid

            def read_on(_: Any) -> None:
                with pytest.raises(asyncpg.InterfaceError, match="released back"):
                    stream._cursor._check_conn_validity("fetch")
                with pytest.raises(asyncpg.InterfaceError, match="released back"):
                    stream.fetchmany(500)
                for statement in (cursor.execute, stream.execute):
                    with pytest.raises(Exception, match="returned to its pool") as caught:
                        statement("SELECT 1", ())
                    assert "InterfaceError" in type(caught.value).__name__
                with pytest.raises(Exception, match="returned to its pool"):
                    cursor.executemany("SELECT $1::int", [(1,)])
                stream.close()
                cursor.close()

            await connection.run_sync(read_on)
            assert await session_id(connection) == pid
            assert await connection.scalar(text("SELECT 3")) == 3

    on_engine(database, main)


# ------------------------------------------------------------------- slow and silent servers


def test_behind_pgbouncer_in_transaction_mode_a_cancelled_statement_costs_no_connection(
    pgbouncer: PgBouncer, driver: str
) -> None:
    arguments: dict[str, Any] = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    arguments["prepared_statement_name_func"] = lambda: f"__asyncpg_{uuid4()}__"

    async def main() -> None:
        url = pgbouncer.url("asyncpg")
        async with engine_on(url, **ONE, connect_args=arguments) as engine:
            for _ in range(3):
                await cancel(engine, "SET LOCAL work_mem = '3MB'", "SELECT pg_advisory_lock(7)")
                async with engine.connect() as connection:
                    assert await connection.scalar(text("SHOW work_mem")) != "3MB"
                    locks = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
                    assert await connection.scalar(locks) == 0
            assert kept(engine) == 3
            assert TypedPool.of(engine).stats().connects == 1

    run(main())


def test_a_server_that_answers_the_cancel_late_costs_no_connection(database: Database) -> None:
    async def main() -> None:
        async with database.proxy() as proxy, database.engine(proxy, **ONE) as engine:
            proxy.delay = 0.1  # for each message, in each direction
            watch = Stopwatch()
            pid = await cancel(engine)
            assert await ask(engine, "SELECT pg_backend_pid()") == pid
            assert kept(engine) == 1
            assert watch.awake > 1

    run(main())


@by_loop
def test_a_cancel_request_that_arrives_after_its_statement_cancels_no_other(
    database: Database, loop: str
) -> None:
    """A cancel request names a session, not a statement: the next borrower has to wait for it."""

    async def main() -> None:
        async with database.proxy() as proxy, database.engine(proxy, **ONE) as engine:
            for delay in (0.1, 0.2, 0.4):  # the statement ends after 0.1 s
                await ask(engine)
                proxy.accept_delay = delay  # of the connection with the cancel request
                watch = Stopwatch()
                pid = await cancel(engine, statement="SELECT pg_sleep(0.1)")
                async with engine.connect() as connection:
                    assert await session_id(connection) == pid
                    assert watch.awake > delay
                    await connection.execute(text("SELECT pg_sleep(0.3)"))
            assert kept(engine) == 3

    run(main(), loop)


async def cancel_while_silent(engine: AsyncEngine, proxy: FaultProxy) -> None:
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def borrower() -> None:
        async with engine.connect() as connection:
            pid = await session_id(connection)
            proxy.go_silent()
            started.set_result(pid)
            await connection.execute(text("SELECT 1"))

    await cancel_when(started, borrower())


@by_loop
def test_a_silent_server_costs_the_connection_after_two_seconds(
    database: Database, loop: str
) -> None:
    async def main() -> None:
        async with database.proxy() as proxy, database.engine(proxy, **ONE) as engine:
            await ask(engine)
            watch = Stopwatch()
            await cancel_while_silent(engine, proxy)
            assert watch.awake < 0.5
            proxy.resume()  # for new connections
            assert await ask(engine) == 1
            assert 1.5 < watch.awake < 3
            stats = TypedPool.of(engine).stats()
            assert (stats.kept_cancelled, stats.closed["invalidated"], stats.size) == (0, 1, 1)

    run(main(), loop)


def test_a_frozen_server_costs_the_connection_and_no_slot(stoppable_database: Database) -> None:
    database = stoppable_database

    async def main() -> None:
        async with database.engine(**ONE) as engine:
            await ask(engine)
            started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

            async def borrower() -> None:
                async with engine.connect() as connection:
                    await session_id(connection)
                    started.set_result(0)
                    await connection.execute(text(SLEEP))

            task = asyncio.ensure_future(borrower())
            await started
            async with database.frozen():
                task.cancel()
                await asyncio.wait({task}, timeout=PATIENCE)
                assert task.cancelled()
                stats = TypedPool.of(engine).stats
                assert await until(lambda: stats().closed["invalidated"] == 1, 4)
                assert await until(lambda: stats().size == 0, 4)
            assert await ask(engine) == 1
            assert kept(engine) == 0

    run(main())
