"""Many event loops: hundreds one after the other, eight at once, and one for each test."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sqla_typedpool import TypedPool
from tests.chaos.gauges import descriptors
from tests.support import engines, mariadb_lab
from tests.support.engines import LOOPS, ask, make_engine, new_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from sqla_typedpool.embedded import Postgres

ROOT = Path(__file__).parents[3]
POSTGRES = ("asyncpg", "psycopg")
LIMIT = 3  # connections for each loop

# What the programs have in common. A program says how far it is on stdout and goes on when it is
# answered; what it should not say, it says on stderr.
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
asked = 0
counting = threading.Lock()

class Said(logging.Handler):
    words = []
    def emit(self, record):
        self.words.append(record.getMessage())
logging.getLogger("sqla_typedpool").addHandler(Said(logging.WARNING))
# asyncio's debug mode tells of every step longer than 0.1 s: on a busy machine, of any
logging.getLogger("asyncio").addFilter(lambda record: "took" not in record.getMessage())

def run(main):
    if LOOP == "uvloop":
        import uvloop
        return uvloop.run(main)
    return asyncio.run(main)

async def ask():
    global asked
    async with engine.connect() as connection:
        with counting:
            asked += 1
        assert await connection.scalar(text("SELECT 1")) == 1

def report(**facts):
    gc.collect()
    pool = TypedPool.of(engine)
    stats = pool.stats()
    facts.update(
        asked=asked, checkouts=stats.checkouts, connects=stats.connects,
        closed=sum(stats.closed.values()), size=stats.size, in_use=stats.in_use, said=Said.words,
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

async def left_to_the_end():
    async def hold():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            asked_one()
            held.set()
            await asyncio.sleep(30)
    held = asyncio.Event()
    task = asyncio.ensure_future(hold())
    await held.wait()
    await ask()

async def left_in_a_generator():
    async def rows():
        async with engine.connect() as connection:
            asked_one()
            await connection.execute(text("SELECT 1"))
            yield 1
            yield 2
    global kept
    kept = rows()
    assert await kept.__anext__() == 1

def asked_one():
    global asked
    asked += 1

async def no_attempt_under_way():
    while TypedPool.of(engine).stats().connecting:
        await asyncio.sleep(0.01)

def by_hand(main):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main)
    loop.run_until_complete(no_attempt_under_way())  # or aiosqlite's thread would speak of it
    loop.close()

ways = [(run, once), (run, three), (run, left_to_the_end), (run, left_in_a_generator)]
ways.append((run, once) if LOOP == "uvloop" else (by_hand, once))
for number in range(1, 501):
    go, main = ways[number % len(ways)]
    go(main())
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
    await asyncio.to_thread(barrier.wait, 20)  # all are alive, and have what they have
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


class Sessions:
    """A database's sessions that a test's program has open, counted from outside."""

    def __init__(self, driver: str, request: pytest.FixtureRequest, folder: Path) -> None:
        pytest.importorskip(driver)
        self.name = new_name()
        self._account: Any = None
        if driver in POSTGRES:
            self._server = request.getfixturevalue("postgres")
            self.url = self._server.url(driver)
        elif driver == "aiosqlite":
            self._server = None
            self.url = f"sqlite+aiosqlite:///{folder / 'file.db'}"
        else:
            self._server = request.getfixturevalue("mariadb")
            self._account = asyncio.run(self._new_account())
            self.url = self._account.url(driver)

    async def _new_account(self) -> mariadb_lab.Account:
        async with mariadb_lab.admin_of(self._server) as admin:
            return await admin.account()

    def settled(self, most: int) -> int:
        """How many there are, once they are `most` or two seconds have passed."""

        async def look() -> int:
            if self._account is not None:
                async with mariadb_lab.admin_of(self._server) as admin:
                    return await admin.settled(self._account, most)
            async with engines.admin_of(self._server) as admin:
                return await admin.settled(self.name, most)

        return 0 if self._server is None else asyncio.run(look())


@pytest.fixture
def sessions(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> Sessions:
    """Those of the test's `driver`."""
    return Sessions(driver, request, tmp_path)


