"""Which engines, connections and statements take the fast path, and which the slow path."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from sqla_typedpool import execute, fetch_all, fetch_one
from tests.support.engines import new_name, run
from tests.support.fetch_lab import ALL, ONE, User, by_path, engine_for

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres
    from tests.support.fetch_lab import Paths


def test_a_listener_added_between_two_calls_is_called(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            called_with: list[str] = []

            def listener(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
                called_with.append(statement)

            async with engine.connect() as connection:
                await fetch_all(connection, User, ALL)
                event.listen(engine.sync_engine, "before_cursor_execute", listener)
                await fetch_all(connection, User, ALL)
                assert called_with == [ALL]
                await fetch_all(engine, User, ALL)
                assert called_with == [ALL, ALL]
                event.remove(engine.sync_engine, "before_cursor_execute", listener)
                await fetch_all(engine, User, ALL)
                assert called_with == [ALL, ALL]

    run(main())


def test_with_echo_every_statement_is_logged(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            with caplog.at_level(logging.INFO, "sqlalchemy.engine"):
                await fetch_one(engine, User, ONE, {"id": 1})

    run(main())
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert any("FROM people WHERE id" in line for line in logged)


@by_path
def test_an_error_listener_can_replace_the_error(postgres: Postgres, path: str) -> None:
    class Mine(Exception):
        pass

    async def main() -> None:
        async with engine_for(postgres, path) as engine:

            @event.listens_for(engine.sync_engine, "handle_error")
            def replace(context: Any) -> None:
                raise Mine from context.original_exception

            with pytest.raises(Mine):
                await fetch_one(engine, int, "SELECT nothing")

    run(main())


@pytest.mark.parametrize(
    "options",
    [
        {"isolation_level": "SERIALIZABLE"},
        {"isolation_level": "AUTOCOMMIT"},
        {"execution_options": {"isolation_level": "REPEATABLE READ"}},
        {"connect_args": {"prepared_statement_cache_size": 0}},
        {"connect_args": {"prepared_statement_name_func": lambda: f"__{new_name()}__"}},
    ],
    ids=["SERIALIZABLE", "AUTOCOMMIT", "REPEATABLE READ as an option", "no cache", "named"],
)
def test_settings_that_the_fast_path_does_not_support_take_the_slow_path(
    postgres: Postgres, paths: Paths, options: dict[str, Any]
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast", **options) as engine:
            level = await fetch_one(engine, str, "SELECT current_setting('transaction_isolation')")
            expected = {"SERIALIZABLE": "serializable", "REPEATABLE READ": "repeatable read"}
            given = options.get("isolation_level") or options.get("execution_options", {}).get(
                "isolation_level"
            )
            assert level == expected.get(given, "read committed")

    run(main())
    assert paths.slow() == 1


def test_options_given_to_an_engine_after_its_first_statement_are_applied(
    postgres: Postgres, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            level = "SELECT current_setting('transaction_isolation')"
            assert await fetch_one(engine, str, level) == "read committed"
            other = engine.execution_options(isolation_level="REPEATABLE READ")
            assert await fetch_one(other, str, level) == "repeatable read"
            engine.sync_engine.update_execution_options(isolation_level="SERIALIZABLE")
            assert await fetch_one(engine, str, level) == "serializable"

    run(main())
    assert paths.slow() == 2


@pytest.mark.parametrize("kind", ["connection", "session"])
def test_the_isolation_level_of_a_connection_is_applied(postgres: Postgres, kind: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine, engine.connect() as connection:
            await connection.execution_options(
                isolation_level="SERIALIZABLE", postgresql_readonly=True
            )
            db: Any = connection if kind == "connection" else AsyncSession(connection)
            for _ in range(2):
                shown = await fetch_one(
                    db,
                    tuple[str, str],
                    "SELECT current_setting('transaction_isolation'), "
                    "current_setting('transaction_read_only')",
                )
                assert shown == ("serializable", "on")
            if kind == "session":
                await db.close()

    run(main())


@pytest.mark.parametrize(
    "statement", ["-- a comment\nSELECT 1", "/* path=* */ SELECT 1", "(SELECT 1)", "\n  values (1)"]
)
def test_statements_after_blanks_comments_and_parentheses_take_the_fast_path(
    postgres: Postgres, paths: Paths, statement: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            assert await fetch_one(engine, int, statement) == 1

    run(main())
    assert paths.slow() == 0


@pytest.mark.parametrize("pool", [AsyncAdaptedQueuePool, NullPool])
def test_with_another_pool_a_statement_of_an_engine_takes_the_slow_path(
    postgres: Postgres, paths: Paths, pool: Any
) -> None:
    async def main() -> None:
        engine = create_async_engine(postgres.url("asyncpg"), poolclass=pool)
        try:
            assert await fetch_one(engine, int, "SELECT 1") == 1
            assert paths.slow() == 1
            async with engine.connect() as connection:
                assert await fetch_one(connection, int, "SELECT 1") == 1
            assert paths.slow() == 1
        finally:
            await engine.dispose()

    run(main())


def test_an_isolation_level_is_reset_when_its_connection_is_returned(
    postgres: Postgres, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast", pool_size=1) as engine:
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="SERIALIZABLE")
                await connection.execute(text("SELECT 1"))
            level = "SELECT current_setting('transaction_isolation')"
            assert await fetch_one(engine, str, level) == "read committed"

    run(main())
    assert paths.slow() == 0


@pytest.mark.parametrize(
    "statement", ["CALL twice()", "SHOW server_version_num", "EXPLAIN SELECT 1"]
)
def test_statements_that_are_unsafe_without_a_transaction_take_the_slow_path(
    postgres: Postgres, paths: Paths, statement: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            await execute(
                engine,
                "CREATE OR REPLACE PROCEDURE twice(INOUT n int DEFAULT 1) LANGUAGE plpgsql "
                "AS 'BEGIN n := 2; END'",
            )
            before = paths.slow()
            await fetch_all(engine, object, statement)
            assert paths.slow() == before + 1

    run(main())
