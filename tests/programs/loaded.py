"""A program that runs under load until it receives a signal: `loaded.py URL NAME`.

It prints a line when the load has started.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress

from sqlalchemy import text

from sqla_typedpool import TypedPool
from tests.support.engines import make_engine

URL, NAME = sys.argv[1:]

# The server checks whether the client of a statement is still connected: a program that ends during
# a statement does not wait, with any pool, until the server has received the cancel request.
CHECK_INTERVAL = "client_connection_check_interval"
ARGUMENTS = (
    {"server_settings": {"application_name": NAME, CHECK_INTERVAL: "200ms"}}
    if "asyncpg" in URL
    else {"options": f"-c {CHECK_INTERVAL}=200ms"}
)

engine = make_engine(URL, NAME, pool_size=4, max_overflow=0, connect_args=ARGUMENTS)


async def run_short_statements() -> None:
    while True:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))


async def run_slow_statement() -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_sleep(30)"))


async def main() -> None:
    """Twenty tasks share two connections; a slow statement runs on each of the two others."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    work = [asyncio.ensure_future(run_slow_statement()) for _ in range(2)]
    work += [asyncio.ensure_future(run_short_statements()) for _ in range(20)]
    while TypedPool.of(engine).stats().checkouts < 200:
        await asyncio.sleep(0.01)
    sys.stdout.write("under load\n")
    sys.stdout.flush()
    await asyncio.gather(*work)


with suppress(asyncio.CancelledError, KeyboardInterrupt):
    asyncio.run(main())
