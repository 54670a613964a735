"""docs/guide/errors.md: each situation raises the error that the page lists, on each driver.

The page is the only place that lists the errors: the tests read its two tables. The functions that
cause the errors are in tests/support/error_situations.py.
"""

from __future__ import annotations

import asyncio
import gc
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from sqla_typedpool import fetch_all
from sqla_typedpool.integrations.unavailable import seconds_until_retry
from tests.support.drivers import ALL, POSTGRESQL, SERVERS
from tests.support.engines import PATIENCE, fill, run
from tests.support.error_situations import SITUATIONS, lose_commit
from tests.support.error_trials import WAYS, Trial, snapshot_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.databases import Database

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "errors.md"
IS_20 = sqlalchemy.__version__.startswith("2.0.")
DRIVERS_ERROR = "the driver's error"  # in the first table: it is in the second one


class Row(NamedTuple):
    """A row of the first table: what is the same on all drivers."""

    error: str
    is_invalidated: str
    transaction: str
    advice: str


class DriverRow(NamedTuple):
    """A row of the second table."""

    error: str
    """SQLAlchemy's class; "-" if it does not wrap the driver's error."""
    orig: str
    """The class of the driver's error."""
    code: str


def table_after(heading: str) -> Iterator[list[str]]:
    """Yield the cells of the tables between a heading and the next heading of its level."""
    page = PAGE.read_text()
    start = page.index(f"\n## {heading}\n") + 1
    section = page[start : page.find("\n## ", start)]
    for line in re.findall(r"^\|(.+)\|$", section, re.MULTILINE):
        if not line.startswith(("---", " situation")):
            yield [cell.strip() for cell in line.split("|")]


def rows() -> dict[str, Row]:
    """Return the first table."""
    return {cells[0]: Row(cells[1].strip("`"), *cells[2:]) for cells in table_after("Situations")}


def driver_rows() -> dict[tuple[str, str], DriverRow]:
    """Return the second table, by situation and driver."""
    found = {}
    situation = ""
    for cells in table_after("The errors of each driver"):
        situation = cells[0] or situation
        for driver in cells[1].split(", "):
            found[situation, driver] = DriverRow(*(cell.strip("`") for cell in cells[2:]))
    return found


def name_of(error: BaseException) -> str:
    """The name of a class as the page shows it: one of another package with its package."""
    if isinstance(error, asyncio.TimeoutError) and type(error).__module__ in (
        "asyncio",
        "builtins",
    ):
        return "TimeoutError"
    module = type(error).__module__.partition(".exceptions")[0]  # of asyncpg, which exports them
    is_drivers = module.startswith(("asyncpg", "psycopg", "pymysql", "asyncmy", "sqlite3"))
    return f"{module}.{type(error).__name__}" if is_drivers else type(error).__name__


def observed(error: BaseException) -> DriverRow:
    """Describe an error as a row of the second table."""
    if not isinstance(error, DBAPIError):
        return DriverRow("-", name_of(error), code_of(error))
    orig = error.orig
    assert orig is not None
    if "sqlalchemy" in type(orig).__module__:  # an adapter's own class
        assert orig.__cause__ is not None
        orig = orig.__cause__
    return DriverRow(type(error).__name__, name_of(orig), code_of(orig))


def code_of(error: BaseException) -> str:
    """The number of an error of MySQL, or the SQLSTATE, or SQLite's name; "" if there is none."""
    if name_of(error).startswith(("pymysql", "asyncmy")):
        return str(error.args[0])
    return getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None) or ""


def expected(situation: str, driver: str) -> DriverRow:
    """The row of the second table, as it is on this version of SQLAlchemy and Python."""
    row = driver_rows()[situation, driver]
    if driver == "aiosqlite" and sys.version_info < (3, 11):
        row = row._replace(code="")
    if row.error.endswith("(a)"):
        row = row._replace(error="-" if IS_20 else row.error.removesuffix(" (a)").strip("`"))
    return row


class Caught(NamedTuple):
    """What a test compares of an error. The error itself would keep a cursor of SQLite open."""

    name: str
    row: DriverRow
    is_invalidated: str
    stage: str | None
    is_503: bool


async def caught_in(situation: str, trial: Trial) -> Caught:
    """Return the error that a situation raises."""
    try:
        await asyncio.wait_for(SITUATIONS[situation].cause(trial), 2 * PATIENCE)
    except (Exception, asyncio.CancelledError) as error:
        is_invalidated = str(getattr(error, "connection_invalidated", "-"))
        stage = getattr(error, "stage", None)
        is_503 = seconds_until_retry(error) is not None
        return Caught(name_of(error), observed(error), is_invalidated, stage, is_503)
    raise AssertionError("nothing was raised")


UNLIKE_THE_ADVICE = {
    ("the time limit of the driver", "asyncmy"),  # reports it as a lost connection
    ("the server is read-only", "aiosqlite"),  # has no failover
}
CASES = [
    pytest.param(driver, name, id=f"{driver}: {name}")
    for name, situation in SITUATIONS.items()
    for driver in situation.drivers
]


