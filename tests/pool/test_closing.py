"""Guarantees 5, 7, 10 and 12: returns, bounded closes, dispose, close, the end of a loop."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, exc

from sqla_typedpool import PoolClosed, TypedPool
from sqla_typedpool._sqlalchemy.greenlets import await_only, greenlet_spawn
from tests.support.fake_driver import (
    Connect,
    FakeAdapter,
    FakeConnection,
    Server,
    assert_full_capacity,
    assert_only_idle,
    borrow,
    borrowed,
    change_driver,
    dispose,
    driver_of,
    give_back,
    new_dialect,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import (
    VirtualLoop,
    collect_garbage,
    loop_iterations,
    now,
    run,
    virtual_loop,
)

LOGGER = "sqla_typedpool"
ROOT = Path(__file__).parents[2]


# ------------------------------------------------------------------- the return


def test_a_return_serves_the_oldest_waiter_without_a_loop_iteration() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, reset_on_return=None)
        first = await borrow(pool)
        waiter = asyncio.ensure_future(borrow(pool))
        await loop_iterations(5)
        before = virtual_loop().steps
        await give_back(first)
        assert virtual_loop().steps == before
        assert pool.checkedout() == 1
        await give_back(await waiter)

    run(main())


def test_an_overflow_connection_is_closed_on_return_unless_a_task_waits() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=1)
        first, second = await borrow(pool), await borrow(pool)
        waiter = asyncio.ensure_future(borrow(pool))
        await loop_iterations(5)
        await give_back(first)
        third = await waiter
        await give_back(second)
        assert pool.stats().idle == 1
        await give_back(third)
        await asyncio.sleep(0.1)
        assert pool.stats().idle == 1
        assert pool.stats().closed["overflow"] == 1
        assert_only_idle(pool, server)

    run(main())


def test_returning_a_connection_twice_warns_and_changes_nothing() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        fairy = await borrow(pool)
        record = fairy._connection_record
        await give_back(fairy)
        with pytest.warns(Warning, match="Double checkin"):
            record.checkin()
        assert_only_idle(pool, server)
        assert pool.stats().idle == 1
        await give_back(fairy)  # close() of a closed proxy does nothing
        assert_only_idle(pool, server)

    run(main())


def test_a_return_from_another_thread_serves_a_waiter() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=None)
        first = await borrow(pool)
        waiter = asyncio.ensure_future(borrow(pool))
        await loop_iterations(5)
        thread = threading.Thread(target=first._connection_record.checkin)
        thread.start()
        thread.join()
        await give_back(await waiter)
        await loop_iterations(3)
        assert_only_idle(pool, server)

    run(main())


def _new_pool_of(adapter: type[FakeAdapter], server: Server, **options: Any) -> Any:
    """A pool whose connections are presented by this class of adapter."""

    def connect() -> FakeAdapter:
        return adapter(await_only(server.connect()))

    return TypedPool(connect, dialect=new_dialect(), **options)


class RollsBackNothing(FakeAdapter):
    """Remembers no transaction, as the adapter of asyncpg does; its rollback then does nothing."""

    _transaction = None

    def __init__(self, connection: FakeConnection) -> None:
        super().__init__(connection)
        self.timers_at_rollback: list[int] = []

    def rollback(self) -> None:
        self.timers_at_rollback.append(_count_timers())


def _count_timers() -> int:
    loop: Any = virtual_loop()
    return sum(not each.cancelled() for each in loop._scheduled)


def test_a_return_rolls_back_once_and_sets_no_timer_when_nothing_was_begun() -> None:
    """An application may count the calls, or override the rollback of the adapter."""

    async def main() -> None:
        server = Server()
        pool = _new_pool_of(RollsBackNothing, server)
        for _ in range(3):
            fairy = await borrow(pool)
            adapter: Any = fairy.dbapi_connection
            before = _count_timers()
            await give_back(fairy)
            assert adapter.timers_at_rollback.pop() == before
            assert adapter.timers_at_rollback == []

    run(main())


class Interruption(BaseException):
    """Not an Exception, as KeyboardInterrupt."""


@pytest.mark.parametrize("error", [LookupError, Interruption])
def test_a_checkin_listener_that_raises_loses_no_slot(error: type[BaseException]) -> None:
    """What the listener was to do has not been done: the connection is not used again."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=5)
        failing = True

        @event.listens_for(pool, "checkin")
        def fail(connection: Any, record: Any) -> None:
            if failing:
                raise error

        fairy = await borrow(pool)
        old = driver_of(fairy)
        with pytest.raises(error):
            await give_back(fairy)
        failing = False
        fresh = await use(pool)
        assert fresh is not old
        assert now() < 0.1
        await asyncio.sleep(1)
        assert old.is_closed
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_a_return_cancelled_in_a_checkin_listener_loses_no_slot() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=5)
        reached = asyncio.Event()
        waiting = True

        @event.listens_for(pool, "checkin")
        def wait(connection: Any, record: Any) -> None:
            if waiting:
                reached.set()
                await_only(asyncio.sleep(100))

        fairy = await borrow(pool)
        old = driver_of(fairy)
        returning = asyncio.ensure_future(give_back(fairy))
        await reached.wait()
        waiting = False
        returning.cancel()
        await asyncio.wait({returning})
        assert returning.cancelled()
        assert (await use(pool)) is not old
        assert now() < 0.1
        await asyncio.sleep(1)
        assert old.is_closed
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_the_error_of_a_checkin_listener_reaches_the_user_of_an_engine_and_loses_no_slot() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=1, max_overflow=0, pool_timeout=5)
        failing = True

        @event.listens_for(engine.sync_engine, "checkin")
        def fail(connection: Any, record: Any) -> None:
            if failing:
                raise LookupError("a listener of the application")

        for _ in range(3):
            with pytest.raises(LookupError, match="a listener of the application"):
                async with engine.connect():
                    pass
        failing = False
        async with engine.connect():
            pass
        assert now() < 0.1
        assert len(server.attempts) == 4
        assert len(server.open) == 1
        assert_only_idle(engine.pool, server)
        await engine.dispose()

    run(main())


