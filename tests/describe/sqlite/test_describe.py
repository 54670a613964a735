"""Describing on SQLite: its refusals, functions of the application, files and databases."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool.check import Description, Refused
from sqla_typedpool.describe import describer
from sqla_typedpool.errors import DescribeTimeout
from tests.describe.cases import shop
from tests.describe.databases import nullability


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the schema `shop`."""
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(";".join(shop.STRUCTURE["sqlite"]))
    connection.close()
    return path


@asynccontextmanager
async def engine_of(file: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    try:
        yield engine
    finally:
        await engine.dispose()


def described(file: Path, sql: str, **options: Any) -> Description:
    async def main() -> Description:
        async with engine_of(file) as engine, describer(engine) as database:
            return await database.describe(sql, **options)

    return asyncio.run(main())


def test_parameters_are_not_null_only_if_all_are_never_none(file: Path) -> None:
    assert nullability(described(file, "SELECT :x, :y", never_null=["x", "y"])) == "00"
    assert nullability(described(file, "SELECT :x, :y", never_null=["x"])) == "11"


def test_missing_rows_of_different_subqueries_are_distinguished(file: Path) -> None:
    joined = "(SELECT u.id, p.title FROM u LEFT JOIN p ON p.uid = u.id)"
    found = described(file, f"SELECT a.title, b.title FROM {joined} a, {joined} b")
    assert [column.missing_with for column in found.columns] == ["a.p", "b.p"]


def test_columns_have_declared_types_and_expressions_have_none(file: Path) -> None:
    sql = "SELECT u.id, p.title, 1 FROM u LEFT JOIN p ON p.uid = u.id WHERE u.id = :id"
    number, title, one = described(file, sql).columns
    assert (number.type, title.type) == ("INTEGER", "TEXT")
    assert (one.type, one.python_type) == ("expression", None)


def test_a_function_of_the_application_may_return_null(file: Path) -> None:
    async def main() -> None:
        async with engine_of(file) as engine, engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            await driver.create_function("mine", 1, lambda value: None)
            await driver.create_function("floor", 1, lambda value: None)
            async with describer(connection) as database:
                found = await database.describe("SELECT mine(id), name REGEXP 'x', name FROM u")
                assert nullability(found) == "110"
                assert nullability(await database.describe("SELECT upper(name) FROM u")) == "0"
            await driver.create_function("upper", 1, lambda value: None)
            async with describer(connection) as database:  # it replaces SQLite's own function
                assert nullability(await database.describe("SELECT upper(name) FROM u")) == "1"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT 'é', nam FROM u", "no such column"),
        ("SELECT id FROM no_such_table", "no such table"),
        ("SELECT 1; SELECT 2", "more than one statement"),
    ],
)
def test_a_refusal_has_the_message_of_sqlite(file: Path, sql: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        described(file, sql)


def test_a_locked_read_only_file_is_described_and_not_changed(file: Path) -> None:
    writer = sqlite3.connect(file)
    writer.execute("BEGIN IMMEDIATE")
    file.chmod(0o444)
    before = file.read_bytes()
    try:
        assert nullability(described(file, "DELETE FROM u RETURNING nick")) == "1"
    finally:
        writer.close()
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir() if "shop" in path.name] == ["shop.db"]


def test_databases_in_memory_and_attached_databases_are_described(file: Path) -> None:
    async def main() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.connect() as connection:
            await connection.exec_driver_sql("CREATE TABLE t (a int NOT NULL, b int)")
            await connection.exec_driver_sql("CREATE TEMP TABLE tt (a int NOT NULL)")
            await connection.exec_driver_sql(f"ATTACH '{file}' AS other")
            async with describer(connection) as database:
                assert nullability(await database.describe("SELECT a, b FROM t")) == "01"
                assert nullability(await database.describe("SELECT a FROM tt")) == "0"
                found = await database.describe("SELECT name, nick FROM other.u")
                assert nullability(found) == "01"
        await engine.dispose()

    asyncio.run(main())


# ------------------------------------------------------------------------------ time limits


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
