"""The rows of a fetch, on both paths and on each kind of executor."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    exc,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool import (
    RowShapeError,
    RowValueError,
    fetch_all,
    fetch_one,
    fetch_optional,
    rows_as,
)
from tests.support.engines import run
from tests.support.fetch_lab import (
    ALL,
    ONE,
    PEOPLE,
    User,
    by_db,
    by_path,
    db_of,
    engine_for,
    people,
)

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres
    from tests.support.fetch_lab import Paths


@by_path
@by_db
def test_rows_become_dataclasses(postgres: Postgres, path: str, kind: str, paths: Paths) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            assert await fetch_all(db, User, ALL) == PEOPLE
            assert await fetch_one(db, User, ONE, {"id": 2}) == PEOPLE[1]
            assert await fetch_optional(db, User, ONE, {"id": 9}) is None
            assert await fetch_one(db, int, "SELECT count(*) FROM people") == 3
            assert await fetch_all(db, tuple[int, str], "SELECT id, name FROM people") == [
                (1, "Ada"),
                (2, "Bob"),
                (3, "Cy"),
            ]
            assert await fetch_one(db, int | None, "SELECT NULL::int") is None

    run(main())
    assert (paths.slow() > 0) is (path == "slow")


@by_path
@by_db
def test_no_row_and_several_rows_raise_sqlalchemys_errors(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            with pytest.raises(exc.NoResultFound):
                await fetch_one(db, User, ONE, {"id": 9})
            with pytest.raises(exc.MultipleResultsFound):
                await fetch_one(db, User, ALL)
            with pytest.raises(exc.MultipleResultsFound):
                await fetch_optional(db, User, ALL)

    run(main())


@by_path
@by_db
def test_a_core_statement_is_fetched_whether_built_once_or_at_each_call(
    postgres: Postgres, path: str, kind: str, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            once = select(people).where(people.c.id == bindparam("id"))
            for id_ in (1, 2, 3, 1):
                assert await fetch_one(db, User, once, {"id": id_}) == PEOPLE[id_ - 1]
            for id_ in (1, 2, 3, 1):
                built = select(people).where(people.c.id == id_)
                assert await fetch_one(db, User, built) == PEOPLE[id_ - 1]
            labelled = select(people.c.id, people.c.name.label("nick"), literal("x").label("name"))
            assert (await fetch_all(db, User, labelled))[0] == User(1, "x", "Ada")

    run(main())
    assert (paths.slow() > 0) is (path == "slow")


@by_path
def test_an_in_list_and_text_with_columns_give_the_same_rows(postgres: Postgres, path: str) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, "connection") as db:
            some = select(people).where(people.c.id.in_([1, 3])).order_by(people.c.id)
            assert await fetch_all(db, User, some) == [PEOPLE[0], PEOPLE[2]]
            named = text(ALL).columns(people.c.id, people.c.name, people.c.nick)
            assert await fetch_all(db, User, named) == PEOPLE

    run(main())


class Shout(TypeDecorator[str]):
    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value if value is None else value.lower()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value if value is None else value.upper()


@by_path
def test_types_of_columns_keep_their_processors(postgres: Postgres, path: str) -> None:
    shouting = Table(
        "people", MetaData(), Column("id", Integer), Column("name", Shout), Column("nick", Text)
    )

    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            rows = await fetch_all(engine, User, select(shouting).order_by(shouting.c.id))
            assert [row.name for row in rows] == ["ADA", "BOB", "CY"]
            inserted = insert(shouting).values(id=4, name="DAN").returning(shouting)
            assert await fetch_one(engine, User, inserted) == User(4, "DAN")
            assert await fetch_one(engine, str, "SELECT name FROM people WHERE id = 4") == "dan"

    run(main())


@dataclass
class Mixed:
    amount: Decimal
    key: UUID
    data: object
    rate: float


@by_path
def test_numbers_uuids_and_json_arrive_as_sqlalchemy_delivers_them(
    postgres: Postgres, path: str
) -> None:
    sql = (
        "SELECT 1.50::numeric AS amount, '12345678-1234-5678-1234-567812345678'::uuid AS key, "
        """'{"a": [1, null]}'::jsonb AS data, 0.5::float8 AS rate"""
    )

    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            row = await fetch_one(engine, Mixed, sql)
            assert row == Mixed(
                Decimal("1.50"),
                UUID("12345678-1234-5678-1234-567812345678"),
                {"a": [1, None]},
                0.5,
            )
            typed = select(
                literal(Decimal("2.5"), Numeric(10, 2)).label("amount"),
                literal({"b": 1}, JSON).label("data"),
            )
            assert await fetch_one(engine, tuple[Decimal, object], typed) == (
                Decimal("2.50"),
                {"b": 1},
            )

    run(main())


@by_path
@by_db
def test_stars_and_functions_return_what_sqlalchemy_returns(
    postgres: Postgres, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, kind) as db:
            star = select(literal_column("people.*")).select_from(people).order_by(people.c.id)
            assert (await fetch_all(db, tuple[int, str, str | None], star))[0] == (1, "Ada", None)
            if kind in ("session", "scoped"):
                return  # a session refuses these with other errors
            assert await fetch_one(db, int, func.length("four")) == 4
            with pytest.raises(exc.ObjectNotExecutableError):
                await fetch_all(db, int, select(people.c.id).scalar_subquery())  # type: ignore[call-overload]

    run(main())


def test_rows_as_reads_the_rows_of_a_result_strictly(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine, AsyncSession(engine) as session:

            async def result() -> Any:
                return await session.execute(text(ALL))

            assert rows_as(await result(), User).all() == PEOPLE
            assert list(rows_as(await result(), User)) == PEOPLE
            assert rows_as(await result(), User).first() == PEOPLE[0]
            with pytest.raises(exc.MultipleResultsFound):
                rows_as(await result(), User).one()
            names = await session.scalars(select(people.c.name).order_by(people.c.id))
            assert rows_as(names, str).all() == ["Ada", "Bob", "Cy"]
            nicks = await session.scalars(select(people.c.nick).order_by(people.c.id))
            with pytest.raises(RowValueError, match="row 1"):
                rows_as(nicks, str).all()
            with pytest.raises(RowShapeError, match="nick"):
                rows_as(await session.execute(text("SELECT 1 AS id, 'x' AS nick")), User)
            streamed = await session.stream(text(ALL))
            assert [user async for user in rows_as(streamed, User)] == PEOPLE
            streamed = await session.stream(text(ALL))
            assert await rows_as(streamed, User).all() == PEOPLE

    run(main())
