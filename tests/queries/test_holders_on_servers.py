"""Holders of connections that declared queries use, on asyncpg's fast path and the slow path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from sqla_typedpool import Executor, TypedPool, holder_label, query
from tests.support.engines import run, until
from tests.support.fetch_lab import by_path, db_of, engine_for

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres


@query("SELECT 1 FROM pg_sleep(30)")
async def sleep(db: Executor) -> int:
    raise NotImplementedError


@query("SELECT 1 FROM pg_sleep(30)", timeout=60)
async def sleep_with_timeout(db: Executor) -> int:
    raise NotImplementedError


async def call(function: Any, db: Any) -> None:
    await function(db)


@by_path
@pytest.mark.parametrize("threshold", [None, 60])
@pytest.mark.parametrize("function", [sleep, sleep_with_timeout])
@pytest.mark.parametrize("kind", ["engine", "new connection"])
def test_a_holder_shows_the_caller_the_query_and_the_label(
    postgres: Postgres, path: str, threshold: float | None, function: Any, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, pool_leak_threshold=threshold, pool_size=1) as engine:
            pool = TypedPool.of(engine)
            if kind == "new connection":  # the call waits for the connect
                pool.retire_all()
                assert await until(lambda: pool.stats().size == 0, 5)
            with holder_label("GET /reports"):
                task = asyncio.create_task(call(function, engine), name="borrower")
            assert await until(lambda: pool.stats().in_use == 1, 5)
            await asyncio.sleep(0.05)
            (holder,) = pool.holders()
            assert (holder.task, holder.label) == ("borrower", "GET /reports")
            assert holder.query == f"{__name__}.{function.__name__}"
            assert str(holder.where).startswith(f"{__file__}:")
            assert str(holder.where).endswith("in call")
            task.cancel()
            await asyncio.wait({task})

    run(main())


@by_path
def test_the_label_of_a_connection_is_that_of_its_checkout(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with holder_label("outer"):
                async with db_of(engine, "connection") as connection:
                    with holder_label("inner"):
                        task = asyncio.create_task(call(sleep, connection))
                        await asyncio.sleep(0.1)
                        (holder,) = TypedPool.of(engine).holders()
                        assert holder.label == "outer"
                        task.cancel()
                        await asyncio.wait({task})

    run(main())
