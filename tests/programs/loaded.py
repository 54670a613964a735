"""A program under load until a signal ends it: `loaded.py URL NAME`. It says when it is."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress

from sqlalchemy import text

from sqla_typedpool import TypedPool
from tests.support.engines import make_engine

URL, NAME = sys.argv[1:]

# The server looks whether anybody still waits for a statement: whoever ends in the midst of one,
# with any pool, does not wait until its cancel has arrived.
LOOK = "client_connection_check_interval"
ARGUMENTS = (
    {"server_settings": {"application_name": NAME, LOOK: "200ms"}}
    if "asyncpg" in URL
    else {"options": f"-c {LOOK}=200ms"}
)

engine = make_engine(URL, NAME, pool_size=4, max_overflow=0, connect_args=ARGUMENTS)


async def short() -> None:
    while True:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))


async def slow() -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_sleep(30)"))


async def main() -> None:
    """Two connections for twenty who queue, and one slow statement on each of the others."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    work = [asyncio.ensure_future(slow()) for _ in range(2)]
    work += [asyncio.ensure_future(short()) for _ in range(20)]
    while TypedPool.of(engine).stats().checkouts < 200:
        await asyncio.sleep(0.01)
    sys.stdout.write("loaded\n")
    sys.stdout.flush()
    await asyncio.gather(*work)


with suppress(asyncio.CancelledError, KeyboardInterrupt):
    asyncio.run(main())
