"""Programs and loops that end print nothing and leave no session on the server."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sqla_typedpool import TypedPool
from tests.chaos.measurements import count_descriptors
from tests.support.engines import (
    admin_of,
    ask,
    by_driver,
    by_loop,
    fill,
    make_engine,
    new_name,
    no_gc,
    run,
    until,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.embedded import Postgres

ROOT = Path(__file__).parents[3]

PREAMBLE = """
import asyncio, os, signal, socket, sys
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqla_typedpool import TypedPool

URL = sys.argv[1]
engine = create_async_engine(URL, poolclass=TypedPool, pool_min_size=1, pool_size=5)

async def ask(on=None):
    async with (on or engine).connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1

async def until_no_attempt_is_running():
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
    "a first connect just started": """
async def main():
    task = asyncio.ensure_future(ask())
    for _ in range(int(os.environ.get("ITERATIONS", "3"))):
        await asyncio.sleep(0)
asyncio.run(main())
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
            await connection.execute(text("SELECT pg_sleep(30)"))
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
    # a connect in progress would be left to its driver, which prints an error
    await until_no_attempt_is_running()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
asyncio.run(main())
""",
    "a manually closed loop": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
    # a connect in progress would be left to its driver, which prints an error
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
}

INTERRUPTED = """
async def work():
    while True:
        async with AsyncSession(engine) as db:
            await db.execute(text("SELECT 1"))
async def main():
    tasks = [asyncio.ensure_future(work()) for _ in range(8)]
    asyncio.get_running_loop().call_later(0.4, os.kill, os.getpid(), signal.SIGINT)
    await asyncio.gather(*tasks)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(130)
"""


# Messages that drivers print with any pool or none: asyncpg when a connect is cancelled between its
# socket and its handshake, psycopg when a statement is cancelled twice. asyncio's debug mode prints
# one on a busy machine.
MESSAGES_OF_OTHERS = (
    r"Executing <[^\n]* took [^\n]*\n",
    r"Future exception was never retrieved\n.*?unexpected connection_lost\(\) call\n(?!source_)",
    r"(query cancellation|query not terminated)[^\n]*closing connection\n",
)


def own_output(ended: subprocess.CompletedProcess[str]) -> str:
    """The output of a program without the messages that do not come from the pool."""
    output = ended.stdout + ended.stderr
    for pattern in MESSAGES_OF_OTHERS:
        output = re.sub(pattern, "", output, flags=re.DOTALL)
    return output


def script(url: str, body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program with all warnings as errors and with a time limit."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PREAMBLE + body, url],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )


@by_driver
@pytest.mark.parametrize("what", SCRIPTS)
def test_a_program_prints_nothing_and_ends_in_time_with(
    postgres: Postgres, driver: str, what: str
) -> None:
    ended = script(postgres.url(driver), SCRIPTS[what])
    assert (own_output(ended), ended.returncode) == ("", 0)


@by_driver
def test_a_program_interrupted_by_ctrl_c_prints_nothing(postgres: Postgres, driver: str) -> None:
    ended = script(postgres.url(driver), INTERRUPTED)
    assert (own_output(ended), ended.returncode) == ("", 130)


@by_driver
@pytest.mark.parametrize("iterations", [1, 2, 4, 8, 16, 32])
def test_a_program_that_ends_during_its_first_connect_prints_nothing(
    postgres: Postgres, driver: str, iterations: int
) -> None:
    body = SCRIPTS["a first connect just started"]
    ended = script(postgres.url(driver), body, ITERATIONS=str(iterations))
    assert (own_output(ended), ended.returncode) == ("", 0)


# aiosqlite leaks the connection that its thread is opening if the connect is cancelled, with any
# pool.
NOT_ON_SQLITE = {
    "connects in flight",
    "statements running",
    "a first connect just started",
}
ON_SQLITE = [what for what in SCRIPTS if what not in NOT_ON_SQLITE]


@pytest.mark.parametrize("what", ON_SQLITE)
def test_a_program_on_sqlite_prints_nothing_with(tmp_path: Path, what: str) -> None:
    ended = script(f"sqlite+aiosqlite:///{tmp_path / 'file.db'}", SCRIPTS[what])
    assert (own_output(ended), ended.returncode) == ("", 0)


# -------------------------------------------------------------------------------- loops


async def use(engine: AsyncEngine, count: int = 5) -> None:
    assert await asyncio.gather(*(ask(engine) for _ in range(count))) == [1] * count


def count_backends(server: Postgres, name: str, most: int = 0) -> int:
    """Wait for at most so many sessions, for two seconds; return how many there are."""

    async def look() -> int:
        async with admin_of(server) as admin:
            return await admin.wait_for_at_most(name, most)

    return asyncio.run(look())


@by_loop
@by_driver
def test_one_engine_works_in_consecutive_runs_and_leaves_no_session(
    postgres: Postgres, driver: str, loop: str
) -> None:
    name = new_name()
    engine = make_engine(postgres.url(driver), name)
    for _ in range(5):
        run(use(engine), loop)
        assert count_backends(postgres, name) == 0
    assert TypedPool.of(engine).stats().size == 0


@by_driver
def test_a_manually_closed_loop_leaves_no_session(postgres: Postgres, driver: str) -> None:
    """Neither the clean-up of asyncio.run nor another checkout follows."""
    name = new_name()
    engine = make_engine(postgres.url(driver), name)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(engine))
    # a connect in progress would be left to its driver
    assert loop.run_until_complete(until(lambda: not TypedPool.of(engine).stats().connecting, 5))
    loop.close()
    del loop
    deadline = time.monotonic() + 2  # until the server has noticed
    while count_backends(postgres, name) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert count_backends(postgres, name) == 0
    run(use(engine))
    assert count_backends(postgres, name) == 0


