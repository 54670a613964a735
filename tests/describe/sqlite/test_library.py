"""The SQLite of apsw describes statements; the one of `sqlite3` runs them."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.check import Description, Refused
from sqla_typedpool.describe import describer
from sqla_typedpool.describe.sqlite import library
from sqla_typedpool.describe.sqlite.library import ApplicationLibrary
from tests.describe.databases import nullability

SCHEMA = """
CREATE TABLE a (id INTEGER PRIMARY KEY, x TEXT NOT NULL, n TEXT);
CREATE TABLE b (id INTEGER PRIMARY KEY, y TEXT NOT NULL, a_id INT NOT NULL);
CREATE TABLE s (i INTEGER NOT NULL, r REAL, t TEXT, o BLOB, w ANY, g INT AS (i + 1)) STRICT;
CREATE TABLE l (i INTEGER, r REAL);
CREATE VIEW u AS SELECT i AS v FROM s UNION ALL SELECT t FROM s;
CREATE VIEW vs AS SELECT i, r FROM s;
INSERT INTO a VALUES (1, 'x', NULL), (2, 'y', 'n');
INSERT INTO b VALUES (1, 'x', 1), (3, 'z', 1);
INSERT INTO s (i, r, t, o, w) VALUES (1, 2, 't', x'00', 'w'), (2, 2.5, 't', x'00', 3);
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "a.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.close()
    return path


def described(file: Path, sql: str, **options: Any) -> Description:
    async def main() -> Description:
        engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
        try:
            async with describer(engine) as database:
                return await database.describe(sql, **options)
        finally:
            await engine.dispose()

    return asyncio.run(main())


