"""Queries and helpers that several of these tests use."""

from __future__ import annotations

import asyncio
import importlib
import textwrap
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,  # noqa: F401 - some names are used only in the source text of signatures
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,  # noqa: F401
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypeVar  # noqa: F401

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool import Executor, Json, RowCount, query  # noqa: F401
from sqla_typedpool.errors import DeclarationError

T = TypeVar("T")
UserId = NewType("UserId", int)
users = Table("users", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))


@dataclass(frozen=True)
class User:
    id: int
    name: str


class Pair(NamedTuple):
    id: int
    name: str


@asynccontextmanager
async def database() -> AsyncIterator[AsyncEngine]:
    """An engine on a SQLite database with two users."""
    pytest.importorskip("aiosqlite")
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE users (id integer, name text NOT NULL)"))
        await connection.execute(text("INSERT INTO users VALUES (1, 'Ada'), (2, 'Bob')"))
    try:
        yield engine
    finally:
        await engine.dispose()


def on_database(work: Callable[[AsyncEngine], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        async with database() as engine:
            return await work(engine)

    return asyncio.run(main())


def faults_of(declare: Callable[[], Any]) -> tuple[str, ...]:
    """The errors of a declaration."""
    with pytest.raises(DeclarationError) as raised:
        declare()
    return raised.value.faults


def fault_of(declare: Callable[[], Any]) -> str:
    (fault,) = faults_of(declare)
    return fault


def declare(sql: Any, signature: str, *, is_async: bool = True, **options: Any) -> Any:
    """Declare a query, with a signature such as ``(db, a: int) -> User``."""
    space: dict[str, Any] = {"query": query, "sql": sql, "options": options, **globals()}
    kind = "async def" if is_async else "def"
    source = (
        f"@query(sql, **options)\n{kind} declared_here{signature}:\n    raise NotImplementedError"
    )
    exec(source, space)
    return space["declared_here"]


def module_with(folder: Path, source: str, name: str) -> Any:
    """Write a module and import it."""
    (folder / f"{name}.py").write_text(textwrap.dedent(source))
    importlib.invalidate_caches()
    return importlib.import_module(name)


@query("SELECT id, name FROM users WHERE id = :user_id")
async def get_user(db: Executor, user_id: int) -> User:
    """Return one user."""
    raise NotImplementedError


@query("SELECT id, name FROM users WHERE id = :user_id")
async def find_user(db: Executor, *, user_id: int = 2) -> User | None:
    raise NotImplementedError


@query("SELECT name FROM users WHERE id = :user_id")
async def find_name(db: Executor, user_id: UserId) -> Optional[str]:  # noqa: UP045
    raise NotImplementedError


@query("SELECT id, name FROM users ORDER BY id")
async def list_users(db: Executor) -> list[User]:
    raise NotImplementedError


@query("SELECT id, name FROM users ORDER BY id")
async def list_pairs(db: Executor) -> Sequence[tuple[int, str]]:
    raise NotImplementedError


@query("SELECT id, name FROM users ORDER BY id")
def all_users(db: Executor) -> AsyncIterator[User]:
    raise NotImplementedError


@query("SELECT id FROM users WHERE id >= :least ORDER BY id")
def all_ids(db: Executor, *, least: int) -> AsyncGenerator[int, None]:
    raise NotImplementedError


@query("UPDATE users SET name = :name WHERE id = :user_id")
async def rename(db: Executor, *, user_id: int, name: str) -> RowCount:
    raise NotImplementedError


@query("DELETE FROM users")
async def delete_all(db: Executor) -> None:
    raise NotImplementedError
