"""After a migration, a statement that was prepared before it is run again, on both paths."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, exc, text

from sqla_typedpool import RowShapeError, TypedPool, execute, fetch_all, fetch_one
from sqla_typedpool._sqlalchemy.driver_errors import is_stale_plan
from sqla_typedpool.fetch import routes
from tests.support.engines import admin_of, engine_on, open_all, return_all, run
from tests.support.fetch_lab import no_listener
from tests.support.psycopg_trace import sent_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.embedded import Postgres

by_path = pytest.mark.parametrize("is_slow", [False, True], ids=["fast path", "slow path"])
by_driver = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])

ALL = "SELECT * FROM stale_plans"
CONNECTIONS = 3


@asynccontextmanager
async def migrated_engine(
    server: Postgres, driver: str, migration: str, *, is_slow: bool = False, **options: Any
) -> AsyncIterator[AsyncEngine]:
    """Yield an engine whose connections have all prepared `ALL` before a migration."""
    if driver == "psycopg":
        options.setdefault("connect_args", {"prepare_threshold": 0})
    options = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_use_lifo": False, **options}
    async with admin_of(server) as admin, engine_on(server.url(driver), **options) as engine:
        await admin.connection.execute("DROP TABLE IF EXISTS stale_plans")
        await admin.connection.execute("CREATE TABLE stale_plans (id int)")
        await admin.connection.execute("INSERT INTO stale_plans VALUES (1)")
        if is_slow:
            event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
        for connection in (held := await open_all(engine, CONNECTIONS)):
            for _ in range(2):
                await fetch_all(connection, int, ALL)
            await connection.commit()  # psycopg forgets prepared statements with a rollback
        await return_all(held)
        await fetch_all(engine, int, ALL)
        await admin.connection.execute(migration)
        yield engine
        assert TypedPool.of(engine).stats().in_use == 0
        assert TypedPool.of(engine).stats().connects <= CONNECTIONS + 1, "none was replaced"


MORE = "ALTER TABLE stale_plans ADD COLUMN more int DEFAULT 5"
WIDER = "ALTER TABLE stale_plans ALTER COLUMN id TYPE bigint"


@by_path
@by_driver
def test_fetch_returns_the_new_columns_on_every_connection(
    postgres: Postgres, driver: str, is_slow: bool
) -> None:
    async def main() -> None:
        async with migrated_engine(postgres, driver, MORE, is_slow=is_slow) as engine:
            for _ in range(CONNECTIONS + 1):
                assert await fetch_all(engine, tuple[int, int], ALL) == [(1, 5)]

    run(main())


@by_path
@by_driver
def test_a_type_that_is_still_accepted_is_fetched_on_every_connection(
    postgres: Postgres, driver: str, is_slow: bool
) -> None:
    async def main() -> None:
        async with migrated_engine(postgres, driver, WIDER, is_slow=is_slow) as engine:
            for _ in range(CONNECTIONS + 1):
                assert await fetch_all(engine, int, ALL) == [1]

    run(main())


@by_path
@by_driver
def test_columns_that_no_longer_fit_are_refused_on_every_connection(
    postgres: Postgres, driver: str, is_slow: bool
) -> None:
    async def main() -> None:
        async with migrated_engine(postgres, driver, MORE, is_slow=is_slow) as engine:
            for _ in range(CONNECTIONS + 1):
                with pytest.raises(RowShapeError):
                    await fetch_all(engine, int, ALL)

    run(main())


@by_path
@by_driver
def test_execute_counts_the_rows_on_every_connection(
    postgres: Postgres, driver: str, is_slow: bool
) -> None:
    async def main() -> None:
        async with migrated_engine(postgres, driver, MORE, is_slow=is_slow) as engine:
            for _ in range(CONNECTIONS + 1):
                assert await execute(engine, ALL) == 1

    run(main())


@by_path
@by_driver
def test_in_a_transaction_the_error_is_raised(
    postgres: Postgres, driver: str, is_slow: bool
) -> None:
    async def main() -> None:
        async with migrated_engine(postgres, driver, MORE, is_slow=is_slow) as engine:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
                with pytest.raises(exc.NotSupportedError):
                    await fetch_all(connection, tuple[int, int], ALL)

    run(main())


@by_path
def test_a_writing_statement_is_run_once(postgres: Postgres, is_slow: bool) -> None:
    """psycopg executes before it reports columns."""
    add = "INSERT INTO stale_plans (id) VALUES (2) RETURNING *"

    async def main() -> None:
        async with migrated_engine(postgres, "psycopg", "SELECT 1", is_slow=is_slow) as engine:
            for _ in range(CONNECTIONS):
                await fetch_one(engine, int, add)
            await execute(engine, "DELETE FROM stale_plans WHERE id = 2")
            async with admin_of(postgres) as admin:
                await admin.connection.execute(MORE)
            for _ in range(CONNECTIONS):
                assert await fetch_one(engine, tuple[int, int], add) == (2, 5)
            twos = "SELECT count(*) FROM stale_plans WHERE id = 2"
            assert await fetch_one(engine, int, twos) == CONNECTIONS

    run(main())


def test_another_error_of_the_same_class_is_raised_at_once(postgres: Postgres) -> None:
    async def main() -> None:
        async with migrated_engine(postgres, "psycopg", MORE) as engine:
            with sent_by(engine) as sent:
                await engine.dispose()  # the next connections are traced
                with pytest.raises(exc.NotSupportedError, match="FOR UPDATE"):
                    await fetch_all(engine, int, "SELECT count(*) FROM stale_plans FOR UPDATE")
                assert len([sql for sql in sent.sql() if "FOR UPDATE" in sql]) == 1

    run(main())


def test_the_language_of_the_server_is_of_no_importance(postgres: Postgres) -> None:
    async def main() -> None:
        async with migrated_engine(postgres, "psycopg", MORE) as engine:
            async with engine.connect() as connection:
                with pytest.raises(exc.NotSupportedError) as caught:
                    await connection.execute(text(ALL))
            assert caught.value.orig is not None
            caught.value.orig.args = ("zwischengespeicherter Plan",)
            assert is_stale_plan(caught.value)

    run(main())


def test_a_pool_may_have_more_stale_connections_than_the_fixed_number_of_retries(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_MIN_RETRIES", 1)

    async def main() -> None:
        async with migrated_engine(postgres, "psycopg", MORE, is_slow=True) as engine:
            assert await fetch_all(engine, tuple[int, int], ALL) == [(1, 5)]

    run(main())
