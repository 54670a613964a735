"""Declared queries on PostgreSQL: each cardinality on each kind of executor."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError, MultipleResultsFound, NoResultFound
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
)

from sqla_typedpool import (
    Executor,
    RowCount,
    RowShapeError,
    RowValueError,
    StatementTimeout,
    TypedPool,
    TypedPoolError,
    query,
)
from tests.support.engines import engine_on, new_name, run
from tests.support.fetch_lab import no_listener

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres

PATHS = ("fast", "slow")
KINDS = ("engine", "connection", "session", "scoped")
by_path = pytest.mark.parametrize("path", PATHS, ids=[f"{path} path" for path in PATHS])
by_kind = pytest.mark.parametrize("kind", KINDS)


@dataclass(frozen=True)
class Person:
    id: int
    name: str
    nick: str | None


people = Table("people", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))


class People:
    """A repository, as in an application."""

    @query("SELECT id, name, nick FROM people WHERE id = :id")
    async def get(self, db: Executor, *, id: int) -> Person:  # noqa: A002 - the column's name
        raise NotImplementedError

    @query("SELECT id, name, nick FROM people WHERE name LIKE :pattern")
    async def find(self, db: Executor, *, pattern: str) -> Person | None:
        raise NotImplementedError

    @query("SELECT nick FROM people WHERE id = :person")
    async def nick(self, db: Executor, person: int) -> str | None:
        raise NotImplementedError

    @query("SELECT id, name, nick FROM people ORDER BY id")
    async def all(self, db: Executor) -> list[Person]:
        raise NotImplementedError

    @query("SELECT id FROM people WHERE id = ANY(:ids) ORDER BY id")
    async def known(self, db: Executor, ids: list[int]) -> Sequence[int]:
        raise NotImplementedError

    @query("SELECT n, 'name ' || n FROM generate_series(1, :most) AS n")
    def many(self, db: Executor, *, most: int = 5000) -> AsyncGenerator[tuple[int, str], None]:
        raise NotImplementedError

    @query("SELECT array[1, 2] AS numbers")
    async def numbers(self, db: Executor) -> tuple[list[int]]:
        raise NotImplementedError

    @query("UPDATE people SET nick = :nick WHERE id = :person")
    async def call(self, db: Executor, *, person: int, nick: str | None) -> RowCount:
        raise NotImplementedError

    @query("INSERT INTO people (id, name) VALUES (:person, :name)")
    async def add(self, db: Executor, person: int, name: str) -> None:
        raise NotImplementedError

    @query(insert(people).returning(people.c.id))
    async def add_by_core(self, db: Executor, *, id: int, name: str) -> int:  # noqa: A002
        raise NotImplementedError

    @query(select(people.c.id).where(people.c.id.in_(bindparam("ids", expanding=True))))
    async def known_by_core(self, db: Executor, ids: list[int]) -> list[int]:
        raise NotImplementedError

    @query("SELECT id::text AS id, name, nick FROM people ORDER BY people.id")
    async def wrong_type(self, db: Executor) -> list[Person]:
        raise NotImplementedError

    @query("SELECT id, nick AS name, nick FROM people ORDER BY id DESC")
    async def wrong_null(self, db: Executor) -> list[Person]:
        raise NotImplementedError

    @query(
        "SELECT n AS id, nullif(n, 1500)::text AS name, NULL AS nick "
        "FROM generate_series(1, 2000) AS n"
    )
    def wrong_stream(self, db: Executor) -> AsyncIterator[Person]:
        raise NotImplementedError

    @query("SELECT pg_sleep(20)", timeout=0.2)
    async def slow(self, db: Executor) -> None:
        raise NotImplementedError

    @query("SELECT pg_sleep(20)::text", timeout=0.2)
    def slow_stream(self, db: Executor) -> AsyncIterator[str]:
        raise NotImplementedError


REPO = People()


@asynccontextmanager
async def engine_for(server: Postgres, path: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a new schema with two people. At the end no connection may be in use."""
    schema = new_name()
    settings = {"server_settings": {"search_path": f'"{schema}"'}}
    url = server.url("asyncpg")
    async with engine_on(url, connect_args=settings, pool_size=3, max_overflow=0) as engine:
        async with engine.begin() as connection:
            for statement in (
                f'CREATE SCHEMA "{schema}"',
                "CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, nick text)",
                "INSERT INTO people VALUES (1, 'Ada', 'Countess'), (2, 'Bob', NULL)",
            ):
                await connection.execute(text(statement))
        if path == "slow":
            event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
        yield engine
        assert TypedPool.of(engine).stats().in_use == 0, "a connection was lost"
        async with engine.begin() as connection:
            await connection.execute(text(f'DROP SCHEMA "{schema}" CASCADE'))


@asynccontextmanager
async def executor(engine: AsyncEngine, kind: str) -> AsyncIterator[Any]:
    """An engine, connection or session to run a query on; its transaction is rolled back."""
    if kind == "engine":
        yield engine
    elif kind == "connection":
        async with engine.connect() as connection:
            yield connection
            await connection.rollback()
    elif kind == "session":
        async with AsyncSession(engine) as session:
            yield session
    else:
        scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
        yield scoped
        await scoped.remove()


