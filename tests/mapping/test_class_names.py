"""Classes of one name are told apart in messages."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Any

import pytest

from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.typespec import type_name
from tests.support.mapping_lab import refusal, shape_refusal


@dataclass
class Point:
    x: int


def test_an_expected_and_a_found_class_of_one_name_are_qualified() -> None:
    other = make_dataclass("Point", [("x", int)])
    other.__module__ = "elsewhere"
    message = refusal(list[Point], [other(1)])
    assert f"expected {__name__}.Point, found elsewhere.Point" in message


def test_other_classes_have_no_module() -> None:
    assert "expected Point, found str" in refusal(list[Point], ["x"])


@pytest.mark.parametrize(
    ("module", "name"), [("asyncpg", "Range"), ("psycopg.types.range", "Range")]
)
def test_classes_of_drivers_are_always_qualified(module: str, name: str) -> None:
    cls: Any = getattr(pytest.importorskip(module), name)
    qualified = f"{module}.{name}"
    assert type_name(cls) == qualified
    assert type_name(cls[int] | None) == f"{qualified}[int] | None"
    assert f"expected {qualified}, found str" in refusal(cls, "x")


def test_a_column_names_the_class_of_its_driver() -> None:
    asyncpg = pytest.importorskip("asyncpg")
    point = DbType("point", asyncpg.Point, driver="asyncpg")
    message = shape_refusal(list[int], point)
    assert "(it arrives as asyncpg.Point on asyncpg); next: declare it asyncpg.Point" in message
