"""The check of the words of messages can fail."""

from __future__ import annotations

import pytest

from sqla_typedpool.describe.model import ColumnDescription
from sqla_typedpool.errors import Refused
from sqla_typedpool.mapping.dbtypes import DbType
from tests.support.words import unsuitable_words


@pytest.mark.parametrize(
    ("text", "word"),
    [
        *(("there is no rule for subscriptingref", "subscriptingref"),),
        *(("nothing is known about anonymous()", "anonymous"), ("a FIELDSELECT", "FIELDSELECT")),
        *(("CoalesceExpr is NULL", "CoalesceExpr"), ("an A_Expr may be NULL", "A_Expr")),
        ("nothing is known about JSONExtract", "JSONExtract"),
    ],
)
def test_names_of_nodes_are_found(text: str, word: str) -> None:
    assert unsuitable_words(text) == [word]


@pytest.mark.parametrize("text", ["it may be NULL", "in SQLite it may be a string"])
def test_it_is_no_subject_of_a_reason(text: str) -> None:
    assert unsuitable_words(text, is_reason=True) != []


@pytest.mark.parametrize("text", ["some grouping sets omit it", "u.column_name is NOT NULL"])
def test_words_of_sql_are_accepted(text: str) -> None:
    assert unsuitable_words(text, is_reason=True) == []


def test_the_words_of_all_tests_are_checked(checked_words: list[str]) -> None:
    ColumnDescription("a", DbType("text"), True, "nothing is known about funcexpr")
    Refused("syntax error", hint="write no opexpr")
    assert [each.partition(" ")[0] for each in checked_words] == ["funcexpr", "opexpr"]
    checked_words.clear()
