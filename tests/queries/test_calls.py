"""The function that runs a declared query."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import (
    Executor,
    RowShapeError,
    RowValueError,
    StatementTimeout,
    TypedPoolError,
    query,
    query_info,
)
from sqla_typedpool.queries import calls as calls_module
from tests.queries import declaring
from tests.queries.declaring import (
    User,
    all_users,
    declare,
    fault_of,
    find_user,
    get_user,
    module_with,
    on_database,
    rename,
)


def test_the_function_keeps_its_name_signature_and_docstring() -> None:
    assert inspect.iscoroutinefunction(get_user)
    assert not inspect.iscoroutinefunction(all_users)
    assert (get_user.__name__, get_user.__doc__) == ("get_user", "Return one user.")
    assert (get_user.__module__, get_user.__qualname__) == (declaring.__name__, "get_user")
    assert str(inspect.signature(get_user)) == "(db: 'Executor', user_id: 'int') -> 'User'"
    assert get_user.__annotations__["user_id"] == "int"
    assert get_user.__wrapped__ is query_info(get_user).function  # type: ignore[attr-defined]
    assert inspect.signature(find_user).parameters["user_id"].default == 2
    assert inspect.getsource(get_user).startswith("@query(")


def test_parameters_may_have_any_name() -> None:
    names = ["_query_run", "_query_", "_query__name", "self", "error", "timeout", "é", "print"]
    sql = "SELECT " + " || ".join(f":{name}" for name in names)
    typed = ", ".join(f"{name}: str" for name in names)
    joined = declare(sql, f"(db, {typed}) -> str")
    values = [str(number) for number in range(len(names))]
    assert on_database(lambda db: joined(db, *values)) == "".join(values)


def test_a_query_may_have_parameters_of_each_kind() -> None:
    class Odd:
        @query("SELECT :a || :b || :c")
        async def method(self, db: Executor, /, a: str, b: str = "b", *, c: str = "c") -> str:
            raise NotImplementedError

        @query("SELECT 1")
        async def nothing(self, db: Executor, /) -> int:
            raise NotImplementedError

    assert on_database(lambda db: Odd().method(db, "a")) == "abc"
    assert on_database(lambda db: Odd().method(db, "a", c="d")) == "abd"
    assert on_database(lambda db: Odd().nothing(db)) == 1
    for by_name in (Odd().method, Odd().nothing):
        with pytest.raises(TypeError, match="positional-only"):
            by_name(db=None)  # type: ignore[call-arg]


def test_the_origin_of_a_query_with_a_helper_is_its_file() -> None:
    def helper(sql: str) -> Any:
        return query(sql)

    made: Any = lambda db: None  # noqa: E731
    made.__annotations__["return"] = int
    fault = fault_of(lambda: query("SELECT 1")(made))
    assert "async def" in fault

    @helper("SELECT 1")
    async def one(db: Executor) -> int:
        raise NotImplementedError

    assert query_info(one).origin.file == Path(__file__)


HELPED = """
    from helping import one_row
    from sqla_typedpool import Executor

    @one_row
    async def one(db: Executor) -> int:
        raise NotImplementedError
"""


def test_the_origin_of_a_query_with_a_helper_of_another_file_is_its_function(
    folder: Path,
) -> None:
    helper = "from sqla_typedpool import query\n\none_row = query('SELECT 1')\n"
    (folder / "helping.py").write_text(helper)
    module = module_with(folder, HELPED, "helped")
    origin = query_info(module.one).origin
    assert (origin.file, origin.line) == (folder / "helped.py", 5)


@query("SELECT 'x' AS id, name FROM users")
async def wrong_value(db: Executor) -> list[User]:
    raise NotImplementedError


@query("SELECT 'x' AS id, name FROM users")
def wrong_stream(db: Executor) -> AsyncIterator[User]:
    raise NotImplementedError


@query("SELECT id FROM users")
async def wrong_shape(db: Executor) -> list[User]:
    raise NotImplementedError


def test_errors_name_the_query() -> None:
    async def work(db: AsyncEngine) -> None:
        with pytest.raises(RowValueError) as raised:
            await wrong_value(db)
        assert raised.value.query == f"{__name__}.wrong_value"
        assert f"(query {__name__}.wrong_value)" in str(raised.value)
        with pytest.raises(RowValueError) as raised:
            [user async for user in wrong_stream(db)]
        assert raised.value.query == f"{__name__}.wrong_stream"
        with pytest.raises(RowShapeError, match=rf"\(query {__name__}.wrong_shape\)"):
            await wrong_shape(db)

    on_database(work)


def test_a_traceback_shows_the_declaration() -> None:
    try:
        on_database(wrong_value)
    except RowValueError as error:
        frames = traceback.extract_tb(error.__traceback__)
    (shown,) = [frame for frame in frames if frame.name == "wrong_value"]
    assert shown.filename == __file__
    assert shown.lineno == query_info(wrong_value).origin.line
    assert shown.line == """@query("SELECT 'x' AS id, name FROM users")"""


def test_a_row_count_that_the_driver_does_not_report_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def no_count(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(calls_module, "execute", no_count)
    with pytest.raises(TypedPoolError, match=r"query .*rename was run, but the driver did not"):
        asyncio.run(rename(None, user_id=1, name="x"))  # type: ignore[arg-type]


SLOW = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000000)
SELECT count(*) FROM n
"""


def test_the_timeout_limits_each_call() -> None:
    slow = declare(SLOW, "(db) -> int", timeout=0.05)
    assert query_info(slow).timeout == 0.05
    with pytest.raises(StatementTimeout, match=r"timeout=0\.05"):
        on_database(slow)
