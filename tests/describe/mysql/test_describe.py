"""MariaDB describes: what it says is compared with what it returns."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Column, Enum, Integer, MetaData, Table, bindparam, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.describe import Describer, describer
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import DescribeTimeout, Refused
from tests.support.servers.mariadb import MariaDB

CASES = json.loads((Path(__file__).parents[1] / "nullability_cases.json").read_text())["cases"]

SCHEMA = [
    "DROP DATABASE IF EXISTS described",
    "CREATE DATABASE described",
    "USE described",
    "CREATE TABLE u (id bigint PRIMARY KEY, name varchar(50) NOT NULL, nick varchar(50),"
    " mood enum('sad','it''s ok') NOT NULL DEFAULT 'sad', data json, raw blob NOT NULL DEFAULT '')",
    "CREATE TABLE p (id bigint PRIMARY KEY, uid bigint NOT NULL, title varchar(50) NOT NULL,"
    " score decimal(10,2))",
    "CREATE TABLE ps (id bigint PRIMARY KEY, uid bigint, t varchar(50) NOT NULL)",
    "CREATE VIEW vu AS SELECT id, name, nick FROM u",
    "CREATE VIEW vl AS SELECT u.id, p.title FROM u LEFT JOIN p ON p.uid = u.id",
    "CREATE VIEW vk AS SELECT id, 'constant' AS k FROM p",
    "CREATE VIEW vmax AS SELECT name, max(id) AS m FROM u",
    "CREATE VIEW vdeep AS SELECT name FROM vmax",
    "CREATE AGGREGATE FUNCTION mine(x int) RETURNS int BEGIN DECLARE s int DEFAULT 0;"
    " DECLARE CONTINUE HANDLER FOR NOT FOUND RETURN s;"
    " LOOP FETCH GROUP NEXT ROW; SET s = s + 1; END LOOP; END",
]
ROWS = [
    "INSERT INTO u (id, name, nick) VALUES (1,'a',NULL), (2,'b','n'), (3,'c',NULL)",
    "INSERT INTO p VALUES (1,1,'t',NULL), (2,1,'t2',1)",
    "INSERT INTO ps VALUES (1,1,'a'), (2,NULL,'b'), (9,7,'c')",
]


@asynccontextmanager
async def described(server: MariaDB, driver: str) -> AsyncIterator[AsyncEngine]:
    url = server.url(driver)
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        for statement in SCHEMA:
            await connection.exec_driver_sql(statement)
    await engine.dispose()
    engine = create_async_engine(url.replace("/typedpool", "/described"), poolclass=NullPool)
    try:
        yield engine
    finally:
        await engine.dispose()


def asked(
    server: MariaDB, ask: Callable[[Describer], Awaitable[None]], driver: str = "aiomysql"
) -> None:
    async def main() -> None:
        async with described(server, driver) as engine, describer(engine) as database:
            await ask(database)

    asyncio.run(main())


def nullable(found: Description) -> str:
    return "".join(str(int(column.nullable)) for column in found.columns)


@pytest.mark.parametrize("driver", ["aiomysql", "asyncmy"])
def test_no_case_is_told_to_be_not_null_that_can_be_null(mariadb: MariaDB, driver: str) -> None:
    async def ask(database: Describer) -> None:
        columns = needless = refused = 0
        for case in CASES:
            try:
                found = nullable(await database.describe(case["sql"]))
            except Refused:
                refused += 1  # PostgreSQL's own syntax
                continue
            pairs = list(zip(found, case["nullable"], strict=True))
            assert ("0", "1") not in pairs, case["name"]
            columns += len(pairs)
            needless += pairs.count(("1", "0"))
        assert columns >= 55
        assert needless <= 12
        assert refused <= 9

    asked(mariadb, ask, driver)


@pytest.mark.parametrize(
    ("sql", "truth"),
    [
        ("SELECT name, max(id) FROM u", "11"),  # of no rows: one of NULLs
        ("SELECT name, m FROM vmax", "11"),
        ("SELECT name FROM vdeep", "1"),
        ("SELECT d.name FROM (SELECT name, max(id) m FROM u) d", "1"),
        ("SELECT name, count(*) FROM u GROUP BY name WITH ROLLUP", "10"),
        ("SELECT vk.k FROM u LEFT JOIN vk ON vk.id = u.id", "1"),
        ("SELECT a.id FROM vu a JOIN vu b USING (id) RIGHT JOIN p c ON b.name = c.score", "1"),
        ("SELECT concat(s.k, 'x') FROM u LEFT JOIN (SELECT id, 'c' k FROM p) s USING (id)", "1"),
        ("SELECT name, mine(id) FROM u", "11"),  # an aggregate of the schema's own
        ("SELECT name, id > ALL (SELECT nick FROM u) FROM u", "11"),
        ("SELECT name, id > ANY (SELECT nick FROM u) FROM u", "11"),
        ("SELECT name, (id, 1) = (SELECT 1, NULL) FROM u", "11"),
        ("SELECT name, json_depth(nick) FROM u", "01"),
        ("SELECT name, json_quote(id) FROM u", "01"),
        ("SELECT name, json_merge(name, 'x') FROM u", "01"),
        ("SELECT count(*) + id, count(*) AS n FROM u", "10"),
        ("SELECT count(*), count(nick) FROM u", "00"),
        ("SELECT 1/0, 5 % 0", "11"),
        ("SELECT (SELECT id FROM p WHERE id = 77)", "1"),
        ("INSERT INTO u (id, name) VALUES (:id, :name) RETURNING id, nick, name", "010"),
        ("DELETE FROM `p` WHERE id = :id RETURNING title, score", "01"),
        ("UPDATE u SET nick = NULL", ""),
    ],
)  # fmt: skip
def test_what_the_flags_do_not_tell_is_known(mariadb: MariaDB, sql: str, truth: str) -> None:
    async def ask(database: Describer) -> None:
        assert nullable(await database.describe(sql)) == truth

    asked(mariadb, ask)


def test_types_origins_and_labels_are_told(mariadb: MariaDB) -> None:
    async def ask(database: Describer) -> None:
        found = await database.describe("SELECT id, mood, data, raw, '5%' FROM u WHERE id = :id")
        types = [(column.type, column.python_type) for column in found.columns]
        assert types == [
            ("bigint", int),
            ("enum", str),
            ("text", str),
            ("binary", bytes),
            ("text", str),
        ]
        assert found.columns[0].origin == "described.u.id"
        assert found.columns[1].db_type.labels == ("sad", "it's ok")
        assert [(each.name, each.type) for each in found.parameters] == [("id", None)]
        assert found.server.startswith("MariaDB ")

    asked(mariadb, ask)


def test_a_core_statement_keeps_sqlalchemys_names_and_types(mariadb: MariaDB) -> None:
    table = Table("u", MetaData(), Column("id", Integer), Column("mood", Enum("sad", "x")))
    statement = select(table.c.id.label("number"), table.c.mood).where(
        table.c.id.in_(bindparam("ids", expanding=True))
    )

    async def ask(database: Describer) -> None:
        found = await database.describe(statement)
        assert [column.name for column in found.columns] == ["number", "mood"]
        assert [(each.name, each.is_list) for each in found.parameters] == [("ids", True)]

    asked(mariadb, ask)


@pytest.mark.parametrize(
    ("sql", "words", "position"),
    [
        ("SELEC 1", "syntax", 0),
        ("SELECT nam FROM u", "Unknown column", 7),
        ("SELECT id FROM no_such_table", "doesn't exist", 15),
        ("SELECT 1; SELECT 2", "syntax", 10),
    ],
)
def test_a_refusal_has_the_servers_words_and_place(
    mariadb: MariaDB, sql: str, words: str, position: int
) -> None:
    async def ask(database: Describer) -> None:
        with pytest.raises(Refused, match=words) as raised:
            await database.describe(sql)
        assert raised.value.position == position
        assert (await database.describe("SELECT 1")).columns  # and the next one is described

    asked(mariadb, ask)


def test_a_user_without_rights_is_refused_by_the_server(mariadb: MariaDB) -> None:
    async def main() -> None:
        async with described(mariadb, "aiomysql") as engine:
            async with engine.begin() as connection:
                for statement in (
                    "CREATE OR REPLACE USER poor@'127.0.0.1' IDENTIFIED BY 's3cret'",
                    "GRANT SELECT ON described.p TO poor@'127.0.0.1'",
                    "GRANT SELECT ON described.vl TO poor@'127.0.0.1'",
                ):
                    await connection.exec_driver_sql(statement)
            poor = create_async_engine(
                engine.url.set(username="poor", password="s3cret"), poolclass=NullPool
            )
            async with describer(poor) as database:
                assert nullable(await database.describe("SELECT id, score FROM p")) == "01"
                # the text of a view that it may not read may hold anything
                assert nullable(await database.describe("SELECT id FROM vl")) == "1"
                with pytest.raises(Refused, match="denied"):
                    await database.describe("SELECT name FROM u")
            await poor.dispose()

    asyncio.run(main())


def test_nothing_is_run(mariadb: MariaDB) -> None:
    async def main() -> None:
        async with described(mariadb, "aiomysql") as engine:
            async with engine.begin() as connection:
                for statement in ROWS:
                    await connection.exec_driver_sql(statement)
            async with describer(engine) as database:
                await database.describe("DELETE FROM u")
                await database.describe("DELETE FROM u RETURNING id")
                await database.describe("DROP TABLE p")
            async with engine.connect() as connection:
                found = await connection.scalar(text("SELECT count(*) FROM u"))
                assert found == 3
                assert await connection.scalar(text("SELECT count(*) FROM p")) == 2

    asyncio.run(main())


@pytest.mark.parametrize("driver", ["aiomysql", "asyncmy"])
def test_a_locked_table_exceeds_the_timeout_and_the_connection_is_not_used_again(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with described(mariadb, driver) as engine, locked(engine):
            async with engine.connect() as connection:
                async with describer(connection, timeout=0.3) as database:
                    began = time.monotonic()
                    with pytest.raises(DescribeTimeout, match=r"'SELECT id FROM u' within 0.3 s"):
                        await database.describe("SELECT id FROM u")
                    assert 0.3 <= time.monotonic() - began < 4
                assert connection.invalidated

    asyncio.run(main())


@pytest.mark.parametrize("driver", ["aiomysql", "asyncmy"])
def test_a_lock_is_waited_for_as_long_as_the_timeout_allows(mariadb: MariaDB, driver: str) -> None:
    async def main() -> None:
        async with described(mariadb, driver) as engine, describer(engine, timeout=60) as database:
            async with locked(engine) as holder:
                describing = asyncio.ensure_future(database.describe("SELECT id FROM u"))
                done, _ = await asyncio.wait({describing}, timeout=0.3)
                assert not done
                await holder.rollback()
                assert nullable(await describing) == "0"

    asyncio.run(main())


@asynccontextmanager
async def locked(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Keep everybody from describing the table u, until the transaction ends.

    The transaction has read the table; an ALTER TABLE waits for its end, and others for that.
    """
    async with engine.connect() as holder, engine.connect() as waiting, engine.connect() as other:
        await holder.exec_driver_sql("SELECT id FROM u")
        altering = asyncio.ensure_future(waiting.exec_driver_sql("ALTER TABLE u COMMENT 'x'"))
        while not await other.scalar(text(_WAITING)):
            await asyncio.sleep(0.01)
        yield holder
        await holder.rollback()
        await altering


