"""Types that psycopg delivers as text: the check tells how to register them, and that works."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types import TypeInfo
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.range import Range, RangeInfo, register_range
from sqlalchemy import event, text

from sqla_typedpool import RowValueError, fetch_all
from sqla_typedpool.check.compare import compare
from sqla_typedpool.describe import describer
from sqla_typedpool.mapping.typespec import qualified_name
from tests.support.check_lab import declare
from tests.support.engines import make_engine, run

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.check.model import Finding
    from sqla_typedpool.embedded import Postgres

TYPES = [
    "CREATE TYPE reg_mood AS ENUM ('sad', 'ok')",
    "CREATE TYPE reg_pair AS (x int, y text)",
    "CREATE TYPE reg_span AS RANGE (subtype = text)",
    "CREATE DOMAIN reg_number AS int",
]
NAMES = {
    "CompositeInfo": CompositeInfo,
    "RangeInfo": RangeInfo,
    "TypeInfo": TypeInfo,
    "partial": partial,
    "register_composite": register_composite,
    "register_range": register_range,
}


class Mood(Enum):
    SAD = "sad"
    OK = "ok"


@dataclass
class Pair:
    x: int
    y: str


CASES: list[tuple[str, Any, Any]] = [
    ("ARRAY['sad', 'ok']\\:\\:reg_mood[]", list[Mood], [Mood.SAD, Mood.OK]),
    ("ROW(1, 'a')\\:\\:reg_pair", Pair, Pair(1, "a")),
    ("ARRAY[ROW(1, 'a')\\:\\:reg_pair]", list[Pair], [Pair(1, "a")]),
    ("reg_span('a', 'b')", Range, Range("a", "b")),
]
by_case = pytest.mark.parametrize(("value", "annotation", "expected"), CASES)


async def with_types(engine: AsyncEngine) -> None:
    names = "TYPE IF EXISTS reg_mood, reg_pair, reg_span"
    async with engine.begin() as connection:
        for statement in (f"DROP {names}", "DROP DOMAIN IF EXISTS reg_number", *TYPES):
            await connection.execute(text(statement))


async def findings(engine: AsyncEngine, sql: str, annotation: Any) -> list[Finding]:
    query = declare(sql, list[tuple[annotation]])
    async with engine.connect() as connection, describer(connection) as database:
        return compare(query, await database.describe(text(sql)))


def type_findings(found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.code in ("TP105", "TP304")]


@by_case
def test_the_check_of_psycopg_has_the_registration_which_works(
    postgres: Postgres, value: str, annotation: Any, expected: Any
) -> None:
    sql = f"SELECT {value} AS x"

    async def main() -> None:
        engine = make_engine(postgres.url("psycopg"))
        try:
            await with_types(engine)
            with pytest.raises(RowValueError, match="found str; next: register the type with psy"):
                await fetch_all(engine, tuple[annotation], sql)
            (found,) = type_findings(await findings(engine, sql, annotation))
            assert (found.code, found.severity.value) == ("TP304", "note")
            assert "it arrives as str on psycopg, unless the application" in found.message
            advice, _, code = found.hint.partition(".md): ")
            assert advice == 'register it in a listener for "connect" (docs/reference/drivers'

            @event.listens_for(engine.sync_engine, "connect")
            def register(connection: Any, _: Any) -> None:
                eval(code, NAMES, {"connection": connection})

            await engine.dispose()
            assert await fetch_all(engine, tuple[annotation], sql) == [(expected,)]
        finally:
            await engine.dispose()

    run(main())


@by_case
def test_asyncpg_needs_no_registration(
    postgres: Postgres, value: str, annotation: Any, expected: Any
) -> None:
    if annotation is Range:
        pytest.skip("asyncpg has its own class")
    sql = f"SELECT {value} AS x"

    async def main() -> None:
        engine = make_engine(postgres.url("asyncpg"))
        try:
            await with_types(engine)
            assert type_findings(await findings(engine, sql, annotation)) == []
            assert await fetch_all(engine, tuple[annotation], sql) == [(expected,)]
        finally:
            await engine.dispose()

    run(main())


def test_a_field_that_is_text_needs_no_registration(postgres: Postgres) -> None:
    async def main() -> None:
        engine = make_engine(postgres.url("psycopg"))
        try:
            await with_types(engine)
            for value, _, _ in CASES:
                assert type_findings(await findings(engine, f"SELECT {value} AS x", str)) == []
        finally:
            await engine.dispose()

    run(main())


def test_an_array_of_a_domain_is_cast(postgres: Postgres) -> None:
    async def main() -> None:
        engine = make_engine(postgres.url("psycopg"))
        try:
            await with_types(engine)
            sql = "SELECT ARRAY[1]\\:\\:reg_number[] AS x"
            (found,) = type_findings(await findings(engine, sql, list[int]))
            assert found.hint == "cast the array of a domain in SQL: CAST(... AS int4[])"
            cast = "SELECT CAST(ARRAY[1]\\:\\:reg_number[] AS int4[]) AS x"
            assert await fetch_all(engine, tuple[list[int]], cast) == [([1],)]
        finally:
            await engine.dispose()

    run(main())


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_the_range_class_of_another_driver_is_an_error(postgres: Postgres, driver: str) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    own, other = (asyncpg.Range, Range) if driver == "asyncpg" else (Range, asyncpg.Range)

    async def main() -> None:
        engine = make_engine(postgres.url(driver))
        try:
            sql = "SELECT int4range(1, 2) AS x"
            assert type_findings(await findings(engine, sql, own)) == []
            assert type_findings(await findings(engine, sql, own[int])) == []
            (found,) = type_findings(await findings(engine, sql, other))
            name, others = map(qualified_name, (own, other))
            assert found.severity.value == "error"
            assert found.reason == f"it arrives as {name} on {driver}"
            assert found.hint == f"declare it {name}"
            with pytest.raises(RowValueError) as caught:
                await fetch_all(engine, tuple[other], sql)
            assert f"expected {others}, found {name}" in str(caught.value)
        finally:
            await engine.dispose()

    run(main())
