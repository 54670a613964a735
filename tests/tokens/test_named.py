"""Files with named queries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqla_typedpool.tokens import hidden_name_line, named_queries
from sqla_typedpool.tokens.reading import pieces


def queries(text: str) -> dict[str, str]:
    """Return the statements by their names."""
    return {each.name: text[each.start : each.end] for each in named_queries(text)}


@pytest.mark.parametrize(
    ("line", "name", "suffix"),
    [
        ("-- name: get_user", "get_user", ""),
        ("--name:get_user", "get_user", ""),
        ("  --  name : get-user  ", "get-user", ""),
        ("-- name: get_user^", "get_user", "^"),
        ("-- name: count$", "count", "$"),
        ("-- name: rename!", "rename", "!"),
        ("-- name: add<!", "add", "<!"),
        ("-- name: add_all*!", "add_all", "*!"),
        ("-- name: schema#", "schema", "#"),
        ("-- name: get_user(user_id, team)^", "get_user", "^"),
        ("-- name: now()", "now", ""),
        ("-- name: GetUser :one", "GetUser", ":one"),
        ("-- name: GetUsers :many", "GetUsers", ":many"),
        ("-- name: AddAll :batchexec", "AddAll", ":batchexec"),
        ("-- name: GetUser :one -- why", "GetUser", ":one"),
        ("-- name: größe", "größe", ""),
    ],
)
def test_name_lines_of_aiosql_and_sqlc_are_read(line: str, name: str, suffix: str) -> None:
    (found,) = named_queries(f"\n{line}\nSELECT 1;\n")
    assert (found.name, found.suffix, found.is_valid) == (name, suffix, True)
    assert queries(f"{line}\nSELECT 1;\n") == {name: "SELECT 1;"}


@pytest.mark.parametrize(
    "rest",
    ["", "get user", "1st", "-get", "get-", "GetUser :ones", "get_user:one", "a.b", "get_user?"],
)
def test_a_line_without_a_valid_name_ends_the_query_above(rest: str) -> None:
    text = f"-- name: first\nSELECT 1\n-- name: {rest}\nSELECT 2"
    found = named_queries(text)
    assert [each.is_valid for each in found] == [True, False]
    assert found[1].name == rest
    assert text[found[0].start : found[0].end] == "SELECT 1"


@pytest.mark.parametrize(
    "hidden",
    [
        "SELECT '\n-- name: b\n'",
        'SELECT 1 AS "\n-- name: b\n"',
        "SELECT $$\n-- name: b\n$$",
        "SELECT $x$\n-- name: b\n$$ $x$",
        "SELECT 1 /* /* */\n-- name: b\n*/ + 1",
        "SELECT 1 -- name: b\n + 1",
        "SELECT E'\\'\n-- name: b\n'",
        "SELECT 1 --- name: b\n + 1",
        "SELECT 1\n-- the name: b\n + 1",
        "SELECT 1\n-- names: b\n + 1",
    ],
)
def test_a_name_that_is_not_a_comment_of_its_own_line_does_not_end_a_query(hidden: str) -> None:
    text = f"-- name: a\n{hidden};\n-- name: c\nSELECT 2"
    assert queries(text) == {"a": f"{hidden};", "c": "SELECT 2"}


def test_comments_around_a_statement_are_left_out_and_those_inside_are_kept() -> None:
    text = (
        "-- of the file\n\n-- name: a\n-- what :x is for\n\n/*+ SeqScan(t) */ SELECT 1 -- why\n"
        ", 2; -- done\n/* section */\n-- next\n-- name: b\nSELECT 2\n"
    )
    assert queries(text) == {"a": "/*+ SeqScan(t) */ SELECT 1 -- why\n, 2;", "b": "SELECT 2"}


def test_a_name_without_a_statement_is_an_empty_query() -> None:
    assert queries("-- name: a\n-- nothing\n/* here */\n-- name: b") == {"a": "", "b": ""}
    assert queries("SELECT 1") == {}


def test_a_name_line_in_a_string_is_found_by_its_name() -> None:
    text = "-- name: a\nSELECT 'it\\'s';\n-- name: get-b^\nSELECT 2"
    assert list(queries(text)) == ["a"]
    assert hidden_name_line(text, "get_b") == text.index("-- name: get-b")
    assert hidden_name_line(text, "a") is None
    assert hidden_name_line(text, "c") is None


@given(st.text(alphabet="-name: \n'\"$`/*;x1:^E\\"))
def test_any_text_can_be_split(text: str) -> None:
    assert "".join(text[start:end] for _, start, end in pieces(text)) == text
    for each in named_queries(text):
        assert text.startswith("--", each.at)
        assert each.at < each.start <= each.end <= len(text) + 1
