"""An application gets the same results with SQLAlchemy's pool and with ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import ForeignKey, String, event, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.ext.asyncio import async_sessionmaker as sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload
from sqlalchemy.pool import AsyncAdaptedQueuePool

from sqla_typedpool import TypedPool
from tests.support.drivers import POSTGRESQL, SERVERS
from tests.support.engines import ask, engine_on, fill, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.databases import Database, PostgresDatabase
    from tests.support.servers.pgbouncer import PgBouncer


class Base(DeclarativeBase):
    pass


class Team(Base):
    __tablename__ = "drop_in_team"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)
    members: Mapped[list[Member]] = relationship(back_populates="team", cascade="all")


class Member(Base):
    __tablename__ = "drop_in_member"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))
    team_id: Mapped[int] = mapped_column(ForeignKey(Team.id))
    team: Mapped[Team] = relationship(back_populates="members")


async def application(engine: AsyncEngine) -> list[object]:
    """Use an engine in many ways; return all results."""
    results: list[object] = []
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    await sessions(sessionmaker(engine, expire_on_commit=False), results)
    await connections(engine, results)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    return results


async def sessions(make: sessionmaker[AsyncSession], results: list[object]) -> None:
    async with make() as db, db.begin():
        db.add(Team(id=1, name="red", members=[Member(id=i, name=f"m{i}") for i in range(5)]))
        await db.flush()
        try:
            async with db.begin_nested():
                db.add(Team(id=2, name="red"))
        except IntegrityError as error:
            results.append(type(error).__name__)
        async with db.begin_nested():
            db.add(Team(id=3, name="blue"))
    with pytest.raises(ZeroDivisionError):
        async with make() as db, db.begin():
            db.add(Team(id=4, name="never"))
            await db.flush()
            raise ZeroDivisionError
    async with make() as db:
        teams = await db.scalars(select(Team).options(selectinload(Team.members)).order_by(Team.id))
        results.append([(team.name, [member.name for member in team.members]) for team in teams])
        await db.rollback()
        results.append(await db.scalar(select(func.count()).select_from(Member)))
        red = await db.get_one(Team, 1)
        await db.refresh(red, ["members"])
        results.append(await db.run_sync(lambda sync: sync.get_one(Team, 3).name))
        await db.delete(red)
        await db.flush()
        results.append(await db.scalar(select(func.count()).select_from(Member)))
        # not committed: closing the session rolls it back
    await asyncio.gather(*(count(make, results) for _ in range(12)))


async def count(make: sessionmaker[AsyncSession], results: list[object]) -> None:
    async with make() as db:
        results.append(await db.scalar(select(func.count()).select_from(Member)))


async def connections(engine: AsyncEngine, results: list[object]) -> None:
    many = select(Member.id).order_by(Member.id)
    async with engine.connect() as connection:
        async with connection.stream(many) as rows:
            results.append([row.id async for row in rows])
        streamed = await connection.stream(many)
        results.append((await streamed.first()) is not None)
        await connection.commit()
        nested = await connection.begin_nested()
        await connection.execute(text("DELETE FROM drop_in_member"))
        await nested.rollback()
        results.append(await connection.scalar(select(func.count()).select_from(Member)))
        try:
            await connection.execute(text("SELECT nothing FROM nowhere"))
        except DBAPIError as error:
            results.append((type(error).__name__, error.connection_invalidated))
        await connection.rollback()
        results.append(connection.in_transaction())
    async with engine.connect() as connection:
        auto = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await auto.execute(text("INSERT INTO drop_in_team (id, name) VALUES (9, 'auto')"))
    async with engine.execution_options(isolation_level="SERIALIZABLE").connect() as connection:
        results.append(await connection.get_isolation_level())
        results.append(await connection.scalar(select(func.count()).select_from(Team)))
    async with engine.connect() as connection:
        results.append(connection.dialect.default_isolation_level)
        results.append(await connection.get_isolation_level())
        await connection.invalidate()
        results.append(connection.invalidated)
        await connection.rollback()
        results.append(await connection.scalar(text("SELECT 1")))
    if engine.dialect.driver != "psycopg":  # SQLAlchemy does not close its detached connections
        async with engine.connect() as connection:
            await connection.run_sync(lambda sync: sync.detach())
            results.append(await connection.scalar(text("SELECT 1")))
    async with engine.connect() as connection:
        fairy = await connection.get_raw_connection()
        fairy.info["mark"] = 1
    async with engine.connect() as connection:
        results.append((await connection.get_raw_connection()).info.get("mark"))


def engines(url: str) -> dict[str, Callable[[], AsyncEngine]]:
    separator = "&" if "?" in url else "?"
    options: dict[str, Any] = {"pool_size": 3, "max_overflow": 2, "pool_pre_ping": True}
    return {
        "poolclass": lambda: create_async_engine(url, poolclass=TypedPool, **options),
        "plugin": lambda: create_async_engine(
            f"{url}{separator}plugin=typedpool&pool_min_size=1&pool_idle_timeout=30", **options
        ),
        "configured": lambda: create_async_engine(
            url, poolclass=TypedPool.configured(pool_min_size=1), **options
        ),
    }


async def check_application(url: str, method: str) -> None:
    sizes = {"pool_size": 3, "max_overflow": 2, "pool_use_lifo": True}
    stock = create_async_engine(url, poolclass=AsyncAdaptedQueuePool, **sizes)
    try:
        expected = await application(stock)
    finally:
        await stock.dispose()
    engine = engines(url)[method]()
    pool = TypedPool.of(engine)
    try:
        assert await application(engine) == expected
        assert (pool.checkedout(), pool.stats().waiting, pool.stats().timeouts) == (0, 0, 0)
        assert pool.checkedin() <= 3
        assert pool.stats().checkouts > 20
    finally:
        await engine.dispose()


METHODS = ("poolclass", "plugin", "configured")


@pytest.fixture(autouse=True)
def _register_plugin() -> None:
    """Register the plugin like an installed package: the tests also run from the source tree."""
    from sqlalchemy.dialects import plugins

    plugins.register("typedpool", "sqla_typedpool.pool.plugin", "TypedPoolPlugin")


@pytest.mark.parametrize(
    ("driver", "method", "loop"),
    [
        *(
            (driver, method, "asyncio")
            for driver in (*POSTGRESQL, "aiosqlite")
            for method in METHODS
        ),
        ("asyncpg", "poolclass", "uvloop"),
    ],
)
def test_an_application_gets_the_same_results(database: Database, method: str, loop: str) -> None:
    run(check_application(database.dsn, method), loop)


# ---------------------------------------------------- changed tables and credentials


@pytest.mark.parametrize("driver", ["asyncpg"])
def test_a_changed_table_fails_one_statement_at_most_and_none_after_retire_all(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=3, max_overflow=0) as engine:
            async with engine.begin() as connection:
                await connection.execute(text("DROP TABLE IF EXISTS altered"))
                await connection.execute(text("CREATE TABLE altered (a int)"))

            async def read_on_all() -> list[BaseException]:
                held = [await engine.connect() for _ in range(3)]
                failed: list[BaseException] = []
                for connection in held:
                    try:
                        await connection.execute(text("SELECT * FROM altered"))
                    except DBAPIError as error:
                        failed.append(error)
                    await connection.close()
                return failed

            assert await read_on_all() == []
            async with engine.begin() as connection:
                await connection.execute(text("ALTER TABLE altered ADD COLUMN b int"))
            assert len(await read_on_all()) <= 1
            assert await read_on_all() == []
            async with engine.begin() as connection:
                await connection.execute(text("ALTER TABLE altered ADD COLUMN c int"))
            TypedPool.of(engine).retire_all()
            assert await read_on_all() == []
            async with engine.begin() as connection:
                await connection.execute(text("DROP TABLE altered"))

    run(main())


@pytest.mark.parametrize("driver", POSTGRESQL)
@pytest.mark.parametrize("method", ["do_connect", "creator"])
def test_rotated_credentials_are_used_after_retire_all(
    stoppable_database: PostgresDatabase, driver: str, method: str
) -> None:
    database = stoppable_database
    password = "first"

    async def creator() -> Any:
        address: dict[str, Any] = {"host": database.url.host, "port": database.url.port}
        if driver == "asyncpg":
            import asyncpg

            return await asyncpg.connect(
                **address, user="app", password=password, database="postgres"
            )
        import psycopg

        return await psycopg.AsyncConnection.connect(
            **address, user="app", password=password, dbname="postgres"
        )

    async def main() -> None:
        nonlocal password
        async with database.administrator() as execute:
            await execute("CREATE ROLE app LOGIN PASSWORD 'first'")
            await database.require_password("app")
            url = database.url.set(username="app")
            options = {"async_creator": creator} if method == "creator" else {}
            async with engine_on(url, pool_size=3, **options) as engine:
                if method == "do_connect":

                    @event.listens_for(engine.sync_engine, "do_connect")
                    def _(dialect: Any, record: Any, args: Any, parameters: dict[str, Any]) -> None:
                        parameters["password"] = password

                pids = await fill(engine, 3)
                await execute("ALTER ROLE app PASSWORD 'second'")
                password = "second"
                TypedPool.of(engine).retire_all()
                assert not set(pids) & set(await fill(engine, 3))

    run(main())


# ---------------------------------------------------------------------------- pgbouncer


def test_a_ping_works_behind_pgbouncer_in_transaction_mode(pgbouncer: PgBouncer) -> None:
    from uuid import uuid4

    async def main() -> None:
        arguments = {
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"__asyncpg_{uuid4()}__",
        }
        options = {"pool_size": 4, "pool_validate_after": 0, "connect_args": arguments}
        async with engine_on(pgbouncer.url("asyncpg"), **options) as engine:
            for _ in range(5):
                assert await asyncio.gather(*(ask(engine) for _ in range(8))) == [1] * 8
            stats = TypedPool.of(engine).stats()
            assert stats.pings >= 4
            assert stats.failed_pings == 0

    run(main())


def test_psycopg_without_prepared_statements_works_behind_pgbouncer(pgbouncer: PgBouncer) -> None:
    async def main() -> None:
        options = {"pool_validate_after": 0, "connect_args": {"prepare_threshold": None}}
        async with engine_on(pgbouncer.url("psycopg"), pool_size=4, **options) as engine:
            for _ in range(5):
                assert await asyncio.gather(*(ask(engine) for _ in range(8))) == [1] * 8
            assert TypedPool.of(engine).stats().failed_pings == 0

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_the_sessions_of_an_engine_are_those_that_the_tests_count(database: Database) -> None:
    """By application_name or account."""

    async def main() -> None:
        async with database.engine() as engine:
            assert set(await fill(engine, 2)) == await database.sessions()

    run(main())
