"""MariaDB: programs and loops that end print nothing and leave no session on the server."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sqla_typedpool import TypedPool
from tests.support.engines import ask, by_loop, make_engine, run, until
from tests.support.mariadb_engines import Account, admin_of, by_driver

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.servers.mariadb import MariaDB

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
    "a closed pool": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
    await TypedPool.of(engine).close()
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
    "statements running": """
async def main():
    async def slow():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT SLEEP(1)"))
    tasks = [asyncio.ensure_future(slow()) for _ in range(3)]
    await asyncio.sleep(0.3)
asyncio.run(main())
""",
    "a connection checked out": """
async def main():
    async def slow():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(30)
    task = asyncio.ensure_future(slow())
    await asyncio.sleep(0.3)
asyncio.run(main())
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
    "uvloop": """
import uvloop
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
uvloop.run(main())
uvloop.run(main())
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
engine = create_async_engine(URL, poolclass=TypedPool, pool_size=SIZE)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(130)
"""

# SQLAlchemy logs this, with its own pool too, when the end of asyncio.run cancels the ROLLBACK of a
# return. With these drivers it sends a ROLLBACK even if no transaction was begun.
ROLLBACK_CANCELLED = re.compile(
    r"^Exception during reset or similar\n(?:(?!Exception ).*\n)*?asyncio.*CancelledError\n"
    r"(?=Exception |\Z)",
    re.MULTILINE,
)


def new_account(server: MariaDB) -> Account:
    async def main() -> Account:
        async with admin_of(server) as admin:
            return await admin.account()

    return asyncio.run(main())


def count_sessions(server: MariaDB, account: Account, most: int = 0) -> int:
    """Wait for at most so many sessions, for two seconds; return how many there are."""

    async def main() -> int:
        async with admin_of(server) as admin:
            return await admin.wait_for_at_most(account, most)

    return asyncio.run(main())


def script(url: str, body: str, **environment: str) -> tuple[str, int]:
    """Run a program with all warnings as errors; return its output and its exit code."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PREAMBLE + body, url],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    return ended.stdout + ended.stderr, ended.returncode


@by_driver
@pytest.mark.parametrize("what", SCRIPTS)
def test_a_program_prints_nothing_and_ends_in_time_with(
    mariadb: MariaDB, driver: str, what: str
) -> None:
    if "uvloop" in what:
        pytest.importorskip("uvloop")
    assert script(new_account(mariadb).url(driver), SCRIPTS[what]) == ("", 0)


@by_driver
def test_a_program_interrupted_by_ctrl_c_prints_nothing(mariadb: MariaDB, driver: str) -> None:
    body = INTERRUPTED.replace("SIZE", "8")
    output, code = script(new_account(mariadb).url(driver), body)
    assert (ROLLBACK_CANCELLED.sub("", output), code) == ("", 130)


@by_driver
def test_a_program_interrupted_while_it_closes_overflow_connections_prints_nothing(
    mariadb: MariaDB, driver: str
) -> None:
    body = INTERRUPTED.replace("SIZE", "2")
    output, code = script(new_account(mariadb).url(driver), body)
    assert (ROLLBACK_CANCELLED.sub("", output), code) == ("", 130)


@by_driver
@pytest.mark.parametrize("iterations", [2, 8])
def test_a_program_that_ends_during_its_first_connect_prints_nothing(
    mariadb: MariaDB, driver: str, iterations: int
) -> None:
    body = SCRIPTS["a first connect just started"]
    assert script(new_account(mariadb).url(driver), body, ITERATIONS=str(iterations)) == ("", 0)


# -------------------------------------------------------------------------------- loops


async def use(engine: AsyncEngine, count: int = 5) -> None:
    assert await asyncio.gather(*(ask(engine) for _ in range(count))) == [1] * count


@by_loop
@by_driver
def test_one_engine_works_in_consecutive_runs_and_leaves_no_session(
    mariadb: MariaDB, driver: str, loop: str
) -> None:
    account = new_account(mariadb)
    engine = make_engine(account.url(driver))
    for _ in range(5):
        run(use(engine), loop)
        assert count_sessions(mariadb, account) == 0
    assert TypedPool.of(engine).stats().size == 0


@by_driver
def test_a_manually_closed_loop_leaves_no_session(mariadb: MariaDB, driver: str) -> None:
    """Neither the clean-up of asyncio.run nor another checkout follows."""
    account = new_account(mariadb)
    engine = make_engine(account.url(driver))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(engine))
    # a connect in progress would be left to its driver
    assert loop.run_until_complete(until(lambda: not TypedPool.of(engine).stats().connecting, 5))
    loop.close()
    del loop
    assert count_sessions(mariadb, account) == 0
    run(use(engine))
    assert count_sessions(mariadb, account) == 0


@by_driver
def test_threads_with_their_own_loops_share_one_engine(mariadb: MariaDB, driver: str) -> None:
    account = new_account(mariadb)
    engine = make_engine(account.url(driver), pool_size=3, max_overflow=0)
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
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert errors == []
    assert count_sessions(mariadb, account) == 0


@by_driver
def test_simultaneous_first_connects_of_four_loops_do_not_interfere(
    mariadb: MariaDB, driver: str
) -> None:
    account = new_account(mariadb)
    for _ in range(10):
        engine = make_engine(account.url(driver), pool_size=2)
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
