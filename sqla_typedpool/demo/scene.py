"""A short scene: what TypedPool says when a caller waits in vain."""

from __future__ import annotations

import asyncio

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool import PoolTimeout, TypedPool
from sqla_typedpool.demo.target import DemoError, within

PATIENCE = 0.2
HOLDER = "nightly-report"
CALLER = "web-request"


async def timeout_message(url: URL) -> str:
    """One connection, held by a task with a name; the error that a second caller gets."""
    engine = create_async_engine(
        url, poolclass=TypedPool, pool_size=1, max_overflow=0, pool_timeout=PATIENCE
    )
    held, finish = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(_hold(engine, held, finish), name=HOLDER)
    try:
        await within(10, held.wait())
        return await asyncio.create_task(_ask(engine), name=CALLER)
    finally:
        finish.set()
        await holder
        await engine.dispose()


async def _hold(engine: AsyncEngine, held: asyncio.Event, finish: asyncio.Event) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT count(*) FROM pg_proc"))
        held.set()
        await finish.wait()


async def _ask(engine: AsyncEngine) -> str:
    try:
        async with engine.connect():
            raise DemoError("The pool of one connection handed out two; please report this.")
    except PoolTimeout as error:
        return str(error)
