"""What a statement of MariaDB writes, judged by hand and confirmed by execution.

Each statement is described and executed with and without strict mode, with each of its parameters
bound to None in turn, on rows for which each of its parts writes a row.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.check import Description
from sqla_typedpool.describe import describer
from sqla_typedpool.describe.writes import ColumnWrite, ValueSource
from tests.support.servers.mariadb import MariaDB

pytestmark = pytest.mark.mariadb

STRUCTURE = """
CREATE TABLE t (
    id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) NOT NULL, nick VARCHAR(20),
    kind VARCHAR(9) NOT NULL DEFAULT 'k', email VARCHAR(20) UNIQUE
);
INSERT INTO t VALUES
    (1, 'Ada', NULL, 'k', 'x'), (2, 'Bob', 'bb', 'k', NULL), (3, 'Cyd', NULL, 'k', NULL);
CREATE TABLE s (id INT PRIMARY KEY, v VARCHAR(9), w VARCHAR(9) NOT NULL, t_id INT);
INSERT INTO s VALUES (1, 'v', 'w', 1), (2, NULL, 'w2', 2);
CREATE TABLE plain (id INT PRIMARY KEY, a INT NOT NULL, b INT);
INSERT INTO plain VALUES (1, 1, 1);
CREATE TABLE isam (id INT PRIMARY KEY, a INT NOT NULL, b INT) ENGINE = MyISAM;
CREATE TABLE memory_rows (id INT PRIMARY KEY, a INT NOT NULL, b INT) ENGINE = MEMORY;
INSERT INTO memory_rows VALUES (1, 1, 1);
CREATE TABLE moods (id INT PRIMARY KEY, mood ENUM('sad', 'it''s ok') NOT NULL);
CREATE TABLE moments (id INT PRIMARY KEY, at TIMESTAMP NOT NULL, day DATE NOT NULL DEFAULT 0);
INSERT INTO moments VALUES (1, now(), now());
CREATE TABLE expressions (id INT PRIMARY KEY, a INT NOT NULL DEFAULT (1 + 1));
CREATE TABLE generated (id INT PRIMARY KEY, a INT NOT NULL, g INT AS (a + 1) STORED);
CREATE TABLE hidden (id INT PRIMARY KEY, a INT NOT NULL, h INT NOT NULL INVISIBLE DEFAULT 3);
CREATE TABLE before_insert (id INT PRIMARY KEY, a INT NOT NULL);
INSERT INTO before_insert VALUES (1, 1);
CREATE TRIGGER bi BEFORE INSERT ON before_insert FOR EACH ROW SET NEW.a = coalesce(NEW.a, 7);
CREATE TABLE before_update (id INT PRIMARY KEY, a INT NOT NULL);
INSERT INTO before_update VALUES (1, 1);
CREATE TRIGGER bu BEFORE UPDATE ON before_update FOR EACH ROW SET NEW.a = coalesce(NEW.a, 7);
CREATE TABLE after_insert (id INT PRIMARY KEY, a INT NOT NULL);
CREATE TRIGGER ai AFTER INSERT ON after_insert FOR EACH ROW SET @x = 1;
CREATE VIEW v AS SELECT id, name FROM t;
CREATE TABLE divided (id INT, a INT NOT NULL) PARTITION BY HASH (id) PARTITIONS 2;
CREATE TABLE `Odd Name` (`The Id` INT PRIMARY KEY, `a b` INT NOT NULL);
CREATE TABLE shadowed (id INT PRIMARY KEY, a INT NOT NULL);
"""
TEMPORARY = "CREATE TEMPORARY TABLE shadowed (id INT PRIMARY KEY, a INT)"

VALUES = {"id": 50, "x": "x", "y": "y", "n": 1, "m": 2}
T = "writes.t.name"

# A statement, what is found in it with strict mode, and without it if that differs.
CASES: list[tuple[str, str, str | None]] = [
    # INSERT
    ("INSERT INTO t (name) VALUES (:x)", f"TP502 x -> {T}", None),
    ("INSERT INTO t (name) VALUES ('a'), (:x)", f"TP502 x -> {T}", ""),
    ("INSERT INTO t (nick) VALUES (:x)", f"TP501 {T}", ""),
    ("INSERT INTO t (name) VALUES (NULL)", f"TP501 {T}", None),
    ("INSERT INTO t (name) VALUES ('a'), (NULL)", f"TP501 {T}", ""),
    ("INSERT INTO t (name) VALUES (DEFAULT)", f"TP501 {T}", ""),
    ("INSERT INTO t (name, kind) VALUES ('a', DEFAULT)", "", None),
    ("INSERT INTO t () VALUES ()", f"TP501 {T}", ""),
    ("INSERT INTO t VALUES ()", f"TP501 {T}", ""),
    ("INSERT INTO t SET name = :x, nick = :y", f"TP502 x -> {T}", None),
    ("INSERT INTO t VALUES (:id, :x, :y, 'k', 'e')", f"TP502 x -> {T}", None),
    ("INSERT INTO t (name, kind) VALUES ('a', :x)", "TP502 x -> writes.t.kind", None),
    ("INSERT INTO `writes`.`t` (`name`) VALUE (:x)", f"TP502 x -> {T}", None),
    ("INSERT LOW_PRIORITY INTO t (name) VALUES (:x)", f"TP502 x -> {T}", None),
    ("INSERT INTO t (name) VALUES (:x) RETURNING id", f"TP502 x -> {T}", None),
    (
        "INSERT INTO `Odd Name` (`The Id`, `a b`) VALUES (1, :n)",
        "TP502 n -> writes.Odd Name.a b",
        None,
    ),
    ("INSERT INTO plain (a) VALUES (1)", "TP501 writes.plain.id", ""),
    ("INSERT INTO plain (id, a) VALUES (:id, 1)", "TP502 id -> writes.plain.id", None),
    ("INSERT IGNORE INTO t (name) VALUES (:x)", "", None),
    ("INSERT IGNORE INTO t (nick) VALUES (:x)", "", None),
    # values that are not the parameter itself
    ("INSERT INTO t (name) VALUES (coalesce(:x, 'd'))", "", None),
    ("INSERT INTO t (name) VALUES (ifnull(:x, 'd'))", "", None),
    ("INSERT INTO t (name) VALUES (if(:x IS NULL, 'd', :x))", "", None),
    ("INSERT INTO t (name) VALUES (upper(trim(:x)))", f"TP502 x -> {T}", None),
    ("INSERT INTO t (name) VALUES (CAST(:x AS CHAR(3)))", f"TP502 x -> {T}", None),
    ("INSERT INTO t (name) VALUES (char_length(:x) + :n)", f"TP502 n -> {T}, TP502 x -> {T}", None),
    ("INSERT INTO t (name) VALUES (concat('a', :x))", f"TP502 x -> {T}", None),
    ("INSERT INTO t (name) VALUES (concat_ws('a', :x, 'b'))", "", None),
    ("INSERT INTO t (name) VALUES (:n OR 1)", "", None),
    # REPLACE
    ("REPLACE INTO t (name) VALUES (:x)", f"TP502 x -> {T}", None),
    ("REPLACE INTO t (name) VALUES (:x), ('b')", f"TP502 x -> {T}", ""),
    ("REPLACE t SET nick = :x", f"TP501 {T}", ""),
    # UPDATE
    ("UPDATE t SET name = :x", f"TP502 x -> {T}", ""),
    ("UPDATE t SET t.name = NULL WHERE id = 1", f"TP501 {T}", ""),
    ("UPDATE t a SET name = coalesce(:x, a.name)", "", None),
    ("UPDATE t SET name = :x WHERE name <> :x", "", None),
    ("UPDATE t SET name = :x ORDER BY id LIMIT 1", f"TP502 x -> {T}", ""),
    ("UPDATE t SET name = nick", f"TP503 {T}", ""),
    ("UPDATE t SET name = nick WHERE nick IS NOT NULL", "", None),
    ("UPDATE t SET nick = 'x', name = nick", "", None),
    ("UPDATE t SET name = (SELECT w FROM s WHERE s.t_id = t.id)", f"TP503 {T}", ""),
    ("UPDATE IGNORE t SET name = :x", "", None),
    ("UPDATE LOW_PRIORITY t SET name = :x", f"TP502 x -> {T}", ""),
    ("UPDATE t SET id = :id WHERE id = 1", "TP502 id -> writes.t.id", ""),
    # ON DUPLICATE KEY UPDATE
    (
        "INSERT INTO t (id, name) VALUES (1, 'a') ON DUPLICATE KEY UPDATE name = :y",
        f"TP502 y -> {T}",
        None,
    ),
    (
        "INSERT INTO t (id, name) VALUES (1, :x) ON DUPLICATE KEY UPDATE name = VALUES(name)",
        f"TP502 x -> {T}",
        None,
    ),
    (
        "INSERT INTO t (id, name) VALUES (1, 'a'), (2, 'b') ON DUPLICATE KEY UPDATE name = :y",
        f"TP502 y -> {T}",
        "",
    ),
    (
        "INSERT INTO t (id, name) VALUES (1, 'a') ON DUPLICATE KEY UPDATE name = NULL",
        f"TP501 {T}",
        None,
    ),
    (
        "INSERT INTO t (id, nick) VALUES (1, 'a') ON DUPLICATE KEY UPDATE nick = 'b'",
        f"TP501 {T}",
        "",
    ),
    ("INSERT INTO t (id, nick) VALUES (1, 'a') ON DUPLICATE KEY UPDATE name = 'b'", "", None),
    ("INSERT INTO t (id, nick) VALUES (90, 'a') ON DUPLICATE KEY UPDATE name = 'b'", "", None),
    ("INSERT INTO t (name, email) VALUES ('a', :x) ON DUPLICATE KEY UPDATE name = :x", "", None),
    ("INSERT INTO t (id, name) VALUES (:n, 'a') ON DUPLICATE KEY UPDATE name = :n", "", None),
    (
        "INSERT INTO t (id, name) VALUES (1, 'a') ON DUPLICATE KEY UPDATE name = ifnull(:y, name)",
        "",
        None,
    ),
    # INSERT ... SELECT
    ("INSERT INTO t (name) SELECT :x", f"TP502 x -> {T}", ""),
    ("INSERT INTO t (name) SELECT :x FROM s WHERE w <> :y", f"TP502 x -> {T}", ""),
    ("INSERT INTO t (name) SELECT :x FROM s WHERE :x IS NOT NULL", "", None),
    ("INSERT INTO t (name) SELECT v FROM s", f"TP503 {T}", ""),
    ("INSERT INTO t (name) (SELECT w FROM s)", "", None),
    ("INSERT INTO t (name) SELECT v FROM s WHERE v <> ''", "", None),
    ("INSERT INTO t (name) SELECT s.w FROM t LEFT JOIN s ON s.t_id = t.id", f"TP503 {T}", ""),
    ("INSERT INTO t (nick) SELECT w FROM s", f"TP501 {T}", ""),
    ("INSERT INTO t (name) VALUES ((SELECT w FROM s WHERE id = 99))", f"TP503 {T}", None),
    # engines without transactions
    ("INSERT INTO isam (id, a) VALUES (5, :n)", "TP502 n -> writes.isam.a", None),
    ("INSERT INTO isam (id, a) VALUES (5, :n), (6, :m)", "TP502 n -> writes.isam.a", ""),
    ("INSERT INTO isam (id) VALUES (5), (6)", "TP501 writes.isam.a", ""),
    ("INSERT INTO isam (id, a) SELECT 7, :n", "TP502 n -> writes.isam.a", ""),
    ("UPDATE memory_rows SET a = :n", "TP502 n -> writes.memory_rows.a", ""),
    (
        "INSERT INTO memory_rows (id, a) VALUES (5, 1), (1, 2) ON DUPLICATE KEY UPDATE a = :n",
        "",
        None,
    ),
    (
        "INSERT INTO memory_rows (id, a) VALUES (1, 2) ON DUPLICATE KEY UPDATE a = :n",
        "TP502 n -> writes.memory_rows.a",
        None,
    ),
    # kinds of columns
    ("INSERT INTO moods (id) VALUES (5)", "", None),
    ("INSERT INTO moods (id, mood) VALUES (5, DEFAULT)", "", None),
    ("INSERT INTO moods (id, mood) VALUES (5, NULL)", "TP501 writes.moods.mood", None),
    ("INSERT INTO moments (id) VALUES (5)", "TP501 writes.moments.at", ""),
    ("INSERT INTO moments (id, at) VALUES (5, NULL)", "", None),
    ("UPDATE moments SET at = NULL", "", None),
    ("UPDATE moments SET day = NULL", "TP501 writes.moments.day", ""),
    ("INSERT INTO expressions (id) VALUES (5)", "", None),
    ("INSERT INTO generated (id, a) VALUES (5, :n)", "TP502 n -> writes.generated.a", None),
    ("INSERT INTO generated VALUES (5, :n, DEFAULT)", "TP502 n -> writes.generated.a", None),
    ("INSERT INTO hidden VALUES (5, :n)", "TP502 n -> writes.hidden.a", None),
    ("INSERT INTO divided VALUES (5, :n)", "TP502 n -> writes.divided.a", None),
    # triggers, views, temporary tables
    ("INSERT INTO before_insert (id, a) VALUES (5, NULL)", "", None),
    ("UPDATE before_insert SET a = NULL", "TP501 writes.before_insert.a", ""),
    ("UPDATE before_update SET a = NULL", "", None),
    ("INSERT INTO before_update (id, a) VALUES (5, NULL)", "TP501 writes.before_update.a", None),
    ("INSERT INTO before_update (id, a) VALUES (1, 1) ON DUPLICATE KEY UPDATE a = NULL", "", None),
    ("INSERT INTO after_insert (id, a) VALUES (5, NULL)", "TP501 writes.after_insert.a", None),
    ("INSERT INTO shadowed (id, a) VALUES (5, NULL)", "", None),
    # others
    ("DELETE FROM t WHERE name = :x", "", None),
    ("SELECT name FROM t WHERE name = :x", "", None),
]

# Statements that fail in strict mode although nothing is found: it is not certain in general.
SILENT = [
    "INSERT INTO v (name) VALUES (NULL)",
    "UPDATE t JOIN s ON s.t_id = t.id SET t.name = NULL",
    "INSERT INTO t (name) SELECT NULL UNION ALL SELECT 'a'",
    "INSERT INTO t (name) VALUES (NULL) /*! , ('a') */",
    "INSERT INTO divided PARTITION (p0) (id, a) VALUES (0, NULL)",
]


@pytest.fixture(scope="module")
def server(mariadb: MariaDB) -> Iterator[MariaDB]:
    """The server, with the database of these tests."""
    statements = ["CREATE OR REPLACE DATABASE writes", "USE writes", *STRUCTURE.split(";\n")]
    asyncio.run(executed(mariadb, *filter(str.strip, statements)))
    yield mariadb
    asyncio.run(executed(mariadb, "DROP DATABASE writes"))


async def executed(server: MariaDB, *statements: str) -> None:
    engine = create_async_engine(server.url(), poolclass=NullPool)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
    await engine.dispose()


@asynccontextmanager
async def connected(
    server: MariaDB, mode: str, driver: str = "aiomysql"
) -> AsyncIterator[AsyncConnection]:
    url = server.url(driver).replace("/typedpool", "/writes")
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql(f"SET sql_mode = '{mode}'")
            await connection.exec_driver_sql(TEMPORARY)
            yield connection
    finally:
        await engine.dispose()


def verdicts(description: Description) -> str:
    """Return what is found in the writes, if each parameter may be None."""
    found = {each for write in description.writes or () for each in _verdicts(write)}
    return ", ".join(sorted(found))


def only_write(description: Description) -> ColumnWrite:
    assert description.writes is not None
    assert len(description.writes) == 1
    return description.writes[0]


def _verdicts(write: ColumnWrite) -> list[str]:
    name = write.column.name
    if not write.column.not_null:
        return []
    if write.source in (ValueSource.OMITTED, ValueSource.DEFAULT, ValueSource.NULL):
        return [f"TP501 {name}"]
    maybe = write.nullable and not write.parameters
    return [f"TP502 {each} -> {name}" for each in write.parameters] + ["TP503 " + name] * maybe


# A column is NULL; a column has no default; the same in a view.
NULL_ERRORS = (1048, 1364, 1423)
RESTORED = [
    "DELETE FROM isam",
    "DELETE FROM memory_rows",
    "INSERT INTO memory_rows VALUES (1, 1, 1)",
]


async def is_refused(connection: AsyncConnection, sql: str, values: dict[str, Any]) -> bool:
    """Execute a statement and roll it back; return whether a NULL was refused."""
    number = await error_number(connection, sql, values)
    if number not in (0, *NULL_ERRORS):
        raise AssertionError(f"{sql}: {number}")
    return number != 0


async def error_number(connection: AsyncConnection, sql: str, values: dict[str, Any]) -> int:
    """Execute a statement and roll it back; return the number of its error, or 0."""
    try:
        await connection.execute(text(sql), values)
    except DBAPIError as error:
        return int(error.orig.args[0]) if error.orig is not None else -1
    finally:
        await connection.rollback()
        for statement in RESTORED if "isam" in sql or "memory_rows" in sql else ():
            await connection.exec_driver_sql(statement)
    return 0


async def wrong(connection: AsyncConnection, sql: str, found: str) -> list[str]:
    """Return where the execution of a statement differs from what is found in it."""
    values = {name: value for name, value in VALUES.items() if f":{name}" in sql}
    always = "TP501" in found or "TP503" in found
    failures = []
    if await is_refused(connection, sql, values) != always:
        failures.append(f"{sql}: with values")
    for name in values:
        fails = always or f"TP502 {name} ->" in found
        if await is_refused(connection, sql, values | {name: None}) != fails:
            failures.append(f"{sql}: with {name} = None")
    return failures


# A mode of the connection, and whether it is a strict one.
MODES = {"STRICT_TRANS_TABLES": True, "": False}


@pytest.mark.parametrize("mode", MODES)
def test_what_is_found_in_a_write_is_as_judged(server: MariaDB, mode: str) -> None:
    async def main() -> list[str]:
        failures = []
        async with connected(server, mode) as connection, describer(connection) as database:
            for sql, strict, loose in CASES:
                description = await database.describe(sql)
                expected = strict if MODES[mode] or loose is None else loose
                if description.writes is None or verdicts(description) != expected:
                    failures.append(f"{sql}: {description.writes and verdicts(description)}")
        return failures

    assert asyncio.run(main()) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_write_fails_as_judged(server: MariaDB, mode: str) -> None:
    async def main() -> list[str]:
        async with connected(server, mode) as connection:
            return [
                line
                for sql, strict, loose in CASES
                for line in await wrong(
                    connection, sql, strict if MODES[mode] or loose is None else loose
                )
            ]

    assert asyncio.run(main()) == []


def test_nothing_is_found_where_a_failure_is_not_certain(server: MariaDB) -> None:
    async def main() -> None:
        async with connected(server, "STRICT_TRANS_TABLES") as connection:
            async with describer(connection) as database:
                found = [verdicts(await database.describe(sql)) for sql in SILENT]
            assert found == [""] * len(SILENT)
            assert all([await is_refused(connection, sql, {}) for sql in SILENT])

    asyncio.run(main())


def test_strict_mode_of_all_tables_applies_to_all_rows_of_every_engine(server: MariaDB) -> None:
    async def main() -> None:
        sql = "INSERT INTO isam (id, a) VALUES (5, :n), (6, :m)"
        async with connected(server, "STRICT_ALL_TABLES") as connection:
            async with describer(connection) as database:
                found = verdicts(await database.describe(sql))
            assert found == "TP502 m -> writes.isam.a, TP502 n -> writes.isam.a"
            assert await is_refused(connection, sql, {"n": 1, "m": None})

    asyncio.run(main())


@pytest.mark.parametrize("driver", ["aiomysql", "asyncmy"])
@pytest.mark.parametrize("mode", MODES)
def test_lengths_and_labels_are_those_that_strict_mode_enforces(
    server: MariaDB, mode: str, driver: str
) -> None:
    too_long, no_label = 1406, 1265

    async def main() -> None:
        async with connected(server, mode, driver) as connection:
            async with describer(connection) as database:
                found = await database.describe("INSERT INTO t (name) VALUES (:x)")
                moods = await database.describe("INSERT INTO moods VALUES (5, :x)")
                ignored = await database.describe("INSERT IGNORE INTO t (name) VALUES (:x)")
            name, mood, free = map(only_write, (found, moods, ignored))
            strict = MODES[mode]
            assert name.column.max_length == (20 if strict else None)
            assert mood.column.accepted == (("sad", "it's ok") if strict else ())
            assert free.column.max_length is None
            execute = error_number
            sql = "INSERT INTO t (name) VALUES (:x)"
            assert await execute(connection, sql, {"x": "é" * 20}) == 0
            assert await execute(connection, sql, {"x": "é" * 21}) == (too_long if strict else 0)
            sql = "INSERT INTO moods VALUES (5, :x)"
            assert await execute(connection, sql, {"x": "glad"}) == (no_label if strict else 0)

    asyncio.run(main())


def test_the_strict_mode_and_triggers_change_the_fingerprint_of_writes_only(
    server: MariaDB,
) -> None:
    statements = ["SELECT a FROM changing", "INSERT INTO changing (a) VALUES (:x)"]

    async def fingerprints(mode: str) -> list[str]:
        async with connected(server, mode) as connection, describer(connection) as database:
            return [(await database.describe(sql)).fingerprint for sql in statements]

    async def main() -> None:
        await executed(server, "CREATE TABLE writes.changing (a INT NOT NULL)")
        first, loose = await fingerprints("STRICT_TRANS_TABLES"), await fingerprints("")
        await executed(
            server,
            "USE writes",
            "CREATE TRIGGER c BEFORE INSERT ON changing FOR EACH ROW SET NEW.a = 1",
        )
        triggered = await fingerprints("STRICT_TRANS_TABLES")
        await executed(server, "DROP TABLE writes.changing")
        assert first[0] == loose[0] == triggered[0]
        assert len({first[1], loose[1], triggered[1]}) == 3

    asyncio.run(main())


def test_a_trigger_is_found_without_the_privilege_to_read_it(server: MariaDB) -> None:
    async def main() -> None:
        await executed(
            server,
            "CREATE OR REPLACE USER writer@'127.0.0.1' IDENTIFIED BY 's3cret'",
            "GRANT INSERT ON writes.before_insert TO writer@'127.0.0.1'",
            "GRANT INSERT ON writes.plain TO writer@'127.0.0.1'",
        )
        url = make_url(server.url()).set(username="writer", password="s3cret", database="writes")
        engine = create_async_engine(url, poolclass=NullPool)
        async with describer(engine) as database:
            found = await database.describe("INSERT INTO before_insert (id, a) VALUES (5, :x)")
            assert verdicts(found) == ""
            found = await database.describe("INSERT INTO plain (id, a) VALUES (5, :x)")
            assert verdicts(found) == "TP502 x -> writes.plain.a"
        await engine.dispose()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("mode", "sql"),
    [
        ("ORACLE", "INSERT INTO t (name) VALUES (:x)"),
        ("ANSI_QUOTES", 'INSERT INTO t ("name") VALUES (:x)'),
        ("NO_BACKSLASH_ESCAPES", "INSERT INTO t (name, nick) VALUES (:x, 'a\\')"),
        ("STRICT_ALL_TABLES", "INSERT INTO t (name) VALUES (:x) # , ('a')"),
    ],
)
def test_a_statement_that_the_mode_changes_is_unknown(server: MariaDB, mode: str, sql: str) -> None:
    async def main() -> None:
        async with connected(server, mode) as connection, describer(connection) as database:
            assert (await database.describe(sql)).writes is None

    asyncio.run(main())
