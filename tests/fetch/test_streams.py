"""Streams: all rows in order, and the connection is returned if a stream is left early."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from sqla_typedpool import RowValueError, TypedPool, fetch_one, stream
from tests.support.engines import run, until
from tests.support.fetch_lab import by_db, by_path, db_of, engine_for, people_count

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres


@by_path
@by_db
def test_a_stream_yields_every_row_in_order(postgres: Postgres, path: str, kind: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            numbers = stream(
                db, int, "SELECT g FROM generate_series(1, :most) AS g", {"most": 2500}
            )
            assert [number async for number in numbers] == list(range(1, 2501))

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
@pytest.mark.parametrize("how", ["closed", "cancelled", "failed"])
def test_a_stream_left_early_returns_its_connection(
    postgres: Postgres, path: str, kind: str, how: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with db_of(engine, kind) as db:
                rows = stream(db, int, "SELECT g FROM generate_series(1, 1000000) AS g")
                reached = asyncio.Event()

                async def read() -> None:
                    async with aclosing(rows) as numbers:
                        async for number in numbers:
                            if number == 1500 and how == "cancelled":
                                reached.set()
                                await asyncio.Event().wait()
                            if number == 1500 and how == "failed":
                                raise LookupError
                            if number == 1500:
                                break

                task = asyncio.ensure_future(read())
                if how == "cancelled":
                    await asyncio.wait_for(reached.wait(), 10)
                    task.cancel()
                await asyncio.wait({task})
                assert how != "failed" or isinstance(task.exception(), LookupError)
                if kind != "engine":
                    assert await fetch_one(db, int, "SELECT 1") == 1
            pool = TypedPool.of(engine)
            assert await until(lambda: pool.stats().in_use == 0, 2)
            assert await people_count(engine) == 3

    run(main())


@by_path
def test_a_wrong_value_in_a_stream_names_its_row(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            sql = "SELECT NULLIF(g, 2222) FROM generate_series(1, 3000) AS g"
            with pytest.raises(RowValueError, match="row 2222"):
                async for _ in stream(engine, int, sql):
                    pass

    run(main())
