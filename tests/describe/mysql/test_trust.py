"""How far MySQL's NOT NULL flags are trusted, by the words of a statement (ring one)."""

from __future__ import annotations

import pytest

from sqla_typedpool.describe.mysql.packets import Definition
from sqla_typedpool.describe.mysql.trust import Doubt, Doubts, Flags

VIEWS = {
    "plain": "select `shop`.`t`.`id` AS `id` from `shop`.`t`",
    "nested": "select `shop`.`totals`.`n` AS `n` from `shop`.`totals`",
    "totals": "select count(0) AS `n`, `shop`.`t`.`id` AS `id` from `shop`.`t`",
    "hidden": "",
}
DOUBTS = Doubts(VIEWS, frozenset({"my_sum"}))

NONE, EXPRESSIONS, ALL = Doubt.NONE, Doubt.ABOUT_EXPRESSIONS, Doubt.ABOUT_ALL

JUDGED = [
    ("SELECT id FROM t", NONE),
    ("SELECT t.id FROM t JOIN u ON u.id = t.id", NONE),
    ("SELECT id FROM plain", NONE),
    ("SELECT 'left' FROM t", NONE),
    ("SELECT id, count(*) FROM t GROUP BY id", NONE),
    ("SELECT sum FROM t", NONE),
    ("SELECT u.id FROM t LEFT JOIN u ON u.id = t.id", EXPRESSIONS),
    ("SELECT u.id FROM t RIGHT JOIN u ON u.id = t.id", EXPRESSIONS),
    ("SELECT json_depth(doc) FROM t", EXPRESSIONS),
    ("SELECT id, max(id) FROM t", ALL),
    ("SELECT id, MAX (id) FROM t", ALL),
    ("SELECT my_sum(id), id FROM t", ALL),
    ("SELECT id, count(*) FROM t GROUP BY id WITH ROLLUP", ALL),
    ("SELECT id > ALL (SELECT id FROM u) FROM t", ALL),
    ("SELECT plain.id FROM t LEFT JOIN plain ON plain.id = t.id", ALL),
    ("SELECT s.id FROM t LEFT JOIN (SELECT id FROM u) s ON s.id = t.id", ALL),
    ("SELECT id, (SELECT max(u.id) FROM u) FROM t GROUP BY id", ALL),
    ("SELECT id FROM totals", ALL),
    ("SELECT n FROM nested", ALL),
    ("SELECT n FROM `shop`.`NESTED`", ALL),
    ("SELECT id FROM hidden", ALL),
]


@pytest.mark.parametrize(("sql", "doubt"), JUDGED, ids=[sql for sql, _ in JUDGED])
def test_a_statement_is_doubted_as_far_as_it_must_be(sql: str, doubt: Doubt) -> None:
    assert DOUBTS.flags(sql, 1).doubt is doubt


def test_a_count_is_trusted_whatever_stands_beside_it() -> None:
    flags = DOUBTS.flags("SELECT max(id), count(*), COUNT(id) AS n, count(*) + id FROM t", 4)
    assert flags == Flags(ALL, frozenset({1, 2}))


def column(name: str, *, not_null: bool) -> Definition:
    table = "t" if name else ""
    return Definition("shop" if name else "", table, table, name, name, 63, 3, int(not_null))


@pytest.mark.parametrize("doubt", Doubt)
def test_a_column_that_the_server_calls_nullable_is_nullable(doubt: Doubt) -> None:
    judged = Flags(doubt, frozenset()).judge(0, column("id", not_null=False))
    assert judged == (True, "t.id may be NULL, says the server")


@pytest.mark.parametrize(
    ("doubt", "name", "nullable"),
    [
        (NONE, "id", False),
        (NONE, "", False),
        (EXPRESSIONS, "id", False),
        (EXPRESSIONS, "", True),
        (ALL, "id", True),
        (ALL, "", True),
    ],
)
def test_a_not_null_flag_is_taken_as_far_as_it_is_trusted(
    doubt: Doubt, name: str, nullable: bool
) -> None:
    assert Flags(doubt, frozenset()).judge(0, column(name, not_null=True))[0] is nullable
    assert Flags(doubt, frozenset({0})).judge(0, column(name, not_null=True))[0] is False
