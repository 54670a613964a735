"""Types, reasons and fingerprints that only PostgreSQL has."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.describe.databases import nullability
from tests.describe.postgres.people import People

pytestmark = pytest.mark.postgres


def test_a_column_has_a_reason_that_names_the_constraint_or_the_join(people: People) -> None:
    sql = "SELECT p.name, p.nick, t.name AS team FROM person p LEFT JOIN team t ON t.id = p.team_id"
    name, nick, team = people.describe(sql).columns
    assert (name.nullable, nick.nullable, team.nullable) == (False, True, True)
    assert "p.name" in name.why
    assert "p.nick" in nick.why
    assert "LEFT JOIN" in team.why
    assert (nick.missing_with, team.missing_with) == (None, "t")


def test_columns_are_missing_together_only_if_one_row_is_the_only_reason(people: People) -> None:
    sql = """SELECT t.id, upper(t.name), lag(t.name, 1, 'x') OVER (), t.name || p.nick,
             t.name = ANY ('{}'), coalesce(t.name, p.nick), max(t.name) OVER ()
             FROM person p LEFT JOIN team t ON t.id = p.team_id"""
    found = people.describe(sql).columns
    assert [each.missing_with for each in found] == ["t", "t", None, None, None, None, None]


def test_relations_of_one_side_of_a_join_are_missing_together(people: People) -> None:
    sql = """SELECT t.id, q.id, r.id FROM person p
             LEFT JOIN (team t JOIN person q ON q.team_id = t.id LEFT JOIN team r ON r.id = q.id)
             ON t.id = p.team_id"""
    first, second, nested = people.describe(sql).columns
    assert first.missing_with == second.missing_with == "t, q"
    assert nested.missing_with == "r"


def test_only_the_parameters_named_as_never_none_are_not_null(people: People) -> None:
    sql = "SELECT CAST(:a AS int) + 1 AS a, CAST(:b AS int) AS b"
    found = people.describe(sql, never_null={"a"})
    assert nullability(found) == "01"
    assert "parameter a" in found.columns[0].why


def test_types_of_every_kind_are_described(people: People) -> None:
    sql = "SELECT id, mood, moods, at, code, born, pay, data, span FROM person"
    found = {each.name: each for each in people.describe(sql).columns}
    assert {name: each.type for name, each in found.items()} == {
        "id": "int8",
        "mood": "mood",
        "moods": "mood[]",
        "at": "pair",
        "code": "text",
        "born": "timestamptz",
        "pay": "numeric",
        "data": "jsonb",
        "span": "int4range",
    }
    python_types = [found[name].python_type for name in ("id", "born", "pay", "data")]
    assert python_types == [int, datetime, Decimal, None]
    assert found["mood"].db_type.labels == ("sad", "ok", "happy")
    assert found["moods"].db_type.element == found["mood"].db_type
    assert [name for name, _ in found["at"].db_type.fields] == ["x", "y"]
    assert found["data"].db_type.json


def test_parameters_have_types(people_by_driver: People) -> None:
    sql = "SELECT id FROM person WHERE id IN :ids AND mood = :mood AND code = :code AND id > :low"
    statement = text(sql).bindparams(sa.bindparam("ids", expanding=True))
    found = people_by_driver.describe(statement).parameters
    assert {(each.name, each.type, each.is_list) for each in found} == {
        ("ids", "int8", True),
        ("mood", "mood", False),
        ("code", "text", False),
        ("low", "int8", False),
    }


def test_the_parameters_of_a_bare_insert_have_types(people: People) -> None:
    team = sa.table("team", sa.column("id", sa.BigInteger), sa.column("name", sa.Text))
    found = people.describe(sa.insert(team), keys=["id", "name"])
    assert [(each.name, each.type) for each in found.parameters] == [
        ("id", "int8"),
        ("name", "varchar"),
    ]


def test_a_json_column_of_a_core_statement_is_json(people: People) -> None:
    person = sa.table("person", sa.column("id", sa.BigInteger), sa.column("data", JSONB))
    found = people.describe(sa.select(person.c.id.label("key"), person.c.data)).columns
    assert [(each.name, each.type) for each in found] == [("key", "int8"), ("data", "jsonb")]
    assert found[1].db_type.json


def test_nullability_of_a_statement_with_more_than_100_parameters_is_unknown(
    people: People,
) -> None:
    sql = "SELECT 1 AS one WHERE 1 IN (" + ", ".join(f":p{n}" for n in range(101)) + ")"
    found = people.describe(sql)
    assert len(found.parameters) == 101
    assert nullability(found) == "1"
    assert "101 parameters" in found.notes[0]


def test_a_new_label_of_an_enum_changes_the_fingerprint(own_people: People) -> None:
    def fingerprints() -> list[str]:
        statements = ["SELECT id, nick, mood FROM person", "SELECT nick FROM person"]
        return [own_people.describe(sql).fingerprint for sql in statements]

    with_mood, without_mood = fingerprints()
    asyncio.run(own_people.execute("ALTER TYPE mood ADD VALUE 'angry'"))
    again = fingerprints()
    assert again[0] != with_mood
    assert again[1] == without_mood


@pytest.mark.parametrize(
    "value",
    [
        *("CAST('pg_class' AS regclass)", "CAST('int4' AS regtype)", "CAST('a' AS tsvector)"),
        *("CAST('a' AS tsquery)", "CAST('english' AS regconfig)", "CAST('$.a' AS jsonpath)"),
        *("CAST('08:00:2b:01:02:03:04:05' AS macaddr8)",),
    ],
)
def test_types_that_arrive_as_text_are_known_to(people_by_driver: People, value: str) -> None:
    sql = f"SELECT {value}, ARRAY[{value}]"
    types = [column.python_type for column in people_by_driver.describe(sql).columns]

    async def rows(engine: AsyncEngine) -> list[type]:
        async with engine.connect() as connection:
            return [type(each) for each in (await connection.execute(text(sql))).one()]

    assert types == people_by_driver.run(rows) == [str, list]


def test_fields_of_composite_values_may_be_null(people_by_driver: People) -> None:
    sql = """SELECT p.at, t, ROW(t.id, p.nick)::pair, COALESCE(p.at, p.at), ROW(1, 'a')::pair
             FROM person p LEFT JOIN team t ON t.id = p.team_id"""
    found = people_by_driver.describe(sql.replace("t.id, p.nick", "1, p.nick"))
    fields = [each.nullable_fields for each in found.columns]
    assert fields == [("x", "y"), (), ("y",), ("x", "y"), ()]
    union = people_by_driver.describe("SELECT at FROM person UNION SELECT at FROM person")
    assert union.columns[0].nullable_fields == ("x", "y")
