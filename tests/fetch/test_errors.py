"""Errors of the database, of the parameters and of the connection."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import RowShapeError, fetch_all, fetch_one
from tests.support.engines import admin_of, make_engine, run
from tests.support.fetch_lab import (
    ALL,
    ONE,
    PATHS,
    PEOPLE,
    User,
    by_path,
    db_of,
    engine_for,
    error_of,
    no_listener,
    people_count,
)

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres


ERRORS: dict[str, tuple[str, Any]] = {
    "a syntax error": ("SELEC 1", None),
    "an unknown column": ("SELECT nothing FROM people", None),
    "a broken constraint": ("INSERT INTO people VALUES (1, 'x') RETURNING id", None),
    "a division by zero": ("SELECT 1 / :n", {"n": 0}),
    "a value of the wrong type": ("SELECT CAST(:n AS int)", {"n": "one"}),
    "a missing parameter": (ONE, {}),
    "no parameters at all": (ONE, None),
    "a misspelt parameter": (ONE, {"idd": 1}),
    "two statements": ("SELECT 1; SELECT 2", None),
}


@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
@pytest.mark.parametrize("what", ERRORS)
def test_both_paths_raise_the_error_that_sqlalchemy_raises(
    postgres: Postgres, what: str, kind: str
) -> None:
    statement, parameters = ERRORS[what]

    async def main() -> None:
        for path in PATHS:
            async with engine_for(postgres, path) as engine:
                async with db_of(engine, kind) as db:
                    ours = traits(await error_of(fetch_one(db, int, statement, parameters)))
                async with db_of(engine, kind) as db:
                    theirs = traits(await error_of(run_with_sqlalchemy(db, statement, parameters)))
                assert ours == theirs

    run(main())


async def run_with_sqlalchemy(db: Any, statement: str, parameters: Any) -> None:
    if isinstance(db, AsyncEngine):
        async with db.begin() as connection:
            await connection.execute(text(statement), parameters)
    else:
        await db.execute(text(statement), parameters)


def traits(error: BaseException) -> tuple[Any, ...]:
    """The attributes of an error that an application can read."""
    original = getattr(error, "orig", None)
    return (
        type(error),
        str(error),
        getattr(error, "statement", None),
        getattr(error, "params", None),
        getattr(error, "connection_invalidated", None),
        getattr(error, "hide_parameters", None),
        type(original),
        getattr(original, "sqlstate", None),
        type(error.__cause__),
    )


@by_path
def test_hide_parameters_applies_to_the_errors_of_a_fetch(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path, hide_parameters=True) as engine:
            with pytest.raises(exc.DBAPIError) as caught:
                await fetch_one(engine, int, "SELECT 1 / length(:secret) * 0 / 0", {"secret": "s3"})
            assert "s3" not in str(caught.value)

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
def test_a_list_of_parameters_is_refused(postgres: Postgres, path: str, kind: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            with pytest.raises((exc.SQLAlchemyError, RowShapeError)):
                await fetch_one(db, User, ONE, [{"id": 1}, {"id": 2}])  # type: ignore[arg-type]

    run(main())


@by_path
def test_extra_parameters_are_ignored(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            assert await fetch_one(engine, User, ONE, {"id": 1, "more": 2}) == PEOPLE[0]

    run(main())


@by_path
def test_a_defaultdict_does_not_supply_missing_parameters(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with pytest.raises(exc.StatementError, match="bind parameter 'id'"):
                await fetch_one(engine, User, ONE, defaultdict(lambda: 1))

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
@pytest.mark.parametrize(
    "statement", ["", "CREATE TABLE nothing (n int)", "UPDATE people SET id = id"]
)
def test_a_statement_without_rows_is_refused_and_on_an_engine_rolled_back(
    postgres: Postgres, path: str, kind: str, statement: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with db_of(engine, kind) as db:
                with pytest.raises(RowShapeError, match="returns no rows"):
                    await fetch_all(db, User, statement)
            assert (
                await fetch_one(
                    engine, int, "SELECT count(*) FROM pg_class WHERE relname = 'nothing'"
                )
                == 0
            )

    run(main())


@by_path
def test_a_disconnect_is_reported_and_the_next_call_works(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with admin_of(postgres) as admin:
            async with engine_for(postgres, path) as engine, engine.connect() as connection:
                pid = await fetch_one(connection, int, "SELECT pg_backend_pid()")
                await admin.terminate(pid)
                with pytest.raises(exc.DBAPIError) as caught:
                    await fetch_one(connection, int, "SELECT 1")
                assert caught.value.connection_invalidated
                await connection.rollback()
                assert await fetch_one(connection, int, "SELECT 1") == 1

    run(main())


def test_an_unreachable_server_raises_the_error_of_connect() -> None:
    async def main() -> None:
        errors = []
        for path in ("fast", "slow", "sqlalchemy"):
            engine = make_engine(
                "postgresql+asyncpg://unknown@127.0.0.1:1/nothing", pool_connect_retry=0
            )
            if path == "slow":
                event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
            work = engine.begin().__aenter__() if path == "sqlalchemy" else people_count(engine)
            errors.append(traits(await error_of(work))[:5])
            await engine.dispose()
        assert errors[0] == errors[1] == errors[2]

    run(main())


def test_anything_but_an_executor_is_refused(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            for wrong in (engine.sync_engine, None, "postgresql://"):
                with pytest.raises(TypeError, match="AsyncEngine, AsyncConnection or AsyncSession"):
                    await fetch_all(wrong, User, ALL)  # type: ignore[call-overload]

    run(main())
