"""The fast path and the slow path give the same rows, errors and transactions.

Most tests run on both: on the fast path a statement goes to asyncpg, on the slow path through
SQLAlchemy. A listener that does nothing sends all statements of an engine through the slow path.
The fixture `paths` counts the statements that took it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    event,
    exc,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from sqla_typedpool import (
    RowShapeError,
    RowValueError,
    StatementTimeout,
    TypedPool,
    execute,
    fetch_all,
    fetch_one,
    fetch_optional,
    rows_as,
    stream,
)
from tests.support.clocks import Stopwatch
from tests.support.engines import admin_of, make_engine, new_name, run, until

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres

PATHS = ("fast", "slow")
by_path = pytest.mark.parametrize("path", PATHS, ids=[f"{path} path" for path in PATHS])
by_db = pytest.mark.parametrize("kind", ["engine", "connection", "session", "scoped"])


@dataclass(slots=True)
class User:
    id: int
    name: str
    nick: str | None = None


def no_listener(*_: Any) -> None:
    """Do nothing. An engine with any listener uses the slow path."""


@asynccontextmanager
async def engine_for(server: Postgres, path: str, **options: Any) -> AsyncIterator[AsyncEngine]:
    """An engine whose statements take this path, and a new table `people`.

    It checks that every connection has been returned.
    """
    engine = make_engine(server.url("asyncpg"), **{"pool_size": 3, "max_overflow": 0, **options})
    if path == "slow":
        event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("DROP TABLE IF EXISTS people CASCADE"))
            await connection.execute(
                text("CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, nick text)")
            )
            await connection.execute(
                text("INSERT INTO people VALUES (1, 'Ada', NULL), (2, 'Bob', 'bo'), (3, 'Cy', '')")
            )
        yield engine
        stats = TypedPool.of(engine).stats()
        assert stats.in_use == 0, "a connection was lost"
    finally:
        await engine.dispose()


@asynccontextmanager
async def db_of(engine: AsyncEngine, kind: str) -> AsyncIterator[Any]:
    """The engine itself, a connection, or a session that has begun a transaction."""
    if kind == "engine":
        yield engine
    elif kind == "connection":
        async with engine.connect() as connection:
            yield connection
    elif kind == "session":
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))  # later statements may take the fast path
            yield session
    else:
        maker = async_sessionmaker(engine)
        scoped = async_scoped_session(maker, asyncio.current_task)
        try:
            await scoped.execute(text("SELECT 1"))
            yield scoped
        finally:
            await scoped.remove()


class Paths:
    """Counts the statements that took the slow path."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def slow(self) -> int:
        return sum(each.getMessage().startswith("slow path: ") for each in self._caplog.records)


@pytest.fixture
def paths(caplog: pytest.LogCaptureFixture) -> Paths:
    caplog.set_level(logging.DEBUG, "sqla_typedpool.fetch")
    return Paths(caplog)


ALL = "SELECT id, name, nick FROM people ORDER BY id"
ONE = "SELECT id, name, nick FROM people WHERE id = :id"
PEOPLE = [User(1, "Ada"), User(2, "Bob", "bo"), User(3, "Cy", "")]


# ------------------------------------------------------------------------------ the rows


@by_path
@by_db
def test_rows_become_dataclasses(postgres: Postgres, path: str, kind: str, paths: Paths) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            assert await fetch_all(db, User, ALL) == PEOPLE
            assert await fetch_one(db, User, ONE, {"id": 2}) == PEOPLE[1]
            assert await fetch_optional(db, User, ONE, {"id": 9}) is None
            assert await fetch_one(db, int, "SELECT count(*) FROM people") == 3
            assert await fetch_all(db, tuple[int, str], "SELECT id, name FROM people") == [
                (1, "Ada"),
                (2, "Bob"),
                (3, "Cy"),
            ]
            assert await fetch_one(db, int | None, "SELECT NULL::int") is None

    run(main())
    assert (paths.slow() > 0) is (path == "slow")


