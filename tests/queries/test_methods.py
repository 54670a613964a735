"""Methods as declared queries, and `query_info` of them."""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any, Generic

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool import Executor, TypedPool, query, query_info
from sqla_typedpool.queries import QueryInfo
from tests.queries.declaring import T, User, faults_of, get_user, on_database


class Repo(Generic[T]):
    def __init__(self, least: int) -> None:
        self.least = least

    @query("SELECT id, name FROM users WHERE id = :user_id")
    async def get(self, db: Executor, *, user_id: int) -> User:
        raise NotImplementedError

    @classmethod
    @query("SELECT count(*) FROM users")
    async def count(cls, db: Executor) -> int:
        raise NotImplementedError

    @staticmethod
    @query("SELECT :a + 1")
    async def more(db: Executor, a: int) -> int:
        raise NotImplementedError

    @query("SELECT count(*) FROM users")  # type: ignore[arg-type]
    @classmethod
    async def count_above(cls, db: Executor) -> int:
        raise NotImplementedError

    @query("SELECT :a + 1")  # type: ignore[arg-type]
    @staticmethod
    async def more_above(db, a: int) -> int:  # type: ignore[no-untyped-def]
        raise NotImplementedError

    @query("SELECT id FROM users ORDER BY id")
    def ids(this, db: Executor) -> AsyncIterator[int]:  # noqa: N805
        raise NotImplementedError

    @query("SELECT 1")
    async def nested(self, db: Executor) -> Inner:
        raise NotImplementedError

    Inner = int


class Users(Repo[User]):
    @query("SELECT id, 'renamed' AS name FROM users WHERE id = :user_id")
    async def get(self, db: Executor, *, user_id: int) -> User:
        raise NotImplementedError


class Abstract(ABC):
    @query("SELECT 1")
    @abstractmethod
    async def one(self, db: Executor) -> int:
        raise NotImplementedError


def test_methods_of_each_kind_can_be_queries() -> None:
    async def work(db: AsyncEngine) -> None:
        for repo in (Repo[User](1), Users(1)):
            assert await repo.count(db) == 2
            assert await type(repo).count(db) == 2
            assert await repo.count_above(db) == 2  # type: ignore[call-arg,arg-type]
            assert await repo.more(db, 1) == 2
            assert await repo.more_above(db, 1) == 2  # type: ignore[call-arg,arg-type]
            assert [number async for number in repo.ids(db)] == [1, 2]
            assert await repo.nested(db) == 1
        assert await Repo[User](1).get(db, user_id=1) == User(1, "Ada")
        assert await Users(1).get(db, user_id=1) == User(1, "renamed")

    on_database(work)
    with pytest.raises(TypeError, match="abstract"):
        Abstract()  # type: ignore[abstract]


def test_query_info_finds_the_query_in_methods_and_wrappers() -> None:
    for form in (Repo.get, Repo(1).get, Users.count, Users(1).count, Users.__mro__[1].get):
        assert isinstance(query_info(form), QueryInfo)
    assert query_info(Repo.__dict__["count"]) is query_info(Users(1).count)
    assert query_info(Repo.__dict__["more"]) is query_info(Repo.more)
    assert query_info(functools.partial(get_user, user_id=1)) is query_info(get_user)
    assert query_info(Users.get).name == f"{__name__}.Users.get"
    assert query_info(Users.get).bind_names == ("user_id",)
    assert query_info(Repo.ids).bind_names == ()


@pytest.mark.parametrize("thing", [print, User, 7, None, test_methods_of_each_kind_can_be_queries])
def test_query_info_of_anything_else_is_an_error(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"is not a declared query; next: decorate it"):
        query_info(thing)


def test_the_error_names_an_executor_that_was_taken_for_self() -> None:
    def wrong() -> None:
        class Unannotated:
            @staticmethod
            @query("SELECT :a")
            async def one(db, a: int) -> int:  # type: ignore[no-untyped-def]
                raise NotImplementedError

    *_, last = faults_of(wrong)
    assert last == "db was taken for self, because it has no annotation; next: write db: Executor"


def test_queries_run_on_an_engine_with_typed_pool() -> None:
    pytest.importorskip("aiosqlite")

    async def main() -> int:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=TypedPool, pool_size=1)
        try:
            return await Repo.more(engine, 1)
        finally:
            await engine.dispose()

    assert asyncio.run(main()) == 2