def _leak(pool: Any) -> Any:
    async def leak() -> Any:
        fairy = await borrow(pool)
        connection = driver_of(fairy)
        cycle: list[Any] = [fairy]
        cycle.append(cycle)
        return connection

    return leak()


def _collect_garbage_in(thread_name: str) -> None:
    if thread_name == "this thread":
        collect_garbage()
    else:
        thread = threading.Thread(target=collect_garbage)
        thread.start()
        thread.join()


@pytest.mark.parametrize("thread_name", ["this thread", "another thread"])
def test_a_leaked_connection_found_by_the_garbage_collector_frees_its_slot(
    thread_name: str,
) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=5)
        connection = await _leak(pool)
        waiter = asyncio.ensure_future(borrow(pool))
        await loop_iterations(5)
        with pytest.warns(Warning, match="garbage collector"):
            _collect_garbage_in(thread_name)
        fairy = await waiter
        assert now() < 1
        assert driver_of(fairy) is not connection
        assert connection.is_closed
        await give_back(fairy)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_a_leaked_connection_collected_after_its_loop_was_closed_raises_no_error() -> None:
    async def main() -> Any:
        pool = new_pool(Server())
        return [pool, await borrow(pool)]

    references = run(main())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy warns if the connection was still open
        references.pop()
        collect_garbage()
    assert references[0].checkedout() == 0


def test_a_detached_connection_frees_its_slot_and_is_closed_by_its_owner() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        detached = driver_of(fairy)
        fairy.detach()
        await loop_iterations()  # the slot comes back in the loop's next turn
        assert pool.checkedout() == 0
        await use(pool)
        assert not detached.is_closed
        await give_back(fairy)
        await asyncio.sleep(1)
        assert detached.is_closed
        assert pool.stats().closed["detached"] == 1
        assert_only_idle(pool, server)

    run(main())


@pytest.mark.parametrize("end", ["detach", "invalidate"])
def test_a_connection_that_has_left_the_pool_is_not_kept_alive_by_its_empty_entry(end: str) -> None:
    """The entry keeps `record_info`, and kept the local probe, which holds the connection."""

    async def main() -> None:
        pool = new_pool(Server(keep_ledger=False), pool_size=2)
        fairy = await borrow(pool)
        connection = weakref.ref(driver_of(fairy))
        await greenlet_spawn(getattr(fairy, end))
        await give_back(fairy)
        del fairy
        await asyncio.sleep(100)  # asyncio has dropped cancelled timers
        collect_garbage()
        assert pool.checkedin() == 1, "the entry is kept"
        assert connection() is None

    run(main())