_WAITING = (
    "SELECT count(*) FROM information_schema.processlist"
    " WHERE state = 'Waiting for table metadata lock'"
)


# ---------------------------------------------------------------------------- the fuzz

_TABLES = {
    "u": ("id", "name", "nick"),
    "p": ("id", "uid", "title", "score"),
    "ps": ("id", "uid", "t"),
    "vu": ("id", "name", "nick"),
    "vl": ("id", "title"),
    "vk": ("id", "k"),
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
        return self._select(columns)

    def _select(self, columns: int, depth: int = 0) -> str:
        source, known = self._source("a", depth)
        for number in range(self._random.choice([0, 1, 1, 2])):
            other, more = self._source("bc"[number], depth)
            word = self._random.choice(["JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN"])
            left, right = self._random.choice(known), self._random.choice(more)
            source += f" {word} {other} ON {left} = {right}"
            known += more
        group = ""
        items = [self._expression(known) for _ in range(columns)]
        style = self._random.random()
        if style < 0.2:
            key = self._random.choice(known)
            group = f" GROUP BY {key}" + self._random.choice(["", " WITH ROLLUP"])
            items = [self._random.choice([key, *self._aggregates(known)]) for _ in range(columns)]
        elif style < 0.3:
            items = [
                self._random.choice([items[0], *self._aggregates(known)]) for _ in range(columns)
            ]
        where = f" WHERE {self._random.choice(known)} > 0" if self._random.random() < 0.2 else ""
        listed = ", ".join(f"{item} AS k{place}" for place, item in enumerate(items))
        return f"SELECT {listed} FROM {source}{where}{group}"

    def _source(self, alias: str, depth: int) -> tuple[str, list[str]]:
        if depth < 2 and self._random.random() < 0.25:
            inner = self._random.randint(1, 3)
            names = [f"{alias}.k{place}" for place in range(inner)]
            return f"({self._select(inner, depth + 1)}) {alias}", names
        table = self._random.choice(list(_TABLES))
        return f"{table} {alias}", [f"{alias}.{column}" for column in _TABLES[table]]

    def _aggregates(self, known: list[str]) -> list[str]:
        column = self._random.choice(known)
        return ["count(*)", f"count({column})", f"max({column})", f"sum({column})"]

    def _expression(self, known: list[str]) -> str:
        one, two = self._random.choice(known), self._random.choice(known)
        return self._random.choice(
            [
                one, one, one, one, "1", "'x'", f"coalesce({one}, {two})", f"coalesce({one}, 0)",
                f"concat({one}, {two})", f"ifnull({one}, {two})", f"nullif({one}, {two})",
                f"if({one} > 0, {one}, {two})", f"{one} IS NULL", f"{one} = {two}", f"{one} + 1",
                f"CASE WHEN {one} > 0 THEN {two} END", f"CASE WHEN {one} > 0 THEN 1 ELSE 2 END",
                f"upper({one})", f"({one} / 2)", "(SELECT count(*) FROM p)",
                "(SELECT title FROM p ORDER BY id LIMIT 1)", "EXISTS (SELECT 1 FROM p)",
                f"greatest({one}, {two})", f"cast({one} AS char)", "now()", f"length({one})",
                f"row_number() OVER (ORDER BY {one})", f"lag({one}) OVER (ORDER BY {two})",
            ]
        )  # fmt: skip


async def _nulls(engine: AsyncEngine, sql: str) -> set[int]:
    async with engine.connect() as connection:
        rows = (await connection.exec_driver_sql(sql)).fetchall()
    return {place for row in rows for place, value in enumerate(row) if value is None}


@pytest.mark.filterwarnings("ignore::Warning")  # MariaDB warns of texts that are no numbers
def test_whatever_is_told_not_null_is_never_null(mariadb: MariaDB) -> None:
    fuzz, told, refused = Fuzz(1), 0, 0

    async def main() -> None:
        nonlocal told, refused
        async with described(mariadb, "aiomysql") as engine:
            for rows in ((), ROWS):
                async with engine.begin() as connection:
                    for statement in rows:
                        await connection.exec_driver_sql(statement)
                async with describer(engine) as database:
                    for _ in range(400):
                        told_now, refused_now = await judge(engine, database, fuzz.statement())
                        told += told_now
                        refused += refused_now

    asyncio.run(main())
    assert told > 250
    assert refused < 80


async def judge(engine: AsyncEngine, database: Describer, sql: str) -> tuple[int, int]:
    """How many columns were told to be NOT NULL, and rightly; and whether it was refused."""
    try:
        found = await database.describe(text(sql))
        nulls = await _nulls(engine, sql)
    except (Refused, DBAPIError):
        return 0, 1
    sure = {place for place, column in enumerate(found.columns) if not column.nullable}
    assert not sure & nulls, (sql, sorted(sure & nulls))
    return len(sure), 0
