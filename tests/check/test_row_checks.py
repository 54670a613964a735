"""Statements that return rows, or do not, and the functions that declare them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sqla_typedpool import RowCount
from sqla_typedpool.check.compare import compare
from tests.support.check_lab import codes, compared, declare, described, maybe, never


def hint_without_rows(sql: str, server: str) -> str:
    """Return the hint for a function that is declared to return rows."""
    info = declare(sql, list[int])
    (found,) = compare(info, replace(described(sql=sql), server=server))
    assert found.code == "TP302"
    return found.hint


@pytest.mark.parametrize(
    "sql", ["SELECT pg_notify('c', 'p')", "SELECT done FROM app_function() AS done", "CALL p(1)"]
)
def test_a_function_without_a_result_is_declared_none(sql: str) -> None:
    assert codes(compared(sql, None, maybe("pg_notify", "void"))) == []


def test_several_functions_without_a_result_are_declared_none() -> None:
    columns = [maybe("pg_sleep", "void"), maybe("pg_notify", "void")]
    assert codes(compared("SELECT pg_sleep(1), pg_notify('c', 'p')", None, *columns)) == []


def test_a_value_beside_a_function_without_a_result_is_discarded() -> None:
    columns = [maybe("pg_notify", "void"), never("id", "int8")]
    (found,) = compared("SELECT pg_notify('c', 'p'), id FROM t", None, *columns)
    assert found.code == "TP302"


def test_a_function_without_a_result_has_no_row_count() -> None:
    (found,) = compared("SELECT pg_notify('c', 'p')", RowCount, maybe("pg_notify", "void"))
    assert found.code == "TP302"
    assert found.hint == "declare the function -> None: its only result is void"


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("DELETE FROM t RETURNING id", "declare the type of the rows, or remove RETURNING"),
        (
            "WITH a AS (SELECT 1) UPDATE t SET x = 1 RETURNING id",
            "declare the type of the rows, or remove RETURNING",
        ),
        ("SELECT id FROM t", "declare the type of the rows"),
        (
            "WITH a AS (DELETE FROM t RETURNING id) SELECT id FROM a",
            "declare the type of the rows",
        ),
        ("CALL p(1, NULL)", "declare the type of the rows"),
        ("SHOW search_path", "declare the type of the rows"),
    ],
)
def test_only_a_statement_with_returning_is_advised_to_remove_it(sql: str, hint: str) -> None:
    for returns in (None, RowCount):
        (found,) = compared(sql, returns, never("id", "int8"))
        assert found.code == "TP302"
        assert found.hint == hint


@pytest.mark.parametrize(
    ("sql", "server"),
    [
        ("INSERT INTO t VALUES (1)", "PostgreSQL 15"),
        ("WITH a AS (SELECT 1) DELETE FROM t", "PostgreSQL 15"),
        ("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE", "PostgreSQL 18"),
        ("UPDATE t SET x = 1", "SQLite 3"),
        ("DELETE FROM t", "MariaDB 10"),
    ],
)
def test_a_statement_that_can_return_rows_is_advised_to(sql: str, server: str) -> None:
    hint = "add RETURNING, or declare the function -> None or -> RowCount"
    assert hint_without_rows(sql, server) == hint


@pytest.mark.parametrize(
    ("sql", "server", "hint"),
    [
        ("CALL p(1)", "PostgreSQL 15", "declare the function -> None"),
        ("DO 'begin end'", "PostgreSQL 15", "declare the function -> None"),
        ("CREATE TABLE a (b int)", "PostgreSQL 15", "declare the function -> None"),
        ("NOTIFY c", "PostgreSQL 15", "declare the function -> None"),
        (
            "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
            "PostgreSQL 16",
            "declare the function -> None or -> RowCount",
        ),
        ("UPDATE t SET x = 1", "MariaDB 10", "declare the function -> None or -> RowCount"),
        ("DELETE FROM t", "MySQL 8", "declare the function -> None or -> RowCount"),
    ],
)
def test_returning_is_not_proposed_where_there_is_none(sql: str, server: str, hint: str) -> None:
    assert hint_without_rows(sql, server) == hint