@pytest.mark.parametrize("terminate", [True, False])
def test_closing_a_connection_that_the_pool_has_given_away_never_switches_to_another_task(
    terminate: bool,
) -> None:
    """The garbage collector closes connections too, in the middle of anything the pool does."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        fairy = await borrow(pool)
        adapter, connection = fairy.dbapi_connection, driver_of(fairy)
        connection.slow["close"] = 1
        fairy.detach()

        def close() -> int:
            before = virtual_loop().steps
            pool._close_connection(adapter, terminate=terminate)
            return virtual_loop().steps - before

        assert await greenlet_spawn(close) == 0
        assert not connection.is_closed
        await asyncio.sleep(1.5)
        assert connection.is_closed
        assert connection.calls["close"] == 1, "it is closed gracefully"
        await use(pool)
        assert_only_idle(pool, server)

    run(main())


def test_a_connection_collected_in_the_middle_of_a_checkout_is_closed_after_that_checkout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An await in the middle would hand one idle connection to two borrowers."""
    during_probe: list[Any] = []

    def make_probe(driver: Any, connection: FakeConnection) -> Any:
        def probe() -> int:
            while during_probe:
                during_probe.pop()()
            return connection.probe()

        return probe

    async def main() -> None:
        change_driver(monkeypatch, make_probe=make_probe)
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0, timeout=5)
        fairy = await borrow(pool)
        leaked = await _leak(pool)
        leaked.slow["close"] = 1
        await give_back(fairy)
        during_probe.append(collect_garbage)
        with pytest.warns(Warning, match="garbage collector"):
            fairies = await asyncio.gather(borrow(pool), borrow(pool))
        first, second = (driver_of(each) for each in fairies)
        assert first is not second
        assert leaked not in (first, second)
        for each in fairies:
            await give_back(each)
        await asyncio.sleep(2)
        assert leaked.is_closed
        assert_only_idle(pool, server)

    run(main())


# -------------------------------------------------------------- bounded returns


@pytest.mark.parametrize("bound", [1, 5])
def test_a_rollback_at_return_on_a_silent_server_ends_at_pool_reset_timeout(bound: float) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_reset_timeout=bound)
        fairy = await borrow(pool)
        silent = driver_of(fairy)
        silent.hang |= {"rollback", "close"}
        await give_back(fairy)
        assert now() == pytest.approx(bound, abs=0.1)
        assert pool.checkedout() == 0
        assert (await use(pool)) is not silent
        await asyncio.sleep(5)
        assert silent.is_closed
        assert_only_idle(pool, server)

    run(main())


def test_a_commit_at_return_is_bounded_but_a_commit_of_the_application_is_not() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_reset_timeout=1, pool_reset_on_return="commit")
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            raw.driver_connection.slow["commit"] = 3
            await connection.begin()
            await connection.commit()
            assert now() == pytest.approx(3, abs=0.01)
            raw.driver_connection.slow.clear()
            raw.driver_connection.hang |= {"commit"}
        assert now() == pytest.approx(4, abs=0.1)
        await asyncio.sleep(5)
        assert_only_idle(engine.pool, server)
        await engine.dispose()

    run(main())


def test_closing_an_engines_connection_on_a_silent_server_ends_at_pool_reset_timeout() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=1, max_overflow=0, pool_reset_timeout=2)
        connection = await engine.connect()
        await connection.begin()
        raw = await connection.get_raw_connection()
        raw.driver_connection.hang |= {"rollback", "close"}
        with suppress(exc.DBAPIError):  # the rollback has failed
            await connection.close()
        assert now() == pytest.approx(2, abs=0.1)
        assert TypedPool.of(engine).checkedout() == 0
        async with engine.connect():
            pass
        await engine.dispose()

    run(main())


def test_pools_recreated_on_one_dialect_do_not_add_up_their_bounds() -> None:
    """The pool wraps the rollback of its dialect, once for each dialect instance (guarantee 7)."""

    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_reset_timeout=1)
        for _ in range(20):
            await use(engine.pool)
            await engine.dispose()
        fairy = await borrow(engine.pool)
        driver_of(fairy).hang.add("rollback")
        await give_back(fairy)
        assert now() == pytest.approx(1, abs=0.1)
        await engine.dispose()

    run(main())


