"""JSON -> declared types, exactly, with the path to whatever is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
import typing_extensions

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import ByName, Col, Decode, Flatten, Json
from sqla_typedpool.mapping.plan import Column

T = TypeVar("T")
JSONB = postgresql_type("jsonb")
IDENTITY = UUID("12345678123456781234567812345678")


class Color(Enum):
    RED = "red"


@dataclass(frozen=True)
class Item:
    name: str
    price: float
    tags: list[str] = field(default_factory=list)


@dataclass
class Order:
    items: list[Item]
    placed: datetime
    note: str | None


@dataclass
class Tree:
    value: int
    children: list[Tree]
    parent: Tree | None = None


@dataclass
class Box(Generic[T]):
    content: T


@attrs.define
class AttrsPoint:
    x: int
    y: int


class NamedPoint(NamedTuple):
    x: int
    y: int


class DictPoint(TypedDict):
    x: int
    y: int


class StructPoint(msgspec.Struct):
    x: int
    y: int


class ModelPoint(pydantic.BaseModel):
    x: int
    y: int


class HalfPoint(typing_extensions.TypedDict):
    x: int
    y: typing_extensions.NotRequired[int]


def built(annotation: Any, document: Any, options: Json | None = None) -> Any:
    """One decoded document as PostgreSQL's drivers deliver it."""
    row_type = Annotated[annotation, options or Json()]
    mapper = mapper_for(row_type, (Column("data", JSONB),), "postgresql")
    (made,) = mapper.map_rows([(document,)])
    return made


def refusal(annotation: Any, document: Any, options: Json | None = None) -> str:
    with pytest.raises(RowValueError) as caught:
        built(annotation, document, options)
    message = str(caught.value)
    assert message.startswith('row 1, column "data" at $')
    return message.removeprefix('row 1, column "data" at ').partition("; next: ")[0]


# ----------------------------------------------------------------------- what is built


@pytest.mark.parametrize("cls", [AttrsPoint, NamedPoint, DictPoint, StructPoint, ModelPoint])
def test_an_object_becomes_a_class_of_any_library(cls: Any) -> None:
    made = built(list[cls], [{"x": 1, "y": 2}])
    assert made == [cls(x=1, y=2)]
    assert type(made[0]) is type(cls(x=1, y=2))
    assert refusal(cls, {"x": 1, "y": "2"}) == "$.y: expected int, found str"
    assert refusal(cls, {"x": 1}) == "$.y: expected int, found no such key"
    assert refusal(cls, {"x": True, "y": 1}) == "$.x: expected int, found bool"


def test_objects_nest() -> None:
    document = {
        "items": [{"name": "a", "price": 1.5, "tags": ["x"]}],
        "placed": "2026-01-31T12:00:00+00:00",
        "note": None,
    }
    placed = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    assert built(Order, document) == Order([Item("a", 1.5, ["x"])], placed, None)


def test_a_class_may_contain_itself() -> None:
    leaf = {"value": 2, "children": [], "parent": None}
    tree = built(Tree, {"value": 1, "children": [leaf], "parent": None})
    assert tree == Tree(1, [Tree(2, [])])
    broken = {"value": 1, "children": [{**leaf, "value": "2"}], "parent": None}
    assert refusal(Tree, broken) == "$.children[0].value: expected int, found str"


def test_generic_classes_know_what_they_hold() -> None:
    assert built(Box[list[int]], {"content": [1]}) == Box([1])
    assert refusal(Box[list[int]], {"content": ["1"]}) == "$.content[0]: expected int, found str"


