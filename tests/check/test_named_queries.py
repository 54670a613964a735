"""Findings about named queries in SQL files, and where they point."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.locations import location_of_bind, location_of_column
from sqla_typedpool.check.named_queries import unused_names
from sqla_typedpool.check.suppressions import Suppressions
from sqla_typedpool.check.undeclared_sql import undeclared_sql
from sqla_typedpool.errors import Refused
from tests.support.check_commands import Answer, command
from tests.support.check_lab import codes, described, in_file, maybe, never, refused

SQL = """\
-- name: first
SELECT a, wanted, :x FROM t;

-- name: second^
-- why :x
SELECT a,
       wanted, -- a comment
       :x
FROM t;
-- name: third :many
SELECT a FROM t
"""
TAIL = "async def declared(db: Executor{}) -> list[{}]:\n    raise NotImplementedError\n"


def declared(folder: Path, name: str, row: str = "tuple[int, ...]", binds: str = ", x: int") -> Any:
    source = "from sqla_typedpool import Executor, query\n"
    source += f'@query(path="t.sql", name="{name}")\n{TAIL.format(binds, row)}'
    return in_file(folder / f"{name}.py", source)


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    file = tmp_path / "t.sql"
    file.write_text(SQL)
    return file


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_columns_and_parameters_are_located_in_their_own_query(
    sql: Path, newline: str, mark: str
) -> None:
    sql.write_bytes((mark + SQL.replace("\n", newline)).encode())
    for name, line, column, bind in (("first", 2, 11, 2), ("second", 7, 8, 8)):
        info = declared(sql.parent, name)
        location = location_of_column(info, 1, 3)
        assert (location.file, location.line, location.column, location.length) == (
            *(sql, line, column),
            6,
        )
        assert location_of_bind(info, "x").line == bind


def test_the_position_of_a_refused_statement_is_in_the_file(sql: Path) -> None:
    info = declared(sql.parent, "second")
    sent = "SELECT a,\n       wanted, -- a comment\n       $1\nFROM t;"
    found = refused(info, Refused("no column wanted", position=sent.index("wanted")))
    assert found.location is not None
    assert (found.location.file, found.location.line, found.location.column) == (sql, 7, 8)
    found = refused(info, Refused("no relation t", position=sent.index("t;")))
    assert found.location is not None
    assert (found.location.line, found.location.column) == (9, 6)


def test_a_query_that_has_gone_is_located_at_the_decorator(sql: Path) -> None:
    info = declared(sql.parent, "second")
    for text in (SQL.replace("second^", "other"), SQL.replace("wanted", "changed"), ""):
        sql.write_text(text)
        assert location_of_column(info, 1, 3).file == info.origin.file


# ------------------------------------------------------------------- suffixes and names


@pytest.mark.parametrize(
    ("suffix", "returns", "is_contradicted"),
    [
        *(("", each, False) for each in ("int", "list[int]", "RowCount", "AsyncIterator[int]")),
        *((" :one", "int", False), ("^", "int | None", False), ("$", "int", False)),
        *((" :one", "list[int]", True), ("^", "AsyncIterator[int]", True)),
        *((" :many", "list[int]", False), (" :many", "AsyncIterator[int]", False)),
        (" :many", "int", True),
        *(("!", "RowCount", False), (" :exec", "None", False), (" :execrows", "int", True)),
        *((each, "list[int]", False) for each in ("<!", "*!", "#", " :batchmany", " :copyfrom")),
    ],
)
def test_a_suffix_that_contradicts_the_function_is_a_note(
    tmp_path: Path, suffix: str, returns: str, is_contradicted: bool
) -> None:
    (tmp_path / "t.sql").write_text(
        f"-- name: other\nSELECT 1;\n  -- name: rows{suffix}\nSELECT a\n"
    )
    kind = "def" if "Iterator" in returns else "async def"
    source = (
        "from collections.abc import AsyncIterator\n"
        "from sqla_typedpool import Executor, RowCount, query\n"
        '@query(path="t.sql", name="rows")\n'
        f"{kind} declared(db: Executor) -> {returns}:\n    raise NotImplementedError\n"
    )
    info = in_file(tmp_path / "it.py", source)
    found = [each for each in compare(info, described(never("a", "int8"))) if each.code == "TP005"]
    assert bool(found) == is_contradicted
    for each in found:
        assert each.location is not None
        assert (each.location.file.name, each.location.line, each.location.column) == (
            "t.sql",
            3,
            3,
        )
        assert each.location.length == len(f"-- name: rows{suffix}")


def test_names_that_no_query_uses_are_notes(sql: Path) -> None:
    sql.write_text(SQL + "-- name: bad name\nSELECT 1\n-- name: fourth\nSELECT 1\n")
    used = declared(sql.parent, "second")
    found = list(unused_names([used], [used]))
    assert codes(found) == ["TP004 first", "TP004 third", "TP004 bad name", "TP004 fourth"]
    assert [each.location and each.location.line for each in found] == [1, 10, 12, 14]
    elsewhere = [declared(sql.parent, "third", "int", ""), declared(sql.parent, "first")]
    assert codes(list(unused_names([used], elsewhere))) == ["TP004 bad name", "TP004 fourth"]
    assert list(unused_names([], [used])) == []


# ------------------------------------------------------------------------- suppressions


def apply(folder: Path, text: str, *names: str) -> list[str]:
    """Return the findings that are left about a nullable column of each of these queries."""
    (folder / "t.sql").write_text(text)
    infos = [declared(folder, name, "int", "") for name in names]
    found = [each for info in infos for each in compare(info, described(maybe("a", "int8")))]
    return [f"{each.code} {each.query}" for each in Suppressions(infos).apply(found)]


A = "-- name: a\n{}SELECT a{}\nFROM t{};\n"
B = "-- name: b\n{}SELECT a{}\nFROM t{};\n"
IGNORE = "-- typedpool: ignore[TP101]"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (A.format("", "", "") + B.format("", "", ""), ["TP101 a.declared", "TP101 b.declared"]),
        (A.format("", "", "") + B.format("", " " + IGNORE, ""), ["TP101 a.declared"]),
        (A.format("", "", "") + B.format(f"-- doc\n{IGNORE}\n", "", ""), ["TP101 a.declared"]),
        (A.format("", "", "").replace("a\n", f"a {IGNORE}\n", 1), ["TP101 b.declared"]),
        (
            A.format("", "", " " + IGNORE) + B.format("", "", ""),
            ["TP101 a.declared", "TP101 b.declared", "TP001 None"],
        ),
    ],
)
def test_a_comment_suppresses_findings_of_its_own_query(
    tmp_path: Path, text: str, left: list[str]
) -> None:
    if "-- name: b" not in text:
        text += B.format("", "", "")
    assert apply(tmp_path, text, "a", "b") == left


def test_a_comment_in_a_query_that_was_not_checked_is_not_unused(tmp_path: Path) -> None:
    text = A.format("", "", "") + B.format(IGNORE + "\n", "", "")
    assert apply(tmp_path, text, "a") == ["TP101 a.declared"]


# --------------------------------------------------------------------------- whole runs


APP = """
from sqla_typedpool import Executor, query

