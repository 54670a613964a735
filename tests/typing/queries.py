"""The types that type checkers infer for declared queries: those of the functions as written.

A line that a checker must reject has `type: ignore`, as in `typed_results.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NewType, TypeVar

from sqlalchemy import select, table, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from typing_extensions import assert_type

from sqla_typedpool import Executor, RowCount, query, query_info
from sqla_typedpool.queries import Bind, Cardinality, QueryInfo, declared

UserId = NewType("UserId", int)
T = TypeVar("T")


@dataclass
class User:
    id: int
    name: str


@query("SELECT id, name FROM users WHERE id = :user_id")
async def get_user(db: Executor, *, user_id: UserId) -> User:
    raise NotImplementedError


@query("SELECT id, name FROM users WHERE name = :name", timeout=1.5)
async def find_user(db: Executor, name: str = "Ada") -> User | None:
    raise NotImplementedError


@query(path="users.sql", name="find_user")
async def find_user_by_name(db: Executor, name: str) -> User | None:
    raise NotImplementedError


@query("SELECT name FROM users")
async def names(db: AsyncConnection) -> list[str]:
    raise NotImplementedError


@query("SELECT id, name FROM users")
def all_users(db: Executor) -> AsyncIterator[User]:
    raise NotImplementedError


@query("SELECT id FROM users")
def all_ids(db: Executor) -> AsyncGenerator[int, None]:
    raise NotImplementedError


@query("DELETE FROM users")
async def delete_users(db: Executor) -> RowCount:
    raise NotImplementedError


@query("DELETE FROM users")
async def forget_users(db: Executor) -> None:
    raise NotImplementedError


async def functions(db: AsyncEngine) -> None:
    assert_type(await get_user(db, user_id=UserId(1)), User)
    assert_type(await find_user(db), User | None)
    assert_type(await delete_users(db), RowCount)
    assert_type([user async for user in all_users(db)], list[User])
    async with aclosing(all_ids(db)) as ids:
        assert_type([number async for number in ids], list[int])
    await forget_users(db)
    async with db.connect() as connection:
        assert_type(await names(connection), list[str])
    is_many: bool = await delete_users(db) > 10
    assert is_many


async def mistakes(db: AsyncEngine) -> None:
    await get_user(db, user_id=1)  # type: ignore[arg-type]
    await get_user(db, UserId(1))  # type: ignore[call-arg]
    await get_user(db)  # type: ignore[call-arg]
    await find_user(db, nam="Ada")  # type: ignore[call-arg]
    await find_user(db.sync_engine)  # type: ignore[arg-type]
    await names(db)  # type: ignore[arg-type]


class Repo(Generic[T]):
    @query("SELECT id, name FROM users WHERE id = :user_id")
    async def get(self, db: Executor, *, user_id: int) -> User:
        raise NotImplementedError

    @classmethod
    @query("SELECT count(*) FROM users")
    async def count(cls, db: Executor) -> int:
        raise NotImplementedError

    @staticmethod
    @query("SELECT id FROM users")
    def ids(db: Executor) -> AsyncIterator[int]:
        raise NotImplementedError


class Users(Repo[User]):
    @query("SELECT id, name FROM users WHERE id = :user_id AND active")
    async def get(self, db: Executor, *, user_id: int) -> User:
        raise NotImplementedError


class Wrong(Repo[User]):
    @query("SELECT id FROM users WHERE id = :user_id")
    async def get(self, db: Executor, *, user_id: int) -> str:  # type: ignore[override]
        raise NotImplementedError


async def methods(db: AsyncEngine) -> None:
    assert_type(await Users().get(db, user_id=1), User)
    assert_type(await Users.count(db), int)
    assert_type(await Users().count(db), int)
    assert_type([number async for number in Users.ids(db)], list[int])
    await Users().get(db, user=1)  # type: ignore[call-arg]


def declarations() -> None:
    query(select(table("users")))
    query(text("SELECT 1"))
    query(path="users.sql")
    query(path=Path("users.sql"), timeout=5)
    query(7)  # type: ignore[arg-type]
    query("SELECT 1", "users.sql")  # type: ignore[call-arg]
    query("SELECT 1")(7)  # type: ignore[type-var]


def information() -> None:
    info = query_info(get_user)
    assert_type(info, QueryInfo)
    assert_type(info.binds, tuple[Bind, ...])
    assert_type(info.cardinality, Cardinality)
    assert_type(declared(), tuple[QueryInfo, ...])
    query_info(Users().get)
    query_info(7)  # type: ignore[arg-type]


def as_a_value() -> Callable[[Executor], Coroutine[Any, Any, list[str]]]:
    return names  # type: ignore[return-value]
