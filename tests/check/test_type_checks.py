"""Columns whose types could not be compared, and types that arrive as text."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Any

import pytest

from sqla_typedpool import Decode
from sqla_typedpool.check.model import Severity
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type
from tests.support.check_lab import codes, compared, maybe, never


@pytest.mark.parametrize(
    ("kind", "returns"),
    [
        *(("inet", IPv4Address), ("cidr", str), ("bit", str), ("varbit", str), ("char", str)),
        *(("point", str), ("pg_lsn", int), ("hstore", str), ("xid", int)),
        (DbType("mood[]", element=postgresql_type("mood", labels=("a",))), list[str]),
    ],
)
def test_a_type_that_was_not_compared_is_a_note(kind: str | DbType, returns: Any) -> None:
    (found,) = compared("SELECT a FROM t", list[returns], never("a", kind))
    assert (found.code, found.severity, found.subject) == ("TP304", Severity.NOTE, "a")
    assert found.message.startswith(f'"a" ({kind if isinstance(kind, str) else kind.name}) was not')
    assert "CAST(... AS text)" in found.hint


def test_the_message_names_both_types() -> None:
    (found,) = compared("SELECT a FROM t", list[IPv4Address | None], maybe("a", "inet"))
    assert found.message == (
        '"a" (inet) was not compared with IPv4Address | None: in which Python type it arrives '
        "depends on the driver or the value"
    )


@pytest.mark.parametrize("returns", [Any, Annotated[IPv4Address, Decode(IPv4Address)]])
def test_nothing_is_told_where_the_type_does_not_matter(returns: Any) -> None:
    assert codes(compared("SELECT a FROM t", list[returns], never("a", "inet"))) == []


@pytest.mark.parametrize("kind", ["citext", "ltree", "regclass", "tsvector", "jsonpath", "xml"])
def test_a_type_that_arrives_as_text_is_compared(kind: str) -> None:
    assert codes(compared("SELECT a FROM t", list[str], never("a", kind))) == []
    assert codes(compared("SELECT a FROM t", list[int], never("a", kind))) == ["TP105 a"]
