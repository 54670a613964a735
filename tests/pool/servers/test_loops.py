"""Programs and loops that end print nothing and leave no session on the server."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from sqla_typedpool import TypedPool
from tests.chaos.measurements import count_descriptors
from tests.support.clocks import Stopwatch
from tests.support.drivers import ALL, MARIADB, POSTGRESQL, SERVERS
from tests.support.engines import PATIENCE, ask, by_loop, fill, no_gc, run, until
from tests.support.programs import (
    DEBUG_MESSAGES,
    DRIVER_MESSAGES,
    ROLLBACK_CANCELLED,
    run_program,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database

PREAMBLE = """
import asyncio, os, signal, socket, sys
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqla_typedpool import TypedPool

URL, SLEEP = sys.argv[1:]
engine = create_async_engine(URL, poolclass=TypedPool, pool_min_size=1, pool_size=5)

async def ask(on=None):
    async with (on or engine).connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1

async def until_no_attempt_is_running():
    # a connect in progress in a loop that is closed by hand would be left to its driver
    while TypedPool.of(engine).stats().connecting:
        await asyncio.sleep(0.01)
"""

SCRIPTS = {
    "an engine that is never disposed of": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
asyncio.run(main())
""",
    "an engine that is disposed of": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
    await engine.dispose()
asyncio.run(main())
""",
    "a closed pool": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
    await TypedPool.of(engine).close()
asyncio.run(main())
""",
    "a pool that was only warmed": """
async def main():
    await TypedPool.of(engine).warm()
asyncio.run(main())
""",
    "connects in flight": """
silent = socket.create_server(("127.0.0.1", 0))
silent_engine = create_async_engine(
    engine.url.set(port=silent.getsockname()[1]), poolclass=TypedPool, pool_timeout=30
)
async def main():
    waiting = [asyncio.ensure_future(ask(silent_engine)) for _ in range(3)]
    await ask()
    await asyncio.sleep(0.2)
asyncio.run(main())
silent.close()
""",
    "a request running": """
async def main():
    async def slow():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(30)
    task = asyncio.ensure_future(slow())
    await asyncio.sleep(0.3)
asyncio.run(main())
""",
    "statements running": """
async def main():
    async def slow():
        async with engine.connect() as connection:
            await connection.execute(text(SLEEP))
    tasks = [asyncio.ensure_future(slow()) for _ in range(3)]
    await asyncio.sleep(0.3)
asyncio.run(main())
""",
    "an error in the main task": """
async def main():
    async with AsyncSession(engine) as db:
        await db.execute(text("SELECT 1"))
        raise ZeroDivisionError
try:
    asyncio.run(main())
except ZeroDivisionError:
    pass
""",
    "asyncio.run called twice": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
asyncio.run(main())
asyncio.run(main())
""",
    "a manually closed loop, then another run": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
    await until_no_attempt_is_running()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
asyncio.run(main())
""",
    "a manually closed loop": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
    await until_no_attempt_is_running()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
""",
    "sys.exit in a task": """
async def main():
    await ask()
    sys.exit(0)
asyncio.run(main())
""",
    "uvloop": """
import uvloop
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
uvloop.run(main())
uvloop.run(main())
""",
}

# aiosqlite leaks the connection that its thread is opening if the connect is cancelled, with any
# pool. The others are left out to save time: the pool runs the same code for each driver.
NOT_ON: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(POSTGRESQL, ("uvloop",)),
    **dict.fromkeys(
        MARIADB,
        (
            "an engine that is disposed of",
            "a pool that was only warmed",
            "an error in the main task",
            "sys.exit in a task",
        ),
    ),
    "aiosqlite": ("connects in flight", "statements running", "uvloop"),
}
SCRIPTS_BY_DRIVER = [
    (driver, what) for driver in ALL for what in SCRIPTS if what not in NOT_ON[driver]
]

FIRST_CONNECT = """
async def main():
    task = asyncio.ensure_future(ask())
    for _ in range(int(os.environ["ITERATIONS"])):
        await asyncio.sleep(0)
asyncio.run(main())
"""

INTERRUPTED = """
async def work():
    while True:
        async with AsyncSession(engine) as db:
            await db.execute(text("SELECT 1"))
async def main():
    tasks = [asyncio.ensure_future(work()) for _ in range(8)]
    asyncio.get_running_loop().call_later(0.4, os.kill, os.getpid(), signal.SIGINT)
    await asyncio.gather(*tasks)
