"""What the beginning of a SQL text tells: no database."""

from __future__ import annotations

import pytest

from sqla_typedpool.statement import is_one_statement, is_read, is_safe_without_transaction


@pytest.mark.parametrize(
    ("sql", "is_safe", "reads"),
    [
        ("SELECT 1", True, True),
        ("select\n1", True, True),
        ("TABLE t", True, True),
        ("VALUES (1)", True, True),
        (" ( (SELECT 1) UNION (SELECT 2) )", True, True),
        ("SELECT ';', 'DELETE'", True, True),
        ("-- a comment\nSELECT 1", True, True),
        ("-- CALL f()\r\nSELECT 1", True, True),
        ("/* a /comment* */ /**/ /***/ SELECT 1", True, True),
        ("WITH a AS (INSERT INTO t VALUES (1) RETURNING id) SELECT * FROM a", True, False),
        ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", True, False),
        ("INSERT INTO t VALUES (1)", True, False),
        ("UPDATE t SET n = 1", True, False),
        ("DELETE FROM t", True, False),
        ("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE", True, False),
        ("-- the server ends this comment here\rDECLARE c CURSOR FOR\nSELECT 1", False, False),
        ("/* nested /* comment */ SELECT 1 */ CALL f()", False, False),
        ("/* SELECT 1", False, False),
        ("-- SELECT 1", False, False),
        ("EXPLAIN ANALYZE DELETE FROM t", False, False),
        ("CALL f()", False, False),
        ("SELECTED", False, False),
        ("BEGIN", False, False),
        ("SET search_path = x", False, False),
        ("CREATE TABLE t AS SELECT 1", False, False),
        ("VACUUM", False, False),
        ("; SELECT 1", False, False),
        ("", False, False),
    ],
)
def test_what_runs_without_a_transaction_block_and_what_reads(
    sql: str, is_safe: bool, reads: bool
) -> None:
    assert (is_safe_without_transaction(sql), is_read(sql)) == (is_safe, reads)


@pytest.mark.parametrize(
    ("sql", "is_one"),
    [
        ("SELECT 1", True),
        ("SELECT 1 ; \r\n;\t", True),
        ("SELECT 1; SELECT 2", False),
        ("SELECT ';'", False),
        ("SELECT $$;$$", False),
        (r"SELECT E'\';'", False),
        ("SELECT 1; -- the end", False),
    ],
)
def test_a_text_with_a_semicolon_inside_may_be_several_statements(sql: str, is_one: bool) -> None:
    """They are not told from semicolons in literals and comments."""
    assert is_one_statement(sql) is is_one
