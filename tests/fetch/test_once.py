"""No driver runs a statement twice, whatever an application adds to SQLAlchemy's SQL and types.

SQLAlchemy alone can match columns that an application's own SQL returns, or undo a statement whose
values cannot be converted. Most drivers report the columns after the statement has run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    insert,
    select,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import UserDefinedType

from sqla_typedpool import RowShapeError, execute, fetch_all, fetch_one
from sqla_typedpool._sqlalchemy.driver_statement import compile_for_driver
from tests.support.engines import make_engine, run
from tests.support.fetch_lab import LABS, executor_of, lab_of

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.fetch_lab import Lab


class Pair(ColumnElement[Any]):
    """An element that is two columns."""

    inherit_cache = True
    type = Integer()


@compiles(Pair)
def _pair(*_: Any, **__: Any) -> str:
    return "id, n"


class Total(ColumnElement[int]):
    """An element of an application that is one column."""

    inherit_cache = True
    type = Integer()
    __visit_name__ = "null"


class ByCode(UserDefinedType[Any]):
    """A type that converts the values of a known type code only."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "integer"

    def result_processor(self, dialect: Any, coltype: object) -> Any:
        if coltype is None:
            return None
        return lambda value: -value


class Wrapped(TypeDecorator[Any]):
    """The same, within another type."""

    impl = ByCode
    cache_ok = True


class WritesOnly(TypeDecorator[Any]):
    """A type that converts parameters, not results."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value


added = Table("added", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer))
by_code = Table("added", MetaData(), Column("id", Integer, primary_key=True), Column("n", ByCode))
ADD = insert(added).values(id=1, n=2)
COUNT = "SELECT count(*) FROM added"


def returning(column_type: Any) -> Any:
    table = Table("added", MetaData(), Column("id", Integer), Column("n", column_type))
    return insert(table).values(id=1).returning(table.c.n)


# ------------------------------------------------------------------- what is refused from the start


def may_fetch(statement: Any) -> bool:
    engine: Engine = make_engine("sqlite+aiosqlite://").sync_engine
    compiled = compile_for_driver(engine, statement, (), describes_first=False)
    assert compiled is not None
    return compiled.may_fetch


@pytest.mark.parametrize(
    "statement",
    [
        ADD.returning(Pair()),
        ADD.returning(Pair().label("x")),
        select(Pair()),
        select(added.c.id + Pair()),
        select(Total()),
    ],
    ids=str,
)
def test_sql_that_an_application_compiles_is_left_to_sqlalchemy(statement: Any) -> None:
    assert not may_fetch(statement)


def test_a_class_of_sqlalchemy_that_an_application_compiles_is_left_to_sqlalchemy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statement = ADD.returning(added.c.id)
    assert may_fetch(statement)
    monkeypatch.setattr(type(statement), "_compiler_dispatcher", None, raising=False)
    assert not may_fetch(statement)
    monkeypatch.undo()
    monkeypatch.setattr(Column, "_compiler_dispatcher", None, raising=False)
    assert not may_fetch(statement)


@pytest.mark.parametrize(
    ("column_type", "is_certain"),
    [
        (ByCode(), False),
        (Wrapped(), False),
        (ARRAY(ByCode()), False),
        (Integer().with_variant(ByCode(), "sqlite"), False),
        (WritesOnly(), True),
        (Integer(), True),
    ],
    ids=str,
)
def test_a_write_that_returns_a_type_with_a_processor_of_its_own_is_left_to_sqlalchemy(
    column_type: Any, is_certain: bool
) -> None:
    assert may_fetch(returning(column_type)) is is_certain


# ------------------------------------------------------------------------------ on every driver


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return lab_of(request, tmp_path)


WRITES: dict[str, tuple[Any, Any]] = {
    "an element": (ADD.returning(Pair()), (1, 2)),
    "a type": (insert(by_code).values(id=1, n=2).returning(by_code.c.id, by_code.c.n), None),
}


async def make_table(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS added"))
        await connection.execute(text("CREATE TABLE added (id int, n int)"))


@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
@pytest.mark.parametrize("what", WRITES)
def test_a_write_with_sql_or_types_of_an_application_is_run_once(
    lab: Lab, what: str, kind: str
) -> None:
    statement, expected = WRITES[what]

    async def main() -> None:
        async with lab.engine_on() as engine:
            await make_table(engine)
            async with executor_of(engine, kind) as executor:
                (row,) = await executor.rows(tuple[int, Any], statement)
                assert expected in (None, row)
                assert await executor.rows(int, COUNT) == [1]

    run(main())


@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
def test_a_write_with_columns_that_nobody_could_expect_is_not_run_again(
    lab: Lab, kind: str
) -> None:
    add = ADD.returning(added.c.id.op(",")(added.c.n))  # two columns; SQLAlchemy expects one

    async def main() -> None:
        async with lab.engine_on() as engine:
            await make_table(engine)
            async with executor_of(engine, kind) as executor:
                if lab.is_slow or lab.driver == "asyncpg":
                    assert await executor.rows(tuple[int, int], add) == [(1, 2)]
                    assert await executor.rows(int, COUNT) == [1]
                else:
                    with pytest.raises(RowShapeError, match="2 columns, SQLAlchemy expects 1"):
                        await executor.rows(tuple[int, int], add)
                    # an engine has undone it
                    assert await executor.rows(int, COUNT) == [0 if kind == "engine" else 1]

    run(main())


def test_the_values_of_a_read_are_converted_by_a_type_of_an_application(lab: Lab) -> None:
    async def main() -> None:
        async with lab.engine_on() as engine:
            await make_table(engine)
            await execute(engine, "INSERT INTO added VALUES (1, 2)")
            pair = select(Pair()).select_from(added)
            for _ in range(2):
                found = await fetch_all(engine, tuple[int, Any], select(by_code))
                assert found == [(1, 2 if lab.family == "sqlite" else -2)]
                assert await fetch_one(engine, tuple[int, int], pair) == (1, 2)

    run(main())
