"""The columns of a described statement, on every database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool.check import CannotRun, Description, describe
from sqla_typedpool.describe import describer
from tests.describe.databases import Database, nullability

U = sa.table("u", sa.column("id", sa.BigInteger), sa.column("nick", sa.String))

LEFT_JOIN = "SELECT u.id, u.nick, p.title AS heading FROM u LEFT JOIN p ON p.uid = u.id"


def described(database: Database, statement: Any, **options: Any) -> Description:
    return asyncio.run(database.describe(statement, **options))


def test_a_column_has_the_name_that_the_statement_gives_it(database: Database) -> None:
    found = described(database, LEFT_JOIN)
    assert [column.name for column in found.columns] == ["id", "nick", "heading"]


def test_a_column_has_the_database_column_that_it_originates_from(database: Database) -> None:
    found = described(database, f"{LEFT_JOIN} WHERE u.id > 0")
    schema = database.schema
    origins = [column.origin for column in found.columns]
    assert origins == [f"{schema}.u.id", f"{schema}.u.nick", f"{schema}.p.title"]


def test_an_expression_has_no_origin(database: Database) -> None:
    (column,) = described(database, "SELECT length(name) AS size FROM u").columns
    assert column.origin is None


def test_a_column_has_a_type_of_the_database(database: Database) -> None:
    types = {"postgresql": "int8", "sqlite": "INTEGER", "mysql": "bigint"}
    assert described(database, LEFT_JOIN).columns[0].type == types[database.family]


def test_a_column_is_described_as_nullable_or_not_with_a_reason(database: Database) -> None:
    found = described(database, LEFT_JOIN)
    assert nullability(found) == "011"
    assert all(column.why for column in found.columns)


def test_columns_of_one_missing_row_name_its_relation(database: Database) -> None:
    found = described(database, LEFT_JOIN)
    # MariaDB reports flags of columns, and no reasons for them
    relation = None if database.family == "mysql" else "p"
    assert [column.missing_with for column in found.columns] == [None, None, relation]


def test_the_columns_of_a_view_are_described(database: Database) -> None:
    found = described(database, "SELECT * FROM vu")
    assert [column.name for column in found.columns] == ["id", "name", "nick"]
    assert nullability(found) == "001"


def test_a_statement_that_returns_no_rows_has_no_columns(database: Database) -> None:
    assert described(database, "UPDATE u SET nick = NULL").columns == ()


def test_a_core_statement_has_the_names_of_sqlalchemy(database: Database) -> None:
    found = described(database, sa.select(U.c.id.label("key"), U.c.nick))
    assert [column.name for column in found.columns] == ["key", "nick"]
    assert [column.origin for column in found.columns] == [
        f"{database.schema}.u.id",
        f"{database.schema}.u.nick",
    ]


def test_comments_strings_and_semicolons_do_not_change_the_description(
    database: Database,
) -> None:
    async def main() -> dict[str, tuple[list[str], str, int]]:
        async with database.engine() as engine, describer(engine) as describing:
            found = {sql: await describing.describe(text(sql)) for sql in EQUAL_STATEMENTS}
        return {sql: summary(each) for sql, each in found.items()}

    assert asyncio.run(main()) == dict.fromkeys(EQUAL_STATEMENTS, (["id"], "0", 0))


EQUAL_STATEMENTS = [
    "SELECT id FROM u;",
    "SELECT id FROM u; ",
    "SELECT id FROM u -- the end",
    "SELECT id FROM u -- the end: it's here",
    "SELECT id /* ; END */ FROM u",
    "SELECT id /* 'open */ FROM u",
    "-- before\nSELECT id FROM u",
    "SELECT id FROM u WHERE nick <> '; END; --'",
    "SELECT id FROM u WHERE nick <> '10:30 \\:low'",
    "SELECT id FROM u WHERE nick LIKE '10%' OR nick = '?' OR nick = '%s' OR nick = '$1'",
    "WITH w AS (SELECT id FROM u) SELECT id FROM w",
]


def summary(description: Description) -> tuple[list[str], str, int]:
    """Return the names of the columns, their nullability and the number of parameters."""
    names = [column.name for column in description.columns]
    return names, nullability(description), len(description.parameters)


def test_a_description_names_the_family_and_the_server(database: Database) -> None:
    async def main() -> None:
        async with database.engine() as engine, describer(engine) as found:
            description = await found.describe("SELECT 1")
        assert found.family == description.family == database.family
        assert found.server == description.server

    asyncio.run(main())
    product = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "mysql": "MariaDB"}
    name, major = described(database, "SELECT 1").server.split()
    assert name == product[database.family]
    assert major.isdigit()


def test_an_engine_a_connection_and_a_session_can_be_described_on(database: Database) -> None:
    async def main() -> list[str]:
        async with database.engine() as engine:
            async with engine.connect() as connection, AsyncSession(engine) as session:
                found = [await describe(db, LEFT_JOIN) for db in (engine, connection, session)]
        return [nullability(each) for each in found]

    assert asyncio.run(main()) == ["011", "011", "011"]


def test_an_unknown_database_cannot_be_described(database: Database) -> None:
    async def main() -> None:
        async with database.engine() as engine, engine.connect() as connection:
            connection.sync_connection.dialect.name = "oracle"  # type: ignore[union-attr]
            async with describer(connection):
                pass

    with pytest.raises(CannotRun, match=r"oracle cannot be described; next: use"):
        asyncio.run(main())
