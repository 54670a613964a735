"""SQL that begins or ends a transaction is noted, and is not cached as a prepared statement."""

from __future__ import annotations

from typing import Any

import pytest

from sqla_typedpool._sqlalchemy.asyncpg_adapter import WatchedStatements


class Record:
    """Counts what a pool's entry would note."""

    changes = 0

    def note_change(self) -> None:
        self.changes += 1


def watched(size: int = 100) -> tuple[WatchedStatements, Record]:
    record: Any = Record()
    return WatchedStatements(size, record), record


@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT",
        "commit;",
        "\n  Commit And Chain",
        "COMMIT PREPARED 'a'",
        "END",
        "ABORT",
        "ROLLBACK",
        "ROLLBACK AND CHAIN",
        "ROLLBACK PREPARED 'a'",
        "PREPARE TRANSACTION 'a'",
        "prepare  transaction 'a'",
        "BEGIN",
        "START TRANSACTION",
        ";COMMIT",
        "/* a * b / c */ -- d\n/**/COMMIT--e",
        "COMMIT/* ROLLBACK TO a */",
    ],
)
def test_it_is_noted_at_each_use_if_it_begins_or_ends_a_transaction(sql: str) -> None:
    cache, record = watched()
    for uses in (1, 2):
        assert sql not in cache
        cache[sql] = "prepared"
        assert record.changes == uses
    assert len(cache) == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 -- COMMIT",
        "SELECT 'COMMIT'",
        "SELECT commit FROM log",
        "PREPARE transactions AS SELECT 1",
        "ROLLBACK TO SAVEPOINT sa_savepoint_1",
        "rollback to sa_savepoint_1",
        "ROLLBACK WORK TO SAVEPOINT a",
        "ROLLBACK TRANSACTION TO a",
        "SAVEPOINT a",
        "RELEASE SAVEPOINT a",
        "SET TRANSACTION READ ONLY",
        "endless",
        "",
    ],
)
def test_other_sql_is_cached_and_not_noted(sql: str) -> None:
    cache, record = watched()
    cache[sql] = "prepared"
    assert cache[sql] == "prepared"
    assert record.changes == 0


def test_a_cache_of_size_0_notes_and_keeps_nothing() -> None:
    cache, record = watched(0)
    cache["SELECT 1"] = "prepared"
    cache["COMMIT"] = "prepared"
    assert (len(cache), record.changes) == (0, 1)


def test_a_long_comment_is_searched_in_linear_time() -> None:
    cache, record = watched()
    cache["/*" + "*/ /*" * 50_000 + " -" * 50_000] = "prepared"
    cache["/*" * 50_000] = "prepared"
    assert record.changes == 0
