"""`execute`: row counts, committed data and errors are those of SQLAlchemy, on either path."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import make_dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from sqlalchemy import (
    Column,
    FetchedValue,
    Integer,
    MetaData,
    Numeric,
    Sequence,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    delete,
    event,
    exc,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateTable

from sqla_typedpool import StatementTimeout, TypedPool, execute, fetch_all, fetch_one
from tests.chaos.clean_session import SESSION_QUERY, Session
from tests.support.cancellation import cancel_at_await
from tests.support.engines import admin_of, make_engine, run, session_id, until
from tests.support.fetch_lab import (
    PEOPLE,
    User,
    by_db,
    by_path,
    db_of,
    engine_for,
    error_of,
    no_listener,
    people,
    people_count,
)

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres
    from tests.support.fetch_lab import Paths

ONE_CONNECTION: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
ALL = "SELECT id, name, nick FROM people ORDER BY id"


class Upper(TypeDecorator[str]):
    """A type that SQLAlchemy converts in both directions."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value.upper()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value and value.lower()


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    nick: Mapped[str | None]


def table(*columns: Column[Any], implicit_returning: bool = True) -> Table:
    return Table("people", MetaData(), *columns, implicit_returning=implicit_returning)


ID = "id", Integer
defaults = table(Column(*ID, primary_key=True), Column("name", Text, default="Dee"))
computed = table(Column(*ID, primary_key=True), Column("name", Text, default=lambda: "Dee"))
sequenced = table(Column(*ID, Sequence("people_ids"), primary_key=True), Column("name", Text))
upper_name = table(Column(*ID, primary_key=True), Column("name", Upper))
converted = table(
    Column(*ID, primary_key=True),
    Column("name", Text),
    Column("nick", Upper, server_default=FetchedValue()),
)
numeric = table(
    Column("id", Numeric, Sequence("people_ids"), primary_key=True), Column("name", Text)
)
no_implicit = table(Column(*ID, primary_key=True), Column("name", Text), implicit_returning=False)
NEW = {"id": 4, "name": "Dee"}
SEVERAL = [{"id": 4, "name": "Dee"}, {"id": 5, "name": "Eve"}]

FAST: dict[str, tuple[Any, Any]] = {
    "INSERT": ("INSERT INTO people VALUES (:id, :name)", NEW),
    "INSERT of two rows": ("INSERT INTO people VALUES (4, 'Dee'), (5, 'Eve')", None),
    "UPDATE": ("UPDATE people SET name = :name WHERE id < :most", {"name": "x", "most": 3}),
    "UPDATE of nothing": ("UPDATE people SET name = 'x' WHERE id = 100", None),
    "DELETE": ("DELETE FROM people", None),
    "MERGE": (
        "MERGE INTO people USING (SELECT 4 AS id) AS new ON people.id = new.id "
        "WHEN NOT MATCHED THEN INSERT VALUES (4, 'Dee')",
        None,
    ),
    "SELECT": ("SELECT 1 FROM people", None),
    "a CTE": ("WITH two AS (SELECT 2 AS n) DELETE FROM people USING two WHERE id = n", None),
    "a repeated parameter": ("UPDATE people SET name = :x WHERE name <> :x", {"x": "Ada"}),
    "a colon in a literal": (r"UPDATE people SET name = '\:x'", None),
    "text with a default": (text("DELETE FROM people WHERE id = :x").bindparams(x=2), None),
    "text with a typed bind": (
        text("UPDATE people SET name = :x").bindparams(bindparam("x", type_=Upper())),
        {"x": "low"},
    ),
    "Core INSERT": (insert(people).values(id=4, name="Dee"), None),
    "Core INSERT with parameters": (insert(people), NEW),
    "Core INSERT of several rows": (insert(people).values(SEVERAL), None),
    "Core INSERT from SELECT": (
        insert(people).from_select(
            ["id", "name"], select(people.c.id + 10, people.c.name).where(people.c.id > 1)
        ),
        None,
    ),
    "Core INSERT inline": (insert(people).values(id=4, name="Dee").inline(), None),
    "Core INSERT without RETURNING": (insert(no_implicit).values(id=4, name="Dee"), None),
    "Core INSERT of a generated key": (insert(sequenced).values(name="Dee"), None),
    "Core upsert": (
        postgresql.insert(people)
        .values(id=1, name="Dee")
        .on_conflict_do_update(index_elements=["id"], set_={"name": "Dee"}),
        None,
    ),
    "Core upsert of nothing": (
        postgresql.insert(people).values(id=1, name="Dee").on_conflict_do_nothing(),
        None,
    ),
    "Core UPDATE": (update(people).where(people.c.id < 3).values(name="x"), None),
    "Core UPDATE with parameters": (
        update(people).where(people.c.id == bindparam("which")),
        {"which": 2, "name": "x"},
    ),
    "Core UPDATE of a converted column": (update(upper_name).values(name="low"), None),
    "Core DELETE": (delete(people).where(people.c.id == 2), None),
    "Core SELECT": (select(people), None),
    "a callable bind": (
        delete(people).where(people.c.id == bindparam(None, callable_=lambda: 2)),
        None,
    ),
}

