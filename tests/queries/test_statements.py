"""Queries declared with Core statements and with SQL files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, column, delete, insert, select, text, update
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateTable

from sqla_typedpool import query_info
from tests.queries.declaring import User, declare, fault_of, module_with, on_database, users

# ------------------------------------------------------------------ Core statements


def test_core_statements_get_their_parameters_by_name() -> None:
    by_id = select(users).where(users.c.id == bindparam("user_id"), users.c.name != "x")
    within = select(users.c.id).where(users.c.id.in_(bindparam("ids", expanding=True)))
    one = declare(by_id, "(db, user_id: int) -> User")
    some = declare(within, "(db, ids: list[int]) -> list[int]")
    add = declare(insert(users), "(db, id: int, name: str) -> RowCount")
    change = declare(
        update(users).where(users.c.id == bindparam("user_id")),
        "(db, user_id: int, name: str) -> RowCount",
    )
    gone = declare(delete(users).returning(users.c.id), "(db) -> list[int]")

    async def work(db: AsyncEngine) -> None:
        assert await one(db, 1) == User(1, "Ada")
        assert await some(db, [1, 2, 3]) == [1, 2]
        assert await add(db, 3, "Eve") == 1
        assert await change(db, 3, "Eva") == 1
        assert await one(db, 3) == User(3, "Eva")
        assert await gone(db) == [1, 2, 3]

    on_database(work)
    info = query_info(one)
    assert (info.is_text, info.statement) == (False, by_id)
    assert info.sql.startswith("SELECT users.id, users.name")


@pytest.mark.parametrize(
    ("statement", "signature", "reason"),
    [
        (select(users.c.id), "(db, a: int) -> int", "does not use the parameter a"),
        (select(users).where(users.c.id == bindparam("a")), "(db) -> User", "the SQL has :a, but"),
        (insert(users), "(db, id: int, nam: str) -> RowCount", "does not use the parameter nam"),
        (delete(users), "(db) -> User", "returns no rows; next: add .returning(...)"),
        (insert(users), "(db, id: int) -> list[User]", "returns no rows"),
        (CreateTable(users), "(db) -> None", "neither parameters nor rows"),
        (
            update(users).where(users.c.name == bindparam("name")),
            "(db, name: str) -> None",
            "bindparam() name 'name' is reserved",
        ),
    ],
)
def test_a_core_statement_is_compared_with_the_signature(
    statement: Any, signature: str, reason: str
) -> None:
    assert reason in fault_of(lambda: declare(statement, signature))


@pytest.mark.parametrize(
    "statement",
    [
        pg.insert(users).on_conflict_do_nothing(),
        mysql.insert(users).on_duplicate_key_update(name="x"),
    ],
)
def test_a_statement_that_only_one_database_supports_can_be_declared(statement: Any) -> None:
    assert not query_info(declare(statement, "(db, id: int) -> None")).is_text


def test_a_type_that_only_one_database_has_can_be_declared() -> None:
    statement = select(users.c.id, column("tags", mysql.SET("a", "b")))
    assert query_info(declare(statement, "(db) -> list[tuple[int, set]]")).statement is statement


def test_text_with_columns_can_be_declared() -> None:
    statement = text("SELECT id, name FROM users WHERE id = :a").columns(users.c.id, users.c.name)
    one = declare(statement, "(db, a: int) -> User")
    assert on_database(lambda db: one(db, 1)) == User(1, "Ada")


# ------------------------------------------------------------------------- SQL files


FROM_FILE = """
    from sqla_typedpool import Executor, query

    @query(path="sql/one.sql")
    async def one(db: Executor, *, a: int) -> int:
        raise NotImplementedError
"""


def test_a_path_is_relative_to_the_declaring_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sql").mkdir()
    file = folder / "sql" / "one.sql"
    file.write_bytes("\ufeff-- größer\r\nSELECT :a + 1\r\n".encode())
    monkeypatch.chdir("/")
    module = module_with(folder, FROM_FILE, "from_file")
    info = query_info(module.one)
    assert info.sql == "-- größer\nSELECT :a + 1\n"
    assert info.origin.sql_file == file
    assert (info.origin.file, info.origin.line) == (folder / "from_file.py", 4)
    assert on_database(lambda db: module.one(db, a=1)) == 2


def test_the_error_of_an_unreadable_file_names_it(folder: Path) -> None:
    fault = fault_of(lambda: module_with(folder, FROM_FILE, "without_file"))
    assert str(folder / "sql" / "one.sql") in fault
    assert "No such file" in fault
    (folder / "sql").mkdir()
    (folder / "sql" / "one.sql").write_bytes("SELECT 'größer'".encode("latin-1"))
    fault = fault_of(lambda: module_with(folder, FROM_FILE, "with_latin"))
    assert "is not UTF-8 (byte 10 of the file)" in fault
    (folder / "sql" / "one.sql").unlink()
    (folder / "sql" / "one.sql").mkdir()
    assert "directory" in fault_of(lambda: module_with(folder, FROM_FILE, "with_folder"))
    for wrong in ("a\0b", 7):
        assert "is not a path" in fault_of(lambda: declare(None, "(db) -> int", path=wrong))  # noqa: B023
