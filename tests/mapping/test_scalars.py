"""Values of one exact class: what is accepted, and how every other value is refused."""

from __future__ import annotations

import ipaddress
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from asyncpg.pgproto import pgproto

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.coercions import Action
from sqla_typedpool.mapping.dbtypes import postgresql_type
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import Decode
from sqla_typedpool.mapping.plan import Column
from tests.support.mapping_lab import converted, fit, refusal, shape_refusal

MOMENT = datetime(2026, 1, 31, 12, 30)
IDENTITY = UUID("12345678123456781234567812345678")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


REFUSED = [
    (str, "int8", 1, "int"),
    (int, "bool", True, "bool"),
    (float, "numeric", Decimal(1), "Decimal"),
    (float, "int8", 1, "int"),
    (date, "timestamp", MOMENT, "datetime"),
    (datetime, "date", MOMENT.date(), "date"),
    (int, "text", "1", "str"),
    (str, "bytea", b"a", "bytes"),
    (bytes, "text", "a", "str"),
    (str, "uuid", IDENTITY, "UUID"),
    (Decimal, "float8", 1.0, "float"),
    (bool, "int4", 1, "int"),
    (int, "float8", 1.0, "float"),
    (time, "interval", timedelta(1), "timedelta"),
    (str, "int4[]", [1], "list"),
    (list[int], "int4", 1, "int"),
    (UUID, "text", str(IDENTITY), "str"),
    (Color, "int4", 1, "int"),
    (Literal["a"], "int4", 1, "int"),
    (int | str, "bool", True, "bool"),
    (tuple[int, ...], "int4[]", [1], "list"),
]


@pytest.mark.parametrize(("annotation", "database_type", "value", "found"), REFUSED)
def test_a_wrong_type_is_refused_before_the_first_row_and_at_every_value(
    annotation: Any, database_type: str, value: Any, found: str
) -> None:
    row_type = tuple[annotation, ...]
    column = Column("field", postgresql_type(database_type))
    with pytest.raises(RowShapeError, match=rf'column "field" .*arrives as {found}'):
        mapper_for(row_type, (column,), "postgresql")
    with pytest.raises(RowValueError, match=f'row 1, column "field": expected .* found {found}'):
        mapper_for(row_type, (Column("field"),), "postgresql").map_rows([(value,)])


@pytest.mark.parametrize(("annotation", "database_type", "value", "found"), REFUSED)
def test_an_optional_type_accepts_null_and_no_other_type(
    annotation: Any, database_type: str, value: Any, found: str
) -> None:
    mapper = mapper_for(tuple[annotation | None, ...], (Column("field"),), "postgresql")
    assert mapper.map_rows([(None,)]) == [(None,)]
    with pytest.raises(RowValueError, match=f"found {found}"):
        mapper.map_rows([(value,)])


@pytest.mark.parametrize("annotation", [int, str, Color, Literal["a"], list[int], int | str, UUID])
def test_null_is_refused_if_the_type_is_not_optional(annotation: Any) -> None:
    message = refusal(annotation, None)
    assert "found NULL" in message
    assert "| None, or make the column never NULL" in message


def test_a_column_declared_none_accepts_only_null() -> None:
    assert fit(None, postgresql_type("jsonb"), "postgresql").action is Action.ACCEPT
    assert converted(None, None) is None
    assert "expected None, found int" in refusal(None, 1)


def test_an_error_counts_the_rows_from_the_first_batch() -> None:
    rows: list[tuple[Any]] = [("a",)] * 499 + [(None,)]
    mapper = mapper_for(str, (Column("name"),), "postgresql")
    with pytest.raises(RowValueError) as caught:
        mapper.map_rows(rows)
    assert str(caught.value) == (
        'row 500, column "name": expected str, found NULL; '
        "next: declare it str | None, or make the column never NULL"
    )
    caught.value.query = "get_user"
    assert "found NULL (query get_user); next:" in str(caught.value)
    with pytest.raises(RowValueError, match="row 1500"):
        mapper.map_rows(rows, 1000)


def test_messages_show_whether_a_datetime_is_naive_or_aware() -> None:
    aware = MOMENT.replace(tzinfo=timezone.utc)
    assert "found datetime (aware)" in refusal(date, aware)
    assert "found datetime (naive)" in refusal(date, MOMENT)
    assert "timestamptz (aware)" in shape_refusal(date, postgresql_type("timestamptz"))
    assert fit(datetime, postgresql_type("timestamptz"), "postgresql").reason == "unchanged, aware"
    assert fit(datetime, postgresql_type("timestamp"), "postgresql").reason == "unchanged, naive"


def test_a_uuid_of_the_driver_is_a_uuid() -> None:
    driver = pgproto.UUID(IDENTITY.hex)
    assert converted(UUID, driver) is driver
    assert converted(UUID | None, driver) is driver
    assert converted(list[UUID], [driver]) == [IDENTITY]


def test_a_subclass_of_any_other_class_is_refused() -> None:
    class Text(str):
        __slots__ = ()

    assert "found Text" in refusal(str, Text("a"))
    assert "found Level" in refusal(int, Level.LOW)


def test_the_classes_of_ipaddress_are_distinguished() -> None:
    address, interface = ipaddress.ip_address("10.0.0.1"), ipaddress.ip_interface("10.0.0.1/8")
    assert converted(ipaddress.IPv4Address, address) is address
    assert "found IPv4Interface" in refusal(ipaddress.IPv4Address, interface)
    assert converted(ipaddress.IPv4Address | ipaddress.IPv4Interface, interface) is interface


def half(number: int) -> float:
    if number % 2:
        raise ArithmeticError("secret 13")
    return number / 2


def test_decode_is_called_for_every_value_but_null() -> None:
    assert converted(Annotated[float, Decode(half)], 4) == 2.0
    assert converted(Annotated[float, Decode(half)] | None, None) is None
    assert converted(list[Annotated[float, Decode(half)]], [4, 2]) == [2.0, 1.0]
    assert converted(list[Annotated[list[int], Decode(range)]], [2]) == [range(2)]
    assert "found NULL" in refusal(Annotated[float, Decode(half)], None)


def test_an_exception_of_decode_is_the_cause_and_is_not_in_the_message() -> None:
    message = refusal(Annotated[float, Decode(half)], 13)
    assert "a value for Decode(half), found int (the function raised ArithmeticError)" in message
    assert "13" not in message
    with pytest.raises(RowValueError) as caught:
        converted(Annotated[float, Decode(half)], 13)
    assert isinstance(caught.value.__cause__, ArithmeticError)


def test_a_type_with_decode_fits_every_column() -> None:
    annotation = list[Annotated[list[int], Decode(range)]]
    assert fit(annotation, postgresql_type("text[]"), "postgresql").action is Action.CONVERT
