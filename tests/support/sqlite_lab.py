"""Helpers of the tests on aiosqlite: what is queued for the thread of a connection."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from sqla_typedpool import TypedPool
from tests.support.engines import PATIENCE, make_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine


@asynccontextmanager
async def people_on(folder: Path, **options: Any) -> AsyncIterator[AsyncEngine]:
    """Yield an engine with one connection. On leaving, check that it has been returned."""
    url = f"sqlite+aiosqlite:///{folder / 'people.db'}"
    engine = make_engine(url, **{"pool_size": 1, "max_overflow": 0, **options})
    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE people (id INTEGER PRIMARY KEY, name)"))
            await connection.execute(text("INSERT INTO people VALUES (1, 'Ada')"))
        yield engine
        assert TypedPool.of(engine).stats().in_use == 0, "a connection was lost"
    finally:
        await engine.dispose()


async def driver_of(engine: AsyncEngine) -> Any:
    """Return aiosqlite's connection of an engine that has one."""
    async with engine.connect() as connection:
        return (await connection.get_raw_connection()).driver_connection


class Hops:
    """The functions that have been queued for the connection's thread.

    "later" follows the name of one whose end is not awaited.
    """

    def __init__(self, connection: Any) -> None:
        self._names: list[str] = []
        put = connection._tx._put

        def note_and_put(call: Any) -> None:
            function = getattr(call[1], "func", call[1])
            self._names.append(function.__name__ if call[0] else f"{function.__name__} later")
            put(call)

        connection._tx._put = note_and_put

    def taken(self) -> list[str]:
        """Return their names, and begin a new list."""
        names, self._names = self._names, []
        return names


class Blocker:
    """A function of SQL that blocks the connection's thread until the test releases it."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self.release = threading.Event()

    def __call__(self) -> str:
        self._started.set()
        assert self.release.wait(PATIENCE)
        return "blocked"

    async def wait_until_called(self) -> None:
        assert await asyncio.to_thread(self._started.wait, PATIENCE)