def test_a_cancelled_return_loses_no_slot() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        silent = driver_of(fairy)
        silent.hang |= {"rollback", "close"}
        returning = asyncio.ensure_future(give_back(fairy))
        await asyncio.sleep(0.5)
        returning.cancel()
        await asyncio.wait({returning})
        assert now() == pytest.approx(0.5, abs=0.1)
        assert pool.checkedout() == 0
        await use(pool)
        await asyncio.sleep(10)
        assert silent.is_closed
        assert_only_idle(pool, server)

    run(main())


def test_an_invalidation_on_a_silent_server_does_not_block_its_caller() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        silent = driver_of(fairy)
        silent.hang |= {"close"}
        await greenlet_spawn(fairy.invalidate)
        assert now() < 0.1
        await asyncio.sleep(5)
        assert silent.is_closed
        assert_only_idle(pool, server)

    run(main())


@pytest.mark.parametrize("driver", ["fake", "unknown"])
def test_a_close_that_hangs_ends_at_pool_reset_timeout(driver: str) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, driver=driver, pool_size=1, max_overflow=1, pool_reset_timeout=2)
        first, second = await borrow(pool), await borrow(pool)
        driver_of(second).hang.add("close")
        await give_back(first)
        await give_back(second)
        assert now() < 0.1, "the return does not wait for the close"
        assert pool.stats().size == 2, "a connection counts until it is closed"
        await asyncio.sleep(3)
        assert_only_idle(pool, server)
        assert len(server.open) == 1

    run(main())


def test_a_close_that_fails_frees_its_slot() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_idle_timeout=5)
        (connection,) = await open_idle(pool, 1)
        connection.fails["close"] = OSError
        await asyncio.sleep(10)
        assert set(_not_idle(pool)) == {0}
        assert connection.is_closed or connection.calls["close"] == 1
        await use(pool)

    run(main())


def _not_idle(pool: Any) -> list[int]:
    stats = pool.stats()
    return [stats.in_use, stats.waiting, stats.connecting, stats.size - stats.idle]


class ClosesAtOnce(FakeAdapter):
    """Waits for nothing when it is closed."""

    def close(self) -> None:
        self._connection.abort()


@pytest.mark.parametrize("count", [200, 2_000])
@pytest.mark.parametrize("adapter", [FakeAdapter, ClosesAtOnce])
def test_a_checkout_closes_any_number_of_expired_connections_whose_close_listener_raises(
    count: int, adapter: type[FakeAdapter]
) -> None:
    """Each close serves the waiter again, which must not recur once for each connection."""

    async def main() -> None:
        server = Server()
        pool = _new_pool_of(adapter, server, pool_size=count, pool_max_lifetime=10)

        @event.listens_for(pool, "close")
        def fail(connection: Any, record: Any) -> None:
            raise LookupError

        old = await open_idle(pool, count)
        virtual_loop().block(20)  # the housekeeper does not come first
        fairy = await borrow(pool)
        assert driver_of(fairy) not in old
        assert now() < 21
        await asyncio.sleep(1)
        assert all(each.is_closed for each in old)
        await give_back(fairy)
        assert_only_idle(pool, server)

    run(main())


def test_no_closed_connection_is_handed_out_after_a_close_listener_that_awaits_and_fails() -> None:
    """The error of the listener must not leave a closed connection in its entry."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_max_lifetime=10)

        @event.listens_for(pool, "close")
        def fail(connection: Any, record: Any) -> None:
            await_only(asyncio.sleep(0.1))
            raise LookupError

        (old,) = await open_idle(pool, 1)
        await asyncio.sleep(20)
        assert old.is_closed
        fresh = await use(pool)
        assert not fresh.is_closed
        assert fresh is not old
        assert_only_idle(pool, server)

    run(main())


def test_a_terminated_connection_leaves_no_state_that_affects_a_later_one() -> None:
    """A later connection may have the id() of this one, and must then be closed gracefully."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (dead,) = await open_idle(pool, 1)

        @event.listens_for(pool, "invalidate")
        def fail(connection: Any, record: Any, error: Any) -> None:
            raise LookupError

        dead.die(seen_by_probe=True)
        await use(pool)
        assert dead.is_closed
        assert_only_idle(pool, server)

    run(main())


# ---------------------------------------------------------------------- dispose


