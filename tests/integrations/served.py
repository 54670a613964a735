"""An application with a live page under uvicorn, and its load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.routing import Mount

from sqla_typedpool import fetch_one, holder_label
from sqla_typedpool.embedded.process import free_port
from sqla_typedpool.integrations.asgi import PoolMonitor


@asynccontextmanager
async def serving(*engines: AsyncEngine, port: int = 0, **options: Any) -> AsyncIterator[str]:
    """Serve an application with a monitor at /_pool; return the address of the page."""
    monitor = PoolMonitor(*engines, **(options or {"unsafe_public": True}))
    app = Starlette(routes=[Mount("/_pool", monitor)])
    port = port or free_port()
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}/_pool/"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def load(engine: AsyncEngine, workers: int, seconds: float = 0.02) -> AsyncIterator[None]:
    """Run statements in so many tasks inside the block; their errors are ignored."""

    async def work(number: int) -> None:
        with holder_label(f"GET /orders/{{id}} {number % 3}"):
            while True:
                try:
                    await fetch_one(engine, int, f"SELECT 1 FROM pg_sleep({seconds})")
                except Exception:
                    await asyncio.sleep(0.05)

    tasks = [asyncio.ensure_future(work(number)) for number in range(workers)]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
