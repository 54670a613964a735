"""Decimals in JSON have the digits of the document; all other numbers arrive as before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

import pytest

from sqla_typedpool.mapping.markers import Decode, Json
from tests.support.mapping_lab import converted, refusal

DIGITS = "12345678901234567.10"
by_family = pytest.mark.parametrize("family", ["sqlite", "mysql"])


@dataclass
class Item:
    price: Decimal
    weight: float


@dataclass
class Tree:
    price: Decimal | None
    children: list[Tree]


@by_family
def test_a_decimal_in_text_has_all_digits_of_the_document(family: str) -> None:
    document = f'[{{"price": {DIGITS}, "weight": 0.1}}, {{"price": 2, "weight": 3}}]'
    made = converted(Annotated[list[Item], Json()], document, family)
    assert made == [Item(Decimal(DIGITS), 0.1), Item(Decimal(2), 3.0)]
    assert str(made[0].price) == DIGITS
    assert [type(each.weight) for each in made] == [float, float]


@by_family
def test_a_class_that_contains_itself_may_have_decimals(family: str) -> None:
    made = converted(
        Annotated[Tree, Json()],
        '{"price": null, "children": [{"price": 1e2, "children": []}]}',
        family,
    )
    assert made == Tree(None, [Tree(Decimal(100), [])])


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (dict[str, Any], {"x": 0.1, "y": [0.2]}),
        (Annotated[str, Decode(repr)], "{'x': 0.1, 'y': [0.2]}"),
    ],
)
def test_parts_that_are_not_decimals_get_floats(annotation: Any, expected: Any) -> None:
    document = '[1.10, {"x": 0.1, "y": [0.2]}]'
    made = converted(Annotated[tuple[Decimal, annotation], Json()], document, "sqlite")
    assert made == (Decimal("1.10"), expected)
    assert "Decimal" not in repr(made[1])


def test_a_union_with_decimal_gets_one_unless_it_has_float_too() -> None:
    def first(annotation: Any) -> Any:
        return converted(Annotated[tuple[annotation, Decimal], Json()], "[1.10, 2.5]", "mysql")[0]

    assert repr(first(Decimal | str)) == "Decimal('1.10')"
    assert repr(first(Decimal | float)) == "1.1"


@by_family
def test_a_document_without_decimals_has_floats(family: str) -> None:
    assert repr(converted(Annotated[list[Any], Json()], "[1.10]", family)) == "[1.1]"


# ------------------------------------------------------- documents that the driver has decoded


def test_a_float_that_was_decoded_before_is_refused_with_advice() -> None:
    message = refusal(Annotated[list[Decimal], Json()], [1.1])
    assert "at $[0]: expected Decimal, found float; next: give create_async_engine" in message
    assert "json_deserializer=partial(json.loads, parse_float=Decimal)" in message


def test_numbers_of_the_advised_deserializer_fit_decimals_and_floats() -> None:
    decode = partial(json.loads, parse_float=Decimal)
    document = decode(f'[{{"price": {DIGITS}, "weight": 0.1}}]')
    assert converted(Annotated[list[Item], Json()], document) == [Item(Decimal(DIGITS), 0.1)]


def test_a_whole_number_is_an_exact_decimal_and_a_bool_is_none() -> None:
    big = 10**30
    assert converted(Annotated[list[Decimal], Json()], [big]) == [Decimal(big)]
    assert "found bool" in refusal(Annotated[list[Decimal], Json()], [True])
