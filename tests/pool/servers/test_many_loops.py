"""Many event loops: hundreds one after the other, eight at once, one for each test."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sqla_typedpool import TypedPool
from tests.support.drivers import POSTGRESQL
from tests.support.engines import LOOPS, ask, until
from tests.support.programs import COMMAND, ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from tests.support.databases import Database

LIMIT = 3  # connections for each loop

# The common part of the programs. A program prints reports on stdout and continues after each one
# when it receives a line. It must not print anything on stderr.
PREAMBLE = """
import asyncio, gc, json, logging, os, sys, threading
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqla_typedpool import TypedPool

URL, NAME, LOOP = sys.argv[1:]
if "asyncpg" in URL:
    named = {"server_settings": {"application_name": NAME}}
else:
    named = {"application_name": NAME} if "psycopg" in URL else {}
engine = create_async_engine(
    URL, poolclass=TypedPool, pool_size=3, max_overflow=0, pool_min_size=1, connect_args=named
)
requested = 0
counting = threading.Lock()

class LogLines(logging.Handler):
    lines = []
    def emit(self, record):
        self.lines.append(record.getMessage())
logging.getLogger("sqla_typedpool").addHandler(LogLines(logging.WARNING))
# on a busy machine asyncio's debug mode logs every step that takes longer than 0.1 s
logging.getLogger("asyncio").addFilter(lambda record: "took" not in record.getMessage())

def run(main):
    if LOOP == "uvloop":
        import uvloop
        return uvloop.run(main)
    return asyncio.run(main)

async def ask():
    global requested
    async with engine.connect() as connection:
        with counting:
            requested += 1
        assert await connection.scalar(text("SELECT 1")) == 1

def report(**facts):
    gc.collect()
    pool = TypedPool.of(engine)
    stats = pool.stats()
    facts.update(
        requested=requested, checkouts=stats.checkouts, connects=stats.connects,
        closed=sum(stats.closed.values()), size=stats.size, in_use=stats.in_use,
        logged=LogLines.lines,
        threads=threading.active_count(), descriptors=len(os.listdir("/proc/self/fd"))
        if os.path.isdir("/proc/self/fd") else 0,
    )
    print(json.dumps(facts), flush=True)
    sys.stdin.readline()
"""

SHORT_LOOPS = """
async def once():
    await ask()

async def three():
    await asyncio.gather(ask(), ask(), ask())

async def leave_a_task_running():
    async def hold():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            count_request()
            held.set()
            await asyncio.sleep(30)
    held = asyncio.Event()
    task = asyncio.ensure_future(hold())
    await held.wait()
    await ask()

async def leave_a_generator_open():
    async def rows():
        async with engine.connect() as connection:
            count_request()
            await connection.execute(text("SELECT 1"))
            yield 1
            yield 2
    global kept
    kept = rows()
    assert await kept.__anext__() == 1

def count_request():
    global requested
    requested += 1

async def until_no_attempt_is_running():
    while TypedPool.of(engine).stats().connecting:
        await asyncio.sleep(0.01)

def close_only(main):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main)
    # or aiosqlite's thread would print an error
    loop.run_until_complete(until_no_attempt_is_running())
    loop.close()

variants = [(run, once), (run, three), (run, leave_a_task_running), (run, leave_a_generator_open)]
variants.append((run, once) if LOOP == "uvloop" else (close_only, once))
for number in range(1, 501):
    run_in_new_loop, main = variants[number % len(variants)]
    run_in_new_loop(main())
    if number % 100 == 0:
        report(loops=number)
"""

LOOPS_AT_ONCE = """
LOOPS = 8
barrier = threading.Barrier(LOOPS + 1)
errors = []

async def work():
    barrier.wait(20)
    for _ in range(3):
        await asyncio.gather(*(ask() for _ in range(6)))
    await asyncio.to_thread(barrier.wait, 20)  # all loops are running and hold their connections
    await asyncio.to_thread(barrier.wait, 20)
    until = asyncio.get_running_loop().time() + 2
    while asyncio.get_running_loop().time() < until:
        await asyncio.gather(*(ask() for _ in range(6)))

def thread():
    try:
        run(work())
    except BaseException as error:
        errors.append(repr(error))
        barrier.abort()

threads = [threading.Thread(target=thread) for _ in range(LOOPS)]
for each in threads:
    each.start()
barrier.wait(20)
try:
    barrier.wait(20)
    report(alive=True)
    barrier.wait(20)
except threading.BrokenBarrierError:
    pass
for each in threads:
    each.join(30)
report(alive=False, errors=errors)
"""


SLOW_THREADS = """
import itertools, sqlite3, time

