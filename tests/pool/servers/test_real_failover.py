"""A server that becomes read-only while connections are open (guarantee 9, SQLSTATE 25006)."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import TypedPool
from tests.support.engines import admin_of, by_driver, engine_on, fill, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from sqla_typedpool.embedded import Postgres

WRITE = text("CREATE TABLE unwanted (n integer)")


@asynccontextmanager
async def read_only(server: Postgres) -> AsyncIterator[None]:
    """Make the server read-only, as managed servers do before a switchover or on a full disk."""
    async with admin_of(server) as admin:
        try:
            await admin.connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            await admin.connection.execute("SELECT pg_reload_conf()")
            yield
        finally:
            await admin.connection.execute("SET default_transaction_read_only = off")
            await admin.connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await admin.connection.execute("SELECT pg_reload_conf()")


async def check_write_fails(connection: AsyncConnection) -> None:
    with pytest.raises(DBAPIError, match="read-only transaction"):
        await connection.execute(WRITE)
    await connection.rollback()


async def is_read_only(connection: AsyncConnection) -> bool:
    """Whether the server has reloaded its settings; the timeout of the test bounds the wait."""
    return (await connection.scalar(text("SHOW transaction_read_only"))) == "on"


@by_driver
def test_connections_opened_before_the_server_became_read_only_are_replaced_once(
    own_postgres: Postgres, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with engine_on(own_postgres.url(driver), pool_size=3, max_overflow=0) as engine:
            pool, before = TypedPool.of(engine), await fill(engine, 3)
            async with read_only(own_postgres):
                async with engine.connect() as connection:
                    while not await is_read_only(connection):
                        await connection.rollback()
                    await check_write_fails(connection)
                assert await until(lambda: pool.stats().closed["failover"] == 3, 2)
                after = await fill(engine, 3)
                assert not set(after) & set(before)
                # connections opened since are kept: replacing them would change nothing
                async with engine.connect() as connection:
                    await check_write_fails(connection)
                assert set(await fill(engine, 3)) == set(after)

    with caplog.at_level(logging.WARNING, "sqla_typedpool.pool"):
        run(main())
    assert sum("failover" in record.getMessage() for record in caplog.records) == 1


@by_driver
def test_a_connection_in_use_during_a_failover_is_replaced_when_it_is_returned(
    own_postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with engine_on(own_postgres.url(driver), pool_size=2, max_overflow=0) as engine:
            pool = TypedPool.of(engine)
            await fill(engine, 2)
            async with engine.connect() as held:
                await held.execute(text("SELECT 1"))
                async with read_only(own_postgres):
                    async with engine.connect() as other:
                        while not await is_read_only(other):
                            await other.rollback()
                        await check_write_fails(other)
                    assert await until(lambda: pool.stats().closed["failover"] == 1, 2)
                    assert (await held.execute(text("SELECT 1"))).scalar() == 1
            assert await until(lambda: pool.stats().closed["failover"] == 2, 2)

    run(main())


@by_driver
def test_a_read_only_transaction_of_the_application_evicts_no_connection(
    postgres: Postgres, driver: str
) -> None:
    async def main() -> None:
        async with engine_on(postgres.url(driver), pool_size=3, max_overflow=0) as engine:
            before = await fill(engine, 3)
            async with engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                await check_write_fails(connection)
            async with engine.connect() as connection:
                await connection.execute(text("SET TRANSACTION READ ONLY"))
                await check_write_fails(connection)
            assert await until(lambda: TypedPool.of(engine).stats().idle == 3, 2)
            assert set(await fill(engine, 3)) == set(before)
            assert TypedPool.of(engine).stats().closed["failover"] == 0

    run(main())
