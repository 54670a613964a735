"""The types that type checkers infer for typed results. Checked by `make types`, never run.

A line that a checker must reject has `type: ignore`. mypy's warn_unused_ignores and pyright's
reportUnnecessaryTypeIgnoreComment report the line if the checker accepts it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, NamedTuple, NewType, TypedDict

from sqlalchemy import Result, select, table, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncResult,
    AsyncSession,
    async_scoped_session,
)
from typing_extensions import assert_type

from sqla_typedpool import (
    execute,
    fetch_all,
    fetch_one,
    fetch_optional,
    rows_as,
    stream,
)

UserId = NewType("UserId", int)


@dataclass
class User:
    id: int
    name: str


class Point(NamedTuple):
    x: int
    y: int


class Options(TypedDict):
    size: int


async def rows(db: AsyncEngine) -> None:
    assert_type(await fetch_all(db, User, "SELECT 1"), list[User])
    assert_type(await fetch_one(db, User, "SELECT 1", {"id": 1}), User)
    assert_type(await fetch_optional(db, User, "SELECT 1"), User | None)
    assert_type(await fetch_all(db, Point, "SELECT 1"), list[Point])
    assert_type(await fetch_all(db, Options, "SELECT 1"), list[Options])
    assert_type(stream(db, User, "SELECT 1"), AsyncGenerator[User, None])
    assert_type(await execute(db, "DELETE FROM users"), int | None)


async def scalars(db: AsyncConnection) -> None:
    assert_type(await fetch_one(db, int, "SELECT 1"), int)
    assert_type(await fetch_all(db, str, "SELECT 1"), list[str])
    assert_type(await fetch_one(db, tuple[int, str], "SELECT 1"), tuple[int, str])
    assert_type(await fetch_all(db, list[int], "SELECT 1"), list[list[int]])


async def executors(
    engine: AsyncEngine,
    connection: AsyncConnection,
    session: AsyncSession,
    scoped: async_scoped_session[AsyncSession],
) -> None:
    await fetch_one(engine, int, "SELECT 1")
    await fetch_one(connection, int, select(table("users")))
    await fetch_one(session, int, text("SELECT 1"), timeout=1.5)
    await fetch_one(scoped, int, "SELECT 1")
    await fetch_one(engine.sync_engine, int, "SELECT 1")  # type: ignore[call-overload]
    await fetch_one(engine, int, 1)  # type: ignore[call-overload]


async def results(result: Result[Any], streamed: AsyncResult[Any]) -> None:
    assert_type(rows_as(result, User).all(), list[User])
    assert_type(rows_as(result, User).one_or_none(), User | None)
    assert_type(list(rows_as(result, User)), list[User])
    assert_type(await rows_as(streamed, User).all(), list[User])
    assert_type([user async for user in rows_as(streamed, User)], list[User])
