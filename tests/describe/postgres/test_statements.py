"""Which statements PostgreSQL describes, and which it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.check import Description, Refused, describe
from sqla_typedpool.describe import describer
from tests.describe.databases import nullability
from tests.describe.postgres.people import People

pytestmark = pytest.mark.postgres


def test_a_refusal_has_code_position_and_hint(people_by_driver: People) -> None:
    sql = "SELECT id, nmae FROM person"
    with pytest.raises(Refused) as caught:
        people_by_driver.describe(sql)
    assert 'column "nmae" does not exist' in caught.value.message
    assert (caught.value.position, caught.value.code) == (sql.index("nmae"), "42703")
    assert "person.name" in caught.value.hint


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1; END; DROP TABLE person", "SELECT 1 /* open", "SELECT CAST(:a AS nothing)"],
)
def test_an_invalid_statement_is_refused_and_the_next_is_described(
    people_by_driver: People, sql: str
) -> None:
    async def work(engine: AsyncEngine) -> str:
        async with describer(engine) as database:
            with pytest.raises(Refused):
                await database.describe(sql)
            return nullability(await database.describe("SELECT id, nick FROM person"))

    assert people_by_driver.run(work) == "01"


def test_a_column_that_asyncpg_cannot_read_is_refused_and_the_next_is_described(
    people: People,
) -> None:
    async def work(engine: AsyncEngine) -> str:
        async with describer(engine) as database:
            with pytest.raises(
                Refused, match="asyncpg cannot read it: could not resolve"
            ) as raised:
                await database.describe("SELECT stavalues1 FROM pg_statistic")
            assert raised.value.hint == "cast columns of anyarray to text"
            return nullability(await database.describe("SELECT id, nick FROM person"))

    assert people.run(work) == "01"
    assert people.describe("SELECT stavalues1::text FROM pg_statistic").columns[0].type == "text"


def test_a_character_that_the_client_encoding_does_not_have_is_refused(people: People) -> None:
    latin1 = People(f"{people.using('psycopg').url}?client_encoding=LATIN1")
    with pytest.raises(
        Refused, match="the character '数' cannot be sent to the database"
    ) as raised:
        latin1.describe("SELECT 'ü' AS a, '数' AS b")
    assert raised.value.position == 18
    assert len(latin1.describe("SELECT 'ü' AS a").columns) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM person; -- the end",
        "SELECT id FROM person WHERE nick <> $$; END$$",
        "; SELECT id FROM person",
        "TABLE team",
        "WITH gone AS (DELETE FROM person RETURNING id) SELECT id FROM gone",
        'SELECT id AS "; END" FROM person',
        'SELECT id AS "\\:a [1] {b} ""c"" \\" FROM person',
    ],
)
def test_quotes_semicolons_and_keywords_do_not_change_the_description(
    people_by_driver: People, sql: str
) -> None:
    found = people_by_driver.describe(text(sql))
    assert nullability(found)[0] == "0"
    assert found.notes == ()


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("EXPLAIN SELECT 1", ["QUERY PLAN"]),
        ("SHOW work_mem", ["work_mem"]),
        ("CREATE TABLE extra (id int)", []),
        ("DROP TABLE person", []),
        ("DO $$ BEGIN DELETE FROM person; END $$", []),
        ("SET work_mem = '4MB'", []),
        ("COMMIT", []),
        ("VACUUM", []),
        ("NOTIFY somebody", []),
        ("CREATE TABLE copy AS SELECT * FROM person", []),
        ("SELECT FROM person", []),
    ],
)
def test_a_utility_statement_is_described_and_not_executed(
    people: People, sql: str, columns: list[str]
) -> None:
    async def work(engine: AsyncEngine) -> Description:
        before = await catalogue(engine)
        found = await describe(engine, sql)
        assert await catalogue(engine) == before
        return found

    found = people.run(work)
    assert [each.name for each in found.columns] == columns
    assert all(each.nullable for each in found.columns)


def test_no_sequence_advances_and_no_statement_is_sent_through_sqlalchemy(
    people_by_driver: People,
) -> None:
    sent: list[str] = []

    async def work(engine: AsyncEngine) -> None:
        before = await catalogue(engine)
        event.listen(
            engine.sync_engine, "before_cursor_execute", lambda *args: sent.append(args[2])
        )
        async with describer(engine) as database:
            await database.describe("DELETE FROM team RETURNING id")
            await database.describe("INSERT INTO team VALUES (:id, :name)")
            await database.describe("SELECT setval('tickets', 100)")
        assert sent == []
        assert await catalogue(engine) == before

    people_by_driver.run(work)


async def catalogue(engine: AsyncEngine) -> list[Any]:
    """Return everything of the catalogue that a description could change."""
    async with engine.connect() as connection:
        return [(await connection.execute(text(query))).all() for query in _CATALOGUE]


_CATALOGUE = (
    "SELECT oid, proname, pronamespace FROM pg_proc ORDER BY 1",
    "SELECT oid, relname FROM pg_class ORDER BY 1",
    "SELECT oid, nspname FROM pg_namespace ORDER BY 1",
    "SELECT oid, typname FROM pg_type ORDER BY 1",
    "SELECT count(*) FROM team",
    "SELECT count(*) FROM person",
    "SELECT last_value, is_called FROM tickets",
)


@pytest.mark.parametrize("sql", ["COPY team TO STDOUT", "COPY (SELECT 1) TO stdout (FORMAT csv)"])
def test_copy_is_refused_with_the_way_of_the_drivers(people_by_driver: People, sql: str) -> None:
    with pytest.raises(Refused, match="COPY cannot be run as a query") as caught:
        people_by_driver.describe(sql)
    assert caught.value.position == sql.lower().index("stdout")
    assert "copy_from_query()" in caught.value.hint


def test_a_function_without_a_result_is_described_as_void(people_by_driver: People) -> None:
    (column,) = people_by_driver.describe("SELECT pg_notify('c', 'p')").columns
    assert column.type == "void"


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT (ARRAY[1, 2])[1]", "an array or document may have no such element"),
        ("SELECT NULLIF(1, 2)", "NULLIF() is NULL where both values are equal"),
        ("SELECT (1, 2) < (1, NULL)", "a comparison of rows with NULL is NULL"),
    ],
)
def test_reasons_have_the_words_of_sql(people_by_driver: People, sql: str, why: str) -> None:
    (column,) = people_by_driver.describe(sql).columns
    assert (column.nullable, column.why) == (True, why)
