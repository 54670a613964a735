"""Annotations of parameters and results, also of names that are defined later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, NewType, Optional

import pytest

from sqla_typedpool import Executor, query, query_info
from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.queries import Bind, Cardinality
from tests.queries.declaring import User, UserId, declare, on_database
from tests.support.python_314 import old_and_new

semantics = old_and_new()


@query("SELECT :a, :b, :c, :d, :e, :f, :g")
async def many_binds(
    db: Executor,
    a: int,
    b: int | None,
    c: Optional[UserId],  # noqa: UP045
    d: Any,
    e: Literal["x", None],
    f: Annotated[str | None, "note"],
    g: str = None,  # type: ignore[assignment]  # noqa: RUF013
) -> tuple[Any, ...]:
    raise NotImplementedError


def test_binds_have_their_types_and_whether_they_may_be_none() -> None:
    binds = query_info(many_binds).binds
    assert [bind.name for bind in binds] == list("abcdefg")
    assert [bind.is_optional for bind in binds] == [False, *[True] * 6]
    assert binds[0] == Bind("a", int, False)
    assert binds[5].annotation == Annotated[str | None, "note"]


@query("SELECT id, name FROM users WHERE id = :user_id")
async def get_later(db: Executor, user_id: LaterId) -> LaterUser:
    raise NotImplementedError


class LaterUser(User):
    pass


LaterId = NewType("LaterId", int)


def test_an_annotation_may_use_a_name_that_is_defined_later() -> None:
    assert on_database(lambda db: get_later(db, LaterId(1))) == LaterUser(1, "Ada")
    assert on_database(lambda db: get_later(db, LaterId(1))) == LaterUser(1, "Ada")
    info = query_info(get_later)
    assert (info.row_type, info.cardinality) == (LaterUser, Cardinality.ONE)
    assert info.binds == (Bind("user_id", LaterId, False),)


def test_an_annotation_may_use_a_name_of_the_enclosing_function() -> None:
    class Local(User):
        pass

    class Queries:
        class Inner(User):
            pass

        @query("SELECT id, name FROM users WHERE id = 1")
        async def local(self, db: Executor) -> Local:
            raise NotImplementedError

        @query("SELECT id, name FROM users WHERE id = 1")
        async def inner(self, db: Executor) -> Inner:
            raise NotImplementedError

    assert on_database(lambda db: Queries().local(db)) == Local(1, "Ada")
    assert on_database(lambda db: Queries().inner(db)) == Queries.Inner(1, "Ada")


def test_a_name_that_is_never_defined_is_an_error_at_the_first_use() -> None:
    unknown: Any = declare("SELECT :a", "(db, a: Nothing) -> list[Nowhere]")
    info = query_info(unknown)
    message = r"query .*declared_here: the return annotation 'list\[Nowhere\]' cannot be resolved"
    for use in (lambda: info.row_type, lambda: info.cardinality):
        with pytest.raises(DeclarationError, match=message):
            use()
    with pytest.raises(DeclarationError, match=r"the annotation of a 'Nothing' cannot be resolved"):
        info.binds  # noqa: B018
    for _ in range(2):
        with pytest.raises(DeclarationError, match=message):
            asyncio.run(unknown(None, 1))


def test_a_deferred_type_that_no_query_can_return_is_an_error_at_the_first_use() -> None:
    space: dict[str, Any] = {"query": query, "__name__": "late"}
    exec("@query('SELECT 1')\nasync def f(db) -> 'Late': ...", space)
    space["Late"] = AsyncIterator[int]
    with pytest.raises(DeclarationError, match="plain `def`"):
        asyncio.run(space["f"](None))
