"""When the statement of a fetch is committed and when it is rolled back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    exc,
    insert,
    select,
    text,
)

from sqla_typedpool import execute, fetch_one
from tests.support.engines import run
from tests.support.fetch_lab import ADD_PERSON, by_path, db_of, engine_for, people_count

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres


@by_path
def test_on_an_engine_a_statement_is_committed(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            assert await fetch_one(engine, int, ADD_PERSON, {"id": 4, "name": "Di"}) == 4
            assert await people_count(engine) == 4
            assert await execute(engine, "DELETE FROM people WHERE id > :id", {"id": 1}) == 3
            assert await people_count(engine) == 1

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["connection", "session"])
def test_on_a_connection_a_statement_belongs_to_its_transaction(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with db_of(engine, kind) as db:
                await fetch_one(db, int, ADD_PERSON, {"id": 4, "name": "Di"})
                assert db.in_transaction()
                assert await people_count(engine) == 3
                await db.commit()
                assert await people_count(engine) == 4
                await fetch_one(db, int, ADD_PERSON, {"id": 5, "name": "Ed"})
                await db.rollback()
                assert await people_count(engine) == 4
                await fetch_one(db, int, ADD_PERSON, {"id": 6, "name": "Flo"})
            assert await people_count(engine) == 4

    run(main())


@by_path
@pytest.mark.parametrize("kind", ["connection", "session"])
def test_a_savepoint_rolls_back_the_statements_inside_it(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            async with db_of(engine, kind) as db:
                await fetch_one(db, int, ADD_PERSON, {"id": 4, "name": "Di"})
                with pytest.raises(exc.IntegrityError):
                    async with db.begin_nested():
                        await fetch_one(db, int, ADD_PERSON, {"id": 5, "name": "Ed"})
                        await fetch_one(db, int, ADD_PERSON, {"id": 4, "name": "again"})
                assert await fetch_one(db, int, "SELECT count(*) FROM people") == 4
                await db.commit()
            assert await people_count(engine) == 4

    run(main())


@by_path
def test_after_an_error_the_application_has_to_roll_back(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, engine.connect() as connection:
            with pytest.raises(exc.ProgrammingError):
                await fetch_one(connection, int, "SELECT nothing FROM people")
            with pytest.raises(exc.DBAPIError, match="current transaction is aborted"):
                await fetch_one(connection, int, "SELECT 1")
            await connection.rollback()
            assert await fetch_one(connection, int, "SELECT 1") == 1

    run(main())


@by_path
def test_a_deferred_constraint_fails_at_commit(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            await execute(engine, "DROP TABLE IF EXISTS pets")
            await execute(
                engine,
                "CREATE TABLE pets (owner int REFERENCES people DEFERRABLE INITIALLY DEFERRED)",
            )
            add = "INSERT INTO pets VALUES (99) RETURNING owner"
            with pytest.raises(exc.IntegrityError):
                await fetch_one(engine, int, add)
            async with engine.connect() as connection:
                assert await fetch_one(connection, int, add) == 99
                with pytest.raises(exc.IntegrityError):
                    await connection.commit()
            assert await fetch_one(engine, int, "SELECT count(*) FROM pets") == 0

    run(main())


@by_path
def test_a_closed_transaction_block_raises_the_error_of_execute(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, engine.connect() as connection:
            with pytest.raises(exc.InvalidRequestError, match="closed transaction"):
                async with connection.begin() as transaction:
                    await transaction.rollback()
                    await fetch_one(connection, int, "SELECT 1")

    run(main())


@pytest.mark.parametrize("reset", ["rollback", None])
def test_a_statement_of_an_engine_does_not_run_in_a_transaction_left_open(
    postgres: Postgres, reset: str | None
) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "pool_reset_on_return": reset}
        async with engine_for(postgres, "fast", **options) as engine:
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.execute(text("BEGIN"))
            add = fetch_one(engine, int, ADD_PERSON, {"id": 4, "name": "Di"})
            if reset is None:  # the transaction is the application's
                with pytest.raises(exc.InterfaceError, match="manually started transaction"):
                    await add
            else:
                await add
            await engine.dispose()
            assert await people_count(engine) == (3 if reset is None else 4)

    run(main())


class Unreadable(TypeDecorator[str]):
    impl = Text
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        raise LookupError("unreadable")


@by_path
def test_an_error_of_a_result_processor_rolls_back_on_an_engine(
    postgres: Postgres, path: str
) -> None:
    unreadable = Table("people", MetaData(), Column("id", Integer), Column("name", Unreadable))

    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with pytest.raises(LookupError):
                await fetch_one(
                    engine,
                    str,
                    insert(unreadable).values(id=9, name="x").returning(unreadable.c.name),
                )
            assert await people_count(engine) == 3

    run(main())


@by_path
def test_an_error_of_a_result_processor_rolls_back_a_writing_cte_on_an_engine(
    postgres: Postgres, path: str
) -> None:
    unreadable = Table("people", MetaData(), Column("id", Integer), Column("name", Unreadable))
    added = insert(unreadable).values(id=9, name="x").returning(unreadable.c.name).cte("added")

    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            with pytest.raises(LookupError):
                await fetch_one(engine, str, select(added.c.name))
            assert await people_count(engine) == 3
            async with engine.connect() as connection:
                with pytest.raises(LookupError):
                    await fetch_one(connection, str, select(added.c.name))
                await connection.commit()
            assert await people_count(engine) == 4, "on a connection the application decides"

    run(main())