def on(server: Postgres, path: str, kind: str, work: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        async with engine_for(server, path) as engine, executor(engine, kind) as db:
            await work(db)

    run(main())


@by_path
@by_kind
def test_each_cardinality_works_on_each_executor(postgres: Postgres, path: str, kind: str) -> None:
    async def work(db: Any) -> None:
        ada, bob = Person(1, "Ada", "Countess"), Person(2, "Bob", None)
        assert await REPO.get(db, id=1) == ada
        assert await REPO.find(db, pattern="B%") == bob
        assert await REPO.find(db, pattern="C%") is None
        assert [await REPO.nick(db, person) for person in (1, 2, 3)] == ["Countess", None, None]
        assert await REPO.all(db) == [ada, bob]
        assert await REPO.known(db, [1, 2, 3]) == [1, 2]
        assert await REPO.numbers(db) == ([1, 2],)
        assert await REPO.call(db, person=2, nick="Bobby") == 1
        assert await REPO.call(db, person=7, nick=None) == 0
        assert await REPO.add(db, 3, "Eve") is None  # type: ignore[func-returns-value]
        assert await REPO.add_by_core(db, id=4, name="Dan") == 4
        assert await REPO.known_by_core(db, [1, 3, 5]) == [1, 3]
        assert await REPO.known_by_core(db, []) == []
        assert [row async for row in REPO.many(db)][-1] == (5000, "name 5000")

    on(postgres, path, kind, work)


@by_path
def test_an_engine_commits_and_a_connection_does_not(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with engine.connect() as connection:
                assert await REPO.call(connection, person=1, nick="Ida") == 1
            assert await REPO.nick(engine, 1) == "Countess"
            assert await REPO.call(engine, person=1, nick="Ida") == 1
            assert await REPO.nick(engine, 1) == "Ida"

    run(main())


@by_path
@by_kind
def test_errors_name_the_query(postgres: Postgres, path: str, kind: str) -> None:
    async def work(db: Any) -> None:
        with pytest.raises(RowShapeError, match=r"query .*People\.wrong_type"):
            await REPO.wrong_type(db)
        with pytest.raises(RowValueError) as raised:
            await REPO.wrong_null(db)
        assert raised.value.query == f"{__name__}.People.wrong_null"
        with pytest.raises(RowValueError) as raised:
            [person async for person in REPO.wrong_stream(db)]
        assert raised.value.query == f"{__name__}.People.wrong_stream"
        assert raised.value.row == 1500

    on(postgres, path, kind, work)


@by_path
def test_the_error_of_a_query_does_not_name_an_earlier_query(postgres: Postgres, path: str) -> None:
    class Others(People):
        @query("SELECT id::text AS id, name, nick FROM people ORDER BY people.id")
        async def wrong_too(self, db: Executor) -> list[Person]:
            raise NotImplementedError

    async def work(db: Any) -> None:
        for call, name in ((REPO.wrong_type, "wrong_type"), (Others().wrong_too, "wrong_too")):
            with pytest.raises(RowShapeError, match=rf"\.{name}\b"):
                await call(db)

    on(postgres, path, "engine", work)


@by_path
def test_the_errors_of_sqlalchemy_are_raised_unchanged(postgres: Postgres, path: str) -> None:
    async def work(db: Any) -> None:
        with pytest.raises(NoResultFound):
            await REPO.get(db, id=7)
        with pytest.raises(MultipleResultsFound):
            await REPO.find(db, pattern="%")
        with pytest.raises(IntegrityError):
            await REPO.add(db, 1, "Ada")

    on(postgres, path, "engine", work)


@by_path
@by_kind
def test_a_timeout_ends_the_call(postgres: Postgres, path: str, kind: str) -> None:
    async def work(db: Any) -> None:
        with pytest.raises(StatementTimeout, match=r"timeout=0\.2"):
            await REPO.slow(db)

    on(postgres, path, kind, work)


def test_a_timeout_ends_the_wait_for_the_rows_of_a_stream(postgres: Postgres) -> None:
    async def work(db: Any) -> None:
        with pytest.raises(StatementTimeout, match=r"timeout=0\.2"):
            [row async for row in REPO.slow_stream(db)]

    on(postgres, "fast", "engine", work)


@by_path
def test_a_stream_that_is_closed_early_releases_its_connection(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            for _ in range(10):  # more than the pool has connections
                async with aclosing(REPO.many(engine, most=100_000)) as rows:
                    async for number, _ in rows:
                        if number == 3:
                            break
                assert TypedPool.of(engine).stats().in_use == 0

    run(main())


def test_a_stream_that_is_never_read_uses_no_connection(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            streams = [REPO.many(engine) for _ in range(10)]
            assert TypedPool.of(engine).stats().in_use == 0
            del streams

    run(main())


def test_psycopg_reports_the_row_count_only_of_some_statements(postgres: Postgres) -> None:
    pytest.importorskip("psycopg")

    @query("SELECT 1 FROM generate_series(1, 3)")
    async def three(db: Executor) -> RowCount:
        raise NotImplementedError

    @query("SET application_name = 'x'")
    async def uncounted(db: Executor) -> RowCount:
        raise NotImplementedError

    async def main() -> None:
        async with engine_on(postgres.url("psycopg")) as engine:
            assert await three(engine) == 3
            with pytest.raises(TypedPoolError, match=r"uncounted was run, but the driver did not"):
                await uncounted(engine)

    run(main())
