"""Describing on MariaDB: its types, enums, refusals and privileges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Column, Enum, Integer, MetaData, Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.check import Description, Refused
from sqla_typedpool.describe import describer
from sqla_typedpool.errors import CannotRun, DescribeTimeout
from tests.describe.databases import Database, nullability
from tests.support.drivers import MARIADB

pytestmark = pytest.mark.mariadb


def described(database: Database, statement: object) -> Description:
    return asyncio.run(database.describe(statement))


def test_columns_have_types_of_mariadb_and_of_python(mariadb_database: Database) -> None:
    found = described(mariadb_database, "SELECT id, mood, data, raw, '5%' FROM u WHERE id = :id")
    assert [(column.type, column.python_type) for column in found.columns] == [
        ("bigint", int),
        ("enum", str),
        ("text", str),
        ("binary", bytes),
        ("text", str),
    ]
    assert found.columns[1].db_type.labels == ("sad", "it's ok")


def test_an_enum_of_a_core_statement_keeps_its_name(mariadb_database: Database) -> None:
    table = Table("u", MetaData(), Column("id", Integer), Column("mood", Enum("sad", "x")))
    found = described(mariadb_database, select(table.c.id.label("number"), table.c.mood))
    assert [column.name for column in found.columns] == ["number", "mood"]


@pytest.mark.parametrize(
    ("sql", "message", "position"),
    [
        ("SELEC 1", "syntax", 0),
        ("SELECT nam FROM u", "Unknown column", 7),
        ("SELECT id FROM no_such_table", "doesn't exist", 15),
        ("SELECT 1; SELECT 2", "syntax", 10),
    ],
)
def test_a_refusal_has_the_message_of_the_server_and_a_position(
    mariadb_database: Database, sql: str, message: str, position: int
) -> None:
    with pytest.raises(Refused, match=message) as raised:
        described(mariadb_database, sql)
    assert raised.value.position == position


def test_a_character_that_the_character_set_does_not_have_is_refused(
    mariadb_database: Database,
) -> None:
    async def main() -> None:
        url = mariadb_database.url.update_query_dict({"charset": "latin1"})
        engine = create_async_engine(url, poolclass=NullPool)
        async with describer(engine) as database:
            with pytest.raises(Refused, match="'数' cannot be sent to the database") as raised:
                await database.describe("SELECT 'ü', '数'")
            assert raised.value.position == 13
            assert nullability(await database.describe("SELECT 'ü'")) == "0"
        await engine.dispose()

    asyncio.run(main())


def test_a_user_describes_only_what_its_privileges_allow(mariadb_database: Database) -> None:
    async def main() -> None:
        await mariadb_database.execute(
            "CREATE OR REPLACE USER poor@'127.0.0.1' IDENTIFIED BY 's3cret'",
            "GRANT SELECT ON described.p TO poor@'127.0.0.1'",
            "GRANT SELECT ON described.vl TO poor@'127.0.0.1'",
        )
        url = mariadb_database.url.set(username="poor", password="s3cret")
        engine = create_async_engine(url, poolclass=NullPool)
        async with describer(engine) as database:
            assert nullability(await database.describe("SELECT id, score FROM p")) == "01"
            # the definition of a view that the user may not read is unknown
            assert nullability(await database.describe("SELECT id FROM vl")) == "1"
            with pytest.raises(Refused, match="denied"):
                await database.describe("SELECT name FROM u")
        await engine.dispose()

    asyncio.run(main())


# ------------------------------------------------------------------------------ time limits


def test_a_locked_table_exceeds_the_timeout_and_the_connection_is_not_used_again(
    mariadb_database: Database,
) -> None:
    async def main() -> None:
        async with mariadb_database.engine() as engine, locked(engine):
            async with engine.connect() as connection:
                async with describer(connection, timeout=0.3) as database:
                    began = time.monotonic()
                    with pytest.raises(DescribeTimeout, match=r"'SELECT id FROM u' within 0.3 s"):
                        await database.describe("SELECT id FROM u")
                    assert 0.3 <= time.monotonic() - began < 4
                assert connection.invalidated

    asyncio.run(main())


def test_a_lock_is_waited_for_as_long_as_the_timeout_allows(mariadb_database: Database) -> None:
    async def main() -> None:
        async with mariadb_database.engine() as engine:
            async with describer(engine, timeout=60) as database, locked(engine) as holder:
                describing = asyncio.ensure_future(database.describe("SELECT id FROM u"))
                done, _ = await asyncio.wait({describing}, timeout=0.3)
                assert not done
                await holder.rollback()
                assert nullability(await describing) == "0"

    asyncio.run(main())


@asynccontextmanager
async def locked(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Keep other sessions from describing the table u, until the transaction ends.

    The transaction has read the table; an ALTER TABLE waits for its end, and others for that.
    """
    async with engine.connect() as holder, engine.connect() as waiting, engine.connect() as other:
        await holder.exec_driver_sql("SELECT id FROM u")
        altering = asyncio.ensure_future(waiting.exec_driver_sql("ALTER TABLE u COMMENT 'x'"))
        while not await other.scalar(text(_WAITING)):
            await asyncio.sleep(0.01)
        yield holder
        await holder.rollback()
        await altering


_WAITING = (
    "SELECT count(*) FROM information_schema.processlist"
    " WHERE state = 'Waiting for table metadata lock'"
)


# ------------------------------------------------------------------------ lost connections


@pytest.mark.parametrize("driver", MARIADB)
def test_a_lost_connection_is_reported_as_such(mariadb_database: Database, driver: str) -> None:
    async def main() -> None:
        engine = create_async_engine(
            mariadb_database.url.set(drivername=f"mysql+{driver}"), poolclass=NullPool
        )
        async with engine.connect() as connection, engine.connect() as other:
            async with describer(connection) as database:
                session = await connection.scalar(text("SELECT CONNECTION_ID()"))
                await other.exec_driver_sql(f"KILL {session}")
                with pytest.raises(CannotRun, match="connection to the database is lost"):
                    await database.describe("SELECT id FROM u")
            assert connection.invalidated

    asyncio.run(main())
