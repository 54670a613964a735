"""Columns that do not fit, and statements whose columns change between two calls."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Integer, bindparam, exc, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_typedpool import RowShapeError, RowValueError, fetch_all, fetch_one
from tests.support.engines import admin_of, run
from tests.support.fetch_lab import (
    PEOPLE,
    User,
    by_db,
    by_path,
    db_of,
    engine_for,
    people,
    people_count,
)

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres


@by_path
@by_db
def test_a_wrong_shape_is_reported_before_the_first_row_and_for_an_empty_result(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            with pytest.raises(RowShapeError) as caught:
                await fetch_all(db, User, "SELECT id, 1 AS more FROM people WHERE false")
            assert "name" in str(caught.value)
            assert "more" in str(caught.value)

    run(main())


@by_path
def test_a_wrong_shape_on_an_engine_changes_nothing(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with pytest.raises(RowShapeError):
                await fetch_one(engine, User, "DELETE FROM people RETURNING id")
            assert await people_count(engine) == 3

    run(main())


@by_path
def test_a_wrong_value_on_an_engine_is_reported_after_the_commit(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with pytest.raises(RowValueError, match="nick"):
                await fetch_all(engine, str, "DELETE FROM people RETURNING nick")
            assert await people_count(engine) == 0

    run(main())


@by_path
def test_an_engine_adapts_to_a_migration_between_two_calls(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            everything = "SELECT * FROM people WHERE id = 1"
            assert await fetch_one(engine, User, everything) == PEOPLE[0]
            async with admin_of(postgres) as admin:
                await admin.connection.execute("ALTER TABLE people DROP COLUMN nick")
            assert await fetch_one(engine, tuple[int, str], everything) == (1, "Ada")

    run(main())


@by_path
def test_after_a_migration_a_transaction_fails_with_sqlalchemys_error(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, engine.connect() as connection:
            everything = "SELECT * FROM people WHERE id = 1"
            assert await fetch_one(connection, User, everything) == PEOPLE[0]
            await connection.commit()
            async with admin_of(postgres) as admin:
                await admin.connection.execute("ALTER TABLE people DROP COLUMN nick")
            with pytest.raises(exc.NotSupportedError, match="invalidate all prepared caches"):
                await fetch_one(connection, tuple[int, str], everything)
            await connection.rollback()
            assert await fetch_one(connection, tuple[int, str], everything) == (1, "Ada")

    run(main())


@pytest.mark.parametrize("cache_size", [500, 0])
def test_the_values_of_a_deleted_statement_are_garbage_collected(
    postgres: Postgres, cache_size: int
) -> None:
    class Large(list[int]):
        pass

    async def main() -> None:
        async with engine_for(postgres, "fast", query_cache_size=cache_size) as engine:
            seen = []
            for _ in range(20):
                large = Large([1] * 1000)
                seen.append(weakref.ref(large))
                ids = bindparam(None, large, type_=ARRAY(Integer), unique=True)
                await fetch_all(
                    engine, int, select(people.c.id).where(people.c.id == func.any(ids))
                )
                del large, ids
            gc.collect()
            assert sum(one() is not None for one in seen) <= 1

    run(main())