def test_disposing_of_five_silent_connections_takes_one_bound() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, pool_reset_timeout=3)
        for each in await open_idle(pool, 5):
            each.hang.add("close")
        await dispose(pool)
        assert now() == pytest.approx(3, abs=0.3)
        await loop_iterations(10)
        assert server.sockets == 0

    run(main())


def test_dispose_returns_when_every_idle_connection_is_closed() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5)
        for each in await open_idle(pool, 5):
            each.slow["close"] = 0.5
        await dispose(pool)
        assert now() == pytest.approx(0.5, abs=0.01)
        assert server.sockets == 0

    run(main())


def test_a_connection_in_use_at_dispose_is_closed_when_it_is_returned() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        fairy = await borrow(pool)
        await dispose(pool)
        assert not driver_of(fairy).is_closed
        connection = driver_of(fairy)
        await give_back(fairy)
        await asyncio.sleep(0.1)
        assert connection.is_closed
        assert pool.stats().closed["dispose"] == 1
        assert_only_idle(pool, server)

    run(main())


def test_a_connection_opened_after_dispose_is_kept() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        await use(pool)
        await dispose(pool)
        connection = await use(pool)
        assert (await use(pool)) is connection

    run(main())


def test_a_connect_in_progress_at_dispose_leaves_no_connection_open() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=1))
        pool = new_pool(server)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        waiter.cancel()
        await dispose(pool)
        await asyncio.sleep(5)
        assert server.open == []
        assert_only_idle(pool, server)

    run(main())


def test_dispose_gives_up_the_connects_that_nobody_waits_for() -> None:
    """Afterwards the database may be dropped."""

    async def main() -> None:
        server = Server(usual=Connect(silent=True, ignores_cancel_for=0.5))
        pool = new_pool(server, pool_reset_timeout=3)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        waiter.cancel()
        await asyncio.wait({waiter})
        await dispose(pool)
        assert now() == pytest.approx(1, abs=0.01)
        assert (server.sockets, pool.stats().connecting) == (0, 0)

    run(main())


def test_dispose_leaves_the_connect_that_a_waiter_needs() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=1))
        pool = new_pool(server)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        await dispose(pool)
        assert now() == pytest.approx(0.5, abs=0.01)
        await give_back(await waiter)
        assert len(server.attempts) <= 2

    run(main())


def test_a_connection_in_use_at_dispose_is_closed_although_a_cancelled_task_waited_for_it() -> None:
    """Waiters come before the close; one that was cancelled a moment ago is in the queue still."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        entry = await pool.wait_and_take()
        waiter = asyncio.ensure_future(pool.wait_and_take())
        await loop_iterations(3)
        await dispose(pool)
        waiter.cancel()
        pool.give_back(entry)  # before the waiter notices its cancellation
        await asyncio.wait({waiter})
        await asyncio.sleep(1)
        assert waiter.cancelled()
        assert (pool.stats().idle, server.sockets) == (0, 0)
        assert pool.stats().closed["dispose"] == 1

    run(main())


def test_a_close_listener_that_disposes_of_the_pool_does_not_wait_for_itself() -> None:
    """It runs in the task that closes the connection, and dispose() waits for such tasks."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, pool_max_lifetime=10)
        (connection,) = await open_idle(pool, 1)
        seconds: list[float] = []

        @event.listens_for(pool, "close")
        def dispose_of_all(connection: Any, record: Any) -> None:
            await_only(asyncio.sleep(0))  # what follows is in the task
            started = now()
            pool.dispose()
            seconds.append(now() - started)

        await asyncio.sleep(60)
        assert seconds == [0]
        assert connection.is_closed
        assert_only_idle(pool, server)

    run(main())


def test_waiters_of_a_disposed_pool_are_served() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=5)
        fairy = await borrow(pool)
        waiters = [asyncio.ensure_future(use(pool, 0.1)) for _ in range(3)]
        await loop_iterations(5)
        await dispose(pool)
        pool.recreate()
        await give_back(fairy)
        await asyncio.gather(*waiters)
        assert now() < 1
        assert len(server.attempts) <= 2
        await asyncio.sleep(1)
        assert server.peak_sockets == 1

    run(main())


