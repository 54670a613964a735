"""The connection of a cancelled statement is kept, or closed if a rollback does not undo it all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sqla_typedpool import TypedPool
from sqla_typedpool._sqlalchemy.greenlets import await_only
from sqla_typedpool.pool.drivers.base import NotReusable, Probe, SetAside
from tests.support.fake_driver import (
    Disconnect,
    FakeAdapter,
    FakeConnection,
    FakeDriver,
    Server,
    assert_only_idle,
    borrow,
    change_driver,
    dispose,
    give_back,
    loop_pool,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import run

EVENTS = ("checkout", "checkin", "reset", "invalidate", "close")
Step = Callable[[AsyncEngine, AsyncConnection], Awaitable[None]]


@pytest.fixture(autouse=True)
def fake_driver_keeps_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    change_driver(monkeypatch, set_aside=set_aside)


def set_aside(driver: FakeDriver, connection: FakeConnection, adapted: Any, record: Any) -> Any:
    async def end_statement() -> None:
        await connection._run("end")
        connection.in_transaction = False

    return SetAside(FakeAdapter(connection), end_statement)


def events_of(pool: Any) -> list[str]:
    """The names of the pool's events from now on."""
    seen: list[str] = []
    for name in EVENTS:
        event.listen(pool, name, lambda *_, name=name: seen.append(name))
    return seen


async def cancel_statement(
    engine: AsyncEngine, server: Server, before: Step | None = None
) -> FakeConnection:
    """Cancel a statement on the connection that was opened last; return that connection.

    :param before: what the borrower does before the statement.
    """
    started = asyncio.Event()

    async def borrower() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("first"))
            if before is not None:
                await before(engine, connection)
            server.connections[-1].hang.add("execute")
            started.set()
            await connection.execute(text("second"))

    task = asyncio.ensure_future(borrower())
    await started.wait()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.connections[-1].hang.discard("execute")
    return server.connections[-1]


def on_engine(main: Callable[[AsyncEngine, Server], Awaitable[None]], **options: Any) -> None:
    """Run a test with an engine of one connection."""

    async def with_engine() -> None:
        server = Server()
        engine = new_engine(server, **{"pool_size": 1, "max_overflow": 0, **options})
        await main(engine, server)
        await engine.dispose()
        assert server.sockets == 0

    run(with_engine())


# ------------------------------------------------------------------------------- kept


def test_the_connection_of_a_cancelled_statement_serves_the_next_borrower() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        seen = events_of(engine.sync_engine.pool)
        connection = await cancel_statement(engine, server)
        assert seen[:2] == ["checkout", "checkin"]
        assert TypedPool.of(engine).stats().in_use == 0
        async with engine.connect():
            pass
        assert seen == ["checkout", "checkin", "reset", "checkout", "reset", "checkin"]
        stats = TypedPool.of(engine).stats()
        assert (stats.connects, stats.kept_cancelled, stats.dirty_returns) == (1, 1, 0)
        assert connection.calls["end"] == 1
        assert connection.calls["ping"] == 0  # the end of the statement is the ping
        assert_only_idle(engine.sync_engine.pool, server)

    on_engine(main)


def test_the_return_of_a_cancelled_borrower_has_no_connection_and_the_reset_has_one() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        old: list[Any] = []
        given: list[Any] = []
        event.listen(engine.sync_engine.pool, "checkout", lambda adapted, *_: old.append(adapted))
        event.listen(engine.sync_engine.pool, "checkin", lambda adapted, _: given.append(adapted))
        event.listen(engine.sync_engine.pool, "reset", lambda *args: given.append(args))
        await cancel_statement(engine, server)
        await asyncio.sleep(0.1)
        checked_in, (adapted, record, state) = given
        assert checked_in is None
        assert adapted is record.dbapi_connection
        assert adapted is not old[0]
        assert state.transaction_was_reset
        assert not state.terminate_only

    on_engine(main)


def test_record_and_info_belong_to_a_kept_connection_as_before() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        async def write(_: AsyncEngine, connection: AsyncConnection) -> None:
            raw = await connection.get_raw_connection()
            raw.info["mine"] = 1

        await cancel_statement(engine, server, write)
        async with engine.connect() as connection:
            assert (await connection.get_raw_connection()).info == {"mine": 1}

    on_engine(main)


