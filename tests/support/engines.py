"""Helpers of the second ring: engines on real servers, the server's sessions, cancellation."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import types
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import TypedPool
from tests.support.clocks import Stopwatch, clock_of_the_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator

    import asyncpg
    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from sqla_typedpool.embedded import Postgres
    from tests.support.proxy import FaultProxy

DRIVERS = ("asyncpg", "psycopg")
LOOPS = ("asyncio", "uvloop")
SLACK = 0.25  # seconds by which a deadline may be missed

by_driver = pytest.mark.parametrize("driver", DRIVERS)
by_loop = pytest.mark.parametrize("loop", LOOPS)

_names = itertools.count(1)


def run(main: Coroutine[Any, Any, Any], loop: str = "asyncio") -> Any:
    """Run `main` in a new loop; errors reported to the loop's exception handler fail the test."""
    loop_errors: list[dict[str, Any]] = []

    async def with_error_handler() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: loop_errors.append(what))
        with clock_of_the_loop():
            return await main

    if loop == "uvloop":
        result = pytest.importorskip("uvloop").run(with_error_handler())
    else:
        result = asyncio.run(with_error_handler())
    gc.collect()
    assert not loop_errors
    return result


def new_name() -> str:
    """An application_name that no other test uses."""
    return f"ring two {os.getpid()} {next(_names)}"


def make_engine(url: str | URL, name: str = "", **options: Any) -> AsyncEngine:
    """An engine with our pool; `name` becomes the application_name of its sessions."""
    options.setdefault("poolclass", TypedPool)
    if name:
        named = (
            {"server_settings": {"application_name": name}}
            if "asyncpg" in str(url)
            else {"application_name": name}
        )
        options["connect_args"] = {**named, **options.get("connect_args", {})}
    return create_async_engine(url, **options)


