"""SQLite describes: what it says is compared with what it returns."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Boolean, Column, Integer, MetaData, Table, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool.describe import Describer, describer
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import DescribeTimeout, Refused

CASES = json.loads((Path(__file__).parents[1] / "nullability_cases.json").read_text())["cases"]

SCHEMA = """
CREATE TABLE u (id integer PRIMARY KEY, name text NOT NULL, nick text, data text NOT NULL DEFAULT '{}');
CREATE TABLE p (id integer PRIMARY KEY, uid bigint NOT NULL, title text NOT NULL, score numeric);
CREATE TABLE ps (id bigint PRIMARY KEY, uid bigint, t text NOT NULL);
CREATE TABLE wr (k text PRIMARY KEY, v int NOT NULL) WITHOUT ROWID;
CREATE TABLE g (a int NOT NULL, b int GENERATED ALWAYS AS (nullif(a, 1)) VIRTUAL);
CREATE VIEW vu AS SELECT id, name, nick FROM u;
CREATE VIEW vl AS SELECT u.id, p.title FROM u LEFT JOIN p ON p.uid = u.id;
CREATE VIEW vk(number, k) AS SELECT id, 'constant' FROM p;
CREATE TABLE pd (id INTEGER PRIMARY KEY DESC, n int);
CREATE TABLE tr ("true" int, x int NOT NULL);
CREATE TABLE none (id int NOT NULL);
CREATE VIEW "v as w" (a) AS SELECT name FROM u;
CREATE VIEW vmax AS SELECT name, max(id) AS m FROM u;
"""  # noqa: E501
ROWS = """
INSERT INTO u (id, name, nick) VALUES (1,'a',NULL), (2,'b','n'), (3,'c',NULL);
INSERT INTO p VALUES (1,1,'t',NULL), (2,1,'t2',1);
INSERT INTO ps VALUES (1,1,'a'), (NULL,NULL,'b'), (9,7,'c');
INSERT INTO wr VALUES ('x', 1);
INSERT INTO g (a) VALUES (1), (2);
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA)
    connection.close()
    return path


