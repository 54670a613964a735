"""Names in quotes inside a built-in generic type, ``list["User"]``: also on Python 3.10."""

from __future__ import annotations

import collections.abc
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, Optional

import pytest

from sqla_typedpool import Json, query, query_info
from sqla_typedpool.mapping.rowtype import row_type_of
from sqla_typedpool.mapping.typespec import Kind


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("annotation", "row_type"),
    [
        (list["int"], int),
        (list["Point"], Point),
        (collections.abc.Sequence["int"], int),
        (list[tuple["int", "str"]], tuple[int, str]),
        ("list['int']", int),
    ],
)
def test_a_query_returns_rows_whose_type_is_in_quotes(annotation: Any, row_type: Any) -> None:
    async def rows(db: Any) -> Any:
        raise NotImplementedError

    rows.__annotations__["return"] = annotation
    assert query_info(query("SELECT 1")(rows)).row_type == row_type


@pytest.mark.parametrize(
    "annotation",
    [
        list["int"],
        Optional[list["int"]],  # noqa: UP045
        list["int"] | None,
        Annotated[list["Point"], Json()],
        list[list["int"]],
        "list['int']",
    ],
)
def test_a_field_is_a_list_whose_type_is_in_quotes(annotation: Any) -> None:
    row = make_dataclass("Row", [("field", annotation)])
    row.__module__ = __name__
    (field,) = row_type_of(row).fields
    (element,) = field.spec.of
    assert field.spec.kind is Kind.ARRAY
    assert element.kind in (Kind.EXACT, Kind.NESTED, Kind.ARRAY)


def test_an_alias_that_contains_itself_in_quotes_ends() -> None:
    row = make_dataclass("Row", [("tree", Annotated[dict[str, "Tree"], Json()])])
    row.__module__ = __name__
    with pytest.raises(Exception, match="Tree"):
        row_type_of(row)


Tree: Any = dict[str, "Tree"]
