"""Lists after IN: what a condition excludes must be excluded for an empty list as well."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.describe.databases import nullability
from tests.describe.postgres.people import People

pytestmark = pytest.mark.postgres

ROWS = "SELECT a FROM (VALUES (1, 1), (NULL, 2), (3, NULL)) AS t(a, b) WHERE "
T = sa.table("person", sa.column("nick", sa.Text))


def expanding(condition: str) -> Any:
    return text(ROWS + condition).bindparams(bindparam("ids", expanding=True))


async def values(engine: AsyncEngine, statement: Any, ids: list[int]) -> list[int | None]:
    async with engine.connect() as connection:
        return list((await connection.execute(statement, {"ids": ids})).scalars())


@pytest.mark.parametrize(
    ("condition", "may_be_null"),
    [
        ("a IN :ids", False),
        ("(a IN :ids) IS TRUE", False),
        ("a + 1 IN :ids", False),
        ("a NOT IN :ids AND a > 0", False),
        ("b IN :ids", True),
        ("a NOT IN :ids", True),
        ("a + 1 NOT IN :ids", True),
        ("NOT (a IN :ids)", True),
        ("NOT a IN :ids", True),
        ("(a IN :ids) = false", True),
        ("(a IN :ids) IS FALSE", True),
        ("(a IN :ids) IS NOT NULL", True),
        ("(a IN :ids) IS NOT UNKNOWN", True),
        ("a NOT IN :ids OR a = 1", True),
        ("CASE WHEN a IN :ids THEN false ELSE true END", True),
    ],
)
def test_a_condition_with_a_list_is_judged_for_the_empty_list_too(
    people: People, condition: str, may_be_null: bool
) -> None:
    statement = expanding(condition)
    assert nullability(people.describe(statement, never_null={"ids"})) == str(int(may_be_null))

    async def work(engine: AsyncEngine) -> bool:
        found = [await values(engine, statement, ids) for ids in ([], [1], [1, 2, 3])]
        return any(None in each for each in found)

    assert people.run(work) == may_be_null


def test_a_list_inside_a_core_statement_is_known_not_to_be_empty(people: People) -> None:
    inside = sa.select(T.c.nick).where(T.c.nick.not_in(["a", "b"]))
    assert nullability(people.describe(inside)) == "0"
    passed = sa.select(T.c.nick).where(T.c.nick.not_in(bindparam("nicks", expanding=True)))
    assert nullability(people.describe(passed, never_null={"nicks"})) == "1"
    empty = sa.select(T.c.nick).where(T.c.nick.not_in([]))
    assert nullability(people.describe(empty)) == "1"


def test_membership_is_never_null_if_neither_side_is(people: People) -> None:
    statement = text("SELECT id IN :ids, nick IN :ids2 FROM person").bindparams(
        bindparam("ids", expanding=True), bindparam("ids2", expanding=True)
    )
    assert nullability(people.describe(statement, never_null={"ids", "ids2"})) == "01"
    assert nullability(people.describe(statement, never_null={"ids2"})) == "11"
