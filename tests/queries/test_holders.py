"""Holders of connections that declared queries use: the caller's line, and the query's name.

The server is the fake driver, and the clock is virtual. Queries with rows fail when the slow
statement has ended, because the fake driver has no rows: the tests only look at the holders.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from sqla_typedpool import Decode, Executor, Holder, RowCount, TypedPool, query
from sqla_typedpool.pool import call_sites
from tests.support.fake_driver import Connect, FakeConnection, Server, new_engine
from tests.support.mapping_lab import converted
from tests.support.virtual_clock import run


@pytest.fixture(autouse=True)
def driver_is_no_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports skip the frames of the fake driver, as those of a driver."""
    monkeypatch.setattr(call_sites, "_INSIDE", (*call_sites._INSIDE, "tests.support."))


THRESHOLDS = pytest.mark.parametrize("threshold", [None, 1000])


@query("SELECT 1")
async def one(db: Executor) -> int:
    raise NotImplementedError


@query("SELECT 1")
async def optional(db: Executor) -> int | None:
    raise NotImplementedError


@query("SELECT :least")
async def several(db: Executor, *, least: int = 3) -> list[int]:
    raise NotImplementedError


@query("UPDATE users SET name = ''")
async def count(db: Executor) -> RowCount:
    raise NotImplementedError


@query("DELETE FROM users")
async def nothing(db: Executor) -> None:
    raise NotImplementedError


@query("DELETE FROM users", timeout=500)
async def with_timeout(db: Executor) -> None:
    raise NotImplementedError


@query("SELECT 1")
async def deferred(db: Executor) -> Later:
    raise NotImplementedError


class Repo:
    @query("DELETE FROM users")
    async def clear(self, db: Executor) -> None:
        raise NotImplementedError

    @classmethod
    @query("DELETE FROM users")
    async def clear_all(cls, db: Executor) -> None:
        raise NotImplementedError


def wrapped(function: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    @functools.wraps(function)
    async def wrapper(db: Any) -> Any:
        return await function(db)

    return wrapper


CALLS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "one": one,
    "optional": optional,
    "several": several,
    "count": count,
    "nothing": nothing,
    "deferred": deferred,
    "Repo.clear": Repo().clear,
    "Repo.clear_all": Repo.clear_all,
}
Later = int


@asynccontextmanager
async def slow_engine(threshold: float | None) -> AsyncIterator[AsyncEngine]:
    """An engine whose statements take 60 s."""

    def make_slow(connection: FakeConnection) -> None:
        connection.slow["execute"] = 60

    server = Server(usual=Connect(on_open=make_slow))
    engine = new_engine(server, pool_leak_threshold=threshold, pool_size=1, max_overflow=0)
    yield engine
    await engine.dispose()


async def holder_of(engine: AsyncEngine, work: Awaitable[Any]) -> Holder:
    """The only holder, a second after this was begun in a task."""

    async def main() -> None:
        with contextlib.suppress(Exception):
            await work

    task = asyncio.create_task(main(), name="borrower")
    await asyncio.sleep(1)
    (holder,) = TypedPool.of(engine).holders()
    await task
    assert holder.task == "borrower"
    return holder


def line_of(function: Any, text: str) -> int:
    lines, start = inspect.getsourcelines(function)
    return start + next(number for number, line in enumerate(lines) if text in line)


def assert_at(holder: Holder, function: Any, text: str) -> None:
    """Check that the holder is at the line of this function that contains the text."""
    expected = f"{__file__}:{line_of(function, text)} in {function.__name__}"
    assert holder.where == expected


@THRESHOLDS
@pytest.mark.parametrize("name", CALLS)
def test_a_holder_shows_the_line_that_calls_the_query_and_the_querys_name(
    name: str, threshold: float | None
) -> None:
    async def caller(db: Any) -> None:
        await CALLS[name](db)

    async def main() -> None:
        async with slow_engine(threshold) as engine:
            for _ in range(2):  # a new connection and, after its return, an idle one
                holder = await holder_of(engine, caller(engine))
                assert_at(holder, caller, "await CALLS")
                assert holder.query == f"{__name__}.{name}"
                assert f"in query {__name__}.{name} at {__file__}:" in str(holder)

    run(main())


@THRESHOLDS
def test_a_query_with_a_timeout_shows_the_line_that_calls_it(threshold: float | None) -> None:
    async def caller(db: Any) -> None:
        await with_timeout(db)

    async def main() -> None:
        async with slow_engine(threshold) as engine:
            holder = await holder_of(engine, caller(engine))
            assert_at(holder, caller, "await with_timeout")
            assert holder.query == f"{__name__}.with_timeout"

    run(main())


@query("SELECT block()")
def blocked(db: Executor) -> AsyncIterator[int]:
    raise NotImplementedError


@query("SELECT block()", timeout=60)
def blocked_with_timeout(db: Executor) -> AsyncIterator[int]:
    raise NotImplementedError


async def read_first(db: Any) -> None:
    async for _ in blocked(db):
        pass


async def read_first_with_timeout(db: Any) -> None:
    async for _ in blocked_with_timeout(db):
        pass


