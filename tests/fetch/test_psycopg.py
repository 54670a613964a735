"""The fast path of psycopg: what it sends, what it commits, and how it leaves its connection."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import bindparam, event, exc, literal_column, select, text

from sqla_typedpool import RowShapeError, TypedPool, execute, fetch_all, fetch_one
from tests.support.cancellation import cancel_at_await, check_nothing_lost, run_and_cancel
from tests.support.engines import admin_of, engine_on, open_all, return_all, run, until
from tests.support.fetch_lab import error_of, no_listener, people
from tests.support.psycopg_trace import Sent, sent_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.embedded import Postgres
    from tests.support.fetch_lab import Paths
    from tests.support.servers.pgbouncer import PgBouncer

pytest.importorskip("psycopg")

NAME = "SELECT name FROM people WHERE id = :id"
NAME_SENT = "SELECT name FROM people WHERE id = $1"
ADD = "INSERT INTO people VALUES (:id, 'new')"
ADD_AND_RETURN = f"{ADD} RETURNING id"
SET_UP = """
DROP TABLE IF EXISTS people CASCADE;
CREATE TABLE people (id int PRIMARY KEY, name text, nick text,
                     CONSTRAINT one_nick UNIQUE (nick) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO people VALUES (1, 'Ada'), (2, 'Bob');
CREATE OR REPLACE FUNCTION add_person(id int) RETURNS int LANGUAGE sql
AS 'INSERT INTO people VALUES ($1) RETURNING id';
"""
by_path = pytest.mark.parametrize("is_slow", [False, True], ids=["fast path", "slow path"])


@asynccontextmanager
async def psycopg_engine(server: Postgres, **options: Any) -> AsyncIterator[AsyncEngine]:
    """Yield an engine with one connection, and a new table `people`."""
    options = {"pool_size": 1, "max_overflow": 0, **options}
    async with engine_on(server.url("psycopg"), **options) as engine:
        async with admin_of(server) as admin:
            await admin.connection.execute(SET_UP)
        async with engine.connect():
            pass  # before, every statement takes the slow path
        yield engine
        assert await until(lambda: TypedPool.of(engine).stats().in_use == 0, 5)


@asynccontextmanager
async def traced_engine(server: Postgres) -> AsyncIterator[tuple[AsyncEngine, Sent]]:
    """The same, with what it sends after that."""
    async with psycopg_engine(server) as engine:
        with sent_by(engine) as sent:
            await engine.dispose()  # the next connection is traced
            async with engine.connect():
                pass
            sent.sql()
            yield engine, sent


async def ids(server: Postgres) -> list[int]:
    """Return what is committed, over another connection."""
    async with admin_of(server) as admin:
        rows = await admin.connection.fetch("SELECT id FROM people ORDER BY id")
    return [row["id"] for row in rows]


async def check_transactions_work(engine: AsyncEngine, server: Postgres) -> None:
    """Check that a transaction of the pool's next connection can be rolled back."""
    before = await ids(server)
    async with engine.connect() as connection:
        driver_connection = (await connection.get_raw_connection()).driver_connection
        assert driver_connection is not None
        assert not driver_connection.autocommit
        await connection.execute(text(ADD), {"id": 99})
        await connection.rollback()
    assert await ids(server) == before


# ----------------------------------------------------------------------------- what is sent


def test_only_the_first_fetch_of_a_read_sends_begin_and_commit(postgres: Postgres) -> None:
    async def main() -> None:
        async with traced_engine(postgres) as (engine, sent):
            assert await fetch_one(engine, str, NAME, {"id": 1}) == "Ada"
            assert sent.sql() == ["BEGIN", NAME_SENT, "COMMIT"]
            assert await fetch_one(engine, str, NAME, {"id": 2}) == "Bob"
            assert sent.sql() == [NAME_SENT]
            await fetch_one(engine, str, NAME, {"id": 2})
            assert sent.round_trips() == 1

    run(main())


def test_a_read_is_known_for_its_row_type_alone(postgres: Postgres) -> None:
    async def main() -> None:
        async with traced_engine(postgres) as (engine, sent):
            await fetch_one(engine, str, NAME, {"id": 1})
            sent.sql()
            await fetch_one(engine, object, NAME, {"id": 1})
            assert sent.sql() == ["BEGIN", NAME_SENT, "COMMIT"]

    run(main())


def test_execute_is_one_round_trip(postgres: Postgres) -> None:
    async def main() -> None:
        async with traced_engine(postgres) as (engine, sent):
            assert await execute(engine, ADD, {"id": 5}) == 1
            assert sent.round_trips() == 1
            assert await execute(engine, people.insert().values(id=6)) == 1
            assert sent.round_trips() == 1
            assert await execute(engine, "DELETE FROM people WHERE id > :id", {"id": 2}) == 2
            assert sent.round_trips() == 1

    run(main())


@pytest.mark.parametrize(
    "statement",
    [
        ADD_AND_RETURN,
        "WITH added AS (INSERT INTO people VALUES (:id) RETURNING id) SELECT id FROM added",
    ],
    ids=["INSERT", "WITH"],
)
def test_what_writes_and_returns_rows_runs_in_a_transaction_each_time(
    postgres: Postgres, statement: str
) -> None:
    async def main() -> None:
        async with traced_engine(postgres) as (engine, sent):
            for number in (11, 12, 13):
                assert await fetch_one(engine, int, statement, {"id": number}) == number
                begin, _, commit = sent.sql()
                assert (begin, commit) == ("BEGIN", "COMMIT")

    run(main())


def test_on_a_connection_only_its_transaction_is_begun(postgres: Postgres, paths: Paths) -> None:
    async def main() -> None:
        async with traced_engine(postgres) as (engine, sent):
            async with engine.connect() as connection:
                await fetch_one(connection, str, NAME, {"id": 1})
                assert sent.sql() == ["BEGIN", NAME_SENT]
                assert await execute(connection, ADD, {"id": 5}) == 1
                assert sent.sql() == [ADD.replace(":id", "$1")]
            assert sent.sql() == ["ROLLBACK"]
            assert await ids(postgres) == [1, 2]

    run(main())
    assert paths.slow() == 0


def test_statements_are_prepared_when_psycopg_prepares_them(postgres: Postgres) -> None:
    async def main() -> None:
        for threshold, prepares_after in ((5, 6), (0, 1), (None, None)):
            arguments = {"prepare_threshold": threshold}
            async with psycopg_engine(postgres, connect_args=arguments) as engine:
                statements: list[int] = []
                for _ in range(7):
                    await fetch_one(engine, str, NAME, {"id": 1})
                    statements.append(
                        await fetch_one(engine, int, "SELECT count(*) FROM pg_prepared_statements")
                    )
                found = next((i for i, n in enumerate(statements, 1) if n), None)
                assert found == prepares_after

    run(main())


# ------------------------------------------------------------------- what is not committed


@pytest.mark.parametrize(
    "statement", [ADD_AND_RETURN, "SELECT add_person(:id)"], ids=["INSERT", "SELECT of a function"]
)
def test_a_refused_shape_leaves_nothing_committed(postgres: Postgres, statement: str) -> None:
    async def main() -> None:
        async with traced_engine(postgres) as (engine, sent):
            with pytest.raises(RowShapeError, match="str"):
                await fetch_one(engine, str, statement, {"id": 5})
            assert sent.sql()[-1] == "ROLLBACK"
            assert await ids(postgres) == [1, 2]
            await check_transactions_work(engine, postgres)

    run(main())


def test_a_statement_without_rows_is_refused_by_fetch_and_undone(postgres: Postgres) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            with pytest.raises(RowShapeError, match="returns no rows"):
                await fetch_one(engine, int, ADD, {"id": 5})
            assert await ids(postgres) == [1, 2]

    run(main())


@pytest.mark.parametrize("last", ["SELECT 1/0", "SELECT 2"])
def test_several_statements_in_one_string_are_one_transaction(
    postgres: Postgres, paths: Paths, last: str
) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            several = f"INSERT INTO people VALUES (5) RETURNING id; {last}"
            for row_type in (int, int):
                if last == "SELECT 2":
                    assert await fetch_one(engine, row_type, several) == 5
                    await execute(engine, "DELETE FROM people WHERE id = 5")
                else:
                    with pytest.raises(exc.DataError):
                        await fetch_one(engine, row_type, several)
                    with pytest.raises(exc.DataError):
                        await execute(engine, several)
                assert await ids(postgres) == [1, 2]

    run(main())
    assert paths.slow() == (2 if last == "SELECT 2" else 4)


def test_a_semicolon_at_the_end_takes_the_fast_path(postgres: Postgres, paths: Paths) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            for _ in range(2):
                assert await fetch_one(engine, int, "SELECT 1 ;\n") == 1

    run(main())
    assert paths.slow() == 0


@pytest.mark.parametrize("statement", ["VACUUM people", "SET application_name = 'x'", "CHECKPOINT"])
def test_what_is_unsafe_without_a_transaction_takes_the_slow_path(
    postgres: Postgres, paths: Paths, statement: str
) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            if statement == "VACUUM people":
                with pytest.raises(exc.InternalError, match="transaction block"):
                    await execute(engine, statement)
            else:
                await execute(engine, statement)

    run(main())
    assert paths.slow() == 1


def test_literal_sql_with_a_label_that_is_two_columns_is_run_once(postgres: Postgres) -> None:
    """SQLAlchemy matches such columns by name, so it must run the statement itself."""
    two = literal_column("id, name").label("nick")
    add = people.insert().values(id=5, name="Eve").returning(two)

    async def main() -> None:
        async with psycopg_engine(postgres) as engine, engine.connect() as connection:
            assert await fetch_one(connection, tuple[int, str], add) == (5, "Eve")
            assert await fetch_one(connection, int, "SELECT count(*) FROM people") == 3

    run(main())


# ------------------------------------------------------------------- how a connection is left


async def known_read(engine: AsyncEngine) -> None:
    """Fetch once, so that the next call runs in autocommit."""
    await fetch_all(engine, int, "SELECT 1 FROM pg_sleep(:seconds)", {"seconds": 0})


async def slow_read(engine: AsyncEngine, seconds: float = 0.05) -> None:
    await fetch_all(engine, int, "SELECT 1 FROM pg_sleep(:seconds)", {"seconds": seconds})


def test_autocommit_is_off_after_each_kind_of_call(postgres: Postgres) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            await known_read(engine)
            await slow_read(engine)
            await check_transactions_work(engine, postgres)
            await execute(engine, ADD, {"id": 5})
            await check_transactions_work(engine, postgres)
            await fetch_one(engine, int, ADD_AND_RETURN, {"id": 6})
            await check_transactions_work(engine, postgres)

    run(main())


def test_autocommit_is_off_after_an_error(postgres: Postgres) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            inverse = "SELECT 1 / :n"
            assert await fetch_one(engine, int, inverse, {"n": 1}) == 1
            with pytest.raises(exc.DataError, match="division"):
                await fetch_one(engine, int, inverse, {"n": 0})
            await check_transactions_work(engine, postgres)
            with pytest.raises(exc.IntegrityError):
                await execute(engine, ADD, {"id": 1})
            await check_transactions_work(engine, postgres)
            assert TypedPool.of(engine).stats().connects == 1

    run(main())


def test_autocommit_is_off_after_columns_that_no_longer_fit(postgres: Postgres) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            both = "SELECT * FROM people LIMIT 0"
            row_type = tuple[int, str | None, str | None]
            await fetch_all(engine, row_type, both)
            await execute(engine, "ALTER TABLE people ADD COLUMN more int")
            with pytest.raises(RowShapeError):
                await fetch_all(engine, row_type, both)
            await check_transactions_work(engine, postgres)
            assert TypedPool.of(engine).stats().connects == 1

    run(main())


@pytest.mark.parametrize("late", [False, True], ids=["at the await", "after it"])
@pytest.mark.parametrize("kind", ["known read", "first read", "execute", "INSERT RETURNING"])
def test_transactions_work_after_a_cancellation_at_any_await(
    postgres: Postgres, kind: str, late: bool
) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            for step in range(1, 40):
                calls = {
                    "known read": slow_read(engine, 0.001),
                    "first read": fetch_all(engine, int, f"SELECT {step}"),
                    "execute": execute(engine, ADD, {"id": 1000 + step}),
                    "INSERT RETURNING": fetch_one(engine, int, ADD_AND_RETURN, {"id": step + 200}),
                }
                if kind == "known read":
                    await known_read(engine)
                reached = await cancel_at_await(calls.pop(kind), step, late=late)
                for unused in calls.values():
                    unused.close()
                assert await until(lambda: TypedPool.of(engine).stats().in_use == 0, 5)
                await check_transactions_work(engine, postgres)
                if not reached:
                    return
            raise AssertionError("the call has no end")

    run(main())


def test_after_many_cancellations_each_acknowledged_write_is_stored_once(
    postgres: Postgres,
) -> None:
    acknowledged: list[int] = []
    numbers = itertools.count(1000)

    async def request(engine: AsyncEngine) -> None:
        number = next(numbers)
        await slow_read(engine, 0.001)
        if number % 2:
            await execute(engine, ADD, {"id": number})
        else:
            await fetch_one(engine, int, ADD_AND_RETURN, {"id": number})
        acknowledged.append(number)
        await slow_read(engine, 0.001)

    async def main() -> None:
        async with psycopg_engine(postgres, pool_size=4) as engine:
            await known_read(engine)
            await run_and_cancel(engine, request, tasks=200, at_once=8, longest=0.03)
            await check_nothing_lost(engine, 4)
            held = await open_all(engine, 4)
            for connection in held:
                proxied = await connection.get_raw_connection()
                assert proxied.driver_connection is not None
                assert not proxied.driver_connection.autocommit
            await return_all(held)
            assert set(acknowledged) <= set(await ids(postgres))

    run(main())


def test_transactions_work_after_the_backend_was_killed(postgres: Postgres) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            await known_read(engine)
            pid = await fetch_one(engine, int, "SELECT pg_backend_pid()")
            reading = asyncio.ensure_future(slow_read(engine, 30))
            async with admin_of(postgres) as admin:
                active = f"SELECT state FROM pg_stat_activity WHERE pid = {pid}"
                while await admin.connection.fetchval(active) != "active":
                    await asyncio.sleep(0.01)
                await admin.terminate(pid)
            error = await error_of(reading)
            assert isinstance(error, exc.OperationalError)
            assert error.connection_invalidated
            await check_transactions_work(engine, postgres)

    run(main())


def test_a_call_that_is_closed_leaves_no_connection_in_autocommit(postgres: Postgres) -> None:
    """Nothing can be awaited then."""

    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            await known_read(engine)
            call = slow_read(engine, 30)
            call.send(None)
            call.close()
            assert await until(lambda: TypedPool.of(engine).stats().in_use == 0, 5)
            await check_transactions_work(engine, postgres)

    run(main())


# ---------------------------------------------------------------- connections with settings


SETTINGS: dict[str, Any] = {
    "SERIALIZABLE": {"isolation_level": "SERIALIZABLE"},
    "AUTOCOMMIT": {"isolation_level": "AUTOCOMMIT"},
    "autocommit": {"connect_args": {"autocommit": True}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_engine_with_settings_takes_the_slow_path(
    postgres: Postgres, paths: Paths, name: str
) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres, **SETTINGS[name]) as engine:
            await fetch_one(engine, str, NAME, {"id": 1})

    run(main())
    assert paths.slow() == 1


async def set_level(connection: Any) -> None:
    await connection.set_isolation_level(4)


async def set_read_only(connection: Any) -> None:
    await connection.set_read_only(False)


async def set_deferrable(connection: Any) -> None:
    await connection.set_deferrable(False)


async def set_rows(connection: Any) -> None:
    connection.row_factory = pytest.importorskip("psycopg.rows").dict_row


async def set_cursors(connection: Any) -> None:
    connection.cursor_factory = pytest.importorskip("psycopg").AsyncClientCursor


async def begin(connection: Any) -> None:
    await connection.execute("SELECT 1")


CHANGES = [set_level, set_read_only, set_deferrable, set_rows, set_cursors, begin]


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.__name__)
def test_a_changed_connection_takes_the_slow_path(
    postgres: Postgres, paths: Paths, change: Any
) -> None:
    async def main() -> None:
        # a pool that does not reset also hands out a connection inside a transaction
        async with psycopg_engine(postgres, pool_reset_on_return=None) as engine:
            async with engine.connect() as connection:
                await change((await connection.get_raw_connection()).driver_connection)
            await fetch_all(engine, object if change is set_rows else str, NAME, {"id": 1})

    run(main())
    assert paths.slow() == 1


def test_a_level_that_was_reset_to_that_of_the_server_takes_the_fast_path(
    postgres: Postgres, paths: Paths
) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="SERIALIZABLE")
                await connection.execute(text("SELECT 1"))
            level = "SELECT current_setting('transaction_isolation')"
            for _ in range(2):
                assert await fetch_one(engine, str, level) == "read committed"

    run(main())
    assert paths.slow() == 0


