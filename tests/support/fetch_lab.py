"""Helpers of the tests of typed results: the same statement on every database and driver."""

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
    """One database through one driver; on asyncpg also one of the two paths."""

    def __init__(self, driver: str, url: str, *, is_slow: bool) -> None:
        self.driver = driver
        self.family = DRIVERS[driver]
        self._url = url
        self.is_slow = is_slow

    def engine(self) -> AsyncEngine:
        """An engine with two connections at most: the tests run one statement at a time."""
        engine = make_engine(self._url, pool_size=2, max_overflow=0)
        if self.is_slow:
            event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
        return engine

    @asynccontextmanager
    async def engine_on(self) -> AsyncIterator[AsyncEngine]:
        """An engine. On leaving, it checks that every connection has been returned."""
        engine = self.engine()
        try:
            yield engine
            assert TypedPool.of(engine).stats().in_use == 0, "a connection was lost"
        finally:
            await engine.dispose()


def no_listener(*_: Any) -> None:
    """Do nothing. An engine with any listener uses the slow path."""


def _param(driver: str, *, is_slow: bool = False) -> Any:
    server = {"postgresql": "postgres", "mysql": "mariadb"}.get(DRIVERS[driver])
    # set here because the test requests the fixture by name, when it runs
    marks = [] if server is None else [getattr(pytest.mark, server)]
    name = f"{driver} slow path" if is_slow else driver
    return pytest.param((driver, server, is_slow), id=name, marks=marks)


LABS = [_param("asyncpg"), _param("asyncpg", is_slow=True), *map(_param, list(DRIVERS)[1:])]


def lab_of(request: pytest.FixtureRequest, folder: Path) -> Lab:
    """The lab for a fixture that is parametrised with `LABS`."""
    driver, server, is_slow = request.param
    pytest.importorskip(driver)
    if server is None:
        return Lab(driver, f"sqlite+aiosqlite:///{folder / 'file.db'}", is_slow=False)
    return Lab(driver, request.getfixturevalue(server).url(driver), is_slow=is_slow)


class Executor:
    """Fetches rows in one of the ways that an application can choose."""

    def __init__(self, kind: str, db: Any) -> None:
        self._kind = kind
        self._db = db

    async def rows(self, row_type: Any, statement: Any) -> list[Any]:
        """Return all rows, or raise the error."""
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
            await session.execute(text("SELECT 1"))  # later statements may take the fast path
            yield Executor(kind, session)
