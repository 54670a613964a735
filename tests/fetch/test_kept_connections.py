"""A cancelled call, also one whose `timeout=` has ended, keeps its connection on both paths."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from sqla_typedpool import StatementTimeout, TypedPool, fetch_one, query
from sqla_typedpool.pool.drivers import asyncpg as driver
from sqla_typedpool.pool.loop_pool import LoopPool
from tests.chaos.clean_session import SESSION_QUERY, Session
from tests.support.cancellation import cancel_at_await
from tests.support.engines import LOOPS, admin_of, ask, run, session_id, until
from tests.support.fetch_lab import by_path, db_of, engine_for

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool import Executor
    from sqla_typedpool.embedded import Postgres

ONE: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
SLEEP = "SELECT 1 FROM pg_sleep(30)"
ENDS = ("cancelled", "timeout")
by_kind = pytest.mark.parametrize("kind", ["engine", "connection", "session"])
by_end = pytest.mark.parametrize("end", ENDS)


@query(SLEEP, timeout=0.2)
async def sleepy(db: Executor) -> int:
    raise NotImplementedError


async def end_early(
    server: Postgres, engine: AsyncEngine, db: Any, end: str, sql: str = SLEEP
) -> None:
    """Call `fetch_one`, and end the call while its statement runs on the server."""
    if end == "timeout":
        with pytest.raises(StatementTimeout):
            await fetch_one(db, int, sql, timeout=0.2)
        return
    task = asyncio.ensure_future(fetch_one(db, int, sql))
    async with admin_of(server) as admin:
        while not await admin.connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query = $1", sql
        ):
            assert not task.done()
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def settled(engine: AsyncEngine) -> None:
    """Wait until every connection is idle or closed."""
    pool = TypedPool.of(engine)
    assert await until(lambda: pool.stats().idle == pool.stats().size, 5), pool.stats()


async def backend(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return await session_id(connection)


# ------------------------------------------------------------------------------ kept


@by_path
@by_kind
@by_end
@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_that_ends_early_keeps_its_connection(
    postgres: Postgres, path: str, kind: str, end: str, loop: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, **ONE) as engine:
            pid = await backend(engine)
            for number in range(1, 4):
                async with db_of(engine, kind) as db:
                    await end_early(postgres, engine, db, end)
                assert await backend(engine) == pid
                assert await fetch_one(engine, int, "SELECT 7") == 7
                stats = TypedPool.of(engine).stats()
                assert (stats.kept_cancelled, stats.closed["invalidated"]) == (number, 0)

    run(main(), loop)


@by_path
def test_a_declared_query_whose_timeout_ends_keeps_its_connection(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, **ONE) as engine:
            pid = await backend(engine)
            with pytest.raises(StatementTimeout):
                await sleepy(engine)
            assert await backend(engine) == pid
            assert TypedPool.of(engine).stats().kept_cancelled == 1

    run(main())


@by_path
@by_kind
def test_the_timeout_of_a_call_is_over_in_time_though_the_connection_is_still_cleaned(
    postgres: Postgres, path: str, kind: str
) -> None:
    """The caller does not wait for the cancel request or the rollback."""

    async def main() -> None:
        async with engine_for(postgres, path, **ONE) as engine:
            async with db_of(engine, kind) as db:
                await end_early(postgres, engine, db, "timeout")
            stats = TypedPool.of(engine).stats()
            assert (stats.kept_cancelled, stats.idle, stats.in_use) == (0, 0, 0)
            await settled(engine)
            assert TypedPool.of(engine).stats().kept_cancelled == 1

    run(main())


@by_path
@by_kind
@by_end
def test_a_call_that_ends_early_is_counted_once_as_a_borrower_that_gave_up(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, path: str, kind: str, end: str
) -> None:
    counted: list[object] = []
    original = LoopPool.borrower_gave_up

    def count(self: LoopPool, entry: Any) -> None:
        counted.append(entry)
        original(self, entry)

    monkeypatch.setattr(LoopPool, "borrower_gave_up", count)

    async def main() -> None:
        async with engine_for(postgres, path, **ONE) as engine:
            async with db_of(engine, kind) as db:
                await end_early(postgres, engine, db, end)
            await settled(engine)
        assert len(counted) == 1

    run(main())


# --------------------------------------------------------------- prepared statements

COUNT = "SELECT count(*) FROM pg_prepared_statements"


@by_path
@by_kind
def test_a_kept_connection_keeps_its_prepared_statements(
    postgres: Postgres, path: str, kind: str
) -> None:
    """Without them, asyncpg would close one after the other in the next borrower's path."""

    async def prepared(engine: AsyncEngine) -> list[object]:
        for number in range(10):
            await fetch_one(engine, int, f"SELECT {number}")
        sql = "SELECT array_agg(prepare_time ORDER BY statement) FROM pg_prepared_statements "
        return [await fetch_one(engine, object, sql + "WHERE statement SIMILAR TO 'SELECT [0-9]'")]

    async def main() -> None:
        async with engine_for(postgres, path, **ONE) as engine:
            before = await prepared(engine)
            async with db_of(engine, kind) as db:
                await end_early(postgres, engine, db, "cancelled")
            gc.collect()
            assert await prepared(engine) == before
            assert TypedPool.of(engine).stats().kept_cancelled == 1

    run(main())


