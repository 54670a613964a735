"""Arrays, ranges and unions."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Literal

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql import Range

from sqla_typedpool.mapping.coercions import Action
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type
from tests.support.mapping_lab import converted, fit, refusal, shape_refusal

MOMENT = datetime(2026, 1, 31, 12, 30)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


def test_every_element_of_an_array_is_checked() -> None:
    assert converted(list[int], [1, 2]) == [1, 2]
    assert converted(list[int | None], [1, None]) == [1, None]
    assert converted(list[list[int]], [[1], [2]]) == [[1], [2]]
    assert converted(list[Color], ["red"]) == [Color.RED]
    assert '"field" at [1]: expected int, found NULL' in refusal(list[int], [1, None])
    assert "at [1][0]: expected int, found str" in refusal(list[list[int]], [[1], ["2"]])
    assert "at [0]: expected int, found bool" in refusal(list[int], [True])
    assert "at [1]: expected Color, found str that" in refusal(list[Color], ["red", "green"])


@pytest.mark.parametrize("name", ["int4[]", "_int4", "integer[]"])
def test_an_array_type_is_found_by_each_of_its_names(name: str) -> None:
    array = postgresql_type(name)
    assert fit(list[int], array, "postgresql").action is Action.ACCEPT
    assert fit(list[list[int]], array, "postgresql").action is Action.ACCEPT
    assert "element" in shape_refusal(list[str], array)


@pytest.mark.parametrize("name", ["mood[]", "_mood"])
def test_an_array_of_an_unknown_type_may_be_text(name: str) -> None:
    array = postgresql_type(name)
    assert array == DbType("mood[]", element=DbType("mood"))
    assert fit(list[Color], array, "postgresql").action is Action.CONVERT
    assert fit(str, array, "postgresql").action is Action.ACCEPT


def test_a_range_and_its_bounds_are_checked() -> None:
    whole = asyncpg.Range(1, 5)
    assert converted(asyncpg.Range, whole) is whole
    assert converted(Range[int], Range(1, None)) == Range(1, None)
    assert "at .upper: expected int | None, found str" in refusal(Range[int], Range(1, "5"))
    assert "expected asyncpg.Range, found list" in refusal(asyncpg.Range, [1, 5])


def test_a_union_accepts_a_value_of_one_of_its_members() -> None:
    assert converted(int | str, 1) == 1
    assert converted(int | str | None, None) is None
    assert converted(int | Literal["none"], "none") == "none"
    assert "expected int | str, found bool" in refusal(int | str, True)
    assert converted(datetime | int, "2026-01-31 12:30:00", "sqlite") == MOMENT


def test_an_array_of_more_dimensions_than_declared_has_a_hint() -> None:
    hint = "declare it list[list[int]]"
    assert hint in refusal(list[int], [[1, 2], [3, 4]])
    assert hint in refusal(list[int] | None, [[1, 2]])