def marked(driver: str, loop: str = "asyncio") -> Any:
    marks = {"asyncpg": pytest.mark.postgres, "psycopg": pytest.mark.postgres}
    marks |= {"aiomysql": pytest.mark.mariadb, "asyncmy": pytest.mark.mariadb}
    return pytest.param(driver, loop, marks=marks.get(driver, ()), id=f"{driver}-{loop}")


ALL = [
    marked("asyncpg"),
    marked("asyncpg", "uvloop"),
    marked("psycopg"),
    marked("psycopg", "uvloop"),
    marked("aiomysql"),
    marked("asyncmy", "uvloop"),
    marked("aiosqlite"),
]


class Program:
    """A program in a Python as strict as can be; `reports()` are what it says on its way."""

    def __init__(self, body: str, *arguments: str) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe could fill up
        self._process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-c", PREAMBLE + body, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )

    def reports(self) -> Iterator[dict[str, Any]]:
        """Each report; the program goes on when the next one is asked for."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield json.loads(line)
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def ended(self) -> tuple[str, int]:
        """What it has said on stderr, and its exit code."""
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
@pytest.mark.parametrize(("driver", "loop"), ALL)
def test_five_hundred_loops_in_a_row_say_nothing_and_leave_nothing(
    sessions: Sessions, loop: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    seen = []
    with Program(SHORT_LOOPS, sessions.url, sessions.name, loop) as program:
        for report in program.reports():
            assert sessions.settled(0) == 0, report
            seen.append(report)
        assert program.ended() == ("", 0)
    assert [report["loops"] for report in seen] == [100, 200, 300, 400, 500]
    for report in seen:
        assert (report["size"], report["in_use"], report["said"]) == (0, 0, []), report
        assert report["checkouts"] == report["asked"] == report["loops"] * 8 // 5, report
        assert report["closed"] == report["connects"], report
        assert report["threads"] == 1, report
    # the first hundred may have opened what stays
    assert seen[-1]["descriptors"] <= seen[0]["descriptors"], seen


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("driver", ["aiosqlite"])
def test_connects_under_way_in_threads_when_a_loop_ends_say_nothing_and_leave_nothing(
    sessions: Sessions, loop: str
) -> None:
    """The first connection serves all three; the others are opened for nobody."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with Program(SLOW_THREADS, sessions.url, sessions.name, loop) as program:
        (report,) = program.reports()
        assert program.ended() == ("", 0)
    assert report["connected"] > 1
    assert (report["still_open"], report["threads"], report["said"]) == (0, 1, []), report


