"""Columns whose types could not be compared, and types that arrive as text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql as pg

from sqla_typedpool import Decode, Json
from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.model import Severity
from sqla_typedpool.check.snapshot_format import document_text, parse_document
from sqla_typedpool.describe.postgres.driver_types import delivered_by, of_extension
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type, sqlite_type
from tests.support.check_lab import codes, compared, declare, described, never

HSTORE = of_extension("asyncpg", "hstore")


@dataclass
class Pair:
    x: int


@pytest.mark.parametrize(
    ("kind", "returns"),
    [
        *(("inet", IPv4Address), ("cidr", str), ("bit", str), ("varbit", str), ("char", str)),
        *(("point", str), ("pg_lsn", int), ("hstore", str), ("xid", int)),
        (DbType("mood[]", element=postgresql_type("mood", labels=("a",))), list[str]),
    ],
)
def test_a_type_that_was_not_compared_is_a_note(kind: str | DbType, returns: Any) -> None:
    (found,) = compared("SELECT a FROM t", list[tuple[returns]], never("a", kind))
    assert (found.code, found.severity, found.subject) == ("TP304", Severity.NOTE, "a")
    assert found.message.startswith(f'"a" ({kind if isinstance(kind, str) else kind.name}) was not')
    assert "CAST(... AS text)" in found.hint


INET = IPv4Address | IPv6Address | IPv4Interface | IPv6Interface


@pytest.mark.parametrize(
    ("kind", "returns"),
    [
        *(("inet", INET), ("inet[]", list[INET]), ("cidr", IPv4Network | IPv6Network)),
        *((HSTORE, str), (of_extension("psycopg", "hstore"), dict[str, str | None])),
        (of_extension("asyncpg", "geometry"), str),
        *(("record", tuple), ("int4range", Range), ("int4range[]", list[Range])),
        (DbType("pair", fields=(("x", postgresql_type("int4")),)), Pair),
    ],
)
def test_a_type_whose_values_all_fit_was_compared(kind: str | DbType, returns: Any) -> None:
    assert codes(compared("SELECT a FROM t", list[tuple[returns]], never("a", kind))) == []


@pytest.mark.parametrize(
    ("kind", "returns"),
    [
        *(("inet[]", list[IPv4Address]), ("inet", str), (HSTORE, dict[str, str])),
        *(("record", tuple[int, str]), (of_extension("asyncpg", "geometry"), bytes)),
        (DbType("pair", fields=(("x", of_extension("asyncpg", "seg")),)), Pair),
        (DbType("pair", fields=(("x", postgresql_type("int4")),)), str),
    ],
)
def test_a_type_of_which_some_values_may_not_fit_is_told(kind: str | DbType, returns: Any) -> None:
    found = compared("SELECT a FROM t", list[tuple[returns]], never("a", kind))
    assert codes(found) == ["TP304 a"]


@pytest.mark.parametrize(
    ("driver", "name", "right", "wrong"),
    [
        *(("asyncpg", "char", bytes, str), ("psycopg", "char", str, bytes)),
        *(("asyncpg", "xid", int, str), ("psycopg", "pg_lsn", str, int)),
        *(("asyncpg", "point", asyncpg.Point, str), ("psycopg", "point", str, float)),
        ("asyncpg", "bit[]", list[asyncpg.BitString], list[str]),
        ("psycopg", "bit[]", list[str], list[asyncpg.BitString]),
        ("asyncpg", "int4multirange", list[asyncpg.Range], str),
        ("psycopg", "int4multirange", Multirange, list[Range]),
    ],
)
def test_a_type_is_compared_with_what_the_driver_delivers(
    driver: str, name: str, right: Any, wrong: Any
) -> None:
    kind = delivered_by(driver, postgresql_type(name))
    assert codes(compared("SELECT a FROM t", list[tuple[right]], never("a", kind))) == []
    (found,) = compared("SELECT a FROM t", list[tuple[wrong]], never("a", kind))
    assert found.code == "TP105"
    assert f" on {driver}" in found.reason


def test_a_snapshot_keeps_what_the_driver_delivers() -> None:
    kinds = ["char", "xid", "bit[]", "point", "int4multirange", "inet"]
    for driver in ("asyncpg", "psycopg"):
        types = [delivered_by(driver, postgresql_type(each)) for each in kinds]
        types.append(of_extension(driver, "hstore"))
        description = described(*(never(each.name, each) for each in types))
        assert parse_document(document_text("q", (), description)).columns == description.columns


@pytest.mark.parametrize("returns", [Any, Annotated[IPv4Address, Decode(IPv4Address)]])
def test_nothing_is_told_where_the_type_does_not_matter(returns: Any) -> None:
    assert codes(compared("SELECT a FROM t", list[returns], never("a", "inet"))) == []


@pytest.mark.parametrize("kind", ["citext", "ltree", "regclass", "tsvector", "jsonpath", "xml"])
def test_a_type_that_arrives_as_text_is_compared(kind: str) -> None:
    assert codes(compared("SELECT a FROM t", list[str], never("a", kind))) == []
    assert codes(compared("SELECT a FROM t", list[int], never("a", kind))) == ["TP105 a"]


# ------------------------------------------------------------------------------- SQLite


def test_columns_that_sqlite_does_not_enforce_are_one_note() -> None:
    info = declare("SELECT a, b, c FROM t", list[tuple[int, str, int]])
    columns = [never(name, sqlite_type("INTEGER")) for name in "ab"]
    columns.append(never("c", DbType("INTEGER", int)))
    (found,) = compare(info, described(*columns, family="sqlite"))
    assert (found.code, found.severity) == ("TP304", Severity.NOTE)
    assert found.message.startswith('"a", "b" were not compared with the declared types: SQLite')
    assert "STRICT" in found.hint


def test_columns_whose_types_sqlite_enforces_are_compared() -> None:
    description = described(never("a", DbType("INTEGER", int)), family="sqlite")
    assert codes(compare(declare("SELECT a FROM t", list[int]), description)) == []
    assert codes(compare(declare("SELECT a FROM t", list[str]), description)) == ["TP105 a"]


# ------------------------------------------------------------------ the types of SQLAlchemy


class Mood(Enum):
    SAD = "sad"


class Money(sa.types.TypeDecorator[str]):
    """A type of the application."""

    impl = sa.Numeric
    cache_ok = True

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return value and f"{value} EUR"


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        *((sa.Enum(Mood), Mood, str), (sa.Enum("a", "b"), str, int)),
        *((sa.Uuid(as_uuid=False), str, UUID), (sa.Float(), float, Decimal)),
        *((sa.Numeric(asdecimal=False), float, Decimal), (pg.INT4RANGE(), pg.Range, str)),
        (pg.ARRAY(sa.Enum(Mood)), list[Mood], list[str]),
        (pg.ARRAY(sa.Integer, as_tuple=True), tuple, list[int]),
        (pg.HSTORE(), dict[str, str | None], str),
    ],
)
def test_the_values_that_sqlalchemy_makes_are_compared(kind: Any, right: Any, wrong: Any) -> None:
    statement = sa.select(sa.column("a", kind))
    column = never("a", DbType("the type of the database"))
    assert codes(compared(statement, list[tuple[right]], column)) == []
    assert codes(compared(statement, list[tuple[wrong]], column)) == ["TP105 a"]


@pytest.mark.parametrize("kind", [Money(), sa.PickleType(), pg.ARRAY(Money())])
def test_a_type_of_the_application_is_not_compared(kind: Any) -> None:
    returns = list[Any] if isinstance(kind, pg.ARRAY) else str
    column = never("a", DbType("numeric"))
    found = compared(sa.select(sa.column("a", kind)), list[returns], column)
    if returns is str:
        assert codes(found) == ["TP304"]
        assert found[0].message == (
            '"a" was not compared with the declared type: the application\'s own column types '
            "convert the values"
        )


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [(mysql.SET("a"), set, str), (mysql.BIT(3), int, bytes), (mysql.TIME(), time, timedelta)],
)
def test_the_values_of_mysql_that_sqlalchemy_makes_are_compared(
    kind: Any, right: Any, wrong: Any
) -> None:
    info, other = (declare(sa.select(sa.column("a", kind)), list[each]) for each in (right, wrong))
    description = described(never("a", DbType("set")), family="mysql")
    assert codes(compare(info, description)) == []
    assert codes(compare(other, description)) == ["TP105 a"]


@pytest.mark.parametrize("family", ["sqlite", "mysql"])
def test_types_of_sqlalchemy_are_used_only_where_it_converts_the_values(family: str) -> None:
    statement = sa.select(sa.column("a", sa.Integer), sa.column("b", sa.Enum(Mood)))
    columns = (never("a", DbType("INTEGER")), never("b", DbType("VARCHAR")))
    info = declare(statement, list[tuple[int, Mood]])
    (found,) = compare(info, described(*columns, family=family))
    assert found.message.startswith('"a" was not compared')


# ------------------------------------------------------------------------- composite values


@pytest.mark.parametrize(
    ("name", "fields", "found"),
    [
        *(("a", ("x",), ["TP101 a"]), ("a", (), []), ("a", ("y",), [])),
        *(("a!", ("x",), ["TP101 a!", "TP109 a!"]),),
    ],
)
def test_a_field_of_a_composite_value_that_may_be_null_is_a_note(
    name: str, fields: tuple[str, ...], found: list[str]
) -> None:
    kind = DbType("pair", fields=(("x", postgresql_type("int4")),))
    column = replace(never(name, kind), nullable_fields=fields)
    findings = compared(f'SELECT a AS "{name}" FROM t', list[tuple[Pair]], column)
    assert codes(findings) == found
    assert all(each.severity in (Severity.NOTE, Severity.WARNING) for each in findings)
    snapshot = document_text("q", (), described(column))
    assert parse_document(snapshot).columns == (column,)


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
@pytest.mark.parametrize("kind", [DbType("json", json=True), DbType("JSON"), DbType("text", str)])
def test_none_stands_for_the_null_of_json(kind: DbType, family: str) -> None:
    if family == "postgresql" and not kind.json:
        return
    info = declare("SELECT a FROM t", list[tuple[Annotated[Pair | None, Json()]]])
    assert codes(compare(info, described(never("a", kind), family=family))) == []
