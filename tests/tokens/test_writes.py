"""Finding the columns that a statement writes, and their values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqla_typedpool.tokens import insert_targets, writes_rows, written_values

MERGE = (
    "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = :a, b = DEFAULT "
    "WHEN NOT MATCHED THEN INSERT (id, a) VALUES (s.id, :n)"
)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            'INSERT INTO s.t (id, "Na""me") VALUES (:id, NULL), (f(1, 2), DEFAULT) RETURNING id',
            ["+id :id", '+Na"me NULL', "+id f(1, 2)", '+Na"me DEFAULT'],
        ),
        ("INSERT INTO t VALUES (:id, 'a')", ["+ :id", "+ 'a'"]),
        ("INSERT INTO t DEFAULT VALUES", []),
        ("INSERT INTO t AS u (a, B) SELECT x, :y FROM s WHERE a = :z", ["+a x", "+b :y"]),
        ("INSERT INTO t (a) (SELECT :a)", ["+a :a"]),
        ("INSERT INTO t (a) WITH q AS (SELECT 1) SELECT DISTINCT :a FROM q", ["+a :a"]),
        ("INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES ((SELECT 1))", ["+a (SELECT 1)"]),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = :a", ["+a 1", "-a :a"]),
        (
            "INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)",
            ["+a 1", "-a VALUES(a)"],
        ),
        ("REPLACE INTO t SET a = :a, b = DEFAULT", ["+a :a", "+b DEFAULT"]),
        ("INSERT OR REPLACE INTO t(a) VALUES (?)", ["+a ?"]),
        (
            "UPDATE t AS u SET u.a = :a, b = CASE WHEN x IS DISTINCT FROM 1 THEN 2 END FROM o",
            ["-a :a", "-b CASE WHEN x IS DISTINCT FROM 1 THEN 2 END"],
        ),
        ("UPDATE t SET (a, b) = ROW(:a, f(1, 2)), c = 3", ["-a :a", "-b f(1, 2)", "-c 3"]),
        ("UPDATE t SET (a, b) = (:a, NULL) WHERE a = 1", ["-a :a", "-b NULL"]),
        ("UPDATE t SET (a, b) = (SELECT x, 2 FROM s)", ["-a x", "-b 2"]),
        ("WITH n AS (INSERT INTO a (x) VALUES (1)) UPDATE b SET y = 2", ["+x 1", "-y 2"]),
        ("UPDATE t SET `a b` = %s, c = a = b", ["-a b %s", "-c a = b"]),
        (MERGE, ["-a :a", "-b DEFAULT", "+id s.id", "+a :n"]),
        ("SELECT a INTO b FROM c", []),
        ("DELETE FROM t WHERE a = 1", []),
    ],
)
def test_the_values_of_columns(sql: str, expected: list[str]) -> None:
    found = [
        f"{'+' if each.part.is_insert else '-'}{each.column} {sql[each.start : each.end]}"
        for each in written_values(sql)
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("INSERT INTO s.t (a, b) VALUES (1, 2)", ["t (a, b)"]),
        ('INSERT INTO s."T" VALUES (1, 2)', ['T "T"']),
        ("INSERT INTO t DEFAULT VALUES", ["t t"]),
        ("INSERT INTO t (SELECT 1)", ["t t"]),
        (
            "WITH a AS (INSERT INTO x (b) SELECT 1) INSERT INTO y AS z (c) TABLE a",
            ["x (b)", "y (c)"],
        ),
        (MERGE, [" (id, a)"]),
        ("MERGE INTO t USING s ON a WHEN NOT MATCHED THEN INSERT VALUES (1)", [" INSERT"]),
        ("SELECT a INTO b FROM c", []),
    ],
)
def test_the_targets_of_inserts(sql: str, expected: list[str]) -> None:
    found = [f"{each.table} {sql[each.start : each.end]}" for each in insert_targets(sql)]
    assert found == expected


def test_a_statement_that_writes_is_recognised() -> None:
    assert writes_rows("WITH a AS (UPDATE t SET x = 1 RETURNING id) SELECT * FROM a")
    assert writes_rows(MERGE)
    assert not writes_rows("SELECT 'INSERT' AS \"update\" -- UPDATE")


WORDS = (
    *("INSERT", "INTO", "UPDATE", "SET", "VALUES", "MERGE", "WHEN", "NOT", "MATCHED", "THEN"),
    *("SELECT", "WITH", "ON", "DEFAULT", "t", '"t', "a", ":a", "(", ")", ",", "=", ".", "ROW", ";"),
)


@given(st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join))
def test_no_text_raises_an_error(sql: str) -> None:
    for each in written_values(sql):
        assert sql[each.start : each.end]
    for target in insert_targets(sql):
        assert sql[target.start : target.end]
