"""JSON documents become declared types; an error has the path to the wrong value."""

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
from sqla_typedpool.mapping.coercions import Action
from sqla_typedpool.mapping.dbtypes import DbType, mysql_type, postgresql_type
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import ByName, Col, Decode, Flatten, Json
from sqla_typedpool.mapping.plan import Column
from tests.support.mapping_lab import fit, refusal, shape_refusal

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
    """Map a document that is decoded, as PostgreSQL's drivers deliver it."""
    row_type = Annotated[annotation, options or Json()]
    mapper = mapper_for(row_type, (Column("data", JSONB),), "postgresql")
    (made,) = mapper.map_rows([(document,)])
    return made


def document_error(annotation: Any, document: Any, options: Json | None = None) -> str:
    """Return the path and the message of the error for a document."""
    with pytest.raises(RowValueError) as caught:
        built(annotation, document, options)
    message = str(caught.value)
    assert message.startswith('row 1, column "data" at $')
    return message.removeprefix('row 1, column "data" at ').partition("; next: ")[0]


# --------------------------------------------------------------------------------- what is built


@pytest.mark.parametrize("cls", [AttrsPoint, NamedPoint, DictPoint, StructPoint, ModelPoint])
def test_a_json_object_becomes_a_class_of_any_library(cls: Any) -> None:
    made = built(list[cls], [{"x": 1, "y": 2}])
    assert made == [cls(x=1, y=2)]
    assert type(made[0]) is type(cls(x=1, y=2))
    assert document_error(cls, {"x": 1, "y": "2"}) == "$.y: expected int, found str"
    assert document_error(cls, {"x": 1}) == "$.y: expected int, found no such key"
    assert document_error(cls, {"x": True, "y": 1}) == "$.x: expected int, found bool"


def test_objects_may_be_nested() -> None:
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
    assert document_error(Tree, broken) == "$.children[0].value: expected int, found str"


def test_the_type_argument_of_a_generic_class_is_checked() -> None:
    assert built(Box[list[int]], {"content": [1]}) == Box([1])
    assert (
        document_error(Box[list[int]], {"content": ["1"]})
        == "$.content[0]: expected int, found str"
    )


def test_metadata_inside_a_generic_class_need_not_have_a_hash() -> None:
    assert built(Box[Annotated[int, ["no", "hash"]]], {"content": 1}) == Box(1)


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
        (float, 2**53 + 1, "$: expected float, found int that is not a number that a float"),
        (float, 10**400, "$: expected float, found int that is not a number that a float"),
        (Decimal, 1.5, "$: expected Decimal, found float"),
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
            "$.x: expected no such key, found a value",
        ),
    ],
)
def test_an_error_has_the_path_to_the_wrong_value(
    annotation: Any, document: Any, message: str
) -> None:
    assert document_error(annotation, document).startswith(message)


@pytest.mark.parametrize(
    ("annotation", "document", "hint"),
    [
        (list[str], [{"a": 1}], "declare it dict, or convert it: "),
        (list[int], [[1]], "declare it list, or convert it: "),
        (list[int], ["1"], "declare it str"),
        (list[int], [None], "declare it int | None"),
        (tuple[int, int], None, "declare it tuple[int, int] | None"),
    ],
)
def test_a_hint_is_for_the_wrong_part_and_not_for_the_column(
    annotation: Any, document: Any, hint: str
) -> None:
    with pytest.raises(RowValueError) as caught:
        built(annotation, document)
    assert caught.value.hint.partition("Annotated")[0] == hint


# --------------------------------------------------------------------------------------- options


def test_missing_keys_take_defaults_only_with_the_option() -> None:
    document = {"name": "a", "price": 1.0}
    assert built(Item, document, Json(defaults=True)) == Item("a", 1.0)
    assert "no such key" in document_error(Item, {"name": "a"}, Json(defaults=True))
    null = {"name": "a", "price": 1.0, "tags": None}
    assert (
        document_error(Item, null, Json(defaults=True)) == "$.tags: expected list[str], found null"
    )


def test_unknown_keys_are_ignored_only_with_the_option() -> None:
    document = {"name": "a", "price": 1.0, "tags": [], "more": 1}
    assert built(Item, document, Json(extra=True)) == Item("a", 1.0, [])


def test_options_apply_at_every_depth() -> None:
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
    assert document_error(Renamed, {"@type": 1}) == '$["@type"]: expected str, found int'


# -------------------------------------------------------------------------- before the first row


@dataclass
class WithBytes:
    inner: Box[bytes]


@dataclass
class WithFlatten:
    item: Annotated[Item, Flatten()]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (bytes, "JSON cannot hold bytes"),
        (list[timedelta], "JSON cannot hold timedelta"),
        (WithBytes, r"WithBytes.inner: Box\[bytes\].content: JSON cannot hold bytes"),
        (WithFlatten, r"WithFlatten.item: Flatten\(\) has no meaning inside JSON"),
    ],
)
def test_types_that_json_cannot_hold_are_refused_before_the_first_row(
    annotation: Any, message: str
) -> None:
    with pytest.raises(RowShapeError, match=f'column "data" jsonb .*{message}'):
        mapper_for(Annotated[annotation, Json()], (Column("data", JSONB),), "postgresql")