def test_a_psycopg_connect_cancelled_in_a_manually_closed_loop_leaves_no_socket(
    postgres: Postgres,
) -> None:
    """At any await. (asyncio closes the socket of its own transports when they are collected.)"""
    pytest.importorskip("psycopg")

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
        engine = make_engine(postgres.url("psycopg"), pool_size=3, max_overflow=0)
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


@by_driver
def test_threads_with_their_own_loops_share_one_engine(
    postgres: Postgres, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = new_name()
    engine = make_engine(postgres.url(driver), name, pool_size=3, max_overflow=0)
    errors: list[BaseException] = []
    barrier = threading.Barrier(4)

    async def work() -> None:
        await use(engine, 3)
        await asyncio.to_thread(barrier.wait, 10)
        for _ in range(10):
            await use(engine, 6)
        await asyncio.to_thread(barrier.wait, 10)

    def thread() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=thread) for _ in range(4)]
    with caplog.at_level("WARNING", "sqla_typedpool.pool"):
        for each in threads:
            each.start()
        for each in threads:
            each.join(30)
    assert errors == []
    assert count_backends(postgres, name) == 0
    assert sum("event loops at once" in record.getMessage() for record in caplog.records) == 1


@by_driver
def test_simultaneous_first_connects_of_four_loops_do_not_interfere(
    postgres: Postgres, driver: str
) -> None:
    for _ in range(20):
        engine = make_engine(postgres.url(driver), pool_size=2)
        errors: list[BaseException] = []
        barrier = threading.Barrier(4)

        def thread(
            engine: AsyncEngine = engine,
            errors: list[BaseException] = errors,
            barrier: threading.Barrier = barrier,
        ) -> None:
            async def main() -> None:
                barrier.wait(10)
                await use(engine, 2)

            try:
                asyncio.run(main())
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=thread) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(20)
        assert errors == []


def test_a_first_connect_cancelled_in_one_loop_does_not_block_the_next_loop(
    postgres: Postgres,
) -> None:
    engine = make_engine(postgres.url())

    async def cancel_first_connect() -> None:
        task = asyncio.ensure_future(ask(engine))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()

    for _ in range(3):
        run(cancel_first_connect())
    started = time.perf_counter()
    run(use(engine))
    assert time.perf_counter() - started < 2


@by_driver
def test_dispose_in_one_loop_closes_the_idle_connections_of_another_running_loop(
    postgres: Postgres, driver: str
) -> None:
    name = new_name()
    engine = make_engine(postgres.url(driver), name)
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
        assert count_backends(postgres, name) == 0
    finally:
        finished.set()
        thread.join(10)
