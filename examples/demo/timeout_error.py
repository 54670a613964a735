"""A short example: the message of the error that a caller gets if no connection becomes free."""

from __future__ import annotations

import asyncio

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from examples.demo.database import DemoError, within
from sqla_typedpool import PoolTimeout, TypedPool

POOL_TIMEOUT = 0.2
HOLDER = "nightly-report"
CALLER = "web-request"


async def timeout_message(url: URL) -> str:
    """Return the message of `PoolTimeout` while a named task holds the only connection."""
    engine = create_async_engine(
        url, poolclass=TypedPool, pool_size=1, max_overflow=0, pool_timeout=POOL_TIMEOUT
    )
    held, finish = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(_hold(engine, held, finish), name=HOLDER)
    try:
        await within(10, held.wait())
        return await asyncio.create_task(_wait_in_vain(engine), name=CALLER)
    finally:
        finish.set()
        await holder
        await engine.dispose()


async def _hold(engine: AsyncEngine, held: asyncio.Event, finish: asyncio.Event) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT count(*) FROM pg_proc"))
        held.set()
        await finish.wait()


async def _wait_in_vain(engine: AsyncEngine) -> str:
    try:
        async with engine.connect():
            raise DemoError("a pool of one connection handed out two; please report this")
    except PoolTimeout as error:
        return str(error)