engine = create_async_engine(URL, poolclass=TypedPool, pool_size=int(os.environ["POOL_SIZE"]))
try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(130)
"""


def output_and_status(database: Database, body: str, **variables: str) -> tuple[str, int]:
    """Run a program; return its output without the messages of others, and its exit status."""
    sleep = "" if database.driver == "aiosqlite" else database.sleep(30)
    ended = run_program("-c", PREAMBLE + body, database.dsn, sleep, **variables)
    return without(ended.stdout + ended.stderr, DEBUG_MESSAGES, *DRIVER_MESSAGES), ended.returncode


@pytest.mark.parametrize(("driver", "what"), SCRIPTS_BY_DRIVER)
def test_a_program_prints_nothing_and_ends_in_time_with(database: Database, what: str) -> None:
    if what == "uvloop":
        pytest.importorskip("uvloop")
    assert output_and_status(database, SCRIPTS[what]) == ("", 0)


@pytest.mark.parametrize(
    ("driver", "size"),
    [
        *((driver, 5) for driver in POSTGRESQL),
        *((driver, size) for driver in MARIADB for size in (2, 8)),
    ],
)
def test_a_program_interrupted_by_ctrl_c_prints_nothing(
    database: Database, driver: str, size: int
) -> None:
    """Eight tasks are running; connections beyond the size are closed when they are returned."""
    output, status = output_and_status(database, INTERRUPTED, POOL_SIZE=str(size))
    if driver in MARIADB:  # a return always sends a ROLLBACK
        output = without(output, ROLLBACK_CANCELLED)
    assert (output, status) == ("", 130)


@pytest.mark.parametrize(
    ("driver", "iterations"),
    [
        *((driver, iterations) for driver in POSTGRESQL for iterations in (1, 2, 3, 4, 8, 16, 32)),
        *((driver, iterations) for driver in MARIADB for iterations in (2, 3, 8)),
    ],
)
def test_a_program_that_ends_during_its_first_connect_prints_nothing(
    database: Database, iterations: int
) -> None:
    ended = output_and_status(database, FIRST_CONNECT, ITERATIONS=str(iterations))
    assert ended == ("", 0)


# -------------------------------------------------------------------------------- loops


async def use(engine: AsyncEngine, count: int = 5) -> None:
    assert await asyncio.gather(*(ask(engine) for _ in range(count))) == [1] * count


def count_sessions(database: Database) -> int:
    """Wait until the server has no session of the test; return how many it has at last."""
    return asyncio.run(database.wait_for_at_most(0))


def run_in_threads(main: Callable[[threading.Barrier], Coroutine[object, object, None]]) -> None:
    """Run `main` in four threads with a loop each; no thread may fail."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(4)

    def thread() -> None:
        try:
            asyncio.run(main(barrier))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert errors == []


@by_loop
@pytest.mark.parametrize("driver", SERVERS)
def test_one_engine_works_in_consecutive_runs_and_leaves_no_session(
    database: Database, loop: str
) -> None:
    engine = database.make_engine()
    for _ in range(5):
        run(use(engine), loop)
        assert count_sessions(database) == 0
    assert TypedPool.of(engine).stats().size == 0


@pytest.mark.parametrize("driver", SERVERS)
def test_a_manually_closed_loop_leaves_no_session(database: Database) -> None:
    """Neither the clean-up of asyncio.run nor another checkout follows."""
    engine = database.make_engine()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(engine))
    # a connect in progress would be left to its driver
    assert loop.run_until_complete(until(lambda: not TypedPool.of(engine).stats().connecting))
    loop.close()
    del loop
    assert count_sessions(database) == 0
    run(use(engine))
    assert count_sessions(database) == 0


@pytest.mark.parametrize("driver", ["psycopg"])
def test_a_psycopg_connect_cancelled_in_a_manually_closed_loop_leaves_no_socket(
    database: Database,
) -> None:
    """At any await. (asyncio closes the socket of its own transports when they are collected.)"""

    async def main(iterations: int) -> int:
        first = await engine.connect()
        second = asyncio.ensure_future(engine.connect())
        for _ in range(iterations):
            await asyncio.sleep(0)
        now_connecting = TypedPool.of(engine).stats().connecting
        second.cancel()
        with suppress(asyncio.CancelledError):
            await (await second).close()
        await first.close()
        return now_connecting

    connecting, left = 0, list[int]()
    for iterations in (*range(1, 12), *range(12, 100, 4)):
        engine = database.make_engine(pool_size=3, max_overflow=0)
        with no_gc():
            before = count_descriptors()
            loop = asyncio.new_event_loop()
            connecting += loop.run_until_complete(main(iterations))
            loop.close()
            del loop
            left.append(count_descriptors() - before)
    gc.collect()
    assert connecting > 10
    assert not any(left), left


@pytest.mark.parametrize("driver", SERVERS)
def test_threads_with_their_own_loops_share_one_engine(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    engine = database.make_engine(pool_size=3, max_overflow=0)

    async def work(barrier: threading.Barrier) -> None:
        await use(engine, 3)
        await asyncio.to_thread(barrier.wait, 10)
        for _ in range(10):
            await use(engine, 6)
        await asyncio.to_thread(barrier.wait, 10)

    with caplog.at_level("WARNING", "sqla_typedpool.pool"):
        run_in_threads(work)
    assert count_sessions(database) == 0
    assert sum("event loops at once" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("driver", SERVERS)
def test_simultaneous_first_connects_of_four_loops_do_not_interfere(database: Database) -> None:
    for _ in range(20 if database.driver in POSTGRESQL else 10):
        engine = database.make_engine(pool_size=2)

        async def main(barrier: threading.Barrier, engine: AsyncEngine = engine) -> None:
            barrier.wait(10)
            await use(engine, 2)

        run_in_threads(main)


@pytest.mark.parametrize("driver", ["asyncpg"])
def test_a_first_connect_cancelled_in_one_loop_does_not_block_the_next_loop(
    database: Database,
) -> None:
    engine = database.make_engine()

    async def cancel_first_connect() -> None:
        task = asyncio.ensure_future(ask(engine))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()

    for _ in range(3):
        run(cancel_first_connect())
    watch = Stopwatch()
    run(use(engine))
    assert watch.seconds < PATIENCE


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_dispose_in_one_loop_closes_the_idle_connections_of_another_running_loop(
    database: Database,
) -> None:
    engine = database.make_engine()
    filled, finished = threading.Event(), threading.Event()

    async def run_other_loop() -> None:
        await fill(engine, 3)
        filled.set()
        await asyncio.to_thread(finished.wait, 10)

    thread = threading.Thread(target=lambda: asyncio.run(run_other_loop()))
    thread.start()
    try:
        assert filled.wait(10)
        run(engine.dispose())
        assert count_sessions(database) == 0
    finally:
        finished.set()
        thread.join(10)
