"""The cases that run on both paths of every driver: a table of statements.

The rules in `slow` say which calls take the slow path; see `Case`. Every other call must take the
fast path on a driver that has one.
"""

from __future__ import annotations

import asyncio
import datetime
import decimal
import enum
import uuid
from collections import defaultdict
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import sqlalchemy as sa

from sqla_typedpool import Json
from tests.support.both_paths import Case, Pair
from tests.support.both_paths_database import driver_connection

# ------------------------------------------------------------------------------ row types


@dataclass
class Item:
    id: int
    name: str
    nick: str | None


class Named(NamedTuple):
    id: int
    name: str


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Shouted(sa.types.TypeDecorator[str]):
    """Stores lower case, returns upper case."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value.lower()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value.upper()


class Refusing(sa.types.TypeDecorator[str]):
    """Refuses every value that comes from the database, or is sent to it."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        raise ValueError(f"bind {value}")

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        raise ValueError(f"result {value}")


METADATA = sa.MetaData()


def _items(**types: Any) -> sa.Table:
    columns = {
        "name": sa.String(40),
        "price": sa.Numeric(10, 2),
        "nick": sa.String(40),
        "color": sa.String(10),
        "tags": sa.JSON,
        "at": sa.DateTime,
        "is_new": sa.Boolean,
        "raw": sa.LargeBinary,
        **types,
    }
    return sa.Table(
        "bp_items",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        *[sa.Column(name, each) for name, each in columns.items()],
    )


items = _items()
colored = _items(color=sa.Enum(Color, native_enum=False), name=Shouted(40))
refusing = _items(name=Refusing(40))
with_default = sa.Table(
    "bp_items",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(40), default="default"),
)

# ------------------------------------------------------------------------------ the words

ANY = ""  # every call
EXECUTE = "execute"
FETCH = "fetch"
NO_ROWS = ("fetch_all", "execute")
SERVER_DRIVERS = ("asyncpg", "psycopg", "aiomysql", "asyncmy")
POSTGRES = ("asyncpg", "psycopg")
IN_TRANSACTION = ("connection", "begun", "savepoint", "session")
ALL_FUNCTIONS = ("fetch_all", "fetch_one", "fetch_optional", "execute")
ONE_ROW = "SELECT id, name, nick FROM bp_items WHERE id = 2"
INSERT = "INSERT INTO bp_items (id, name, price) VALUES (:id, :name, :price)"
NEW = {"id": 7, "name": "Di", "price": 3}


def returning(
    name: str, statement: Any, *args: Any, slow: tuple[str, ...] = (), **more: Any
) -> Case:
    """Return a case of DML that returns rows; `execute` takes the slow path."""
    return Case(name, statement, *args, slow=(*slow, EXECUTE), **more)


# MariaDB has no UPDATE ... RETURNING
POSTGRES_AND_SQLITE = ("asyncpg", "psycopg", "aiosqlite")

# ------------------------------------------------------------------------------ hooks


async def kill_session(pair: Pair, db: Any) -> None:
    """Kill the session of the connection on the server."""
    if pair.driver == "asyncpg":
        number = (await _raw(db)).get_server_pid()
    elif pair.driver == "psycopg":
        number = (await _raw(db)).info.backend_pid
    else:
        number = (await _raw(db)).thread_id()
    if pair.family == "postgresql":
        await pair.observer.rows(f"SELECT pg_terminate_backend({number}, 5000)")
        # until the driver has read the end of its socket, so that both paths find it closed
        await asyncio.sleep(0.02)
    else:
        await pair.observer.rows(f"KILL {number}")
        await asyncio.sleep(0.05)


async def _raw(db: Any) -> Any:
    if hasattr(db, "sync_session"):
        db = await db.connection()
    return driver_connection(db)


async def close_driver(pair: Pair, db: Any) -> None:
    """Close the driver's connection, without SQLAlchemy."""
    closed = (await _raw(db)).close()
    if asyncio.iscoroutine(closed):
        await closed


async def close_connection(pair: Pair, db: Any) -> None:
    await db.close()


async def roll_back(pair: Pair, db: Any) -> None:
    await db.rollback()


async def invalidate(pair: Pair, db: Any) -> None:
    await (db if hasattr(db, "sync_connection") else await db.connection()).invalidate()


# ------------------------------------------------------------------------------ the tables