def test_an_engine_works_after_dispose_with_the_same_pool_options() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=3, pool_min_size=2, pool_timeout=7)
        await use(engine.pool)
        first = TypedPool.of(engine)
        await engine.dispose()
        second = TypedPool.of(engine)
        assert second is not first
        assert second.options == first.options
        await use(engine.pool)
        await engine.dispose()
        assert server.open == []

    run(main())


# ------------------------------------------------------------------------ close


def test_close_waits_for_connections_in_use_and_refuses_new_checkouts() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        fairies = [await borrow(pool) for _ in range(2)]
        waiter = asyncio.ensure_future(borrow(pool))
        await loop_iterations(5)
        closing = asyncio.ensure_future(pool.close(timeout=10))
        await loop_iterations(5)
        assert isinstance((await asyncio.gather(waiter, return_exceptions=True))[0], PoolClosed)
        with pytest.raises(PoolClosed):
            await borrow(pool)
        await asyncio.sleep(3)
        assert not closing.done()
        for fairy in fairies:
            await give_back(fairy)
        await closing
        assert now() == pytest.approx(3, abs=0.1)
        assert server.sockets == 0

    run(main())


def test_a_waiter_whose_assigned_connection_dies_as_the_pool_is_closed_gets_pool_closed() -> None:
    """It joined the queue of the closed pool again, which is never served."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=None)
        entry = await pool.wait_and_take()
        waiter = asyncio.ensure_future(pool.wait_and_take())
        await loop_iterations(3)
        pool.give_back(entry)  # it is the waiter's now, who has to wake up first
        server.open[0].die(seen_by_probe=True)
        await pool.close(timeout=1)
        await asyncio.wait({waiter}, timeout=60)
        assert waiter.done()
        assert isinstance(waiter.exception(), PoolClosed)
        assert now() < 0.1
        assert_only_idle(pool, server)

    run(main())


def test_close_terminates_connections_in_use_at_its_timeout_and_names_their_holders(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)

        async def hold() -> None:
            async with borrowed(pool):
                await asyncio.sleep(100)

        holder = asyncio.create_task(hold(), name="the slow one")
        await asyncio.sleep(1)
        await pool.close(timeout=5)
        assert now() == pytest.approx(6, abs=0.1)
        assert server.sockets == 0
        (record,) = caplog.records
        assert "the slow one" in record.getMessage()
        assert record.held_connections == 1  # type: ignore[attr-defined]
        holder.cancel()
        await asyncio.wait({holder})
        assert_only_idle(pool, server)

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())


def test_closing_a_pool_twice_or_unused_raises_no_error() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        await pool.close()
        await pool.close()
        with pytest.raises(PoolClosed):
            await borrow(pool)
        used = new_pool(server)
        await use(used)
        await asyncio.gather(used.close(), used.close())
        await used.close()
        assert server.sockets == 0

    run(main())


def test_two_concurrent_closes_both_wait_for_connections_in_use() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        fairy = await borrow(pool)
        closes = [asyncio.ensure_future(pool.close(timeout=30)) for _ in range(2)]
        await asyncio.sleep(1)
        await give_back(fairy)
        await asyncio.gather(*closes)
        assert now() == pytest.approx(1, abs=0.1)
        assert server.sockets == 0

    run(main())


@pytest.mark.parametrize("in_progress", ["a silent connect", "a ping", "a slow connect"])
def test_close_leaves_nothing_open_while_a_connect_or_a_ping_is_in_progress(
    in_progress: str,
) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        if in_progress == "a ping":
            for each in await open_idle(pool, 1):
                each.slow["ping"] = 1.5
            await asyncio.sleep(5)
        elif in_progress == "a silent connect":
            server.usual = Connect(silent=True)
        else:
            server.usual = Connect(seconds=0.3, ignores_cancel_for=0.5)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.1)
        await pool.close(timeout=10)
        assert server.sockets == 0
        assert isinstance((await asyncio.gather(waiter, return_exceptions=True))[0], PoolClosed)

    run(main())


def test_a_closed_pool_has_no_timers_and_no_sockets() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_min_size=2)
        await pool.warm()
        await pool.close()
        with pytest.raises(PoolClosed):
            await borrow(pool)
        await asyncio.sleep(1)
        loop: Any = virtual_loop()
        assert [each for each in loop._scheduled if not each.cancelled()] == []
        assert server.sockets == 0

    run(main())


def test_close_returns_although_another_event_loop_ends_meanwhile() -> None:
    """The end of that loop cancels the part of the work that is done in it, not close()."""

    server = Server()
    pool = new_pool(server)
    references: list[Any] = []
    loops: list[asyncio.AbstractEventLoop] = []
    borrowed, closing = threading.Event(), threading.Event()

    async def other() -> None:
        loops.append(asyncio.get_running_loop())
        references.append(await borrow(pool))
        borrowed.set()
        assert closing.wait(10)
        await loop_iterations(3)  # the wait for this loop's connection begins, and the loop ends

    def run_other() -> None:
        run(other())

    async def main() -> None:
        await use(pool)
        thread = threading.Thread(target=run_other)
        thread.start()
        assert await asyncio.to_thread(borrowed.wait, 10)
        close = asyncio.ensure_future(pool.close(timeout=5))
        await loop_iterations(3)
        closing.set()
        await close
        await asyncio.to_thread(thread.join, 10)
        assert server.sockets == 0

    asyncio.run(main())


def test_dispose_after_close_starts_a_new_pool() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server)
        await use(engine.pool)
        await TypedPool.of(engine).close()
        with pytest.raises(PoolClosed):
            async with engine.connect():
                pass
        await engine.dispose()
        async with engine.connect():
            pass
        await engine.dispose()
        assert server.sockets == 0

    run(main())


# ------------------------------------------------------------- the end of a loop


def test_one_pool_works_in_successive_event_loops() -> None:
    server = Server()
    pool = new_pool(server, pool_min_size=2)

    async def main() -> None:
        await asyncio.gather(*(use(pool, 0.1) for _ in range(3)))

    for _ in range(3):
        run(main())
        assert server.sockets == 0, "idle connections are closed at the end of the loop"
        assert pool.stats().size == 0
    assert pool.stats().checkouts == 9


def test_a_close_started_just_before_the_loop_ends_is_completed() -> None:
    server = Server()

    async def main() -> None:
        pool = new_pool(server, pool_size=1, max_overflow=1)
        first, second = await borrow(pool), await borrow(pool)
        await give_back(first)
        await give_back(second)  # an overflow connection: its close starts, and the loop ends

    run(main())
    assert server.sockets == 0
    collect_garbage()  # a warning about a coroutine that was never awaited is an error


def test_an_invalidation_started_just_before_the_loop_ends_is_completed() -> None:
    server = Server()

    async def main() -> None:
        pool = new_pool(server)
        fairy = await borrow(pool)
        await greenlet_spawn(fairy.invalidate)

    run(main())
    assert server.sockets == 0
    collect_garbage()


@pytest.mark.parametrize(
    "connect",
    [Connect(5), Connect(silent=True), Connect(5, ignores_cancel_for=1)],
    ids=["slow", "silent", "ignores cancellation"],
)
def test_a_loop_that_ends_during_a_connect_leaves_no_socket_open(connect: Connect) -> None:
    server = Server(usual=connect)
    pool = new_pool(server, pool_min_size=3)
    references: list[Any] = []

    async def main() -> None:
        references.append(asyncio.ensure_future(borrow(pool)))
        await asyncio.sleep(0.5)

    run(main())
    assert server.sockets == 0
    assert pool.stats().size == 0
    collect_garbage()


def test_a_loop_that_ends_during_a_ping_leaves_no_socket_open() -> None:
    server = Server()
    pool = new_pool(server)
    references: list[Any] = []

    async def main() -> None:
        for each in await open_idle(pool, 3):
            each.hang |= {"ping"}
        await asyncio.sleep(5)
        references.append(asyncio.ensure_future(borrow(pool)))
        await asyncio.sleep(0.5)

    run(main())
    assert server.sockets == 0
    collect_garbage()


def test_the_sockets_of_a_loop_that_is_closed_by_hand_are_closed_at_once() -> None:
    """Guarantee 10: such a loop runs no callback any more, so they are closed without I/O."""

    server = Server()
    pool = new_pool(server, pool_size=3)
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(open_idle(pool, 3))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert server.sockets == 0, "closed, although no checkout follows"

    async def main() -> None:
        await use(pool)
        assert pool.stats().idle == 1
        assert server.sockets == 1

    run(main())


# A loop without the hooks of PEP 525 closes no generators.
PROGRAM_WITHOUT_ASYNCGEN_HOOKS = """
import asyncio, gc, sys
from tests.support.fake_driver import Server, new_pool, use

