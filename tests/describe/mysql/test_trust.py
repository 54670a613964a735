"""Which of MySQL's NOT NULL flags are trusted, by the shape of a statement."""

from __future__ import annotations

import pytest

from sqla_typedpool.describe.mysql.packets import ColumnDefinition
from sqla_typedpool.describe.mysql.trust import FlagTrust, Schema, Trust
from sqla_typedpool.describe.nullability import maybe

VIEWS = {
    "plain": "select `shop`.`t`.`id` AS `id` from `shop`.`t`",
    "nested": "select `shop`.`totals`.`n` AS `n` from `shop`.`totals`",
    "totals": "select count(0) AS `n`, `shop`.`t`.`id` AS `id` from `shop`.`t`",
    "hidden": "",
}
SCHEMA = Schema(VIEWS, frozenset({"my_sum", "upper", "json_sum"}))

ALL, COLUMNS, COUNTS, NOTHING = Trust.ALL, Trust.COLUMNS, Trust.COUNTS, Trust.NOTHING

STATEMENTS = [
    ("SELECT id FROM t", ALL),
    ("SELECT t.id FROM t JOIN u ON u.id = t.id", ALL),
    ("SELECT id FROM plain", ALL),
    ("SELECT 'left' FROM t", ALL),
    ("SELECT id, count(*) FROM t GROUP BY id", ALL),
    ("SELECT sum FROM t", ALL),
    ("SELECT lower(concat(id, 'x')), (id + 1), id IN (1, 2) FROM t", ALL),
    ("SELECT CAST(id AS decimal(10, 2)) FROM t WHERE (id > 1) AND (id < 9)", ALL),
    ("SELECT id FROM t WHERE EXISTS (SELECT id, x FROM u)", ALL),
    ("SELECT id FROM t UNION ALL (SELECT id FROM u)", ALL),
    ("WITH c (n) AS (SELECT id FROM t) SELECT n FROM c", ALL),
    ("INSERT INTO `shop`.`t` (id, x) VALUES (1, 2) RETURNING id", ALL),
    ("SELECT u.id FROM t LEFT JOIN u ON u.id = t.id", COLUMNS),
    ("SELECT u.id FROM t RIGHT JOIN u ON u.id = t.id", COLUMNS),
    ("SELECT json_depth(doc) FROM t", COLUMNS),
    ("SELECT json_quote(id) FROM t", COLUMNS),
    ("SELECT (id, 1) = (x, y) FROM t", COLUMNS),
    ("SELECT id, json_arrayagg(id), json_length(doc) FROM t GROUP BY id", COLUMNS),
    ("SELECT of_later_version(id), id FROM t", COUNTS),
    ("SELECT of_later_version(id), id FROM t GROUP BY id", COUNTS),
    ("SELECT json_sum(id), id FROM t", COUNTS),
    ("SELECT id, max(id) FROM t", COUNTS),
    ("SELECT id, MAX (id) FROM t", COUNTS),
    ("SELECT my_sum(id), id FROM t", COUNTS),
    ("SELECT `my_sum`(id), id FROM t", COUNTS),
    ("SELECT upper(id), id FROM t", COUNTS),
    ("SELECT shop.lower(id), id FROM t", COUNTS),
    ("SELECT id, json_arrayagg(id) FROM t", COUNTS),
    ("SELECT id, count(*) FROM t GROUP BY id WITH ROLLUP", COUNTS),
    ("SELECT id, count(*) FROM t GROUP BY ROLLUP (id)", COUNTS),
    ("SELECT id > ALL (SELECT id FROM u) FROM t", COUNTS),
    ("SELECT id > ANY (SELECT id FROM u) FROM t", COUNTS),
    ("SELECT (id, 1) = (SELECT 1, NULL) FROM t", COUNTS),
    ("SELECT plain.id FROM t LEFT JOIN plain ON plain.id = t.id", COUNTS),
    ("SELECT s.id FROM t LEFT JOIN (SELECT id FROM u) s ON s.id = t.id", COUNTS),
    ("SELECT id, (SELECT max(u.id) FROM u) FROM t GROUP BY id", ALL),
    ("SELECT id, (SELECT count(*) FROM u WHERE u.t = t.id) AS n FROM t", ALL),
    ("SELECT id, coalesce((SELECT sum(DISTINCT u.x + 1) FROM u), 0) FROM t", ALL),
    ("SELECT id, (SELECT max(v.x) FROM u AS v JOIN w ON w.id = v.id) FROM t", ALL),
    ("SELECT id, (SELECT max(w.x) FROM shop.u v LEFT JOIN shop.w USING (id)) FROM t", ALL),
    ("SELECT id, (SELECT count(*) FROM totals) FROM t", ALL),
    ("SELECT id, (SELECT max(t.id) FROM u LIMIT 1) FROM t", COUNTS),
    ("SELECT id, (SELECT max(x) FROM u) FROM t", COUNTS),
    ("SELECT id, (SELECT max(u.id) FROM u v LIMIT 1) FROM t", COUNTS),
    ("SELECT id, (SELECT max(u.id) FROM (SELECT 1 id) v LIMIT 1) FROM t", COUNTS),
    ("SELECT id, (SELECT max(u.id + t.id) FROM u) FROM t", COUNTS),
    ("SELECT id, (SELECT my_sum(u.id) FROM u) FROM t", COUNTS),
    ("SELECT id, max(id), (SELECT count(*) FROM u) FROM t", COUNTS),
    ("SELECT id, (SELECT count(*) FROM u) > ALL (SELECT max(u.id) FROM u) FROM t", COUNTS),
    ("SELECT id, '\\'', (SELECT count(*) FROM u) FROM t", NOTHING),
    ("SELECT id FROM totals", COUNTS),
    ("SELECT n FROM nested", COUNTS),
    ("SELECT n FROM `shop`.`NESTED`", COUNTS),
    ("SELECT id FROM hidden", COUNTS),
    ("SHOW TABLES", COUNTS),
    ("SELECT id /*!, max(id) */ FROM t", NOTHING),
    ("SELECT '\\'', max(id), '\\'', id FROM t", NOTHING),
    ("SELECT 5--1, max(id), id FROM t", NOTHING),
    ("SELECT id # '\n, max(id) -- '\nFROM t", NOTHING),
    ("SELECT id =# '\n1, max(id) -- '\nFROM t", NOTHING),
    ('SELECT "`", max(id), "`", id FROM t', NOTHING),
    ('SELECT `a"`, max(id), `"b`, id FROM t', NOTHING),
    ("SELECT /* /* */ max(id), id FROM t", NOTHING),
    ("SELECT id, '\"', '`', '--', '/*!', '/* /*', `--`, \"it's\" /* ' */ FROM t -- '", ALL),
]