READS = [
    Case("one row", ONE_ROW, None, Item, functions=ALL_FUNCTIONS),
    Case(
        "all rows",
        "SELECT id, name, nick FROM bp_items ORDER BY id",
        None,
        Item,
        functions=ALL_FUNCTIONS,
    ),
    Case(
        "no row",
        "SELECT id, name, nick FROM bp_items WHERE id = 0",
        None,
        Item,
        functions=ALL_FUNCTIONS,
    ),
    Case(
        "one parameter",
        "SELECT name FROM bp_items WHERE id = :id",
        {"id": 1},
        str,
        functions=ALL_FUNCTIONS,
    ),
    Case("a named tuple", "SELECT id, name FROM bp_items WHERE id = :id", {"id": 1}, Named),
    Case(
        "a parameter twice",
        "SELECT id FROM bp_items WHERE id = :n OR id = :n + 1 ORDER BY id",
        {"n": 1},
        int,
    ),
    Case(
        "every column",
        "SELECT * FROM bp_items ORDER BY id",
        None,
        tuple[int, str, object, object, object, object, object, object, object],
    ),
    Case(
        "a number",
        {"postgresql": "SELECT 1::smallint", "sqlite": "SELECT 1", "mysql": "SELECT 1"},
        None,
        int,
    ),
    Case(
        "a float",
        {"postgresql": "SELECT 1.5::float8", "sqlite": "SELECT 1.5", "mysql": "SELECT 1.5e0"},
        None,
        float,
    ),
    Case(
        "a decimal",
        {"postgresql": "SELECT 1.50::numeric", "mysql": "SELECT 1.50"},
        None,
        decimal.Decimal,
    ),
    Case("a price", "SELECT price FROM bp_items ORDER BY id", None, object),
    Case("a time", "SELECT at FROM bp_items WHERE id = 1", None, object),
    Case("a boolean", "SELECT is_new FROM bp_items ORDER BY id", None, object),
    Case("bytes", "SELECT raw FROM bp_items WHERE id = 2", None, bytes),
    Case("json", "SELECT tags FROM bp_items ORDER BY id", None, object),
    Case(
        "decoded json",
        "SELECT tags FROM bp_items WHERE id = 1",
        None,
        Annotated[dict[str, list[Any]], Json()],
    ),
    Case("an array", {"postgresql": "SELECT ARRAY[1, NULL, 3]"}, None, list[int | None]),
    Case("an interval", {"postgresql": "SELECT interval '1 day 2 seconds'"}, None, object),
    Case(
        "a uuid",
        {"postgresql": "SELECT '12345678-1234-1234-1234-123456789abc'::uuid"},
        None,
        uuid.UUID,
    ),
    Case("a range", {"postgresql": "SELECT int4range(1, 5)"}, None, object),
    Case(
        "an address",
        {"postgresql": "SELECT '10.0.0.0/8'::cidr, '::1'::inet"},
        None,
        tuple[object, object],
    ),
    Case("void", {"postgresql": "SELECT pg_advisory_xact_lock(7)"}, None, object),
    Case("NULL", "SELECT NULL AS nothing", None, object, functions=ALL_FUNCTIONS),
    Case(
        "NULL instead of a number",
        "SELECT nick FROM bp_items WHERE id = 1",
        None,
        str,
        functions=ALL_FUNCTIONS,
    ),
    Case("no column", {"postgresql": "SELECT FROM bp_items"}, None, object),
    Case("values", "VALUES (1, 'a'), (2, 'b')", None, tuple[int, str]),
    Case("table", {"postgresql": "TABLE bp_children"}, None, tuple[int, int | None]),
    Case(
        "a common table expression",
        "WITH some AS (SELECT id FROM bp_items WHERE id < :most) SELECT id FROM some ORDER BY id",
        {"most": 3},
        int,
    ),
    Case(
        "a recursive expression",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
        "WHERE i < 1500) SELECT i FROM n",
        None,
        int,
    ),
    Case(
        "a union", "SELECT id FROM bp_items UNION SELECT id FROM bp_children ORDER BY 1", None, int
    ),
    Case("in parentheses", {"postgresql": "(SELECT 1)", "mysql": "(SELECT 1)"}, None, int),
    Case(
        "after a comment",
        "-- why\n/* what; */ SELECT 1",
        None,
        int,
        slow=("psycopg engine", "mysql"),
    ),
    Case(
        "for update",
        {
            "postgresql": "SELECT id FROM bp_items ORDER BY id FOR UPDATE",
            "mysql": "SELECT id FROM bp_items ORDER BY id FOR UPDATE",
        },
        None,
        int,
    ),
    Case(
        "a percent sign",
        "SELECT 'a%b' AS a, '%s' AS b, '%%' AS c, '%(x)s' AS d",
        None,
        tuple[str, str, str, str],
    ),
    Case(
        "a percent sign and a parameter",
        "SELECT name FROM bp_items WHERE name LIKE 'A%' AND id < :n",
        {"n": 9},
        str,
    ),
    Case("a modulo", "SELECT 7 % 4", None, int),
    Case("a semicolon in a string", "SELECT ';' AS a", None, str, slow=("psycopg engine", "mysql")),
    Case("a semicolon at the end", "SELECT 1;", None, int),
    Case("two statements", "SELECT 1; SELECT 2", None, int, slow=("psycopg engine", "mysql")),
    Case("an escaped colon", "SELECT '\\:name' AS a", None, str),
    Case("a cast with colons", {"postgresql": "SELECT 1::text"}, None, str),
    Case("a question mark", "SELECT '?' AS a", None, str),
    Case("a dollar sign", "SELECT '$1' AS a", None, str),
    Case("not ascii", "SELECT 'žluťoučký' AS \"ü\"", None, str, drivers=POSTGRES_AND_SQLITE),
    Case(
        "names with special characters",
        {
            "postgresql": 'SELECT "a b", "a:b", "a%b", "a;b", "ünï" FROM "bp odd %"',
            "sqlite": 'SELECT "a b", "a:b", "a%b", "a;b", "ünï" FROM "bp odd %"',
            "mysql": "SELECT `a b`, `a:b`, `a%b`, `a;b`, `ünï` FROM `bp odd %`",
        },
        None,
        tuple[int, int, int, int, int],
        slow=("psycopg engine", "mysql"),
    ),
    Case(
        "a column name with a point",
        {
            "postgresql": 'SELECT 1 AS "a.b"',
            "sqlite": 'SELECT 1 AS "a.b"',
            "mysql": "SELECT 1 AS `a.b`",
        },
        None,
        int,
    ),
    Case(
        "an unfit name with a point",
        {
            "postgresql": "SELECT 1 AS \"a.id\", 'x' AS name",
            "sqlite": "SELECT 1 AS \"a.id\", 'x' AS name",
            "mysql": "SELECT 1 AS `a.id`, 'x' AS name",
        },
        None,
        Named,
    ),
    Case(
        "a system function",
        {
            "postgresql": "SELECT current_user::text",
            "mysql": "SELECT current_user()",
            "sqlite": "SELECT sqlite_version()",
        },
        None,
        str,
    ),
    Case(
        "show",
        {"postgresql": "SHOW server_version_num", "mysql": "SHOW VARIABLES LIKE 'port'"},
        None,
        object,
        slow=("postgresql engine", "mysql"),
        functions=("fetch_all",),
    ),
    Case(
        "explain",
        {"postgresql": "EXPLAIN (COSTS off) SELECT 1", "sqlite": "EXPLAIN SELECT 1"},
        None,
        object,
        slow=("postgresql engine", "mysql"),
    ),
    Case(
        "an affinity",
        {"sqlite": "SELECT CAST('7' AS text), 1.0, x'00', NULL, 9007199254740993"},
        None,
        tuple[object, object, object, object, object],
    ),
]

