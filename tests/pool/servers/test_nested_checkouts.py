"""Nested checkouts and the deadlock that they cause, on a server."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool import PoolTimeout, TypedPool, fetch_one
from tests.support.drivers import POSTGRESQL
from tests.support.engines import run, until

if TYPE_CHECKING:
    from tests.support.databases import Database

OPTIONS: dict[str, Any] = {"pool_size": 3, "max_overflow": 0}


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_requests_that_each_need_two_connections_are_reported_before_they_time_out(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sqla_typedpool")

    async def request(engine: Any, all_hold: asyncio.Event) -> int:
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))
            if TypedPool.of(engine).checkedout() == 3:
                all_hold.set()
            await all_hold.wait()
            return await fetch_one(engine, int, "SELECT 2")

    async def main() -> list[Any]:
        async with database.engine(**OPTIONS, pool_timeout=3) as engine:
            all_hold = asyncio.Event()
            tasks = [asyncio.create_task(request(engine, all_hold)) for _ in range(3)]
            assert await until(lambda: len(caplog.records) == 2)
            assert not any(task.done() for task in tasks)
            return await asyncio.gather(*tasks, return_exceptions=True)

    results = run(main())
    assert any(isinstance(each, PoolTimeout) for each in results)
    nested, deadlock = caplog.records[:2]
    assert (nested.event, deadlock.event) == ("nested_checkout", "pool_deadlock")  # type: ignore[attr-defined]
    line = f"{__file__}:{request.__code__.co_firstlineno + 6} in request"
    assert nested.site == line  # type: ignore[attr-defined]
    assert line in deadlock.getMessage()


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_ordinary_requests_that_wait_for_each_other_are_not_reported(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sqla_typedpool")

    async def main() -> None:
        async with database.engine(**OPTIONS, pool_timeout=10) as engine:
            statement = "SELECT 1 FROM pg_sleep(0.01)"
            await asyncio.gather(*(fetch_one(engine, int, statement) for _ in range(100)))

    run(main())
    assert caplog.records == []
