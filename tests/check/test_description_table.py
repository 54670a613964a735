"""The table that `describe` prints."""

from __future__ import annotations

from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Annotated, Any

import pytest

from sqla_typedpool import Json
from sqla_typedpool.cli.table import as_table
from sqla_typedpool.describe.postgres.driver_types import of_extension
from sqla_typedpool.mapping.annotations import spec_of
from sqla_typedpool.mapping.dbtypes import DbType
from tests.support.check_lab import described, maybe

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
