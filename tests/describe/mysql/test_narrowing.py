"""Columns that a WHERE proves to be not NULL, and scalar subqueries that are a COUNT."""

from __future__ import annotations

import pytest

from sqla_typedpool.describe.mysql.narrowing import NotNullColumn, not_null_columns
from sqla_typedpool.describe.mysql.packets import ColumnDefinition
from sqla_typedpool.describe.mysql.trust import Schema
from sqla_typedpool.describe.nullability import never

VIEWS = {"totals": "select count(0) AS `n` from `shop`.`t`"}
SCHEMA = Schema(VIEWS, frozenset())
NICK = "nick"
T_NICK = "t.nick"

NARROWED = [
    ("nick IS NOT NULL", [NICK]),
    ("t.nick IS NOT NULL", [T_NICK]),
    ("`t`.`Nick` IS NOT NULL", [T_NICK]),
    ("nick = ?", [NICK]),
    ("nick <> 'x' AND t.x >= 1", [NICK, "t.x"]),
    ("t.nick = other.name", [T_NICK, "other.name"]),
    ("nick LIKE 'a%'", [NICK]),
    ("nick IN (1, 2)", [NICK]),
    ("nick BETWEEN 1 AND 2 AND x = 1", [NICK, "x"]),
    ("nick IS NOT NULL GROUP BY nick ORDER BY nick", [NICK]),
    ("(a = 1 OR b = 2) AND nick = 1 LIMIT 1", [NICK]),
    ("id IN (SELECT id FROM u WHERE x = 1) AND nick = 1", [NICK]),
]
NOT_NARROWED = [
    "nick IS NULL",
    "nick <=> 'x'",
    "nick = 1 OR id = 1",
    "nick = 1 || id = 1",
    "nick = 1 XOR id = 1",
    "NOT (nick IS NOT NULL)",
    "(nick IS NOT NULL) = 0",
    "nick IS NOT NULL = 0",
    "nick IN (1, 2) = (0)",
    "nick NOT IN (SELECT id FROM u)",
    "nick IN (SELECT id FROM u)",
    "nick = 1 IS NULL",
    "CASE WHEN x THEN 1 AND nick IS NOT NULL AND y ELSE 1 END",
    "coalesce(nick, 1) = 1",
    "shop.t.nick = 1",
]


def names(sql: str) -> set[str]:
    return {f"{each.table}.{each.name}".strip(".") for each in not_null_columns(sql)}


@pytest.mark.parametrize(("where", "expected"), NARROWED)
def test_a_condition_that_null_does_not_meet_excludes_null(where: str, expected: list[str]) -> None:
    assert names(f"SELECT nick FROM t WHERE {where}") == set(expected)


@pytest.mark.parametrize("where", NOT_NARROWED)
def test_a_condition_that_null_may_meet_excludes_nothing(where: str) -> None:
    assert names(f"SELECT nick FROM t WHERE {where}") == set()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nick FROM t",
        "SELECT nick FROM (SELECT a AS nick FROM t) d WHERE nick = 1",
        "SELECT nick FROM t WHERE nick = 1 UNION SELECT nick FROM t",
        "SELECT nick FROM t JOIN u USING (nick) WHERE nick = 1",
        "WITH d AS (SELECT 1 nick) SELECT nick FROM d WHERE nick = 1",
        "UPDATE t SET nick = NULL WHERE nick = 1",
    ],
)
def test_only_the_where_of_one_select_from_tables_is_read(sql: str) -> None:
    assert names(sql) == set()


def column(name: str, table: str = "t") -> ColumnDefinition:
    schema = "shop" if name else ""
    return ColumnDefinition(schema, table, table, name, name, 63, 3, 0)


def nullability(sql: str, index: int, name: str, table: str = "t") -> object:
    return SCHEMA.flag_trust(sql, 3).nullability(index, column(name, table))


def test_a_column_is_found_by_the_name_of_its_table() -> None:
    sql = "SELECT a.nick, b.nick, 1 FROM t a JOIN t b WHERE a.nick = 1"
    assert nullability(sql, 0, "nick", "a") == never("WHERE excludes NULL in a.nick")
    assert nullability(sql, 1, "nick", "b") != never("WHERE excludes NULL in b.nick")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nick, max(id), 1 FROM t WHERE nick = 1",
        "SELECT nick, count(*), 1 FROM t WHERE nick = 1 GROUP BY nick WITH ROLLUP",
        "SELECT nick, n, 1 FROM t, totals WHERE nick = 1",
        "SELECT mine(nick), nick, 1 FROM t WHERE nick = 1",
    ],
)
def test_where_excludes_nothing_where_rows_may_be_made_without_it(sql: str) -> None:
    assert "may be NULL" in str(nullability(sql, 0, "nick"))


COUNT = "(SELECT count(*) FROM u WHERE u.t = t.id)"
COUNTED = never("count(...) of a subquery is never NULL")


@pytest.mark.parametrize(
    "item", [COUNT, f"{COUNT} AS n", f"{COUNT} n", "(SELECT count(DISTINCT u.x) FROM u)"]
)
def test_a_subquery_that_is_a_count_is_never_null(item: str) -> None:
    assert nullability(f"SELECT id, {item}, 1 FROM t", 1, "", "") == COUNTED


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, (SELECT count(*) FROM u HAVING count(*) > 1), 1 FROM t",
        "SELECT id, (SELECT count(*) FROM u GROUP BY u.t LIMIT 1), 1 FROM t",
        "SELECT id, (SELECT count(*) FROM u LIMIT 0), 1 FROM t",
        "SELECT id, (SELECT count(t.id) FROM u), 1 FROM t",
        "SELECT id, (SELECT count(*) FROM u) + x, 1 FROM t",
        "SELECT id, (SELECT max(u.id) FROM u), 1 FROM t",
        "SELECT id, (SELECT count(*) FROM u UNION SELECT 1), 1 FROM t",
        f"SELECT id, {COUNT}, 1 FROM t UNION SELECT 1, NULL, 1",
        f"SELECT id, {COUNT} n, 1 FROM t GROUP BY n WITH ROLLUP",
        f"SELECT id, d.n, 1 FROM t LEFT JOIN (SELECT id, {COUNT} n FROM t) d USING (id)",
    ],
)
def test_another_subquery_may_be_null(sql: str) -> None:
    assert nullability(sql, 1, "", "") != COUNTED


def test_columns_are_named_as_in_the_condition() -> None:
    assert not_null_columns("SELECT 1 FROM t WHERE t.A = 1") == {NotNullColumn("t", "a")}
