"""What ``@query`` adds to the ``fetch_*`` call it makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from benchmarks.interleave import Goal, Reading, Turn
from sqla_typedpool import Executor, TypedPool, fetch_one, query
from sqla_typedpool.fetch import routes

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Runner

SQL = "SELECT CAST(:a AS int) + CAST(:b AS int)"


@query(SQL)
async def add(db: Executor, *, a: int, b: int) -> int:
    raise NotImplementedError


class Repo:
    @query(SQL)
    async def add(self, db: Executor, *, a: int, b: int) -> int:
        raise NotImplementedError


async def mean(call: Callable[[], Awaitable[object]], times: int) -> float:
    """Microseconds of one call."""
    started = perf_counter()
    for _ in range(times):
        await call()
    return (perf_counter() - started) / times * 1e6


def timed(call: Callable[[], Awaitable[object]], times: int) -> Turn:
    async def turn() -> Reading:
        return {"us": await mean(call, times)}

    return turn


def more(
    call: Callable[[], Awaitable[object]], than: Callable[[], Awaitable[object]], times: int
) -> Turn:
    """By how much `call` is slower than `than`, measured in alternating portions of 100 calls."""

    async def turn() -> Reading:
        portions = [(await mean(call, 100), await mean(than, 100)) for _ in range(times // 100)]
        return {"us": sum(one - other for one, other in portions) / len(portions)}

    return turn


def test_a_call_without_a_database(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decorator alone: the layer below it is replaced and returns at once."""

    async def answer(*_: Any) -> list[int]:
        return [3]

    monkeypatch.setattr(routes, "fetch", answer)
    db: Any = None
    repo = Repo()
    plain = lambda: fetch_one(db, int, SQL, {"a": 1, "b": 2})  # noqa: E731
    function = lambda: add(db, a=1, b=2)  # noqa: E731
    method = lambda: repo.add(db, a=1, b=2)  # noqa: E731
    times = runner.scaled(20_000, 200)
    runner.compare(
        "a declared query, without a database",
        {
            "fetch_one": timed(plain, times),
            "query": timed(function, times),
            "query more than fetch_one": more(function, plain, times),
            "method more than fetch_one": more(method, plain, times),
        },
        [
            Goal("us", "query more than fetch_one", 2.0),
            Goal("us", "method more than fetch_one", 2.0),
        ],
    )


@pytest.fixture
def connection(runner: Runner, server: URL) -> Iterator[AsyncConnection]:
    engine = create_async_engine(server, poolclass=TypedPool)
    opened = runner.loop.run_until_complete(engine.connect().start())
    yield opened
    runner.loop.run_until_complete(opened.close())
    runner.loop.run_until_complete(engine.dispose())


def test_a_call_on_an_open_connection(runner: Runner, connection: AsyncConnection) -> None:
    """The same with a round trip to the server."""
    times = runner.scaled(200, 10)
    runner.compare(
        "a declared query, open connection",
        {
            "fetch_one": timed(lambda: fetch_one(connection, int, SQL, {"a": 1, "b": 2}), times),
            "query": timed(lambda: add(connection, a=1, b=2), times),
        },
        [Goal("us", "query", compared_to="fetch_one")],
    )