@by_path
@by_db
def test_no_row_and_several_rows_raise_sqlalchemys_errors(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            with pytest.raises(exc.NoResultFound):
                await fetch_one(db, User, ONE, {"id": 9})
            with pytest.raises(exc.MultipleResultsFound):
                await fetch_one(db, User, ALL)
            with pytest.raises(exc.MultipleResultsFound):
                await fetch_optional(db, User, ALL)

    run(main())


people = Table(
    "people",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("nick", Text),
)


@by_path
@by_db
def test_a_core_statement_is_fetched_whether_built_once_or_at_each_call(
    postgres: Postgres, path: str, kind: str, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            once = select(people).where(people.c.id == bindparam("id"))
            for id_ in (1, 2, 3, 1):
                assert await fetch_one(db, User, once, {"id": id_}) == PEOPLE[id_ - 1]
            for id_ in (1, 2, 3, 1):
                built = select(people).where(people.c.id == id_)
                assert await fetch_one(db, User, built) == PEOPLE[id_ - 1]
            labelled = select(people.c.id, people.c.name.label("nick"), literal("x").label("name"))
            assert (await fetch_all(db, User, labelled))[0] == User(1, "x", "Ada")

    run(main())
    assert (paths.slow() > 0) is (path == "slow")


@by_path
def test_an_in_list_and_text_with_columns_give_the_same_rows(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, "connection") as db:
            some = select(people).where(people.c.id.in_([1, 3])).order_by(people.c.id)
            assert await fetch_all(db, User, some) == [PEOPLE[0], PEOPLE[2]]
            named = text(ALL).columns(people.c.id, people.c.name, people.c.nick)
            assert await fetch_all(db, User, named) == PEOPLE

    run(main())


class Shout(TypeDecorator[str]):
    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value if value is None else value.lower()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value if value is None else value.upper()


@by_path
def test_types_of_columns_keep_their_processors(postgres: Postgres, path: str) -> None:
    shouting = Table(
        "people", MetaData(), Column("id", Integer), Column("name", Shout), Column("nick", Text)
    )

    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            rows = await fetch_all(engine, User, select(shouting).order_by(shouting.c.id))
            assert [row.name for row in rows] == ["ADA", "BOB", "CY"]
            inserted = insert(shouting).values(id=4, name="DAN").returning(shouting)
            assert await fetch_one(engine, User, inserted) == User(4, "DAN")
            assert await fetch_one(engine, str, "SELECT name FROM people WHERE id = 4") == "dan"

    run(main())


@dataclass
class Mixed:
    amount: Decimal
    key: UUID
    data: object
    rate: float


@by_path
def test_numbers_uuids_and_json_arrive_as_sqlalchemy_delivers_them(
    postgres: Postgres, path: str
) -> None:
    sql = (
        "SELECT 1.50::numeric AS amount, '12345678-1234-5678-1234-567812345678'::uuid AS key, "
        """'{"a": [1, null]}'::jsonb AS data, 0.5::float8 AS rate"""
    )

    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            row = await fetch_one(engine, Mixed, sql)
            assert row == Mixed(
                Decimal("1.50"),
                UUID("12345678-1234-5678-1234-567812345678"),
                {"a": [1, None]},
                0.5,
            )
            typed = select(
                literal(Decimal("2.5"), Numeric(10, 2)).label("amount"),
                literal({"b": 1}, JSON).label("data"),
            )
            assert await fetch_one(engine, tuple[Decimal, object], typed) == (
                Decimal("2.50"),
                {"b": 1},
            )

    run(main())


# ------------------------------------------------------------------ transactions


async def count(engine: AsyncEngine) -> int:
    return await fetch_one(engine, int, "SELECT count(*) FROM people")


ADD = "INSERT INTO people VALUES (:id, :name) RETURNING id"


@by_path
def test_on_an_engine_a_statement_is_committed(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            assert await fetch_one(engine, int, ADD, {"id": 4, "name": "Di"}) == 4
            assert await count(engine) == 4
            assert await execute(engine, "DELETE FROM people WHERE id > :id", {"id": 1}) == 3
            assert await count(engine) == 1

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["connection", "session"])
def test_on_a_connection_a_statement_belongs_to_its_transaction(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with db_of(engine, kind) as db:
                await fetch_one(db, int, ADD, {"id": 4, "name": "Di"})
                assert db.in_transaction()
                assert await count(engine) == 3
                await db.commit()
                assert await count(engine) == 4
                await fetch_one(db, int, ADD, {"id": 5, "name": "Ed"})
                await db.rollback()
                assert await count(engine) == 4
                await fetch_one(db, int, ADD, {"id": 6, "name": "Flo"})
            assert await count(engine) == 4

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["connection", "session"])
def test_a_savepoint_rolls_back_the_statements_inside_it(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with db_of(engine, kind) as db:
                await fetch_one(db, int, ADD, {"id": 4, "name": "Di"})
                with pytest.raises(exc.IntegrityError):
                    async with db.begin_nested():
                        await fetch_one(db, int, ADD, {"id": 5, "name": "Ed"})
                        await fetch_one(db, int, ADD, {"id": 4, "name": "again"})
                assert await fetch_one(db, int, "SELECT count(*) FROM people") == 4
                await db.commit()
            assert await count(engine) == 4

    run(main())


@by_path
def test_after_an_error_the_application_has_to_roll_back(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, engine.connect() as connection:
            with pytest.raises(exc.ProgrammingError):
                await fetch_one(connection, int, "SELECT nothing FROM people")
            with pytest.raises(exc.DBAPIError, match="current transaction is aborted"):
                await fetch_one(connection, int, "SELECT 1")
            await connection.rollback()
            assert await fetch_one(connection, int, "SELECT 1") == 1

    run(main())


@by_path
def test_a_deferred_constraint_fails_at_commit(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            await execute(engine, "DROP TABLE IF EXISTS pets")
            await execute(
                engine,
                "CREATE TABLE pets (owner int REFERENCES people DEFERRABLE INITIALLY DEFERRED)",
            )
            add = "INSERT INTO pets VALUES (99) RETURNING owner"
            with pytest.raises(exc.IntegrityError):
                await fetch_one(engine, int, add)
            async with engine.connect() as connection:
                assert await fetch_one(connection, int, add) == 99
                with pytest.raises(exc.IntegrityError):
                    await connection.commit()
            assert await fetch_one(engine, int, "SELECT count(*) FROM pets") == 0

    run(main())


@by_path
def test_a_closed_transaction_block_raises_the_error_of_execute(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, engine.connect() as connection:
            with pytest.raises(exc.InvalidRequestError, match="closed transaction"):
                async with connection.begin() as transaction:
                    await transaction.rollback()
                    await fetch_one(connection, int, "SELECT 1")

    run(main())


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@by_path
def test_pending_objects_are_flushed_before_a_fetch_as_before_an_execute(
    postgres: Postgres, path: str
) -> None:
    """2.1 flushes before any statement, 2.0 before those of the ORM."""
    everybody = "SELECT count(*) FROM people"

    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            seen = []
            for is_execute in (True, False):
                async with AsyncSession(engine) as session:
                    await session.execute(text("SELECT 1"))
                    session.add(Person(id=7, name="Gus"))
                    if is_execute:
                        seen.append(await session.scalar(text(everybody)))
                    else:
                        seen.append(await fetch_one(session, int, everybody))
                    assert await fetch_one(session, int, select(func.count(Person.id))) == 4
            assert seen[0] == seen[1]

    run(main())


# ------------------------------------------------------------------------ listeners


def test_a_listener_added_between_two_calls_is_called(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            called_with: list[str] = []

            def listener(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
                called_with.append(statement)

            async with engine.connect() as connection:
                await fetch_all(connection, User, ALL)
                event.listen(engine.sync_engine, "before_cursor_execute", listener)
                await fetch_all(connection, User, ALL)
                assert called_with == [ALL]
                await fetch_all(engine, User, ALL)
                assert called_with == [ALL, ALL]
                event.remove(engine.sync_engine, "before_cursor_execute", listener)
                await fetch_all(engine, User, ALL)
                assert called_with == [ALL, ALL]

    run(main())


def test_a_tenant_filter_of_the_session_is_applied(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            only_two = text(ALL.replace("ORDER", "WHERE id = 2 ORDER"))

            def apply_filter(state: Any) -> Any:
                return state.session.connection().execute(only_two)

            async with AsyncSession(engine) as session:
                assert await fetch_all(session, User, ALL) == PEOPLE
                assert await fetch_all(session, User, ALL) == PEOPLE
                event.listen(session.sync_session, "do_orm_execute", apply_filter)
                assert await fetch_all(session, User, ALL) == [PEOPLE[1]]

    run(main())


def test_a_listener_on_the_session_class_is_called(postgres: Postgres) -> None:
    called_with: list[Any] = []

    class Mine(Session):
        pass

    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            async with AsyncSession(engine, sync_session_class=Mine) as session:
                await fetch_all(session, User, ALL)
                event.listen(Mine, "do_orm_execute", called_with.append)
                await fetch_all(session, User, ALL)
                assert len(called_with) == 1

    run(main())


def test_with_echo_every_statement_is_logged(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            with caplog.at_level(logging.INFO, "sqlalchemy.engine"):
                await fetch_one(engine, User, ONE, {"id": 1})

    run(main())
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert any("FROM people WHERE id" in line for line in logged)


@by_path
def test_an_error_listener_can_replace_the_error(postgres: Postgres, path: str) -> None:
    class Mine(Exception):
        pass

    async def main() -> None:
        async with engine_for(postgres, path) as engine:

            @event.listens_for(engine.sync_engine, "handle_error")
            def replace(context: Any) -> None:
                raise Mine from context.original_exception

            with pytest.raises(Mine):
                await fetch_one(engine, int, "SELECT nothing")

    run(main())


# --------------------------------------------------------------------------- errors


ERRORS: dict[str, tuple[str, Any]] = {
    "a syntax error": ("SELEC 1", None),
    "an unknown column": ("SELECT nothing FROM people", None),
    "a broken constraint": ("INSERT INTO people VALUES (1, 'x') RETURNING id", None),
    "a division by zero": ("SELECT 1 / :n", {"n": 0}),
    "a value of the wrong type": ("SELECT CAST(:n AS int)", {"n": "one"}),
    "a missing parameter": (ONE, {}),
    "no parameters at all": (ONE, None),
    "a misspelt parameter": (ONE, {"idd": 1}),
    "two statements": ("SELECT 1; SELECT 2", None),
}


async def error_of(work: Coroutine[Any, Any, Any]) -> BaseException:
    try:
        await work
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
@pytest.mark.parametrize("what", ERRORS)
def test_both_paths_raise_the_error_that_sqlalchemy_raises(
    postgres: Postgres, what: str, kind: str
) -> None:
    statement, parameters = ERRORS[what]

    async def main() -> None:
        for path in PATHS:
            async with engine_for(postgres, path) as engine:
                async with db_of(engine, kind) as db:
                    ours = traits(await error_of(fetch_one(db, int, statement, parameters)))
                async with db_of(engine, kind) as db:
                    theirs = traits(await error_of(run_with_sqlalchemy(db, statement, parameters)))
                assert ours == theirs

    run(main())


async def run_with_sqlalchemy(db: Any, statement: str, parameters: Any) -> None:
    if isinstance(db, AsyncEngine):
        async with db.begin() as connection:
            await connection.execute(text(statement), parameters)
    else:
        await db.execute(text(statement), parameters)


def traits(error: BaseException) -> tuple[Any, ...]:
    """The attributes of an error that an application can read."""
    original = getattr(error, "orig", None)
    return (
        type(error),
        str(error),
        getattr(error, "statement", None),
        getattr(error, "params", None),
        getattr(error, "connection_invalidated", None),
        getattr(error, "hide_parameters", None),
        type(original),
        getattr(original, "sqlstate", None),
        type(error.__cause__),
    )


@by_path
def test_hide_parameters_applies_to_the_errors_of_a_fetch(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, hide_parameters=True) as engine:
            with pytest.raises(exc.DBAPIError) as caught:
                await fetch_one(engine, int, "SELECT 1 / length(:secret) * 0 / 0", {"secret": "s3"})
            assert "s3" not in str(caught.value)

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
def test_a_list_of_parameters_is_refused(postgres: Postgres, path: str, kind: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            with pytest.raises((exc.SQLAlchemyError, RowShapeError)):
                await fetch_one(db, User, ONE, [{"id": 1}, {"id": 2}])  # type: ignore[arg-type]

    run(main())


@by_path
def test_extra_parameters_are_ignored(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            assert await fetch_one(engine, User, ONE, {"id": 1, "more": 2}) == PEOPLE[0]

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
@pytest.mark.parametrize(
    "statement", ["", "CREATE TABLE nothing (n int)", "UPDATE people SET id = id"]
)
def test_a_statement_without_rows_is_refused_and_on_an_engine_rolled_back(
    postgres: Postgres, path: str, kind: str, statement: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with db_of(engine, kind) as db:
                with pytest.raises(RowShapeError, match="returns no rows"):
                    await fetch_all(db, User, statement)
            assert (
                await fetch_one(
                    engine, int, "SELECT count(*) FROM pg_class WHERE relname = 'nothing'"
                )
                == 0
            )

    run(main())


@by_path
def test_a_disconnect_is_reported_and_the_next_call_works(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with admin_of(postgres) as admin:
            async with engine_for(postgres, path) as engine, engine.connect() as connection:
                pid = await fetch_one(connection, int, "SELECT pg_backend_pid()")
                await admin.terminate(pid)
                with pytest.raises(exc.DBAPIError) as caught:
                    await fetch_one(connection, int, "SELECT 1")
                assert caught.value.connection_invalidated
                await connection.rollback()
                assert await fetch_one(connection, int, "SELECT 1") == 1

    run(main())


# ------------------------------------------------------------------- cancel, timeout


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
def test_a_cancelled_statement_ends_on_the_server_and_loses_no_connection(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with admin_of(postgres) as admin, engine_for(postgres, path) as engine:
            mark = new_name()
            async with db_of(engine, kind) as db:
                task = asyncio.ensure_future(
                    fetch_one(db, object, f'SELECT pg_sleep(30) AS "{mark}"')
                )
                assert await running(admin, mark, 1) == 1
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await running(admin, mark, 0) == 0
            assert await asyncio.gather(*(count(engine) for _ in range(5))) == [3] * 5

    run(main())


async def running(admin: Any, mark: str, wanted: int) -> int:
    """Wait until `wanted` backends run a statement that contains this mark, 5 s at most.

    :return: how many do. If `wanted` is not 0, only those that sleep are counted: a cancel request
        that arrives before the statement has no effect.
    """
    watch = Stopwatch()
    while True:
        found: int = await admin.connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
            "AND pid <> pg_backend_pid() AND strpos(query, $1) > 0 "
            "AND (wait_event IS NOT DISTINCT FROM 'PgSleep' OR NOT $2)",
            mark,
            wanted > 0,
        )
        if found == wanted or watch.seconds > 5:
            return found
        await asyncio.sleep(0.01)


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
def test_a_timeout_bounds_the_call_and_ends_the_statement(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with admin_of(postgres) as admin, engine_for(postgres, path) as engine:
            mark = new_name()
            async with db_of(engine, kind) as db:
                watch = Stopwatch()
                with pytest.raises(StatementTimeout, match=r"timeout=0\.2"):
                    await fetch_one(db, object, f'SELECT pg_sleep(30) AS "{mark}"', timeout=0.2)
                assert watch.awake < 2
                assert await running(admin, mark, 0) == 0
            assert await count(engine) == 3

    run(main())


@by_path
def test_a_timeout_covers_the_checkout(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, pool_size=1) as engine:
            async with engine.connect():
                with pytest.raises(StatementTimeout):
                    await fetch_one(engine, int, "SELECT 1", timeout=0.1)
                with pytest.raises(TimeoutError):
                    await execute(engine, "SELECT 1", timeout=0.1)
            assert await fetch_one(engine, int, "SELECT 1", timeout=1) == 1

    run(main())


@by_path
@pytest.mark.parametrize("threshold", [None, 60])
def test_the_holder_of_a_fetch_shows_the_line_that_calls_it(
    postgres: Postgres, path: str, threshold: float | None
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, pool_leak_threshold=threshold) as engine:
            pool = TypedPool.of(engine)
            task = asyncio.ensure_future(holds(engine))
            assert await until(lambda: pool.stats().in_use == 1, 2)
            await asyncio.sleep(0.05)
            (holder,) = pool.holders()
            assert "test_fetch.py" in str(holder.where)
            assert "holds" in str(holder.where)
            task.cancel()
            await asyncio.wait({task})

    run(main())


async def holds(engine: AsyncEngine) -> None:
    await fetch_one(engine, object, "SELECT pg_sleep(30)")


@by_path
def test_a_hundred_cancelled_calls_lose_no_connection(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            tasks = [
                asyncio.ensure_future(fetch_all(engine, User, ALL + f" LIMIT {n % 4}"))
                for n in range(100)
            ]
            for number, task in enumerate(tasks):
                if number % 3:
                    asyncio.get_running_loop().call_later(0.0005 * number, task.cancel)
            await asyncio.wait(tasks)
            for number, task in enumerate(tasks):
                if not task.cancelled():
                    assert task.result() == PEOPLE[: number % 4]
            assert await asyncio.gather(*(count(engine) for _ in range(9))) == [3] * 9

    run(main())


def test_a_call_that_is_closed_instead_of_cancelled_loses_no_connection(postgres: Postgres) -> None:
    """The garbage collector closes a coroutine that is never resumed."""

    async def main() -> None:
        # asyncpg logs an answer that arrives after the call was closed
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with engine_for(postgres, "fast") as engine:
            await count(engine)  # prepares the statement
            call = fetch_one(engine, object, "SELECT pg_sleep(30)")
            awaited = call.send(None)  # runs until it first waits for the server
            awaited._asyncio_future_blocking = False
            assert TypedPool.of(engine).stats().in_use == 1
            call.close()
            assert TypedPool.of(engine).stats().in_use == 0
            assert await asyncio.gather(*(count(engine) for _ in range(5))) == [3] * 5

    asyncio.run(main())


def test_an_unreachable_server_raises_the_error_of_connect() -> None:
    async def main() -> None:
        seen = []
        for path in ("fast", "slow", "sqlalchemy"):
            engine = make_engine(
                "postgresql+asyncpg://nobody@127.0.0.1:1/nothing", pool_connect_retry=0
            )
            if path == "slow":
                event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
            work = engine.begin().__aenter__() if path == "sqlalchemy" else count(engine)
            seen.append(traits(await error_of(work))[:5])
            await engine.dispose()
        assert seen[0] == seen[1] == seen[2]

    run(main())


# -------------------------------------------------------------------- shape and DDL


@by_path
@by_db
def test_a_wrong_shape_is_reported_before_the_first_row_and_for_an_empty_result(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            with pytest.raises(RowShapeError) as caught:
                await fetch_all(db, User, "SELECT id, 1 AS more FROM people WHERE false")
            assert "name" in str(caught.value)
            assert "more" in str(caught.value)

    run(main())


@by_path
def test_a_wrong_shape_on_an_engine_changes_nothing(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with pytest.raises(RowShapeError):
                await fetch_one(engine, User, "DELETE FROM people RETURNING id")
            assert await count(engine) == 3

    run(main())


@by_path
def test_a_wrong_value_on_an_engine_is_reported_after_the_commit(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with pytest.raises(RowValueError, match="nick"):
                await fetch_all(engine, str, "DELETE FROM people RETURNING nick")
            assert await count(engine) == 0

    run(main())


@by_path
def test_an_engine_adapts_to_a_migration_between_two_calls(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            everything = "SELECT * FROM people WHERE id = 1"
            assert await fetch_one(engine, User, everything) == PEOPLE[0]
            async with admin_of(postgres) as admin:
                await admin.connection.execute("ALTER TABLE people DROP COLUMN nick")
            assert await fetch_one(engine, tuple[int, str], everything) == (1, "Ada")

    run(main())


@by_path
def test_after_a_migration_a_transaction_fails_with_sqlalchemys_error(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, engine.connect() as connection:
            everything = "SELECT * FROM people WHERE id = 1"
            assert await fetch_one(connection, User, everything) == PEOPLE[0]
            await connection.commit()
            async with admin_of(postgres) as admin:
                await admin.connection.execute("ALTER TABLE people DROP COLUMN nick")
            with pytest.raises(exc.NotSupportedError, match="invalidate all prepared caches"):
                await fetch_one(connection, tuple[int, str], everything)
            await connection.rollback()
            assert await fetch_one(connection, tuple[int, str], everything) == (1, "Ada")

    run(main())


# ------------------------------------------------------------------ settings, options


@pytest.mark.parametrize(
    "options",
    [
        {"isolation_level": "SERIALIZABLE"},
        {"isolation_level": "AUTOCOMMIT"},
        {"execution_options": {"isolation_level": "REPEATABLE READ"}},
        {"connect_args": {"prepared_statement_cache_size": 0}},
        {"connect_args": {"prepared_statement_name_func": lambda: f"__{new_name()}__"}},
    ],
    ids=["SERIALIZABLE", "AUTOCOMMIT", "REPEATABLE READ as an option", "no cache", "named"],
)
def test_settings_that_the_fast_path_does_not_support_take_the_slow_path(
    postgres: Postgres, paths: Paths, options: dict[str, Any]
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast", **options) as engine:
            level = await fetch_one(engine, str, "SELECT current_setting('transaction_isolation')")
            wanted = {"SERIALIZABLE": "serializable", "REPEATABLE READ": "repeatable read"}
            given = options.get("isolation_level") or options.get("execution_options", {}).get(
                "isolation_level"
            )
            assert level == wanted.get(given, "read committed")

    run(main())
    assert paths.slow() == 1


def test_options_given_to_an_engine_after_its_first_statement_are_applied(
    postgres: Postgres, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            level = "SELECT current_setting('transaction_isolation')"
            assert await fetch_one(engine, str, level) == "read committed"
            other = engine.execution_options(isolation_level="REPEATABLE READ")
            assert await fetch_one(other, str, level) == "repeatable read"
            engine.sync_engine.update_execution_options(isolation_level="SERIALIZABLE")
            assert await fetch_one(engine, str, level) == "serializable"

    run(main())
    assert paths.slow() == 2


@pytest.mark.parametrize("kind", ["connection", "session"])
def test_the_isolation_level_of_a_connection_is_applied(postgres: Postgres, kind: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine, engine.connect() as connection:
            await connection.execution_options(
                isolation_level="SERIALIZABLE", postgresql_readonly=True
            )
            db: Any = connection if kind == "connection" else AsyncSession(connection)
            for _ in range(2):
                shown = await fetch_one(
                    db,
                    tuple[str, str],
                    "SELECT current_setting('transaction_isolation'), "
                    "current_setting('transaction_read_only')",
                )
                assert shown == ("serializable", "on")
            if kind == "session":
                await db.close()

    run(main())


@pytest.mark.parametrize(
    "statement", ["-- who asks\nSELECT 1", "/* path=* */ SELECT 1", "(SELECT 1)", "\n  values (1)"]
)
def test_statements_after_blanks_comments_and_parentheses_take_the_fast_path(
    postgres: Postgres, paths: Paths, statement: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            assert await fetch_one(engine, int, statement) == 1

    run(main())
    assert paths.slow() == 0


@pytest.mark.parametrize("pool", [AsyncAdaptedQueuePool, NullPool])
def test_with_another_pool_a_statement_of_an_engine_takes_the_slow_path(
    postgres: Postgres, paths: Paths, pool: Any
) -> None:
    async def main() -> None:
        engine = create_async_engine(postgres.url("asyncpg"), poolclass=pool)
        try:
            assert await fetch_one(engine, int, "SELECT 1") == 1
            assert paths.slow() == 1
            async with engine.connect() as connection:
                assert await fetch_one(connection, int, "SELECT 1") == 1
            assert paths.slow() == 1
        finally:
            await engine.dispose()

    run(main())


def test_an_isolation_level_is_reset_when_its_connection_is_returned(
    postgres: Postgres, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast", pool_size=1) as engine:
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="SERIALIZABLE")
                await connection.execute(text("SELECT 1"))
            level = "SELECT current_setting('transaction_isolation')"
            assert await fetch_one(engine, str, level) == "read committed"

    run(main())
    assert paths.slow() == 0


@pytest.mark.parametrize(
    "statement", ["CALL twice()", "SHOW server_version_num", "EXPLAIN SELECT 1"]
)
def test_statements_that_are_unsafe_without_a_transaction_take_the_slow_path(
    postgres: Postgres, paths: Paths, statement: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            await execute(
                engine,
                "CREATE OR REPLACE PROCEDURE twice(INOUT n int DEFAULT 1) LANGUAGE plpgsql "
                "AS 'BEGIN n := 2; END'",
            )
            await fetch_all(engine, object, statement)

    run(main())
    assert paths.slow() == 1


# --------------------------------------------------------------------------- stream


@by_path
@by_db
def test_a_stream_yields_every_row_in_order(postgres: Postgres, path: str, kind: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            numbers = stream(
                db, int, "SELECT g FROM generate_series(1, :most) AS g", {"most": 2500}
            )
            assert [number async for number in numbers] == list(range(1, 2501))

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
@pytest.mark.parametrize("how", ["closed", "cancelled", "failed"])
def test_a_stream_left_early_returns_its_connection(
    postgres: Postgres, path: str, kind: str, how: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with db_of(engine, kind) as db:
                rows = stream(db, int, "SELECT g FROM generate_series(1, 1000000) AS g")
                reached = asyncio.Event()

                async def read() -> None:
                    async with aclosing(rows) as numbers:
                        async for number in numbers:
                            if number == 1500 and how == "cancelled":
                                reached.set()
                                await asyncio.Event().wait()
                            if number == 1500 and how == "failed":
                                raise LookupError
                            if number == 1500:
                                break

                task = asyncio.ensure_future(read())
                if how == "cancelled":
                    await asyncio.wait_for(reached.wait(), 10)
                    task.cancel()
                await asyncio.wait({task})
                assert how != "failed" or isinstance(task.exception(), LookupError)
                if kind != "engine":
                    assert await fetch_one(db, int, "SELECT 1") == 1
            pool = TypedPool.of(engine)
            assert await until(lambda: pool.stats().in_use == 0, 2)
            assert await count(engine) == 3

    run(main())


@by_path
def test_a_wrong_value_in_a_stream_names_its_row(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            sql = "SELECT NULLIF(g, 2222) FROM generate_series(1, 3000) AS g"
            with pytest.raises(RowValueError, match="row 2222"):
                async for _ in stream(engine, int, sql):
                    pass

    run(main())


# ------------------------------------------------------------------------- rows_as


def test_rows_as_reads_the_rows_of_a_result_strictly(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine, AsyncSession(engine) as session:

            async def result() -> Any:
                return await session.execute(text(ALL))

            assert rows_as(await result(), User).all() == PEOPLE
            assert list(rows_as(await result(), User)) == PEOPLE
            assert rows_as(await result(), User).first() == PEOPLE[0]
            with pytest.raises(exc.MultipleResultsFound):
                rows_as(await result(), User).one()
            names = await session.scalars(select(people.c.name).order_by(people.c.id))
            assert rows_as(names, str).all() == ["Ada", "Bob", "Cy"]
            nicks = await session.scalars(select(people.c.nick).order_by(people.c.id))
            with pytest.raises(RowValueError, match="row 1"):
                rows_as(nicks, str).all()
            with pytest.raises(RowShapeError, match="nick"):
                rows_as(await session.execute(text("SELECT 1 AS id, 'x' AS nick")), User)
            streamed = await session.stream(text(ALL))
            assert [user async for user in rows_as(streamed, User)] == PEOPLE
            streamed = await session.stream(text(ALL))
            assert await rows_as(streamed, User).all() == PEOPLE

    run(main())


def test_anything_but_an_executor_is_refused(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            for wrong in (engine.sync_engine, None, "postgresql://"):
                with pytest.raises(TypeError, match="AsyncEngine, AsyncConnection or AsyncSession"):
                    await fetch_all(wrong, User, ALL)  # type: ignore[call-overload]

    run(main())


# ---------------------------------------------------- found by a review of the fast path


class Filtered(AsyncSession):
    """A session that replaces every statement."""

    async def execute(self, statement: Any, *args: Any, **options: Any) -> Any:
        return await super().execute(text("SELECT 'filtered'"))


class FilteredSync(Session):
    def execute(self, statement: Any, *args: Any, **options: Any) -> Any:
        return super().execute(text("SELECT 'filtered'"))


def test_an_execute_overridden_in_a_session_is_called(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            for session in (
                Filtered(engine),
                AsyncSession(engine, sync_session_class=FilteredSync),
            ):
                async with session:
                    for _ in range(3):
                        assert await fetch_one(session, str, "SELECT 'seen'") == "filtered"

    run(main())


@pytest.mark.parametrize("name", ["execute", "_execute_internal"])
@pytest.mark.parametrize("where", ["class", "session"])
def test_an_execute_patched_into_a_session_is_called(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, where: str, name: str
) -> None:
    seen: list[str] = []
    original = getattr(Session, name)

    def traced(session: Session, statement: Any, *args: Any, **options: Any) -> Any:
        seen.append(str(statement))
        return original(session, statement, *args, **options)

    async def main() -> None:
        async with engine_for(postgres, "fast") as engine, db_of(engine, "session") as session:
            assert await fetch_one(session, int, "SELECT 1") == 1
            assert not seen, "the first statement took the slow path"
            if where == "class":
                monkeypatch.setattr(Session, name, traced)
            else:
                sync = session.sync_session
                setattr(sync, name, partial(traced, sync))
            assert await fetch_one(session, int, "SELECT 2") == 2
            assert seen == ["SELECT 2"]

    run(main())


def test_a_statement_of_an_engine_does_not_run_in_a_transaction_left_open(
    postgres: Postgres,
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast", pool_size=1) as engine:
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.execute(text("BEGIN"))
            with pytest.raises(exc.InterfaceError, match="manually started transaction"):
                await fetch_one(engine, int, ADD, {"id": 4, "name": "Di"})
            await engine.dispose()
            assert await count(engine) == 3

    run(main())


class Unreadable(TypeDecorator[str]):
    impl = Text
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        raise LookupError("cannot read")


@by_path
def test_an_error_of_a_result_processor_rolls_back_on_an_engine(
    postgres: Postgres, path: str
) -> None:
    unreadable = Table("people", MetaData(), Column("id", Integer), Column("name", Unreadable))

    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with pytest.raises(LookupError):
                await fetch_one(
                    engine,
                    str,
                    insert(unreadable).values(id=9, name="x").returning(unreadable.c.name),
                )
            assert await count(engine) == 3

    run(main())


@by_path
def test_an_error_of_a_result_processor_rolls_back_a_writing_cte_on_an_engine(
    postgres: Postgres, path: str
) -> None:
    unreadable = Table("people", MetaData(), Column("id", Integer), Column("name", Unreadable))
    added = insert(unreadable).values(id=9, name="x").returning(unreadable.c.name).cte("added")

    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with pytest.raises(LookupError):
                await fetch_one(engine, str, select(added.c.name))
            assert await count(engine) == 3
            async with engine.connect() as connection:
                with pytest.raises(LookupError):
                    await fetch_one(connection, str, select(added.c.name))
                await connection.commit()
            assert await count(engine) == 4, "on a connection the application decides"

    run(main())


@by_path
@by_db
def test_stars_and_functions_return_what_sqlalchemy_returns(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            star = select(literal_column("people.*")).select_from(people).order_by(people.c.id)
            assert (await fetch_all(db, tuple[int, str, str | None], star))[0] == (1, "Ada", None)
            if kind in ("session", "scoped"):
                return  # a session refuses these with other errors
            assert await fetch_one(db, int, func.length("four")) == 4
            with pytest.raises(exc.ObjectNotExecutableError):
                await fetch_all(db, int, select(people.c.id).scalar_subquery())  # type: ignore[call-overload]

    run(main())


@by_path
def test_a_defaultdict_does_not_supply_missing_parameters(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with pytest.raises(exc.StatementError, match="bind parameter 'id'"):
                await fetch_one(engine, User, ONE, defaultdict(lambda: 1))

    run(main())


@pytest.mark.parametrize("cache_size", [500, 0])
def test_the_values_of_a_deleted_statement_are_garbage_collected(
    postgres: Postgres, cache_size: int
) -> None:
    class Large(list[int]):
        pass

    async def main() -> None:
        async with engine_for(postgres, "fast", query_cache_size=cache_size) as engine:
            seen = []
            for _ in range(20):
                large = Large([1] * 1000)
                seen.append(weakref.ref(large))
                ids = bindparam(None, large, type_=ARRAY(Integer), unique=True)
                await fetch_all(
                    engine, int, select(people.c.id).where(people.c.id == func.any(ids))
                )
                del large, ids
            gc.collect()
            assert sum(one() is not None for one in seen) <= 1

    run(main())


@by_path
def test_with_a_timeout_a_scoped_session_stays_in_its_transaction(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, "scoped") as scoped:
            assert await execute(scoped, "DELETE FROM people WHERE id = 1", timeout=5) == 1
            everybody = "SELECT count(*) FROM people"
            assert await fetch_one(scoped, int, everybody) == 2
            assert await fetch_one(scoped, int, everybody, timeout=5) == 2
            await scoped.rollback()
            assert await fetch_one(scoped, int, everybody, timeout=5) == 3

    run(main())
