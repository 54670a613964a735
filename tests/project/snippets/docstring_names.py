"""The names that the examples in docstrings use: an engine, a session, row types, an application.

The tables are in the SQLite database of the example; `app` is a folder with an application.
"""

# ruff: noqa: F401  (the examples use these names)

from __future__ import annotations

import asyncio
import math
import sys
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from advanced_alchemy.extensions.litestar import (
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
)
from fastapi import FastAPI
from litestar import Litestar
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

import sqla_typedpool
from sqla_typedpool import Executor, TypedPool, execute, query
from sqla_typedpool.pytest_plugin import Database

SCHEMA = "CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL, nick text, team integer)"
ROWS = "INSERT INTO users VALUES (1, 'Ada', NULL, 7), (7, 'Bob', 'bo', 7)"
APPLICATION = """
from sqlalchemy import Column, MetaData, Table, Text

from sqla_typedpool import Executor, query


class Base:
    metadata = MetaData()
    notes = Table("notes", metadata, Column("text", Text))


@query("SELECT text FROM notes")
async def notes(db: Executor) -> list[str | None]:
    raise NotImplementedError
"""


@dataclass
class User:
    id: int
    name: str


@dataclass
class Author:
    id: int
    name: str


@dataclass
class Item:
    name: str


@dataclass
class Order:
    id: int


class Role(Enum):
    ADMIN = 1


class Point:
    @classmethod
    def from_wkb(cls, value: bytes) -> Point:
        return cls()


@query("SELECT id, name FROM users WHERE id = :user_id")
async def get_user(db: Executor, user_id: int) -> User:
    raise NotImplementedError


@query("SELECT id, name FROM users WHERE id = :user_id")
async def find_user(db: Executor, *, user_id: int) -> User | None:
    raise NotImplementedError


async def names(url: str, postgresql_url: str) -> dict[str, Any]:
    """Create the tables, and return the names.

    :param url: an empty SQLite database.
    :param postgresql_url: an empty database of PostgreSQL.
    """
    engine = create_async_engine(url, poolclass=TypedPool)
    await execute(engine, SCHEMA)
    await execute(engine, ROWS)
    on_postgresql = create_async_engine(postgresql_url, poolclass=TypedPool)
    await execute(on_postgresql, SCHEMA)
    await execute(on_postgresql, "CREATE TABLE notes (text text)")
    await on_postgresql.dispose()
    Path("app").mkdir()
    Path("app/models.py").write_text(APPLICATION)
    session = AsyncSession(engine)
    return {
        **{name: getattr(sqla_typedpool, name) for name in sqla_typedpool.__all__},
        **{name: value for name, value in globals().items() if not name.startswith("__")},
        "engine": engine,
        "db": engine,
        "app": FastAPI(),
        "session": session,
        "statement": text("SELECT id, name FROM users"),
        "typedpool_database": Database(postgresql_url),
        "is_admin": lambda scope: True,
        "routes": [],
        "start_http_server": lambda port: None,
        "_show": lambda value: sys.stdout.write(f"{value!r}\n"),
    }