server = Server()
pool = new_pool(server, pool_min_size=2)

async def main():
    sys.set_asyncgen_hooks(None, None)
    await asyncio.gather(*(use(pool, 0.01) for _ in range(3)))

for _ in range(2):
    asyncio.run(main())
    print(server.sockets, pool.stats().size, pool.stats().checkouts)
"""


def test_a_program_whose_loop_installs_no_asyncgen_hooks_prints_no_warning_when_it_exits() -> None:
    """nest_asyncio installs none."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM_WITHOUT_ASYNCGEN_HOOKS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert ended.stdout.splitlines() == ["0 0 3", "0 0 6"], "its sockets are closed all the same"


def test_stats_keep_the_counters_of_ended_loops() -> None:
    pool = new_pool(Server())

    async def main() -> None:
        await use(pool, 1)

    for _ in range(3):
        run(main())
    stats = pool.stats()
    assert (stats.checkouts, stats.connects, stats.closed["loop"]) == (3, 3, 3)
    assert stats.use_time.sum == pytest.approx(3, abs=0.01)


def test_a_waiter_in_the_queue_when_its_loop_ends_causes_no_error() -> None:
    server = Server()
    pool = new_pool(server, pool_size=1, max_overflow=0)
    references: list[Any] = []

    async def main() -> None:
        references.append(await borrow(pool))
        references.append(asyncio.ensure_future(borrow(pool)))
        await asyncio.sleep(1)
        references[0]._connection_record.checkin()

    run(main())
    assert server.sockets == 0
    assert pool.checkedout() == 0