PARAMETERS = [
    Case(
        f"a parameter: {name}",
        {
            "postgresql": f"SELECT CAST(:p AS {sql[0]})",
            "sqlite": "SELECT :p",
            "mysql": f"SELECT CAST(:p AS {sql[1]})",
        },
        {"p": value},
        object,
        places=("engine", "begun"),
    )
    for name, sql, value in (
        ("int", ("int", "signed"), 7),
        ("bigint", ("bigint", "signed"), 2**40),
        ("text", ("text", "char"), "a'b\"c\\d%e;f"),
        ("none", ("int", "signed"), None),
        ("float", ("float8", "double"), 1.25),
        ("bool", ("bool", "signed"), True),
        ("decimal", ("numeric", "decimal(9, 3)"), decimal.Decimal("1.125")),
        ("date", ("date", "date"), datetime.date(2024, 2, 29)),
        ("datetime", ("timestamp", "datetime"), datetime.datetime(2024, 2, 29, 1, 2, 3)),
        ("time", ("time", "time"), datetime.time(1, 2, 3)),
        ("bytes", ("bytea", "binary"), b"\x00\xff"),
        ("uuid", ("uuid", "char"), uuid.UUID(int=7)),
        ("too large a number", ("int", "signed"), 2**70),
        ("a string for a number", ("int", "signed"), "seven"),
        ("a number for a string", ("text", "char"), 7),
        ("an object", ("text", "char"), object),
        ("a NUL character", ("text", "char"), "a\0b"),
        ("a lone surrogate", ("text", "char"), "\ud800"),
        ("a member of an enum", ("text", "char"), Color.RED),
        ("a list", ("int[]", "char"), [1, 2]),
        ("an empty list", ("int[]", "char"), []),
        ("a dict", ("json", "char"), {"a": 1}),
        ("a set", ("text", "char"), {1}),
    )
] + [
    Case("a missing parameter", "SELECT :a", {}, object, slow=(ANY,)),
    Case("no parameters at all", "SELECT :a", None, object, slow=(ANY,)),
    Case("a misspelt parameter", "SELECT :a", {"b": 1}, object, slow=(ANY,)),
    Case(
        "a parameter too many", "SELECT id FROM bp_items WHERE id = :id", {"id": 1, "more": 2}, int
    ),
    Case("parameters for none", "SELECT 1", {"more": 2}, int),
    Case("no parameters for none", "SELECT 1", {}, int),
    Case("a parameter that is no name", "SELECT 1", {1: 2}, int),
    Case(
        "a defaultdict",
        "SELECT id FROM bp_items WHERE id = :id",
        defaultdict(lambda: 1),
        int,
        slow=(ANY,),
    ),
    Case(
        "a read-only mapping",
        "SELECT id FROM bp_items WHERE id = :id",
        MappingProxyType({"id": 1}),
        int,
    ),
    Case(
        "a list of parameters",
        "SELECT id FROM bp_items WHERE id = :id",
        [{"id": 1}],
        int,
        slow=(ANY,),
    ),
    Case("several parameters in a list", INSERT, [NEW, {**NEW, "id": 8}], int, slow=(ANY,)),
    Case("an empty list of parameters", "SELECT 1", [], int, slow=(ANY,)),
    Case("a tuple of parameters", "SELECT 1", (1,), int, slow=(ANY,)),
    Case("a string for parameters", "SELECT 1", "id", int, slow=(ANY,)),
    Case("a number for parameters", "SELECT 1", 7, int, slow=(ANY,)),
    Case(
        "names like Python's",
        "SELECT CAST(:self AS char(1)), CAST(:class AS char(1))",
        {"self": "a", "class": "b"},
        tuple[str, str],
    ),
    Case(
        "a secret parameter",
        "SELECT CAST(:secret AS int)",
        {"secret": "s3cret"},
        int,
        variant="hidden parameters",
    ),
]