def test_a_waiter_gets_the_connection_of_the_cancelled_borrower() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        waiters: list[asyncio.Task[None]] = []

        async def wait() -> None:
            async with engine.connect():
                pass

        async def start_waiter(*_: Any) -> None:
            waiters.append(asyncio.ensure_future(wait()))

        await cancel_statement(engine, server, start_waiter)
        await asyncio.wait_for(waiters[0], 1)
        assert len(server.attempts) == 1

    on_engine(main)


def test_a_return_whose_rollback_is_cancelled_costs_no_connection() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        (connection,) = server.connections
        connection.in_transaction = True
        connection.hang.add("rollback")
        task = asyncio.ensure_future(give_back(fairy))
        await asyncio.sleep(0.1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        connection.hang.clear()
        await use(pool)
        assert (len(server.attempts), pool.stats().kept_cancelled) == (1, 1)
        assert_only_idle(pool, server)

    run(main())


def test_what_sqlalchemy_undoes_at_a_return_is_undone_on_the_new_adapter() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        undone: list[Any] = []

        async def change_isolation(_: AsyncEngine, connection: AsyncConnection) -> None:
            raw: Any = await connection.get_raw_connection()
            raw._connection_record.finalize_callback.append(undone.append)

        await cancel_statement(engine, server, change_isolation)
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            assert undone == [raw.dbapi_connection]
        assert len(undone) == 1

    on_engine(main)


def test_a_transaction_that_a_reset_listener_begins_is_rolled_back() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        def begin(adapted: Any, *_: Any) -> None:
            adapted._connection.in_transaction = True

        event.listen(engine.sync_engine.pool, "reset", begin, once=True)
        connection = await cancel_statement(engine, server)
        await asyncio.sleep(0.1)
        assert not connection.in_transaction
        assert TypedPool.of(engine).stats().kept_cancelled == 1

    on_engine(main)


# ---------------------------------------------------------------------------- refused


async def _nothing(*_: Any) -> None:
    pass


async def _change(_: AsyncEngine, connection: AsyncConnection) -> None:
    raw: Any = await connection.get_raw_connection()
    raw._connection_record.note_change()  # as a commit does


async def _read_driver_connection(_: AsyncEngine, connection: AsyncConnection) -> None:
    assert (await connection.get_raw_connection()).driver_connection is not None


async def _outlive(engine: AsyncEngine, _: AsyncConnection) -> None:
    await asyncio.sleep(20)


async def _dispose(engine: AsyncEngine, _: AsyncConnection) -> None:
    await engine.dispose(close=False)
    await dispose(_pool_of(_))


def _pool_of(connection: AsyncConnection) -> Any:
    return connection.sync_connection.connection._pool  # type: ignore[union-attr]


async def _retire(engine: AsyncEngine, _: AsyncConnection) -> None:
    TypedPool.of(engine).retire_all()


async def _soft_invalidate(_: AsyncEngine, connection: AsyncConnection) -> None:
    (await connection.get_raw_connection()).invalidate(soft=True)


async def _doubt(engine: AsyncEngine, _: AsyncConnection) -> None:
    await asyncio.sleep(0.1)
    loop_pool(TypedPool.of(engine)).validator.revalidate_all()


async def _stop_accepting(engine: AsyncEngine, _: AsyncConnection) -> None:
    closing = asyncio.ensure_future(TypedPool.of(engine).close())
    closing.add_done_callback(lambda task: task.result())
    await asyncio.sleep(0.1)


REFUSED: dict[str, tuple[Step, dict[str, Any]]] = {
    "switched off": (_nothing, {"pool_keep_cancelled": False}),
    "no reset": (_nothing, {"pool_reset_on_return": None}),
    "changed": (_change, {}),
    "driver's connection": (_read_driver_connection, {}),
    "expired": (_outlive, {"pool_max_lifetime": 10}),
    "retired": (_retire, {}),
    "disposed": (_dispose, {}),
    "invalidated softly": (_soft_invalidate, {}),
    "doubted": (_doubt, {}),
    "pool closed": (_stop_accepting, {}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_connection_is_closed_as_before_if(reason: str) -> None:
    before, options = REFUSED[reason]

    async def main(engine: AsyncEngine, server: Server) -> None:
        pool = engine.sync_engine.pool
        seen = events_of(pool)
        connection = await cancel_statement(engine, server, before)
        await asyncio.sleep(0.1)
        assert connection.is_closed
        assert connection.calls["end"] == 0
        assert seen == ["checkout", "invalidate", "close", "checkin"]
        stats: Any = pool.stats()  # type: ignore[attr-defined]
        assert (stats.kept_cancelled, stats.size) == (0, 0)

    on_engine(main, **options)


def test_a_driver_that_cannot_keep_a_connection_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    change_driver(monkeypatch)

    async def main(engine: AsyncEngine, server: Server) -> None:
        connection = await cancel_statement(engine, server)
        await asyncio.sleep(0.1)
        assert connection.is_closed

    on_engine(main)


def test_what_an_earlier_borrower_did_closes_no_connection() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        async with engine.connect() as connection:
            await _change(engine, connection)
            await _read_driver_connection(engine, connection)
        await asyncio.sleep(0.1)
        await cancel_statement(engine, server)
        await use(engine.sync_engine.pool)
        assert len(server.attempts) == 1

    on_engine(main)


@pytest.mark.parametrize("error", [None, asyncio.CancelledError()])
def test_the_applications_own_invalidate_closes_the_connection(error: Any) -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        async with engine.connect() as connection:
            await connection.execute(text("first"))
            await connection.invalidate(error)
        assert server.connections[0].is_closed
        assert server.count("end") == 0

    on_engine(main)


def test_an_invalidate_in_a_handler_of_the_cancellation_closes_the_connection() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        async def borrower() -> None:
            async with engine.connect() as connection:
                await connection.execute(text("first"))
                try:
                    await asyncio.sleep(10)
                except asyncio.CancelledError as error:
                    await connection.run_sync(partial(Connection.invalidate, exception=error))
                    raise

        task = asyncio.ensure_future(borrower())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.connections[0].is_closed

    on_engine(main)


def test_a_checkout_listener_that_is_cancelled_closes_the_connection() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        def wait(adapted: Any, *_: Any) -> None:
            await_only(asyncio.sleep(10))

        event.listen(engine.sync_engine.pool, "checkout", wait)
        task = asyncio.ensure_future(borrow(engine.sync_engine.pool))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.1)
        assert server.connections[0].is_closed
        assert server.count("end") == 0

    on_engine(main)


# ------------------------------------------------------------------------ what goes wrong


def test_a_statement_that_does_not_end_within_two_seconds_costs_its_connection() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        loop, seen, errors = asyncio.get_running_loop(), [], []
        pool = engine.sync_engine.pool
        seen = events_of(pool)
        event.listen(pool, "invalidate", lambda *args: errors.append(args[2]))

        async def never_ends(*_: Any) -> None:
            server.connections[0].hang.add("end")

        await cancel_statement(engine, server, never_ends)
        cancelled_at = loop.time()
        await use(pool)
        assert loop.time() - cancelled_at == pytest.approx(2.0, abs=0.01)
        assert server.connections[0].is_closed
        assert seen[:4] == ["checkout", "checkin", "invalidate", "close"]
        assert [type(error) for error in errors] == [asyncio.CancelledError]
        stats = TypedPool.of(engine).stats()
        assert (stats.kept_cancelled, stats.closed["invalidated"], stats.connects) == (0, 1, 2)

    on_engine(main)


def test_waiters_do_not_wait_for_a_statement_that_ends_slowly_while_a_slot_is_free() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        async def ends_slowly(*_: Any) -> None:
            server.connections[0].slow["end"] = 1.5

        await cancel_statement(engine, server, ends_slowly)
        loop = asyncio.get_running_loop()
        before = loop.time()
        connection = await use(engine.sync_engine.pool)
        assert connection is server.connections[1]
        assert loop.time() - before < 0.1
        await asyncio.sleep(2)
        assert TypedPool.of(engine).stats().idle == 2

    on_engine(main, pool_size=2)


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_connection_that_is_lost_meanwhile_makes_the_others_suspect(is_silent: bool) -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=2, max_overflow=0)
        pool = engine.sync_engine.pool
        await open_idle(pool, 2)
        await asyncio.sleep(0.1)

        async def lose(*_: Any) -> None:
            if is_silent:
                server.connections[-1].hang.add("end")
            else:
                server.connections[-1].fails["end"] = lambda: Disconnect("in a test")
                server.connections[-1].probe_result = Probe.DEAD

        await cancel_statement(engine, server, lose)
        await asyncio.sleep(3)
        assert server.connections[-1].is_closed
        assert server.connections[0].calls["ping"] == 1
        await engine.dispose()

    run(main())


def test_a_connection_that_answers_but_cannot_be_used_is_closed_and_the_others_are_not_pinged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        await open_idle(engine.sync_engine.pool, 2)
        await asyncio.sleep(0.1)

        async def fail(*_: Any) -> None:
            server.connections[-1].fails["end"] = lambda: NotReusable("in a test")

        connection = await cancel_statement(engine, server, fail)
        await asyncio.sleep(0.1)
        assert connection.is_closed
        assert connection.calls["end"] == 1
        assert server.count("ping") == 0

    on_engine(main, pool_size=2)


def test_a_connection_that_is_still_in_a_transaction_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def set_aside_only(driver: Any, connection: Any, adapted: Any, record: Any) -> SetAside:
        return SetAside(FakeAdapter(connection), _nothing)

    async def main(engine: AsyncEngine, server: Server) -> None:
        async def begin(*_: Any) -> None:
            server.connections[-1].in_transaction = True
            server.connections[-1].fails["rollback"] = lambda: ValueError("in a test")

        connection = await cancel_statement(engine, server, begin)
        await asyncio.sleep(0.1)
        assert connection.is_closed

    change_driver(monkeypatch, set_aside=set_aside_only)
    on_engine(main)


@pytest.mark.parametrize("name", ["checkin", "reset"])
def test_a_listener_that_fails_costs_the_connection_and_no_slot(name: str) -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        def fail(*_: Any) -> None:
            raise ValueError("in a test")

        event.listen(engine.sync_engine.pool, name, fail, once=True)
        task = asyncio.ensure_future(cancel_statement(engine, server))
        await asyncio.wait({task})
        await asyncio.sleep(0.1)
        task.exception()
        assert server.connections[0].is_closed
        server.connections[0].hang.clear()
        await use(engine.sync_engine.pool)
        assert_only_idle(engine.sync_engine.pool, server)

    on_engine(main)


# ------------------------------------------------------------------ the pool ends meanwhile


@pytest.mark.parametrize("how", ["dispose", "close"])
def test_a_pool_that_ends_meanwhile_waits_for_the_statement_and_closes_the_connection(
    how: str,
) -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        async def ends_slowly(*_: Any) -> None:
            server.connections[0].slow["end"] = 1.0

        connection = await cancel_statement(engine, server, ends_slowly)
        if how == "dispose":
            await dispose(engine.sync_engine.pool)
        else:
            await TypedPool.of(engine).close()
        assert connection.is_closed
        assert server.sockets == 0

    on_engine(main)


def test_an_event_loop_that_ends_meanwhile_closes_the_connection() -> None:
    server = Server()

    async def main() -> None:
        engine = new_engine(server, pool_size=1, max_overflow=0)

        async def never_ends(*_: Any) -> None:
            server.connections[0].hang.add("end")

        await cancel_statement(engine, server, never_ends)

    run(main())
    assert server.sockets == 0


def test_a_kept_connection_is_counted_as_busy_until_the_statement_has_ended() -> None:
    async def main(engine: AsyncEngine, server: Server) -> None:
        async def ends_slowly(*_: Any) -> None:
            server.connections[0].slow["end"] = 1.0

        await cancel_statement(engine, server, ends_slowly)
        stats = TypedPool.of(engine).stats()
        assert (stats.size, stats.idle, stats.in_use, stats.kept_cancelled) == (1, 0, 0, 0)
        assert TypedPool.of(engine).holders() == []
        await asyncio.sleep(1.1)
        assert TypedPool.of(engine).stats().idle == 1

    on_engine(main)
