"""Tokens of SQL, the binds that SQLAlchemy finds, and the spans of output columns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import TextClause, text

from sqla_typedpool.tokens import (
    Token,
    TokenKind,
    binds,
    hidden_binds,
    output_items,
    second_statement,
    stars,
    tokens,
)

PIECES = st.sampled_from(
    [
        *("'", '"', "`", "$$", "$a$", "E'", "U&'", "--", "/*", "*/", "\n", "\\", "\\:", ";", "%"),
        *(":", "::", ":a", ":b1", ":1", "x:y", "(", ")", "[", "]", ",", ".", "*", " ", "1.5e3"),
        *("SELECT", "WITH", "AS", "RETURNING", "INSERT", "DISTINCT", "ON", "FROM", "GROUP", "a"),
        *("é", "\x00", "\ud800", "٣", "$1", "0x", "''"),
    ]
)
SQL = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join))
# On a busy machine an example may take long.
without_deadline = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def texts(sql: str) -> list[str]:
    return [token.text for token in tokens(sql)]


def kinds(sql: str) -> list[TokenKind]:
    return [token.kind for token in tokens(sql)]


def cut(sql: str, spans: list[tuple[int, int]]) -> list[str]:
    return [sql[start:end] for start, end in spans]


# ----------------------------------------------------------------------- properties


@without_deadline
@given(SQL)
def test_no_text_raises_an_error(sql: str) -> None:
    tokens(sql)
    second_statement(sql)
    for start, end in (*output_items(sql), *stars(sql)):
        assert 0 <= start < end <= len(sql)


@without_deadline
@given(SQL)
def test_tokens_leave_out_only_white_space_and_comments(sql: str) -> None:
    end = 0
    for token in tokens(sql):
        assert token.start >= end
        assert token.text == sql[token.start : token.end] != ""
        assert_is_skipped(sql[end : token.start])
        end = token.end
    assert_is_skipped(sql[end:])


def assert_is_skipped(gap: str) -> None:
    """Assert that the text is white space and whole comments."""
    while gap := gap.lstrip():
        assert gap.startswith(("--", "/*")), gap
        gap = after_comment(gap)


def after_comment(gap: str) -> str:
    if gap.startswith("--"):
        return gap.partition("\n")[2]
    depth, position = 1, 2
    while depth and position < len(gap):
        edge = gap[position : position + 2]
        depth += {"/*": 1, "*/": -1}.get(edge, 0)
        position += 2 if edge in ("/*", "*/") else 1
    return gap[position:]


@without_deadline
@given(SQL)
def test_binds_are_those_that_sqlalchemy_finds(sql: str) -> None:
    assert {token.text[1:] for token in binds(sql)} == set(text(sql)._bindparams)


@without_deadline
@given(SQL)
def test_a_bind_is_either_a_token_or_hidden(sql: str) -> None:
    shown = {token.start for token in tokens(sql) if token.kind is TokenKind.BIND}
    hidden = {token.start for token in hidden_binds(sql)}
    assert not shown & hidden
    assert shown | hidden == {token.start for token in binds(sql)}


def test_the_pattern_of_a_bind_is_that_of_sqlalchemy() -> None:
    pattern: Any = TextClause._bind_params_regex  # type: ignore[misc]
    assert pattern.pattern == r"(?<![:\w\x5c]):(\w+)(?![:\w])"


# ---------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("a1 $b _c é", ["a1", "$", "b", "_c", "é"]),
        ("'it''s' 'x", ["'it''s'", "'x"]),
        (r"E'a\'b' 'a\' b", [r"E'a\'b'", r"'a\'", "b"]),
        ("nameE'x'", ["nameE", "'x'"]),
        ("B'01' x'ff' U&'a' N'b'", ["B'01'", "x'ff'", "U&'a'", "N'b'"]),
        ('"a""b" U&"c" `d``e`', ['"a""b"', 'U&"c"', "`d``e`"]),
        ("$$ ' $$ $a$ $$ $b$ $a$ x", ["$$ ' $$", "$a$ $$ $b$ $a$", "x"]),
        ("a$b$c $1", ["a$b$c", "$1"]),
        ("$a$ never closed", ["$a$ never closed"]),
        ("1 1.5 .5 1e-3 0xFF 1_000 1.", ["1", "1.5", ".5", "1e-3", "0xFF", "1_000", "1."]),
        ("a /* b /* c */ d */ e -- f\ng", ["a", "e", "g"]),
        ("a /* never closed", ["a"]),
        ("x::int[]", ["x", "::", "int", "[", "]"]),
        (r"a \:b \:\:c", ["a", r"\:", "b", r"\:", r"\:", "c"]),
        ("a->>'b' <= ?", ["a", "-", ">", ">", "'b'", "<", "=", "?"]),
    ],
)
def test_a_text_is_split_into_tokens_as_by_the_database(sql: str, expected: list[str]) -> None:
    assert texts(sql) == expected


def test_every_token_has_its_kind() -> None:
    sql = """a "b" 'c' $$d$$ 1 :e ::"""
    assert kinds(sql) == [
        TokenKind.WORD,
        TokenKind.NAME,
        TokenKind.STRING,
        TokenKind.STRING,
        TokenKind.NUMBER,
        TokenKind.BIND,
        TokenKind.SYMBOL,
    ]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (":a, (:b) =:c", [":a", ":b", ":c"]),
        ("x::int :a ::int (:b)::int", [":a", ":b"]),
        (":a::int", []),
        ("v[1:2] v[a:b] v[:n]", [":n"]),
        (r"'12\:30' \:a", []),
        ("'12:30' ':a'", []),
        ("-- :a\n/* :b */ :c", [":c"]),
    ],
)
def test_a_bind_token_is_a_bind_outside_strings_and_comments(sql: str, expected: list[str]) -> None:
    assert [token.text for token in tokens(sql) if token.kind is TokenKind.BIND] == expected


def test_binds_in_strings_names_and_comments_are_hidden() -> None:
    sql = "SELECT ':a', \":b\", $$ :c $$, :d -- :e\n/* :f */"
    assert [token.text for token in hidden_binds(sql)] == [":a", ":b", ":c", ":e", ":f"]
    assert hidden_binds(sql)[0] == Token(TokenKind.BIND, ":a", 8, 10)


@pytest.mark.parametrize(
    ("sql", "second"),
    [
        ("SELECT 1", None),
        ("SELECT 1; -- done", None),
        ("SELECT ';' ;;", None),
        ("SELECT 1; SELECT 2", "SELECT"),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", None),
    ],
)
def test_a_second_statement_is_found(sql: str, second: str | None) -> None:
    found = second_statement(sql)
    assert (None if found is None else found.text) == second


# -------------------------------------------------------------------- output columns


@pytest.mark.parametrize(
    ("sql", "items"),
    [
        ("SELECT a, b AS c FROM t", ["a", "b AS c"]),
        ("SELECT f(a, b), (SELECT x, y FROM z) FROM t", ["f(a, b)", "(SELECT x, y FROM z)"]),
        ("SELECT array[1, 2], a[1:2] FROM t", ["array[1, 2]", "a[1:2]"]),
        ("SELECT DISTINCT a, b FROM t", ["a", "b"]),
        ("SELECT DISTINCT ON (a, lower(b)) c, d FROM t", ["c", "d"]),
        ("SELECT ALL a FROM t", ["a"]),
        ("SELECT a IS NOT DISTINCT FROM b, c FROM t", ["a IS NOT DISTINCT FROM b", "c"]),
        ("SELECT extract(year FROM c), d FROM t", ["extract(year FROM c)", "d"]),
        (
            "SELECT mode() WITHIN GROUP (ORDER BY a), b AS from, t.group FROM t",
            ["mode() WITHIN GROUP (ORDER BY a)", "b AS from", "t.group"],
        ),
        ("SELECT 1 UNION SELECT 2", ["1"]),
        ("SELECT a INTO x FROM t", ["a"]),
        ("SELECT a; ", ["a"]),
        ("((SELECT a, b) UNION SELECT c, d) ORDER BY 1", ["a", "b"]),
        ("WITH x AS (SELECT 1, 2) SELECT a, b FROM x", ["a", "b"]),
        ("WITH update AS NOT MATERIALIZED (SELECT 1), x(y) AS (SELECT 2) SELECT a", ["a"]),
        ("WITH RECURSIVE values(n) AS (SELECT 1) SELECT a", ["a"]),
        ("WITH x AS (SELECT 1), update AS (SELECT 2) SELECT a", ["a"]),
        ("WITH x AS (SELECT 1) SEARCH DEPTH FIRST BY n SET update SELECT a", ["a"]),
        ("WITH RECURSIVE r AS (SELECT 1) SEARCH DEPTH FIRST BY n SET o SELECT a", ["a"]),
        ("WITH x AS (SELECT 1) (SELECT a, b)", ["a", "b"]),
        ("(WITH x AS (SELECT 1) SELECT a)", ["a"]),
        ("INSERT INTO t (a, b) SELECT 1, 2 RETURNING id, a", ["id", "a"]),
        ("WITH x AS (DELETE FROM t RETURNING y) UPDATE t SET a = 1 RETURNING b", ["b"]),
        ("DELETE FROM t RETURNING WITH (OLD AS o, NEW AS n) o.id, n.id", ["o.id", "n.id"]),
        ("INSERT INTO t SELECT 1", []),
        ("UPDATE t SET a = (SELECT b FROM u)", []),
        ("VALUES (1, 2)", []),
        ("TABLE t", []),
        ("SELECT a, , b", []),
        ("SELECT", []),
        ("WITH x AS (", []),
        ("WITH", []),
        ("", []),
        ("EXPLAIN SELECT a", []),
    ],
)
def test_the_output_columns_of_a_statement_are_found(sql: str, items: list[str]) -> None:
    assert cut(sql, output_items(sql)) == items


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT * FROM t", ["*"]),
        ("SELECT t.*, u . *, s.t.* FROM t", ["t.*", "u . *", "s.t.*"]),
        ("SELECT (c).*, 1 FROM t", ["(c).*"]),
        ("SELECT count(*), a * b, 2 *:x, a * FROM t", []),
        ("SELECT a FROM (SELECT * FROM t) AS u", []),
        ("DELETE FROM t RETURNING *", ["*"]),
    ],
)
def test_stars_are_found_only_as_output_columns(sql: str, found: list[str]) -> None:
    assert cut(sql, stars(sql)) == found
