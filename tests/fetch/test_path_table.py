"""The table of paths in the documentation: each of its calls is made on each driver."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_typedpool import execute, fetch_all, fetch_one, stream
from tests.support.fetch_lab import LABS, Lab, lab_of

if TYPE_CHECKING:
    from tests.support.fetch_lab import Paths

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "typed-results.md"
ONE = "SELECT id, title FROM path_table WHERE id = :id"
ADD = "INSERT INTO path_table (id, title) VALUES (:id, :title)"
WORN = {"id": 2, "title": "worn"}

Calls = Callable[[AsyncEngine], Awaitable[None]]


async def select(db: Any) -> None:
    assert await fetch_one(db, tuple[int, str], ONE, {"id": 1}) == (1, "new")


async def insert(db: Any) -> None:
    assert await execute(db, ADD, WORN) == 1


async def insert_returning(db: Any) -> None:
    assert await fetch_all(db, int, f"{ADD} RETURNING id", WORN) == [2]


async def insert_list(db: Any) -> None:
    await execute(db, ADD, [WORN, {"id": 3, "title": "torn"}])


async def stream_all(db: Any) -> None:
    async with aclosing(stream(db, tuple[int, str], ONE, {"id": 1})) as rows:
        assert [row async for row in rows] == [(1, "new")]


def later(call: Calls) -> Calls:
    """The call after the same call."""

    async def second(engine: AsyncEngine) -> None:
        await call(engine)
        await call(engine)

    return second


def on_connection(call: Callable[[Any], Awaitable[None]]) -> Calls:
    async def connected(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await call(connection)

    return connected


def in_session(call: Callable[[Any], Awaitable[None]], *, is_first: bool) -> Calls:
    async def in_transaction(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session, session.begin():
            if not is_first:
                await session.execute(text("SELECT 1"))
            await call(session)

    return in_transaction


# (call, on) in the table -> the calls; the path is that of the last one
ROWS: dict[tuple[str, str], Calls] = {
    ("`fetch_*`, a SELECT for the first time", "an engine"): select,
    ("`fetch_*`, the same SELECT later", "an engine"): later(select),
    ("`fetch_*`, an INSERT that returns columns", "an engine"): insert_returning,
    ("`execute`", "an engine"): insert,
    ("`fetch_*`", "a connection"): on_connection(select),
    ("`execute`", "a connection"): on_connection(insert),
    ("the first statement of its transaction", "a session"): in_session(select, is_first=True),
    ("`fetch_*`, later", "a session"): in_session(select, is_first=False),
    ("`execute`, later", "a session"): in_session(insert, is_first=False),
    ("`execute` with a list of parameters", "an engine"): insert_list,
    ("`stream`", "an engine"): stream_all,
}


def documented() -> dict[tuple[str, str], dict[str, str]]:
    """The table: (call, on) -> driver -> "fast" or "slow"."""
    shown = re.search(
        r"<!-- the table of paths.*?-->\n(.*?)<!-- end", PAGE.read_text("utf-8"), re.DOTALL
    )
    assert shown is not None
    head, _, *rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in shown[1].splitlines()
    ]
    return {
        (call, on): {
            driver: cell.partition(":")[0]
            for column, cell in zip(head[2:], cells, strict=True)
            for driver in column.split(", ")
        }
        for call, on, *cells in rows
    }


def test_the_documentation_lists_the_calls_that_are_tested() -> None:
    assert list(documented()) == list(ROWS)


@pytest.fixture(params=[lab for lab in LABS if "slow" not in str(lab.id)])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return lab_of(request, tmp_path)


def test_each_call_takes_the_documented_path(lab: Lab, paths: Paths) -> None:
    async def path_of(calls: Calls) -> str:
        async with lab.engine_on() as engine:
            async with engine.begin() as connection:
                await connection.execute(text("DROP TABLE IF EXISTS path_table"))
                await connection.execute(
                    text("CREATE TABLE path_table (id int PRIMARY KEY, title varchar(20) NOT NULL)")
                )
                await connection.execute(text("INSERT INTO path_table VALUES (1, 'new')"))
            await calls(engine)
        return paths.last()

    taken = {row: asyncio.run(path_of(calls)) for row, calls in ROWS.items()}
    assert taken == {row: paths_of[lab.driver] for row, paths_of in documented().items()}
