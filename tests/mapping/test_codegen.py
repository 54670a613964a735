"""The generated function: the rows it takes, the names in its code, its tracebacks."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, TypedDict

import msgspec
import pydantic
import pytest
from sqlalchemy import create_engine, text

from sqla_typedpool.errors import RowValueError
from sqla_typedpool.mapping.mapper import Mapper, mapper_for
from sqla_typedpool.mapping.markers import Flatten
from sqla_typedpool.mapping.plan import Column


@dataclass
class User:
    id: int
    name: str


def mapper_of(row_type: Any, *names: str) -> Mapper[Any]:
    return mapper_for(row_type, tuple(map(Column, names)), "postgresql")


# ------------------------------------------------------------------------------------------ rows


def test_no_rows_give_an_empty_list() -> None:
    assert mapper_of(User, "id", "name").map_rows([]) == []


def test_rows_may_be_anything_that_can_be_unpacked() -> None:
    mapper = mapper_of(User, "id", "name")
    expected = [User(1, "Ann")]
    assert mapper.map_rows([(1, "Ann")]) == expected
    assert mapper.map_rows(iter([[1, "Ann"]])) == expected
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT 1 AS id, 'Ann' AS name")).all()
    engine.dispose()
    assert mapper.map_rows(rows) == expected


def test_a_row_may_have_a_thousand_columns() -> None:
    names = [f"column{number}" for number in range(1000)]
    wide = make_dataclass("Wide", [(name, int) for name in names])
    row = tuple(range(1000))
    assert mapper_of(wide, *names).map_rows([row]) == [wide(*row)]


def test_the_first_wrong_value_is_reported() -> None:
    with pytest.raises(RowValueError) as caught:
        mapper_of(User, "name", "id").map_rows([("Ann", 1), (2, "x")])
    assert (caught.value.row, caught.value.column) == (2, "id")


# ----------------------------------------------------------------------------------------- names


def test_fields_may_have_the_names_of_variables_in_the_code() -> None:
    fields = ["rows", "first", "out", "add", "new", "type", "int", "fix0", "row", "id_0"]
    odd = make_dataclass("type", [(name, int) for name in fields])
    row = tuple(range(len(fields)))
    assert mapper_of(odd, *fields).map_rows([row]) == [odd(*row)]


@pytest.mark.parametrize("name", ["row", "rows", "out", "add", "first", "new", "id_0", "fix0"])
def test_a_class_may_have_the_name_of_a_variable_in_the_code(name: str) -> None:
    odd = make_dataclass(name, [("id", int), ("x", int)])
    assert mapper_of(odd, "id", "x").map_rows([(1, 2), (3, 4)]) == [odd(1, 2), odd(3, 4)]


def test_two_classes_with_the_same_name_are_distinguished() -> None:
    inner = make_dataclass("Point", [("x", int)])
    outer = make_dataclass("Point", [("a", int), ("b", Annotated[inner, Flatten()])])
    assert mapper_of(outer, "a", "x").map_rows([(1, 2)]) == [outer(1, inner(2))]


def test_a_name_that_python_normalises_is_not_used_in_the_code() -> None:
    ligature = "\ufb01"  # Python normalises it to "fi"
    odd = msgspec.defstruct("Odd", [(ligature, int), ("x", int)], kw_only=True)
    assert mapper_of(odd, ligature, "x").map_rows([(1, 2)]) == [odd(**{ligature: 1, "x": 2})]


class Aliased(pydantic.BaseModel):
    name: str = pydantic.Field(alias="user-name, x=print(1)")


def test_an_alias_that_is_not_an_identifier_does_not_become_code() -> None:
    (made,) = mapper_of(Aliased, "name").map_rows([("Ann",)])
    assert made.name == "Ann"


def test_keys_and_names_of_columns_do_not_become_code() -> None:
    key = "x'], __import__('os').abort()) #\n"
    odd = TypedDict("odd", {key: int})  # type: ignore[misc]
    assert mapper_of(odd, key).map_rows([(1,)]) == [{key: 1}]
    assert mapper_of(tuple[int], key).map_rows([(1,)]) == [(1,)]


def test_a_class_whose_name_is_not_an_identifier_is_supported() -> None:
    odd = make_dataclass("User", [("id", int)])
    odd.__name__ = "User)\nimport os"
    assert mapper_of(odd, "id").map_rows([(1,)]) == [odd(1)]


# ------------------------------------------------------------------------------------ tracebacks


def test_a_traceback_shows_the_generated_line() -> None:
    mapper = mapper_of(User, "id", "name")
    try:
        mapper.map_rows([("1", "Ann")])
    except RowValueError:
        shown = traceback.format_exc()
    assert "in map_rows" in shown
    assert "id_0 = fix0(id_0, out, first)" in shown
    assert "ConversionError" not in shown
