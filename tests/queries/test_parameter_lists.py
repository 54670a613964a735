"""Declared queries with lists after IN."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import (
    AsyncIterator,
    Collection,
    Iterable,
    Iterator,
    Sequence,
)
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import Executor, query, query_info
from sqla_typedpool.queries.list_statements import ListStatement
from sqla_typedpool.queries.parameter_lists import element_sql_type, text_with_lists
from tests.queries.declaring import (
    UserId,
    database,
    declare,
    fault_of,
    faults_of,
    on_database,
)

IDS = "SELECT id FROM users WHERE id IN :ids ORDER BY id"
Ids = NewType("Ids", list[int])


class Texts(str, enum.Enum):
    A = "a"


class Numbers(enum.IntEnum):
    ONE = 1


class Plain(enum.Enum):
    A = "a"


@query(IDS)
async def some(db: Executor, ids: Iterable[int]) -> list[int]:
    raise NotImplementedError


@query("SELECT id FROM users WHERE id NOT IN :ids AND name <> :name ORDER BY id")
def stream_others(db: Executor, *, ids: Collection[int], name: str = "") -> AsyncIterator[int]:
    raise NotImplementedError


@pytest.mark.parametrize(
    "ids",
    [[1, 2, 3], (2, 1), {1, 2}, frozenset({1, 2}), range(3), {1: 0, 2: 0}, {1: 0, 2: 0}.keys()],
)
def test_a_list_may_be_any_collection(ids: Iterable[int]) -> None:
    assert on_database(lambda db: some(db, ids)) == [1, 2]


def test_an_iterator_is_read_once() -> None:
    def numbers() -> Iterator[int]:
        yield from (1, 2)

    assert on_database(lambda db: some(db, numbers())) == [1, 2]


def test_an_empty_list_is_in_nothing_and_not_in_everything() -> None:
    async def work(db: AsyncEngine) -> list[list[int]]:
        return [await some(db, []), [each async for each in stream_others(db, ids=[])]]

    assert on_database(work) == [[], [1, 2]]


def test_short_lists_are_written_as_text_and_the_others_are_left_to_sqlalchemy() -> None:
    sql = "SELECT 1 WHERE a IN :x AND b NOT IN :y AND (c IN :x) AND d = :x_2"
    expanding = text_with_lists(sql)
    statement = ListStatement(sql, expanding, ("x", "y"), ("x", "y", "x_2"))
    written, values = statement({"x": {7}, "y": (8, None), "x_2": 9})
    assert written == (
        "SELECT 1 WHERE a IN (:x__1) AND b NOT IN (:y_1, :y_2) AND (c IN (:x__1)) AND d = :x_2"
    )
    assert values == {"x__1": 7, "y_1": 8, "y_2": None, "x_2": 9}
    assert statement({"x": [1], "y": [2, 3], "x_2": 4})[0] is written
    for x, y in (([], [1]), ([1], None), (range(9), [1])):
        written, values = statement({"x": x, "y": y, "x_2": 9})
        assert written is expanding
        assert values == {"x": list(x), "y": y, "x_2": 9}


def test_one_query_makes_few_texts() -> None:
    statement = ListStatement(
        "SELECT :x IN :y OR 1 IN :z", text_with_lists("SELECT 1"), ("y", "z"), ("x", "y", "z")
    )
    pairs = [(x, y) for x in range(1, 9) for y in range(1, 9)]
    found = [statement({"x": 1, "y": [1] * y, "z": [1] * z})[0] for y, z in pairs]
    assert len({each for each in found if isinstance(each, str)}) == 16


def test_lists_of_different_lengths_use_one_declared_query() -> None:
    async def work() -> None:
        async with database() as db:
            for count in (0, 1, 2, 0, 100, 1):
                assert await some(db, list(range(count))) == [n for n in (1, 2) if n < count]

    asyncio.run(work())


@pytest.mark.parametrize("wrong", ["12", b"12", bytearray(b"12"), memoryview(b"12")])
def test_a_text_is_not_a_list_of_its_characters(wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"IN takes a list, not {type(wrong).__name__}; next"):
        on_database(lambda db: some(db, wrong))


def test_a_single_value_is_not_a_list() -> None:
    value: Any = 7
    with pytest.raises(TypeError, match="not iterable"):
        on_database(lambda db: some(db, value))


def test_the_lists_of_a_query_can_be_inspected() -> None:
    assert query_info(some).lists == ("ids",)
    assert query_info(some).sql == IDS
    assert query_info(some).is_text
    assert query_info(declare("SELECT :a", "(db, a: list[int]) -> int")).lists == ()


def test_the_statement_of_a_query_without_lists_is_a_str() -> None:
    """The fast path is fastest for a str."""
    plain = declare("SELECT id FROM users WHERE id = :a", "(db, a: int) -> list[int]")
    assert "SELECT id FROM users WHERE id = :a" in plain.__globals__.values()


def test_text_of_the_application_is_left_as_it_is() -> None:
    own = text(IDS).bindparams(bindparam("ids", expanding=True))
    info = query_info(declare(own, "(db, ids: list[int]) -> list[int]"))
    assert (info.statement, info.lists) == (own, ())


@pytest.mark.parametrize(
    ("declared", "shown"),
    [
        ("int", "int"),
        ("int | None", "int"),
        ("UserId", "int"),
        ("str", "str"),
        ("Annotated[int, 'x']", "int"),
    ],
)
def test_a_single_value_after_in_is_an_error(declared: str, shown: str) -> None:
    fault = fault_of(lambda: declare(IDS, f"(db, ids: {declared}) -> list[int]"))
    assert fault.startswith("IN takes a list, but ids is declared ")
    assert fault.endswith(f"next: declare it list[{shown}], or write IN (:ids)")


@pytest.mark.parametrize(
    "declared",
    [
        *("list[int]", "list", "Sequence[int]", "set[int]", "tuple[int, ...]", "tuple[int, int]"),
        *("list[UserId]", "list[int] | None", "Any", "object", "list[int | None]"),
    ],
)
def test_lists_and_types_that_are_not_known_are_accepted(declared: str) -> None:
    info = query_info(declare(IDS, f"(db, ids: {declared}) -> list[int]"))
    assert info.lists == ("ids",)


def test_a_list_of_tuples_is_refused() -> None:
    sql = "SELECT id FROM users WHERE (id, name) IN :pairs"
    fault = fault_of(lambda: declare(sql, "(db, pairs: list[tuple[int, str]]) -> list[int]"))
    assert "tuple_(...).in_(bindparam('pairs', expanding=True))" in fault


def test_a_parameter_is_not_a_list_and_a_value_at_once() -> None:
    sql = "SELECT id FROM users\nWHERE id IN :ids\nOR :ids IS NULL"
    fault = fault_of(lambda: declare(sql, "(db, ids: list[int]) -> list[int]"))
    assert "a single value in another place (line 3 of the SQL); next: use two parameters" in fault
    twice = declare(
        "SELECT id FROM users WHERE id IN :ids AND id + 1 IN :ids",
        "(db, ids: list[int]) -> list[int]",
    )
    assert on_database(lambda db: twice(db, [1, 2])) == [1]


def test_the_type_of_a_list_must_be_defined_before_the_query() -> None:
    fault = fault_of(lambda: declare(IDS, "(db, ids: 'list[Later]') -> list[int]"))
    assert "list[Later]" in fault
    assert "of ids when the query is declared; next: define the type above the query" in fault


def test_a_misspelt_list_is_reported_once() -> None:
    faults = faults_of(lambda: declare(IDS, "(db, idz: list[int]) -> list[int]"))
    assert len(faults) == 2
    assert "did you mean :idz?" in faults[0]


@pytest.mark.parametrize(
    ("annotation", "sql_type"),
    [
        *((list[int], "bigint"), (Sequence[str], "text"), (set[UUID], "uuid")),
        *((list[int | None], "bigint"), (tuple[bool, ...], "boolean"), (list[Decimal], "numeric")),
        *((list[Texts], "text"), (list[Numbers], "bigint"), (list[Plain], "integer")),
        *((list[Literal["a", "b"]], "text"), (list[Any], "integer"), (Any, "integer")),
        *((list[UserId], "bigint"), (list[int] | None, "bigint"), (Ids, "bigint")),
        (Annotated[list[str], "x"], "text"),
    ],
)
def test_the_type_of_an_empty_list_is_that_of_the_elements(annotation: Any, sql_type: str) -> None:
    assert element_sql_type(annotation) == sql_type