def test_a_loader_that_is_registered_later_is_used(postgres: Postgres) -> None:
    from psycopg.adapt import Loader

    class Shouting(Loader):
        def load(self, data: Any) -> str:
            return bytes(data).decode().upper()

    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            assert await fetch_one(engine, str, NAME, {"id": 1}) == "Ada"
            async with engine.connect() as connection:
                driver_connection = (await connection.get_raw_connection()).driver_connection
                assert driver_connection is not None
                driver_connection.adapters.register_loader("text", Shouting)
            assert await fetch_one(engine, str, NAME, {"id": 1}) == "ADA"

    run(main())


# ------------------------------------------------------------------------ names, text, errors


@by_path
def test_percent_signs_and_special_names_reach_the_server(
    postgres: Postgres, is_slow: bool
) -> None:
    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            if is_slow:
                event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
            for _ in range(2):
                assert await fetch_one(engine, str, "SELECT '50%'") == "50%"
                likes = "SELECT 'a%b' LIKE 'a%' || :end"
                assert await fetch_one(engine, bool, likes, {"end": "b"})
                named = select(people.c.name).where(people.c.id == bindparam("the %(id): [x]"))
                assert await fetch_one(engine, str, named, {"the %(id): [x]": 1}) == "Ada"

    run(main())