ERRORS = [
    Case("a syntax error", "SELEC 1", None, object, slow=("postgresql engine", "mysql")),
    Case("a syntax error after select", "SELECT 1 FROM FROM x", None, object),
    Case("an unknown column", "SELECT nothing FROM bp_items", None, object),
    Case("an unknown table", "SELECT 1 FROM bp_nowhere WHERE 1 = :n", {"n": 1}, object),
    Case("an unknown function", "SELECT bp_nothing(1)", None, object),
    Case("a division by zero", "SELECT 1 / :n", {"n": 0}, object),
    Case("a division by zero in a literal", "SELECT id / (id - 1) FROM bp_items", None, object),
    Case(
        "a division by zero in a hidden row",
        "SELECT 1 / (id - 3) FROM bp_items ORDER BY id",
        None,
        object,
    ),
    Case(
        "an overflow",
        {
            "postgresql": "SELECT 2147483647 + :n",
            "mysql": "SELECT 9223372036854775807 + :n",
            "sqlite": "SELECT abs(-9223372036854775807 - :n)",
        },
        {"n": 1},
        object,
    ),
    Case("an empty statement", "", None, object, slow=("postgresql engine", "mysql")),
    Case("only a comment", "-- nothing", None, object, slow=("postgresql engine", "mysql")),
    Case("a taken key", INSERT, {**NEW, "id": 1}, int, functions=NO_ROWS),
    Case("no name", INSERT, {**NEW, "name": None}, int, functions=NO_ROWS),
    Case("a negative price", INSERT, {**NEW, "price": -1}, int, functions=NO_ROWS),
    Case(
        "a taken nick",
        "UPDATE bp_items SET nick = :nick WHERE id = 1",
        {"nick": "bo"},
        int,
        functions=NO_ROWS,
    ),
    Case("too long a name", INSERT, {**NEW, "name": "x" * 50}, int, functions=NO_ROWS),
    Case(
        "a taken key, ignored",
        {
            "postgresql": INSERT + " ON CONFLICT DO NOTHING",
            "sqlite": INSERT + " ON CONFLICT DO NOTHING",
            "mysql": INSERT.replace("INSERT", "INSERT IGNORE"),
        },
        {**NEW, "id": 1},
        int,
        functions=NO_ROWS,
    ),
    Case(
        "an unknown parent",
        "INSERT INTO bp_children VALUES (:id, :item)",
        {"id": 9, "item": 99},
        int,
        functions=NO_ROWS,
    ),
    Case("a deleted parent", "DELETE FROM bp_items WHERE id = 1", None, int, functions=NO_ROWS),
    returning(
        "an unknown parent, returned",
        "INSERT INTO bp_children VALUES (:id, :item) RETURNING id",
        {"id": 9, "item": 99},
        int,
    ),
    Case("an error of a function", {"postgresql": "SELECT bp_write(1)"}, None, int),
    Case(
        "an error of the server, as a warning", {"mysql": "SELECT CAST('x' AS signed)"}, None, int
    ),
    returning("a taken key, returned", INSERT + " RETURNING id", {**NEW, "id": 1}, int),
    Case(
        "hidden parameters of a broken constraint",
        INSERT,
        {**NEW, "price": -3},
        int,
        variant="hidden parameters",
        functions=NO_ROWS,
    ),
]

SHAPES = [
    Case("too many columns", "SELECT id, name, nick FROM bp_items", None, Named),
    Case("too few columns", "SELECT id FROM bp_items", None, Named),
    Case("another name", "SELECT id, nick FROM bp_items WHERE nick IS NOT NULL", None, Named),
    Case("duplicate columns", "SELECT id, id FROM bp_items", None, Named),
    Case(
        "duplicate columns in a tuple",
        "SELECT id, id FROM bp_items ORDER BY id",
        None,
        tuple[int, int],
    ),
    Case("two columns for one", "SELECT id, name FROM bp_items", None, int),
    Case(
        "a wrong type", "SELECT name FROM bp_items ORDER BY id", None, int, functions=ALL_FUNCTIONS
    ),
    Case("a wrong literal", "SELECT name FROM bp_items ORDER BY id", None, Literal["Ada"]),
    Case(
        "a wrong value in the last row",
        "SELECT nick FROM bp_items ORDER BY id DESC",
        None,
        str,
        functions=ALL_FUNCTIONS,
    ),
    Case("a wrong type of any row", "SELECT id FROM bp_items ORDER BY id", None, datetime.date),
    Case("a row type that cannot be planned", "SELECT id FROM bp_items", None, dict[str, set[int]]),
    Case(
        "a row type that cannot be hashed",
        "SELECT id FROM bp_items WHERE id = 1",
        None,
        Annotated[int, []],
        slow=(FETCH,),
    ),
    Case("a row type that is none", "SELECT id FROM bp_items", None, 7),
    Case("no rows of an insert", INSERT, NEW, Item, functions=NO_ROWS),
    Case("no rows of an update", "UPDATE bp_items SET nick = NULL", None, Item, functions=NO_ROWS),
    Case(
        "no rows of a delete",
        "DELETE FROM bp_children WHERE id = :id",
        {"id": 1},
        Item,
        functions=NO_ROWS,
    ),
    Case(
        "no rows and no change",
        "UPDATE bp_items SET nick = NULL WHERE id = 0",
        None,
        Item,
        functions=NO_ROWS,
    ),
    returning("a wrong shape of an insert", INSERT + " RETURNING id, name, price", NEW, Named),
    returning("a wrong type of an insert", INSERT + " RETURNING name", NEW, int),
    returning("a wrong value of an insert", INSERT + " RETURNING nick", NEW, str),
    returning(
        "a wrong shape of an update",
        "UPDATE bp_items SET nick = NULL RETURNING id, nick",
        None,
        int,
        drivers=POSTGRES_AND_SQLITE,
    ),
    Case(
        "a wrong shape of a function that writes",
        {"postgresql": "SELECT bp_write(7) AS a, 1 AS b"},
        None,
        int,
    ),
    Case(
        "a wrong shape of a written expression",
        {
            "postgresql": "WITH new AS (INSERT INTO bp_items (id, name) VALUES (7, 'x') "
            "RETURNING id) SELECT id, 1 FROM new"
        },
        None,
        int,
        slow=(EXECUTE,),
    ),
]

