"""What `explain_mapping` and `str(plan)` show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.explain import explain_mapping
from sqla_typedpool.mapping.markers import Flatten, Json
from sqla_typedpool.mapping.plan import make_plan
from tests.support.mapping_lab import columns_of


@dataclass
class Address:
    street: str
    zip: str | None


@dataclass
class User:
    id: int
    name: str | None
    home: Annotated[Address | None, Flatten(prefix="home_")]


def test_a_plan_shows_the_column_of_every_field() -> None:
    plan = make_plan(User, columns_of("id:int8 name:text home_street:text home_zip"), "postgresql")
    assert str(plan).splitlines() == [
        "User (dataclass) from 4 columns on postgresql, by object.__new__ and a store per field",
        '  id: int <- "id" int8: unchanged',
        '  name: str | None <- "name" text: unchanged',
        "  home: Address, by object.__new__ and a store per field, "
        "None if all its columns are NULL",
        '    street: str <- "home_street" text: unchanged',
        '    zip: str | None <- "home_zip": each value is checked',
    ]


def test_explain_mapping_shows_the_plan_and_the_code() -> None:
    text = explain_mapping(User)
    assert 'home_street"' in text
    assert "def map_rows(rows, first=0" in text
    assert "row = new(User)" in text


def test_explain_mapping_takes_database_types_of_each_dialect() -> None:
    assert "from int: 0 or 1" in explain_mapping(bool, [("flag", "tinyint")], dialect="mariadb")
    assert "aware" in explain_mapping(tuple[Any, ...], [("at", "timestamptz"), "x"])
    assert "column2" in explain_mapping(tuple[int, str])
    with pytest.raises(RowShapeError, match="arrives as int"):
        explain_mapping(str, [("id", "int8")])


def test_the_options_of_json_are_shown() -> None:
    text = explain_mapping(Annotated[list[Address], Json(extra=True)], [("data", "jsonb")])
    assert 'list[Address] Json(extra=True) <- "data" jsonb: built from JSON' in text
