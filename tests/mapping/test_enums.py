"""Enums and Literals."""

from __future__ import annotations

from enum import Enum, Flag, IntEnum
from typing import Annotated, Any, Literal

import pytest

from sqla_typedpool.mapping.coercions import Action
from sqla_typedpool.mapping.dbtypes import postgresql_type
from sqla_typedpool.mapping.markers import ByName
from tests.support.mapping_lab import converted, fit, refusal, shape_refusal


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Rights(Flag):
    READ = 1
    WRITE = 2


class Swapped(Enum):
    A = "B"
    B = "A"


def test_a_member_is_found_by_its_value() -> None:
    assert converted(Color, "red") is Color.RED
    assert converted(Level, 2) is Level.HIGH
    assert converted(Swapped, "A") is Swapped.B


def test_a_member_is_found_by_its_name_with_by_name() -> None:
    assert converted(Annotated[Color, ByName()], "RED") is Color.RED
    assert converted(Annotated[Level, ByName()], "HIGH") is Level.HIGH
    assert converted(Annotated[list[Color], ByName()], ["RED"]) == [Color.RED]
    assert "not the name of a member" in refusal(Annotated[Color, ByName()], "red")


def test_an_unknown_value_is_refused_and_a_name_gets_a_hint() -> None:
    message = refusal(Color, "green")
    assert "expected Color, found str that is not the value of a member" in message
    assert "green" not in message
    assert "annotate it with ByName()" in refusal(Color, "RED")


def test_a_value_of_another_type_than_the_members_value_is_refused() -> None:
    refusal(Level, True)
    refusal(Level, 1.0)
    refusal(Level, "1")
    refusal(Color, ["red"])


def test_flags_may_be_combined() -> None:
    assert converted(Rights, 3) == Rights.READ | Rights.WRITE
    refusal(Rights, 8)


def test_labels_of_a_database_enum_are_text() -> None:
    mood = postgresql_type("mood", labels=("red", "blue"))
    assert fit(Color, mood, "postgresql").action is Action.CONVERT
    assert fit(str, mood, "postgresql").action is Action.ACCEPT
    assert "arrives as str" in shape_refusal(Level, mood)


@pytest.mark.parametrize("value", [True, 1.0, "1", 2, [1]])
def test_a_literal_accepts_only_values_of_its_type(value: Any) -> None:
    assert converted(Literal[1], 1) == 1
    assert "expected Literal[1]" in refusal(Literal[1], value)


def test_a_literal_may_be_none_or_a_member() -> None:
    assert converted(Literal["a", None], None) is None
    assert converted(Literal[Color.RED], "red") is Color.RED
    refusal(Literal[Color.RED], "blue")