@pytest.mark.parametrize(
    ("annotation", "document", "value"),
    [
        (str, "a", "a"),
        (int, 1, 1),
        (float, 1.5, 1.5),
        (float, 3, 3.0),
        (float, 2**53, 2.0**53),
        (bool, True, True),
        (int | None, None, None),
        (Any, {"a": [1]}, {"a": [1]}),
        (dict, {"a": 1}, {"a": 1}),
        (list, [1, "a"], [1, "a"]),
        (dict[str, int], {"a b": 1}, {"a b": 1}),
        (dict[str, list[Color]], {"a": ["red"]}, {"a": [Color.RED]}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (Literal["a", 1], 1, 1),
        (Color, "red", Color.RED),
        (Annotated[Color, ByName()], "RED", Color.RED),
        (Annotated[int, Decode(len)], "four", 4),
        (int | str, "a", "a"),
        (datetime, "2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=timezone.utc)),
        (datetime, "2026-01-31T12:00:00.25", datetime(2026, 1, 31, 12, 0, 0, 250000)),
        (date, "2026-01-31", date(2026, 1, 31)),
        (time, "12:00", time(12)),
        (UUID, str(IDENTITY), IDENTITY),
        (Decimal, "1.50", Decimal("1.50")),
    ],
)
def test_a_document_becomes_a_value(annotation: Any, document: Any, value: Any) -> None:
    made = built(annotation, document)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("annotation", "document", "message"),
    [
        (int, True, "$: expected int, found bool"),
        (int, 1.0, "$: expected int, found float"),
        (int, "1", "$: expected int, found str"),
        (float, True, "$: expected float, found bool"),
        (float, 2**53 + 1, "$: expected float, found int that is not a whole number that a float"),
        (float, 10**400, "$: expected float, found int that is not a whole number that a float"),
        (Decimal, 1.5, "$: expected Decimal, found float"),
        (Decimal, 1, "$: expected Decimal, found int"),
        (Decimal, "NaN", "$: expected Decimal, found str that is not a decimal number"),
        (datetime, "2026-01-31", "$: expected datetime, found str that is not an ISO date and"),
        (date, "2026-01-31T00:00", "$: expected date, found str that is not an ISO date"),
        (UUID, "x", "$: expected UUID, found str that is not a UUID"),
        (list[int], [1, None], "$[1]: expected int, found null"),
        (list[int], {"a": 1}, "$: expected list[int], found dict"),
        (dict[str, int], {"a b": "1"}, '$["a b"]: expected int, found str'),
        (dict[str, int], [1], "$: expected dict[str, int], found list"),
        (tuple[int, str], [1], "$: expected tuple[int, str], found 1 elements"),
        (tuple[int, str], [1, 2], "$[1]: expected str, found int"),
        (Color, "blue", "$: expected Color, found str that is not the value of a member"),
        (Literal[1], True, "$: expected Literal[1], found bool that is not one of these values"),
        (Item, [1], "$: expected Item, found list"),
        (
            Order,
            {"items": [{"name": "a", "price": "1"}], "placed": "", "note": None},
            "$.items[0].price: expected float, found str",
        ),
        (Item, {"name": "a", "price": 1}, "$.tags: expected list[str], found no such key"),
        (
            Item,
            {"name": "a", "price": 1, "tags": [], "x": 1},
            "$.x: expected no such key, found one",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_path(annotation: Any, document: Any, message: str) -> None:
    assert refusal(annotation, document).startswith(message)


# ------------------------------------------------------------------------- on request


def test_missing_keys_take_defaults_only_when_asked() -> None:
    document = {"name": "a", "price": 1.0}
    assert built(Item, document, Json(defaults=True)) == Item("a", 1.0)
    assert "no such key" in refusal(Item, {"name": "a"}, Json(defaults=True))
    null = {"name": "a", "price": 1.0, "tags": None}
    assert refusal(Item, null, Json(defaults=True)) == "$.tags: expected list[str], found null"


def test_unknown_keys_are_ignored_only_when_asked() -> None:
    document = {"name": "a", "price": 1.0, "tags": [], "more": 1}
    assert built(Item, document, Json(extra=True)) == Item("a", 1.0, [])


def test_options_hold_at_every_depth() -> None:
    document = {"items": [{"name": "a", "price": 1.0, "more": 1}], "note": None}
    row_type = list[Box[Item]]
    options = Json(defaults=True, extra=True)
    nested = [{"content": document["items"][0]}]  # type: ignore[index]
    assert built(row_type, nested, options) == [Box(Item("a", 1.0))]


def test_a_key_that_is_not_required_may_be_missing() -> None:
    assert built(HalfPoint, {"x": 1}) == {"x": 1}


def test_a_key_may_have_another_name_than_its_field() -> None:
    @dataclass
    class Renamed:
        kind: Annotated[str, Col("@type")]

    assert built(Renamed, {"@type": "a"}) == Renamed("a")
    assert refusal(Renamed, {"@type": 1}) == '$["@type"]: expected str, found int'


# ----------------------------------------------------------------------- before rows


@dataclass
class WithBytes:
    inner: Box[bytes]


@dataclass
class WithFlatten:
    item: Annotated[Item, Flatten()]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bytes, "JSON holds no bytes"),
        (list[timedelta], "JSON holds no timedelta"),
        (WithBytes, r"WithBytes.inner: Box\[bytes\].content: JSON holds no bytes"),
        (WithFlatten, r"WithFlatten.item: Flatten\(\) has no meaning inside JSON"),
    ],
)
def test_types_that_json_never_holds_are_refused_before_the_first_row(
    annotation: Any, words: str
) -> None:
    with pytest.raises(RowShapeError, match=f'column "data" jsonb .*{words}'):
        mapper_for(Annotated[annotation, Json()], (Column("data", JSONB),), "postgresql")


@dataclass
class WithUnknown:
    inner: Nowhere  # type: ignore[name-defined]  # noqa: F821


def test_a_class_that_cannot_be_understood_is_told_before_the_first_row() -> None:
    columns = (Column("data"), Column("more"))
    with pytest.raises(RowShapeError, match=r"WithUnknown\.inner: 'Nowhere'") as caught:
        mapper_for(tuple[Annotated[list[WithUnknown], Json()], WithUnknown], columns, "postgresql")
    assert len(caught.value.faults) == 2


# ------------------------------------------------------------------------ text and NULL


@pytest.mark.parametrize("family", ["sqlite", "mysql"])
def test_text_is_decoded_where_json_is_text(family: str) -> None:
    mapper = mapper_for(Annotated[Item, Json()], (Column("data"),), family)
    document = {"name": "a", "price": 3, "tags": []}
    assert mapper.map_rows([(json.dumps(document),), (document,)]) == [Item("a", 3.0, [])] * 2
    with pytest.raises(RowValueError, match="expected JSON, found text that is not JSON"):
        mapper.map_rows([("{",)])


@pytest.mark.parametrize("family", ["sqlite", "mysql"])
def test_text_is_left_alone_where_json_has_been_decoded(family: str) -> None:
    columns = (Column("data", DbType("JSON", json=True)),)
    mapper = mapper_for(Annotated[str, Json()], columns, family)
    assert mapper.map_rows([("1",)]) == ["1"]


def test_postgresql_never_delivers_json_as_text() -> None:
    mapper = mapper_for(Annotated[Item, Json()], (Column("data"),), "postgresql")
    with pytest.raises(RowValueError, match="expected Item, found str"):
        mapper.map_rows([('{"name": "a"}',)])


def test_null_is_none_where_that_is_declared() -> None:
    assert built(Item | None, None) is None
    mapper = mapper_for(Annotated[Item, Json()], (Column("data"),), "postgresql")
    with pytest.raises(RowValueError, match="expected Item, found NULL"):
        mapper.map_rows([(None,)])


def test_a_document_is_one_field_among_others() -> None:
    @dataclass
    class Row:
        id: int
        data: Annotated[dict[str, Item], Json()] | None

    columns = (Column("id"), Column("data"))
    mapper = mapper_for(Row, columns, "postgresql")
    document = {"a": {"name": "a", "price": 1, "tags": []}}
    assert mapper.map_rows([(1, document), (2, None)]) == [
        Row(1, {"a": Item("a", 1.0, [])}),
        Row(2, None),
    ]
    document["a"]["price"] = "1"
    with pytest.raises(
        RowValueError, match=r'row 1, column "data" at \$\.a\.price: expected float'
    ):
        mapper.map_rows([(1, document)])


def test_a_document_is_not_changed_by_reading_it() -> None:
    document = {"name": "a", "price": 1, "tags": []}
    built(Item, document)
    assert document == {"name": "a", "price": 1, "tags": []}
