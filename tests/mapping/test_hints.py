"""Annotations are resolved: type variables, aliases, names of other types."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date
from typing import Any, Generic, TypeVar

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
import typing_extensions

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.rowtype import row_type_of
from tests.support.mapping_lab import mapped
from tests.support.python_314 import old_and_new

semantics = old_and_new()
T = TypeVar("T")
U = TypeVar("U")


@dataclass
class Page(Generic[T]):
    item: T
    more: list[T]


@dataclass
class Pair(Page[T], Generic[T, U]):
    other: U


class GenericModel(pydantic.BaseModel, Generic[T]):
    item: T


class GenericStruct(msgspec.Struct, Generic[T]):
    item: T


class GenericDict(typing_extensions.TypedDict, Generic[T]):
    item: T


@pytest.mark.parametrize("cls", [GenericModel, GenericStruct, GenericDict])
def test_a_type_variable_is_replaced_by_its_argument(cls: Any) -> None:
    assert mapped(cls[int], "item", (1,)) == [cls[int](item=1)]
    with pytest.raises(RowValueError, match="expected int, found str"):
        mapped(cls[int], "item", ("1",))


def test_type_variables_of_bases_are_replaced() -> None:
    assert mapped(Pair[int, str], "item more other", (1, [2], "x")) == [Pair(1, [2], "x")]
    with pytest.raises(RowValueError, match=r'"more" at \[0\]: expected int, found str'):
        mapped(Pair[int, str], "item more other", (1, ["2"], "x"))
    with pytest.raises(RowValueError, match='"other": expected str, found int'):
        mapped(Pair[int, str], "item more other", (1, [2], 3))


def test_a_subclass_may_bind_a_type_variable_of_its_base() -> None:
    @dataclass
    class Texts(Page[str]):
        pass

    with pytest.raises(RowValueError, match='"item": expected str, found int'):
        mapped(Texts, "item more", (1, []))


def test_one_type_variable_may_have_two_meanings_in_base_and_class() -> None:
    @dataclass
    class Nested(Page[list[T]], Generic[T]):
        own: T

    assert mapped(Nested[int], "item more own", ([1], [[2]], 3)) == [Nested([1], [[2]], 3)]
    with pytest.raises(RowValueError, match=r'"item" at \[0\]: expected int'):
        mapped(Nested[int], "item more own", (["1"], [], 3))


def test_an_unbound_type_variable_accepts_any_value() -> None:
    assert mapped(Page, "item more", (1, ["x"])) == [Page(1, ["x"])]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement needs Python 3.12")
def test_type_aliases_are_replaced_by_their_values() -> None:
    space: dict[str, Any] = {}
    exec("type Id = int\ntype Many[T] = list[T]", space)
    identity, many = space["Id"], space["Many"]
    row_type = tuple[identity, many[str]]
    assert mapped(row_type, "a b", (1, ["x"])) == [(1, ["x"])]
    with pytest.raises(RowValueError, match=r'"b" at \[0\]: expected str'):
        mapped(row_type, "a b", (1, [1]))


@dataclass
class Shadowing:
    date: date | None = None
    other: date | None = None


def test_a_field_with_the_name_of_its_type_does_not_hide_the_type() -> None:
    assert [field.spec.text for field in row_type_of(Shadowing).fields] == ["date | None"] * 2


@dataclass
class Broken:
    first: Nowhere  # type: ignore[name-defined]  # noqa: F821
    second: list[Elsewhere]  # type: ignore[name-defined]  # noqa: F821
    third: int


def test_an_unknown_name_is_reported_with_class_and_field() -> None:
    with pytest.raises(RowShapeError) as caught:
        row_type_of(Broken)
    first, second = caught.value.faults
    assert first.startswith("Broken.first: 'Nowhere' is not defined in the module of Broken")
    assert "name 'Elsewhere' is not defined" in second