WRITES = [
    Case("an insert", INSERT, NEW, None, functions=(EXECUTE,)),
    Case(
        "two rows",
        "INSERT INTO bp_items (id, name) VALUES (7, 'a'), (8, 'b')",
        None,
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "an insert of a select",
        "INSERT INTO bp_items (id, name) SELECT id + 50, name FROM bp_items WHERE id < 3",
        None,
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "an update",
        "UPDATE bp_items SET name = :name WHERE id < :id",
        {"name": "x", "id": 3},
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "an update of nothing",
        "UPDATE bp_items SET name = 'x' WHERE id = 0",
        None,
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "an update that changes nothing",
        "UPDATE bp_items SET name = name",
        None,
        None,
        functions=(EXECUTE,),
    ),
    Case("a delete", "DELETE FROM bp_children", None, None, functions=(EXECUTE,)),
    Case(
        "a delete of nothing",
        "DELETE FROM bp_children WHERE id = 0",
        None,
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "a merge",
        {
            "postgresql": "MERGE INTO bp_children AS c USING bp_items AS i "
            "ON c.id = i.id WHEN NOT MATCHED THEN INSERT VALUES (i.id, i.id)"
        },
        None,
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "an upsert",
        {
            "postgresql": INSERT + " ON CONFLICT (id) DO UPDATE SET name = :name",
            "sqlite": INSERT + " ON CONFLICT (id) DO UPDATE SET name = :name",
            "mysql": INSERT + " ON DUPLICATE KEY UPDATE name = :name",
        },
        {**NEW, "id": 1},
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "a replace",
        {
            "sqlite": "REPLACE INTO bp_children VALUES (1, 2)",
            "mysql": "REPLACE INTO bp_children VALUES (1, 2)",
        },
        None,
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "a written expression",
        {
            "postgresql": "WITH old AS (DELETE FROM bp_children RETURNING id) "
            "INSERT INTO bp_items (id, name) SELECT id + 50, 'x' FROM old"
        },
        None,
        None,
        functions=(EXECUTE,),
        slow=(ANY,),
    ),
    Case("a function that writes", {"postgresql": "SELECT bp_write(7)"}, None, int),
    Case(
        "a lock in a table",
        {"postgresql": "SELECT pg_advisory_xact_lock(1), 1"},
        None,
        tuple[object, int],
    ),
    Case(
        "percent signs",
        "UPDATE bp_items SET name = '100%' WHERE name LIKE '%a%'",
        None,
        None,
        functions=(EXECUTE,),
    ),
    returning(
        "an insert, returned", INSERT + " RETURNING id, name", NEW, Named, functions=ALL_FUNCTIONS
    ),
    returning(
        "several rows, returned",
        "DELETE FROM bp_children RETURNING 7 AS id",
        None,
        int,
        functions=ALL_FUNCTIONS,
    ),
    returning(
        "no row, returned",
        "DELETE FROM bp_children WHERE id = 0 RETURNING id",
        None,
        int,
        functions=ALL_FUNCTIONS,
    ),
    returning(
        "an update, returned",
        "UPDATE bp_items SET name = 'x' WHERE id < 3 RETURNING name",
        None,
        str,
        drivers=POSTGRES_AND_SQLITE,
    ),
    Case(
        "returning in a string",
        "UPDATE bp_items SET name = 'returning' WHERE id = 1",
        None,
        None,
        functions=(EXECUTE,),
        slow=(EXECUTE,),
    ),
]

