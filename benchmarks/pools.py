"""The pools that are compared: their names, and how each is opened behind one interface."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool

from benchmarks import stub_driver
from sqla_typedpool import TypedPool

if TYPE_CHECKING:
    import psycopg

TYPED = "TypedPool"
STOCK = "stock"
STOCK_AGAIN = "stock again"
"""The stock pool a second time: its ratio to the first is the noise of the machine."""
STOCK_LIFO = "stock LIFO"
STOCK_PING = "stock + pre_ping"
ASYNCPG = "asyncpg.Pool"
PSYCOPG = "psycopg_pool"
PSYCOPG_CHECK = "psycopg_pool + check"
TYPED_PSYCOPG = "TypedPool, psycopg"
TYPED_AIOMYSQL = "TypedPool, aiomysql"

# SQLAlchemy's pools, by the options that make them: TypedPool and the stock one with defaults.
TYPED_OPTIONS: dict[str, Any] = {"poolclass": TypedPool}
STOCK_OPTIONS: dict[str, Any] = {"poolclass": AsyncAdaptedQueuePool}
LIFO_OPTIONS: dict[str, Any] = {**STOCK_OPTIONS, "pool_use_lifo": True}
PING_OPTIONS: dict[str, Any] = {**STOCK_OPTIONS, "pool_pre_ping": True}


@dataclass(frozen=True)
class Sizes:
    """How large a pool may be: `core` connections are kept, up to `most` may be open at once."""

    core: int
    most: int
    warm: int = 0
    """Connections opened before the clock starts."""


class Connects:
    """Opens the connections of one pool: counts the attempts and delays each by `delay`."""

    def __init__(self, delay: float = 0) -> None:
        self.delay = delay
        self.error: Exception | None = None
        """Raised by each attempt, if it is set."""
        self.attempts = 0

    async def wait(self) -> None:
        self.attempts += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error

    async def asyncpg(self, *args: Any, **options: Any) -> asyncpg.Connection:
        await self.wait()
        return await asyncpg.connect(*args, **options)

    async def stub(self) -> stub_driver.StubConnection:
        await self.wait()
        return await stub_driver.connect()

    def psycopg_class(self) -> type[psycopg.AsyncConnection[Any]]:
        import psycopg  # the package and its pool are optional for `benchmarks.overload`

        connects = self

        class Counted(psycopg.AsyncConnection[Any]):
            @classmethod
            async def connect(cls, conninfo: str = "", **options: Any) -> Any:
                await connects.wait()
                return await super().connect(conninfo, **options)

        return Counted


@dataclass(frozen=True)
class OpenPool:
    """An open pool: `borrow()` for `async with`, or `take()` and `give(connection)`."""

    borrow: Callable[[], AbstractAsyncContextManager[Any]]
    take: Callable[[], Awaitable[Any]]
    give: Callable[[Any], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    connects: Connects
    typed: TypedPool | None = None
    """The pool, if it is a TypedPool."""


Opener = Callable[[Sizes], Awaitable[OpenPool]]


async def open_engine(url: URL | str, options: dict[str, Any], sizes: Sizes) -> OpenPool:
    """An SQLAlchemy engine; `options` choose its pool."""
    connects = Connects()
    engine = create_async_engine(
        url,
        pool_size=sizes.core,
        max_overflow=sizes.most - sizes.core,
        async_creator=_creator(url, connects),
        **options,
    )
    return await _opened(engine, connects, sizes)


def _creator(url: URL | str, connects: Connects) -> Callable[[], Awaitable[Any]]:
    return connects.stub if url == stub_driver.URL else partial(connects.asyncpg, dsn(url))


async def open_asyncpg(url: URL, sizes: Sizes) -> OpenPool:
    """asyncpg's own pool; it has no overflow connections."""
    connects = Connects()
    raw = await asyncpg.create_pool(
        dsn(url), min_size=sizes.warm, max_size=sizes.most, connect=connects.asyncpg
    )
    return OpenPool(raw.acquire, raw.acquire, raw.release, raw.close, connects)


async def open_psycopg(url: URL, options: dict[str, Any], sizes: Sizes) -> OpenPool:
    """psycopg's own pool; `options` may name its check."""
    from psycopg_pool import AsyncConnectionPool

    connects = Connects()
    raw = AsyncConnectionPool(
        dsn(url),
        min_size=sizes.warm,
        max_size=sizes.most,
        connection_class=connects.psycopg_class(),
        open=False,
        **options,
    )
    await raw.open(wait=True)
    return OpenPool(raw.connection, raw.getconn, raw.putconn, raw.close, connects)


async def open_typed(url: URL, sizes: Sizes) -> OpenPool:
    """TypedPool with any driver; connections are counted when they are open."""
    connects = Connects()
    engine = create_async_engine(
        url, pool_size=sizes.core, max_overflow=sizes.most - sizes.core, **TYPED_OPTIONS
    )

    @event.listens_for(engine.sync_engine, "connect")
    def connected(*arguments: object) -> None:
        connects.attempts += 1

    return await _opened(engine, connects, sizes)


async def _opened(engine: AsyncEngine, connects: Connects, sizes: Sizes) -> OpenPool:
    pool = OpenPool(
        engine.connect,
        engine.connect,
        AsyncConnection.close,
        engine.dispose,
        connects,
        typed=engine.pool if isinstance(engine.pool, TypedPool) else None,
    )
    await warm(pool, sizes.warm)
    return pool


def on_a_server(url: URL) -> dict[str, Opener]:
    """All pools, each with the driver it is made for."""
    return {
        TYPED: partial(open_engine, url, TYPED_OPTIONS),
        STOCK: partial(open_engine, url, STOCK_OPTIONS),
        ASYNCPG: partial(open_asyncpg, url),
        PSYCOPG: partial(open_psycopg, url, {}),
    }


def with_validation(url: URL) -> dict[str, Opener]:
    """All pools, those that check at every checkout, and the stock pool twice."""
    from psycopg_pool import AsyncConnectionPool

    check = {"check": AsyncConnectionPool.check_connection}
    return {
        **on_a_server(url),
        STOCK_AGAIN: partial(open_engine, url, STOCK_OPTIONS),
        STOCK_PING: partial(open_engine, url, PING_OPTIONS),
        PSYCOPG_CHECK: partial(open_psycopg, url, check),
    }


def on_the_stub() -> dict[str, Opener]:
    """SQLAlchemy's pools on the driver without a server."""
    return {
        TYPED: partial(open_engine, stub_driver.URL, TYPED_OPTIONS),
        STOCK: partial(open_engine, stub_driver.URL, STOCK_OPTIONS),
    }


async def warm(pool: OpenPool, connections: int) -> None:
    """Open `connections` connections by holding all of them at once."""
    held = await asyncio.gather(*(pool.take() for _ in range(connections)))
    for connection in held:
        await pool.give(connection)


def stub_pool(options: dict[str, Any], sizes: Sizes) -> Pool:
    """The pool of an engine on the stub driver, for `pool.connect()` without the engine.

    It opens the warm connections, so it must be called in a greenlet.
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
    """The address as the bare drivers take it, without SQLAlchemy's driver name."""
    assert isinstance(url, URL)
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
