"""The table that `describe` prints."""

from __future__ import annotations

import json
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Annotated, Any

import pytest

from sqla_typedpool import Json
from sqla_typedpool.cli.table import as_json, as_table
from sqla_typedpool.describe.postgres.driver_types import of_extension
from sqla_typedpool.describe.writes import ValueSource, WriteAction
from sqla_typedpool.mapping.annotations import spec_of
from sqla_typedpool.mapping.dbtypes import DbType
from tests.support.check_lab import described, maybe, written

NAMES: dict[str, Any] = {
    "Annotated": Annotated,
    "Any": Any,
    "Json": Json,
    "Decimal": Decimal,
    **{each.__name__: each for each in (IPv4Address, IPv4Interface, IPv6Address, IPv6Interface)},
}


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        *(("int8", "int | None"), ("text[]", "list[str] | None"), ("numeric", "Decimal | None")),
        ("jsonb", "Annotated[Any, Json()] | None"),
        ("jsonb[]", "list[Annotated[Any, Json()]] | None"),
        ("inet", "IPv4Address | IPv6Address | IPv4Interface | IPv6Interface | None"),
        *((of_extension("psycopg", "hstore"), "dict | None"), (DbType("pair"), "?")),
    ],
)
def test_the_python_type_of_a_column_can_be_pasted(kind: str | DbType, shown: str) -> None:
    column = maybe("a", kind, "a reason")
    row = next(line for line in as_table(described(column)).splitlines() if line[:2] == "a ")
    assert row.split() == ["a", column.type, *shown.split(), "yes", "a", "reason"]
    if shown != "?":
        assert spec_of(eval(shown, NAMES)).optional


OMITTED = written("mail", ValueSource.OMITTED)
LOWER = written(
    "name", ValueSource.EXPRESSION, "x", "y", action=WriteAction.UPDATE, why=":x may be NULL"
)
LIMITED = written(
    "code",
    ValueSource.PARAMETER,
    "x",
    not_null=False,
    nullable=False,
    max_length=3,
    accepted=("a",),
)


def test_the_written_values_are_shown() -> None:
    assert as_table(described(OMITTED, LOWER, LIMITED)).splitlines()[-4:] == [
        "-----------------  --------  ------  -----------------  -------------------",
        "public.users.mail  yes       INSERT  omitted",
        "public.users.name  yes       UPDATE  expression :x, :y  :x may be NULL",
        "public.users.code  no        INSERT  parameter :x",
    ]
    assert "writes to" not in as_table(described())


def test_the_json_contains_the_written_values() -> None:
    assert json.loads(as_json(described()))["writes"] is None
    assert json.loads(as_json(described(LIMITED)))["writes"] == [
        {
            "action": "INSERT",
            "column": "public.users.code",
            "not_null": False,
            "max_length": 3,
            "accepted": ["a"],
            "source": "parameter",
            "parameters": ["x"],
            "nullable": False,
            "why": "",
        }
    ]