STATEMENTS = [
    Case(
        "create a table",
        "CREATE TABLE bp_made (n int)",
        None,
        None,
        functions=NO_ROWS,
        slow=("postgresql engine", "mysql"),
    ),
    Case(
        "create a table of a select",
        "CREATE TABLE bp_made AS SELECT 1 AS n",
        None,
        None,
        functions=(EXECUTE,),
        slow=("postgresql engine", "mysql"),
    ),
    Case(
        "drop a table",
        "DROP TABLE bp_nowhere",
        None,
        None,
        functions=(EXECUTE,),
        slow=("postgresql engine", "mysql"),
    ),
    Case(
        "a temporary table",
        "CREATE TEMPORARY TABLE IF NOT EXISTS bp_temporary (n int)",
        None,
        None,
        functions=(EXECUTE,),
        slow=("postgresql engine", "mysql"),
    ),
    Case(
        "truncate",
        {"postgresql": "TRUNCATE bp_children"},
        None,
        None,
        functions=(EXECUTE,),
        slow=("postgresql engine", "mysql"),
        places=("engine",),
    ),
    Case(
        "vacuum",
        {"postgresql": "VACUUM bp_children", "sqlite": "VACUUM"},
        None,
        None,
        functions=(EXECUTE,),
        slow=("postgresql engine", "mysql"),
    ),
    Case("a pragma", {"sqlite": "PRAGMA user_version"}, None, int),
    Case(
        "a pragma of a table",
        {"sqlite": "PRAGMA table_info(bp_children)"},
        None,
        tuple[object, object, object, object, object, object],
    ),
    Case(
        "a pragma that sets",
        {"sqlite": "PRAGMA cache_size = 500"},
        None,
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "attach",
        {"sqlite": "ATTACH ':memory:' AS other"},
        None,
        None,
        functions=(EXECUTE,),
        places=("begun",),
    ),
    Case(
        "call",
        {"postgresql": "CALL bp_rename(1, 'called')", "mysql": "CALL bp_rename(1, 'called')"},
        None,
        None,
        functions=(EXECUTE,),
        slow=("postgresql engine", "mysql"),
    ),
    Case(
        "call with a result",
        {"postgresql": "CALL bp_twice(21)", "mysql": "CALL bp_rows()"},
        None,
        object,
        slow=("postgresql engine", "mysql"),
    ),
    Case(
        "set",
        {"postgresql": "SET LOCAL work_mem = '5MB'", "mysql": "SET @bp = 1"},
        None,
        None,
        functions=NO_ROWS,
        slow=("postgresql engine", "mysql"),
    ),
    Case(
        "set a wrong value",
        {"postgresql": "SET work_mem = 'much'", "mysql": "SET SESSION sql_mode = 'nothing'"},
        None,
        None,
        functions=(EXECUTE,),
        slow=("postgresql engine", "mysql"),
    ),
    Case(
        "do",
        {"postgresql": "DO 'BEGIN RAISE NOTICE ''a''; END'", "mysql": "DO 1"},
        None,
        None,
        functions=(EXECUTE,),
        slow=("postgresql engine", "mysql"),
    ),
    Case(
        "copy",
        {"postgresql": "COPY bp_children TO STDOUT"},
        None,
        None,
        functions=(EXECUTE,),
        slow=("postgresql engine", "mysql"),
        places=("engine", "begun"),
    ),
    Case(
        "begin",
        {"sqlite": "BEGIN IMMEDIATE"},
        None,
        None,
        functions=(EXECUTE,),
        places=("engine", "connection"),
    ),
    Case(
        "commit in sql",
        {"sqlite": "COMMIT", "mysql": "COMMIT"},
        None,
        None,
        functions=(EXECUTE,),
        slow=("mysql",),
        places=("engine", "begun"),
    ),
    Case(
        "rollback in sql",
        {"sqlite": "ROLLBACK", "mysql": "ROLLBACK"},
        None,
        None,
        functions=(EXECUTE,),
        slow=("mysql",),
        places=("engine", "begun"),
    ),
    Case(
        "analyze",
        {
            "postgresql": "ANALYZE bp_items",
            "sqlite": "ANALYZE",
            "mysql": "ANALYZE TABLE bp_children",
        },
        None,
        None,
        functions=(EXECUTE,),
        slow=("postgresql engine", "mysql"),
    ),
]

