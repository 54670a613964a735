"""A program that forks after it has connected: `forking.py URL NAME METHOD CHILD`.

It prints as JSON the sessions of parent and child, and what the parent finds after the fork.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import warnings
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import TypedPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

URL, NAME, METHOD, CHILD = sys.argv[1:]
TABLE = f"marks_{os.getpid()}"
WHO_AM_I = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
SLEEP = {"postgresql": "SELECT pg_sleep(0.5)", "mysql": "SELECT SLEEP(0.5)"}
NAMED: dict[str, dict[str, Any]] = {
    "asyncpg": {"server_settings": {"application_name": NAME}},
    "psycopg": {"application_name": NAME},
}

if "sqlite" in URL:  # aiosqlite runs each connection in a thread
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)


def make_engine() -> AsyncEngine:
    driver = URL.partition("://")[0].partition("+")[2]
    arguments = NAMED.get(driver, {})
    return create_async_engine(URL, poolclass=TypedPool, pool_size=5, connect_args=arguments)


class App:
    """The objects that an application has at module level."""

    engine = make_engine()
    held: AsyncConnection  # with an open transaction


async def session(connection: AsyncConnection) -> int:
    """The identity of this session: its number on the server, if there is a server."""
    statement = WHO_AM_I.get(App.engine.dialect.name)
    if statement is not None:
        return int(await connection.scalar(text(statement)))
    await connection.execute(text("SELECT 1"))
    return id((await connection.get_raw_connection()).driver_connection)


async def sessions(count: int = 3) -> list[int]:
    """Open so many sessions at once and return them to the pool."""
    held = [await App.engine.connect() for _ in range(count)]
    found = [await session(connection) for connection in held]
    for connection in held:
        await connection.close()
    return found


async def begin() -> AsyncConnection:
    """Open a transaction that stays open during the fork, and write a row in it."""
    async with App.engine.begin() as connection:
        await connection.execute(text(f"CREATE TABLE {TABLE} (n int)"))
    await sessions()
    held = await App.engine.connect()
    await held.execute(text(f"INSERT INTO {TABLE} VALUES (1)"))
    return held


async def commit(held: AsyncConnection) -> int:
    """Commit that transaction; return how many rows the table has."""
    await held.commit()
    await held.close()
    async with App.engine.begin() as connection:
        found = await connection.scalar(text(f"SELECT count(*) FROM {TABLE}"))
        await connection.execute(text(f"DROP TABLE {TABLE}"))
    return int(found or 0)


async def wait_for_no_other_sessions(own: list[int]) -> bool:
    """Wait until the server has no other sessions than these; return whether that is so."""
    if App.engine.dialect.name != "postgresql":
        return True
    query = text("SELECT pid FROM pg_stat_activity WHERE application_name = :name")
    for _ in range(200):
        async with App.engine.connect() as connection:
            if set((await connection.scalars(query, {"name": NAME})).all()) <= set(own):
                return True
        await asyncio.sleep(0.01)
    return False


def journal_exists() -> bool:
    """Whether SQLite's journal of the open transaction exists."""
    return (
        App.engine.dialect.name != "sqlite" or Path(f"{App.engine.url.database}-journal").exists()
    )


# ------------------------------------------------------------------- tasks of a child


def use() -> list[int]:
    return asyncio.run(sessions())


def dispose_first() -> list[int]:
    App.engine.sync_engine.dispose(close=False)
    return asyncio.run(sessions())


def dispose() -> list[int]:
    async def main() -> list[int]:
        await App.engine.dispose()
        first = await sessions()
        await App.engine.dispose()
        return [*first, *await sessions()]

    return asyncio.run(main())


def collect_garbage() -> list[int]:
    with warnings.catch_warnings():
        # SQLAlchemy warns of any connection that is collected
        warnings.filterwarnings("ignore", "The garbage collector is trying to clean up")
        del App.held
        App.engine = make_engine()
        gc.collect()
    return asyncio.run(sessions())


