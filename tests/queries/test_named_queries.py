"""Declared queries whose SQL has a name in a SQL file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sqla_typedpool import query_info
from sqla_typedpool.queries import sql_files
from tests.queries.declaring import User, declare, fault_of, faults_of, module_with, on_database

USERS = """\
-- Queries of users, for aiosql and sqlc.

-- name: get-user^
-- One user; :user_id is the key.
SELECT id, name FROM users
WHERE id = :user_id;

-- ------------------------------------------------- lists

-- name: ListNames :many
SELECT name FROM users
WHERE name <> 'a; -- name: b'
ORDER BY id
"""


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users.sql"
    file.write_text(USERS)
    return file


def named(file: Path, name: Any, signature: str = "(db) -> list[str]") -> Any:
    return declare(None, signature, path=file, name=name)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_query_is_taken_from_a_file_by_its_name(users: Path, newline: str, mark: str) -> None:
    users.write_bytes((mark + USERS.replace("\n", newline)).encode())
    one = named(users, "get_user", "(db, user_id: int) -> User")
    names = named(users, "ListNames")
    info = query_info(one)
    assert info.sql == "SELECT id, name FROM users\nWHERE id = :user_id;"
    assert (info.origin.sql_file, info.origin.sql_name) == (users, "get-user")
    assert query_info(names).origin.sql_name == "ListNames"
    assert query_info(named(users, "get-user", "(db, user_id: int) -> User")).sql == info.sql
    assert on_database(lambda db: one(db, 1)) == User(1, "Ada")
    assert on_database(names) == ["Ada", "Bob"]


def test_a_whole_file_has_no_name(tmp_path: Path) -> None:
    (tmp_path / "one.sql").write_text("-- the name of a user\nSELECT 1")
    info = query_info(declare(None, "(db) -> int", path=tmp_path / "one.sql"))
    assert info.origin.sql_name is None


def test_a_file_with_names_needs_one_and_a_file_without_has_none(users: Path) -> None:
    fault = fault_of(lambda: declare(None, "(db) -> list[str]", path=users))
    assert fault.startswith(f"{users} has named queries (get-user, ListNames), and query() has no")
    assert fault.endswith("next: write query(path=..., name='get-user')")
    users.write_text("SELECT 1")
    fault = fault_of(lambda: named(users, "one", "(db) -> int"))
    assert "has no query with the name one; next: write -- name: one above" in fault


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("get_usr", "did you mean get-user?"),
        ("list_names", "did you mean ListNames?"),
        ("orders", "next: use one of its names: get-user, ListNames"),
        ("", "next: use one of its names"),
    ],
)
def test_a_misspelt_name_is_an_error_with_the_similar_names(
    users: Path, name: str, hint: str
) -> None:
    fault = fault_of(lambda: named(users, name))
    assert f"has no query with the name {name}; " in fault
    assert hint in fault


def test_a_long_file_does_not_make_a_long_error(users: Path) -> None:
    users.write_text("".join(f"-- name: q{each}\nSELECT 1;\n" for each in range(100)))
    assert fault_of(lambda: named(users, "orders")).endswith("q8, q9 and 90 more")


def test_a_name_that_is_given_twice_cannot_be_used(users: Path) -> None:
    users.write_text(USERS + "-- name: get_user\nSELECT 1")
    fault = fault_of(lambda: named(users, "get_user", "(db) -> int"))
    assert "has 2 queries with the name get_user (lines 3 and 14)" in fault
    assert named(users, "ListNames") is not None


def test_an_invalid_name_line_is_named(users: Path) -> None:
    users.write_text(USERS.replace("get-user^", "get user"))
    fault = fault_of(lambda: named(users, "get_user", "(db) -> int"))
    assert "next: correct line 3, where 'get user' is not a name" in fault
    assert fault_of(lambda: named(users, "get user", "(db) -> int")).count("is not a name") == 1


def test_an_invalid_name_line_does_not_hide_a_similar_name(users: Path) -> None:
    users.write_text(f"{USERS}\n-- name: of others\nSELECT 1")
    fault = fault_of(lambda: named(users, "get_usr", "(db) -> int"))
    assert fault.endswith("did you mean get-user?")


def test_a_name_line_that_a_string_contains_is_named(users: Path) -> None:
    users.write_text("-- name: a\nSELECT 'it\\'s';\n-- name: b\nSELECT 2")
    fault = fault_of(lambda: named(users, "b", "(db) -> int"))
    assert "next: end the string or the comment that contains line 3" in fault


def test_a_name_needs_a_path() -> None:
    fault = fault_of(lambda: declare("SELECT 1", "(db) -> int", name="one"))
    assert "next: write query(path='file.sql', name='one'), or remove the name" in fault
    assert "not both" in fault_of(lambda: declare(None, "(db) -> int", name="one"))


def test_a_name_is_a_str(users: Path) -> None:
    assert "name=7 is not a name" in fault_of(lambda: named(users, 7))


def test_the_errors_of_a_named_query_have_the_lines_of_the_file(users: Path) -> None:
    users.write_text("-- name: a\nSELECT 1;\n\n-- name: b\n-- why\nSELECT :x,\n':y';\nSELECT 2")
    faults = faults_of(lambda: named(users, "b", "(db) -> int"))
    assert [each.partition(")")[0] for each in faults] == [
        ":y (line 7 of the file",
        "the SQL has :x (line 6 of the file",
        "the SQL has several statements: SELECT (line 8 of the file",
    ]
    users.write_text("-- name: a\n-- nothing\n-- name: b\nSELECT 1")
    assert fault_of(lambda: named(users, "a", "(db) -> int")).startswith("the SQL is empty")


def test_a_file_is_read_once_for_all_of_its_queries(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = Path.read_text

    def counted(path: Path, *arguments: Any, **options: Any) -> str:
        reads.append(path)
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", counted)
    sql_files._read.cache_clear()
    for _ in range(3):
        named(users, "ListNames")
        named(users, "get_user", "(db, user_id: int) -> User")
    assert reads == [users]


def test_a_file_that_has_changed_is_read_again(users: Path) -> None:
    named(users, "ListNames")
    users.write_text(USERS.replace("ORDER BY id", "ORDER BY name"))
    os.utime(users, ns=(1, 1))
    assert query_info(named(users, "ListNames")).sql.endswith("ORDER BY name")


def test_a_module_may_declare_many_queries_of_one_file(folder: Path) -> None:
    (folder / "users.sql").write_text(USERS)
    source = """
        from sqla_typedpool import Executor, query

        class Users:
            @query(path="users.sql", name="get_user", timeout=5)
            async def get(self, db: Executor, *, user_id: int) -> tuple[int, str]:
                raise NotImplementedError

            @query(path="users.sql", name="ListNames")
            async def names(self, db: Executor) -> list[str]:
                raise NotImplementedError
    """
    users = module_with(folder, source, "many_queries").Users()
    names = {query_info(users.get).name, query_info(users.names).name}
    assert names == {"many_queries.Users.get", "many_queries.Users.names"}
    assert on_database(lambda db: users.get(db, user_id=2)) == (2, "Bob")