SLOW: dict[str, tuple[Any, Any]] = {
    "RETURNING": ("DELETE FROM people RETURNING id", None),
    "Core RETURNING": (delete(people).returning(people.c.id), None),
    "Core INSERT RETURNING": (insert(people).values(id=4, name="Dee").returning(people), None),
    "RETURNING in a CTE": ("WITH x AS (DELETE FROM people RETURNING id) SELECT 1", None),
    "a list of parameters": ("INSERT INTO people VALUES (:id, :name)", SEVERAL),
    "a list of one": ("INSERT INTO people VALUES (:id, :name)", [NEW]),
    "Core INSERT of a list": (insert(people), SEVERAL),
    "a default in Python": (insert(defaults).values(id=4), None),
    "a default function": (insert(computed).values(id=4), None),
    "expanding IN": (delete(people).where(people.c.id.in_([1, 2])), None),
    "expanding IN in text": (
        text("DELETE FROM people WHERE id IN :ids").bindparams(bindparam("ids", expanding=True)),
        {"ids": [1, 2]},
    ),
    "a literal at execution": (
        delete(people).where(people.c.id == bindparam("x", 2, literal_execute=True)),
        None,
    ),
    "a converted default": (insert(converted).values(id=4, name="Dee").return_defaults(), None),
    "a Numeric key": (insert(numeric).values(name="Dee"), None),
    "options": (text("DELETE FROM people").execution_options(mine=1), None),
    "an ORM DELETE": (delete(Person), None),
    "a function": (func.set_config("work_mem", "7MB", True), None),
    "DDL": (CreateTable(Table("made", MetaData(), Column("id", Integer))), None),
}

# With their own transaction they may need the block; in a transaction they need nothing.
FAST_IN_A_TRANSACTION: dict[str, tuple[Any, Any]] = {
    "CREATE TABLE": ("CREATE TABLE made (id int)", None),
    "TRUNCATE": ("TRUNCATE people", None),
    "SET": ("SET work_mem = '7MB'", None),
    "CALL": ("CALL nothing()", None),
    "LISTEN": ("LISTEN news", None),
    "LOCK": ("LOCK TABLE people", None),
    "DO": ("DO 'BEGIN END'", None),
    "EXPLAIN": ("EXPLAIN DELETE FROM people", None),
}
CASES = {**FAST, **SLOW, **FAST_IN_A_TRANSACTION}


