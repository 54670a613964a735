"""The pool in deployments: forks, freezes, changed passwords, migrations, clocks, signals."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import TypedPool
from sqla_typedpool.embedded.process import free_port
from tests.support.clocks import Stopwatch
from tests.support.databases import PostgresDatabase
from tests.support.drivers import MARIADB, POSTGRESQL, SERVERS
from tests.support.engines import (
    ask,
    engine_on,
    fill,
    open_all,
    return_all,
    run,
    session_id,
    until,
)
from tests.support.programs import (
    COMMAND,
    DEBUG_MESSAGES,
    DRIVER_MESSAGES,
    ROLLBACK_CANCELLED,
    ROOT,
    environment,
    run_program,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.embedded import Postgres
    from tests.support.databases import Database

PROGRAMS = ROOT / "tests" / "programs"
DAY = 86400.0
LOGGER = "sqla_typedpool.pool"

# logged by the pool when the loop was blocked
BLOCKED = r"(?m)^pool \S+: the event loop was blocked for .*\n"


def program(name: str, *arguments: str) -> list[str]:
    """A command that runs a program of tests/programs with all warnings as errors."""
    return [*COMMAND, str(PROGRAMS / f"{name}.py"), *arguments]


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process with pipes; it is killed at the end of the block."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    options = {"env": environment(), **pipes, **options}
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line of its stdout; the timeout of the test bounds the wait."""
    assert process.stdout is not None
    return process.stdout.readline()


def count_sessions(database: Database, most: int = 0) -> int:
    """Wait for at most so many sessions; return how many there are at last."""
    return asyncio.run(database.wait_for_at_most(most))


def kill_all(database: Database) -> int:
    """Kill all sessions of the test; return how many there were. No loop may be running."""

    async def kill() -> int:
        ids = await database.sessions()
        await database.kill(*ids)
        return len(ids)

    return asyncio.run(kill())


# -------------------------------------------------------------------------------- forks

FORKS = [
    *(
        (driver, "os.fork", child)
        for driver in POSTGRESQL
        for child in ("works and exits", "disposes first", "disposes", "collects garbage", "forks")
    ),
    *((driver, "multiprocessing", "works") for driver in POSTGRESQL),
    *((driver, "in a coroutine", "works") for driver in SERVERS),
    *((driver, "os.fork", "collects garbage") for driver in (*MARIADB, "aiosqlite")),
    ("asyncpg", "uvloop", "works and exits"),
    ("aiosqlite", "os.fork", "works and exits"),
]


@pytest.mark.parametrize(("driver", "method", "child"), FORKS)
def test_a_forked_child_opens_its_own_sessions_and_the_parent_keeps_those_it_had(
    database: Database, method: str, child: str
) -> None:
    """The sessions and the open transaction of the parent; no process prints an error."""
    if method == "uvloop":
        pytest.importorskip("uvloop")
    ended = run_program(str(PROGRAMS / "forking.py"), database.dsn, database.name, method, child)
    assert not without(ended.stderr, DEBUG_MESSAGES), ended.stderr
    assert ended.returncode == 0
    found = json.loads(ended.stdout)
    assert found["status"] == 0
    assert len(found["child"]) >= 3
    assert not set(found["child"]) & set(found["before"])
    assert set(found["after"]) == set(found["before"])
    assert found["after"][0] == found["before"][0]  # the session with the open transaction
    assert found["rows"] == 1
    assert found["journal"]
    assert found["no_other_sessions"]


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_the_sessions_of_a_killed_parent_end_while_its_child_still_runs(
    database: Database,
) -> None:
    """The child has no copy of the parent's sockets."""
    with running(program("forking", database.dsn, database.name, "killed", "")) as parent:
        assert read_line(parent) == "child ready\n"
        assert count_sessions(database) == 0
        _, errors = parent.communicate(timeout=10)  # closing stdin ends the child
        assert errors == ""


# ------------------------------------------------------------------------- freezes

MODES = ("a loop for each task", "one loop stopped between tasks", "one loop")


