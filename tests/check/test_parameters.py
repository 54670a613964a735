"""The comparison of parameters with declared types."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Network
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict
from uuid import UUID

import asyncpg
import pytest

from sqla_typedpool import Json
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.null_comparisons import never_true_for_null
from sqla_typedpool.check.parameters import compare_parameters
from sqla_typedpool.describe.postgres.driver_types import delivered_by, of_extension
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type
from tests.support.check_lab import codes, declare, described, takes

UserId = NewType("UserId", int)
Ids = NewType("Ids", Sequence[int])
Names = NewType("Names", Sequence[str])
MOOD = postgresql_type("mood", labels=("sad", "ok"))


class Plain(enum.Enum):
    SAD = "sad"


class Texts(str, enum.Enum):
    SAD = "sad"


class More(str, enum.Enum):
    SAD = "sad"
    ANGRY = "angry"


class Numbers(enum.IntEnum):
    ONE = 1


class Name(str):
    __slots__ = ()


class Moment(datetime):
    """A subclass of datetime, like pendulum's."""


class Unheard:
    """A class of the application, for which it may have registered a codec."""


@dataclass
class Item:
    price: int


class Document(TypedDict):
    price: int


def found_for(
    annotation: Any,
    kind: str | DbType | None,
    sql: str = "SELECT f(:x)",
    family: str = "postgresql",
    **how: bool,
) -> list[Finding]:
    """Return the findings of the parameter ``:x`` with this annotation and database type."""
    info = declare(sql, None, x=annotation)
    return compare_parameters(info, described(takes("x", kind, **how), family=family))


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (bool, "bool"),
        (int, "int2"),
        (int, "int8"),
        (UserId, "int4"),
        (Annotated[int, "a comment"], "int4"),
        (Numbers, "int4"),
        (Literal[1, 2], "int4"),
        (float, "float8"),
        (int, "float8"),
        (Decimal, "float4"),
        (Decimal, "numeric"),
        (int, "numeric"),
        (int | Decimal, "numeric(10,2)"),
        (str, "text"),
        (str, "varchar(20)"),
        (Name, "text"),
        (Texts, "text"),
        (Literal["a", "b"], "text"),
        (str, "json"),
        (str, "jsonb"),
        (bytes, "bytea"),
        (bytearray, "bytea"),
        (memoryview, "bytea"),
        (date, "date"),
        (datetime, "timestamp"),
        (date, "timestamp"),
        (datetime, "timestamptz"),
        (Moment, "timestamptz"),
        (time, "time"),
        (timedelta, "interval"),
        (UUID, "uuid"),
        (str, "uuid"),
        (IPv4Address, "inet"),
        (IPv6Network, "cidr"),
        (str, "inet"),
        (str, MOOD),
        (Texts, MOOD),
        (Literal["sad"], MOOD),
        (list[int], "int4[]"),
        (list[list[int]], "int4[]"),
        (tuple[int, ...], "int4[]"),
        (Sequence[int], "int4[]"),
        (Ids, "int4[]"),
        (list[str], "text[]"),
        (list[int | None], "int4[]"),
        (Any, "int4"),
        (object, "int4"),
        (Unheard, "int4"),
        (Item, postgresql_type("item", fields=(("price", postgresql_type("int8")),))),
    ],
)
def test_types_that_the_drivers_accept_give_no_finding(annotation: Any, kind: Any) -> None:
    assert codes(found_for(annotation, kind)) == []
    assert codes(found_for(Optional[annotation], kind)) == []  # noqa: UP045 - NewTypes of 3.10


