"""Statements that a database refuses to describe."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from sqla_typedpool.check import Refused
from sqla_typedpool.describe import Describer
from tests.describe.databases import Database, nullability

REFUSED = [
    "SELEC 1",
    "SELECT 1 FROM missing",
    "SELECT missing FROM u",
    "SELECT 'open",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE u",
]


async def refuse(database: Describer, statement: object) -> Refused:
    """Describe a statement that must be refused; the next statement must be described."""
    with pytest.raises(Refused) as raised:
        await database.describe(statement)  # type: ignore[arg-type]
    assert nullability(await database.describe("SELECT id, nick FROM u")) == "01"
    return raised.value


def test_an_invalid_statement_is_refused_and_the_next_is_described(database: Database) -> None:
    async def refuse_all(found: Describer) -> list[str]:
        return [(await refuse(found, sql)).message for sql in REFUSED]

    assert all(asyncio.run(database.describing(refuse_all)))


def test_a_null_character_is_refused_where_the_database_accepts_none(database: Database) -> None:
    if database.family == "mysql":
        pytest.skip("MariaDB accepts null characters")
    asyncio.run(database.describing(lambda found: refuse(found, "SELECT 'a\0b'")))


def test_a_surrogate_is_refused(database: Database) -> None:
    asyncio.run(database.describing(lambda found: refuse(found, "SELECT '\ud800'")))


@pytest.mark.parametrize(
    ("sql", "part"),
    [
        ("SELEC 1", "SELEC"),
        ("SELECT id, nmae FROM u", "nmae"),
        ("SELECT 'é', nmae FROM u", "nmae"),
        ("SELECT id FROM no_such_table", "no_such_table"),
    ],
)
def test_a_refusal_names_the_position_of_the_error(database: Database, sql: str, part: str) -> None:
    refused = asyncio.run(database.describing(lambda found: refuse(found, sql)))
    assert part in refused.message or "syntax" in refused.message
    if database.family == "sqlite" and refused.position is None:
        return  # SQLite reports a position for some errors only
    assert refused.position == sql.index(part)


def test_a_core_statement_that_sqlalchemy_cannot_compile_is_refused(database: Database) -> None:
    table = sa.Table("more", sa.MetaData(), sa.Column("id", sa.Integer))
    refused = asyncio.run(database.describing(lambda found: refuse(found, CreateTable(table))))
    assert "SQLAlchemy cannot compile the statement" in refused.message
