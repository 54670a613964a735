"""The table of connect errors: each rule with realistic errors, and the page that shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqla_typedpool.pool.connect_errors import classify, rule_of
from sqla_typedpool.pool.connect_rules import RULES, ErrorKind
from tests.support.connect_error_examples import (
    EXAMPLES,
    UNKNOWN,
    Example,
    Make,
    asyncpg_error,
    psycopg_error,
)
from tests.support.connect_errors_page import page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "connect-errors.md"


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_connect_error_of_a_driver_has_its_kind(example: Example) -> None:
    if example.driver:
        pytest.importorskip(example.driver)
    error = example.make()
    assert classify(error) is example.kind, repr(error)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_wrapper_without_a_code_of_its_own_does_not_hide_the_kind(example: Example) -> None:
    if example.driver:
        pytest.importorskip(example.driver)
    wrapper = RuntimeError("cannot connect")
    wrapper.__cause__ = example.make()
    assert classify(wrapper) is example.kind


def test_every_rule_applies_to_an_example() -> None:
    for driver in {example.driver for example in EXAMPLES} - {""}:
        pytest.importorskip(driver)
    applied = {rule_of(example.make()) for example in EXAMPLES}
    unused = [rule.meaning for rule in RULES if rule not in applied]
    assert not unused


@pytest.mark.parametrize("make", UNKNOWN, ids=lambda make: repr(make()))
def test_an_error_that_no_rule_knows_is_unknown(make: Make) -> None:
    assert classify(make()) is ErrorKind.UNKNOWN


def test_an_sqlstate_that_no_rule_knows_is_unknown_whatever_its_words() -> None:
    pytest.importorskip("asyncpg")
    assert classify(asyncpg_error("58030", "connection refused")()) is ErrorKind.UNKNOWN


def test_a_message_in_another_language_is_unknown() -> None:
    pytest.importorskip("psycopg")
    message = "FATAL:  das Datenbanksystem startet"
    assert classify(psycopg_error(message)()) is ErrorKind.UNKNOWN


def test_every_rule_names_what_it_applies_to_and_its_source() -> None:
    for rule in RULES:
        assert rule.states or rule.numbers or rule.types or rule.errnos or rule.words, rule
        assert ":" in rule.source, rule
        assert all(each == each.lower() for each in rule.words), rule


def test_the_page_of_connect_errors_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), (
        "python -m tests.support.connect_errors_page > docs/reference/connect-errors.md"
    )
