"""`sqla-typedpool describe --as`, and its code on SQLite and MariaDB."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.declarations import QUERY, ROW_KINDS
from tests.support.check_commands import command
from tests.support.servers.mariadb import MariaDB

KINDS = [*ROW_KINDS, QUERY]
TABLES = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, "2fa" INT, born TEXT) STRICT;
CREATE TABLE notes (id INTEGER PRIMARY KEY, body VARCHAR(20) NOT NULL, price NUMERIC, "at" DATE);
"""
USING = """

@query("{sql}")
async def used(db: Executor{parameters}) -> list[Row]:
    raise NotImplementedError
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of a database of SQLite."""
    with sqlite3.connect(tmp_path / "users.db") as connection:
        connection.executescript(TABLES)
    connection.close()
    return f"sqlite+aiosqlite:///{tmp_path / 'users.db'}"


def code(folder: Path, url: str, sql: str, *options: str) -> str:
    answer = command(folder, "describe", sql, "--database-url", url, *options)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    return answer.stdout


def assert_strict(folder: Path, url: str, source: str) -> None:
    """Check a module as it is pasted."""
    (folder / "app.py").write_text(source, encoding="utf-8")
    answer = command(folder, "check", "app", "--strict", "--database-url", url)
    assert answer.returncode == 0, source + answer.stdout + answer.stderr


def test_the_code_of_a_strict_table_has_its_types(tmp_path: Path, url: str) -> None:
    sql = 'SELECT id, name, u."2fa", born FROM users u'
    assert code(tmp_path, url, sql, "--as", "dataclass", "--name", "User") == (
        "from dataclasses import dataclass\n"
        "from typing import Annotated\n"
        "\n"
        "from sqla_typedpool import Col\n"
        "\n"
        "\n"
        "@dataclass(frozen=True, slots=True)\n"
        "class User:\n"
        "    id: int\n"
        "    name: str\n"
        '    column_2fa: Annotated[int | None, Col("2fa")]\n'
        "    born: str | None\n"
    )


def test_the_types_of_other_tables_are_not_known(tmp_path: Path, url: str) -> None:
    found = code(tmp_path, url, "SELECT body, at FROM notes", "--as", "dataclass")
    assert "    # VARCHAR(20): values of any Python type are accepted\n    body: Any\n" in found


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT id, name, "2fa", born FROM users WHERE name = :name OR id = :id',
        "SELECT id, body, price, at FROM notes WHERE price < :price",
        "SELECT count(*) FROM notes",
        "INSERT INTO users (name, born) VALUES (:name, :born) RETURNING id, born",
        "UPDATE notes SET price = :price WHERE id = :id",
    ],
)
def test_the_strict_checker_accepts_the_queries_of_sqlite(
    tmp_path: Path, url: str, sql: str
) -> None:
    assert_strict(tmp_path, url, code(tmp_path, url, sql, "--as", "query"))


@pytest.mark.parametrize("kind", ROW_KINDS)
def test_the_strict_checker_accepts_the_rows_of_sqlite(tmp_path: Path, url: str, kind: str) -> None:
    sql = "SELECT u.id, u.name, n.body, n.at FROM users u LEFT JOIN notes n ON n.id = u.id"
    found = code(tmp_path, url, sql, "--as", kind)
    header = "from sqla_typedpool import Executor, query\n"
    assert_strict(tmp_path, url, header + found + USING.format(sql=sql, parameters=""))


def test_a_file_is_read_and_its_lines_are_kept(tmp_path: Path, url: str) -> None:
    (tmp_path / "users.sql").write_text("SELECT id,\n       name\nFROM users\n")
    options = ("--as", "query", "--name", "all_users", "--database-url", url)
    answer = command(tmp_path, "describe", "--file", "users.sql", *options)
    assert "    SELECT id,\n           name\n    FROM users\n" in answer.stdout
    assert "async def all_users(db: Executor) -> list[AllUsersRow]:" in answer.stdout
    assert_strict(tmp_path, url, answer.stdout)


def test_a_file_with_several_named_queries_is_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "users.sql").write_text(
        "-- name: one\nSELECT 1 AS a;\n-- name: two\nSELECT 2 AS a\n"
    )
    answer = command(tmp_path, "describe", "--file", "users.sql", "--database-url", url)
    assert answer.returncode == 2
    assert "there are 2 named queries (one, two); next: give it the text of one" in answer.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--as", "query", "--format", "json"], "--format and --as exclude each other; next: drop"),
        (["--name", "User"], "--name is for the code of --as; next: add --as"),
        (["--as", "query", "--name", "a b"], "--name 'a b' is not a Python name; next: choose"),
    ],
)
def test_options_that_do_not_fit_are_one_error_message(
    tmp_path: Path, url: str, options: list[str], expected: str
) -> None:
    answer = command(tmp_path, "describe", "SELECT 1", "--database-url", url, *options)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert expected in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


# ---------------------------------------------------------------------------- MariaDB


@pytest.fixture
def mariadb_url(mariadb: MariaDB) -> str:
    """The URL of a database of MariaDB with a table."""

    async def create() -> None:
        engine = create_async_engine(mariadb.url("aiomysql"))
        async with engine.begin() as connection:
            await connection.execute(text("DROP TABLE IF EXISTS code_tickets"))
            await connection.execute(
                text(
                    "CREATE TABLE code_tickets (id int PRIMARY KEY, state enum('open', 'on hold') "
                    "NOT NULL COMMENT 'What is done', price decimal(8, 2), at datetime, "
                    "span time, body text, raw blob, flags bit(3), document json, `a b` double)"
                )
            )
        await engine.dispose()

    asyncio.run(create())
    return mariadb.url("aiomysql")


@pytest.mark.parametrize("kind", KINDS)
def test_the_strict_checker_accepts_the_code_of_mariadb(
    tmp_path: Path, mariadb_url: str, kind: str
) -> None:
    sql = (
        "SELECT id, state, price, at, span, body, raw, flags, document, `a b` FROM code_tickets "
        "WHERE price < :price AND at > :at"
    )
    found = code(tmp_path, mariadb_url, sql, "--as", kind)
    assert 'state: State\n    """What is done"""\n' in found
    assert '    ON_HOLD = "on hold"\n' in found
    if kind != QUERY:
        parameters = ", *, price: int, at: str"
        header = "from sqla_typedpool import Executor, query\n"
        found = header + found + USING.format(sql=sql, parameters=parameters)
    assert_strict(tmp_path, mariadb_url, found)