@THRESHOLDS
@pytest.mark.parametrize("reader", [read_first, read_first_with_timeout])
def test_a_stream_that_waits_shows_the_loop_over_it_and_the_querys_name(
    reader: Any, threshold: float | None, tmp_path: Path
) -> None:
    """The fake driver has no streams. In this SQLite the statement waits for the test."""
    pytest.importorskip("aiosqlite")
    started, end = threading.Event(), threading.Event()

    def block() -> int:
        started.set()
        return end.wait(10)

    async def main() -> None:
        url = f"sqlite+aiosqlite:///{tmp_path / 'file.db'}"
        engine = create_async_engine(url, poolclass=TypedPool, pool_leak_threshold=threshold)

        @event.listens_for(engine.sync_engine, "connect")
        def add_function(connection: Any, _: Any) -> None:
            connection.create_function("block", 0, block)

        task = asyncio.create_task(reader(engine), name="reader")
        assert await asyncio.to_thread(started.wait, 10)
        (holder,) = TypedPool.of(engine).holders()
        end.set()
        await task
        await engine.dispose()
        assert holder.task == "reader"
        assert_at(holder, reader, "async for")
        name = reader.__name__.replace("read_first", "blocked")
        assert holder.query == f"{__name__}.{name}"

    asyncio.run(main())


@THRESHOLDS
def test_wrappers_of_the_application_are_its_code(threshold: float | None) -> None:
    async def main() -> None:
        async with slow_engine(threshold) as engine:
            function = wrapped(nothing)
            holder = await holder_of(engine, function(engine))
            assert holder.where is not None
            assert "await function(db)" in inspect.getsource(wrapped)
            assert holder.where.endswith("in wrapper")
            assert holder.query == f"{__name__}.nothing"

    run(main())


@THRESHOLDS
def test_a_query_inside_the_applications_context_manager_shows_its_line(
    threshold: float | None,
) -> None:
    @asynccontextmanager
    async def emptied(db: Any) -> AsyncIterator[None]:
        await nothing(db)
        yield

    async def caller(db: Any) -> None:
        async with emptied(db):
            pass

    async def main() -> None:
        async with slow_engine(threshold) as engine:
            holder = await holder_of(engine, caller(engine))
            assert holder.where is not None
            assert holder.where.endswith("in emptied")
            assert holder.query == f"{__name__}.nothing"

    run(main())


@THRESHOLDS
def test_the_first_statement_of_a_session_shows_the_line_that_calls_the_query(
    threshold: float | None,
) -> None:
    async def caller(db: Any) -> None:
        async with AsyncSession(db) as session:
            await nothing(session)

    async def main() -> None:
        async with slow_engine(threshold) as engine:
            holder = await holder_of(engine, caller(engine))
            assert_at(holder, caller, "await nothing")
            assert holder.query == f"{__name__}.nothing"

    run(main())


@THRESHOLDS
@pytest.mark.parametrize("name", [*CALLS, "with_timeout"])
def test_a_task_made_of_a_querys_coroutine_shows_no_line_and_the_querys_name(
    name: str, threshold: float | None
) -> None:
    """Neither the declaration nor the line that runs the event loop."""

    async def main() -> None:
        async with slow_engine(threshold) as engine:
            call: Any = {**CALLS, "with_timeout": with_timeout}[name](engine)
            task = asyncio.create_task(call, name="borrower")
            await asyncio.sleep(1)
            (holder,) = TypedPool.of(engine).holders()
            assert (holder.where, holder.query) == (None, f"{__name__}.{name}")
            assert str(holder) == f"borrower for 1.0 s in query {__name__}.{name}"
            await asyncio.wait({task})
            _ = task.exception()

    run(main())


@THRESHOLDS
def test_a_holder_that_calls_no_query_has_no_query(threshold: float | None) -> None:
    async def caller(db: AsyncEngine) -> None:
        async with db.connect():
            await asyncio.sleep(60)

    async def main() -> None:
        async with slow_engine(threshold) as engine:
            holder = await holder_of(engine, caller(engine))
            assert_at(holder, caller, "db.connect()" if threshold else "asyncio.sleep")
            assert holder.query is None
            assert "query" not in str(holder)

    run(main())


def test_a_task_that_lists_the_holders_is_listed_with_its_own_line() -> None:
    async def caller(db: AsyncEngine) -> Holder:
        async with db.connect():
            (holder,) = TypedPool.of(db).holders()
        return holder

    async def main() -> None:
        async with slow_engine(None) as engine:
            assert_at(await caller(engine), caller, ".holders()")

    run(main())


def test_a_leak_names_the_callers_line_and_the_query(caplog: pytest.LogCaptureFixture) -> None:
    async def caller(db: Any) -> None:
        await nothing(db)

    async def main() -> None:
        async with slow_engine(30) as engine:
            await caller(engine)

    run(main())
    (leak, returned) = [each.getMessage() for each in caplog.records]
    assert f"in query {__name__}.nothing at {__file__}:" in leak
    assert "in caller" in leak
    assert "leak returned: the connection was held by " in returned


def test_generated_code_is_not_the_applications_code() -> None:
    """A mapper, and any other function that belongs to no module."""
    space: dict[str, Any] = {"call_site": call_sites.call_site, "found": []}
    exec("def decode(value): found.append(call_site(None)); return value", space)
    converted(Annotated[int, Decode(space["decode"])], 7)
    (site,) = space["found"]
    assert site.code is sys._getframe().f_code
    assert site.where is not None
    assert site.where.endswith("in test_generated_code_is_not_the_applications_code")
