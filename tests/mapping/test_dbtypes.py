"""Database types, by name and by number."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sqla_typedpool.mapping.dbtypes import db_type_of
from tests.support.mapping_lab import fit


@pytest.mark.parametrize(
    ("family", "name", "python"),
    [
        ("postgresql", 23, int),
        ("postgresql", "varchar(20)", str),
        ("postgresql", "double precision", float),
        ("postgresql", 1009, list),
        ("postgresql", 3802, None),
        ("postgresql", "hstore", None),
        ("mysql", 246, Decimal),
        ("mysql", "bigint", int),
        ("mysql", "decimal(10,2)", Decimal),
        ("mysql", 999, None),
        ("sqlite", "INTEGER", None),
        ("oracle", "NUMBER", None),
    ],
)
def test_types_are_found_by_name_and_by_number(
    family: str, name: str | int, python: type | None
) -> None:
    assert db_type_of(name, family).python is python


def test_each_value_of_an_unknown_type_is_checked() -> None:
    unknown = db_type_of("hstore", "postgresql")
    assert fit(int, unknown, "postgresql").reason == "each value is checked"