CORE = [
    Case(
        "core select",
        lambda: sa.select(items.c.id, items.c.name, items.c.nick).where(items.c.id == 2),
        None,
        Item,
        functions=ALL_FUNCTIONS,
    ),
    Case(
        "core bind",
        lambda: sa.select(items.c.name).where(items.c.id == sa.bindparam("id")),
        {"id": 1},
        str,
    ),
    Case(
        "core bind, missing",
        lambda: sa.select(items.c.name).where(items.c.id == sa.bindparam("id")),
        {},
        str,
        slow=(ANY,),
    ),
    Case(
        "core bind, wrong",
        lambda: sa.select(items.c.name).where(items.c.id == sa.bindparam("id")),
        {"id": "one"},
        str,
    ),
    Case(
        "core in",
        lambda: sa.select(items.c.id).where(items.c.id.in_([1, 3])).order_by(items.c.id),
        None,
        int,
        slow=(ANY,),
    ),
    Case(
        "core limit",
        lambda: sa.select(items.c.id).order_by(items.c.id).limit(2).offset(1),
        None,
        int,
    ),
    Case(
        "core price",
        lambda: sa.select(items.c.price).order_by(items.c.id),
        None,
        decimal.Decimal | None,
    ),
    Case("core json", lambda: sa.select(items.c.tags).order_by(items.c.id), None, object),
    Case(
        "core time",
        lambda: sa.select(items.c.at).where(items.c.id != 2).order_by(items.c.id),
        None,
        datetime.datetime,
    ),
    Case("core boolean", lambda: sa.select(items.c.is_new).order_by(items.c.id), None, bool | None),
    Case("core bytes", lambda: sa.select(items.c.raw).where(items.c.id == 2), None, bytes),
    Case(
        "core enum",
        lambda: sa.select(colored.c.color).where(colored.c.id < 3).order_by(colored.c.id),
        None,
        Color,
    ),
    Case(
        "core decorator",
        lambda: sa.select(colored.c.name).where(colored.c.name == "ADA"),
        None,
        str,
    ),
    Case(
        "core decorator, used",
        lambda: sa.select(colored.c.name).order_by(colored.c.id),
        None,
        str,
        functions=ALL_FUNCTIONS,
    ),
    Case("core wrong type", lambda: sa.select(colored.c.color).order_by(colored.c.id), None, int),
    Case(
        "core refused result", lambda: sa.select(refusing.c.name).order_by(refusing.c.id), None, str
    ),
    Case(
        "core refused bind",
        lambda: sa.select(items.c.id).where(refusing.c.name == "x"),
        None,
        int,
        slow=(ANY,),
    ),
    Case("core function", lambda: sa.select(sa.func.count()).select_from(items), None, int),
    Case("core bare function", sa.func.count, None, int, slow=(ANY,)),
    Case(
        "core label",
        lambda: sa.select((items.c.id + 1).label("n"), items.c.name.label("100%")).order_by(
            items.c.id
        ),
        None,
        tuple[int, str],
    ),
    Case(
        "core duplicate columns",
        lambda: sa.select(items.c.id, items.c.id).order_by(items.c.id),
        None,
        tuple[int, int],
    ),
    Case("core literal column", lambda: sa.select(sa.literal_column("7").label("n")), None, int),
    Case(
        "core star",
        lambda: sa.select(sa.literal_column("*")).select_from(items).order_by(items.c.id),
        None,
        tuple[int, str, object, object, object, object, object, object, object],
        slow=(ANY,),
    ),
    Case(
        "core literal",
        lambda: sa.select(sa.literal("a%b;c"), sa.literal(7), sa.literal(None)),
        None,
        tuple[str, int, None],
    ),
    Case(
        "core cast",
        lambda: sa.select(sa.cast(items.c.id, sa.String(9))).order_by(items.c.id),
        None,
        str,
    ),
    Case("core null", lambda: sa.select(sa.null()), None, None),
    Case(
        "core cartesian product",
        lambda: sa.select(items.c.id).where(items.c.id == 1).where(colored.c.id == 1),
        None,
        int,
    ),
    Case(
        "core table expression",
        lambda: sa.select(sa.select(items.c.id).where(items.c.id < 3).cte("some").c.id).order_by(
            "id"
        ),
        None,
        int,
    ),
    Case(
        "core text columns",
        lambda: sa.text("SELECT id, color FROM bp_items WHERE id = 1").columns(
            sa.column("id", sa.Integer), sa.column("color", sa.Enum(Color, native_enum=False))
        ),
        None,
        tuple[int, Color],
        slow=(ANY,),
    ),
    Case(
        "text typed bind",
        lambda: sa.text("SELECT id FROM bp_items WHERE name = :n").bindparams(
            sa.bindparam("n", type_=Shouted(40))
        ),
        {"n": "ADA"},
        int,
    ),
    Case(
        "text bind with a value",
        lambda: sa.text("SELECT id FROM bp_items WHERE id = :n").bindparams(n=2),
        None,
        int,
    ),
    Case(
        "text expanding bind",
        lambda: sa.text("SELECT id FROM bp_items WHERE id IN :n ORDER BY id").bindparams(
            sa.bindparam("n", expanding=True)
        ),
        {"n": [1, 2]},
        int,
        slow=(ANY,),
    ),
    Case(
        "text refused bind",
        lambda: sa.text("SELECT id FROM bp_items WHERE name = :n").bindparams(
            sa.bindparam("n", type_=Refusing(40))
        ),
        {"n": "a"},
        int,
        slow=(ANY,),
    ),
    Case(
        "execution options",
        lambda: sa.text("SELECT 1").execution_options(yield_per=2),
        None,
        int,
        slow=(ANY,),
    ),
    Case(
        "core insert",
        lambda: sa.insert(items).values(
            id=7, name="a", is_new=True, tags={"a": 1}, at=datetime.datetime(2024, 1, 1)
        ),
        None,
        None,
        functions=NO_ROWS,
    ),
    Case(
        "core insert of parameters",
        lambda: sa.insert(items),
        {"id": 7, "name": "a"},
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "core insert of an unknown column",
        lambda: sa.insert(items),
        {"id": 7, "nothing": "a"},
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "core insert with a default",
        lambda: sa.insert(with_default).values(id=7),
        None,
        None,
        functions=(EXECUTE,),
        slow=(ANY,),
    ),
    Case(
        "core insert of several",
        lambda: sa.insert(items),
        [{"id": 7, "name": "a"}, {"id": 8, "name": "b"}],
        None,
        functions=(EXECUTE,),
        slow=(ANY,),
    ),
    Case(
        "core insert of an enum",
        lambda: sa.insert(colored).values(id=7, name="LOUD", color=Color.BLUE),
        None,
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "core insert of a wrong enum",
        lambda: sa.insert(colored).values(id=7, name="LOUD", color=7),
        None,
        None,
        functions=(EXECUTE,),
        slow=(ANY,),
    ),
    Case(
        "core update",
        lambda: sa.update(items).where(items.c.id < 3).values(name="x"),
        None,
        None,
        functions=NO_ROWS,
    ),
    Case(
        "core update of an expression",
        lambda: sa.update(items).values(price=items.c.price + 1),
        None,
        None,
        functions=(EXECUTE,),
    ),
    Case(
        "core delete",
        lambda: sa.delete(items).where(items.c.id == 2),
        None,
        None,
        functions=NO_ROWS,
    ),
    Case(
        "core broken constraint",
        lambda: sa.insert(items).values(id=1, name="a"),
        None,
        None,
        functions=(EXECUTE,),
    ),
    returning(
        "core insert, returned",
        lambda: sa.insert(items).values(id=7, name="a").returning(items.c.id, items.c.name),
        None,
        Named,
        functions=ALL_FUNCTIONS,
    ),
    returning(
        "core insert, returned as an enum",
        lambda: (
            sa.insert(colored).values(id=7, name="a", color=Color.RED).returning(colored.c.color)
        ),
        None,
        Color,
        slow=(FETCH,),
    ),
    returning(
        "core insert, wrong shape",
        lambda: sa.insert(items).values(id=7, name="a").returning(items.c.id),
        None,
        Named,
    ),
    returning(
        "core insert, refused result",
        lambda: sa.insert(items).values(id=7, name="a").returning(refusing.c.name),
        None,
        str,
        slow=(FETCH,),
    ),
    returning(
        "core update, returned",
        lambda: sa.update(items).where(items.c.id == 2).values(name="x").returning(items.c.id),
        None,
        int,
        drivers=POSTGRES_AND_SQLITE,
    ),
    returning(
        "core delete, returned",
        lambda: sa.delete(items).where(items.c.id == 2).returning(items.c.name),
        None,
        str,
    ),
    Case(
        "core ddl",
        lambda: sa.schema.CreateTable(
            sa.Table("bp_made", sa.MetaData(), sa.Column("n", sa.Integer))
        ),
        None,
        None,
        functions=(EXECUTE,),
        slow=(ANY,),
    ),
    Case("no statement", 7, None, int, slow=(ANY,)),
]