def rows(file: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a statement, which is rolled back."""
    connection = sqlite3.connect(file)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


# ------------------------------------------------------------------- one statement


@pytest.mark.parametrize(
    "end", ["; -- the end", ";\n-- a\n-- b\n", "; /* the; end */ ", ";/* open", " -- the end"]
)
def test_a_comment_after_a_statement_is_no_second_statement(file: Path, end: str) -> None:
    assert nullability(described(file, f"SELECT id FROM a{end}")) == "0"


@pytest.mark.parametrize("rest", ["SELECT 2", "-- a\nSELECT 2", "/* a */ SELECT 2", "/* a */;"])
def test_a_statement_after_a_comment_is_a_second_statement(file: Path, rest: str) -> None:
    sql = f"SELECT id FROM a; {rest}"
    with pytest.raises(Refused, match="more than one statement") as caught:
        described(file, sql)
    second = "SELECT 2" if "SELECT" in rest else ";"
    assert caught.value.position == sql.rindex(second)


# -------------------------------------------------------------------- SELECT *


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM a JOIN b ON b.a_id = a.id", "001000"),
        ("SELECT * FROM a, b", "001000"),
        ("SELECT * FROM a LEFT JOIN b ON b.a_id = a.id", "001111"),
        ("SELECT * FROM a RIGHT JOIN b ON b.a_id = a.id", "111000"),
        ("SELECT * FROM a JOIN b USING (id)", "00100"),
        ("SELECT * FROM a LEFT JOIN b USING (id)", "00111"),
        ("SELECT * FROM a NATURAL JOIN b", "00100"),
        ("SELECT *, 1 FROM a LEFT JOIN b USING (id) LEFT JOIN b c USING (id)", "1" * 8),
        ("SELECT * FROM a RIGHT JOIN b USING (id)", "11111"),
        ("SELECT * FROM a FULL JOIN b USING (id) JOIN vs ON true", "1111111"),
    ],
)
def test_the_star_of_a_join_is_described(file: Path, sql: str, expected: str) -> None:
    found = described(file, sql)
    assert nullability(found) == expected
    for row in rows(file, sql):
        assert len(row) == len(expected)
        assert all(
            value is not None for value, bit in zip(row, expected, strict=True) if bit == "0"
        )


# ---------------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT i, r, t, o, w, g FROM s", [int, float, str, bytes, None, None]),
        ("SELECT * FROM vs", [int, float]),
        ("SELECT i, r FROM l", [None, None]),
        ("SELECT id FROM a", [int]),
        ("SELECT count(*), count(n), count(*) OVER (), row_number() OVER () FROM a", [int] * 4),
        ("SELECT sum(i), sum(r), sum(w), total(i) FROM s", [int, float, None, float]),
        ("SELECT max(i), min(t), max(w), max(i, t), sum(i) OVER () FROM s",
         [int, str, None, None, int]),
        ("SELECT avg(i) FROM s", [float]),
        ("SELECT CAST(w AS INT), CAST(w AS REAL), CAST(w AS STRING) FROM s", [int, float, None]),
        ("SELECT i FROM s UNION SELECT t FROM s", [None]),
        ("SELECT i FROM s UNION SELECT id FROM a", [int]),
        ("SELECT v FROM u", [None]),
        ("SELECT v FROM (SELECT i AS v FROM s UNION ALL SELECT t FROM s)", [None]),
        ("WITH c AS (SELECT i, t FROM s) SELECT t, i FROM c", [str, int]),
        ('SELECT "i", s."i" FROM s', [None, int]),
        ("INSERT INTO s (i, r, t) VALUES ('5', 1, 2) RETURNING i, r, t", [int, None, str]),
        ("UPDATE s SET r = 3 RETURNING r, max(i, 1)", [None, None]),
    ],
)  # fmt: skip
def test_types_that_sqlite_enforces_are_known(
    file: Path, sql: str, expected: list[type | None]
) -> None:
    assert [column.python_type for column in described(file, sql).columns] == expected
    for row in rows(file, sql):
        for value, python in zip(row, expected, strict=True):
            assert value is None or python in (None, type(value))


# ------------------------------------------------------------- the other library


def test_a_function_that_only_the_application_s_sqlite_has_is_accepted(file: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        own = {name for (name,) in connection.execute("SELECT name FROM pragma_function_list")}
    other = apsw.Connection(":memory:")
    own -= {str(name) for (name,) in other.execute("SELECT name FROM pragma_function_list")}
    if "soundex" not in own:
        pytest.skip("both have soundex()")
    assert described(file, "SELECT soundex(x) FROM a").notes == ()


def test_what_the_application_s_sqlite_refuses_is_a_note(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert described(file, "SELECT upper(x) FROM a WHERE id = :id").notes == ()
    monkeypatch.setattr(library.sqlite3, "sqlite_version", "3.1.2")
    monkeypatch.setattr(
        ApplicationLibrary, "refusal", lambda self, sql, parameters: "no such function: upper"
    )
    (note,) = described(file, "SELECT upper(x) FROM a").notes
    assert note == (
        f"the application's SQLite 3.1.2 refuses what SQLite {apsw.sqlite_lib_version()} of the "
        "checker accepts: no such function: upper; next: use an SQLite that accepts it, or change "
        "the statement"
    )


def test_the_application_s_sqlite_is_asked() -> None:
    used = ApplicationLibrary()
    try:
        used.copy_functions([("mine", "s", 0), ("ours", "w", 0), ("upper", "s", 1)], [("NAME",)])
        used.create("CREATE TABLE t (a TEXT COLLATE NAME)")
        used.create("CREATE TABLE broken (")
        assert used.refusal("SELECT mine(a), ours(a), upper(a) FROM t WHERE a = ?", 1) == ""
        assert used.refusal("DELETE FROM t RETURNING a -- x", 0) == ""
        assert used.refusal("SELECT nothing_such(a) FROM t", 0) == "no such function: nothing_such"
        assert "syntax error" in used.refusal("SELECT a FROM t WHERE WHERE a", 0)
        assert used.refusal("SELECT 1 FROM broken", 0) == ""
    finally:
        used.close()
