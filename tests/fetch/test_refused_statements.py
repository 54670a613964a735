"""A statement that the fast path of asyncpg has prepared and not executed leaves nothing open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import exc

from sqla_typedpool import RowShapeError, execute, fetch_one
from tests.support.engines import admin_of, run
from tests.support.fetch_lab import engine_for, error_of

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres

REFUSED: dict[str, Any] = {
    "a wrong type": lambda db: fetch_one(db, int, "SELECT name FROM people"),
    "a wrong argument": lambda db: fetch_one(
        db, str, "SELECT name FROM people WHERE id = :id", {"id": "one"}
    ),
    "a wrong argument of a write": lambda db: execute(
        db, "UPDATE people SET nick = :nick", {"nick": 7}
    ),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("times", [1, 2])
def test_a_refused_statement_leaves_no_lock(postgres: Postgres, what: str, times: int) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine, admin_of(postgres) as admin:
            for _ in range(times):
                error = await error_of(REFUSED[what](engine))
                assert isinstance(error, (RowShapeError, exc.DBAPIError))
            await admin.connection.execute("SET lock_timeout = 500")
            await admin.connection.execute("ALTER TABLE people ADD COLUMN more int")

    run(main())


def test_the_statement_timeout_of_a_refused_statement_ends_with_it(postgres: Postgres) -> None:
    settings = {"server_settings": {"statement_timeout": "100"}}

    async def main() -> None:
        async with engine_for(postgres, "fast", connect_args=settings) as engine:
            async with engine.begin() as connection, admin_of(postgres) as admin:
                with pytest.raises(RowShapeError):
                    await fetch_one(connection, int, "SELECT name FROM people WHERE id = 1")
                await admin.connection.execute("SELECT pg_sleep(0.2)")
                name = "SELECT name FROM people WHERE id = 1"
                assert await fetch_one(connection, str, name) == "Ada"

    run(main())


def test_a_refusal_is_raised_without_a_context(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            error = await error_of(fetch_one(engine, int, "DELETE FROM people"))
            assert isinstance(error, RowShapeError)
            assert error.__context__ is None

    run(main())
