"""Rows that do not fit their type are refused on every database and by every function.

The error names the column, does not show the value, and is raised as early as possible.
"""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from datetime import date
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Integer,
    Numeric,
    Select,
    Uuid,
    false,
    literal_column,
    select,
    text,
)

from sqla_typedpool import Flatten, Json, RowShapeError, RowValueError, rows_as
from tests.support.engines import run
from tests.support.fetch_lab import FAMILIES, KINDS, LABS, Executor, Lab, executor_of, lab_of

if TYPE_CHECKING:
    from pathlib import Path

    from sqla_typedpool.embedded import Postgres

# Values that no message may contain. Each case uses one of them, unless it uses 0 or 1.
NUMBER, WORD, DAY = "918273645", "open sesame", "2031-07-19"
SECRETS = (NUMBER, WORD, DAY, "2031, 7, 19", "918273")
IDENTITY = "9182736450a04b0c8d0e0f1011121314"


class Color(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int | None


@dataclass
class Perhaps:
    x: int | None
    y: int | None


@dataclass
class Placed:
    id: int
    place: Annotated[Perhaps | None, Flatten(prefix="place_")]


@dataclass
class Wide:
    id: int
    amount: int
    missing: int


def row_of(annotation: Any) -> type:
    """A class with two fields; the second is the one under test."""
    return make_dataclass("Row", [("id", int), ("amount", annotation)])


def typed(sql: str, kind: Any) -> Select[Any]:
    """A column with a SQLAlchemy type, for a database that has no such type."""
    identity = literal_column("1", Integer).label("id")
    return select(identity, literal_column(sql, kind).label("amount"))


def value(sql: str) -> str:
    return f"SELECT 1 AS id, {sql} AS amount"


@dataclass(frozen=True)
class Case:
    """A row type and, for each database, a statement that does not fit it."""

    name: str
    row_type: Any
    statements: dict[str, Any]
    """By family. None if the database has no such statement."""

    early: tuple[str, ...] = ("postgresql", "mysql")
    """The families that report types before the first row, so that an empty result is refused."""

    contains: tuple[str, ...] = field(default=('"amount"',))
    """Parts of the message."""

    row: int = 1
    """The row of the wrong value."""


EVERYWHERE, NOWHERE, POSTGRESQL = FAMILIES, (), ("postgresql",)


def everywhere(statement: Any) -> dict[str, Any]:
    return dict.fromkeys(FAMILIES, statement)


def each(postgresql: Any, sqlite: Any, mysql: Any) -> dict[str, Any]:
    return dict(zip(FAMILIES, (postgresql, sqlite, mysql), strict=True))


WRONG_DOCUMENT = f'\'{{"x": "{WORD}", "y": null}}\''
COUNTED = (
    "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 600) "
    "SELECT id, NULLIF(id, 500) AS amount FROM n"
)

CASES = [
    Case(
        "int8 into str",
        row_of(str),
        each(value(f"CAST({NUMBER} AS bigint)"), value(NUMBER), value(NUMBER)),
    ),
    Case(
        "bool into int",
        row_of(int),
        # SQLite and MySQL store 0 and 1. SQLAlchemy's type converts them to bool, and the
        # type is known only from the values.
        each(value("true"), typed("1", Boolean), typed("1", Boolean)),
        early=POSTGRESQL,
    ),
    Case(
        "numeric into float",
        row_of(float),
        each(
            value(f"CAST({NUMBER}.5 AS numeric)"),
            typed(f"{NUMBER}.5", Numeric(12, 1)),  # as above
            value(f"CAST({NUMBER}.5 AS DECIMAL(12, 1))"),
        ),
    ),
    Case("int into float", row_of(float), everywhere(value(NUMBER))),
    Case(
        "timestamp into date",
        row_of(date),
        each(
            value(f"TIMESTAMP '{DAY} 11:22:33'"),
            value(f"'{DAY} 11:22:33'"),  # stored as text
            value(f"TIMESTAMP '{DAY} 11:22:33'"),
        ),
    ),
    # MySQL has the same type codes for text and bytes
    Case("text into int", row_of(int), everywhere(value(f"'{WORD}'")), early=POSTGRESQL),
    Case(
        "bytea into str",
        row_of(str),
        each(
            value(f"CAST('{WORD}' AS bytea)"),
            value(f"CAST('{WORD}' AS BLOB)"),
            value(f"CAST('{WORD}' AS BINARY)"),
        ),
        early=POSTGRESQL,
    ),
    Case(
        "uuid into str",
        row_of(str),
        # stored as text
        each(
            value(f"CAST('{IDENTITY}' AS uuid)"),
            typed(f"'{IDENTITY}'", Uuid),
            typed(f"'{IDENTITY}'", Uuid),
        ),
        early=POSTGRESQL,
    ),
    Case("NULL in the first row", row_of(int), everywhere(value("NULLIF(1, 1)")), early=NOWHERE),
    Case("NULL in row 500", row_of(int), everywhere(COUNTED), early=NOWHERE, row=500),
    Case(
        "a missing column",
        row_of(int),
        everywhere(f"SELECT 1 AS id, {NUMBER} AS amuont"),
        early=EVERYWHERE,
        contains=('missing column "amount"', 'did you mean "amuont"?'),
    ),
    Case(
        "an extra column",
        row_of(int),
        everywhere(f"SELECT 1 AS id, 2 AS amount, {NUMBER} AS more"),
        early=EVERYWHERE,
        contains=('extra column "more"',),
    ),
    Case(
        "a duplicate column",
        row_of(int),
        everywhere(f"SELECT 1 AS id, 2 AS amount, {NUMBER} AS amount"),
        early=EVERYWHERE,
        contains=('duplicate column "amount" (columns 2, 3)',),
    ),
    Case(
        "everything at once",
        Wide,
        everywhere(f"SELECT 1 AS id, 1.5 AS amount, {NUMBER} AS more, 2 AS id"),
        early=EVERYWHERE,
        contains=('duplicate column "id"', 'missing column "missing"', 'extra column "more"'),
    ),
    Case("an unknown label", row_of(Color), everywhere(value(f"'{WORD}'")), early=NOWHERE),
    Case(
        "an unknown label of a database enum",
        row_of(Color),
        # MySQL's drivers report an ENUM as text; SQLite has no enums
        each(value(f"CAST('{WORD}' AS refused_mood)"), None, None),
        early=NOWHERE,
    ),
    Case(
        "a value outside a Literal",
        row_of(Literal["red", "blue"]),
        everywhere(value(f"'{WORD}'")),
        early=NOWHERE,
    ),
    Case(
        "a number outside a Literal", row_of(Literal[1]), everywhere(value(NUMBER)), early=NOWHERE
    ),
    Case(
        "NULL inside list[int]",
        row_of(list[int]),
        each(value(f"ARRAY[{NUMBER}, NULL, 3]"), None, None),  # no arrays
        early=NOWHERE,
        contains=('"amount" at [1]', "found NULL"),
    ),
    Case(
        "text inside list[int]",
        row_of(list[int]),
        each(value(f"ARRAY['{WORD}']"), None, None),  # no arrays
    ),
    Case(
        "null inside a JSON list",
        row_of(Annotated[list[int], Json()]),
        each(value(f"CAST('[{NUMBER}, null]' AS jsonb)"), *[value(f"'[{NUMBER}, null]'")] * 2),
        early=NOWHERE,
        contains=('"amount" at $[1]', "found null"),
    ),
    Case(
        "JSON without Json()",
        row_of(Point),
        each(value(f"CAST({WRONG_DOCUMENT} AS jsonb)"), *[value(WRONG_DOCUMENT)] * 2),
        early=EVERYWHERE,
        contains=('"amount"', "Json()"),
    ),
    Case(
        "JSON into str",
        row_of(str),
        # SQLite and MySQL store it as text: only SQLAlchemy's type shows that it is JSON
        each(
            value(f"CAST({WRONG_DOCUMENT} AS json)"),
            *[typed(WRONG_DOCUMENT, JSON)] * 2,
        ),
        early=EVERYWHERE,
        contains=('"amount"', "Json()"),
    ),
    Case(
        "JSON of the wrong inner type",
        row_of(Annotated[Point, Json()]),
        each(value(f"CAST({WRONG_DOCUMENT} AS jsonb)"), *[value(WRONG_DOCUMENT)] * 2),
        early=NOWHERE,
        contains=('"amount" at $.x', "expected int", "found str"),
    ),
    Case(
        "an ambiguous Optional Flatten",
        Placed,
        everywhere(f"SELECT 1 AS id, {NUMBER} AS place_x, NULLIF(1, 1) AS place_y"),
        early=EVERYWHERE,
        contains=("Placed.place", '"place_x", "place_y"'),
    ),
]


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return lab_of(request, tmp_path)


@pytest.mark.filterwarnings("ignore:.*does \\*not\\* support Decimal:sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_row_that_does_not_fit_is_refused_by_every_executor(lab: Lab, case: Case) -> None:
    statement = case.statements[lab.family]
    if statement is None:
        pytest.skip("this database cannot express the case")

    async def main() -> None:
        async with lab.engine_on() as engine:
            if "refused_mood" in str(statement):
                async with engine.begin() as connection:
                    await connection.execute(text("DROP TYPE IF EXISTS refused_mood"))
                    made = f"CREATE TYPE refused_mood AS ENUM ('red', '{WORD}')"
                    await connection.execute(text(made))
            for kind in KINDS:
                async with executor_of(engine, kind) as executor:
                    await refused(executor, case, statement, early=lab.family in case.early)

    run(main())


async def refused(executor: Executor, case: Case, statement: Any, *, early: bool) -> None:
    """It raises the right error with and without rows, and the executor still works afterwards."""
    with pytest.raises(RowShapeError if early else RowValueError) as caught:
        await executor.rows(case.row_type, statement)
    assert_names_no_value(caught.value, case)
    if early:
        with pytest.raises(RowShapeError) as empty:
            await executor.rows(case.row_type, emptied(statement))
        assert str(empty.value) == str(caught.value)
    else:
        assert caught.value.row == case.row
        assert await executor.rows(case.row_type, emptied(statement)) == []
    assert await executor.rows(int, "SELECT 7") == [7]


def assert_names_no_value(error: Exception, case: Case) -> None:
    """The message names what is wrong, and contains no value."""
    for part in case.contains:
        assert part in str(error)
    for shown in (str(error), repr(error)):
        assert not [secret for secret in SECRETS if secret in shown], shown


def emptied(statement: Any) -> Any:
    """The same columns without rows."""
    if isinstance(statement, str):
        return f"{statement} WHERE 1 = 0"
    return statement.where(false())


def test_a_shape_is_refused_before_a_row_is_read(lab: Lab) -> None:
    async def main() -> None:
        async with lab.engine_on() as engine, engine.connect() as connection:
            result = await connection.execute(text("SELECT 1 AS id, 2 AS more"))
            with pytest.raises(RowShapeError, match='extra column "more"'):
                rows_as(result, row_of(int))
            assert result.all() == [(1, 2)]

    run(main())


@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
def test_the_fast_path_does_not_run_a_statement_that_it_refuses(
    postgres: Postgres, kind: str
) -> None:
    lab = Lab("asyncpg", postgres.url("asyncpg"), is_slow=False)

    async def main() -> None:
        async with lab.engine_on() as engine:
            async with engine.begin() as connection:
                await connection.execute(text("DROP SEQUENCE IF EXISTS refused_numbers"))
                await connection.execute(text("CREATE SEQUENCE refused_numbers"))
            taken = "SELECT nextval('refused_numbers')"
            async with executor_of(engine, kind) as executor:
                with pytest.raises(RowShapeError, match="nextval"):
                    await executor.rows(str, taken)
                assert await executor.rows(int, taken) == [1]

    run(main())


# ------------------------------------------------ streams, chosen columns, scalars, mappings


@dataclass
class Named:
    amount: int
    name: str


NAMED = "SELECT 1 AS amount, 'Ada' AS name"


def skip_without_types(lab: Lab) -> None:
    if lab.family == "sqlite":
        pytest.skip("SQLite reports types only with the values")


def test_an_empty_stream_of_a_wrong_type_is_refused(lab: Lab) -> None:
    skip_without_types(lab)

    async def main() -> None:
        async with lab.engine_on() as engine, executor_of(engine, "stream") as executor:
            with pytest.raises(RowShapeError, match='"amount"'):
                await executor.rows(row_of(str), emptied(value(NUMBER)))

    run(main())


def test_columns_in_another_order_keep_their_types(lab: Lab) -> None:
    skip_without_types(lab)

    async def main() -> None:
        async with lab.engine_on() as engine, engine.connect() as connection:
            result = await connection.execute(text(NAMED))
            chosen = result.columns("name", "amount")
            assert rows_as(chosen, Named).all() == [Named(1, "Ada")]

    run(main())


def test_empty_scalars_of_a_wrong_type_are_refused(lab: Lab) -> None:
    skip_without_types(lab)

    async def main() -> None:
        async with lab.engine_on() as engine, engine.connect() as connection:
            result = await connection.execute(text(emptied(value(NUMBER))))
            with pytest.raises(RowShapeError, match='"amount"'):
                rows_as(result.scalars("amount"), str)

    run(main())


def test_streamed_json_text_is_parsed_once(lab: Lab) -> None:
    if lab.family == "postgresql":
        pytest.skip("PostgreSQL's drivers decode JSON")

    async def main() -> None:
        async with lab.engine_on() as engine, executor_of(engine, "stream") as executor:
            statement = select(literal_column("'\"seven\"'", JSON).label("amount"))
            assert await executor.rows(Annotated[str, Json()], statement) == ["seven"]

    run(main())


def test_rows_as_refuses_mappings(lab: Lab) -> None:
    async def main() -> None:
        async with lab.engine_on() as engine, engine.connect() as connection:
            result = await connection.execute(text("SELECT 'Ada' AS name"))
            with pytest.raises(TypeError, match="mappings"):
                rows_as(result.mappings(), tuple[str]).all()  # type: ignore[call-overload]

    run(main())
