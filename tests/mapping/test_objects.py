"""Composite values that become objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.coercions import Action
from sqla_typedpool.mapping.dbtypes import postgresql_type
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.plan import Column
from tests.support.mapping_lab import converted, fit, refusal


@dataclass
class Point:
    x: int
    y: int | None


class Record:
    """A composite value as asyncpg delivers it."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def keys(self) -> Any:
        return self._fields.keys()

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]


def test_a_composite_value_becomes_an_object() -> None:
    assert converted(list[Point], [Record(x=1, y=None)]) == [Point(1, None)]
    assert "at [0].x: expected int, found NULL" in refusal(list[Point], [Record(x=None, y=1)])
    assert "at [0].y: expected int | None, found no such" in refusal(list[Point], [Record(x=1)])
    assert "at [0].z" in refusal(list[Point], [Record(x=1, y=2, z=3)])


def test_the_hint_for_an_unknown_key_of_a_composite_value_does_not_mention_json() -> None:
    message = refusal(list[Point], [Record(x=1, y=2, z=3)])
    assert message.endswith(": expected no such key, found a value; next: declare a field for it")


def test_a_composite_type_fits_if_its_fields_fit() -> None:
    int4, text = postgresql_type("int4"), postgresql_type("text")
    fits = postgresql_type("point2d", fields=(("x", int4), ("y", int4)))
    assert fit(Point, fits, "postgresql").action is Action.CONVERT
    wrong = postgresql_type("point2d", fields=(("x", int4), ("y", text)))
    assert fit(Point, wrong, "postgresql").action is Action.REFUSE
    short = postgresql_type("point2d", fields=(("x", int4),))
    assert fit(Point, short, "postgresql").reason == "only one of the two types has y"


@pytest.mark.parametrize("family", ["sqlite", "mysql"])
def test_a_nested_class_is_refused_in_databases_without_composite_types(family: str) -> None:
    with pytest.raises(RowShapeError, match=r"Json\(\) if it is JSON, or Flatten\(\)"):
        mapper_for(list[Point], (Column("field"),), family)
