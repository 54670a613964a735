"""Streams that end before their last row."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from sqla_typedpool import TypedPool, fetch_all, stream
from tests.support.clocks import Stopwatch
from tests.support.drivers import ALL, MARIADB, SERVERS
from tests.support.engines import PATIENCE, ask, run, session_id, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database

# psycopg warns of a stream that is not closed, with any pool.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*ServerCursorMixin:pytest.PytestUnraisableExceptionWarning"
)

PROMPT = 1.0  # seconds in which a stream must end; to read all rows would take minutes

# A thousand million rows.
HUGE = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    SELECT a.i FROM n AS a CROSS JOIN n AS b CROSS JOIN n AS c
"""
# After its first rows it computes for a long time, in which the server does not check the client.
COMPUTING = """
    SELECT REPEAT('x', 20000), IF(seq > 5, BENCHMARK(2000000000, SHA2('x', 512)), 0)
    FROM seq_1_to_100
"""
SMALL = "SELECT seq FROM seq_1_to_2000"

OPTIONS = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}


async def connection_stream(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        async for _ in await connection.stream(text(HUGE)):
            break


async def connection_stream_with_its_own_block(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        async with connection.stream(text(HUGE)) as result:
            async for _ in result:
                break


async def session_stream(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        async for _ in await session.stream(text(HUGE)):
            break


async def partitions(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        result = await connection.stream(text(HUGE))
        async for _ in result.partitions(10):
            break
        await result.close()


async def result_of_first(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        result = await connection.stream(text(HUGE))
        assert (await result.first())[0] == 1


async def typed_stream_of_an_engine(engine: AsyncEngine) -> None:
    rows = stream(engine, int, HUGE)
    async for _ in rows:
        break
    await rows.aclose()  # type: ignore[attr-defined]


async def typed_stream_of_a_session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        async for _ in stream(session, int, HUGE):
            break


async def error_in_the_loop(engine: AsyncEngine) -> None:
    with pytest.raises(KeyError):
        async with engine.begin() as connection:
            async for _ in await connection.stream(text(HUGE)):
                raise KeyError


async def collected_result(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        result = await connection.stream(text(HUGE))
        await result.fetchone()
        del result
        gc.collect()


async def rolled_back(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        async for _ in await connection.stream(text(HUGE)):
            break
        await connection.rollback()


WAYS = (
    connection_stream,
    connection_stream_with_its_own_block,
    session_stream,
    partitions,
    result_of_first,
    typed_stream_of_an_engine,
    typed_stream_of_a_session,
    error_in_the_loop,
    collected_result,
    rolled_back,
)


@pytest.mark.parametrize("end_early", WAYS)
@pytest.mark.parametrize("driver", ALL)
def test_a_stream_that_ends_early_returns_its_connection_promptly(
    database: Database, end_early: Callable[[AsyncEngine], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with database.engine(**OPTIONS) as engine:
            assert await ask(engine) == 1
            watch = Stopwatch()
            await end_early(engine)
            assert watch.awake < PROMPT
            assert TypedPool.of(engine).stats().in_use == 0
            watch = Stopwatch()
            assert await ask(engine) == 1
            assert watch.awake < PROMPT
            assert await database.wait_for_at_most(1) <= 1

    run(main())


@pytest.mark.parametrize("statement", [HUGE, COMPUTING], ids=["huge", "computing"])
@pytest.mark.parametrize("driver", MARIADB)
def test_the_statement_of_a_stream_that_ends_early_ends_on_the_server(
    database: Database, statement: str
) -> None:
    async def main() -> None:
        async with database.engine(**OPTIONS) as engine:
            async with engine.connect() as connection:
                session = await session_id(connection)
                watch = Stopwatch()
                async for _ in await connection.stream(text(statement)):
                    break
            assert watch.awake < PROMPT
            await database.wait_for_the_end_of({session})
            assert watch.awake < PROMPT + PATIENCE
            stats = TypedPool.of(engine).stats()
            assert (stats.closed["invalidated"], stats.size) == (1, 0)

    run(main())


@pytest.mark.parametrize("where", ["slow consumer", "fetching"])
@pytest.mark.parametrize("driver", SERVERS)
def test_a_task_cancelled_in_a_stream_ends_promptly(database: Database, where: str) -> None:
    statement = HUGE if where == "slow consumer" else database.sleep(30)

    async def main() -> None:
        async with database.engine(**OPTIONS) as engine:
            reading = asyncio.Event()

            async def read() -> None:
                async with engine.connect() as connection:
                    reading.set()
                    async for _ in await connection.stream(text(statement)):
                        await asyncio.sleep(60)

            task = asyncio.ensure_future(read())
            await reading.wait()
            await asyncio.sleep(0.2)
            watch = Stopwatch()
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            assert watch.awake < PROMPT
            assert await ask(engine) == 1
            assert watch.awake < PROMPT + 1
            assert await database.wait_for_at_most(1) <= 1

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_a_slow_consumer_that_stops_is_not_kept_waiting(database: Database) -> None:
    """The server waits for the client by then, and all buffers are full."""

    async def main() -> None:
        async with database.engine(**OPTIONS) as engine:
            async with engine.connect() as connection:
                number = 0
                async for _ in await connection.stream(text(HUGE)):
                    await asyncio.sleep(0.05)
                    number += 1
                    if number == 10:
                        break
                watch = Stopwatch()
            assert watch.awake < PROMPT
            assert await ask(engine) == 1

    run(main())


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "not closed"])
@pytest.mark.parametrize("driver", MARIADB)
def test_a_small_rest_of_a_stream_is_read_and_the_connection_kept(
    database: Database, *, is_closed: bool
) -> None:
    async def main() -> None:
        async with database.engine(**OPTIONS) as engine:
            for _ in range(5):
                async with engine.connect() as connection:
                    result = await connection.stream(text(SMALL))
                    assert (await result.fetchone())[0] == 1
                    if is_closed:
                        await result.close()
            stats = TypedPool.of(engine).stats()
            assert (stats.connects, stats.size, stats.closed["invalidated"]) == (1, 1, 0)

    run(main())


# ------------------------------------------------------- the application goes on

MEDIUM = "SELECT REPEAT('x', 1000) FROM seq_1_to_20000"


@pytest.mark.parametrize("then", ["commit", "write and commit", "savepoint", "stream"])
@pytest.mark.parametrize("driver", MARIADB)
def test_a_transaction_goes_on_after_a_stream_that_has_ended_early(
    database: Database, then: str
) -> None:
    async def main() -> None:
        table = f"unread_{database.name}"
        async with database.engine(**OPTIONS) as engine:
            await database.run(f"CREATE TABLE test.{table} (a int)".replace("test", schema(engine)))
            async with engine.connect() as connection:
                await connection.execute(text(f"INSERT INTO {table} VALUES (1)"))
                async with connection.stream(text(MEDIUM)) as result:
                    async for _ in result:
                        break
                await go_on(connection, table, then)
                await connection.commit()
            assert await fetch_all(engine, int, f"SELECT a FROM {table} ORDER BY a") == (
                [1] if then in ("commit", "stream") else [1, 2]
            )
            assert TypedPool.of(engine).stats().connects == 1
            await database.run(f"DROP TABLE {schema(engine)}.{table}")

    def schema(engine: AsyncEngine) -> str:
        return str(engine.url.database)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main())


async def go_on(connection: AsyncConnection, table: str, then: str) -> None:
    insert = text(f"INSERT INTO {table} VALUES (2)")
    if then == "write and commit":
        await connection.execute(insert)
    elif then == "savepoint":
        async with connection.begin_nested():
            await connection.execute(insert)
    elif then == "stream":
        async for row in await connection.stream(text("SELECT 7")):
            assert row[0] == 7


@pytest.mark.parametrize("driver", MARIADB)
def test_a_statement_that_fails_after_its_stream_has_ended_does_not_fail_the_transaction(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.engine(**OPTIONS) as engine:
            async with engine.connect() as connection:
                session = await session_id(connection)
                async with connection.stream(text(HUGE)) as result:
                    async for _ in result:
                        break
                await database.run(f"KILL QUERY {session}")
                assert await session_id(connection) == session
                await connection.commit()

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_the_writes_of_a_transaction_are_rolled_back_after_a_stream_that_has_ended_early(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.engine(**OPTIONS) as engine:
            table = f"{engine.url.database}.unread_{database.name}"
            await database.run(f"CREATE TABLE {table} (a int)")
            async with engine.connect() as connection:
                first = await session_id(connection)
                await connection.execute(text(f"INSERT INTO {table} VALUES (1)"))
                async for _ in await connection.stream(text(HUGE)):
                    break
                await connection.rollback()
                # the same object connects again
                assert await session_id(connection) != first
                await connection.execute(text(f"INSERT INTO {table} VALUES (2)"))
                await connection.commit()
            assert await fetch_all(engine, int, f"SELECT a FROM {table}") == [2]
            await database.run(f"DROP TABLE {table}")

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_listeners_see_that_the_connection_is_invalidated_and_why(database: Database) -> None:
    async def main() -> None:
        async with database.engine(**OPTIONS) as engine:
            errors: list[Any] = []

            @event.listens_for(engine.sync_engine.pool, "invalidate")
            def invalidated(connection: Any, record: Any, error: Any) -> None:
                errors.append(error)

            await connection_stream(engine)
            assert [str(error) for error in errors] == ["a stream has ended before its last row"]

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_a_raw_cursor_with_unread_rows_does_not_delay_the_return(database: Database) -> None:
    async def main() -> None:
        async with database.engine(**OPTIONS) as engine:

            def stream_without_a_connection(_: Any) -> None:
                raw = engine.sync_engine.raw_connection()
                cursor: Any = raw.cursor(server_side=True)  # type: ignore[call-arg]
                cursor.execute(HUGE)
                assert cursor.fetchone() == (1,)
                raw.close()

            async with AsyncSession(engine) as session:
                watch = Stopwatch()
                await session.run_sync(stream_without_a_connection)
                assert watch.awake < PROMPT
            assert await ask(engine) == 1

    run(main())


@pytest.mark.parametrize("driver", MARIADB)
def test_many_streams_that_end_early_leave_nothing_behind(database: Database) -> None:
    async def main() -> None:
        async with database.engine(pool_size=3, max_overflow=0) as engine:
            pool = TypedPool.of(engine)
            for _ in range(5):
                await asyncio.gather(*(connection_stream(engine) for _ in range(6)))
            assert await until(lambda: pool.stats().size == 0)
            assert await database.wait_for_at_most(0) == 0
            assert pool.stats().in_use == 0

    run(main())
