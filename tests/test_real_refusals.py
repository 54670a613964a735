"""What does not fit is refused everywhere: by name, without the value, as early as can be."""

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

# What no message may tell: each case's value shows one of them, if it is of more than a bit.
NUMBER, WORD, DAY = "918273645", "open sesame", "2031-07-19"
TOLD = (NUMBER, WORD, DAY, "2031, 7, 19", "918273")
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
    """A class of two fields, the second one in question."""
    return make_dataclass("Row", [("id", int), ("amount", annotation)])


def typed(sql: str, kind: Any) -> Select[Any]:
    """A column of one of SQLAlchemy's types, where the database has none such."""
    identity = literal_column("1", Integer).label("id")
    return select(identity, literal_column(sql, kind).label("amount"))


def value(sql: str) -> str:
    return f"SELECT 1 AS id, {sql} AS amount"


@dataclass(frozen=True)
class Case:
    """A row type, and a statement for each database that does not fit it."""

    name: str
    row_type: Any
    statements: dict[str, Any]
    """By family; in place of a statement None where the database cannot express it."""

    early: tuple[str, ...] = ("postgresql", "mysql")
    """The families that tell the types before the first row, and so refuse an empty result."""

    says: tuple[str, ...] = field(default=('"amount"',))
    row: int = 1
    """Where the wrong value stands."""


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
        # SQLite and MySQL store 0 and 1: it takes SQLAlchemy's type to make a bool of them,
        # and then only the values tell
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
    # MySQL's type codes are the same for text and bytes
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
        says=('missing column "amount"', 'did you mean "amuont"?'),
    ),
    Case(
        "an extra column",
        row_of(int),
        everywhere(f"SELECT 1 AS id, 2 AS amount, {NUMBER} AS more"),
        early=EVERYWHERE,
        says=('extra column "more"',),
    ),
    Case(
        "a duplicate column",
        row_of(int),
        everywhere(f"SELECT 1 AS id, 2 AS amount, {NUMBER} AS amount"),
        early=EVERYWHERE,
        says=('duplicate column "amount" (columns 2, 3)',),
    ),
    Case(
        "everything at once",
        Wide,
        everywhere(f"SELECT 1 AS id, 1.5 AS amount, {NUMBER} AS more, 2 AS id"),
        early=EVERYWHERE,
        says=('duplicate column "id"', 'missing column "missing"', 'extra column "more"'),
    ),
    Case("an unknown label", row_of(Color), everywhere(value(f"'{WORD}'")), early=NOWHERE),
    Case(
        "an unknown label of a database enum",
        row_of(Color),
        # an ENUM of MySQL's is text to the driver; SQLite has none
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
        says=('"amount" at [1]', "found NULL"),
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
        says=('"amount" at $[1]', "found null"),
    ),
    Case(
        "JSON without Json()",
        row_of(Point),
        each(value(f"CAST({WRONG_DOCUMENT} AS jsonb)"), *[value(WRONG_DOCUMENT)] * 2),
        early=EVERYWHERE,
        says=('"amount"', "Json()"),
    ),
    Case(
        "JSON into str",
        row_of(str),
        # where it is stored as text it is JSON only by SQLAlchemy's type
        each(
            value(f"CAST({WRONG_DOCUMENT} AS json)"),
            *[typed(WRONG_DOCUMENT, JSON)] * 2,
        ),
        early=EVERYWHERE,
        says=('"amount"', "Json()"),
    ),
    Case(
        "JSON of the wrong inner type",
        row_of(Annotated[Point, Json()]),
        each(value(f"CAST({WRONG_DOCUMENT} AS jsonb)"), *[value(WRONG_DOCUMENT)] * 2),
        early=NOWHERE,
        says=('"amount" at $.x', "expected int", "found str"),
    ),
    Case(
        "an ambiguous Optional Flatten",
        Placed,
        everywhere(f"SELECT 1 AS id, {NUMBER} AS place_x, NULLIF(1, 1) AS place_y"),
        early=EVERYWHERE,
        says=("Placed.place", '"place_x", "place_y"'),
    ),
]


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return lab_of(request, tmp_path)


@pytest.mark.filterwarnings("ignore:.*does \\*not\\* support Decimal:sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_refused_by_every_executor(lab: Lab, case: Case) -> None:
    statement = case.statements[lab.family]
    if statement is None:
        pytest.skip("this database has nothing of the kind")

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
    """The right error, with rows and without, after which the executor is as good as before."""
    with pytest.raises(RowShapeError if early else RowValueError) as caught:
        await executor.rows(case.row_type, statement)
    assert_discreet(caught.value, case)
    if early:
        with pytest.raises(RowShapeError) as of_none:
            await executor.rows(case.row_type, emptied(statement))
        assert str(of_none.value) == str(caught.value)
    else:
        assert caught.value.row == case.row
        assert await executor.rows(case.row_type, emptied(statement)) == []
    assert await executor.rows(int, "SELECT 7") == [7]


def assert_discreet(error: Exception, case: Case) -> None:
    """It names what is wrong, and tells no value."""
    for wanted in case.says:
        assert wanted in str(error)
    for shown in (str(error), repr(error)):
        assert not [secret for secret in TOLD if secret in shown], shown


def emptied(statement: Any) -> Any:
    """The same columns, and no row."""
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
def test_a_refused_statement_has_not_been_run_on_the_short_way(
    postgres: Postgres, kind: str
) -> None:
    lab = Lab("asyncpg", postgres.url("asyncpg"), is_long=False)

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


# ------------------------------------------------ what is made of a result before it is read


@dataclass
class Named:
    amount: int
    name: str


NAMED = "SELECT 1 AS amount, 'Ada' AS name"


def skip_without_types(lab: Lab) -> None:
    if lab.family == "sqlite":
        pytest.skip("SQLite tells no types before the values")


def test_a_stream_of_a_wrong_type_is_refused_though_it_is_empty(lab: Lab) -> None:
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


def test_scalars_of_a_wrong_type_are_refused_though_there_are_none(lab: Lab) -> None:
    skip_without_types(lab)

    async def main() -> None:
        async with lab.engine_on() as engine, engine.connect() as connection:
            result = await connection.execute(text(emptied(value(NUMBER))))
            with pytest.raises(RowShapeError, match='"amount"'):
                rows_as(result.scalars("amount"), str)

    run(main())


def test_streamed_json_text_is_not_parsed_a_second_time(lab: Lab) -> None:
    if lab.family == "postgresql":
        pytest.skip("PostgreSQL's drivers decode JSON themselves")

    async def main() -> None:
        async with lab.engine_on() as engine, executor_of(engine, "stream") as executor:
            statement = select(literal_column("'\"seven\"'", JSON).label("amount"))
            assert await executor.rows(Annotated[str, Json()], statement) == ["seven"]

    run(main())


def test_mappings_are_not_taken_for_rows(lab: Lab) -> None:
    async def main() -> None:
        async with lab.engine_on() as engine, engine.connect() as connection:
            result = await connection.execute(text("SELECT 'Ada' AS name"))
            with pytest.raises(TypeError, match="mappings"):
                rows_as(result.mappings(), tuple[str]).all()  # type: ignore[call-overload]

    run(main())