@pytest.mark.parametrize(
    ("annotation", "kind", "reason"),
    [
        (bool, "int4", "0 or 1"),
        (float, "int8", "truncates it"),
        (Decimal, "int8", "truncates it"),
        (str, "int4", "asyncpg does not accept str"),
        (int, "bool", "asyncpg does not accept int"),
        (float, "numeric", "1.69999"),
        (bool, "numeric", "0 or 1"),
        (int, "text", "asyncpg does not accept int"),
        (UUID, "text", "asyncpg does not accept UUID"),
        (bytes, "text", "asyncpg does not accept bytes"),
        (str, "bytea", "asyncpg does not accept str"),
        (datetime, "date", "drop the time of day"),
        (Moment, "date", "drop the time of day"),
        (datetime, "time", "drop the day"),
        (str, "timestamptz", "asyncpg does not accept str"),
        (int, "interval", "asyncpg does not accept int"),
        (int, "uuid", "asyncpg does not accept int"),
        (int, "inet", "asyncpg does not accept int"),
        (int, MOOD, "asyncpg does not accept int"),
        (Numbers, "text", "asyncpg does not accept int"),
        (Texts, "int4", "asyncpg does not accept str"),
        (Literal["a"], "int4", "asyncpg does not accept str"),
        (int | str, "int4", "asyncpg does not accept str"),
        (list[int], "int4", "asyncpg does not accept list"),
        (int, "int4[]", "the type is an array"),
        (list[str], "int4[]", "asyncpg does not accept str"),
        (Names, "int4[]", "asyncpg does not accept str"),
        (Sequence[float], "int4[]", "truncates it"),
        (tuple[int, str], "int4[]", "asyncpg does not accept str"),
    ],
)
def test_a_type_that_is_refused_or_silently_changed_is_an_error(
    annotation: Any, kind: Any, reason: str
) -> None:
    (found,) = found_for(annotation, kind)
    assert (found.code, found.severity) == ("TP201", Severity.ERROR)
    assert reason in found.reason
    assert found.message.startswith(":x is declared ")
    assert found.hint


def test_the_message_names_both_types_and_the_hint_a_correction() -> None:
    (found,) = found_for(datetime, "date")
    assert found.message == ":x is declared datetime, but the database expects date"
    assert found.hint == "declare it date, or write CAST(:x AS timestamp)"
    (found,) = found_for(str, "int4")
    assert found.hint == "declare it int"
    (found,) = found_for(list[int], "int4")
    assert "= ANY(:x)" in found.hint


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Plain, "text"),
        (Plain, MOOD),
        (list[Plain], "text[]"),
        (Item, "int4"),
        (Item, "jsonb"),
        (dict[str, Any], "jsonb"),
        (Document, "json"),
        (list[int], "jsonb"),
        (Annotated[Item, Json()], "jsonb"),
        (dict[str, int], "text"),
    ],
)
def test_values_that_need_a_sqlalchemy_type_have_their_own_code(annotation: Any, kind: Any) -> None:
    (found,) = found_for(annotation, kind)
    assert (found.code, found.severity) == ("TP204", Severity.ERROR)
    assert "(name" not in found.hint


def test_parameters_with_a_sqlalchemy_type_are_not_checked() -> None:
    for annotation in (Plain, dict[str, Any], float):
        assert codes(found_for(annotation, "int4", is_processed=True)) == []


def test_an_expanding_parameter_takes_a_list() -> None:
    for annotation in (list[int], Sequence[int], Collection[int], set[int], tuple[int, ...]):
        assert codes(found_for(annotation, "int4", is_list=True)) == []
    assert codes(found_for(int, "int4", is_list=True)) == ["TP201 x"]
    assert codes(found_for(list[str], "int4", is_list=True)) == ["TP201 x"]
    for annotation in (int, list[str], list[float]):
        (found,) = found_for(annotation, "int4", is_list=True)
        assert found.hint == "declare it list[int]"


def test_members_that_are_not_labels_of_the_database_are_an_error() -> None:
    (found,) = found_for(More, MOOD)
    assert (found.code, found.severity) == ("TP111", Severity.ERROR)
    assert "'angry'" in found.message
    assert codes(found_for(Literal["sad", "angry"], MOOD)) == ["TP111 x"]


def test_an_unknown_parameter_type_is_a_warning_only_on_postgresql() -> None:
    (found,) = found_for(int, None)
    assert (found.code, found.severity) == ("TP202", Severity.WARNING)
    assert codes(found_for(int, None, family="sqlite")) == []
    assert codes(found_for(int, None, family="mysql")) == []


def test_sqlite_accepts_few_types() -> None:
    taken = (int, bool, float, str, bytes, date, datetime, Texts, Numbers, UserId, Any)
    for annotation in taken:
        assert codes(found_for(annotation, None, family="sqlite")) == []
    for annotation in (Decimal, UUID, time, timedelta, Plain, dict[str, int], Item):
        assert codes(found_for(annotation, None, family="sqlite")) == ["TP204 x"], annotation
    assert codes(found_for(list[int], None, family="sqlite")) == ["TP201 x"]
    assert codes(found_for(list[UUID], None, family="sqlite", is_list=True)) == ["TP204 x"]


