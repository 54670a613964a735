"""Whether a column fits and how its values are converted: the two halves of a handler agree."""

from __future__ import annotations

import ipaddress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import pytest

from sqla_typedpool.mapping.annotations import spec_of
from sqla_typedpool.mapping.coercions import Action
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.handlers import converter_of
from sqla_typedpool.mapping.value_error import ConversionError
from tests.support.mapping_lab import fit

IDENTITY = UUID("12345678123456781234567812345678")
MOMENT = datetime(2026, 1, 31, 12, 30)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


SAMPLES: list[Any] = [
    True,
    1,
    1.5,
    "text",
    str(IDENTITY),
    "2026-01-31",
    "2026-01-31 12:30:00",
    "12:30:00",
    "10.0.0.1",
    b"\x01",
    Decimal("1.5"),
    MOMENT,
    MOMENT.date(),
    MOMENT.time(),
    timedelta(hours=1),
    IDENTITY,
]
SCALARS = [bool, int, float, str, bytes, Decimal, datetime, date, time, timedelta, UUID]
OTHERS = [Color, Literal["text", 1], int | str, list[int], *(ipaddress.IPv4Address,)]


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
@pytest.mark.parametrize("annotation", [*SCALARS, *OTHERS])
def test_a_refused_column_has_no_value_that_is_converted(annotation: Any, family: str) -> None:
    convert = converter_of(spec_of(annotation), family)
    for value in SAMPLES:
        if fit(annotation, DbType("x", type(value)), family).action is Action.REFUSE:
            with pytest.raises(ConversionError):
                convert(value)


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
@pytest.mark.parametrize("annotation", SCALARS)
def test_the_values_of_an_accepted_column_are_unchanged(annotation: Any, family: str) -> None:
    convert = converter_of(spec_of(annotation), family)
    for value in SAMPLES:
        if fit(annotation, DbType("x", type(value)), family).action is Action.ACCEPT:
            assert convert(value) is value
