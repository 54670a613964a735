"""MariaDB: ends of processes and loops; nothing on stderr, nothing left on the server."""

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
from tests.support.engines import ask, by_loop, make_engine, run
from tests.support.mariadb_lab import Account, admin_of, by_driver

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

async def no_attempt_under_way():
    while TypedPool.of(engine).stats().connecting:
        await asyncio.sleep(0.01)
"""

SCRIPTS = {
    "an engine never disposed of": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
asyncio.run(main())
""",
    "a pool closed": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
    await TypedPool.of(engine).close()
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
    "statements under way": """
async def main():
    async def slow():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT SLEEP(1)"))
    tasks = [asyncio.ensure_future(slow()) for _ in range(3)]
    await asyncio.sleep(0.3)
asyncio.run(main())
""",
    "a connection out": """
async def main():
    async def slow():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(30)
    task = asyncio.ensure_future(slow())
    await asyncio.sleep(0.3)
asyncio.run(main())
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
    await no_attempt_under_way()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
asyncio.run(main())
""",
    "a loop closed by hand and no more": """
async def main():
    await asyncio.gather(*(ask() for _ in range(5)))
    await no_attempt_under_way()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
""",
    "a uvloop": """
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

# SQLAlchemy's own words, said with its own pool too, of the ROLLBACK of a return that the end of
# asyncio.run cancels. These drivers send one even where nothing was begun.
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


def left(server: MariaDB, account: Account, most: int = 0) -> int:
    """How many sessions it has, two seconds given."""

    async def main() -> int:
        async with admin_of(server) as admin:
            return await admin.settled(account, most)

    return asyncio.run(main())


def script(url: str, body: str, **environment: str) -> tuple[str, int]:
    """Run a program as strictly as Python can; what it said, and its exit code."""
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
def test_a_program_ends_without_a_word_and_in_time_after(
    mariadb: MariaDB, driver: str, what: str
) -> None:
    if "uvloop" in what:
        pytest.importorskip("uvloop")
    assert script(new_account(mariadb).url(driver), SCRIPTS[what]) == ("", 0)


@by_driver
def test_a_program_interrupted_by_ctrl_c_ends_without_a_word(mariadb: MariaDB, driver: str) -> None:
    body = INTERRUPTED.replace("SIZE", "8")
    words, code = script(new_account(mariadb).url(driver), body)
    assert (ROLLBACK_CANCELLED.sub("", words), code) == ("", 130)


@by_driver
def test_a_program_interrupted_while_it_closes_surplus_connections_ends_without_a_word(
    mariadb: MariaDB, driver: str
) -> None:
    body = INTERRUPTED.replace("SIZE", "2")
    words, code = script(new_account(mariadb).url(driver), body)
    assert (ROLLBACK_CANCELLED.sub("", words), code) == ("", 130)


@by_driver
@pytest.mark.parametrize("rounds", [2, 8])
def test_a_program_that_ends_in_the_midst_of_its_first_connect_says_nothing(
    mariadb: MariaDB, driver: str, rounds: int
) -> None:
    body = SCRIPTS["a first connect begun and nothing more"]
    assert script(new_account(mariadb).url(driver), body, ROUNDS=str(rounds)) == ("", 0)


# -------------------------------------------------------------------------------- loops


async def use(engine: AsyncEngine, count: int = 5) -> None:
    assert await asyncio.gather(*(ask(engine) for _ in range(count))) == [1] * count


@by_loop
@by_driver
def test_one_engine_works_in_run_after_run_and_leaves_nothing_on_the_server(
    mariadb: MariaDB, driver: str, loop: str
) -> None:
    account = new_account(mariadb)
    engine = make_engine(account.url(driver))
    for _ in range(5):
        run(use(engine), loop)
        assert left(mariadb, account) == 0
    assert TypedPool.of(engine).stats().size == 0


@by_driver
def test_a_loop_closed_by_hand_leaves_nothing_on_the_server(mariadb: MariaDB, driver: str) -> None:
    """Neither asyncio.run's farewell nor another checkout follows."""
    account = new_account(mariadb)
    engine = make_engine(account.url(driver))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(engine))
    loop.close()
    del loop
    assert left(mariadb, account) == 0
    run(use(engine))
    assert left(mariadb, account) == 0


@by_driver
def test_threads_with_loops_of_their_own_share_one_engine(mariadb: MariaDB, driver: str) -> None:
    account = new_account(mariadb)
    engine = make_engine(account.url(driver), pool_size=3, max_overflow=0)
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
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert errors == []
    assert left(mariadb, account) == 0


@by_driver
def test_first_connects_from_four_loops_at_once_do_not_meet(mariadb: MariaDB, driver: str) -> None:
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
