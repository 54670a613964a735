"""Random writes on random tables of SQLite: none of which a failure is found succeeds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.check import Refused
from sqla_typedpool.describe import describer
from sqla_typedpool.describe.writes import ColumnWrite, ValueSource, WriteAction

SCHEMAS, STATEMENTS = 20, 30
COLUMNS = ("id", "a", "b", "c")
VALUES = {"x": "v", "y": 1}
KEYS = [
    "INTEGER PRIMARY KEY",
    "TEXT PRIMARY KEY",
    "INT PRIMARY KEY",
    "INTEGER PRIMARY KEY DESC",
    "INT NOT NULL PRIMARY KEY",
    "INTEGER PRIMARY KEY AUTOINCREMENT",
]
NOT_NULL = [
    *[" NOT NULL"] * 8,
    *[""] * 4,
    " NOT NULL ON CONFLICT IGNORE",
    " NOT NULL ON CONFLICT REPLACE",
]
DEFAULTS = [*[""] * 6, " DEFAULT 'd'", " DEFAULT NULL", " DEFAULT (nullif(1, 1))", " UNIQUE"]
ONE_VALUE = [":x", ":x", ":y", ":y", "'v'", "7", "NULL"]
AROUND = [
    "coalesce({}, 'q')",
    "upper({})",
    "trim({})",
    "({})",
    "({} || 'k')",
    "CAST({} AS TEXT)",
    "(-{})",
    "({} + 1)",
    "length({})",
    "CASE WHEN {} IS NULL THEN 'n' END",
    "({} IS NULL)",
    "nullif({}, 'v')",
    "hex({})",
    "({} OR 1)",
    "(NOT {})",
    "(SELECT {})",
    "(SELECT {} FROM s WHERE 0)",
    "iif({}, 1, 2)",
    "({} % 3)",
    "({} IN (1, 2))",
    "typeof({})",
]
CONDITIONS = [
    "1",
    "id = 1",
    "a IS NOT NULL",
    "a = :x",
    ":y IS NULL",
    ":y IS NOT NULL",
    "coalesce(:x, 1)",
]
CONFLICTS = [*[""] * 5, " OR IGNORE", " OR REPLACE", " OR FAIL"]


def table(random: Random, name: str) -> Iterator[str]:
    key = random.choice(KEYS)
    columns = [
        f"{each} {random.choice(('TEXT', 'INT'))}{random.choice(NOT_NULL)}{random.choice(DEFAULTS)}"
        for each in COLUMNS[1:]
    ]
    options = [] if "AUTO" in key or random.random() < 0.7 else ["WITHOUT ROWID"]
    options += ["STRICT"] if random.random() < 0.2 else []
    yield f"CREATE TABLE {name} (id {key}, {', '.join(columns)}) {', '.join(options)}"
    for number in (1, 2, 3):
        yield f"INSERT OR IGNORE INTO {name} VALUES ({number}, {number}, {number}, {number})"
    if random.random() < 0.2:
        timing, event = random.choice(("BEFORE", "AFTER", "")), random.choice(("INSERT", "UPDATE"))
        yield (
            f"CREATE TRIGGER on_{name} {timing} {event} ON {name} BEGIN SELECT RAISE(IGNORE); END"
        )


def value(random: Random, depth: int = 0) -> str:
    if depth > 2 or random.random() < 0.6:
        return random.choice(ONE_VALUE)
    return random.choice(AROUND).format(value(random, depth + 1))


def statement(random: Random) -> str:
    names = random.sample(COLUMNS, random.randint(1, 4))
    conflict, condition = random.choice(CONFLICTS), random.choice(CONDITIONS)
    row = ", ".join(value(random) for _ in names)
    kind = random.random()
    if kind < 0.4:
        other = ", ".join(value(random) for _ in names)
        rows = f"({row}), ({other})" if random.random() < 0.3 else f"({row})"
        sql = f"INSERT{conflict} INTO t ({', '.join(names)}) VALUES {rows}"
        if random.random() < 0.3:
            update = f"SET {random.choice('abc')} = {value(random)}"
            sql += f" ON CONFLICT (id) DO UPDATE {update} WHERE {condition.replace('id', 't.id')}"
        return sql
    if kind < 0.7:
        union = f" UNION ALL SELECT {row}" if random.random() < 0.2 else ""
        source = f"SELECT {row} FROM s WHERE {condition}{union}"
        return f"INSERT{conflict} INTO t ({', '.join(names)}) {source}"
    sets = ", ".join(f"{name} = {value(random)}" for name in names)
    return f"UPDATE{conflict} t SET {sets} WHERE {condition}"


def refused_parts(writes: tuple[ColumnWrite, ...], nulls: set[str]) -> set[WriteAction]:
    """Return the parts of a statement that are found to fail, if these parameters are None."""
    always = (ValueSource.OMITTED, ValueSource.DEFAULT, ValueSource.NULL)
    return {
        write.action
        for write in writes
        if write.column.not_null and (write.source in always or nulls & set(write.parameters))
    }


def succeeds(connection: sqlite3.Connection, sql: str, values: Mapping[str, Any]) -> bool:
    """Execute a statement and roll it back; return whether it wrote or skipped a row."""
    before = connection.total_changes
    try:
        connection.execute(sql, values).close()
    except sqlite3.Error:
        return False
    finally:
        connection.rollback()
    return " VALUES " in sql or connection.total_changes > before


async def false_findings(random: Random) -> tuple[list[str], int]:
    """Return the statements that succeed although a failure is found, and how many are found."""
    script = [*table(random, "t"), *table(random, "s")]
    connection = sqlite3.connect(":memory:")
    connection.executescript(";".join(script))
    wrong, count = [], 0
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.connect() as described:
        for each in script:
            await described.exec_driver_sql(each)
        async with describer(described) as database:
            for sql in [statement(random) for _ in range(STATEMENTS)]:
                try:
                    writes = (await database.describe(sql)).writes or ()
                except Refused:
                    continue
                names = [name for name in VALUES if f":{name}" in sql]
                for nulls in (set[str](), *({name} for name in names), set(names)):
                    # the update of an upsert is not always reached
                    parts = refused_parts(writes, nulls) - {WriteAction.CONFLICT_UPDATE}
                    bound = {name: VALUES[name] for name in names} | dict.fromkeys(nulls)
                    count += bool(parts)
                    if parts and succeeds(connection, sql, bound):
                        wrong.append(f"{script}: {sql} with {bound}")
    await engine.dispose()
    connection.close()
    return wrong, count


def test_no_write_of_which_a_failure_is_found_succeeds() -> None:
    found = [asyncio.run(false_findings(Random(seed))) for seed in range(SCHEMAS)]
    assert [line for wrong, _ in found for line in wrong] == []
    assert sum(count for _, count in found) > 100