class Watched(sqlite3.Connection):
    is_open = True
    def close(self):
        self.is_open = False
        super().close()

connects, opened = itertools.count(), []
really_connect = sqlite3.connect
def slowly(*args, **options):
    if next(connects):
        time.sleep(0.3)
    opened.append(really_connect(*args, factory=Watched, **options))
    return opened[-1]
sqlite3.connect = slowly

async def three():
    await asyncio.gather(ask(), ask(), ask())

run(three())
for each in threading.enumerate():
    if each is not threading.main_thread():
        each.join(2)
report(connected=len(opened), still_open=sum(each.is_open for each in opened))
"""


DRIVERS_AND_LOOPS = [
    ("asyncpg", "asyncio"),
    ("asyncpg", "uvloop"),
    ("psycopg", "asyncio"),
    ("psycopg", "uvloop"),
    ("aiomysql", "asyncio"),
    ("asyncmy", "uvloop"),
    ("aiosqlite", "asyncio"),
]


def count_sessions(database: Database, most: int) -> int:
    """Wait for at most so many sessions; return how many there are at last."""
    return asyncio.run(database.wait_for_at_most(most))


class Program:
    """A program that runs with all warnings as errors; `reports()` yields what it prints."""

    def __init__(self, body: str, *arguments: str) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe could fill up
        self._process = subprocess.Popen(
            [*COMMAND, "-c", PREAMBLE + body, *arguments],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )

    def reports(self) -> Iterator[dict[str, Any]]:
        """Yield each report; the program continues when the next report is requested."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield json.loads(line)
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def ended(self) -> tuple[str, int]:
        """Wait for the end of the program; return its stderr and its exit code."""
        code = self._process.wait(20)
        self._stderr.seek(0)
        return self._stderr.read(), code

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        self._stderr.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("driver", "loop"), DRIVERS_AND_LOOPS)
def test_five_hundred_consecutive_loops_log_nothing_and_leave_nothing_open(
    database: Database, loop: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    reports = []
    with Program(SHORT_LOOPS, database.dsn, database.name, loop) as program:
        for report in program.reports():
            assert count_sessions(database, 0) == 0, report
            reports.append(report)
        assert program.ended() == ("", 0)
    assert [report["loops"] for report in reports] == [100, 200, 300, 400, 500]
    for report in reports:
        assert (report["size"], report["in_use"], report["logged"]) == (0, 0, []), report
        assert report["checkouts"] == report["requested"] == report["loops"] * 8 // 5, report
        assert report["closed"] == report["connects"], report
        assert report["threads"] == 1, report
    # the first hundred loops may open descriptors that stay open
    assert reports[-1]["descriptors"] <= reports[0]["descriptors"], reports


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("driver", ["aiosqlite"])
def test_connects_running_in_threads_when_a_loop_ends_log_nothing_and_leave_nothing_open(
    database: Database, loop: str
) -> None:
    """The first connection serves all three requests; no request needs the others."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with Program(SLOW_THREADS, database.dsn, database.name, loop) as program:
        (report,) = program.reports()
        assert program.ended() == ("", 0)
    assert report["connected"] > 1
    assert (report["still_open"], report["threads"], report["logged"]) == (0, 1, []), report


@pytest.mark.slow
@pytest.mark.parametrize(("driver", "loop"), DRIVERS_AND_LOOPS)
def test_eight_simultaneous_loops_on_a_new_engine_keep_their_limits_and_leave_nothing_open(
    database: Database, loop: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    reports = []
    with Program(LOOPS_AT_ONCE, database.dsn, database.name, loop) as program:
        for report in program.reports():
            most = 8 * LIMIT if report["alive"] else 0
            assert count_sessions(database, most) <= most, report
            reports.append(report)
        assert program.ended() == ("", 0)
    during, after = reports
    assert after["errors"] == []
    assert during["size"] <= 8 * LIMIT
    assert during["checkouts"] == during["requested"] == 8 * 3 * 6
    assert after["checkouts"] == after["requested"] > during["requested"]
    assert (after["size"], after["in_use"], after["threads"]) == (0, 0, 1), after
    assert after["closed"] == after["connects"] <= 2 * 8 * LIMIT, after
    assert len(after["logged"]) == 1
    assert "event loops at once" in after["logged"][0]


# ------------------------------------------------------------------- a loop for each test


def like_a_plugin(main: Coroutine[Any, Any, None]) -> None:
    """Run a test in a new loop as pytest plugins do, with all steps of shutting the loop down."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def close_only(main: Coroutine[Any, Any, None]) -> None:
    """Run a test in a new loop as older conftest files do, and only call `close()`."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


_open_loops: list[asyncio.AbstractEventLoop] = []


def like_a_fixture_that_closes_late(main: Coroutine[Any, Any, None]) -> None:
    """Run a test in a new loop, which is closed after the next test has created its own."""
    loop = asyncio.new_event_loop()
    _open_loops.append(loop)
    loop.run_until_complete(main)
    while len(_open_loops) > 1:
        _open_loops.pop(0).close()


@pytest.mark.parametrize("driver", POSTGRESQL)
@pytest.mark.parametrize(
    "run_in_new_loop",
    [like_a_plugin, close_only, like_a_fixture_that_closes_late],
    ids=lambda run_in_new_loop: run_in_new_loop.__name__,
)
def test_an_engine_created_at_import_works_with_a_new_loop_for_each_test(
    database: Database, run_in_new_loop: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    engine = database.make_engine(pool_size=LIMIT, max_overflow=0)

    async def one_test() -> None:
        assert await asyncio.gather(*(ask(engine) for _ in range(5))) == [1] * 5
        # what an attempt has opened when its loop is closed by hand waits for the garbage collector
        assert await until(lambda: not TypedPool.of(engine).stats().connecting)
        most = LIMIT * max(1, len(_open_loops))  # the server notices a closed loop a little later
        assert await database.wait_for_at_most(most) <= most

    for _ in range(20):
        run_in_new_loop(one_test())
    while _open_loops:
        _open_loops.pop().close()
    gc.collect()

    assert count_sessions(database, 0) == 0
    stats = TypedPool.of(engine).stats()
    assert (stats.size, stats.checkouts) == (0, 100)


# A project as its users write it. `engine` is created at import and `session_engine` once for all
# tests; each test has its own loop.
INNER_PROJECT = """
import asyncio
import os

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sqla_typedpool import TypedPool

pytestmark = pytest.mark.MARK
OPTIONS = dict(poolclass=TypedPool, pool_size=3, max_overflow=0, pool_min_size=1)
engine = create_async_engine(os.environ["INNER_URL"], **OPTIONS)


@pytest.fixture(scope="session")
def session_engine():
    return create_async_engine(os.environ["INNER_URL"], **OPTIONS)


@pytest.fixture
async def session(session_engine):
    async with AsyncSession(session_engine) as session:
        yield session


EXTRA


async def ask(engine):
    async with engine.connect() as connection:
        return await connection.scalar(text("SELECT 1"))


@pytest.mark.parametrize("number", range(20))
async def test_import(number):
    assert await asyncio.gather(*(ask(engine) for _ in range(5))) == [1] * 5
    assert TypedPool.of(engine).stats().size <= 3


@pytest.mark.parametrize("number", range(20))
async def test_session_engine(session_engine, number):
    assert await asyncio.gather(*(ask(session_engine) for _ in range(5))) == [1] * 5
    # the limit is per loop, and the loop of the test session may be running as well
    assert TypedPool.of(session_engine).stats().size <= 6


@pytest.mark.parametrize("number", range(10))
async def test_session(session, number):
    assert await session.scalar(text("SELECT 1")) == 1


async def test_a_request_still_running():
    async def hold():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            held.set()
            await asyncio.sleep(30)

    held = asyncio.Event()
    left = asyncio.ensure_future(hold())
    await held.wait()


async def test_the_next_test():
    assert await ask(engine) == 1
"""
ANYIO_EXTRA = """
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
ASYNCIO_EXTRA = """
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("number", range(3))
async def test_in_the_loop_of_the_session(session_engine, number):
    assert await ask(session_engine) == 1
"""
ASYNCIO_SETTINGS = "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function"
# The marker of the tests, additional code, settings, the disabled plugin, the number of tests.
PLUGINS = {
    "pytest_asyncio": ("asyncio", ASYNCIO_EXTRA, ASYNCIO_SETTINGS, "no:anyio", 55),
    "anyio": ("anyio", ANYIO_EXTRA, "", "no:asyncio", 52),
}


@pytest.mark.slow
@pytest.mark.parametrize("driver", POSTGRESQL)
@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_project_tested_with_a_plugin_has_no_failure_and_no_warning(
    database: Database, tmp_path: Path, plugin: str
) -> None:
    if importlib.util.find_spec(plugin) is None:
        pytest.skip(f"{plugin} is not installed")
    mark, extra, settings, other, tests = PLUGINS[plugin]
    body = INNER_PROJECT.replace("MARK", mark).replace("EXTRA", extra)
    (tmp_path / "test_inner.py").write_text(body)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\n{settings}\n")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", other],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "INNER_URL": database.dsn},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output
    assert f"\n{tests} passed in" in output, output
    assert ended.stderr == ""
