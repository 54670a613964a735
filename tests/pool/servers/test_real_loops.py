"""Ends of processes and loops: nothing on stderr, nothing left on the server, no thread alone."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sqla_typedpool import TypedPool
from tests.support.engines import (
    admin_of,
    ask,
    by_driver,
    by_loop,
    fill,
    make_engine,
    new_name,
    run,
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
"""

SCRIPTS = {
    "an engine never disposed of": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
asyncio.run(main())
""",
    "an engine disposed of": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
    await engine.dispose()
asyncio.run(main())
""",
    "a pool closed": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
    await TypedPool.of(engine).close()
asyncio.run(main())
""",
    "a pool only warmed": """
async def main():
    await TypedPool.of(engine).warm()
asyncio.run(main())
""",
    "connects in flight": """
silent = socket.create_server(("127.0.0.1", 0))
lost = create_async_engine(
    engine.url.set(port=silent.getsockname()[1]), poolclass=TypedPool, pool_timeout=30
)
async def main():
    waiting = [asyncio.ensure_future(ask(lost)) for _ in range(3)]
    await ask()
    await asyncio.sleep(0.2)
asyncio.run(main())
silent.close()
""",
    "a first connect begun and nothing more": """
async def main():
    task = asyncio.ensure_future(ask())
    for _ in range(int(os.environ.get("ROUNDS", "3"))):
        await asyncio.sleep(0)
asyncio.run(main())
""",
    "a request under way": """
async def main():
    async def slow():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(30)
    task = asyncio.ensure_future(slow())
    await asyncio.sleep(0.3)
asyncio.run(main())
""",
    "statements under way": """
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
    "asyncio.run twice": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
asyncio.run(main())
asyncio.run(main())
""",
    "a loop closed by hand": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
asyncio.run(main())
""",
    "a loop closed by hand and no more": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
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


# What the drivers say by themselves, with SQLAlchemy's own pool or with none: asyncpg of a connect
# cancelled between its socket and its handshake, psycopg of a statement cancelled twice. And
# asyncio's debug mode, of a busy machine.
OTHERS = (
    r"Executing <[^\n]* took [^\n]*\n",
    r"Future exception was never retrieved\n.*?unexpected connection_lost\(\) call\n(?!source_)",
    r"(query cancellation|query not terminated)[^\n]*closing connection\n",
)


def said(ended: subprocess.CompletedProcess[str]) -> str:
    """What a program has printed, without what others print in any case."""
    words = ended.stdout + ended.stderr
    for pattern in OTHERS:
        words = re.sub(pattern, "", words, flags=re.DOTALL)
    return words


def script(url: str, body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program as strictly as Python can, with an end to every wait."""
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
def test_a_program_ends_without_a_word_and_in_time_after(
    postgres: Postgres, driver: str, what: str
) -> None:
    ended = script(postgres.url(driver), SCRIPTS[what])
    assert (said(ended), ended.returncode) == ("", 0)


@by_driver
def test_a_program_interrupted_by_ctrl_c_ends_without_a_word(
    postgres: Postgres, driver: str
) -> None:
    ended = script(postgres.url(driver), INTERRUPTED)
    assert (said(ended), ended.returncode) == ("", 130)


@by_driver
@pytest.mark.parametrize("rounds", [1, 2, 4, 8, 16, 32])
def test_a_program_that_ends_in_the_midst_of_its_first_connect_says_nothing(
    postgres: Postgres, driver: str, rounds: int
) -> None:
    body = SCRIPTS["a first connect begun and nothing more"]
    ended = script(postgres.url(driver), body, ROUNDS=str(rounds))
    assert (said(ended), ended.returncode) == ("", 0)


# aiosqlite, cancelled in its connect, loses what its thread is opening: with any pool.
NOT_ON_SQLITE = {
    "connects in flight",
    "statements under way",
    "a first connect begun and nothing more",
}
ON_SQLITE = [what for what in SCRIPTS if what not in NOT_ON_SQLITE]


@pytest.mark.parametrize("what", ON_SQLITE)
def test_a_program_on_sqlite_ends_without_a_word_after(tmp_path: Path, what: str) -> None:
    ended = script(f"sqlite+aiosqlite:///{tmp_path / 'file.db'}", SCRIPTS[what])
    assert (said(ended), ended.returncode) == ("", 0)


# -------------------------------------------------------------------------------- loops


async def use(engine: AsyncEngine, count: int = 5) -> None:
    assert await asyncio.gather(*(ask(engine) for _ in range(count))) == [1] * count


def backends(server: Postgres, name: str, most: int = 0) -> int:
    """How many sessions `name` has, two seconds given."""

    async def look() -> int:
        async with admin_of(server) as admin:
            return await admin.settled(name, most)

    return asyncio.run(look())


@by_loop
@by_driver
def test_one_engine_works_in_run_after_run_and_leaves_nothing_on_the_server(
    postgres: Postgres, driver: str, loop: str
) -> None:
    name = new_name()
    engine = make_engine(postgres.url(driver), name)
    for _ in range(5):
        run(use(engine), loop)
        assert backends(postgres, name) == 0
    assert TypedPool.of(engine).stats().size == 0


@by_driver
def test_a_loop_closed_by_hand_leaves_nothing_on_the_server(
    postgres: Postgres, driver: str
) -> None:
    """Neither asyncio.run's farewell nor another checkout follows."""
    name = new_name()
    engine = make_engine(postgres.url(driver), name)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(engine))
    loop.close()
    del loop
    deadline = time.monotonic() + 2  # the server has to notice
    while backends(postgres, name) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert backends(postgres, name) == 0
    run(use(engine))
    assert backends(postgres, name) == 0


@by_driver
def test_threads_with_loops_of_their_own_share_one_engine(
    postgres: Postgres, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = new_name()
    engine = make_engine(postgres.url(driver), name, pool_size=3, max_overflow=0)
    errors: list[BaseException] = []
    both = threading.Barrier(4)

    async def work() -> None:
        await use(engine, 3)
        await asyncio.to_thread(both.wait, 10)
        for _ in range(10):
            await use(engine, 6)
        await asyncio.to_thread(both.wait, 10)

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
    assert backends(postgres, name) == 0
    assert sum("event loops at once" in record.getMessage() for record in caplog.records) == 1


@by_driver
def test_first_connects_from_four_loops_at_once_do_not_meet(
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


def test_a_loop_cancelled_in_its_first_connect_leaves_the_turn_to_the_others(
    postgres: Postgres,
) -> None:
    engine = make_engine(postgres.url())

    async def give_up() -> None:
        task = asyncio.ensure_future(ask(engine))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()

    for _ in range(3):
        run(give_up())
    started = time.perf_counter()
    run(use(engine))
    assert time.perf_counter() - started < 2


@by_driver
def test_disposing_in_one_loop_closes_what_another_live_loop_has_idle(
    postgres: Postgres, driver: str
) -> None:
    name = new_name()
    engine = make_engine(postgres.url(driver), name)
    filled, over = threading.Event(), threading.Event()

    async def other() -> None:
        await fill(engine, 3)
        filled.set()
        await asyncio.to_thread(over.wait, 10)

    thread = threading.Thread(target=lambda: asyncio.run(other()))
    thread.start()
    try:
        assert filled.wait(10)
        run(engine.dispose())
        assert backends(postgres, name) == 0
    finally:
        over.set()
        thread.join(10)
