"""A small ASGI application: `/` returns the pid of its backend, other paths run a slow statement.

If CLOSE is set, it closes the pool at shutdown and prints how many connections are left.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import TypedPool

engine = create_async_engine(
    os.environ["URL"],
    poolclass=TypedPool,
    pool_min_size=1,
    connect_args={
        "server_settings": {
            "application_name": os.environ["NAME"],
            # ends a statement whose client has disconnected
            "client_connection_check_interval": "200ms",
        }
    },
)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await handle_lifespan(receive, send)
    async with engine.connect() as connection:
        if scope["path"] != "/":
            await connection.execute(text("SELECT pg_sleep(30)"))
        session = await connection.scalar(text("SELECT pg_backend_pid()"))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(session).encode()})
    return None


async def handle_lifespan(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if os.environ.get("CLOSE"):
        pool = TypedPool.of(engine)
        await pool.close(timeout=1)
        sys.stderr.write(f"closed, {pool.stats().size} connections left\n")
    await send({"type": "lifespan.shutdown.complete"})
