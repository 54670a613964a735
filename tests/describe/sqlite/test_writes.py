"""What a statement of SQLite writes, judged by hand and confirmed by execution.

Each statement is executed with each of its parameters bound to None in turn, by ``sqlite3`` and by
apsw, on rows for which each of its parts writes a row.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import apsw
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.check import Description
from sqla_typedpool.describe import Describer, describer
from sqla_typedpool.describe.writes import ColumnWrite, ValueSource

SCHEMA = """
CREATE TABLE t (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, nick TEXT, kind TEXT NOT NULL DEFAULT 'k',
    email TEXT UNIQUE
);
INSERT INTO t VALUES
    (1, 'Ada', NULL, 'k', 'x'), (2, 'Bob', 'bb', 'k', NULL), (3, 'Cyd', NULL, 'k', NULL);
CREATE TABLE s (id INTEGER PRIMARY KEY, v TEXT, w TEXT NOT NULL, t_id INT);
INSERT INTO s VALUES (1, 'v', 'w', 1), (2, NULL, 'w2', 2);
CREATE TABLE empty (id INTEGER PRIMARY KEY, v TEXT NOT NULL);
CREATE TABLE null_default (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT NULL);
CREATE TABLE odd_default (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT (nullif(1, 1)));
CREATE TABLE numbered (id INTEGER PRIMARY KEY NOT NULL, name TEXT);
INSERT INTO numbered VALUES (1, 'n');
CREATE TABLE text_key (id TEXT PRIMARY KEY, name TEXT);
CREATE TABLE descending (id INTEGER PRIMARY KEY DESC, name TEXT);
CREATE TABLE strict_key (id TEXT PRIMARY KEY, name TEXT) STRICT;
CREATE TABLE no_rowid (id INTEGER PRIMARY KEY, name TEXT) WITHOUT ROWID;
CREATE TABLE pair (a TEXT, b INTEGER, c TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE skipping (id INTEGER PRIMARY KEY, name TEXT NOT NULL ON CONFLICT IGNORE);
CREATE TABLE replacing (id INTEGER PRIMARY KEY, name TEXT NOT NULL ON CONFLICT REPLACE DEFAULT 'x');
CREATE TABLE unique_skip (name TEXT NOT NULL, code TEXT UNIQUE ON CONFLICT IGNORE);
INSERT INTO unique_skip VALUES ('n', 'c');
CREATE TABLE generated (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, loud TEXT NOT NULL AS (upper(name)) STORED,
    quiet TEXT AS (lower(name))
);
INSERT INTO generated (id, name) VALUES (1, 'g');
CREATE TABLE before_insert (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO before_insert VALUES (1, 'b');
CREATE TRIGGER skip_insert BEFORE INSERT ON before_insert WHEN NEW.name IS NULL
    BEGIN SELECT RAISE(IGNORE); END;
CREATE TABLE before_update (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO before_update VALUES (1, 'b');
CREATE TRIGGER [after insert] BEFORE UPDATE OF name ON before_update WHEN NEW.name IS NULL
    BEGIN SELECT RAISE(IGNORE); END;
CREATE TABLE without_timing (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TRIGGER after INSERT ON without_timing WHEN NEW.name IS NULL
    BEGIN SELECT RAISE(IGNORE); END;
CREATE TABLE after_insert (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TRIGGER later AFTER INSERT ON after_insert BEGIN SELECT RAISE(IGNORE); END;
CREATE TABLE before_delete (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO before_delete VALUES (1, 'b');
CREATE TRIGGER gone BEFORE DELETE ON before_delete BEGIN SELECT RAISE(IGNORE); END;
CREATE VIEW v AS SELECT id, name FROM t;
CREATE TRIGGER v_insert INSTEAD OF INSERT ON v
    BEGIN INSERT INTO t (id, name) VALUES (NEW.id, coalesce(NEW.name, 'x')); END;
CREATE TABLE checked (
    mood TEXT CHECK (mood IN ('sad', 'it''s ok')), size TEXT, kind TEXT CHECK (kind IN ('a') OR 1),
    color TEXT, n INT CHECK (n IN ('1', '2')), CHECK (size IN ('s', 'm')), CHECK ("color" IN ('r'))
);
CREATE TABLE compared (mood TEXT COLLATE NOCASE CHECK (mood IN ('sad')));
CREATE TABLE "Odd Name" ("The Id" INTEGER PRIMARY KEY, "a b" TEXT NOT NULL);
CREATE VIRTUAL TABLE search USING fts5(body);
ATTACH ':memory:' AS other;
CREATE TABLE other.t (id INTEGER PRIMARY KEY, label TEXT NOT NULL);
CREATE TABLE other.far (id INTEGER PRIMARY KEY, label TEXT NOT NULL);
CREATE TEMP TABLE far (id INTEGER PRIMARY KEY, note TEXT NOT NULL);
CREATE VIEW other.other_view AS SELECT label FROM t;
CREATE TEMP TRIGGER other_insert INSTEAD OF INSERT ON other.other_view
    BEGIN SELECT 1; END;
CREATE TRIGGER v_update INSTEAD OF UPDATE ON v BEGIN SELECT 1; END;
CREATE TABLE watched (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TEMP TRIGGER watch BEFORE INSERT ON main.watched WHEN NEW.name IS NULL
    BEGIN SELECT RAISE(IGNORE); END;
"""

VALUES = {"id": 50, "x": "x", "y": "y", "n": 1, "none": 1}

# A statement, and what is found in it. ``TP503`` need not fail.
CASES: dict[str, str] = {
    # INSERT
    "INSERT INTO t (id, name) VALUES (:id, :x)": "TP502 x -> main.t.name",
    "INSERT INTO t (name) VALUES ('a'), (:x), (:y)": (
        "TP502 x -> main.t.name, TP502 y -> main.t.name"
    ),
    "INSERT INTO t (id) VALUES (:id)": "TP501 main.t.name",
    "INSERT INTO t (id, name) VALUES (:id, NULL)": "TP501 main.t.name",
    "INSERT INTO t (id, name) VALUES (:id, (NULL))": "TP501 main.t.name",
    "INSERT INTO t (id, name) VALUES (:id, CAST(NULL AS TEXT))": "TP501 main.t.name",
    "INSERT INTO t (name, kind) VALUES ('a', :x)": "TP502 x -> main.t.kind",
    "INSERT INTO t VALUES (:id, :x, :y, 'k', 'e')": "TP502 x -> main.t.name",
    "INSERT INTO t DEFAULT VALUES": "TP501 main.t.name",
    "INSERT INTO main.t AS q (name) VALUES (:x) RETURNING id": "TP502 x -> main.t.name",
    "INSERT INTO t (rowid, name) VALUES (:id, :x)": "TP502 x -> main.t.name",
    "INSERT INTO t (id, nick) VALUES (:id, :x), (60, NULL)": "TP501 main.t.name",
    'INSERT INTO "Odd Name" ("a b") VALUES (:x)': "TP502 x -> main.Odd Name.a b",
    "INSERT INTO T (NAME) VALUES (:x)": "TP502 x -> main.t.name",
    "INSERT INTO null_default (id) VALUES (:id)": "TP501 main.null_default.name",
    "INSERT INTO numbered (id, name) VALUES (:id, :x)": "",
    "UPDATE numbered SET id = :n": "TP502 n -> main.numbered.id",
    # keys
    "INSERT INTO text_key (id, name) VALUES (:x, 'a')": "",
    "INSERT INTO text_key (name) VALUES ('a')": "",
    "INSERT INTO descending (id, name) VALUES (:id, 'a')": "",
    "INSERT INTO strict_key (id, name) VALUES (:x, 'a')": "TP502 x -> main.strict_key.id",
    "INSERT INTO no_rowid (id, name) VALUES (:id, 'a')": "TP502 id -> main.no_rowid.id",
    "INSERT INTO no_rowid (name) VALUES ('a')": "TP501 main.no_rowid.id",
    "INSERT INTO pair (a, c) VALUES (:x, :y)": "TP501 main.pair.b, TP502 x -> main.pair.a",
    "UPDATE t SET id = :id WHERE id = 1": "TP502 id -> main.t.id",
    "UPDATE t SET id = NULL": "TP501 main.t.id",
    # values that are not the parameter itself
    "INSERT INTO t (name) VALUES (coalesce(:x, 'd'))": "",
    "INSERT INTO t (name) VALUES (ifnull(:x, 'd'))": "",
    "INSERT INTO t (name) VALUES (upper(:x))": "TP502 x -> main.t.name",
    "INSERT INTO t (name) VALUES (trim(lower((:x))) || :y)": (
        "TP502 x -> main.t.name, TP502 y -> main.t.name"
    ),
    "INSERT INTO t (name) VALUES (CAST(:x AS TEXT))": "TP502 x -> main.t.name",
    "INSERT INTO t (name) VALUES (-:n + 1)": "TP502 n -> main.t.name",
    "INSERT INTO t (name) VALUES (CASE WHEN :x IS NULL THEN 'd' ELSE :x END)": "",
    "INSERT INTO t (name) VALUES (:x IS NULL)": "",
    "INSERT INTO t (name) VALUES (hex(:x))": "",
    "INSERT INTO t (name) VALUES (:x OR 1)": "",
    "INSERT INTO t (name) VALUES (concat(:x, 'a'))": "",
    # a conflict clause of the statement
    "INSERT OR IGNORE INTO t (name) VALUES (:x)": "",
    "INSERT OR IGNORE INTO t (id) VALUES (:id)": "",
    "INSERT OR FAIL INTO t (name) VALUES (:x)": "TP502 x -> main.t.name",
    "INSERT OR ROLLBACK INTO t (name) VALUES (:x)": "TP502 x -> main.t.name",
    "INSERT OR REPLACE INTO t (name, kind) VALUES (:x, :y)": "TP502 x -> main.t.name",
    "REPLACE INTO t (name, kind) VALUES (:x, :y)": "TP502 x -> main.t.name",
    "REPLACE INTO t (id) VALUES (:id)": "TP501 main.t.name",
    "UPDATE OR IGNORE t SET name = :x": "",
    "UPDATE OR REPLACE t SET name = :x, kind = :y": "TP502 x -> main.t.name",
    "UPDATE OR ABORT t SET name = :x": "TP502 x -> main.t.name",
    # a conflict clause of the table
    "INSERT INTO skipping (name) VALUES (:x)": "",
    "INSERT INTO skipping (id) VALUES (:id)": "",
    "INSERT INTO replacing (name) VALUES (:x)": "",
    "INSERT INTO unique_skip (name, code) VALUES (:x, 'c')": "TP502 x -> main.unique_skip.name",
    # UPDATE
    "UPDATE t SET name = :x WHERE id = 1": "TP502 x -> main.t.name",
    "UPDATE t SET name = NULL": "TP501 main.t.name",
    "UPDATE t SET nick = :x, name = :y": "TP502 y -> main.t.name",
    "UPDATE t SET (name, nick) = (:x, :y)": "TP502 x -> main.t.name",
    "UPDATE t AS a SET name = coalesce(:x, a.name)": "",
    "UPDATE t SET name = :x WHERE name <> :x": "",
    "UPDATE t SET name = :x WHERE id IN (1, :n)": "TP502 x -> main.t.name",
    "UPDATE t SET name = :x WHERE :x IS NOT NULL": "",
    "UPDATE t SET name = nick": "TP503 main.t.name",
    "UPDATE t SET name = nick WHERE nick IS NOT NULL": "",
    "UPDATE t SET name = nick WHERE length(nick) > 1": "",
    "UPDATE t SET name = lower(name)": "",
    "UPDATE t SET name = s.v FROM s WHERE s.t_id = t.id": "TP503 main.t.name",
    "UPDATE t SET name = s.w FROM s WHERE s.t_id = t.id": "",
    "UPDATE t SET name = :x FROM s WHERE s.t_id = t.id AND s.t_id = :n": "TP502 x -> main.t.name",
    "UPDATE t SET name = (SELECT w FROM s WHERE s.t_id = t.id)": "TP503 main.t.name",
    "UPDATE t SET name = (SELECT count(*) FROM s)": "",
    "UPDATE t SET name = (SELECT coalesce(max(v), 'a') FROM s)": "",
    # ON CONFLICT
    "INSERT INTO t (id, name) VALUES (1, :x) ON CONFLICT DO NOTHING": "TP502 x -> main.t.name",
    "INSERT INTO t (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = :y": (
        "TP502 y -> main.t.name"
    ),
    "INSERT INTO t (id, name) VALUES (1, :x) ON CONFLICT (id) DO UPDATE SET name = excluded.name": (
        "TP502 x -> main.t.name"
    ),
    "INSERT INTO t (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = NULL": (
        "TP501 main.t.name"
    ),
    "INSERT INTO t (id, name) VALUES (1, :x) ON CONFLICT (id) DO UPDATE SET name = :x": (
        "TP502 x -> main.t.name"
    ),
    "INSERT INTO t (name, email) VALUES ('a', :x) ON CONFLICT (email) DO UPDATE SET name = :x": "",
    "INSERT INTO t (id, name) VALUES (:n, 'a') ON CONFLICT (id) DO UPDATE SET name = :n": "",
    "INSERT INTO t (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = :y "
    "WHERE :y IS NOT NULL": "",
    "INSERT INTO t (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET "
    "name = coalesce(:y, t.name)": "",
    "INSERT INTO t (id, nick) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET nick = 'b'": (
        "TP501 main.t.name"
    ),
    "INSERT OR IGNORE INTO t (id, name) VALUES (1, :x) ON CONFLICT (id) DO NOTHING": "",
    "INSERT OR REPLACE INTO t (id, name) VALUES (1, 'a') "
    "ON CONFLICT (id) DO UPDATE SET kind = :x": "TP502 x -> main.t.kind",
    # INSERT ... SELECT
    "INSERT INTO t (name) SELECT :x": "TP502 x -> main.t.name",
    "INSERT INTO t (name, nick) SELECT :x, v FROM s WHERE w <> :y": "TP502 x -> main.t.name",
    "INSERT INTO t (name) SELECT :x WHERE :x IS NOT NULL": "",
    "INSERT INTO t (name) SELECT v FROM s": "TP503 main.t.name",
    "INSERT INTO t (name) SELECT w FROM s": "",
    "INSERT INTO t (name) SELECT v FROM s WHERE v <> ''": "",
    "INSERT INTO t (name) SELECT s.w FROM t LEFT JOIN s ON s.t_id = t.id": "TP503 main.t.name",
    "INSERT INTO t (name) SELECT t.name FROM t LEFT JOIN s ON s.t_id = t.id": "",
    "INSERT INTO t (nick) SELECT w FROM s": "TP501 main.t.name",
    "INSERT INTO t (nick) SELECT * FROM (SELECT v FROM s)": "TP501 main.t.name",
    "INSERT INTO t (name) SELECT :x FROM empty UNION ALL SELECT 'a'": "",
    "INSERT INTO t (name) VALUES ((SELECT w FROM s WHERE id = 99))": "TP503 main.t.name",
    "INSERT INTO t (name) WITH c AS (SELECT v FROM s WHERE id = 1) SELECT v FROM c": "",
    "WITH s AS (SELECT 'a' AS v) INSERT INTO t (name) SELECT v FROM s": "",
    "WITH c AS (SELECT :y AS v) INSERT INTO t (name) SELECT :x FROM c": "TP502 x -> main.t.name",
    "INSERT INTO t (name) SELECT v FROM (SELECT 'a' AS v)": "",
    # triggers, views, other tables
    "INSERT INTO before_insert (name) VALUES (:x)": "",
    "INSERT INTO before_insert (id) VALUES (:id)": "",
    "UPDATE before_insert SET name = :x": "TP502 x -> main.before_insert.name",
    "INSERT INTO before_insert (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE "
    "SET name = 'z'": "",
    "UPDATE before_update SET name = :x": "",
    "INSERT INTO before_update (name) VALUES (:x)": "TP502 x -> main.before_update.name",
    "INSERT INTO without_timing (name) VALUES (:x)": "",
    "INSERT INTO after_insert (name) VALUES (:x)": "TP502 x -> main.after_insert.name",
    "REPLACE INTO before_delete (id, name) VALUES (1, :x)": "TP502 x -> main.before_delete.name",
    "INSERT INTO watched (name) VALUES (:x)": "",
    "INSERT INTO v (name) VALUES (:x)": "",
    "UPDATE v SET name = :x": "",
    "INSERT INTO other_view (label) VALUES (:x)": "",
    "INSERT INTO search (body) VALUES (:x)": "",
    "INSERT INTO generated (name) VALUES (:x)": "TP502 x -> main.generated.name",
    "INSERT INTO generated VALUES (:id, :x)": "TP502 x -> main.generated.name",
    "INSERT INTO generated (id) VALUES (:id)": "TP501 main.generated.name",
    # several databases
    "INSERT INTO other.t (label) VALUES (:x)": "TP502 x -> other.t.label",
    "INSERT INTO far (note) VALUES (:x)": "TP502 x -> temp.far.note",
    "INSERT INTO other.far (label) VALUES (:x)": "TP502 x -> other.far.label",
    # others
    "DELETE FROM t WHERE name = :x": "",
    "SELECT name FROM t WHERE name = :x": "",
}

# Statements that fail although nothing is found: it is not certain in general.
SILENT: dict[str, str] = {
    "INSERT INTO odd_default (id) VALUES (:id)": "always",
    "UPDATE t SET name = :x, name = :x": "with None",
    "INSERT INTO t (id, name) VALUES (1, 'a') "
    "ON CONFLICT (id) DO UPDATE SET name = excluded.nick": "always",
    "INSERT INTO t (name) VALUES (abs(:x))": "with None",
    "INSERT INTO t (name) SELECT :x UNION ALL SELECT 'a'": "with None",
    "WITH c AS (SELECT 1) UPDATE OR FAIL t SET name = :x": "with None",
    "INSERT INTO t (id, name) VALUES (1, :x) ON CONFLICT (email) DO NOTHING ON CONFLICT (id) "
    "DO NOTHING": "with None",
}


@asynccontextmanager
async def opened() -> AsyncIterator[Describer]:
    engine = create_async_engine("sqlite+aiosqlite://")
    try:
        async with engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            await raw.executescript(SCHEMA)
            async with describer(connection) as database:
                yield database
    finally:
        await engine.dispose()


@pytest.fixture(scope="module")
def found() -> dict[str, Description]:
    """The descriptions of all statements."""

    async def main() -> dict[str, Description]:
        async with opened() as database:
            return {sql: await database.describe(sql) for sql in (*CASES, *SILENT)}

    return asyncio.run(main())


def verdicts(description: Description) -> list[str]:
    """Return what is found in the writes, if each parameter may be None."""
    return sorted({each for write in description.writes or () for each in _verdicts(write)})


def _verdicts(write: ColumnWrite) -> list[str]:
    name = write.column.name
    if not write.column.not_null:
        return []
    if write.source in (ValueSource.OMITTED, ValueSource.DEFAULT, ValueSource.NULL):
        return [f"TP501 {name}"]
    maybe = write.nullable and not write.parameters
    return [f"TP502 {each} -> {name}" for each in write.parameters] + ["TP503 " + name] * maybe


def outcome(sql: str, values: Mapping[str, Any]) -> str:
    """Execute a statement with both libraries and return the error, or ""."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    other = apsw.Connection(":memory:")
    other.execute(SCHEMA)
    errors = []
    try:
        for execute, error in ((connection.execute, sqlite3.Error), (other.execute, apsw.Error)):
            try:
                list(execute(sql, values))
                errors.append("")
            except error as raised:
                errors.append(str(raised))
    finally:
        connection.close()
        other.close()
    assert errors[0] == errors[1]
    return errors[0]


def parameters(sql: str) -> dict[str, Any]:
    return {name: value for name, value in VALUES.items() if f":{name}" in sql}


@pytest.mark.parametrize("sql", CASES)
def test_what_is_found_in_a_write_is_as_judged(found: dict[str, Description], sql: str) -> None:
    assert ", ".join(verdicts(found[sql])) == CASES[sql]
    assert found[sql].writes is not None


@pytest.mark.parametrize("sql", CASES)
def test_a_write_fails_as_judged(sql: str) -> None:
    if sql.startswith("INSERT INTO t (name) VALUES (concat") and sqlite3.sqlite_version_info < (
        3,
        44,
    ):
        pytest.skip("this SQLite has no concat()")
    values = parameters(sql)
    always, refused = "TP501" in CASES[sql], CASES[sql].replace(", ", "\n").splitlines()
    assert _is_refused(outcome(sql, values)) == (always or "TP503" in CASES[sql])
    for name in values:
        fails = always or any(each.startswith(f"TP502 {name} ->") for each in refused)
        if "TP503" not in CASES[sql]:
            assert _is_refused(outcome(sql, values | {name: None})) == fails, name


@pytest.mark.parametrize("sql", SILENT)
def test_nothing_is_found_where_a_failure_is_not_certain(
    found: dict[str, Description], sql: str
) -> None:
    values = parameters(sql)
    assert verdicts(found[sql]) == []
    assert _is_refused(outcome(sql, values)) == (SILENT[sql] == "always")
    assert _is_refused(outcome(sql, dict.fromkeys(values)))


def test_a_statement_that_is_not_read_is_unknown(found: dict[str, Description]) -> None:
    assert found["UPDATE t SET name = :x, name = :x"].writes is None
    assert found["DELETE FROM t WHERE name = :x"].writes == ()


def test_the_texts_of_a_check_are_the_accepted_ones() -> None:
    async def main() -> list[tuple[str, ...]]:
        async with opened() as database:
            found = await database.describe(
                "INSERT INTO checked (mood, size, kind, color, n) VALUES (:a, :b, :c, :d, :e)"
            )
            compared = await database.describe("INSERT INTO compared (mood) VALUES (:a)")
            ignored = await database.describe("INSERT OR IGNORE INTO checked (mood) VALUES (:a)")
        writes = [*(found.writes or ()), *(compared.writes or ()), *(ignored.writes or ())]
        return [write.column.accepted for write in writes]

    expected = [("sad", "it's ok"), ("s", "m"), (), ("r",), (), (), ()]
    assert asyncio.run(main()) == expected
    for name, value in [("kind", "z"), ("n", "01"), ("mood", "it's ok"), ("size", "m")]:
        assert not outcome(f"INSERT INTO checked ({name}) VALUES (:x)", {"x": value})
    for name, value in [("mood", "Sad"), ("size", "l"), ("color", "R")]:
        error = outcome(f"INSERT INTO checked ({name}) VALUES (:x)", {"x": value})
        assert error.startswith("CHECK constraint failed")
    assert not outcome("INSERT INTO compared (mood) VALUES (:x)", {"x": "SAD"})


def test_a_value_of_parameters_that_are_never_none_is_not_null() -> None:
    async def main() -> list[tuple[bool, str]]:
        sql = "INSERT INTO t (name, kind) VALUES (:x, upper(:y))"
        async with opened() as database:
            found = await database.describe(sql, never_null=["y"])
        return [(write.nullable, write.why) for write in found.writes or ()]

    assert asyncio.run(main()) == [(True, ":x may be None"), (False, "")]


def test_a_replaced_function_may_make_a_value_of_none() -> None:
    async def main() -> list[tuple[str, ...]]:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.connect() as connection:
            await connection.exec_driver_sql("CREATE TABLE a (b TEXT NOT NULL)")
            raw: Any = (await connection.get_raw_connection()).driver_connection
            await raw.create_function("upper", 1, lambda value: "x")
            async with describer(connection) as database:
                found = await database.describe("INSERT INTO a VALUES (upper(:x)), (:y || 'a')")
        await engine.dispose()
        return [write.parameters for write in found.writes or ()]

    assert asyncio.run(main()) == [("y",)]


def test_a_trigger_changes_the_fingerprint_of_writes_only() -> None:
    async def main() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.connect() as connection:
            await connection.exec_driver_sql("CREATE TABLE a (b TEXT NOT NULL)")
            statements = ["SELECT b FROM a", "INSERT INTO a (b) VALUES (:x)"]
            async with describer(connection) as database:
                before = [(await database.describe(sql)).fingerprint for sql in statements]
            await connection.exec_driver_sql(
                "CREATE TRIGGER c BEFORE INSERT ON a BEGIN SELECT RAISE(IGNORE); END"
            )
            async with describer(connection) as database:
                after = [(await database.describe(sql)).fingerprint for sql in statements]
        await engine.dispose()
        assert after[0] == before[0]
        assert after[1] != before[1]

    asyncio.run(main())


def _is_refused(error: str) -> bool:
    """Return whether a NULL was refused. A NULL for the row's number has the wrong type."""
    if error and not error.startswith("NOT NULL constraint failed"):
        assert error == "datatype mismatch", error
    return bool(error)
