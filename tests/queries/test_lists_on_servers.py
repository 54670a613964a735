"""Lists after IN on every driver: the fast path leaves them to SQLAlchemy."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_typedpool import Executor, RowCount, execute, fetch_all, query
from tests.support.engines import run
from tests.support.fetch_lab import LABS, Lab, Paths, lab_of


@query("SELECT id FROM listed WHERE id IN :ids ORDER BY id")
async def with_ids(db: Executor, ids: Sequence[int]) -> list[int]:
    raise NotImplementedError


@query("SELECT id FROM listed WHERE name NOT IN :names AND id > :least ORDER BY id")
async def without_names(db: Executor, *, names: list[str], least: int = 0) -> list[int]:
    raise NotImplementedError


@query("SELECT id FROM listed WHERE id IN :ids AND name IN :names ORDER BY id")
def with_both(db: Executor, ids: list[int], names: list[str | None]) -> AsyncIterator[int]:
    raise NotImplementedError


@query("DELETE FROM listed WHERE id IN :ids")
async def remove(db: Executor, ids: set[int]) -> RowCount:
    raise NotImplementedError


@query("SELECT id FROM listed WHERE token IN :tokens")
async def with_tokens(db: Executor, tokens: list[uuid.UUID]) -> list[int]:
    raise NotImplementedError


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return lab_of(request, tmp_path)


@asynccontextmanager
async def listed(lab: Lab) -> AsyncIterator[AsyncEngine]:
    async with lab.engine_on() as engine:
        async with engine.begin() as connection:
            await connection.execute(text("DROP TABLE IF EXISTS listed"))
            kind = "uuid" if lab.family == "postgresql" else "char(36)"
            created = f"CREATE TABLE listed (id int NOT NULL, name varchar(20), token {kind})"
            await connection.execute(text(created))
            rows = "(1, 'a', NULL), (2, 'b', NULL), (3, NULL, NULL), (4, 'a', NULL)"
            await connection.execute(text(f"INSERT INTO listed VALUES {rows}"))
        yield engine


def test_lists_of_any_length_are_expanded(lab: Lab) -> None:
    async def main() -> None:
        async with listed(lab) as engine:
            for _ in range(2):
                assert await with_ids(engine, [1, 3, 9]) == [1, 3]
                assert await with_ids(engine, (2,)) == [2]
                assert await with_ids(engine, []) == []
                assert await with_ids(engine, list(range(500))) == [1, 2, 3, 4]

    run(main())


def test_short_lists_take_the_fast_path(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sqla_typedpool.fetch")
    paths = Paths(caplog)

    async def main() -> None:
        async with listed(lab) as engine:
            taken = []
            for ids in ([1], [1, 2], list(range(8)), list(range(9)), []):
                for _ in range(3):  # psycopg takes it from the second call
                    await with_ids(engine, ids)
                taken.append(paths.last())
            expected = ["slow"] * 5 if lab.is_slow else [*["fast"] * 3, "slow", "slow"]
            assert taken == expected

    run(main())


def test_a_condition_on_text_works_for_an_empty_list(lab: Lab) -> None:
    async def main() -> None:
        async with listed(lab) as engine:
            assert await without_names(engine, names=["a"]) == [2]
            assert await without_names(engine, names=[], least=1) == [2, 3, 4]
            found = [each async for each in with_both(engine, [1, 2, 3], ["a", None])]
            assert found == [1]
            assert [each async for each in with_both(engine, [], [])] == []
            assert await with_tokens(engine, []) == []

    run(main())


def test_lists_work_on_every_executor_and_in_writes(lab: Lab) -> None:
    async def main() -> None:
        async with listed(lab) as engine:
            assert await remove(engine, {1, 2}) == 2
            async with engine.connect() as connection:
                assert await remove(connection, {3}) == 1
                assert await remove(connection, set()) == 0
                assert await with_ids(connection, [3, 4]) == [4]
                await connection.rollback()
            async with AsyncSession(engine) as session:
                assert await with_ids(session, [3, 4]) == [3, 4]

    run(main())


def test_execute_with_a_list_of_parameters_runs_once_for_each(lab: Lab) -> None:
    async def main() -> None:
        async with listed(lab) as engine:
            rows: Any = [{"id": 7, "name": "x"}, {"id": 8, "name": "y"}]
            insert = "INSERT INTO listed (id, name) VALUES (:id, :name)"
            assert await execute(engine, insert, rows) in (2, None)
            assert await fetch_all(
                engine, int, "SELECT id FROM listed WHERE id > 6 ORDER BY id"
            ) == [
                7,
                8,
            ]

    run(main())


def test_fetch_all_does_not_expand_a_list_in_a_str(lab: Lab) -> None:
    """Only declared queries do."""

    async def main() -> None:
        async with listed(lab) as engine:
            sql = cast("Any", "SELECT id FROM listed WHERE id IN :ids ORDER BY id")
            with pytest.raises(Exception, match=r"syntax error|list"):
                await fetch_all(engine, int, sql, {"ids": [1, 2]})

    run(main())
