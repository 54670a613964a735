"""A program that runs one small task for each line that it reads: `tasks.py URL NAME MODE`.

For each task it prints JSON: the error, if any, and how many files are open.
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

URL, NAME, MODE = sys.argv[1:]

engine = make_engine(URL, NAME, pool_timeout=5)


async def select_one() -> None:
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


async def tselect_one() -> str:
    """Run three requests at once; return the error, if any."""
    try:
        await asyncio.gather(*(select_one() for _ in range(3)))
    except Exception as problem:
        return repr(problem)
    while TypedPool.of(engine).stats().connecting:  # an attempt that no request needs any more
        await asyncio.sleep(0.01)
    return ""


def report(error: str) -> None:
    gc.collect()
    files = len(os.listdir("/proc/self/fd"))
    sys.stdout.write(json.dumps({"error": error, "files": files}) + "\n")
    sys.stdout.flush()


async def serve() -> None:
    while await asyncio.to_thread(sys.stdin.readline):
        report(await tselect_one())


if MODE == "one loop":
    asyncio.run(serve())
elif MODE == "a loop for each task":
    while sys.stdin.readline():
        report(asyncio.run(tselect_one()))
elif MODE == "one loop stopped between tasks":
    loop = asyncio.new_event_loop()
    while sys.stdin.readline():
        report(loop.run_until_complete(tselect_one()))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
