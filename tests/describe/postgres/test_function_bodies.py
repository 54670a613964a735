"""The application's functions in SQL, whose bodies are inferred."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.check.describing import compile_query
from tests.describe.databases import nullability
from tests.describe.postgres.people import People
from tests.support.check_lab import declare

pytestmark = pytest.mark.postgres


def test_a_body_that_changes_changes_the_description(own_people: People) -> None:
    create = "CREATE OR REPLACE FUNCTION f(x int) RETURNS int LANGUAGE sql AS"
    asyncio.run(own_people.execute(f"{create} 'SELECT x + 1'"))
    first = own_people.describe("SELECT f(1)")
    asyncio.run(own_people.execute(f"{create} 'SELECT NULLIF(x, 1)'"))
    second = own_people.describe("SELECT f(1)")
    assert (nullability(first), nullability(second)) == ("0", "1")
    assert first.columns[0].why == "the body of f() is never NULL"
    assert first.fingerprint != second.fingerprint


def test_a_body_is_never_executed(own_people: People) -> None:
    create = "CREATE FUNCTION {} RETURNS bigint LANGUAGE sql AS $$ SELECT {} $$"
    ends = create.format("ends()", "1; END; DROP TABLE team; --")
    draws = create.format("draws()", "nextval('tickets')")
    asyncio.run(own_people.execute("SET check_function_bodies = off", draws, ends))
    assert nullability(own_people.describe("SELECT draws(), ends()")) == "01"

    async def state(engine: AsyncEngine) -> tuple[Any, ...]:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT * FROM team"))
            found = await connection.execute(text("SELECT last_value, is_called FROM tickets"))
            return tuple(found.one())

    assert own_people.run(state) == (1, False)


def test_a_function_that_calls_itself_may_return_null(own_people: People) -> None:
    create = "CREATE OR REPLACE FUNCTION again(x int) RETURNS int LANGUAGE sql AS"
    asyncio.run(own_people.execute(f"{create} 'SELECT 1'", f"{create} 'SELECT again(x - 1)'"))
    assert nullability(own_people.describe("SELECT again(1)")) == "1"


def test_a_function_of_any_type_may_return_null(own_people: People) -> None:
    create = (
        "CREATE FUNCTION {}({}) RETURNS text LANGUAGE sql AS $$ SELECT COALESCE($1::text, '') $$"
    )
    asyncio.run(
        own_people.execute(create.format("one", "int"), create.format("any_one", "anyelement"))
    )
    assert nullability(own_people.describe("SELECT one(1), any_one(1)")) == "01"


@pytest.mark.parametrize(
    ("annotation", "is_known"),
    [
        *((list[int], True), (list[int] | None, True), (list[list[int]], True)),
        *((list[int | None], False), (list, False), (int, False)),
        (list[list[int | None]], False),
    ],
)
def test_the_elements_of_a_list_are_known_from_its_annotation(
    annotation: object, is_known: bool
) -> None:
    info = declare("SELECT unnest(CAST(:ids AS int[]))", list[int | None], ids=annotation)
    assert ("ids[]" in compile_query(info, "postgresql").never_null) is is_known
