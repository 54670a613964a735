"""The pools that are compared, opened so that all of them can be driven in one way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import psycopg
from psycopg_pool import AsyncConnectionPool
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import Pool

from benchmarks import stub_driver


@dataclass(frozen=True)
class Sizes:
    """How large a pool may be: `core` connections are kept, up to `most` may be open at once."""

    core: int
    most: int
    warm: int = 0
    """Connections opened before the clock starts."""


class Dials:
    """Opens the connections of one pool: counts the attempts, and delays them when told to."""

    def __init__(self, delay: float = 0) -> None:
        self.delay = delay
        self.attempts = 0

    async def wait(self) -> None:
        self.attempts += 1
        if self.delay:
            await asyncio.sleep(self.delay)

    async def asyncpg(self, *args: Any, **options: Any) -> asyncpg.Connection:
        await self.wait()
        return await asyncpg.connect(*args, **options)

    async def stub(self) -> stub_driver.StubConnection:
        await self.wait()
        return await stub_driver.connect()

    def psycopg_class(self) -> type[psycopg.AsyncConnection[Any]]:
        dials = self

        class Dialled(psycopg.AsyncConnection[Any]):
            @classmethod
            async def connect(cls, conninfo: str = "", **options: Any) -> Any:
                await dials.wait()
                return await super().connect(conninfo, **options)

        return Dialled


@dataclass(frozen=True)
class OpenPool:
    """One contestant: `borrow()` for `async with`, `take()` and `give(it)` for the plain pair."""

    borrow: Callable[[], AbstractAsyncContextManager[Any]]
    take: Callable[[], Awaitable[Any]]
    give: Callable[[Any], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    dials: Dials


Opener = Callable[[Sizes], Awaitable[OpenPool]]


async def open_engine(url: URL | str, options: dict[str, Any], sizes: Sizes) -> OpenPool:
    """An engine of SQLAlchemy's, whatever its pool: `options` name it."""
    dials = Dials()
    engine = create_async_engine(
        url,
        pool_size=sizes.core,
        max_overflow=sizes.most - sizes.core,
        async_creator=_creator(url, dials),
        **options,
    )
    pool = OpenPool(engine.connect, engine.connect, AsyncConnection.close, engine.dispose, dials)
    await warm(pool, sizes.warm)
    return pool


def _creator(url: URL | str, dials: Dials) -> Callable[[], Awaitable[Any]]:
    return dials.stub if url == stub_driver.URL else partial(dials.asyncpg, dsn(url))


async def open_asyncpg(url: URL, sizes: Sizes) -> OpenPool:
    """asyncpg's own pool. It never closes an overflow connection at its return: it has none."""
    dials = Dials()
    raw = await asyncpg.create_pool(
        dsn(url), min_size=sizes.warm, max_size=sizes.most, connect=dials.asyncpg
    )
    return OpenPool(raw.acquire, raw.acquire, raw.release, raw.close, dials)


async def open_psycopg(url: URL, options: dict[str, Any], sizes: Sizes) -> OpenPool:
    """psycopg's own pool; `options` may name its check."""
    dials = Dials()
    raw = AsyncConnectionPool(
        dsn(url),
        min_size=sizes.warm,
        max_size=sizes.most,
        connection_class=dials.psycopg_class(),
        open=False,
        **options,
    )
    await raw.open(wait=True)
    return OpenPool(raw.connection, raw.getconn, raw.putconn, raw.close, dials)


async def warm(pool: OpenPool, connections: int) -> None:
    """Open so many connections, by holding all of them at once."""
    held = await asyncio.gather(*(pool.take() for _ in range(connections)))
    for connection in held:
        await pool.give(connection)


def stub_pool(options: dict[str, Any], sizes: Sizes) -> Pool:
    """The pool under an engine on the stub driver, for those who call `pool.connect()` themselves.

    Call it in a greenlet: it opens the warm connections.
    """
    engine = create_async_engine(
        stub_driver.URL, pool_size=sizes.core, max_overflow=sizes.most - sizes.core, **options
    )
    pool = engine.sync_engine.pool
    held = [pool.connect() for _ in range(sizes.warm)]
    for connection in held:
        connection.close()
    return pool


def dsn(url: URL | str) -> str:
    """What the bare drivers take: the same address without SQLAlchemy's driver name."""
    assert isinstance(url, URL)
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
