"""The generated function: what it takes, what it makes, and what it keeps alive."""

from __future__ import annotations

import copy
import gc
import linecache
import pickle
import traceback
import weakref
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, TypedDict

import msgspec
import pydantic
import pytest
from sqlalchemy import create_engine, text

from sqla_typedpool.errors import RowShapeError, RowValueError, StatementTimeout, TypedPoolError
from sqla_typedpool.mapping.mapper import Mapper, mapper_for
from sqla_typedpool.mapping.markers import Flatten
from sqla_typedpool.mapping.plan import Column


@dataclass
class User:
    id: int
    name: str


def mapper_of(row_type: Any, *names: str) -> Mapper[Any]:
    return mapper_for(row_type, tuple(map(Column, names)), "postgresql")


# ---------------------------------------------------------------------------- rows


def test_no_rows_are_an_empty_list() -> None:
    assert mapper_of(User, "id", "name").map_rows([]) == []


def test_rows_may_be_anything_that_can_be_unpacked() -> None:
    mapper = mapper_of(User, "id", "name")
    wanted = [User(1, "Ann")]
    assert mapper.map_rows([(1, "Ann")]) == wanted
    assert mapper.map_rows(iter([[1, "Ann"]])) == wanted
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT 1 AS id, 'Ann' AS name")).all()
    engine.dispose()
    assert mapper.map_rows(rows) == wanted


def test_a_thousand_columns_are_no_matter() -> None:
    names = [f"column{number}" for number in range(1000)]
    wide = make_dataclass("Wide", [(name, int) for name in names])
    row = tuple(range(1000))
    assert mapper_of(wide, *names).map_rows([row]) == [wide(*row)]


def test_the_first_field_that_is_wrong_is_told() -> None:
    with pytest.raises(RowValueError) as caught:
        mapper_of(User, "name", "id").map_rows([("Ann", 1), (2, "x")])
    assert (caught.value.row, caught.value.column) == (2, "id")


# --------------------------------------------------------------------------- names


def test_names_of_classes_and_fields_cannot_disturb_the_code() -> None:
    fields = ["rows", "first", "out", "add", "new", "type", "int", "fix0", "row", "id_0"]
    odd = make_dataclass("type", [(name, int) for name in fields])
    row = tuple(range(len(fields)))
    assert mapper_of(odd, *fields).map_rows([row]) == [odd(*row)]


@pytest.mark.parametrize("name", ["row", "rows", "out", "add", "first", "new", "id_0", "fix0"])
def test_a_class_may_be_called_as_something_in_the_code(name: str) -> None:
    odd = make_dataclass(name, [("id", int), ("x", int)])
    assert mapper_of(odd, "id", "x").map_rows([(1, 2), (3, 4)]) == [odd(1, 2), odd(3, 4)]


def test_two_classes_of_one_name_are_two_classes() -> None:
    inner = make_dataclass("Point", [("x", int)])
    outer = make_dataclass("Point", [("a", int), ("b", Annotated[inner, Flatten()])])
    assert mapper_of(outer, "a", "x").map_rows([(1, 2)]) == [outer(1, inner(2))]


def test_a_name_that_source_code_would_change_is_left_alone() -> None:
    ligature = "\ufb01"  # read as "fi" in source code
    odd = msgspec.defstruct("Odd", [(ligature, int), ("x", int)], kw_only=True)
    assert mapper_of(odd, ligature, "x").map_rows([(1, 2)]) == [odd(**{ligature: 1, "x": 2})]


class Aliased(pydantic.BaseModel):
    name: str = pydantic.Field(alias="user-name, x=print(1)")


def test_an_alias_that_is_no_name_is_only_data() -> None:
    (made,) = mapper_of(Aliased, "name").map_rows([("Ann",)])
    assert made.name == "Ann"


def test_keys_and_column_names_are_only_data() -> None:
    key = "x'], __import__('os').abort()) #\n"
    odd = TypedDict("odd", {key: int})  # type: ignore[misc]
    assert mapper_of(odd, key).map_rows([(1,)]) == [{key: 1}]
    assert mapper_of(tuple[int], key).map_rows([(1,)]) == [(1,)]


def test_a_class_whose_name_is_no_name_is_made_all_the_same() -> None:
    odd = make_dataclass("User", [("id", int)])
    odd.__name__ = "User)\nimport os"
    assert mapper_of(odd, "id").map_rows([(1,)]) == [odd(1)]


# ----------------------------------------------------------------------- tracebacks


def test_a_traceback_shows_the_generated_line() -> None:
    mapper = mapper_of(User, "id", "name")
    try:
        mapper.map_rows([("1", "Ann")])
    except RowValueError:
        shown = traceback.format_exc()
    assert "in map_rows" in shown
    assert "id_0 = fix0(id_0, out, first)" in shown
    assert "ConversionError" not in shown


# --------------------------------------------------------------------------- memory


def test_a_mapper_is_made_once() -> None:
    assert mapper_of(User, "id", "name") is mapper_of(User, "id", "name")
    assert mapper_of(User, "id", "name") is not mapper_of(User, "name", "id")


def test_equal_but_different_types_are_not_confused() -> None:
    assert mapper_of(bool, "x").map_rows([(True,)]) == [True]
    with pytest.raises(RowValueError):
        mapper_of(int, "x").map_rows([(True,)])


def test_what_has_no_hash_is_mapped_too() -> None:
    row_type = Annotated[int, ["no", "hash"]]
    assert mapper_of(row_type, "x").map_rows([(1,)]) == [1]


def test_mappers_of_classes_made_at_run_time_are_forgotten_in_the_end() -> None:
    def made(number: int) -> weakref.ref[type]:
        cls = make_dataclass(f"Made{number}", [("id", int)])
        mapper_of(cls, "id").map_rows([(1,)])
        return weakref.ref(cls)

    first = made(0)
    file = next(name for name in linecache.cache if name.endswith("of Made0>"))
    for number in range(1001):
        mapper_of(tuple[int, ...], *(f"n{number}",))
    gc.collect()
    assert first() is None
    assert file not in linecache.cache


# --------------------------------------------------------------------------- errors


def value_error() -> RowValueError:
    with pytest.raises(RowValueError) as caught:
        mapper_of(User, "id", "name").map_rows([(1, b"secret")])
    return caught.value


def test_a_value_error_carries_the_value_and_never_shows_it() -> None:
    error = value_error()
    assert error.value == b"secret"
    assert "secret" not in f"{error} {error!r} {error.args}"
    assert isinstance(error, TypedPoolError)


@pytest.mark.parametrize("twin_of", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_value_error_survives_being_copied_without_its_value(twin_of: Any) -> None:
    error = value_error()
    error.query = "get_user"
    twin = twin_of(error)
    assert str(twin) == str(error)
    assert (twin.row, twin.column, twin.expected, twin.found) == (1, "name", "str", "bytes")
    assert twin.value is None


def test_a_shape_error_survives_being_copied() -> None:
    error = RowShapeError("one", "two")
    twin = pickle.loads(pickle.dumps(error))
    assert twin.faults == ("one", "two")
    assert str(twin) == str(copy.copy(error)) == "2 faults:\n- one\n- two"
    assert str(RowShapeError("one")) == "one"


def test_a_statement_timeout_is_the_built_in_one() -> None:
    assert issubclass(StatementTimeout, TimeoutError)
    assert issubclass(StatementTimeout, TypedPoolError)
    assert str(pickle.loads(pickle.dumps(StatementTimeout("no answer")))) == "no answer"