BROKEN = {
    "statement": ("SELECT 1 / :n", {"n": 0}),
    "commit": (
        "INSERT INTO people VALUES (:id, 'x', 'nick'), (:id + 1, 'y', 'nick') RETURNING id",
        {"id": 20},
    ),
}


@pytest.mark.parametrize("hidden", [False, True], ids=["shown", "hidden"])
@pytest.mark.parametrize("kind", BROKEN)
def test_an_error_has_the_same_attributes_on_both_paths(
    postgres: Postgres, kind: str, hidden: bool
) -> None:
    async def error_on(engine: AsyncEngine) -> exc.DBAPIError:
        error = await error_of(fetch_all(engine, int, *BROKEN[kind]))
        assert isinstance(error, exc.DBAPIError)
        return error

    async def main() -> None:
        async with psycopg_engine(postgres, hide_parameters=hidden) as engine:
            fast = await error_on(engine)
            event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
            slow = await error_on(engine)
            assert str(fast) == str(slow)
            assert type(fast) is type(slow)
            assert type(fast.orig) is type(slow.orig)
            assert fast.__cause__ is fast.orig
            for name in (
                "statement",
                "params",
                "hide_parameters",
                "connection_invalidated",
                "code",
            ):
                assert getattr(fast, name) == getattr(slow, name)
            assert (fast.statement is None) is (kind == "commit")
            assert await ids(postgres) == [1, 2]

    run(main())