@pytest.mark.parametrize(("sql", "trust"), STATEMENTS, ids=[sql for sql, _ in STATEMENTS])
def test_flags_are_trusted_as_far_as_the_shape_of_the_statement_is_known(
    sql: str, trust: Trust
) -> None:
    assert SCHEMA.flag_trust(sql, 1).trust is trust


def test_a_count_is_trusted_beside_any_other_column() -> None:
    trust = SCHEMA.flag_trust("SELECT max(id), count(*), COUNT(id) AS n, count(*) + id FROM t", 4)
    assert trust == FlagTrust(COUNTS, frozenset({1, 2}))


def column(name: str, *, not_null: bool) -> ColumnDefinition:
    table = "t" if name else ""
    return ColumnDefinition("shop" if name else "", table, table, name, name, 63, 3, int(not_null))


@pytest.mark.parametrize("trust", Trust)
def test_a_column_without_the_flag_is_nullable(trust: Trust) -> None:
    found = FlagTrust(trust, frozenset()).nullability(0, column("id", not_null=False))
    assert found == maybe("the server reports that t.id may be NULL")


@pytest.mark.parametrize(
    ("trust", "name", "nullable"),
    [
        (ALL, "id", False),
        (ALL, "", False),
        (COLUMNS, "id", False),
        (COLUMNS, "", True),
        (COUNTS, "id", True),
        (COUNTS, "", True),
        (NOTHING, "id", True),
    ],
)
def test_a_column_with_the_flag_is_not_null_if_the_flag_is_trusted(
    trust: Trust, name: str, nullable: bool
) -> None:
    flagged = column(name, not_null=True)
    assert FlagTrust(trust, frozenset()).nullability(0, flagged).nullable is nullable
    assert FlagTrust(trust, frozenset({0})).nullability(0, flagged).nullable is False
