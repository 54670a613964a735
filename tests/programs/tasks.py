"""A program that does one small task for each line it reads: `tasks.py URL NAME WAY`.

It answers each line with JSON: its error, if any, and how many files it has open.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys

from sqlalchemy import text

from sqla_typedpool import TypedPool
from tests.support.engines import make_engine

URL, NAME, WAY = sys.argv[1:]

engine = make_engine(URL, NAME, pool_timeout=5)


async def ask() -> None:
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


async def task() -> str:
    """Three requests at once; the error of any."""
    try:
        await asyncio.gather(*(ask() for _ in range(3)))
    except Exception as problem:
        return repr(problem)
    while TypedPool.of(engine).stats().connecting:  # nobody waits for it any more
        await asyncio.sleep(0.01)
    return ""


def tell(error: str) -> None:
    gc.collect()
    files = len(os.listdir("/proc/self/fd"))
    sys.stdout.write(json.dumps({"error": error, "files": files}) + "\n")
    sys.stdout.flush()


async def serve() -> None:
    while await asyncio.to_thread(sys.stdin.readline):
        tell(await task())


if WAY == "one loop":
    asyncio.run(serve())
elif WAY == "a loop for each task":
    while sys.stdin.readline():
        tell(asyncio.run(task()))
elif WAY == "one loop that stands still":
    loop = asyncio.new_event_loop()
    while sys.stdin.readline():
        tell(loop.run_until_complete(task()))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
