"""The table of conversions: which stored forms are converted, and in which databases."""

from __future__ import annotations

import ipaddress
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from sqla_typedpool.mapping.coercions import RULES, Action
from sqla_typedpool.mapping.dbtypes import DbType
from tests.support.mapping_lab import converted, fit, refusal, rule_table

MOMENT = datetime(2026, 1, 31, 12, 30)
IDENTITY = UUID("12345678123456781234567812345678")
FORMS = [
    ("sqlite", bool, 1, True),
    ("mysql", bool, 0, False),
    ("mysql", bool, b"\x01", True),
    ("sqlite", Decimal, 3, Decimal(3)),
    ("sqlite", Decimal, 0.1, Decimal("0.1")),
    ("sqlite", datetime, "2026-01-31 12:30:00", MOMENT),
    ("sqlite", datetime, "2026-01-31T12:30", MOMENT),
    ("sqlite", datetime, "2026-01-31 12:30:00.5", MOMENT.replace(microsecond=500000)),
    ("sqlite", datetime, "2026-01-31 12:30:00Z", MOMENT.replace(tzinfo=timezone.utc)),
    ("sqlite", date, "2026-01-31", MOMENT.date()),
    ("sqlite", time, "12:30:00.000001", time(12, 30, 0, 1)),
    ("sqlite", UUID, IDENTITY.hex, IDENTITY),
    ("mysql", UUID, str(IDENTITY), IDENTITY),
    ("mysql", time, timedelta(hours=12, minutes=30), time(12, 30)),
    ("mysql", ipaddress.IPv6Address, "::1", ipaddress.IPv6Address("::1")),
    ("sqlite", ipaddress.IPv4Network, "10.0.0.0/8", ipaddress.IPv4Network("10.0.0.0/8")),
]


@pytest.mark.parametrize(("family", "annotation", "stored", "value"), FORMS)
def test_a_stored_form_is_converted(family: str, annotation: type, stored: Any, value: Any) -> None:
    made = converted(annotation, stored, family)
    assert made == value
    assert type(made) is type(value)
    assert converted(list[annotation], [stored], family) == [value]
    assert fit(annotation, DbType("x", type(stored)), family).action is Action.CONVERT


@pytest.mark.parametrize(("family", "annotation", "stored", "value"), FORMS)
def test_postgresql_has_no_stored_forms(
    family: str, annotation: type, stored: Any, value: Any
) -> None:
    refusal(annotation, stored, "postgresql")
    assert fit(annotation, DbType("x", type(stored)), "postgresql").action is Action.REFUSE


@pytest.mark.parametrize(
    ("family", "annotation", "value"),
    [
        ("sqlite", bool, 2),
        ("sqlite", bool, 1.0),
        ("sqlite", bool, "true"),
        ("mysql", bool, b"\x02"),
        ("mysql", bool, b"\x00\x01"),
        ("sqlite", int, True),
        ("sqlite", Decimal, "0.1"),
        ("sqlite", datetime, "2026-01-31"),
        ("sqlite", datetime, "2026-02-31 00:00:00"),
        ("sqlite", datetime, "2026-01-31 12:30:00 "),
        ("sqlite", datetime, "20260131T123000"),
        ("sqlite", date, "2026-01-31 00:00:00"),
        ("sqlite", date, "2026-W05-6"),
        ("sqlite", time, "25:00:00"),
        ("sqlite", UUID, f"{{{IDENTITY}}}"),
        ("sqlite", UUID, "x"),
        ("mysql", time, timedelta(days=1)),
        ("mysql", time, timedelta(seconds=-1)),
        ("mysql", datetime, "2026-01-31 12:30:00"),
        ("mysql", ipaddress.IPv4Address, "10.0.0.256"),
    ],
)
def test_a_value_that_is_not_in_the_stored_form_is_refused(
    family: str, annotation: type, value: Any
) -> None:
    refusal(annotation, value, family)


def test_the_printed_table_has_a_row_for_every_rule() -> None:
    lines = rule_table().splitlines()
    assert len(lines) == len(RULES) + 2
    assert "| int | bool | converted: 0 or 1 | sqlite, mysql |" in lines
    assert "| bool | int | refused: declare it bool | where nothing above converts it |" in lines


def test_no_pair_of_types_is_converted_by_two_rules_in_one_family() -> None:
    converted_pairs = [
        (rule.source, rule.target, family)
        for rule in RULES
        if rule.convert is not None
        for family in rule.families
    ]
    assert len(converted_pairs) == len(set(converted_pairs))