async def prepare(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for sql in (
            "DROP TABLE IF EXISTS made",
            "DROP SEQUENCE IF EXISTS people_ids",
            "CREATE SEQUENCE people_ids START 4",
            "CREATE OR REPLACE PROCEDURE nothing() LANGUAGE sql AS ''",
        ):
            await connection.execute(text(sql))


async def with_sqlalchemy(db: Any, statement: Any, parameters: Any) -> int | None:
    """Run a statement as an application would without the package."""
    executable = text(statement) if isinstance(statement, str) else statement
    if isinstance(db, AsyncEngine):
        async with db.begin() as connection:
            count = (await connection.execute(executable, parameters)).rowcount
    else:
        result: Any = await db.execute(executable, parameters)
        count = getattr(result, "rowcount", -1)
    return None if count < 0 else count


async def with_execute(db: Any, statement: Any, parameters: Any) -> int | None:
    return await execute(db, statement, parameters)


# ------------------------------------------------------------------------ row counts


@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
@pytest.mark.parametrize("what", CASES)
def test_row_counts_and_data_are_those_of_sqlalchemy(
    postgres: Postgres, paths: Paths, what: str, kind: str
) -> None:
    statement, parameters = CASES[what]

    async def run_with(call: Any) -> tuple[int | None, list[User]]:
        async with engine_for(postgres, "fast") as engine:
            await prepare(engine)
            async with db_of(engine, kind) as db:
                count = await call(db, statement, parameters)
                if kind != "engine":
                    await db.commit()
            async with engine.connect() as connection:
                rows = (await connection.execute(text(ALL))).all()
            return count, [User(*row) for row in rows]

    async def main() -> None:
        theirs = await run_with(with_sqlalchemy)
        assert await run_with(with_execute) == theirs

    run(main())
    is_fast = what in FAST or (what in FAST_IN_A_TRANSACTION and kind != "engine")
    assert paths.slow() == (not is_fast)


@by_path
@by_db
def test_a_statement_is_committed_on_an_engine_and_is_not_elsewhere(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with db_of(engine, kind) as db:
                assert await execute(db, "DELETE FROM people WHERE id = 1") == 1
                expected = 3 if kind != "engine" else 2
                assert await people_count(engine) == expected
            assert await people_count(engine) == expected

    run(main())


@by_path
def test_a_statement_runs_in_the_savepoint_of_its_connection(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with engine.begin() as connection:
                assert await execute(connection, "DELETE FROM people WHERE id = 1") == 1
                savepoint = await connection.begin_nested()
                assert await execute(connection, "DELETE FROM people") == 2
                await savepoint.rollback()
            assert await fetch_all(engine, User, ALL) == PEOPLE[1:]

    run(main())


@by_path
def test_in_autocommit_a_statement_of_a_connection_is_committed_at_once(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, isolation_level="AUTOCOMMIT") as engine:
            async with engine.connect() as connection:
                assert await execute(connection, "DELETE FROM people") == 3
                assert await people_count(engine) == 0
            assert await execute(engine, "INSERT INTO people VALUES (1, 'x')") == 1

    run(main())


@by_path
def test_a_statement_is_committed_with_the_other_parts_of_a_two_phase_session(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, AsyncSession(engine) as session:
            session.sync_session.twophase = True
            await session.execute(text("SELECT 1"))
            assert await execute(session, "DELETE FROM people WHERE id = 1") == 1
            await session.rollback()
            assert await people_count(engine) == 3

    run(main())


@by_db
def test_the_columns_of_execute_are_not_checked(
    postgres: Postgres, paths: Paths, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine, db_of(engine, kind) as db:
            for _ in range(2):
                assert await execute(db, "SELECT id AS a, id AS a, name, NULL FROM people") == 3

    run(main())
    assert paths.slow() == 0


# ---------------------------------------------------------------------------- errors

ERRORS: dict[str, tuple[Any, Any]] = {
    "a syntax error": ("UPDAT people", None),
    "an unknown table": ("DELETE FROM nothing", None),
    "a broken unique constraint": ("INSERT INTO people VALUES (:id, 'x')", {"id": 1}),
    "a NULL": (insert(people).values(id=4, name=None), None),
    "a value of the wrong type": ("UPDATE people SET id = CAST(:n AS int)", {"n": "one"}),
    "a value out of range": ("UPDATE people SET id = CAST(:n AS int)", {"n": 1 << 40}),
    "a division by zero": ("UPDATE people SET id = 1 / :n", {"n": 0}),
    "a missing parameter": ("UPDATE people SET id = :n", {}),
    "no parameters": ("UPDATE people SET id = :n", None),
    "a misspelt parameter": ("UPDATE people SET id = :n", {"m": 1}),
    "an unknown column": (insert(people), {"idd": 1}),
    "several statements": ("INSERT INTO people VALUES (4, 'x'); UPDATE people SET nick = ''", None),
    "several statements in one": ("DELETE FROM people; SELECT 1", None),
    "an empty statement that fails": ("", {"x": 1}),
    "COPY": ("COPY people TO STDOUT", None),
    "a wrong list": ("DELETE FROM people WHERE id = :id", [1, 2]),
    "a tuple of parameters": ("DELETE FROM people WHERE id = :id", (1,)),
    "a string of parameters": ("DELETE FROM people", "abc"),
    "no statement": (1, None),
    "a column": (people.c.id, None),
}


def traits(error: BaseException) -> dict[str, Any]:
    """All that an application can read of an error."""
    original = getattr(error, "orig", None)
    driver_error = getattr(original, "__cause__", None)
    attributes = ("statement", "params", "connection_invalidated", "hide_parameters", "ismulti")
    return {
        "type": type(error),
        "text": str(error),
        "args": error.args,
        "detail": getattr(error, "detail", None),
        "code": getattr(error, "code", None),
        "cause": type(error.__cause__),
        "original": type(original),
        "original args": getattr(original, "args", None),
        "sqlstate": getattr(original, "sqlstate", None),
        "driver's error": type(driver_error),
        **{name: getattr(error, name, None) for name in attributes},
    }


@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
@pytest.mark.parametrize("what", ERRORS)
def test_errors_are_those_of_sqlalchemy(postgres: Postgres, what: str, kind: str) -> None:
    statement, parameters = ERRORS[what]

    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            async with db_of(engine, kind) as db:
                ours = traits(await outcome_of(execute(db, statement, parameters)))
            async with db_of(engine, kind) as db:
                theirs = traits(await outcome_of(with_sqlalchemy(db, statement, parameters)))
            assert ours == theirs
            assert await fetch_all(engine, User, ALL) == PEOPLE

    run(main())


async def outcome_of(work: Any) -> BaseException:
    try:
        return ValueError(await work)  # no error: the count has to be the same
    except Exception as error:
        return error


@by_path
def test_after_an_error_a_transaction_has_to_be_rolled_back(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, engine.connect() as connection:
            await execute(connection, "DELETE FROM people WHERE id = 1")
            await error_of(execute(connection, "DELETE FROM nothing"))
            error = await error_of(execute(connection, "DELETE FROM people"))
            assert "current transaction is aborted" in str(error)
            await connection.rollback()
            assert await execute(connection, "DELETE FROM people") == 3

    run(main())


@by_path
def test_a_connection_that_was_closed_or_invalidated_raises_sqlalchemys_error(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with engine.connect() as connection:
                await execute(connection, "DELETE FROM people")
                await connection.invalidate()
                with pytest.raises(exc.PendingRollbackError):
                    await execute(connection, "DELETE FROM people")
            with pytest.raises(exc.ResourceClosedError):
                await execute(connection, "DELETE FROM people")

    run(main())


def test_a_db_of_the_wrong_type_is_refused(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            for db in (None, "engine", engine.sync_engine, AsyncEngine):
                with pytest.raises(TypeError, match="db must be an AsyncEngine"):
                    await execute(db, "DELETE FROM people")  # type: ignore[arg-type]

    run(main())


# ------------------------------------------------------------------------ migrations


@by_path
def test_a_statement_that_a_migration_has_made_invalid_is_run_once_more_on_an_engine(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, pool_size=1) as engine:
            statement = "SELECT * FROM people"
            assert await execute(engine, statement) == 3
            async with admin_of(postgres) as admin:
                await admin.connection.execute("ALTER TABLE people ADD COLUMN more int")
            assert await execute(engine, statement) == 3

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["connection", "session"])
def test_in_a_transaction_a_statement_that_a_migration_has_made_invalid_raises_its_error(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, pool_size=1) as engine:
            async with db_of(engine, kind) as db:
                await execute(db, "SELECT * FROM people")
            async with admin_of(postgres) as admin:
                await admin.connection.execute("ALTER TABLE people ADD COLUMN more int")
            async with db_of(engine, kind) as db:
                error: Any = await error_of(execute(db, "SELECT * FROM people"))
                assert type(error.orig).__name__ == "InvalidCachedStatementError"
                await db.rollback()
                assert await execute(db, "SELECT * FROM people") == 3

    run(main())


# --------------------------------------------------------------------- cancellations


@by_path
@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "result available"])
def test_a_write_on_an_engine_that_is_cancelled_at_any_await_is_done_or_not_done(
    postgres: Postgres, path: str, late: bool
) -> None:
    """Both rows are there or none, and the connection is usable."""

    async def main() -> None:
        async with engine_for(postgres, path, **ONE_CONNECTION) as engine:
            statement = "INSERT INTO people VALUES (:id, 'x'), (:id + 1, 'y')"
            step, written = 1, 0
            while await cancel_at_await(
                execute(engine, statement, {"id": 100 * step}), step, late=late
            ):
                count = await fetch_one(
                    engine, int, "SELECT count(*) FROM people WHERE id >= :id", {"id": 100 * step}
                )
                assert count in (0, 2), step
                written += count
                step += 1
            assert step > 1
            assert await people_count(engine) == 3 + written + 2

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["connection", "session"])
def test_a_write_in_a_transaction_that_is_cancelled_at_any_await_is_undone(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, **ONE_CONNECTION) as engine:
            step = 1
            is_cancelled = True
            while is_cancelled:
                async with db_of(engine, kind) as db:
                    work = execute(db, "INSERT INTO people VALUES (:id, 'x')", {"id": 100 * step})
                    is_cancelled = await cancel_at_await(work, step, late=False)
                assert await people_count(engine) == 3, step
                step += 1
            assert step > 2

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
@pytest.mark.parametrize("end", ["cancelled", "timeout"])
def test_a_write_that_ends_early_while_it_waits_for_a_lock_is_not_done(
    postgres: Postgres, path: str, kind: str, end: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, **ONE_CONNECTION) as engine:
            async with engine.connect() as connection:
                pid = await session_id(connection)
            pool = TypedPool.of(engine)
            async with admin_of(postgres) as admin, admin.connection.transaction():
                await admin.connection.execute("SELECT 1 FROM people FOR UPDATE")
                async with db_of(engine, kind) as db:
                    await end_early(admin, db, end)
                # the server has ended the statement
                assert await until(lambda: pool.stats().idle == 1, 5), pool.stats()
            async with engine.connect() as connection:
                assert await session_id(connection) == pid, "the connection was not kept"
            assert await fetch_all(engine, User, ALL) == PEOPLE

    run(main())


async def end_early(admin: Any, db: Any, end: str) -> None:
    """Call `execute`, and end the call while it waits for the lock."""
    sql = "DELETE FROM people WHERE id = 1"
    if end == "timeout":
        with pytest.raises(StatementTimeout):
            await execute(db, sql, timeout=0.2)
        return
    task = asyncio.ensure_future(execute(db, sql))
    # in a transaction pg_stat_activity would always show the same
    while not await admin.connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        assert not task.done()
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "result available"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT set_config('work_mem', '7MB', false)",
        "WITH x AS (SELECT Set_Config('role', 'postgres', false)) INSERT INTO people "
        "SELECT CAST(1000 + random() * 1e6 AS int), set_config FROM x",
        "SELECT CAST(pg_advisory_lock(7) AS text)",
    ],
)
def test_a_call_on_an_engine_that_is_cancelled_at_any_await_leaves_nothing_in_its_session(
    postgres: Postgres, sql: str, late: bool
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast", **ONE_CONNECTION) as engine:
            step = 1
            while await cancel_at_await(execute(engine, sql), step, late=late):
                session = await fetch_one(engine, Session, SESSION_QUERY, {"token": "next"})
                assert session.faults("next", 0, "read committed") == [], step
                step += 1
            assert step > 1

    run(main())


def test_a_setting_of_a_statement_that_fails_is_undone_and_the_connection_is_kept(
    postgres: Postgres, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast", **ONE_CONNECTION) as engine:
            async with engine.connect() as connection:
                pid = await session_id(connection)
            sql = "UPDATE people SET name = set_config('work_mem', '7MB', false), id = 1 / :zero"
            with pytest.raises(exc.DBAPIError, match="division by zero"):
                await execute(engine, sql, {"zero": 0})
            async with engine.connect() as connection:
                assert await session_id(connection) == pid
            session = await fetch_one(engine, Session, SESSION_QUERY, {"token": "next"})
            assert session.faults("next", 0, "read committed") == []

    run(main())
    assert paths.slow() == 0


# --------------------------------------------------------------------------- the log


class Engine(AsyncEngine):
    pass


@pytest.mark.parametrize(
    ("reason", "statement", "options"),
    [
        ("the engine has listeners or options, or logs statements", "SELECT 1", {"listener": True}),
        ("only SQLAlchemy can read what it returns", "DELETE FROM people RETURNING id", {}),
        ("it runs once for each of a list of parameters", "SELECT 1", {"parameters": [{}]}),
        ("it may need a transaction block", "SET work_mem = '7MB'", {}),
        (
            "a parameter is missing or wrong, or the row type has no hash",
            "DELETE FROM people WHERE id = :id",
            {},
        ),
        ("a subclass may do more than to run the statement", "SELECT 1", {"subclass": True}),
        (
            "the connection is not in its default state",
            "SELECT 1",
            {"isolation_level": "SERIALIZABLE"},
        ),
    ],
)
def test_the_log_has_the_path_of_each_call_and_the_reason_of_the_slow_one(
    postgres: Postgres,
    caplog: pytest.LogCaptureFixture,
    reason: str,
    statement: Any,
    options: dict[str, Any],
) -> None:
    caplog.set_level(logging.DEBUG, "sqla_typedpool.fetch")

    async def main() -> None:
        level = {name: options[name] for name in options if name == "isolation_level"}
        async with engine_for(postgres, "fast", **level) as engine:
            if "listener" in options:
                event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
            db = Engine(engine.sync_engine) if "subclass" in options else engine
            await outcome_of(execute(db, statement, options.get("parameters")))

    run(main())
    assert [record.getMessage() for record in caplog.records] == [
        f"slow path ({reason}): {statement}"
    ]


def test_the_first_call_of_an_engine_takes_the_slow_path_if_it_has_not_connected(
    postgres: Postgres, paths: Paths
) -> None:
    """Until then SQLAlchemy does not know how the server reads a backslash in a literal."""

    async def main() -> None:
        engine = make_engine(postgres.url("asyncpg"))
        try:
            found = select(literal("a%b").like("a!%b", escape="\\"))
            assert await fetch_one(engine, bool, found) is False
            assert paths.slow() == 1
            assert await fetch_one(engine, bool, found) is False
            assert paths.slow() == 1
        finally:
            await engine.dispose()

    run(main())


# ---------------------------------------------------------------------- eligibility


def test_listeners_that_come_and_go_between_calls_see_the_statements_meanwhile(
    postgres: Postgres, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            seen: list[str] = []

            def listener(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
                seen.append(statement)

            sql = "UPDATE people SET nick = 'x'"
            async with engine.connect() as connection:
                for db in (engine, connection):
                    await execute(db, sql)
                event.listen(engine.sync_engine, "before_cursor_execute", listener)
                for db in (connection, engine):
                    await connection.rollback()
                    await execute(db, sql)
                event.remove(engine.sync_engine, "before_cursor_execute", listener)
                for db in (engine, connection):
                    await execute(db, sql)
            assert seen == [sql, sql]

    run(main())
    assert paths.slow() == 4  # SQLAlchemy does not note that it has no listener any more


@pytest.mark.parametrize(
    "options",
    [{"compiled_cache": None}, {"schema_translate_map": {None: "public"}}, {"mine": 1}],
    ids=["no compiled cache", "translated schemas", "an option of the application"],
)
def test_a_copy_of_an_engine_with_options_takes_the_slow_path(
    postgres: Postgres, paths: Paths, options: dict[str, Any]
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            copy = engine.execution_options(**options)
            assert await execute(copy, delete(people)) == 3
            async with copy.connect() as connection:
                assert await execute(connection, insert(people).values(id=1, name="x")) == 1
                await connection.commit()
            assert paths.slow() == 2
            assert await execute(engine, delete(people)) == 1

    run(main())
    assert paths.slow() == 2


def test_without_a_cache_of_compiled_statements_calls_take_the_fast_path(
    postgres: Postgres, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast", query_cache_size=0) as engine:
            for number in (4, 5):
                assert await execute(engine, insert(people).values(id=number, name="x")) == 1
                found = select(people.c.id).where(people.c.id == number)
                assert await fetch_one(engine, int, found) == number

    run(main())
    assert paths.slow() == 0


def test_a_returned_numeric_takes_the_fast_path(postgres: Postgres, paths: Paths) -> None:
    """How SQLAlchemy converts it depends on its OID, which asyncpg reports before the execution."""
    amounts = table(Column(*ID, primary_key=True), Column("amount", Numeric))

    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            await execute(engine, "ALTER TABLE people ADD COLUMN amount numeric DEFAULT 1.5")
            before = paths.slow()
            changed = update(amounts).where(amounts.c.id == 1).values(id=7)
            row = await fetch_one(
                engine, tuple[int, Decimal], changed.returning(amounts.c.id, amounts.c.amount)
            )
            assert row == (7, Decimal("1.5"))
            assert paths.slow() == before

    run(main())


def test_row_types_that_are_made_in_a_loop_are_not_kept(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            for number in range(300):
                row_type = make_dataclass(f"Row{number}", [("id", int)])
                assert len(await fetch_all(engine, row_type, "SELECT id FROM people")) == 3
            statements = engine.sync_engine.__dict__["_typedpool_fast_path"]._statements
            kept = statements.get("SELECT id FROM people", None).mappers
            assert len(kept) <= 100

    run(main())


def test_a_row_type_without_a_hash_takes_the_slow_path(postgres: Postgres, paths: Paths) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            assert await fetch_all(engine, Annotated[int, []], "SELECT 1") == [1]

    run(main())
    assert paths.slow() == 1