@query(path="sql/users.sql", name="get_user")
async def get_user(db: Executor, *, user_id: int) -> str:
    raise NotImplementedError

@query(path="sql/users.sql", name="all_users")
async def all_users(db: Executor) -> list[tuple[int, str]]:
    raise NotImplementedError
"""
USERS = """\
-- name: get-user :many
SELECT name FROM users WHERE id = :user_id;
-- name: all-users
SELECT id,
       nick
FROM users;
-- name: old-users  -- typedpool: ignore[TP004]
SELECT 1;
-- name: older-users
SELECT 2;
"""


def check(folder: Path, users: str, app: str = APP) -> Answer:
    (folder / "app.py").write_text(app)
    (folder / "sql").mkdir(exist_ok=True)
    (folder / "sql" / "users.sql").write_text(users)
    database = folder / "users.db"
    connection = sqlite3.connect(database)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS users (id integer NOT NULL, name text NOT NULL, nick text)"
    )
    connection.close()
    url = f"sqlite:///{database}"
    return command(folder, "check", "app", "--format", "json", "--database-url", url)


def found_in(answer: Answer) -> list[tuple[str, str, int]]:
    findings: list[dict[str, Any]] = json.loads(answer.stdout)["findings"]
    places = [(each["code"], each["file"], each["line"]) for each in findings]
    return [each for each in places if each[0] != "TP304"]  # of SQLite, without a library


def test_a_check_reports_the_places_in_the_sql_file(tmp_path: Path) -> None:
    pytest.importorskip("aiosqlite")
    pytest.importorskip("apsw")
    answer = check(tmp_path, USERS)
    assert found_in(answer) == [
        ("TP005", "sql/users.sql", 1),
        ("TP101", "sql/users.sql", 5),
        ("TP004", "sql/users.sql", 9),
    ]


def test_a_faulty_name_is_a_finding_and_no_name_is_called_unused(tmp_path: Path) -> None:
    pytest.importorskip("aiosqlite")
    answer = check(tmp_path, USERS, APP.replace("all_users", "al_users"))
    assert [code for code, _, _ in found_in(answer)] == ["TP303", "TP005"]
    assert "did you mean all-users" in answer.stdout


def test_queries_of_one_file_have_their_own_snapshots(tmp_path: Path) -> None:
    pytest.importorskip("aiosqlite")
    pytest.importorskip("apsw")
    app = APP.replace("str]]", "str | None]]")
    assert check(tmp_path, USERS, app).returncode == 0
    url = f"sqlite:///{tmp_path / 'users.db'}"
    assert command(tmp_path, "prepare", "app", "--database-url", url).returncode == 0
    names = sorted(path.name for path in (tmp_path / ".sqla_typedpool").rglob("*.json"))
    assert [name.rpartition("-")[0] for name in names] == ["app.all_users", "app.get_user"]
    (tmp_path / "sql" / "users.sql").write_text(USERS.replace("SELECT id", "-- doc\nSELECT id"))
    assert command(tmp_path, "check", "app").returncode == 0, "a comment made a snapshot stale"


def test_the_sql_of_a_named_query_is_declared_sql(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    assert undeclared_sql([tmp_path / "app.py"]) == []