@asynccontextmanager
async def engine_on(url: str | URL, name: str = "", **options: Any) -> AsyncIterator[AsyncEngine]:
    """The same as a context manager, which disposes of the engine."""
    engine = make_engine(url, name, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


def url_through(proxy: FaultProxy, driver: str) -> str:
    """The URL of the server behind a proxy."""
    return f"postgresql+{driver}://postgres@127.0.0.1:{proxy.port}/postgres"


async def ask(engine: AsyncEngine, statement: str = "SELECT 1") -> Any:
    """Run one statement on a connection of its own and return its scalar."""
    async with engine.connect() as connection:
        return await connection.scalar(text(statement))


async def open_all(engine: AsyncEngine, count: int) -> list[AsyncConnection]:
    """Check out so many connections at the same time and run a statement on each."""
    held: list[AsyncConnection] = []
    try:
        held += await asyncio.gather(*(engine.connect() for _ in range(count)))
        for connection in held:
            await connection.execute(text("SELECT 1"))
    except BaseException:
        for connection in held:
            await connection.close()
        raise
    return held


async def fill(engine: AsyncEngine, count: int) -> list[int]:
    """Leave so many idle connections in the pool; return the pids of their backends."""
    held = await open_all(engine, count)
    pids = [await connection.scalar(text("SELECT pg_backend_pid()")) for connection in held]
    for connection in held:
        await connection.close()
    assert TypedPool.of(engine).stats().idle == count
    return pids


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until `condition` holds (True) or `seconds` have passed (False)."""
    watch = Stopwatch()
    while not condition():
        if watch.awake > seconds:
            return False
        await asyncio.sleep(0.01)
    return True


class Admin:
    """A connection to the server that does not come from the pool."""

    def __init__(self, driver: Any, connection: asyncpg.Connection) -> None:
        self._driver = driver
        self.connection = connection

    async def pids(self, name: str) -> set[int]:
        """The pids of the backends with this application_name."""
        rows = await self.connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = $1", name
        )
        return {row["pid"] for row in rows}

    async def wait_for_at_most(self, name: str, most: int, seconds: float = 2.0) -> int:
        """Wait until `name` has at most `most` backends, or `seconds`; return how many it has."""
        watch = Stopwatch()
        while (count := len(await self.pids(name))) > most and watch.awake < seconds:
            await asyncio.sleep(0.02)
        return count

    async def wait_for_at_least(self, name: str, least: int, seconds: float = 2.0) -> int:
        """Wait until `name` has at least `least` backends, or `seconds`; return how many it has."""
        watch = Stopwatch()
        while (count := len(await self.pids(name))) < least and watch.awake < seconds:
            await asyncio.sleep(0.02)
        return count

    async def terminate(self, *pids: int) -> None:
        """Terminate these backends; return when they have ended."""
        await self.connection.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM unnest($1::int[]) AS pid", list(pids)
        )

    async def require_password(self, server: Postgres, role: str) -> None:
        """Require a password of `role`; return when the server does."""
        hba_file = server.data_directory / "pg_hba.conf"
        hba_file.write_text(f"host all {role} all scram-sha-256\n" + hba_file.read_text())
        await self.connection.execute("SELECT pg_reload_conf()")
        watch = Stopwatch()
        while watch.seconds < 10:  # the server reloads the file asynchronously
            try:
                connection = await self._driver.connect(
                    host=server.host, port=server.port, user=role, password="", database="postgres"
                )
            except (self._driver.PostgresError, self._driver.InterfaceError):
                return
            await connection.close()
        raise AssertionError("the server has not reloaded pg_hba.conf")


@asynccontextmanager
async def admin_of(server: Postgres) -> AsyncIterator[Admin]:
    """An `Admin` of this server."""
    driver = pytest.importorskip("asyncpg")
    connection = await driver.connect(
        host=server.host, port=server.port, user="postgres", database="postgres"
    )
    try:
        yield Admin(driver, connection)
    finally:
        await connection.close(timeout=5)


@contextmanager
def no_gc() -> Iterator[None]:
    """Disable the garbage collector, so that it cannot hide a leak."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# ----------------------------------------------------------------- cancelled requests


def cancel_once(task: asyncio.Task[Any], delay: float) -> None:
    """Cancel the task after `delay` seconds."""
    asyncio.get_running_loop().call_later(delay, task.cancel)


def cancel_twice(task: asyncio.Task[Any], delay: float) -> None:
    """Cancel the task, and again while it handles the first cancellation."""
    loop = asyncio.get_running_loop()
    loop.call_later(delay, task.cancel)
    loop.call_later(delay + random.uniform(0, 0.004), task.cancel)


def cancel_until_done(task: asyncio.Task[Any], delay: float) -> None:
    """Cancel in each loop iteration until the task has ended, as anyio's cancel scopes do."""
    loop = asyncio.get_running_loop()
    iterations = itertools.count()

    def cancel_again() -> None:
        if not task.done():
            task.cancel()
            # the bound is for a task that suppresses every cancellation
            if next(iterations) < 10_000:
                loop.call_soon(cancel_again)

    loop.call_later(delay, cancel_again)


CANCELS = {"once": cancel_once, "twice": cancel_twice, "until done": cancel_until_done}


async def run_and_cancel(
    engine: AsyncEngine,
    request: Callable[[AsyncEngine], Awaitable[object]],
    *,
    cancel: Callable[[asyncio.Task[Any], float], None] = cancel_once,
    tasks: int = 1000,
    at_once: int = 60,
    longest: float = 0.06,
    seed: int = 1,
) -> int:
    """Start `tasks` requests, cancel each at a random moment; return how many were cancelled.

    Any other error of a request fails the test.
    """
    rng = random.Random(seed)
    remaining = itertools.repeat(None, tasks)
    cancelled = 0
    errors: list[BaseException] = []

    async def worker() -> None:
        nonlocal cancelled
        for _ in remaining:
            task = asyncio.ensure_future(request(engine))
            cancel(task, rng.uniform(0, longest))
            done, _ = await asyncio.wait({task}, timeout=20)
            assert done, "a cancelled request did not end within 20 s"
            if task.cancelled():
                cancelled += 1
            elif (error := task.exception()) is not None:
                errors.append(error)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    assert not errors, f"{len(errors)} errors, the first: {errors[0]!r}"
    return cancelled


async def check_nothing_lost(engine: AsyncEngine, limit: int) -> None:
    """Check that every slot is free again and that all can be used at the same time."""
    pool = TypedPool.of(engine)
    assert await until(lambda: pool.checkedout() == 0, 1), pool.stats()
    assert await until(lambda: pool.stats().waiting == 0, 1), pool.stats()
    assert pool.stats().size <= limit
    watch = Stopwatch()
    held = await asyncio.wait_for(open_all(engine, limit), 2)
    assert pool.checkedout() == limit
    for connection in held:
        await connection.close()
    assert watch.awake < 1.5
    assert pool.checkedout() == 0


# ------------------------------------------------------------- a cancel at a given await


@types.coroutine
def _observe_awaits(
    coroutine: Coroutine[Any, Any, Any], on_await: Callable[[asyncio.Future[Any]], None]
) -> Generator[Any, Any, Any]:
    """Run the coroutine and pass every future that its task awaits to the callback."""
    send: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731
    while True:
        try:
            awaited = send()
        except StopIteration as end:
            return end.value
        on_await(awaited)
        try:
            value = yield awaited
        except BaseException as error:
            send = lambda error=error: coroutine.throw(error)  # noqa: E731
        else:
            send = lambda value=value: coroutine.send(value)  # noqa: E731


async def cancel_at_await(coroutine: Coroutine[Any, Any, Any], step: int, *, late: bool) -> bool:
    """Run a coroutine in a task and cancel it at its `step`-th await; return whether it had one.

    With `late`, the task is cancelled after the awaited future has its result but before the task
    resumes: the task does not receive the result, but the pool must not lose it.
    """
    steps = itertools.count(1)
    reached = False

    async def observed() -> None:
        task = asyncio.current_task()
        assert task is not None

        def on_await(future: asyncio.Future[Any] | None) -> None:
            nonlocal reached
            if next(steps) != step:
                return
            reached = True
            if late and future is not None:
                future.add_done_callback(lambda _: task.cancel())  # before the task resumes
            else:
                task.cancel()

        await _observe_awaits(coroutine, on_await)

    task = asyncio.ensure_future(observed())
    done, _ = await asyncio.wait({task}, timeout=10)
    assert done, f"cancelled at await {step}, the task did not end within 10 s"
    with suppress(asyncio.CancelledError):
        task.result()
    return reached