class Worker:
    """A process that runs a task for each line that it receives."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def start_task(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()

    def read_open_files(self) -> int:
        """Check that the task raised no error; return how many files the process has open."""
        report = json.loads(read_line(self.process))
        assert report["error"] == ""
        return int(report["files"])


@pytest.mark.slow
@pytest.mark.parametrize("driver", POSTGRESQL)
def test_the_first_task_succeeds_after_a_freeze_in_which_the_server_closed_the_connections(
    postgres: Postgres, driver: str
) -> None:
    """Like a serverless function that is frozen between two calls. All three modes run at once."""
    databases = [PostgresDatabase(driver, postgres) for _ in MODES]
    commands = [
        program("tasks", database.dsn, database.name, mode)
        for database, mode in zip(databases, MODES, strict=True)
    ]
    with running(commands[0]) as one, running(commands[1]) as two, running(commands[2]) as three:
        workers = [Worker(process) for process in (one, two, three)]
        for worker in workers:
            worker.start_task()
        files = [worker.read_open_files() for worker in workers]
        for worker in workers:
            worker.process.send_signal(signal.SIGSTOP)
        ended = [kill_all(database) for database in databases]
        assert ended[0] == 0  # asyncio.run has closed its sessions
        assert min(ended[1:]) >= 1
        time.sleep(3)
        for worker in workers:
            worker.start_task()
            worker.process.send_signal(signal.SIGCONT)
        for worker in workers:
            worker.read_open_files()
        for _ in range(4):
            for worker in workers:
                worker.start_task()
            again = [worker.read_open_files() for worker in workers]
        assert all(now <= before for now, before in zip(again, files, strict=True)), (files, again)
        for worker in workers:
            _, errors = worker.process.communicate(timeout=10)
            assert without(errors, DEBUG_MESSAGES, BLOCKED) == ""
            assert worker.process.returncode == 0
        for database in databases:
            assert count_sessions(database) == 0


# ------------------------------------------------------------------- changed passwords


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_changed_password_is_read_at_each_connect_and_a_wrong_one_fails_at_once(
    stoppable_database: PostgresDatabase,
) -> None:
    database = stoppable_database

    async def main() -> None:
        password, connects = "first", 0
        async with database.administrator() as execute:
            await execute("CREATE ROLE app LOGIN PASSWORD 'first'")
            await database.require_password("app")
            url = database.url.set(username="app")
            async with engine_on(url, pool_size=6, max_overflow=0, pool_timeout=10) as engine:

                @event.listens_for(engine.sync_engine, "do_connect")
                def _(dialect: Any, record: Any, args: Any, parameters: dict[str, Any]) -> None:
                    nonlocal connects
                    connects += 1
                    parameters["password"] = password

                assert await requires_password(engine)
                old = set(await fill(engine, 2))
                await execute("ALTER ROLE app PASSWORD 'second'")

                # open connections stay usable; a new connect fails at once with the driver's error
                connects = 0
                held = await open_all(engine, 2)
                watch = Stopwatch()
                with pytest.raises(Exception, match="password authentication failed") as caught:
                    await engine.connect()
                assert "sqla_typedpool" not in type(caught.value).__module__
                assert watch.awake < 1
                assert connects == 1
                assert {await session_id(one) for one in held} == old
                await return_all(held)

                password = "second"
                both = set(await fill(engine, 4))
                assert old < both
                TypedPool.of(engine).retire_all()
                assert not both & set(await fill(engine, 4))

    async def requires_password(engine: AsyncEngine) -> bool:
        """Whether the server has reloaded pg_hba.conf: before that it accepts any password."""
        wrong = database.url.set(username="app", password="wrong")
        for _ in range(200):
            async with engine_on(wrong, pool_connect_retry=0) as lost:
                try:
                    await ask(lost)
                except Exception as error:
                    return "password authentication failed" in str(error)
            await asyncio.sleep(0.02)
        return False

    run(main())


# -------------------------------------------------------------------------- migrations


@pytest.mark.parametrize("driver", ["asyncpg"])
def test_a_migration_fails_one_statement_and_replaces_no_connection(database: Database) -> None:
    """After asyncpg's InvalidCachedStatementError, SQLAlchemy drops its prepared statements."""

    async def main() -> None:
        async with (
            database.administrator() as execute,
            database.engine(pool_size=3, max_overflow=0) as engine,
        ):
            await execute("CREATE TABLE migrated (a int)")
            pids = await fill(engine, 3)
            for connection in (held := await open_all(engine, 3)):
                await connection.execute(text("SELECT * FROM migrated"))
            await return_all(held)
            await execute("ALTER TABLE migrated ADD COLUMN b int")

            with pytest.raises(DBAPIError, match="InvalidCachedStatementError") as caught:
                await ask(engine, "SELECT * FROM migrated")
            assert not caught.value.connection_invalidated
            for connection in (held := await open_all(engine, 3)):
                await connection.execute(text("SELECT * FROM migrated"))
            await return_all(held)
            assert set(await fill(engine, 3)) == set(pids)
            assert TypedPool.of(engine).stats().connects == 3
            await execute("DROP TABLE migrated")

    run(main())


# ------------------------------------------------------------------------------- clocks