@by_path
def test_statements_whose_preparation_was_cancelled_do_not_accumulate_in_a_session(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(driver, "_MOST_FORGOTTEN", 10)

    async def main() -> None:
        async with engine_for(postgres, path, **ONE) as engine:
            most = 0
            for number in range(200):
                await cancel_at_await(fetch_one(engine, int, f"SELECT {number}"), 2, late=True)
                most = max(most, await fetch_one(engine, int, COUNT))
            stats = TypedPool.of(engine).stats()
            assert stats.kept_cancelled > 100
            assert stats.closed["invalidated"] >= 1
            assert most <= 100 + 10 + 5

    run(main())


# ---------------------------------------------------------------------------- events

EVENTS = ("connect", "checkout", "checkin", "reset", "invalidate", "soft_invalidate", "close")
# With these listeners a fetch on an engine keeps the fast path.
FAST_EVENTS = ("connect", "invalidate", "soft_invalidate", "close")


def record(engine: AsyncEngine, names: tuple[str, ...]) -> list[str]:
    seen: list[str] = []

    def listen(name: str) -> None:
        event.listen(engine.sync_engine.pool, name, lambda *_: seen.append(name))

    for name in names:
        listen(name)
    return seen


@by_end
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize(
    ("kind", "names"), [("engine", FAST_EVENTS), ("connection", EVENTS), ("session", EVENTS)]
)
def test_both_paths_fire_the_same_events_for_a_call_that_ends_early(
    postgres: Postgres, kind: str, names: tuple[str, ...], keeps: bool, end: str
) -> None:
    async def events_of(path: str) -> list[str]:
        options = {**ONE, "pool_keep_cancelled": keeps}
        async with engine_for(postgres, path, **options) as engine:
            await ask(engine)
            seen = record(engine, names)
            async with db_of(engine, kind) as db:
                await end_early(postgres, engine, db, end)
            await settled(engine)
            await ask(engine)
        return seen

    async def main() -> None:
        fast, slow = await events_of("fast"), await events_of("slow")
        assert fast == slow
        assert ("invalidate" in fast) is not keeps
        # the engine has been disposed of
        assert fast.count("close") == fast.count("connect") + 1

    run(main())


# -------------------------------------------------------------------------- refusals


async def commit(db: Any) -> None:
    await db.commit()


async def take_the_driver(db: Any) -> None:
    assert (await db.get_raw_connection()).driver_connection is not None


async def prepare_in_sql(db: Any) -> None:
    await db.execute(text("PREPARE own AS SELECT 1"))


CHANGES = {"a commit": commit, "the driver": take_the_driver, "PREPARE": prepare_in_sql}


@by_path
@by_end
@pytest.mark.parametrize("change", CHANGES)
def test_a_call_that_ends_early_after_a_change_that_remains_closes_its_connection(
    postgres: Postgres, path: str, end: str, change: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, **ONE) as engine:
            async with engine.connect() as connection:
                pid = await session_id(connection)
                await CHANGES[change](connection)
                await end_early(postgres, engine, connection, end)
            assert await backend(engine) != pid
            assert TypedPool.of(engine).stats().kept_cancelled == 0

    run(main())


@by_path
@by_end
def test_a_call_that_ends_early_keeps_no_connection_if_the_option_is_off(
    postgres: Postgres, path: str, end: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, **ONE, pool_keep_cancelled=False) as engine:
            pid = await backend(engine)
            await end_early(postgres, engine, engine, end)
            assert await backend(engine) != pid
            assert TypedPool.of(engine).stats().kept_cancelled == 0

    run(main())


@by_end
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM pg_sleep(30), set_config('work_mem', '7MB', false)",
        "WITH own AS (SELECT Set_Config('role', 'postgres', false)) SELECT 1 FROM pg_sleep(30)",
    ],
)
def test_a_setting_made_outside_a_transaction_by_a_call_that_ends_early_closes_the_connection(
    postgres: Postgres, end: str, sql: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast", **ONE) as engine:
            pid = await backend(engine)
            await end_early(postgres, engine, engine, end, sql)
            assert await backend(engine) != pid

    run(main())


MAKE_TABLE = """
CREATE FUNCTION make_table() RETURNS text LANGUAGE plpgsql AS $$
BEGIN CREATE TEMPORARY TABLE own (n int); RETURN 'made'; END $$
"""


@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "result available"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT set_config('work_mem', '7MB', false)",
        "SELECT CAST(pg_advisory_lock(7) AS text)",
        "SELECT make_table()",
    ],
)
def test_a_call_on_an_engine_that_is_cancelled_at_any_await_leaves_nothing_in_its_session(
    postgres: Postgres, sql: str, late: bool
) -> None:
    """Its statement may have ended, and with it the transaction, when it is cancelled."""

    async def main() -> None:
        async with engine_for(postgres, "fast", **ONE) as engine:
            async with engine.begin() as connection:
                await connection.execute(text("DROP FUNCTION IF EXISTS make_table()"))
                await connection.execute(text(MAKE_TABLE))
            step = 1
            while await cancel_at_await(fetch_one(engine, str, sql), step, late=late):
                session = await fetch_one(engine, Session, SESSION_QUERY, {"token": "next"})
                assert session.faults("next", 0, "read committed") == [], step
                step += 1
            assert step > 1

    run(main())
