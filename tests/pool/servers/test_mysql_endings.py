"""COMMIT and ROLLBACK on asyncmy: one that would do nothing is not sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool import execute, fetch_all
from tests.support.engines import engine_on, run
from tests.support.mysql_log import engine_of, sent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from tests.support.servers.mariadb import MariaDB

pytestmark = pytest.mark.mariadb
by_driver = pytest.mark.parametrize("driver", ["aiomysql", "asyncmy"])

ADD = "INSERT INTO paths VALUES (2, 'Bob')"
NAMES = "SELECT name FROM paths ORDER BY id"


async def committed(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(ADD))


async def committed_session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        await session.execute(text(ADD))
        await session.commit()


async def rolled_back_twice(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text(ADD))
        await connection.rollback()
        await connection.begin()


async def unused(engine: AsyncEngine) -> None:
    async with engine.begin():
        pass


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (committed, [ADD, "COMMIT"]),
        (committed_session, [ADD, "COMMIT"]),
        (rolled_back_twice, [ADD, "ROLLBACK"]),
    ],
)
def test_asyncmy_sends_no_rollback_after_the_end_of_a_transaction(
    mariadb: MariaDB, work: Callable[[AsyncEngine], Awaitable[None]], expected: list[str]
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, "asyncmy") as engine:
            assert await sent(mariadb, engine, lambda: work(engine)) == expected

    run(main())


def test_asyncmy_sends_nothing_for_a_transaction_without_statements(mariadb: MariaDB) -> None:
    async def main() -> None:
        async with engine_of(mariadb, "asyncmy") as engine:
            await committed(engine)
            assert await sent(mariadb, engine, lambda: unused(engine)) == []

    run(main())


def test_aiomysql_sends_every_rollback(mariadb: MariaDB) -> None:
    """Its status of the transaction is wrong after a SELECT."""

    async def main() -> None:
        async with engine_of(mariadb, "aiomysql") as engine:
            statements = await sent(mariadb, engine, lambda: committed(engine))
            assert statements == [ADD, "COMMIT", "ROLLBACK"]

    run(main())


def test_the_dialect_is_still_asked_to_roll_back(mariadb: MariaDB) -> None:
    async def main() -> None:
        async with engine_of(mariadb, "asyncmy") as engine:
            calls: list[Any] = []
            dialect: Any = engine.dialect
            do_rollback = dialect.do_rollback

            def counted(connection: Any) -> None:
                calls.append(connection)
                do_rollback(connection)

            dialect.do_rollback = counted
            await committed(engine)
            assert len(calls) == 1

    run(main())


# ------------------------------------------------------ what must be rolled back all the same


async def snapshot(connection: AsyncConnection) -> None:
    await connection.execute(text("SELECT * FROM paths"))


async def snapshot_by_statement(connection: AsyncConnection) -> None:
    await connection.execute(text("START TRANSACTION WITH CONSISTENT SNAPSHOT"))


async def setting_for_the_next_transaction(connection: AsyncConnection) -> None:
    await connection.execute(text("SET TRANSACTION READ ONLY"))


async def lock_of_a_failed_statement(connection: AsyncConnection) -> None:
    with pytest.raises(exc.IntegrityError):
        await connection.execute(text("INSERT INTO paths VALUES (1, 'again')"))


async def lock_of_a_failed_statement_of_the_driver(connection: AsyncConnection) -> None:
    raw = await connection.get_raw_connection()
    with pytest.raises(Exception, match="Duplicate entry"):
        await raw.driver_connection.query("INSERT INTO paths VALUES (1, 'again')")  # type: ignore[union-attr]


async def change_by_the_driver(connection: AsyncConnection) -> None:
    raw = await connection.get_raw_connection()
    await raw.driver_connection.query(ADD)  # type: ignore[union-attr]


async def change_after_a_setting(connection: AsyncConnection) -> None:
    await connection.execute(text("SET autocommit = 0"))
    await connection.execute(text(ADD))


async def chained(connection: AsyncConnection) -> None:
    await connection.execute(text("SET completion_type = CHAIN"))
    await connection.execute(text(ADD))
    await connection.rollback()  # begins another transaction
    await connection.execute(text("SET completion_type = NO_CHAIN"))


UNDONE = [
    snapshot,
    snapshot_by_statement,
    setting_for_the_next_transaction,
    lock_of_a_failed_statement,
    lock_of_a_failed_statement_of_the_driver,
    change_by_the_driver,
    change_after_a_setting,
    chained,
]


@by_driver
@pytest.mark.parametrize("leave_open", UNDONE)
def test_the_next_borrower_gets_a_connection_without_a_transaction(
    mariadb: MariaDB, driver: str, leave_open: Callable[[AsyncConnection], Awaitable[None]]
) -> None:
    if driver == "aiomysql" and "driver" in leave_open.__name__:
        pytest.skip("the coroutine is asyncmy's")

    async def main() -> None:
        async with engine_of(mariadb, driver) as engine, engine_on(mariadb.url(driver)) as other:
            async with engine.begin() as connection:  # the transaction before it has ended
                await connection.execute(text("UPDATE paths SET name = 'Ada'"))

            async def work() -> None:
                async with engine.connect() as connection:
                    await leave_open(connection)

            assert (await sent(mariadb, engine, work))[-1] == "ROLLBACK"
            await execute(other, "UPDATE paths SET name = 'Eve' WHERE id = 1")  # no lock is left
            assert await fetch_all(engine, str, NAMES) == ["Eve"]
            assert await execute(engine, ADD) == 1
            assert await fetch_all(other, str, NAMES) == ["Eve", "Bob"]

    run(main())


def test_a_statement_that_asyncmy_has_prepared_is_rolled_back(mariadb: MariaDB) -> None:
    """asyncmy sends prepared statements in another way."""

    async def main() -> None:
        options = {"connect_args": {"stmt_cache_size": 10}}
        async with engine_of(mariadb, "asyncmy", **options) as engine:

            async def work() -> None:
                async with engine.connect() as connection:
                    for name in ("Bob", "Cy"):
                        await connection.commit()
                        update = text("UPDATE paths SET name = :name WHERE id = :id")
                        await connection.execute(update, {"name": name, "id": 1})
                        named = text("SELECT name FROM paths WHERE id = :id")
                        assert await connection.scalar(named, {"id": 1}) == name
                        await connection.rollback()

            for _ in range(2):
                await work()
            assert await fetch_all(engine, str, NAMES) == ["Ada"]
            assert (await sent(mariadb, engine, work)).count("ROLLBACK") == 2

    run(main())


def test_an_error_of_a_commit_in_an_xa_transaction_is_raised(mariadb: MariaDB) -> None:
    async def main() -> None:
        async with engine_of(mariadb, "asyncmy") as engine:
            await committed(engine)
            with pytest.raises(exc.OperationalError, match="XAER_RMFAIL"):
                async with engine.begin() as connection:
                    await connection.execute(text("XA START 'endings'"))
            assert await fetch_all(engine, str, NAMES) == ["Ada", "Bob"]

    run(main())