def test_mysql_accepts_its_own_types_only() -> None:
    for annotation in (int, Decimal, UUID, time, timedelta, str, bytes):
        assert codes(found_for(annotation, None, family="mysql")) == []
    for annotation in (Plain, Texts, dict[str, int], bytearray, Item):
        assert codes(found_for(annotation, None, family="mysql")) == ["TP204 x"], annotation


def test_parameters_without_a_description_are_not_checked() -> None:
    info = declare("SELECT f(:x)", None, x=int)
    assert compare_parameters(info, described()) == []


# ------------------------------------------------------------------ NULL in conditions


@pytest.mark.parametrize(
    ("sql", "operator"),
    [
        ("SELECT 1 FROM t WHERE a = :x", "="),
        ("SELECT 1 FROM t WHERE b AND a >= :x AND c", ">="),
        ("SELECT 1 FROM t JOIN u ON u.a <> :x", "<>"),
        ("UPDATE t SET b = 1 WHERE a=:x", "="),
        ("SELECT 1 FROM t WHERE a = :x OR a IS NULL", None),
        ("SELECT 1 FROM t WHERE a = :x OR CAST(:x AS int) IS NULL", None),
        ("SELECT 1 FROM t WHERE coalesce(a = :x, true)", None),
        ("SELECT 1 FROM t WHERE NOT a = :x", None),
        ("SELECT 1 FROM t WHERE a = :x AND f(:x)", None),
        ("SELECT 1 FROM t WHERE f(:x) AND a = :x", None),
        ("SELECT 1 FROM t WHERE a IS NOT DISTINCT FROM :x", None),
        ("SELECT 1 FROM t WHERE a <=> :x", None),
        ("SELECT 1 FROM t WHERE a -> :x", None),
        ("SELECT 1 FROM t WHERE CASE WHEN a = :x THEN b END", None),
        ("UPDATE t SET a = :x WHERE b", None),
        ("UPDATE t SET a = :x", None),
        ("INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = :x", None),
        ("SELECT a = :x FROM t", None),
        ("INSERT INTO t VALUES (:x)", None),
        ("SELECT 1 FROM t WHERE f(:x) = a", None),
    ],
)
def test_only_comparisons_that_are_never_true_for_null_are_found(
    sql: str, operator: str | None
) -> None:
    assert never_true_for_null(sql, "x") == operator


def test_a_comparison_with_an_optional_parameter_is_a_note() -> None:
    sql = "UPDATE t SET b = 1 WHERE a = :x"
    (found,) = found_for(int | None, "int4", sql)
    assert (found.code, found.severity) == ("TP203", Severity.NOTE)
    assert "IS NOT DISTINCT FROM" in found.hint
    assert codes(found_for(int, "int4", sql)) == []


@pytest.mark.parametrize(
    ("annotation", "kind", "found"),
    [
        *((str, "tsvector", []), (str, "citext", []), (str, "regclass", [])),
        *((int, "tsvector", ["TP201 x"]), (int, "regclass", ["TP304 x"])),
        *((str, "point", ["TP304 x"]), (int, "pg_lsn", ["TP304 x"])),
        *((list[str], "point[]", ["TP304 x"]), (str, of_extension("asyncpg", "geometry"), [])),
        (bytes, of_extension("asyncpg", "geometry"), ["TP304 x"]),
        (int, delivered_by("asyncpg", postgresql_type("xid")), []),
        (asyncpg.BitString, delivered_by("asyncpg", postgresql_type("bit")), []),
        (str, delivered_by("asyncpg", postgresql_type("bit")), ["TP304 x"]),
    ],
)
def test_a_parameter_of_a_type_that_was_not_measured_is_told(
    annotation: Any, kind: str | DbType, found: list[str]
) -> None:
    findings = found_for(annotation, kind)
    assert codes(findings) == found
    if found == ["TP304 x"]:
        assert findings[0].severity is Severity.NOTE
        assert "was not compared with" in findings[0].message
