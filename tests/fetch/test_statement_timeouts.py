"""What `StatementTimeout` reports: the stage, and why the call had no connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.pool import AsyncAdaptedQueuePool

from sqla_typedpool import (
    Executor,
    PoolTimeout,
    StatementTimeout,
    TypedPool,
    execute,
    fetch_all,
    fetch_one,
    fetch_optional,
    holder_label,
    query,
    stream,
)
from sqla_typedpool.pool.call_limits import call_limit
from tests.support.engines import until
from tests.support.fake_driver import (
    Connect,
    FakeConnection,
    Server,
    assert_full_capacity,
    new_engine,
    open_idle,
    refused,
)
from tests.support.fetch_lab import LABS, Lab, lab_of
from tests.support.virtual_clock import now, run

SQL = "DELETE FROM users"


@asynccontextmanager
async def engine_on(server: Server, **options: Any) -> AsyncIterator[AsyncEngine]:
    engine = new_engine(server, **{"pool_size": 1, "max_overflow": 0, **options})
    yield engine
    assert TypedPool.of(engine).stats().in_use == 0
    await engine.dispose()


async def timeout_of(work: Awaitable[Any]) -> StatementTimeout:
    with pytest.raises(StatementTimeout) as raised:
        await work
    assert "\n" not in str(raised.value)
    return raised.value


def counted(engine: AsyncEngine) -> tuple[int, int]:
    stats = TypedPool.of(engine).stats()
    return stats.timeouts, stats.cancelled


async def read(rows: Any) -> None:
    async for _ in rows:
        pass


async def in_session(db: AsyncEngine, timeout: float) -> None:
    """The session checks its connection out in the call."""
    async with AsyncSession(db) as session:
        await execute(session, SQL, timeout=timeout)


CALLS: dict[str, Callable[[AsyncEngine, float], Awaitable[Any]]] = {
    "fetch_all": lambda db, timeout: fetch_all(db, int, SQL, timeout=timeout),
    "fetch_one": lambda db, timeout: fetch_one(db, int, SQL, timeout=timeout),
    "fetch_optional": lambda db, timeout: fetch_optional(db, int, SQL, timeout=timeout),
    "execute": lambda db, timeout: execute(db, SQL, timeout=timeout),
    "stream": lambda db, timeout: read(stream(db, int, SQL, timeout=timeout)),
    "session": in_session,
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


# ------------------------------------------------------------------------------------- the stages


@calls
def test_a_call_that_queued_names_the_pool_its_numbers_and_its_holders(call: Any) -> None:
    async def main() -> None:
        async with engine_on(Server(), pool_timeout=30) as engine:
            with holder_label("GET /reports"):
                holder = await engine.connect()
            error = await timeout_of(call(engine, 2))
            assert now() == pytest.approx(2)
            assert (error.stage, error.timeout) == ("queueing", 2)
            assert str(error).startswith(
                f"pool {TypedPool.of(engine).shared.name}: "
                "no connection within 2.00 s (timeout=2, pool_timeout=30), while queueing: "
                "1 in use, 0 idle, 0 connecting, 1 waiting, max 1; "
                "held longest by GET /reports (Task-"
            )
            assert f"; not sent: {SQL}; next: shorten what the holders do" in str(error)
            assert "(a nested checkout: " in str(error)
            assert [each.label for each in error.holders] == ["GET /reports"]
            assert error.retry_after == pytest.approx(2)  # the age of the only use
            assert error.__cause__ is None
            assert error.__suppress_context__
            assert counted(engine) == (1, 0)
            await holder.close()

    run(main())


@calls
def test_the_last_connect_error_is_the_cause(call: Any) -> None:
    async def main() -> None:
        server = Server(usual=Connect(error=refused))
        async with engine_on(server) as engine:
            error = await timeout_of(call(engine, 2))
            assert error.stage == "connecting"
            assert isinstance(error.__cause__, ConnectionRefusedError)
            assert "; last connect error: ConnectionRefusedError(111, " in str(error)
            assert str(error).endswith("; next: check the server and the network")
            assert counted(engine) == (1, 0)

    run(main())


@calls
def test_a_silent_connect_and_a_silent_ping_are_named(call: Any) -> None:
    async def main() -> None:
        async with engine_on(Server(usual=Connect(silent=True))) as engine:
            error = await timeout_of(call(engine, 0.5))
            assert (error.stage, error.holders) == ("connecting", ())
        server = Server()
        async with engine_on(server, pool_validate_after=0) as engine:
            (connection,) = await open_idle(engine.pool, 1)
            connection.hang.add("ping")
            error = await timeout_of(call(engine, 0.5))
            assert error.stage == "validating"
            assert counted(engine) == (1, 0)

    run(main())


def slow(connection: FakeConnection) -> None:
    connection.slow["execute"] = 60


@pytest.mark.parametrize("kind", ["engine", "connection", "session"])
def test_a_call_that_executes_has_no_holders_and_no_cause(kind: str) -> None:
    async def main() -> None:
        async with engine_on(Server(usual=Connect(on_open=slow))) as engine:
            if kind == "engine":
                error = await timeout_of(execute(engine, SQL, timeout=2))
            elif kind == "connection":
                async with engine.connect() as connection:
                    error = await timeout_of(execute(connection, SQL, timeout=2))
            else:
                async with AsyncSession(engine) as session:
                    error = await timeout_of(execute(session, SQL, timeout=2))
            assert (error.stage, error.timeout, error.holders) == ("executing", 2, ())
            assert str(error) == (
                f"the call did not finish within 2 s (timeout=2), while executing: {SQL}; "
                "next: check the server for locks and slow statements, or raise the timeout"
            )
            assert error.__cause__ is None
            assert counted(engine) == (0, 0)

    run(main())


def test_an_earlier_connect_error_is_no_cause_of_a_slow_statement() -> None:
    async def main() -> None:
        server = Server().script(Connect(error=refused))
        server.usual = Connect(on_open=slow)
        async with engine_on(server) as engine:
            error = await timeout_of(execute(engine, SQL, timeout=5))
            assert (error.stage, error.__cause__) == ("executing", None)

    run(main())


def test_a_reconnect_for_a_checkout_listener_is_connecting() -> None:
    async def main() -> None:
        server = Server().script(Connect(), Connect(silent=True))
        async with engine_on(server) as engine:

            @event.listens_for(engine.sync_engine, "checkout", once=True)
            def reject(*_: Any) -> None:
                raise exc.DisconnectionError

            error = await timeout_of(execute(engine, SQL, timeout=2))
            assert error.stage == "connecting"
            assert counted(engine) == (1, 0)

    run(main())


def test_an_engine_with_another_pool_has_no_numbers() -> None:
    async def main() -> None:
        engine = new_engine(Server(), poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0)
        async with engine.connect():
            error = await timeout_of(execute(engine, SQL, timeout=2))
        assert (error.stage, error.holders) == ("executing", ())
        assert "in use" not in str(error)
        await engine.dispose()

    run(main(), tolerant=True)


# --------------------------------------------------------------------------- the limits together


@calls
def test_the_shorter_of_timeout_and_pool_timeout_applies_and_both_are_named(call: Any) -> None:
    async def main() -> None:
        async with engine_on(Server(), pool_timeout=2) as engine, engine.connect():
            with pytest.raises(PoolTimeout, match=r"\(pool_timeout=2, timeout=5\)"):
                await call(engine, 5)
            assert now() == pytest.approx(2)
            error = await timeout_of(call(engine, 1))
            assert "(timeout=1, pool_timeout=2)" in str(error)
            assert now() == pytest.approx(3)
            assert counted(engine) == (2, 0)

    run(main())


def test_a_pool_without_a_deadline_is_named_as_such() -> None:
    async def main() -> None:
        async with engine_on(Server(), pool_timeout=None) as engine, engine.connect():
            error = await timeout_of(execute(engine, SQL, timeout=1))
            assert "(timeout=1, pool_timeout=None)" in str(error)

    run(main())


@pytest.mark.parametrize("delay", [1.999, 2.0, 2.001])
def test_a_cancellation_at_the_same_time_is_a_cancellation(delay: float) -> None:
    async def main() -> None:
        server = Server()
        async with engine_on(server) as engine:
            async with engine.connect():
                task = asyncio.ensure_future(execute(engine, SQL, timeout=2))
                await asyncio.sleep(0)
                asyncio.get_running_loop().call_later(delay, task.cancel)
                await asyncio.wait({task})
                if delay <= 2:
                    assert task.cancelled()
                else:
                    assert isinstance(task.exception(), StatementTimeout)
                assert sum(counted(engine)) == 1
            await assert_full_capacity(engine.pool, server, 1)

    run(main())


def test_an_application_that_cancels_a_call_with_a_timeout_counts_as_cancelled() -> None:
    async def main() -> None:
        async with engine_on(Server()) as engine, engine.connect():
            task = asyncio.ensure_future(execute(engine, SQL, timeout=20))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(execute(engine, SQL), 1)
            assert counted(engine) == (0, 2)

    run(main())


def test_a_call_leaves_no_limit_behind() -> None:
    async def main() -> None:
        async with engine_on(Server()) as engine:
            await execute(engine, SQL, timeout=5)
            assert call_limit.get() is None
            async with engine.connect():
                await timeout_of(execute(engine, SQL, timeout=1))
                assert call_limit.get() is None
                with pytest.raises(PoolTimeout, match=r"\(pool_timeout=30\)"):
                    await execute(engine, SQL)

    run(main())


def test_a_timeout_error_of_the_driver_is_not_that_of_the_call() -> None:
    async def main() -> None:
        server = Server()
        async with engine_on(server) as engine:
            (connection,) = await open_idle(engine.pool, 1)
            connection.fails["execute"] = lambda: asyncio.TimeoutError("of the driver")
            with pytest.raises(asyncio.TimeoutError, match="of the driver"):
                await execute(engine, SQL, timeout=5)

    run(main())


def test_many_calls_that_time_out_together_lose_no_slot() -> None:
    async def main() -> None:
        server = Server()
        async with engine_on(server, pool_size=2) as engine:
            async with engine.connect(), engine.connect():
                tasks = [
                    asyncio.ensure_future(timeout_of(execute(engine, SQL, timeout=2)))
                    for _ in range(200)
                ]
                errors = await asyncio.gather(*tasks)
            assert {error.stage for error in errors} == {"queueing"}
            assert counted(engine) == (200, 0)
            await assert_full_capacity(engine.pool, server, 2)

    run(main())


# ------------------------------------------------------------------------------- declared queries


@query(SQL, timeout=2)
async def delete_all(db: Executor) -> None:
    raise NotImplementedError


@query("SELECT 1", timeout=2)
def all_ids(db: Executor) -> AsyncIterator[int]:
    raise NotImplementedError


@pytest.mark.parametrize("function", [delete_all, all_ids])
def test_a_timeout_names_the_declared_query(function: Any) -> None:
    async def main() -> None:
        async with engine_on(Server()) as engine, engine.connect():
            result = function(engine)
            error = await timeout_of(read(result) if function is all_ids else result)
            name = f"{__name__}.{function.__name__}"
            assert error.query == name
            assert str(error).startswith(f"query {name}: pool ")

    run(main())


# -------------------------------------------------------------------------------- on each driver


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return lab_of(request, tmp_path)


def test_a_full_pool_is_reported_on_each_driver(lab: Lab) -> None:
    async def main() -> None:
        async with lab.engine_on() as engine:
            pool = TypedPool.of(engine)
            async with engine.connect(), engine.connect():
                for work in (
                    fetch_one(engine, int, "SELECT 1", timeout=0.1),
                    read(stream(engine, int, "SELECT 1", timeout=0.1)),
                    execute(engine, "SELECT 1", timeout=0.1),
                ):
                    error = await timeout_of(work)
                    assert error.stage == "queueing"
                    assert len(error.holders) == 2
                    assert pool.shared.name in str(error)
            assert (pool.stats().timeouts, pool.stats().cancelled) == (3, 0)
            assert await fetch_one(engine, int, "SELECT 1", timeout=20) == 1
            assert await until(lambda: pool.stats().in_use == 0, 5)

    asyncio.run(main())
