"""Mappers are cached, and their errors can be copied."""

from __future__ import annotations

import copy
import gc
import linecache
import pickle
import weakref
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any

import pytest

from sqla_typedpool.errors import RowShapeError, RowValueError, StatementTimeout, TypedPoolError
from sqla_typedpool.mapping.mapper import Mapper, mapper_for
from sqla_typedpool.mapping.plan import Column


@dataclass
class User:
    id: int
    name: str


def mapper_of(row_type: Any, *names: str) -> Mapper[Any]:
    return mapper_for(row_type, tuple(map(Column, names)), "postgresql")


def test_the_mapper_of_a_row_type_and_columns_is_cached() -> None:
    assert mapper_of(User, "id", "name") is mapper_of(User, "id", "name")
    assert mapper_of(User, "id", "name") is not mapper_of(User, "name", "id")


def test_bool_and_int_have_different_mappers() -> None:
    assert mapper_of(bool, "x").map_rows([(True,)]) == [True]
    with pytest.raises(RowValueError):
        mapper_of(int, "x").map_rows([(True,)])


def test_a_row_type_without_a_hash_is_supported() -> None:
    row_type = Annotated[int, ["no", "hash"]]
    assert mapper_of(row_type, "x").map_rows([(1,)]) == [1]


def test_mappers_of_classes_made_at_run_time_are_freed() -> None:
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


# ---------------------------------------------------------------------------------------- errors


def value_error() -> RowValueError:
    with pytest.raises(RowValueError) as caught:
        mapper_of(User, "id", "name").map_rows([(1, b"secret")])
    return caught.value


def test_a_value_error_has_the_value_but_does_not_show_it() -> None:
    error = value_error()
    assert error.value == b"secret"
    assert "secret" not in f"{error} {error!r} {error.args}"
    assert isinstance(error, TypedPoolError)


@pytest.mark.parametrize("twin_of", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copied_value_error_has_everything_but_the_value(twin_of: Any) -> None:
    error = value_error()
    error.query = "get_user"
    twin = twin_of(error)
    assert str(twin) == str(error)
    assert (twin.row, twin.column, twin.expected, twin.found) == (1, "name", "str", "bytes")
    assert twin.value is None


def test_a_shape_error_can_be_copied() -> None:
    error = RowShapeError("one", "two")
    twin = pickle.loads(pickle.dumps(error))
    assert twin.faults == ("one", "two")
    assert str(twin) == str(copy.copy(error)) == "2 faults:\n- one\n- two"
    assert str(RowShapeError("one")) == "one"


def test_a_statement_timeout_is_a_built_in_timeout_error() -> None:
    assert issubclass(StatementTimeout, TimeoutError)
    assert issubclass(StatementTimeout, TypedPoolError)
    assert str(pickle.loads(pickle.dumps(StatementTimeout("no answer")))) == "no answer"