@pytest.mark.parametrize(("driver", "situation"), CASES)
def test_a_situation_raises_the_documented_error_however_the_statement_is_run(
    database: Database, situation: str
) -> None:
    """Also, what the transaction has changed before is stored only where the page says so."""
    row = rows()[situation]

    async def check(way: str) -> None:
        async with Trial(database, way).table() as marks:
            caught = await caught_in(situation, Trial(database, way, marks))
            gc.collect()
            if row.error == DRIVERS_ERROR:
                assert caught.row == expected(situation, database.driver)
            else:
                assert caught.name == row.error
            assert caught.is_invalidated in row.is_invalidated.split(" or ")
            if "`stage` is" in row.advice:
                assert f'"{caught.stage}"' in row.advice
            # a statement that an engine commits has the same error before and during COMMIT
            is_both = way == "typed engine" and row.transaction == "in doubt"
            if not is_both and (situation, database.driver) not in UNLIKE_THE_ADVICE:
                assert caught.is_503 == ("503" in row.advice)
            if row.transaction != "in doubt":
                assert await Trial(database, way).rows(marks, "n = 99") == 0

    for way in SITUATIONS[situation].ways:
        run(check(way))


def test_the_page_lists_every_situation_on_every_driver_and_no_other() -> None:
    assert list(rows()) == list(SITUATIONS)
    drivers = {
        (name, driver)
        for name, situation in SITUATIONS.items()
        if rows()[name].error == DRIVERS_ERROR
        for driver in situation.drivers
    }
    assert set(driver_rows()) == drivers


@pytest.mark.parametrize("driver", SERVERS)
@pytest.mark.parametrize("way", [way for way in WAYS if way != "typed engine"])
@pytest.mark.parametrize("received", [True, False], ids=["received", "not received"])
def test_a_lost_commit_raises_the_same_error_whether_the_server_has_received_it_or_not(
    database: Database, way: str, received: bool
) -> None:
    situation = "the connection is lost during COMMIT"
    trial = Trial(database, way)

    async def main() -> None:
        async with trial.table() as table:
            statement = f"INSERT INTO {table} VALUES (3, 0)"
            with pytest.raises(DBAPIError) as caught:
                await lose_commit(trial, statement, received=received)
            assert observed(caught.value) == expected(situation, database.driver)
            assert caught.value.connection_invalidated
            assert await trial.rows(table, "n = 3") == int(received)

    run(main())


@pytest.mark.parametrize("driver", ALL)
def test_an_error_caught_inside_the_block_leaves_what_the_page_says(database: Database) -> None:
    """The COMMIT of PostgreSQL rolls back without an error; the others store the rest."""
    trial = Trial(database, "connection")

    async def main() -> None:
        async with trial.table() as table, trial.engine() as engine:
            async with engine.begin() as connection:
                await connection.execute(text(f"INSERT INTO {table} VALUES (3, 0)"))
                with pytest.raises(IntegrityError):
                    await connection.execute(text(f"INSERT INTO {table} VALUES (1, 0)"))
            assert await trial.rows(table, "n = 3") == int(database.driver not in POSTGRESQL)

    run(main())


@pytest.mark.parametrize("driver", ["aiomysql"])
def test_a_serialization_failure_caught_inside_the_block_has_undone_everything(
    database: Database,
) -> None:
    trial = Trial(database, "connection")
    options = snapshot_options(database)

    async def main() -> None:
        async with trial.table() as table, trial.engine(**options) as engine:
            async with engine.begin() as connection:
                await connection.execute(text(f"INSERT INTO {table} VALUES (3, 0)"))
                await connection.execute(text(f"SELECT * FROM {table}"))
                async with trial.engine() as other, other.begin() as another:
                    await another.execute(text(f"UPDATE {table} SET m = 1 WHERE n = 1"))
                with pytest.raises(DBAPIError, match="1020"):
                    await connection.execute(text(f"UPDATE {table} SET m = 2 WHERE n = 1"))
            assert await trial.rows(table, "n = 3") == 0

    run(main())


@pytest.mark.parametrize("driver", ["asyncpg"])
@pytest.mark.parametrize("received", [True, False], ids=["received", "not received"])
def test_a_writing_statement_on_an_engine_is_in_doubt_when_its_answer_is_lost(
    database: Database, received: bool
) -> None:
    """On the fast path there is no COMMIT: the statement itself stores its change."""
    trial = Trial(database, "typed engine")

    async def main() -> None:
        async with (
            trial.table() as table,
            database.proxy() as proxy,
            trial.engine(proxy) as engine,
        ):
            insert: Any = f"INSERT INTO {table} SELECT 3, length(:mark) RETURNING n"
            delete: Any = f"DELETE FROM {table} WHERE n = 3 RETURNING n"
            await fill(engine, 1)
            await fetch_all(engine, int, insert, {"mark": "prepares it"})
            await fetch_all(engine, int, delete)
            proxy.cut_at(b"a value", received=received)
            with pytest.raises(DBAPIError) as caught:
                await fetch_all(engine, int, insert, {"mark": "a value"})
            assert caught.value.connection_invalidated
            assert await trial.rows(table, "n = 3") == int(received)

    run(main())
