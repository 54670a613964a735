"""The fields of row types: names, defaults, single values, tuples, and types that are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, NewType, TypedDict

import attr
import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
import typing_extensions
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.construction import Strategy
from sqla_typedpool.mapping.markers import Col, Flatten, Json
from sqla_typedpool.mapping.rowtype import row_type_of
from tests.support.mapping_lab import mapped


@dataclass
class Plain:
    id: int
    name: str


@dataclass(slots=True)
class Slots:
    id: int
    name: str


# ---------------------------------------------------------------------------- names and defaults


@dataclass
class Renamed:
    id: Annotated[int, Col("user_id")]
    name: Annotated[str, Col(default=True)] = "unknown"
    tags: Annotated[list[str], Col(default=True)] = field(default_factory=list)


def test_a_column_may_have_another_name_than_its_field() -> None:
    assert mapped(Renamed, "user_id name tags", (1, "Ann", [])) == [Renamed(1, "Ann", [])]


def test_a_missing_column_takes_the_default_with_col_default() -> None:
    first, second = mapped(Renamed, "user_id", (1,), (2,))
    assert [first, second] == [Renamed(1), Renamed(2)]
    assert first.tags is not second.tags


def test_a_default_does_not_replace_null() -> None:
    with pytest.raises(RowValueError, match="found NULL"):
        mapped(Renamed, "user_id name", (1, None))


def test_without_col_default_a_default_does_not_replace_a_missing_column() -> None:
    @dataclass
    class User:
        name: str = "unknown"

    with pytest.raises(RowShapeError, match='missing column "name"'):
        mapped(User, "nam", ("Ann",))


def test_col_default_without_a_default_is_an_error() -> None:
    @dataclass
    class User:
        name: Annotated[str, Col(default=True)]

    with pytest.raises(RowShapeError, match=r"User.name: Col\(default=True\), but"):
        row_type_of(User)


@attrs.define
class Private:
    _name: str


def test_a_private_attribute_of_attrs_is_passed_to_its_public_parameter() -> None:
    assert mapped(Private, "_name", ("Ann",)) == [Private(name="Ann")]


@attr.s
class Classic:
    id = attr.ib(type=int)
    anything = attr.ib()


def test_the_types_of_classic_attrs_classes_are_checked() -> None:
    assert mapped(Classic, "id anything", (1, None)) == [Classic(1, None)]
    with pytest.raises(RowValueError, match="expected int, found str"):
        mapped(Classic, "id anything", ("1", None))


class Aliased(pydantic.BaseModel):
    name: str = pydantic.Field(alias="userName")
    nick: Annotated[str, Col("nick_name")]


def test_a_column_has_the_name_of_a_pydantic_field_and_not_its_alias() -> None:
    assert mapped(Aliased, "name nick_name", ("Ann", "A")) == [Aliased(userName="Ann", nick="A")]


class StructWithDefault(msgspec.Struct):
    id: int
    name: Annotated[str, Col(default=True)] = "unknown"


def test_a_missing_column_takes_the_default_of_a_struct() -> None:
    assert mapped(StructWithDefault, "id", (1,)) == [StructWithDefault(1)]


# ------------------------------------------------------------------------------------ TypedDicts


class Whole(TypedDict):
    id: int
    name: str | None


class Parts(TypedDict, total=False):
    id: typing_extensions.Required[int]
    name: str


class Partly(typing_extensions.TypedDict):
    id: int
    name: typing_extensions.NotRequired[str]


class RenamedKey(TypedDict):
    id: Annotated[int, Col("user_id")]


Odd = TypedDict("Odd", {"user-id": int, "class": str})


def test_a_typed_dict_is_a_dict() -> None:
    assert mapped(Whole, "id name", (1, None)) == [{"id": 1, "name": None}]
    assert row_type_of(Whole).construction.strategy is Strategy.DICT


@pytest.mark.parametrize("cls", [Parts, Partly])
def test_a_key_that_is_not_required_may_be_missing(cls: Any) -> None:
    assert mapped(cls, "id", (1,)) == [{"id": 1}]
    assert mapped(cls, "id name", (1, "Ann")) == [{"id": 1, "name": "Ann"}]
    with pytest.raises(RowShapeError, match='missing column "id"'):
        mapped(cls, "name", ("Ann",))


def test_a_key_may_have_another_name_than_its_column() -> None:
    assert mapped(RenamedKey, "user_id", (1,)) == [{"id": 1}]


def test_a_key_need_not_be_an_identifier() -> None:
    assert mapped(Odd, "user-id class", (1, "A")) == [{"user-id": 1, "class": "A"}]


# ---------------------------------------------------------------------- single values and tuples


UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("row_type", "rows"),
    [
        (int, [1, 2]),
        (int | None, [1, None]),
        (UserId, [1]),
        (list[int], [[1, 2]]),
        (Annotated[dict[str, int], Json()], [{"a": 1}]),
        (Annotated[Plain, Json()], [{"id": 1, "name": "Ann"}]),
        (Any, [1, None, "x"]),
        (object, [1, None, "x"]),
    ],
)
def test_one_column_becomes_a_single_value(row_type: Any, rows: list[Any]) -> None:
    made = mapped(row_type, "anything", *((value,) for value in rows))
    assert made == [Plain(**row) if row_type == Annotated[Plain, Json()] else row for row in rows]


def test_columns_of_a_tuple_are_matched_by_position_and_names_may_repeat() -> None:
    assert mapped(tuple[int, str], "id id", (1, "x")) == [(1, "x")]
    assert mapped(tuple[int], "id", (1,)) == [(1,)]
    assert mapped(tuple[int | None, ...], "a b c", (1, None, 3)) == [(1, None, 3)]


# ------------------------------------------------------------------------ types that are refused


class Entities(DeclarativeBase):
    pass


class Entity(Entities):
    __tablename__ = "entity"
    id: Mapped[int] = mapped_column(primary_key=True)


class DataEntity(MappedAsDataclass, Entities):
    __tablename__ = "data_entity"
    id: Mapped[int] = mapped_column(primary_key=True)


@dataclass
class WithEntity:
    entity: Entity


@pytest.mark.parametrize("cls", [Entity, DataEntity, WithEntity, Entity | None, list[Entity]])
def test_a_mapped_class_is_refused_with_advice(cls: Any) -> None:
    with pytest.raises(RowShapeError, match=r"mapped by SQLAlchemy.*session.scalars"):
        row_type_of(cls)


@pytest.mark.parametrize(
    ("row_type", "message"),
    [
        (dict, "dict as a row type does not declare the columns.*TypedDict"),
        (dict[str, Any], r"dict\[str, Any\] as a row type does not declare the columns.*TypedDict"),
        (list, "list as a row type does not declare the columns"),
        (tuple, r"tuple as a row type does not declare the columns"),
        (Plain | None, r"a row is never None; next: declare Plain, or call fetch_optional"),
        (tuple[int, str] | None, "a row is never None"),
        (Plain | Slots, r"is a union of classes; next: declare one class, or annotate"),
        (Plain | int, "union of more than plain types"),
        (Callable[[], int], "no value is exactly of type"),
        (set[int], "the elements of a set cannot be checked"),
        (tuple[int, Annotated[Plain, Flatten()]], r"Flatten\(\) is for the fields of a class"),
        (Annotated[int, Json], r"write Json\(\)"),
        (Annotated[int, Flatten()], r"Flatten\(\) is for classes with fields, not int"),
        (dict[int, str], "the keys of JSON and hstore are str"),
        ("int", "not a type a column can have"),
    ],
)
def test_a_type_that_no_row_can_have_is_refused_with_advice(row_type: Any, message: str) -> None:
    with pytest.raises(RowShapeError, match=message):
        row_type_of(row_type)


def test_a_class_without_fields_is_refused() -> None:
    @dataclass
    class Empty:
        pass

    with pytest.raises(RowShapeError, match="Empty has no fields"):
        row_type_of(Empty)