@asynccontextmanager
async def engine_of(file: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    try:
        yield engine
    finally:
        await engine.dispose()


def asked(file: Path, ask: Callable[[Describer], Awaitable[None]]) -> None:
    async def main() -> None:
        async with engine_of(file) as engine, describer(engine) as database:
            await ask(database)

    asyncio.run(main())


def nullable(found: Description) -> str:
    return "".join(str(int(column.nullable)) for column in found.columns)


def test_no_case_is_told_to_be_not_null_that_can_be_null(file: Path) -> None:
    async def ask(database: Describer) -> None:
        columns = needless = refused = 0
        for case in CASES:
            try:
                found = nullable(await database.describe(case["sql"]))
            except Refused:
                refused += 1  # PostgreSQL's own syntax
                continue
            truth = case["nullable"]
            if case["sql"].startswith("select ps.id"):  # a primary key that may be NULL in SQLite
                truth = "1" + truth[1:]
            pairs = list(zip(found, truth, strict=True))
            assert ("0", "1") not in pairs, (case["name"], found)
            columns += len(pairs)
            needless += pairs.count(("1", "0"))
        assert columns >= 50
        assert needless <= 14, needless
        assert refused <= 10, refused

    asked(file, ask)


@pytest.mark.parametrize(
    ("sql", "truth"),
    [
        ("SELECT id FROM ps", "1"),  # a primary key that is not the row's number
        ("SELECT id FROM u", "0"),
        ("SELECT k, v FROM wr", "00"),
        ("SELECT a, b FROM g", "01"),
        ("SELECT name, max(id) FROM u", "11"),
        ("SELECT name, m FROM vmax", "11"),
        ("SELECT name, count(*) FROM u GROUP BY name", "00"),
        ("SELECT count(*) FILTER (WHERE nick > 'a'), total(id) FROM u", "01"),
        ("SELECT id + 1, id / 0, 9e999 - 9e999 FROM u", "111"),
        ("SELECT * FROM u", "0010"),
        ("SELECT p.*, u.name FROM u LEFT JOIN p ON p.uid = u.id", "11110"),
        ("SELECT u.name, p.title FROM u RIGHT JOIN p ON p.uid = u.id", "10"),
        ("SELECT u.name, p.title FROM u FULL JOIN p ON p.uid = u.id", "11"),
        ("SELECT name FROM u UNION SELECT nick FROM u", "1"),
        ("SELECT name FROM u EXCEPT SELECT nick FROM u", "0"),
        ("SELECT nick FROM u INTERSECT SELECT name FROM u", "0"),
        ("SELECT k, number FROM vk", "00"),
        ("SELECT vk.k FROM u LEFT JOIN vk ON vk.number = u.id", "1"),
        ("SELECT nick FROM u WHERE nick IS NOT NULL", "0"),
        ("SELECT nick FROM u WHERE nick LIKE 'a%' AND id > 1", "0"),
        ("SELECT nick FROM u WHERE nick > 'a' OR id > 1", "1"),
        ("SELECT nick FROM u WHERE NOT (nick IS NULL AND id > 1)", "1"),
        ("SELECT (SELECT count(*) FROM p), (SELECT id FROM p)", "01"),
        ("SELECT (SELECT count(*) FROM p GROUP BY uid), (SELECT count(*) FROM p LIMIT 0)", "11"),
        ("SELECT coalesce(nick, name), ifnull(nick, 'x'), coalesce(nick, NULL) FROM u", "001"),
        ("SELECT CASE WHEN id > 1 THEN name ELSE '' END, CASE WHEN id > 1 THEN 1 END FROM u", "01"),
        ("SELECT row_number() OVER (), lag(id) OVER (ORDER BY id), count(*) OVER () FROM u", "010"),
        ("INSERT INTO u (name) VALUES (:name) RETURNING id, nick, name AS n", "010"),
        ("UPDATE u SET nick = NULL WHERE nick IS NOT NULL RETURNING nick, name", "10"),
        ("DELETE FROM u RETURNING *", "0010"),
        ("WITH c AS (SELECT id AS number, nick FROM u) SELECT number, nick FROM c", "01"),
        ("WITH c(a, b) AS (SELECT id, nick FROM u) SELECT a, b FROM c", "01"),
        ("SELECT upper(name), length(name), name || 'x', abs(id), lower(nick) FROM u", "00011"),
        ("SELECT id IN (SELECT 1), name = 'x', name IS NULL, nick = 'x' FROM u", "1001"),
        ("VALUES (1, NULL)", "11"),
        ("UPDATE u SET nick = NULL", ""),
        ("REPLACE INTO u (id, name) VALUES (1, 'q') RETURNING name, nick", "01"),
        ("SELECT id FROM pd", "1"),  # DESC: not the row's number
        ("SELECT true, x FROM tr", "10"),  # a column of that name
        ("SELECT true FROM u", "0"),
        ('SELECT a FROM "v as w"', "0"),
        # an aggregate in a subquery, a window or its WINDOW clause makes one row of no rows
        ("SELECT name, (SELECT max(u.id)) FROM u", "11"),
        ("SELECT name, EXISTS (SELECT max(u.id)) FROM u", "10"),
        ("SELECT name, (SELECT max(p.id) FROM p WHERE p.uid = u.id) FROM u", "01"),
        ("SELECT name, (SELECT max(title) FROM p WHERE uid = u.id) FROM u", "01"),
        ("SELECT (SELECT count(u.id) FROM none) FROM u", "1"),
        ("SELECT (SELECT count(none.id) FROM none) FROM u", "0"),
        ("SELECT name, sum(count(*)) OVER () FROM u", "11"),
        ("SELECT name, row_number() OVER (ORDER BY count(*)) FROM u", "10"),
        ("SELECT name, row_number() OVER w FROM u WINDOW w AS (ORDER BY max(id))", "10"),
        ("SELECT coalesce(max(id), 0), max(id) IS NULL, 'x', coalesce(name, 1) FROM u", "0001"),
        ("SELECT printf('%s', name), name, max(id, 1) FROM u", "101"),
        # CTEs see each other and themselves, RECURSIVE or not
        ("WITH a AS (SELECT x FROM tr), tr AS (SELECT NULL AS x) SELECT x FROM a", "1"),
        ("WITH RECURSIVE a AS (SELECT x FROM tr) SELECT x FROM a", "0"),
    ],
)  # fmt: skip
def test_what_can_be_null_is_known(file: Path, sql: str, truth: str) -> None:
    async def ask(database: Describer) -> None:
        assert nullable(await database.describe(sql)) == truth

    asked(file, ask)


def test_parameters_that_are_never_none_are_not_null(file: Path) -> None:
    async def ask(database: Describer) -> None:
        assert nullable(await database.describe("SELECT :x, :y", never_null=["x", "y"])) == "00"
        assert nullable(await database.describe("SELECT :x, :y", never_null=["x"])) == "11"

    asked(file, ask)


def test_rows_missing_in_different_subqueries_are_told_apart(file: Path) -> None:
    joined = "(SELECT u.id, p.title FROM u LEFT JOIN p ON p.uid = u.id)"

    async def ask(database: Describer) -> None:
        found = await database.describe(f"SELECT a.title, b.title FROM {joined} a, {joined} b")
        assert [column.missing_with for column in found.columns] == ["a.p", "b.p"]

    asked(file, ask)


def test_functions_and_collations_of_the_application_are_understood(file: Path) -> None:
    async def main() -> None:
        async with engine_of(file) as engine, engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver = raw.driver_connection
            assert driver is not None
            await driver.create_function("mine", 1, lambda value: None)
            await driver.create_function("floor", 1, lambda value: None)
            async with describer(connection) as database:
                found = await database.describe("SELECT mine(id), name REGEXP 'x', name FROM u")
                assert nullable(found) == "110"
                await driver.create_function("upper", 1, lambda value: None)
            async with describer(connection) as database:  # SQLite's own is relied on no more
                assert nullable(await database.describe("SELECT upper(name) FROM u")) == "1"

    asyncio.run(main())


def test_types_origins_and_missing_rows_are_told(file: Path) -> None:
    async def ask(database: Describer) -> None:
        found = await database.describe(
            "SELECT u.id, p.title, 1 FROM u LEFT JOIN p ON p.uid = u.id WHERE u.id = :id"
        )
        number, title, one = found.columns
        assert (number.type, number.origin) == ("INTEGER", "main.u.id")
        assert (title.type, title.missing_with) == ("TEXT", "p")
        assert (one.type, one.origin, one.python_type) == ("expression", None, None)
        assert [(each.name, each.type) for each in found.parameters] == [("id", None)]
        assert found.server == "SQLite 3"

    asked(file, ask)


def test_a_core_statement_keeps_sqlalchemys_names(file: Path) -> None:
    table = Table("u", MetaData(), Column("id", Integer), Column("nick", Boolean))

    async def ask(database: Describer) -> None:
        found = await database.describe(select(table.c.id.label("number"), table.c.nick))
        assert [column.name for column in found.columns] == ["number", "nick"]

    asked(file, ask)


@pytest.mark.parametrize(
    ("sql", "words", "position"),
    [
        ("SELEC 1", "syntax error", 0),
        ("SELECT 'é', nam FROM u", "no such column", 12),
        ("SELECT id FROM no_such_table", "no such table", 15),
        ("SELECT 1; SELECT 2", "more than one statement", 10),
    ],
)
def test_a_refusal_has_the_librarys_words_and_place(
    file: Path, sql: str, words: str, position: int
) -> None:
    async def ask(database: Describer) -> None:
        with pytest.raises(Refused, match=words) as raised:
            await database.describe(sql)
        assert raised.value.position in (position, None)

    asked(file, ask)


def test_a_change_of_what_is_used_changes_the_fingerprint(file: Path) -> None:
    async def fingerprints() -> list[str]:
        async with engine_of(file) as engine, describer(engine) as database:
            return [
                (await database.describe(sql)).fingerprint
                for sql in ("SELECT k FROM wr", "SELECT nick FROM u")
            ]

    before = asyncio.run(fingerprints())
    with sqlite3.connect(file) as connection:
        connection.execute("ALTER TABLE wr ADD COLUMN more int")
    connection.close()
    after = asyncio.run(fingerprints())
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_a_locked_and_a_read_only_file_are_described_and_left_alone(file: Path) -> None:
    writer = sqlite3.connect(file)
    writer.execute("BEGIN IMMEDIATE")
    file.chmod(0o444)
    before = file.read_bytes()

    async def ask(database: Describer) -> None:
        assert nullable(await database.describe("DELETE FROM u RETURNING nick")) == "1"

    try:
        asked(file, ask)
    finally:
        writer.close()
    assert file.read_bytes() == before
    assert (
        sorted(path.name for path in file.parent.iterdir() if "shop" in path.name)[0] == "shop.db"
    )


def test_a_locked_file_exceeds_the_timeout(file: Path) -> None:
    async def main() -> float:
        async with engine_of(file) as engine:
            began = time.monotonic()
            with pytest.raises(DescribeTimeout, match=r"within 0.3 s; next: check whether a table"):
                async with describer(engine, timeout=0.3):
                    raise AssertionError("the describer was opened")
            return time.monotonic() - began

    with locked(file):
        assert 0.3 <= asyncio.run(main()) < 4  # sqlite3 itself waits for 5 s


def test_a_locked_file_is_waited_for_as_long_as_the_timeout_allows(file: Path) -> None:
    """Also if the connection has a lower limit of its own, which is left as it was."""

    async def main() -> None:
        async with engine_of(file) as engine, engine.connect() as connection:
            await connection.exec_driver_sql("PRAGMA busy_timeout = 1")
            with locked(file) as locker:
                opened = describer(connection, timeout=60)
                opening = asyncio.ensure_future(opened.__aenter__())
                done, _ = await asyncio.wait({opening}, timeout=0.3)
                assert not done
                locker.rollback()
                await opening
                await opened.__aexit__(None, None, None)
            assert await connection.scalar(text("PRAGMA busy_timeout")) == 1

    asyncio.run(main())


@contextmanager
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """Hold a lock on the file that keeps readers out."""
    locker = sqlite3.connect(file)
    try:
        locker.execute("BEGIN EXCLUSIVE")
        yield locker
    finally:
        locker.close()


def test_a_database_in_memory_and_an_attached_one_are_described(file: Path) -> None:
    async def main() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.connect() as connection:
            await connection.exec_driver_sql("CREATE TABLE t (a int NOT NULL, b int)")
            await connection.exec_driver_sql("CREATE TEMP TABLE tt (a int NOT NULL)")
            await connection.exec_driver_sql(f"ATTACH '{file}' AS other")
            async with describer(connection) as database:
                assert nullable(await database.describe("SELECT a, b FROM t")) == "01"
                assert nullable(await database.describe("SELECT a FROM tt")) == "0"
                assert nullable(await database.describe("SELECT name, nick FROM other.u")) == "01"
        await engine.dispose()

    asyncio.run(main())


# ---------------------------------------------------------------------------- the fuzz

_TABLES = {
    "u": ("id", "name", "nick"),
    "p": ("id", "uid", "title", "score"),
    "ps": ("id", "uid", "t"),
    "g": ("a", "b"),
    "vu": ("id", "name", "nick"),
    "vl": ("id", "title"),
    "vk": ("number", "k"),
    "vmax": ("name", "m"),
}


class Fuzz:
    """Random statements of this schema."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def statement(self) -> str:
        columns = self._random.randint(1, 4)
        if self._random.random() < 0.2:
            word = self._random.choice(["UNION ALL", "UNION", "EXCEPT", "INTERSECT"])
            return f"{self._select(columns)} {word} {self._select(columns)}"
        if self._random.random() < 0.15:
            return f"WITH w AS ({self._select(2)}) SELECT k0, k1 FROM w LEFT JOIN u ON u.id = w.k0"
        return self._select(columns)

    def _select(self, columns: int, depth: int = 0) -> str:
        source, known = self._source("a", depth)
        for number in range(self._random.choice([0, 1, 1, 2])):
            other, more = self._source("bc"[number], depth)
            word = self._random.choice(
                ["JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]
            )
            source += (
                f" {word} {other} ON {self._random.choice(known)} = {self._random.choice(more)}"
            )
            known += more
        items = [self._expression(known) for _ in range(columns)]
        group, style = "", self._random.random()
        if style < 0.2:
            key = self._random.choice(known)
            group = f" GROUP BY {key}"
            items = [self._random.choice([key, *self._aggregates(known)]) for _ in range(columns)]
        elif style < 0.3:
            mixed = [items[0], *self._aggregates(known)]
            items = [self._random.choice(mixed) for _ in range(columns)]
        listed = ", ".join(f"{item} AS k{place}" for place, item in enumerate(items))
        return f"SELECT {listed} FROM {source}{self._where(known)}{group}"

    def _where(self, known: list[str]) -> str:
        one, two = self._random.choice(known), self._random.choice(known)
        return self._random.choice(
            [
                "", "", "", f" WHERE {one} > 0", f" WHERE {one} IS NOT NULL AND {two} > 0",
                f" WHERE {one} > 0 OR {two} > 0", f" WHERE NOT {one} = {two}",
                f" WHERE {one} IS NULL", f" WHERE {one} LIKE '%'", f" WHERE {one} IS NOT {two}",
            ]
        )  # fmt: skip

    def _source(self, alias: str, depth: int) -> tuple[str, list[str]]:
        if depth < 2 and self._random.random() < 0.25:
            inner = self._random.randint(1, 3)
            names = [f"{alias}.k{place}" for place in range(inner)]
            return f"({self._select(inner, depth + 1)}) {alias}", names
        table = self._random.choice(list(_TABLES))
        return f"{table} {alias}", [f"{alias}.{column}" for column in _TABLES[table]]

    def _aggregates(self, known: list[str]) -> list[str]:
        column = self._random.choice(known)
        return [
            "count(*)",
            f"count({column})",
            f"max({column})",
            f"sum({column})",
            f"min({column})",
        ]

    def _expression(self, known: list[str]) -> str:
        one, two = self._random.choice(known), self._random.choice(known)
        return self._random.choice(
            [
                one, one, one, one, "1", "'x'", f"coalesce({one}, {two})", f"coalesce({one}, 0)",
                f"{one} || {two}", f"ifnull({one}, {two})", f"nullif({one}, {two})",
                f"iif({one} > 0, {one}, {two})", f"{one} IS NULL", f"{one} = {two}", f"{one} + 1",
                f"CASE WHEN {one} > 0 THEN {two} END", f"CASE WHEN {one} > 0 THEN 1 ELSE 2 END",
                f"upper({one})", f"({one} / 2)", "(SELECT count(*) FROM p)", f"max({one}, {two})",
                "(SELECT title FROM p ORDER BY id LIMIT 1)", "EXISTS (SELECT 1 FROM p)",
                f"cast({one} AS text)", f"length({one})", f"{one} AND {two}", f"NOT {one}",
                f"row_number() OVER (ORDER BY {one})", f"lag({one}) OVER (ORDER BY {two})",
                f"{one} LIKE {two}", f"{one} IN (1, 2)", f"{one} BETWEEN 1 AND 2",
                f"(SELECT max({one}))", f"(SELECT count({one}) FROM none)",
                f"(SELECT max(p.id) FROM p WHERE p.uid = {one})", "sum(count(*)) OVER ()",
                f"count(*) OVER (ORDER BY min({one}))", f"coalesce(max({one}), 0)",
                f"trim({one})", f"substr({one}, 1, 2)", f"cast({one} AS integer)", "NULL",
                "current_timestamp", f"{one} IS NOT {two}", f"{one} || 'x' > {two}",
            ]
        )  # fmt: skip


def judge(connection: sqlite3.Connection, found: Description, sql: str) -> int:
    """How many columns were told to be NOT NULL, and rightly."""
    rows = connection.execute(sql).fetchall()
    nulls = {place for row in rows for place, value in enumerate(row) if value is None}
    sure = {place for place, column in enumerate(found.columns) if not column.nullable}
    assert not sure & nulls, (sql, sorted(sure & nulls), found.columns)
    return len(sure)


def test_whatever_is_told_not_null_is_never_null(file: Path) -> None:
    fuzz, told, refused = Fuzz(1), 0, 0
    full = sqlite3.connect(":memory:")
    full.executescript(SCHEMA + ROWS)
    empty = sqlite3.connect(":memory:")
    empty.executescript(SCHEMA)

    async def ask(database: Describer) -> None:
        nonlocal told, refused
        for _ in range(1500):
            sql = fuzz.statement()
            try:
                found = await database.describe(sql)
            except Refused:
                refused += 1
                continue
            told += judge(full, found, sql)
            judge(empty, found, sql)

    asked(file, ask)
    full.close()
    empty.close()
    assert told > 1000, told
    assert refused < 50, refused
