"""Errors in SQL text and in the declared function, found without a database."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import Executor, TypedPoolError, query, query_info
from sqla_typedpool.errors import DeclarationError
from tests.queries.declaring import User, declare, fault_of, faults_of, get_user, on_database


def test_an_error_lists_everything_that_is_wrong_and_names_the_place() -> None:
    line = inspect.currentframe().f_lineno + 3  # type: ignore[union-attr]
    with pytest.raises(DeclarationError) as raised:

        @query("SELECT ':a', :usr_id; SELECT 2")
        async def wrong(db: Executor, user_id: int, x, *rest, **more):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    error = raised.value
    assert isinstance(error, TypeError)
    assert isinstance(error, TypedPoolError)
    assert (error.file, error.line) == (Path(__file__), line)
    assert error.query.endswith(
        "test_an_error_lists_everything_that_is_wrong_and_names_the_place.<locals>.wrong"
    )
    head, *faults = str(error).splitlines()
    assert head == f"{__file__}:{line}: query {error.query} has {len(error.faults)} faults:"
    assert faults == [f"- {fault}" for fault in error.faults]
    for part in (
        "*rest cannot be a parameter of the SQL",
        "**more cannot be a parameter of the SQL",
        "the parameter x has no type",
        "has no return annotation",
        ":a is in a string",
        "did you mean :user_id?",
        "the SQL does not use the parameter user_id",
        "several statements",
    ):
        assert sum(part in fault for fault in error.faults) == 1, part


@pytest.mark.parametrize(
    ("sql", "signature", "reason"),
    [
        ("", "(db) -> int", "the SQL is empty"),
        (" -- nothing\n", "(db) -> int", "the SQL is empty"),
        (
            "SELECT :a",
            "(db) -> int",
            "the function has no parameter a; next: add a to the function",
        ),
        ("SELECT :user_i", "(db, user_id: int) -> int", "did you mean :user_id?"),
        ("SELECT 1", "(db, a: int) -> int", "the SQL does not use the parameter a; next: add :a"),
        ("SELECT 1 -- :a", "(db, a: int) -> int", ":a is in a string"),
        ("SELECT '12:30'", "(db) -> int", None),
        ("SELECT 'at :30'", "(db) -> int", r"write \:30"),
        (r"SELECT 'at \:30'", "(db) -> int", None),
        ("SELECT '\n:b'", "(db) -> int", ":b (line 2 of the SQL) is in a string"),
        ("SELECT a[:2] FROM t", "(db) -> int", r"next: for a slice write \:2"),
        ("SELECT :a::int", "(db, a: int) -> int", "write CAST(:a AS ...)"),
        ("SELECT :a ::int", "(db, a: int) -> int", None),
        ("SELECT a[b :n::int] FROM t", "(db) -> int", None),
        ("SELECT 1; SELECT 2", "(db) -> int", "the SQL has several statements: SELECT begins"),
        ("SELECT 1;", "(db) -> int", None),
        ("SELECT :a", "(db, /, a: int) -> int", None),
        ("SELECT :a", "(db, a: int, /) -> int", "a is positional-only"),
        ("SELECT 1", "() -> int", "the function has no parameter for the database"),
        ("SELECT 1", "(*db) -> int", None),
        ("SELECT :a", "(db, a) -> int", "the parameter a has no type; next: write a: int"),
        ("SELECT 1", "(db)", "the function has no return annotation"),
    ],
)
def test_sql_text_is_compared_with_the_signature(
    sql: str, signature: str, reason: str | None
) -> None:
    if reason is not None:
        assert any(reason in fault for fault in faults_of(lambda: declare(sql, signature)))
    elif signature == "(*db) -> int":
        assert len(faults_of(lambda: declare(sql, signature))) == 2
    else:
        declare(sql, signature)


@pytest.mark.parametrize(
    ("sql", "signature"),
    [
        ("SELECT :a, :a", "(db) -> int"),
        ("SELECT :a::int", "(db, a: int) -> int"),
        ("SELECT ':a'", "(db) -> int"),
    ],
)
def test_one_mistake_is_reported_once(sql: str, signature: str) -> None:
    fault_of(lambda: declare(sql, signature))


def test_a_text_object_with_values_needs_no_parameters_for_them() -> None:
    statement = text("SELECT :a + :b").bindparams(a=1)
    info = query_info(declare(statement, "(db, b: int) -> int"))
    assert (info.sql, info.is_text, info.bind_names) == ("SELECT :a + :b", True, ("b",))
    assert "does not use the parameter c" in fault_of(
        lambda: declare(statement, "(db, b: int, c: int) -> int")
    )
    assert "the SQL has :b, but" in fault_of(lambda: declare(statement, "(db) -> int"))

    async def work(db: AsyncEngine) -> None:
        assert await declare(statement, "(db, b: int) -> int")(db, 4) == 5
        assert await declare(statement, "(db, a: int, b: int) -> int")(db, 4, 4) == 8

    on_database(work)


@pytest.mark.parametrize("wrong", [True, 0, -1, float("nan"), float("inf"), "5"])
def test_a_timeout_that_is_not_a_number_of_seconds_is_refused(wrong: Any) -> None:
    assert f"timeout={wrong!r}" in fault_of(
        lambda: declare("SELECT 1", "(db) -> int", timeout=wrong)
    )


def test_query_without_sql_is_refused() -> None:
    assert "needs SQL or a path" in fault_of(lambda: declare(None, "(db) -> int"))
    assert "not both" in fault_of(lambda: declare("SELECT 1", "(db) -> int", path="a.sql"))
    assert "not int" in fault_of(lambda: declare(7, "(db) -> int"))

    def bare() -> None:
        @query  # type: ignore[arg-type]
        async def forgotten(db: Executor) -> int:
            raise NotImplementedError

        forgotten(lambda: None)  # type: ignore[arg-type,type-var]

    assert any("write @query('SELECT ...')" in fault for fault in faults_of(bare))


@pytest.mark.parametrize("thing", [User, functools.partial(print), print])
def test_only_a_function_can_be_declared(thing: Any) -> None:
    with pytest.raises(DeclarationError, match=r"@query decorates .*, which is not a function"):
        query("SELECT 1")(thing)


def test_another_decorator_may_be_above_query_but_not_below() -> None:
    def other(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any) -> Any:
            return function(*args)

        return wrapped

    def below() -> None:
        query("SELECT 1")(other(get_user))

    assert any("put it above" in fault for fault in faults_of(below))
    above = other(get_user)
    assert query_info(above) is query_info(get_user)