@dataclass
class WithUnknown:
    inner: Nowhere  # type: ignore[name-defined]  # noqa: F821


def test_an_unknown_name_in_a_nested_class_is_reported_before_the_first_row() -> None:
    columns = (Column("data"), Column("more"))
    with pytest.raises(RowShapeError, match=r"WithUnknown\.inner: 'Nowhere'") as caught:
        mapper_for(tuple[Annotated[list[WithUnknown], Json()], WithUnknown], columns, "postgresql")
    assert len(caught.value.faults) == 2


# --------------------------------------------------------------------------------- text and NULL


@pytest.mark.parametrize("family", ["sqlite", "mysql"])
def test_text_is_decoded_in_databases_that_deliver_json_as_text(family: str) -> None:
    mapper = mapper_for(Annotated[Item, Json()], (Column("data"),), family)
    document = {"name": "a", "price": 3, "tags": []}
    assert mapper.map_rows([(json.dumps(document),), (document,)]) == [Item("a", 3.0, [])] * 2
    with pytest.raises(RowValueError, match="expected JSON, found text that is not JSON"):
        mapper.map_rows([("{",)])


@pytest.mark.parametrize("family", ["sqlite", "mysql"])
def test_text_is_not_decoded_if_the_driver_has_decoded_json(family: str) -> None:
    columns = (Column("data", DbType("JSON", json=True)),)
    mapper = mapper_for(Annotated[str, Json()], columns, family)
    assert mapper.map_rows([("1",)]) == ["1"]


def test_postgresql_never_delivers_json_as_text() -> None:
    mapper = mapper_for(Annotated[Item, Json()], (Column("data"),), "postgresql")
    with pytest.raises(RowValueError, match="expected Item, found str"):
        mapper.map_rows([('{"name": "a"}',)])


def test_null_is_none_if_the_type_is_optional() -> None:
    assert built(Item | None, None) is None
    mapper = mapper_for(Annotated[Item, Json()], (Column("data"),), "postgresql")
    with pytest.raises(RowValueError, match="expected Item, found NULL"):
        mapper.map_rows([(None,)])


def test_a_document_may_be_one_of_several_fields() -> None:
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


def test_mapping_does_not_change_the_document() -> None:
    document = {"name": "a", "price": 1, "tags": []}
    built(Item, document)
    assert document == {"name": "a", "price": 1, "tags": []}


# ------------------------------------------------------------------------ columns without Json()


@dataclass
class Point:
    x: int
    y: int | None


@pytest.mark.parametrize(
    "annotation", [dict, dict[str, int], list[int], Point, str, int, tuple[int, ...]]
)
def test_a_json_column_without_json_is_refused(annotation: Any) -> None:
    found = fit(annotation, postgresql_type("jsonb"), "postgresql")
    assert found.action is Action.REFUSE
    assert "Json()" in found.hint


@pytest.mark.parametrize("annotation", [list[int], Point, str, int])
def test_a_dict_or_list_without_json_is_refused(annotation: Any) -> None:
    assert "Json()" in refusal(list[annotation], [{"a": 1}])


@pytest.mark.parametrize(
    ("family", "db_type"),
    [("postgresql", postgresql_type("jsonb")), ("sqlite", None), ("mysql", None)],
)
@pytest.mark.parametrize("annotation", [dict, dict[str, int]])
def test_a_dict_needs_json_in_every_database(
    annotation: Any, family: str, db_type: DbType | None
) -> None:
    with pytest.raises(RowShapeError, match=r'column "field".*Json\(\)'):
        mapper_for(tuple[annotation, ...], (Column("field", db_type),), family)


def test_a_dict_of_psycopg_is_hstore() -> None:
    mapper = mapper_for(tuple[dict[str, str | None]], (Column("h", DbType("16385")),), "postgresql")
    assert mapper.map_rows([({"a": "1", "b": None},)]) == [({"a": "1", "b": None},)]


@pytest.mark.parametrize("element", [int, list[int], Point])
def test_the_elements_of_an_array_may_be_documents(element: Any) -> None:
    array = list[Annotated[element, Json()]]
    assert fit(array, postgresql_type("jsonb[]"), "postgresql").action is Action.CONVERT


def test_json_is_for_json_columns() -> None:
    document = Annotated[Point, Json()]
    assert fit(document, postgresql_type("jsonb"), "postgresql").action is Action.CONVERT
    assert "remove Json(), or CAST(... AS json)" in shape_refusal(document, postgresql_type("text"))
    assert fit(document, mysql_type("json"), "mysql").action is Action.CONVERT
