"""NOT NULL columns whose values a column type of the application converts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import pytest

from sqla_typedpool import Flatten
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.snapshot_format import document_text, parse_document
from sqla_typedpool.describe.model import ColumnDescription
from tests.support.check_lab import codes, compared, described, never

HOOK = "Money.process_result_value()"


@dataclass
class Part:
    price: str


@dataclass
class Whole:
    id: int
    part: Annotated[Part | None, Flatten()]


def converted(name: str = "price") -> ColumnDescription:
    return replace(never(name, "text"), converted_by=HOOK)


def found_for(returns: Any, name: str = "price") -> list[Finding]:
    return compared(f'SELECT {name.strip("!?")} AS "{name}" FROM t', returns, converted(name))


def test_a_value_that_may_be_converted_to_none_is_a_note() -> None:
    (found,) = found_for(list[str])
    assert (found.code, found.severity) == ("TP101", Severity.NOTE)
    assert found.message == (
        f'"price" is never NULL in the database, but {HOOK} may return None, and str is declared'
    )
    assert found.reason == "t.x is NOT NULL"
    assert found.hint == "nothing, if it never does; otherwise declare it str | None"


@pytest.mark.parametrize("returns", [list[str | None], list[Any], list[None]])
def test_none_has_a_use_for_such_a_value(returns: Any) -> None:
    assert codes(found_for(returns)) == []


def test_a_mark_of_such_a_value_has_a_use() -> None:
    assert codes(found_for(list[str], "price!")) == ["TP108 price!"]
    assert codes(found_for(list[str | None], "price?")) == ["TP109 price?"]


def test_an_optional_object_of_such_values_is_no_needless_one() -> None:
    found = compared("SELECT id, price FROM t", Whole, never("id", "int8"), converted())
    assert codes(found) == []


def test_a_snapshot_contains_the_function() -> None:
    description = described(converted(), never("id", "int8"))
    text = document_text("q", (), description)
    assert parse_document(text).columns == description.columns
    assert text.count("converted_by") == 1
