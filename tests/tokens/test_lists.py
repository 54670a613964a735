"""Binds that are lists: those after IN."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqla_typedpool.tokens import list_binds


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT 1 WHERE a IN :x", ["x"]),
        ("SELECT 1 WHERE a in\n  -- why\n  :x AND b = :y", ["x"]),
        ("SELECT 1 WHERE a NOT IN :x OR (b IN :y)", ["-x", "y"]),
        ("SELECT 1 WHERE NOT a IN :x", ["x"]),
        ("SELECT 1 WHERE a IN :x AND b IN :x", ["x", "x"]),
        ("SELECT 1 WHERE a IN (:x)", []),
        ("SELECT 1 WHERE a IN (:x, :y)", []),
        ("SELECT 1 WHERE a IN :x::int[]", []),
        ("SELECT 1 WHERE a = ANY(:x)", []),
        ("SELECT ' IN :x' -- IN :y\n /* IN :z */", []),
        ('SELECT "in" :x', []),
        ("SELECT position(:x IN :y)", []),
        ("SELECT POSITION(lower(:x) IN :y), a IN :z", ["z"]),
        ("SELECT position('a' IN (SELECT b FROM t WHERE c IN :x))", ["x"]),
        ("SELECT f(a IN :x)", ["x"]),
        ("IN :x", ["x"]),
        (") IN :x", ["x"]),
    ],
)
def test_only_binds_directly_after_in_are_lists(sql: str, found: list[str]) -> None:
    assert [f"{'-' * each.is_negated}{each.name}" for each in list_binds(sql)] == found
    assert all(sql[each.start :].startswith(f":{each.name}") for each in list_binds(sql))


@given(st.text(alphabet="IN :xPOSITION()'\n-"))
def test_any_text_is_read(text: str) -> None:
    list_binds(text)
