"""Dates and times that Python does not have: the error names the column and the query."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from sqla_typedpool import Executor, Flatten, RowValueError, fetch_all, fetch_one, query
from tests.support.engines import run
from tests.support.fetch_lab import KINDS, LABS, Lab, executor_of, lab_of

if TYPE_CHECKING:
    from pathlib import Path

POSTGRESQL_LABS = [each for each in LABS if each.values[0][1] == "postgres"]
ADVICE = (
    "; next: exclude infinity, 24:00, and the years before 1 and after 9999, which Python does not "
    "have, or select the value as text: CAST(... AS text)"
)
# Neither driver can decode them.
UNDECODABLE = {
    "date '0044-03-15 BC'": date,
    "date '10000-01-01'": date,
    "timestamp '0044-03-15 BC'": datetime,
    "timestamptz '0044-03-15 BC'": datetime,
    "timestamptz '294276-12-31'": datetime,
    "time '24:00'": time,
    "ARRAY[timestamp '10000-01-01']": list[datetime],
}


@pytest.fixture(params=POSTGRESQL_LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return lab_of(request, tmp_path)


@dataclass
class Day:
    id: int
    day: date


@dataclass
class Stay:
    id: int
    arrival: date
    departure: date | None
    first: Annotated[Day, Flatten(prefix="first_")]


@query("SELECT 1 AS id, date '10000-01-01' AS day")
async def far_day(db: Executor) -> Day:
    raise NotImplementedError


@query("SELECT n AS id, date '9999-12-30' + n AS day FROM generate_series(0, 2) AS n")
def last_days(db: Executor) -> AsyncIterator[Day]:
    raise NotImplementedError


def refused(lab: Lab, row_type: Any, sql: str, kind: str = "engine") -> RowValueError:
    async def main() -> RowValueError:
        async with lab.engine_on() as engine, executor_of(engine, kind) as executor:
            with pytest.raises(RowValueError) as caught:
                await executor.rows(row_type, sql)
        return caught.value

    return run(main())


@pytest.mark.parametrize("expression", UNDECODABLE)
def test_a_value_that_no_driver_can_decode_is_a_row_value_error(lab: Lab, expression: str) -> None:
    error = refused(lab, UNDECODABLE[expression], f"SELECT {expression} AS x")
    assert str(error).startswith(
        "expected a date or time, found a value that the driver cannot decode ("
    )
    assert str(error).endswith(ADVICE)
    assert (error.row, error.column) == (None, None)
    assert error.__cause__ is not None


@pytest.mark.parametrize("kind", [each for each in KINDS if each != "rows_as"])
def test_the_only_column_that_can_have_the_value_is_named(lab: Lab, kind: str) -> None:
    error = refused(lab, Day, "SELECT 1 AS id, date '10000-01-01' AS day", kind)
    assert (error.row, error.column) == (None, "day")
    assert str(error).startswith('column "day": expected a date or time, found a value that the')
    assert "10000" not in str(error)


def test_all_columns_that_can_have_the_value_are_named(lab: Lab) -> None:
    error = refused(
        lab,
        Stay,
        "SELECT 1 AS id, now()::date AS arrival, date '10000-01-01' AS departure, 2 AS first_id,"
        " now()::date AS first_day",
    )
    assert error.column is None
    assert ') in the column "arrival" or "departure" or "first_day"; next: ' in str(error)


def test_the_declared_query_is_named(lab: Lab) -> None:
    async def main() -> None:
        async with lab.engine_on() as engine:
            with pytest.raises(RowValueError, match=r"\(query [\w.]+\.far_day\)"):
                await far_day(engine)
            with pytest.raises(RowValueError, match=r"\(query [\w.]+\.last_days\)"):
                assert [each async for each in last_days(engine)]

    run(main())


def test_the_connection_can_be_used_afterwards(lab: Lab) -> None:
    async def main() -> None:
        async with lab.engine_on() as engine, engine.connect() as connection:
            await fetch_one(connection, int, "SELECT 1")
            with pytest.raises(RowValueError):
                await fetch_all(connection, date, "SELECT date '10000-01-01' AS x")
            assert await fetch_one(connection, int, "SELECT 2") == 2

    run(main())


@pytest.mark.parametrize("expression", ["timestamptz 'infinity'", "timestamptz '-infinity'"])
def test_an_infinite_timestamptz_is_refused_on_each_driver(lab: Lab, expression: str) -> None:
    error = refused(lab, datetime, f"SELECT {expression} AS x")
    if lab.driver == "asyncpg":
        assert (error.row, error.column, error.found) == (1, "x", "an infinite date and time")
    else:
        assert "found a value that the driver cannot decode (DataError)" in str(error)
    assert "infinity" in error.hint


def test_an_error_of_the_database_is_raised_unchanged(lab: Lab) -> None:
    async def main() -> None:
        async with lab.engine_on() as engine:
            with pytest.raises(Exception, match="division by zero"):
                await fetch_all(engine, date, "SELECT now()::date + 1 / 0 AS x")

    run(main())
