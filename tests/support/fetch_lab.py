"""Helpers of the typed results' tests: the same statement on every database and driver."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool import TypedPool, fetch_all, rows_as, stream
from sqla_typedpool.statement import as_executable
from tests.support.engines import make_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

DRIVERS = {
    "asyncpg": "postgresql",
    "psycopg": "postgresql",
    "aiosqlite": "sqlite",
    "aiomysql": "mysql",
    "asyncmy": "mysql",
}
FAMILIES = ("postgresql", "sqlite", "mysql")
KINDS = ("engine", "connection", "session", "rows_as", "stream")


class Lab:
    """One database through one driver, and on asyncpg one of the two ways to it."""

    def __init__(self, driver: str, url: str, *, is_long: bool) -> None:
        self.driver = driver
        self.family = DRIVERS[driver]
        self._url = url
        self.is_long = is_long

    def engine(self) -> AsyncEngine:
        """Small, as one request after another is made."""
        engine = make_engine(self._url, pool_size=2, max_overflow=0)
        if self.is_long:
            event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
        return engine

    @asynccontextmanager
    async def engine_on(self) -> AsyncIterator[AsyncEngine]:
        """An engine; every connection has come back when it is left."""
        engine = self.engine()
        try:
            yield engine
            assert TypedPool.of(engine).stats().in_use == 0, "a connection was lost"
        finally:
            await engine.dispose()


def no_listener(*_: Any) -> None:
    """It hears every statement, does nothing, and keeps them off the short way."""


def _param(driver: str, *, is_long: bool = False) -> Any:
    server = {"postgresql": "postgres", "mysql": "mariadb"}.get(DRIVERS[driver])
    # by hand, as the fixture is asked for by name only when the test runs
    marks = [] if server is None else [getattr(pytest.mark, server)]
    name = f"{driver}-long" if is_long else driver
    return pytest.param((driver, server, is_long), id=name, marks=marks)


LABS = [_param("asyncpg"), _param("asyncpg", is_long=True), *map(_param, list(DRIVERS)[1:])]


def lab_of(request: pytest.FixtureRequest, folder: Path) -> Lab:
    """What a fixture over `LABS` returns."""
    driver, server, is_long = request.param
    pytest.importorskip(driver)
    if server is None:
        return Lab(driver, f"sqlite+aiosqlite:///{folder / 'file.db'}", is_long=False)
    return Lab(driver, request.getfixturevalue(server).url(driver), is_long=is_long)


class Executor:
    """One of the ways in which an application asks for rows."""

    def __init__(self, kind: str, db: Any) -> None:
        self._kind = kind
        self._db = db

    async def rows(self, row_type: Any, statement: Any) -> list[Any]:
        """Every row, or the error."""
        if self._kind == "stream":
            return [row async for row in stream(self._db, row_type, statement)]
        if self._kind != "rows_as":
            return await fetch_all(self._db, row_type, statement)
        result = await self._db.execute(as_executable(statement))
        return rows_as(result, row_type).all()


@asynccontextmanager
async def executor_of(engine: AsyncEngine, kind: str) -> AsyncIterator[Executor]:
    """An executor of one of `KINDS`."""
    if kind in ("engine", "stream"):
        yield Executor(kind, engine)
    elif kind == "connection":
        async with engine.connect() as connection:
            yield Executor(kind, connection)
    else:
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))  # from now on it may take the short way
            yield Executor(kind, session)