@pytest.mark.slow
@pytest.mark.parametrize("driver", POSTGRESQL)
@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["a day ahead", "a day back"])
def test_a_jump_of_the_wall_clock_changes_no_idle_timeout_and_no_lifetime(
    database: Database, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, offset = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: real() + offset)

    async def main() -> None:
        nonlocal offset
        options = {"pool_idle_timeout": 60, "pool_max_lifetime": 60, "pool_validate_after": 60}
        short = {"pool_max_lifetime": 1.0}
        async with (
            database.engine(**options) as long_lived,
            database.engine(**short) as short_lived,
        ):
            pids, others = await fill(long_lived, 3), await fill(short_lived, 3)
            offset = jump
            await asyncio.sleep(1.3)  # more than one tick of the housekeeper
            stats = TypedPool.of(long_lived).stats()
            assert (stats.idle, stats.pings, stats.connects) == (3, 0, 3)
            assert set(await fill(long_lived, 3)) == set(pids)
            assert await until(lambda: TypedPool.of(short_lived).stats().idle == 0)
            assert not set(await fill(short_lived, 3)) & set(others)

    run(main())


@pytest.mark.parametrize("driver", ["asyncpg"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_soft_invalidation_replaces_a_connection_once_though_the_wall_clock_is_set_back(
    database: Database, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time

    def set_back() -> None:
        monkeypatch.setattr(time, "time", lambda: real() - DAY)

    async def main() -> None:
        async with database.engine(pool_size=1, max_overflow=0) as engine:
            async with engine.connect() as connection:
                if when == "before":
                    set_back()
                (await connection.get_raw_connection()).invalidate(soft=True)
            set_back()
            for _ in range(5):
                assert await ask(engine) == 1
            assert TypedPool.of(engine).stats().connects == 2

    run(main())


class AdjustableLoop(asyncio.SelectorEventLoop):
    """A loop whose monotonic clock can be advanced."""

    offset = 0.0

    def time(self) -> float:
        return super().time() + self.offset


@pytest.mark.parametrize("driver", POSTGRESQL)
@pytest.mark.parametrize("sessions", ["alive", "terminated"])
def test_after_a_jump_of_the_monotonic_clock_connections_are_pinged_before_use(
    database: Database, sessions: str
) -> None:

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, AdjustableLoop)
        options = {"pool_size": 3, "max_overflow": 0, "pool_max_lifetime": None}
        async with database.engine(**options) as engine:
            pids = await fill(engine, 3)
            pool = TypedPool.of(engine)
            assert pool.stats().pings == 0
            if sessions == "terminated":  # while this loop is blocked, so it has not noticed
                terminator = threading.Thread(target=kill_all, args=(database,))
                terminator.start()
                terminator.join(10)
            loop.offset += DAY
            again = await asyncio.gather(*(ask(engine, "SELECT pg_backend_pid()") for _ in "123"))

            def validated() -> int:
                return pool.stats().pings + pool.stats().closed["dead"]

            # the first one whose ping succeeds may serve all three before the others are pinged
            assert await until(lambda: validated() >= 3), pool.stats()
            assert (set(again) <= set(pids)) == (sessions == "alive")
            assert pool.stats().timeouts == 0

    loop = AdjustableLoop()
    try:
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


# ----------------------------------------------------------------------- a blocked loop


@pytest.mark.slow
@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_blocked_loop_is_reported_and_fails_no_checkout_connect_or_ping(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop is blocked for longer than the bounds of a checkout, a connect and a ping."""

    async def main() -> None:
        bounds = {"pool_timeout": 1, "pool_connect_timeout": 1, "pool_validate_after": 0.05}
        async with database.engine(pool_size=4, max_overflow=0, **bounds) as engine:
            pool = TypedPool.of(engine)
            await fill(engine, 2)
            await asyncio.sleep(0.1)

            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
                asking = [asyncio.ensure_future(ask(engine)) for _ in range(6)]
                # one idle connection is being pinged, two are being opened, all six requests wait
                while pool.stats().connecting < 2:
                    await asyncio.sleep(0)
                assert pool.stats().waiting == 6
                time.sleep(3)
            assert await asyncio.gather(*asking) == [1] * 6
            # an attempt that began before the block may be abandoned, which fails no request
            assert await until(lambda: pool.stats().connecting == 0)
            assert pool.stats().connects >= 3
            stats = pool.stats()
            assert (stats.timeouts, stats.failed_pings, stats.connect_failures) == (0, 0, 0)
            assert await until(lambda: bool(reports()))
            assert len(reports()) == 1
            assert await ask(engine) == 1

    def reports() -> list[str]:
        messages = [record.getMessage() for record in caplog.records]
        return [message for message in messages if "event loop was blocked" in message]

    with caplog.at_level("WARNING", LOGGER):
        run(main())


# ------------------------------------------------------------------------------ signals

CTRL_C = pytest.param(
    signal.SIGINT,
    id="ctrl-c",
    marks=pytest.mark.skipif(
        sys.version_info < (3, 11),
        reason="before Python 3.11, asyncio.run may raise KeyboardInterrupt at any line",
    ),
)


@pytest.mark.parametrize("driver", POSTGRESQL)
@pytest.mark.parametrize("number", [CTRL_C, pytest.param(signal.SIGTERM, id="sigterm")])
def test_a_program_ended_by_a_signal_under_load_ends_within_seconds_and_prints_nothing(
    database: Database, number: signal.Signals
) -> None:
    with running(program("loaded", database.dsn, database.name)) as process:
        assert read_line(process) == "under load\n"
        watch = Stopwatch()
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert watch.awake < 5
        assert (
            without(errors, DEBUG_MESSAGES, *DRIVER_MESSAGES, ROLLBACK_CANCELLED),
            process.returncode,
        ) == ("", 0)
    assert count_sessions(database) == 0


# ------------------------------------------------------------------------------ uvicorn


class Site:
    """The application in tests/programs/app.py, served by uvicorn."""

    def __init__(self, folder: Path, database: Database, close: str) -> None:
        self.closes = bool(close)
        self.port = free_port()
        self.source = folder / "app.py"
        shutil.copy(PROGRAMS / "app.py", self.source)
        self.output = folder / "output"
        self.environment = environment(
            URL=database.dsn, NAME=database.name, CLOSE=close, PYTHONWARNINGS="error"
        )

    @contextmanager
    def served(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(self.port), *options]
        with self.output.open("w") as output:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            folder = {"cwd": self.source.parent, "env": self.environment}
            with running(command, **pipes, **folder) as process:
                try:
                    yield process
                finally:
                    if process.poll() is None:
                        process.terminate()
                        with suppress(subprocess.TimeoutExpired):
                            process.wait(10)

    def get(self, path: str, seconds: float = 10.0) -> str:
        address = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(address, timeout=seconds) as answer:
            body: str = answer.read().decode()
            return body

    def get_when_up(self, condition: Callable[[str], bool], seconds: float = 15.0) -> str:
        """Request `/` until the body fulfils the condition; return that body."""
        watch = Stopwatch()
        while watch.seconds < seconds:
            with suppress(OSError):
                found = self.get("/")
                if condition(found):
                    return found
            time.sleep(0.05)
        raise AssertionError(f"no such body within {seconds} s:\n{self.output.read_text()}")

    def check_output(self, workers: int) -> None:
        """Check that no warning or leak was printed and that each worker has closed its pool."""
        words = ("sqla_typedpool", "Warning", "never retrieved", "garbage", "never awaited")
        output = self.output.read_text()
        assert [word for word in words if word in output] == []
        closed = output.count("closed, 0 connections left")
        assert closed == (workers if self.closes else 0)


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["asyncpg"])
@pytest.mark.parametrize("close", ["close()", ""], ids=["pool closed", "pool not closed"])
def test_a_reload_by_uvicorn_leaves_no_session_of_the_old_worker(
    database: Database, tmp_path: Path, close: str
) -> None:
    """uvicorn ends a worker with a signal, so its event loop does not end normally."""
    pytest.importorskip("uvicorn")
    site = Site(tmp_path, database, close)
    with site.served("--reload", "--reload-delay", "0.1"):
        old = site.get_when_up(bool)
        source = site.source.read_text()
        site.source.write_text(source.replace("str(session)", "f'new {session}'"))
        new = site.get_when_up(lambda found: found.startswith("new "))
        assert old not in new
        assert count_sessions(database, 1) == 1
        assert site.get("/") == new
    assert count_sessions(database) == 0
    site.check_output(workers=2)
    assert "Traceback" not in site.output.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["asyncpg"])
def test_uvicorn_stopped_with_requests_in_flight_leaves_no_session(
    database: Database, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn")
    site = Site(tmp_path, database, "close()")

    def slow() -> None:
        with suppress(OSError):
            site.get("/slow", 20)

    with site.served("--timeout-graceful-shutdown", "1") as process:
        site.get_when_up(bool)
        clients = [threading.Thread(target=slow) for _ in range(3)]
        for client in clients:
            client.start()
        assert wait_for(lambda: busy(database) == 3)
        watch = Stopwatch()
        process.terminate()
        process.wait(20)
        assert watch.awake < 6
        for client in clients:
            client.join(10)
    assert count_sessions(database) == 0
    site.check_output(workers=1)


def busy(database: Database) -> int:
    """How many slow statements are running."""
    where = "query LIKE '%pg_sleep%' AND state = 'active'"
    return len(asyncio.run(database.run(f"{database.sessions_query} AND {where}")))


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    watch = Stopwatch()
    while not condition():
        if watch.seconds > seconds:
            return False
        time.sleep(0.02)
    return True
