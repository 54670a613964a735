"""Advice for parameters that are written so that the database refuses them."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from sqla_typedpool.check.syntax_hints import syntax_hint
from sqla_typedpool.errors import Refused
from tests.support.check_lab import declare, refused


def test_a_parameter_before_a_cast_has_a_hint() -> None:
    hint = "write CAST(:x AS ...), or add a space: :x ::"
    assert syntax_hint("SELECT :y, :x::int") == hint


def test_a_parameter_after_in_has_a_hint() -> None:
    hint = syntax_hint("SELECT 1 WHERE a IN :ids")
    assert "= ANY(:ids)" in hint
    assert 'bindparam("ids", expanding=True)' in hint
    info = declare(text("SELECT a FROM t WHERE a IN :ids"), list[int], ids=list[int])
    assert refused(info, Refused("syntax error", code="42601")).hint == hint


def test_a_list_that_is_expanded_has_no_hint() -> None:
    info = declare("SELECT a FRM t WHERE a IN :ids", list[int], ids=list[int])
    assert refused(info, Refused("syntax error", code="42601")).hint == ""


@pytest.mark.parametrize("sql", ["SELECT :x", "SELECT 1 WHERE a IN (:x)", "SELECT a::int", ""])
def test_other_statements_have_none(sql: str) -> None:
    assert syntax_hint(sql) == ""
