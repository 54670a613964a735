"""Unions of classes in JSON, which a field with a Literal type distinguishes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

import pydantic
import pytest

from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.dbtypes import postgresql_type
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import Col, Json
from sqla_typedpool.mapping.plan import Column
from tests.support.mapping_lab import converted, refusal

JSONB = postgresql_type("jsonb")
TAGS = "Literal['circle', 'disc', 'square']"


class Shape(Enum):
    DOT = "dot"


@dataclass
class Circle:
    kind: Literal["circle", "disc"]
    radius: int


@dataclass
class Square:
    kind: Literal["square"]
    side: int


class Line(TypedDict):
    kind: Literal["line"]
    points: list[int]


class Dot(pydantic.BaseModel):
    kind: Literal[Shape.DOT]


@dataclass
class Group:
    kind: Literal["group"]
    parts: list[Group | Circle | None]


@dataclass
class Renamed:
    tag: Annotated[Literal[1], Col("kind")]


@dataclass
class Untagged:
    radius: int


@dataclass
class AlsoSquare:
    kind: Literal["square"]


def test_each_element_gets_the_class_of_its_tag() -> None:
    document = [{"kind": "circle", "radius": 1}, {"kind": "square", "side": 2}]
    annotation = Annotated[list[Circle | Square], Json()]
    assert converted(annotation, document) == [Circle("circle", 1), Square("square", 2)]


def test_a_class_may_have_several_tags_and_any_library() -> None:
    annotation = Annotated[list[Circle | Line | Dot | Renamed], Json()]
    document = [
        {"kind": "disc", "radius": 1},
        {"kind": "line", "points": [1]},
        {"kind": "dot"},
        {"kind": 1},
    ]
    assert converted(annotation, document) == [
        Circle("disc", 1),
        {"kind": "line", "points": [1]},
        Dot(kind=Shape.DOT),
        Renamed(1),
    ]


def test_a_tagged_class_may_contain_itself() -> None:
    document = {"kind": "group", "parts": [{"kind": "group", "parts": [None]}]}
    made = converted(Annotated[Group | Circle, Json()], document)
    assert made == Group("group", [Group("group", [None])])


def test_a_tagged_union_may_be_optional() -> None:
    assert converted(Annotated[Circle | Square | None, Json()], None) is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"kind": "oval"},
            f"at $.kind: expected {TAGS}, found str that",
        ),
        ({"kind": None}, f"at $.kind: expected {TAGS}, found NoneType"),
        (
            {"kind": ["circle"]},
            f"at $.kind: expected {TAGS}, found list",
        ),
        (
            {"radius": 1},
            f"at $.kind: expected {TAGS}, found no such key",
        ),
        ({"kind": "circle", "radius": "1"}, "at $.radius: expected int, found str"),
        ({"kind": "circle", "side": 1}, "at $.radius: expected int, found no such key"),
        (["circle"], "at $: expected Circle | Square, found list"),
    ],
)
def test_an_error_is_that_of_the_class_of_the_tag(document: Any, message: str) -> None:
    assert message in refusal(Annotated[Circle | Square, Json()], document)


@pytest.mark.parametrize("member", [Untagged, AlsoSquare])
def test_classes_without_different_tags_are_refused_before_the_first_row(member: Any) -> None:
    with pytest.raises(RowShapeError) as caught:
        mapper_for(Annotated[list[Square | member], Json()], (Column("x", JSONB),), "postgresql")
    classes = f"Square | {member.__name__}"
    assert f"(no field distinguishes the classes of {classes}); next: declare" in str(caught.value)


def test_a_union_of_classes_needs_json() -> None:
    with pytest.raises(RowShapeError, match=r"annotate it with Json\(\)"):
        mapper_for(list[Circle | Square], (Column("x", postgresql_type("_text")),), "postgresql")


def test_a_class_and_a_plain_type_are_no_tagged_union() -> None:
    with pytest.raises(RowShapeError, match="a union of more than plain types"):
        mapper_for(Annotated[Circle | int, Json()], (Column("x", JSONB),), "postgresql")