def have_a_child() -> list[int]:
    """Fork again: the child becomes a parent with idle sessions."""
    loop = asyncio.new_event_loop()
    own = loop.run_until_complete(sessions())
    of_child, status = in_child(use)
    assert status == 0
    assert set(loop.run_until_complete(sessions())) == set(own)
    loop.run_until_complete(App.engine.dispose())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    return [*own, *of_child]


CHILDREN: dict[str, Callable[[], list[int]]] = {
    "works": use,
    "works and exits": use,
    "disposes first": dispose_first,
    "disposes": dispose,
    "collects garbage": collect_garbage,
    "forks": have_a_child,
}


# ------------------------------------------------------------------------------------ forks


def in_child(work: Callable[[], list[int]]) -> tuple[list[int], int]:
    """Fork and run `work` in the child; return its result and the exit code of the child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(work()).encode())
        if CHILD == "works":
            os._exit(0)
        sys.exit(0)  # a normal exit of the interpreter
    os.close(writer)
    return read_result(reader), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_multiprocessing(work: Callable[[], list[int]]) -> tuple[list[int], int]:
    """The same with multiprocessing."""
    reader, writer = os.pipe()
    process = get_context("fork").Process(
        target=lambda: os.write(writer, json.dumps(work()).encode())
    )
    process.start()
    os.close(writer)
    found = read_result(reader)
    process.join()
    return found, process.exitcode or 0


def read_result(reader: int) -> list[int]:
    with open(reader, "rb") as pipe:
        found: list[int] = json.loads(pipe.read() or b"[]")
        return found


def between_runs(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Fork while the loop of the parent is stopped."""
    App.held = loop.run_until_complete(begin())
    before = [loop.run_until_complete(session(App.held)), *loop.run_until_complete(sessions())]
    fork = in_multiprocessing if METHOD == "multiprocessing" else in_child
    child, status = fork(CHILDREN[CHILD])
    journal = journal_exists()
    after = [loop.run_until_complete(session(App.held)), *loop.run_until_complete(sessions())]
    rows = loop.run_until_complete(commit(App.held))
    no_other_sessions = loop.run_until_complete(wait_for_no_other_sessions(after))
    loop.run_until_complete(App.engine.dispose())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    return locals()


async def in_coroutine() -> dict[str, Any]:
    """Fork while statements and a connect of the parent are running."""
    App.held = await begin()
    before = [await session(App.held), *await sessions()]

    async def slow() -> None:
        async with App.engine.connect() as connection:
            await connection.execute(text(SLEEP[App.engine.dialect.name]))

    slept = [asyncio.ensure_future(slow()) for _ in range(3)]
    await asyncio.sleep(0.1)  # all three idle connections are checked out
    connecting = asyncio.ensure_future(sessions(1))
    while TypedPool.of(App.engine).stats().connecting == 0:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        asyncio.events._set_running_loop(None)  # needed before Python 3.12
        os.write(writer, json.dumps(CHILDREN[CHILD]()).encode())
        os._exit(0)
    os.close(writer)
    await asyncio.gather(*slept)
    extra = await connecting
    child = await asyncio.to_thread(read_result, reader)  # must not block the loop
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    journal = journal_exists()
    after = [await session(App.held), *await sessions()]
    rows = await commit(App.held)
    no_other_sessions = await wait_for_no_other_sessions([*after, *before, *extra])
    await App.engine.dispose()
    return locals()


def die_after_fork() -> None:
    """Kill this process and leave a child that runs until its stdin is closed."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(sessions())
    if os.fork():
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdout.write("child ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    if METHOD == "killed":
        return die_after_fork()
    if METHOD == "in a coroutine":
        found = asyncio.run(in_coroutine())
    elif METHOD == "uvloop":
        import uvloop

        found = between_runs(uvloop.new_event_loop())
    else:
        found = between_runs(asyncio.new_event_loop())
    keys = ("before", "child", "after", "rows", "journal", "no_other_sessions", "status")
    sys.stdout.write(json.dumps({key: found[key] for key in keys}))
    return None


main()
