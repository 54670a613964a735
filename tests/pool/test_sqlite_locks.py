"""A connection of SQLite that is closed by force releases its locks at once."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from sqla_typedpool.pool.drivers.sqlite import Aiosqlite
from tests.support.engines import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("sql", ["INSERT INTO t VALUES (1), (2)", "DELETE FROM t WHERE n < 9"])
def test_unread_rows_of_a_write_leave_no_lock(tmp_path: Path, sql: str) -> None:
    driver = pytest.importorskip("aiosqlite")
    file = tmp_path / "file.db"
    other = sqlite3.connect(file, timeout=0)
    other.execute("CREATE TABLE t (n int)")
    other.execute("INSERT INTO t VALUES (7), (8)")
    other.commit()

    async def main() -> None:
        connection = await driver.connect(file)
        # the traceback of a cancellation refers to the cursor in the same way
        cursor = await connection.execute(f"{sql} RETURNING n")
        end = Aiosqlite().force_close(connection)
        assert end is not None
        await end
        other.execute("INSERT INTO t VALUES (3)")
        assert cursor is not None

    run(main())
    other.rollback()
    assert other.execute("SELECT n FROM t").fetchall() == [(7,), (8,)]
    other.close()
