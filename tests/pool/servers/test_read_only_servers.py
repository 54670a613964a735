"""A server that becomes read-only while connections are open (guarantee 9)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import TypedPool
from tests.support.drivers import MARIADB, POSTGRESQL, SERVERS
from tests.support.engines import fill, run, until

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.databases import Database

WRITE = text("CREATE TABLE unwanted (n integer)")


async def check_write_fails(connection: AsyncConnection, database: Database) -> None:
    with pytest.raises(DBAPIError, match=database.READ_ONLY):
        await connection.execute(WRITE)
    await connection.rollback()


async def until_read_only(connection: AsyncConnection, database: Database) -> None:
    """Wait until the session accepts no write; the timeout of the test bounds the wait."""
    while (await connection.scalar(text(database.IS_READ_ONLY))) not in ("on", 1):
        await connection.rollback()


@pytest.mark.parametrize("driver", SERVERS)
def test_connections_opened_before_the_server_became_read_only_are_replaced_once(
    stoppable_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database = stoppable_database

    async def main() -> None:
        async with database.engine(pool_size=3, max_overflow=0) as engine:
            pool, before = TypedPool.of(engine), await fill(engine, 3)
            async with database.read_only():
                async with engine.connect() as connection:
                    await until_read_only(connection, database)
                    await check_write_fails(connection, database)
                assert await until(lambda: pool.stats().closed["failover"] == 3)
                after = await fill(engine, 3)
                assert not set(after) & set(before)
                # connections opened since are kept: replacing them would change nothing
                async with engine.connect() as connection:
                    await check_write_fails(connection, database)
                assert set(await fill(engine, 3)) == set(after)

    with caplog.at_level(logging.WARNING, "sqla_typedpool.pool"):
        run(main())
    assert sum("failover" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("driver", SERVERS)
def test_a_connection_in_use_during_a_failover_is_replaced_when_it_is_returned(
    stoppable_database: Database,
) -> None:
    database = stoppable_database

    async def main() -> None:
        async with database.engine(pool_size=2, max_overflow=0) as engine:
            pool = TypedPool.of(engine)
            await fill(engine, 2)
            async with engine.connect() as held:
                await held.execute(text("SELECT 1"))
                async with database.read_only():
                    async with engine.connect() as other:
                        await until_read_only(other, database)
                        await check_write_fails(other, database)
                    assert await until(lambda: pool.stats().closed["failover"] == 1)
                    assert (await held.execute(text("SELECT 1"))).scalar() == 1
            assert await until(lambda: pool.stats().closed["failover"] == 2)

    run(main())


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_read_only_transaction_of_the_application_evicts_no_connection(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=3, max_overflow=0) as engine:
            before = await fill(engine, 3)
            async with engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                await check_write_fails(connection, database)
            async with engine.connect() as connection:
                await connection.execute(text("SET TRANSACTION READ ONLY"))
                await check_write_fails(connection, database)
            assert await until(lambda: TypedPool.of(engine).stats().idle == 3)
            assert set(await fill(engine, 3)) == set(before)
            assert TypedPool.of(engine).stats().closed["failover"] == 0

    run(main())


READ_ONLY_ERROR = """
BEGIN NOT ATOMIC
  SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'read only';
END
"""


@pytest.mark.parametrize("driver", MARIADB)
@pytest.mark.parametrize("number", [1290, 1836])
def test_a_read_only_error_evicts_no_connection_when_the_server_is_not_read_only(
    database: Database, number: int
) -> None:
    async def main() -> None:
        async with database.engine(pool_size=3, max_overflow=0) as engine:
            ids = await fill(engine, 3)
            async with engine.connect() as connection:
                with pytest.raises(DBAPIError) as caught:
                    await connection.execute(text(READ_ONLY_ERROR.format(number=number)))
                assert caught.value.orig is not None
                assert caught.value.orig.args[0] == number
                assert not caught.value.connection_invalidated
            assert set(await fill(engine, 3)) == set(ids)
            assert await until(lambda: TypedPool.of(engine).stats().idle == 3)

    run(main())
