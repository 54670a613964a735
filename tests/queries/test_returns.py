"""The return annotation of a declared query: what a call returns, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import Executor, Json, query, query_info
from sqla_typedpool.queries import Cardinality
from tests.queries.declaring import (
    Pair,
    User,
    UserId,
    all_ids,
    all_users,
    declare,
    delete_all,
    fault_of,
    find_name,
    find_user,
    get_user,
    list_pairs,
    list_users,
    on_database,
    rename,
)


def test_a_query_returns_what_its_annotation_declares() -> None:
    async def work(db: AsyncEngine) -> None:
        ada, bob = User(1, "Ada"), User(2, "Bob")
        assert await get_user(db, 1) == ada
        assert await find_user(db) == bob
        assert await find_user(db, user_id=3) is None
        assert await find_name(db, UserId(1)) == "Ada"
        assert await find_name(db, UserId(3)) is None
        assert await list_users(db) == [ada, bob]
        assert await list_pairs(db) == [(1, "Ada"), (2, "Bob")]
        assert [user async for user in all_users(db)] == [ada, bob]
        assert [number async for number in all_ids(db, least=2)] == [2]
        assert await rename(db, user_id=1, name="Ida") == 1
        assert await delete_all(db) is None  # type: ignore[func-returns-value]
        assert await list_users(db) == []

    on_database(work)


def test_arguments_are_bound_as_in_any_python_call() -> None:
    async def work(db: AsyncEngine) -> None:
        assert await get_user(db=db, user_id=2) == User(2, "Bob")
        for wrong in (
            lambda: get_user(db),
            lambda: get_user(db, 1, 2),
            lambda: get_user(db, usr=1),
            lambda: find_user(db, 1),
        ):
            with pytest.raises(TypeError, match=r"(get|find)_user\(\)"):
                wrong()

    on_database(work)


def test_a_query_on_a_connection_runs_in_its_transaction() -> None:
    async def work(db: AsyncEngine) -> None:
        async with db.connect() as connection:
            assert await rename(connection, user_id=1, name="Ida") == 1
            assert await find_name(connection, UserId(1)) == "Ida"
            await connection.rollback()
        assert await find_name(db, UserId(1)) == "Ada"

    on_database(work)


@pytest.mark.parametrize(
    ("annotation", "cardinality", "row_type"),
    [
        ("User", Cardinality.ONE, User),
        ("Pair", Cardinality.ONE, Pair),
        ("int", Cardinality.ONE, int),
        ("tuple[int, str]", Cardinality.ONE, tuple[int, str]),
        ("Literal['a', 'b']", Cardinality.ONE, Literal["a", "b"]),
        ("Annotated[list[int], Json()]", Cardinality.ONE, Annotated[list[int], Json()]),
        ("User | None", Cardinality.OPTIONAL, User),
        ("Optional[Pair]", Cardinality.OPTIONAL, Pair),
        ("tuple[int, str] | None", Cardinality.OPTIONAL, tuple[int, str]),
        ("int | None", Cardinality.OPTIONAL, int | None),
        ("int | str | None", Cardinality.OPTIONAL, int | str | None),
        ("UserId | None", Cardinality.OPTIONAL, UserId | None),
        ("list[User]", Cardinality.ALL, User),
        ("list[int | None]", Cardinality.ALL, int | None),
        ("Sequence[list[int]]", Cardinality.ALL, list[int]),
        ("AsyncIterator[User]", Cardinality.STREAM, User),
        ("AsyncIterable[int]", Cardinality.STREAM, int),
        ("AsyncGenerator[User, None]", Cardinality.STREAM, User),
        ("RowCount", Cardinality.COUNT, None),
        ("None", Cardinality.NOTHING, None),
    ],
)
def test_each_supported_return_annotation_is_read(
    annotation: str, cardinality: Cardinality, row_type: Any
) -> None:
    is_async = cardinality is not Cardinality.STREAM
    info = query_info(declare("SELECT 1", f"(db) -> {annotation}", is_async=is_async))
    assert (info.cardinality, info.row_type) == (cardinality, row_type)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ("list", "list has no row type"),
        ("Sequence", "has no row type; next: add one"),
        ("dict", "as a row type"),
        ("dict[str, int]", "as a row type"),
        ("tuple", "as a row type"),
        ("Iterator[User]", "no value is exactly of type"),
        ("list[User] | None", "includes None, but no rows are an empty list"),
        ("RowCount | None", "never None"),
        ("list[User | None]", "a row is never None"),
        ("User | Pair", "a union of classes; next: declare one class"),
        ("list[T]", "type variable"),
        ("tuple[int, T]", "type variable"),
        ("7", "type"),
        ("AsyncIterator[User]", "plain `def`"),
        ("'list['", "is not a type (SyntaxError"),
    ],
)
def test_a_return_type_that_no_query_can_return_is_refused(annotation: str, reason: str) -> None:
    assert reason in fault_of(lambda: declare("SELECT 1", f"(db) -> {annotation}"))


def test_a_plain_def_must_return_a_stream() -> None:
    fault = fault_of(lambda: declare("SELECT 1", "(db) -> User", is_async=False))
    assert "declare it with `async def`" in fault
    bare = "(db) -> AsyncIterator"
    assert "has no row type" in fault_of(lambda: declare("SELECT 1", bare, is_async=False))
    sent = "(db) -> AsyncGenerator[int, str]"
    assert "nothing can be sent" in fault_of(lambda: declare("SELECT 1", sent, is_async=False))


def test_an_async_generator_is_refused() -> None:
    def wrong() -> None:
        @query("SELECT 1")
        async def numbers(db: Executor) -> AsyncIterator[int]:
            yield 1

    assert "declare it with a plain `def`" in fault_of(wrong)