# ------------------------------------------------------------------------------- pgbouncer


def test_behind_pgbouncer_in_transaction_mode_calls_share_few_server_connections(
    postgres: Postgres, pgbouncer: PgBouncer, paths: Paths
) -> None:
    async def main() -> None:
        options = {"pool_size": 4, "connect_args": {"prepare_threshold": None}}
        async with psycopg_engine(postgres), engine_on(pgbouncer.url("psycopg"), **options) as db:
            async with db.connect():
                pass
            for number in range(8):
                reads = (fetch_one(db, str, NAME, {"id": 1}) for _ in range(8))
                assert await asyncio.gather(*reads) == ["Ada"] * 8
                assert await execute(db, ADD, {"id": 100 + number}) == 1
                assert await fetch_one(db, int, ADD_AND_RETURN, {"id": 200 + number})
            assert len(await ids(postgres)) == 18

    run(main())
    assert paths.slow() == 0


# ----------------------------------------------------------- what psycopg may do differently


def test_an_error_of_the_rollback_after_a_refused_shape_has_no_statement(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on the slow path."""
    from psycopg import OperationalError

    async def main() -> None:
        async with psycopg_engine(postgres) as engine:
            roll_back = engine.dialect.do_rollback
            failures = [OperationalError("lost")]

            def do_rollback(connection: Any) -> None:
                if failures:
                    raise failures.pop()
                roll_back(connection)

            monkeypatch.setattr(engine.dialect, "do_rollback", do_rollback)
            with pytest.raises(exc.OperationalError, match="lost") as caught:
                await fetch_one(engine, str, ADD_AND_RETURN, {"id": 5})
            assert caught.value.statement is None
            assert await ids(postgres) == [1, 2]

    run(main())
