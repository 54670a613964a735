"""Helpers of the second ring: engines on real servers, backends counted, storms of cancellation."""

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
SLACK = 0.25  # what a deadline may be late, in seconds

by_driver = pytest.mark.parametrize("driver", DRIVERS)
by_loop = pytest.mark.parametrize("loop", LOOPS)

_names = itertools.count(1)


def run(main: Coroutine[Any, Any, Any], loop: str = "asyncio") -> Any:
    """Run `main` in a loop of its own; what the loop complains of fails the test."""
    complaints: list[dict[str, Any]] = []

    async def listening() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        with clock_of_the_loop():
            return await main

    if loop == "uvloop":
        result = pytest.importorskip("uvloop").run(listening())
    else:
        result = asyncio.run(listening())
    gc.collect()
    assert not complaints
    return result


def new_name() -> str:
    """An application_name that no other test uses."""
    return f"ring two {os.getpid()} {next(_names)}"


def make_engine(url: str | URL, name: str = "", **options: Any) -> AsyncEngine:
    """An engine with our pool, its sessions named `name` on the server."""
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
    """`make_engine`, disposed of afterwards."""
    engine = make_engine(url, name, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


def url_through(proxy: FaultProxy, driver: str) -> str:
    """The URL of the server behind a proxy."""
    return f"postgresql+{driver}://postgres@127.0.0.1:{proxy.port}/postgres"


async def ask(engine: AsyncEngine, statement: str = "SELECT 1") -> Any:
    """One short request; its scalar."""
    async with engine.connect() as connection:
        return await connection.scalar(text(statement))


async def open_all(engine: AsyncEngine, count: int) -> list[AsyncConnection]:
    """So many connections at the same time, each used once."""
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
    """Leave so many idle connections in the pool; the pids of their backends."""
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
    """A look at the server from outside the pool."""

    def __init__(self, driver: Any, connection: asyncpg.Connection) -> None:
        self._driver = driver
        self.connection = connection

    async def pids(self, name: str) -> set[int]:
        """The backends that serve `name`."""
        found = await self.connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = $1", name
        )
        return {row["pid"] for row in found}

    async def settled(self, name: str, most: int, seconds: float = 2.0) -> int:
        """How many backends serve `name`, once they are `most` or `seconds` have passed."""
        watch = Stopwatch()
        while (count := len(await self.pids(name))) > most and watch.awake < seconds:
            await asyncio.sleep(0.02)
        return count

    async def grown(self, name: str, least: int, seconds: float = 2.0) -> int:
        """The same, waiting for `least` of them."""
        watch = Stopwatch()
        while (count := len(await self.pids(name))) < least and watch.awake < seconds:
            await asyncio.sleep(0.02)
        return count

    async def terminate(self, *pids: int) -> None:
        """End these backends, and return when they are gone."""
        await self.connection.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM unnest($1::int[]) AS pid", list(pids)
        )

    async def demand_password(self, server: Postgres, role: str) -> None:
        """Let `role` in with its password only; returns when that holds."""
        rules = server.data_directory / "pg_hba.conf"
        rules.write_text(f"host all {role} all scram-sha-256\n" + rules.read_text())
        await self.connection.execute("SELECT pg_reload_conf()")
        watch = Stopwatch()
        while watch.seconds < 10:  # the signal takes its time
            try:
                guest = await self._driver.connect(
                    host=server.host, port=server.port, user=role, password="", database="postgres"
                )
            except (self._driver.PostgresError, self._driver.InterfaceError):
                return
            await guest.close()
        raise AssertionError("the server does not read its rules again")


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
    """Nothing is tidied up by the garbage collector: what is lost stays lost."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# ------------------------------------------------------------------------------- storms


def cancel_once(task: asyncio.Task[Any], delay: float) -> None:
    """Cancel at a random moment."""
    asyncio.get_running_loop().call_later(delay, task.cancel)


def cancel_twice(task: asyncio.Task[Any], delay: float) -> None:
    """Cancel, and again while the first cancellation is being handled."""
    loop = asyncio.get_running_loop()
    loop.call_later(delay, task.cancel)
    loop.call_later(delay + random.uniform(0, 0.004), task.cancel)


def cancel_until_done(task: asyncio.Task[Any], delay: float) -> None:
    """Cancel as anyio's cancel scopes do: again in each round of the loop, until it has ended."""
    loop = asyncio.get_running_loop()
    rounds = itertools.count()

    def again() -> None:
        if not task.done():
            task.cancel()
            # a scope gives up no sooner; the bound is for a task that swallows everything
            if next(rounds) < 10_000:
                loop.call_soon(again)

    loop.call_later(delay, again)


CANCELS = {"once": cancel_once, "twice": cancel_twice, "until done": cancel_until_done}


async def storm(
    engine: AsyncEngine,
    request: Callable[[AsyncEngine], Awaitable[object]],
    *,
    cancel: Callable[[asyncio.Task[Any], float], None] = cancel_once,
    tasks: int = 1000,
    at_once: int = 60,
    longest: float = 0.06,
    seed: int = 1,
) -> int:
    """Start `tasks` requests and cancel each at a random moment; how many were cancelled.

    Errors other than the cancellation are errors of the test.
    """
    dice = random.Random(seed)
    left = itertools.repeat(None, tasks)
    cancelled = 0
    errors: list[BaseException] = []

    async def worker() -> None:
        nonlocal cancelled
        for _ in left:
            task = asyncio.ensure_future(request(engine))
            cancel(task, dice.uniform(0, longest))
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
    """Every slot is free again, and the full size is served at once."""
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


# ------------------------------------------------------------------- a cancel at each await


@types.coroutine
def _stepped(
    work: Coroutine[Any, Any, Any], at: Callable[[asyncio.Future[Any]], None]
) -> Generator[Any, Any, Any]:
    """Drive `work`, showing `at` every future that its task is suspended on."""
    send: Callable[[], Any] = lambda: work.send(None)  # noqa: E731
    while True:
        try:
            waits_for = send()
        except StopIteration as end:
            return end.value
        at(waits_for)
        try:
            value = yield waits_for
        except BaseException as error:
            send = lambda error=error: work.throw(error)  # noqa: E731
        else:
            send = lambda value=value: work.send(value)  # noqa: E731


async def cancelled_at(work: Coroutine[Any, Any, Any], step: int, *, late: bool) -> bool:
    """Run `work` in a task and cancel it at its `step`-th await; whether it came that far.

    With `late`, the cancel comes when the awaited result is there but the task has not woken up:
    the result is lost on the task, and must not be lost altogether.
    """
    steps = itertools.count(1)
    reached = False

    async def job() -> None:
        task = asyncio.current_task()
        assert task is not None

        def at(future: asyncio.Future[Any] | None) -> None:
            nonlocal reached
            if next(steps) != step:
                return
            reached = True
            if late and future is not None:
                future.add_done_callback(lambda _: task.cancel())  # before the task's own
            else:
                task.cancel()

        await _stepped(work, at)

    task = asyncio.ensure_future(job())
    done, _ = await asyncio.wait({task}, timeout=10)
    assert done, f"cancelled at await {step}, it did not end within 10 s"
    with suppress(asyncio.CancelledError):
        task.result()
    return reached