def test_a_generator_that_is_closed_with_its_loop_may_still_check_out() -> None:
    """While the others of the loop return what they hold, which takes the pool a second at most."""

    pool = new_pool(Server())
    references: list[Any] = []
    times: list[float] = []

    async def hold() -> AsyncGenerator[None, None]:
        fairy = await borrow(pool)
        try:
            yield
        finally:
            await asyncio.sleep(0.5)
            await give_back(fairy)

    async def save() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await asyncio.sleep(0.1)
            fairy = await borrow(pool)
            times.append(now())
            await give_back(fairy)

    async def main() -> None:
        for generator in (hold(), save()):
            references.append(generator)
            await generator.__anext__()

    run(main())
    assert times == [pytest.approx(0.1, abs=0.01)]


def test_a_checkout_that_waits_when_its_loop_ends_gets_pool_closed() -> None:
    """A second after the end began nothing is handed out any more: it need not wait for more."""

    pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=30)
    references: list[Any] = []
    ends: list[tuple[float, BaseException]] = []

    async def save() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            try:
                await borrow(pool)
            except Exception as error:
                ends.append((now(), error))

    async def main() -> None:
        references.append(await borrow(pool))  # it is not returned
        references.append(save())
        await references[1].__anext__()

    run(main())
    ((seconds, error),) = ends
    assert isinstance(error, PoolClosed)
    assert "the event loop is ending" in str(error)
    assert seconds == pytest.approx(1, abs=0.1)


def test_a_connection_in_use_when_its_loop_ends_is_reported_with_its_holder(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    pool = new_pool(server, pool_size=2)
    references: list[Any] = []

    async def careless() -> None:
        references.append(await borrow(pool))

    async def main() -> None:
        await asyncio.create_task(careless(), name="careless")

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())
    (record,) = caplog.records
    assert "leak: the event loop ends before a connection was returned; held" in record.getMessage()
    assert "held by careless for 1.0 s" in record.getMessage()
    assert server.sockets == 0


def test_a_connection_that_a_cancelled_task_could_not_return_is_closed_without_a_log_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """AsyncSession returns its connection in a task; a loop that ends cancels that task too."""
    server = Server()
    pool = new_pool(server, pool_size=2)
    references: list[Any] = []

    async def main() -> None:
        borrowed = asyncio.Event()

        async def interrupted() -> None:
            references.append(await borrow(pool))
            borrowed.set()
            await asyncio.shield(asyncio.create_task(give_back(references[0])))

        task = asyncio.create_task(interrupted())
        await borrowed.wait()
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        await asyncio.wait({task})

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())
    assert caplog.records == []
    assert pool.stats().closed["loop"] == 1, "closed with the loop, not by a return"
    assert server.sockets == 0