READ_ONLY = "read only"
STATES = [
    Case("a read on a read-only session", ONE_ROW, None, Item, variant=READ_ONLY, has_mark=False),
    Case(
        "a write on a read-only session",
        INSERT,
        NEW,
        None,
        variant=READ_ONLY,
        has_mark=False,
        functions=NO_ROWS,
    ),
    returning(
        "a returning write on a read-only session",
        INSERT + " RETURNING id",
        NEW,
        int,
        variant=READ_ONLY,
        has_mark=False,
    ),
    Case(
        "a changed row factory",
        ONE_ROW,
        None,
        Item,
        variant="row factory",
        slow=("psycopg", "aiosqlite"),
        drivers=("psycopg", "aiosqlite"),
    ),
    Case(
        "autocommit",
        ONE_ROW,
        None,
        Item,
        variant="AUTOCOMMIT",
        slow=("engine",),
        places=("engine", "connection", "begun"),
        drivers=SERVER_DRIVERS,
    ),
    Case(
        "a write with autocommit",
        INSERT,
        NEW,
        None,
        variant="AUTOCOMMIT",
        slow=("engine",),
        functions=NO_ROWS,
        places=("engine", "connection", "begun"),
    ),
    returning(
        "a wrong shape with autocommit",
        INSERT + " RETURNING id",
        NEW,
        str,
        variant="AUTOCOMMIT",
        slow=("engine",),
        places=("engine", "connection", "begun"),
    ),
    Case("serializable", ONE_ROW, None, Item, variant="SERIALIZABLE", slow=("postgresql engine",)),
    Case(
        "a write, serializable",
        INSERT,
        NEW,
        None,
        variant="SERIALIZABLE",
        slow=("postgresql engine",),
        functions=(EXECUTE,),
    ),
    Case(
        "a read-only transaction",
        {"postgresql": INSERT},
        NEW,
        None,
        has_mark=False,
        before=("SET TRANSACTION READ ONLY",),
        functions=(EXECUTE,),
        places=IN_TRANSACTION,
    ),
    Case(
        "a timeout of the server",
        {"postgresql": "SELECT 1 FROM pg_sleep(5)", "mysql": "SELECT SLEEP(5)"},
        None,
        object,
        variant="statement timeout",
        functions=("fetch_all",),
    ),
    Case(
        "a timeout of the call",
        {"postgresql": "SELECT 1 FROM pg_sleep(5)", "mysql": "SELECT SLEEP(5)"},
        None,
        object,
        timeout=0.3,
        functions=("fetch_all",),
    ),
    Case("time enough", ONE_ROW, None, Item, timeout=30, functions=ALL_FUNCTIONS),
    Case("time enough for a write", INSERT, NEW, None, timeout=30, functions=(EXECUTE,)),
    Case(
        "a killed session",
        ONE_ROW,
        None,
        Item,
        hook=kill_session,
        drivers=SERVER_DRIVERS,
        places=IN_TRANSACTION,
    ),
    Case(
        "a killed session, write",
        INSERT,
        NEW,
        None,
        hook=kill_session,
        drivers=SERVER_DRIVERS,
        places=("connection", "session"),
        functions=(EXECUTE,),
    ),
    Case(
        "a closed connection of the driver",
        ONE_ROW,
        None,
        Item,
        hook=close_driver,
        slow=("sqlite", "mysql"),
        places=("connection", "begun", "session"),
    ),
    Case(
        "a closed connection",
        ONE_ROW,
        None,
        Item,
        hook=close_connection,
        places=("connection", "session"),
        slow=(ANY,),
    ),
    Case(
        "an ended transaction",
        ONE_ROW,
        None,
        Item,
        hook=roll_back,
        places=("begun", "savepoint", "session"),
        slow=(ANY,),
    ),
    Case(
        "an invalidated connection",
        ONE_ROW,
        None,
        Item,
        hook=invalidate,
        places=("connection", "begun", "session"),
        slow=(ANY,),
    ),
    Case(
        "an aborted transaction",
        {"postgresql": ONE_ROW},
        None,
        Item,
        hook=lambda pair, db: _fail(db),
        places=("connection", "begun", "session"),
    ),
    Case(
        "an aborted transaction, write",
        {"postgresql": INSERT},
        NEW,
        None,
        hook=lambda pair, db: _fail(db),
        places=("begun", "session"),
        functions=(EXECUTE,),
    ),
    Case(
        "a dropped temporary table",
        "SELECT n FROM bp_gone",
        None,
        int,
        before=("CREATE TEMPORARY TABLE bp_gone (n int)", "DROP TABLE bp_gone"),
        places=("begun",),
    ),
    Case(
        "a temporary table of the transaction",
        "SELECT n FROM bp_own",
        None,
        int,
        before=("CREATE TEMPORARY TABLE bp_own AS SELECT 7 AS n",),
        places=("begun",),
        drivers=POSTGRES,
        functions=("fetch_all",),
    ),
]


async def _fail(db: Any) -> None:
    try:
        await db.execute(sa.text("SELECT 1 / 0"))
    except sa.exc.DBAPIError:
        return
    raise AssertionError("the statement has not failed")


CASES = [*READS, *PARAMETERS, *ERRORS, *SHAPES, *WRITES, *STATEMENTS, *CORE, *STATES]
