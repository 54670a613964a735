"""Helpers of the tests on real servers: engines, and PostgreSQL's administrator."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import TypedPool
from tests.support.clocks import Stopwatch, clock_of_the_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator

    import asyncpg
    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from sqla_typedpool.embedded import Postgres

LOOPS = ("asyncio", "uvloop")
SLACK = 0.25  # seconds by which a deadline may be missed
PATIENCE = 10.0  # seconds to wait for something that must happen, also on a busy machine
SESSION_ID = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}

by_loop = pytest.mark.parametrize("loop", LOOPS)

_names = itertools.count(1)


def run(main: Coroutine[Any, Any, Any], loop: str = "asyncio") -> Any:
    """Run `main` in a new loop; errors reported to the loop's exception handler fail the test."""
    loop_errors: list[dict[str, Any]] = []

    async def with_error_handler() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: loop_errors.append(what))
        with clock_of_the_loop():
            return await main

    if loop == "uvloop":
        result = pytest.importorskip("uvloop").run(with_error_handler())
    else:
        result = asyncio.run(with_error_handler())
    gc.collect()
    assert not loop_errors
    return result


def new_name() -> str:
    """An application_name that no other test uses."""
    return f"typedpool test {os.getpid()} {next(_names)}"


def make_engine(url: str | URL, name: str = "", **options: Any) -> AsyncEngine:
    """An engine with our pool; `name` becomes the application_name of its sessions."""
    options.setdefault("poolclass", TypedPool)
    if name:
        named = (
            {"server_settings": {"application_name": name}}
            if "asyncpg" in str(url)
            else {"application_name": name}
        )
        options["connect_args"] = {**named, **options.get("connect_args", {})}
    return create_async_engine(url, **options)


@asynccontextmanager
async def engine_on(url: str | URL, name: str = "", **options: Any) -> AsyncIterator[AsyncEngine]:
    """The same as a context manager, which disposes of the engine."""
    engine = make_engine(url, name, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


async def ask(engine: AsyncEngine, statement: str = "SELECT 1") -> Any:
    """Check out a connection, run one statement and return its scalar."""
    async with engine.connect() as connection:
        return await connection.scalar(text(statement))


async def open_all(engine: AsyncEngine, count: int) -> list[AsyncConnection]:
    """Check out so many connections at the same time and run a statement on each."""
    held: list[AsyncConnection] = []
    try:
        held += await asyncio.gather(*(engine.connect() for _ in range(count)))
        for connection in held:
            await connection.execute(text("SELECT 1"))
    except BaseException:
        for connection in held:
            await connection.close()
        raise
    return held


async def session_id(connection: AsyncConnection) -> int:
    """Return the number of the connection's session on the server."""
    return int(await connection.scalar(text(SESSION_ID[connection.dialect.name])))


async def return_all(connections: Iterable[AsyncConnection]) -> None:
    """Return these connections to the pool, one after the other."""
    for connection in connections:
        await connection.close()


async def fill(engine: AsyncEngine, count: int) -> list[int]:
    """Leave so many idle connections in the pool; return the numbers of their sessions."""
    held = await open_all(engine, count)
    ids = [await session_id(connection) for connection in held]
    await return_all(held)
    assert TypedPool.of(engine).stats().idle == count
    return ids


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait until `condition` holds (True) or `seconds` have passed (False)."""
    watch = Stopwatch()
    while not condition():
        if watch.awake > seconds:
            return False
        await asyncio.sleep(0.01)
    return True


class Admin:
    """A connection to the server that does not come from the pool."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def terminate(self, *pids: int) -> None:
        """Terminate these backends; return when they have ended."""
        await self.connection.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM unnest($1::int[]) AS pid", list(pids)
        )


@asynccontextmanager
async def admin_of(server: Postgres) -> AsyncIterator[Admin]:
    """An `Admin` of this server."""
    driver = pytest.importorskip("asyncpg")
    connection = await driver.connect(
        host=server.host, port=server.port, user="postgres", database="postgres"
    )
    try:
        yield Admin(connection)
    finally:
        await connection.close(timeout=5)


@contextmanager
def no_gc() -> Iterator[None]:
    """Disable the garbage collector, so that it cannot hide a leak."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