@pytest.mark.slow
@pytest.mark.parametrize(("driver", "loop"), ALL)
def test_eight_loops_alive_at_once_on_a_fresh_engine_keep_their_limits_and_leave_nothing(
    sessions: Sessions, loop: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    seen = []
    with Program(LOOPS_AT_ONCE, sessions.url, sessions.name, loop) as program:
        for report in program.reports():
            most = 8 * LIMIT if report["alive"] else 0
            assert sessions.settled(most) <= most, report
            seen.append(report)
        assert program.ended() == ("", 0)
    during, after = seen
    assert after["errors"] == []
    assert during["size"] <= 8 * LIMIT
    assert during["checkouts"] == during["asked"] == 8 * 3 * 6
    assert after["checkouts"] == after["asked"] > during["asked"]
    assert (after["size"], after["in_use"], after["threads"]) == (0, 0, 1), after
    assert after["closed"] == after["connects"] <= 2 * 8 * LIMIT, after
    assert len(after["said"]) == 1
    assert "event loops at once" in after["said"][0]


# ------------------------------------------------------------------- a loop for each test


def as_a_plugin_does(main: Coroutine[Any, Any, None]) -> None:
    """What a plugin does around a test: a new loop, and its whole ceremony of an end."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def by_hand(main: Coroutine[Any, Any, None]) -> None:
    """What older conftest files do: a new loop, and `close()`."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


_open_still: list[asyncio.AbstractEventLoop] = []


def as_a_fixture_that_closes_late(main: Coroutine[Any, Any, None]) -> None:
    """The loop is only closed when the next test has its own."""
    loop = asyncio.new_event_loop()
    _open_still.append(loop)
    loop.run_until_complete(main)
    while len(_open_still) > 1:
        _open_still.pop(0).close()


@pytest.mark.parametrize("driver", POSTGRES)
@pytest.mark.parametrize(
    "go", [as_a_plugin_does, by_hand, as_a_fixture_that_closes_late], ids=lambda go: go.__name__
)
def test_an_engine_made_at_import_serves_a_new_loop_for_each_test(
    postgres: Postgres, driver: str, go: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    pytest.importorskip(driver)
    name = new_name()
    engine = make_engine(postgres.url(driver), name, pool_size=LIMIT, max_overflow=0)

    async def one_test() -> None:
        assert await asyncio.gather(*(ask(engine) for _ in range(5))) == [1] * 5
        async with engines.admin_of(postgres) as admin:
            live = max(1, len(_open_still))  # their loops; the server notices an end a little later
            assert await admin.settled(name, live * LIMIT) <= live * LIMIT

    for _ in range(20):
        go(one_test())
    while _open_still:
        _open_still.pop().close()
    gc.collect()

    async def left() -> int:
        async with engines.admin_of(postgres) as admin:
            return await admin.settled(name, 0)

    assert asyncio.run(left()) == 0
    stats = TypedPool.of(engine).stats()
    assert (stats.size, stats.checkouts) == (0, 100)


@pytest.mark.parametrize(
    "driver",
    [
        *(pytest.param(driver, marks=pytest.mark.postgres) for driver in POSTGRES),
        *(pytest.param(driver, marks=pytest.mark.mariadb) for driver in ("aiomysql", "asyncmy")),
    ],
)
def test_a_connect_at_whatever_await_in_a_loop_closed_by_hand_leaves_no_socket(
    sessions: Sessions,
) -> None:
    """None that the collector has to close, and none that it warns of (which is an error)."""

    async def main(rounds: int) -> int:
        first = await engine.connect()
        second = asyncio.ensure_future(engine.connect())
        for _ in range(rounds):
            await asyncio.sleep(0)
        under_way = TypedPool.of(engine).stats().connecting
        second.cancel()
        with suppress(asyncio.CancelledError):
            await (await second).close()
        await first.close()
        return under_way

    seen, left = 0, list[int]()
    for rounds in (*range(1, 12), *range(12, 100, 4)):
        engine = make_engine(sessions.url, pool_size=3, max_overflow=0)
        with engines.no_gc():
            before = descriptors()
            loop = asyncio.new_event_loop()
            seen += loop.run_until_complete(main(rounds))
            loop.close()
            del loop
            left.append(descriptors() - before)
    gc.collect()
    assert seen > 10
    assert not any(left), left


# A project as its users write it. `engine` is made at import, `session_engine` once for all tests,
# whose loops are their own.
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
    # the limit is for each loop, and the session's own loop may be alive as well
    assert TypedPool.of(session_engine).stats().size <= 6


@pytest.mark.parametrize("number", range(10))
async def test_session(session, number):
    assert await session.scalar(text("SELECT 1")) == 1


async def test_a_request_left_behind():
    async def hold():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            held.set()
            await asyncio.sleep(30)

    held = asyncio.Event()
    left = asyncio.ensure_future(hold())
    await held.wait()


async def test_after_it():
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
# The project's mark, what it has beside, its settings, the other plugin, how many tests it has.
PLUGINS = {
    "pytest_asyncio": ("asyncio", ASYNCIO_EXTRA, ASYNCIO_SETTINGS, "no:anyio", 55),
    "anyio": ("anyio", ANYIO_EXTRA, "", "no:asyncio", 52),
}


@pytest.mark.slow
@pytest.mark.parametrize("driver", POSTGRES)
@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_project_tested_with_a_plugin_has_no_failure_and_no_warning(
    postgres: Postgres, tmp_path: Path, driver: str, plugin: str
) -> None:
    pytest.importorskip(driver)
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
        env={**os.environ, "PYTHONPATH": path, "INNER_URL": postgres.url(driver)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    words = ended.stdout + ended.stderr
    assert ended.returncode == 0, words
    assert f"\n{tests} passed in" in words, words
    assert ended.stderr == ""
