"""Laws 5, 7 and 12: returns, bounded ends, dispose, close, the end of a loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event, exc

from sqla_typedpool import PoolClosed, TypedPool
from sqla_typedpool._sqlalchemy import await_only, greenlet_spawn
from tests.support.fake_driver import (
    Connect,
    Server,
    assert_at_rest,
    assert_serves_in_full,
    borrow,
    borrowed,
    dispose,
    driver_of,
    give,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import VirtualLoop, collect, now, rounds, run, virtual_loop

LOGGER = "sqla_typedpool"


# ------------------------------------------------------------------- the return


def test_a_return_serves_the_oldest_waiter_without_a_turn_of_the_loop() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, reset_on_return=None)
        first = await borrow(pool)
        waiter = asyncio.ensure_future(borrow(pool))
        await rounds(5)
        before = virtual_loop().steps
        await give(first)
        assert virtual_loop().steps == before
        assert pool.checkedout() == 1
        await give(await waiter)

    run(main())


def test_an_overflow_connection_is_closed_on_return_unless_somebody_waits() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=1)
        first, second = await borrow(pool), await borrow(pool)
        waiter = asyncio.ensure_future(borrow(pool))
        await rounds(5)
        await give(first)
        third = await waiter
        await give(second)
        assert pool.stats().idle == 1
        await give(third)
        await asyncio.sleep(0.1)
        assert pool.stats().idle == 1
        assert pool.stats().closed["overflow"] == 1
        assert_at_rest(pool, server)

    run(main())


def test_a_second_return_is_a_warning_and_changes_nothing() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        fairy = await borrow(pool)
        record = fairy._connection_record
        await give(fairy)
        with pytest.warns(Warning, match="Double checkin"):
            record.checkin()
        assert_at_rest(pool, server)
        assert pool.stats().idle == 1
        await give(fairy)  # and a closed proxy's close() does nothing
        assert_at_rest(pool, server)

    run(main())


def test_a_return_from_another_thread_serves_a_waiter() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=None)
        first = await borrow(pool)
        waiter = asyncio.ensure_future(borrow(pool))
        await rounds(5)
        thread = threading.Thread(target=first._connection_record.checkin)
        thread.start()
        thread.join()
        await give(await waiter)
        await rounds(3)
        assert_at_rest(pool, server)

    run(main())


def _leak(pool: Any) -> Any:
    async def leak() -> Any:
        fairy = await borrow(pool)
        connection = driver_of(fairy)
        cycle: list[Any] = [fairy]
        cycle.append(cycle)
        return connection

    return leak()


def _collect(where: str) -> None:
    if where == "here":
        collect()
    else:
        thread = threading.Thread(target=collect)
        thread.start()
        thread.join()


@pytest.mark.parametrize("where", ["here", "another thread"])
def test_a_leaked_connection_found_by_the_collector_frees_its_slot(where: str) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=5)
        connection = await _leak(pool)
        waiter = asyncio.ensure_future(borrow(pool))
        await rounds(5)
        with pytest.warns(Warning, match="garbage collector"):
            _collect(where)
        fairy = await waiter
        assert now() < 1
        assert driver_of(fairy) is not connection
        assert connection.is_closed
        await give(fairy)
        assert_at_rest(pool, server)
        await assert_serves_in_full(pool, server, 1)

    run(main())


def test_a_leaked_connection_found_while_its_loop_is_closed_is_no_error() -> None:
    async def main() -> Any:
        pool = new_pool(Server())
        return [pool, await borrow(pool)]

    kept = run(main())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's own, when there was still something to end
        kept.pop()
        collect()
    assert kept[0].checkedout() == 0


def test_a_detached_connection_frees_its_slot_and_is_closed_by_its_owner() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        detached = driver_of(fairy)
        fairy.detach()
        assert pool.checkedout() == 0
        await use(pool)
        assert not detached.is_closed
        await give(fairy)
        await asyncio.sleep(1)
        assert detached.is_closed
        assert pool.stats().closed["detached"] == 1
        assert_at_rest(pool, server)

    run(main())


# -------------------------------------------------------------- bounded returns


@pytest.mark.parametrize("bound", [1, 5])
def test_a_rollback_at_return_on_a_silent_server_ends_at_its_bound(bound: float) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_reset_timeout=bound)
        fairy = await borrow(pool)
        silent = driver_of(fairy)
        silent.hang |= {"rollback", "close"}
        await give(fairy)
        assert now() == pytest.approx(bound, abs=0.1)
        assert pool.checkedout() == 0
        assert (await use(pool)) is not silent
        await asyncio.sleep(5)
        assert silent.is_closed
        assert_at_rest(pool, server)

    run(main())


def test_a_commit_as_the_reset_is_bounded_but_the_applications_commit_is_not() -> None:
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
        assert_at_rest(engine.pool, server)
        await engine.dispose()

    run(main())


def test_an_engines_close_on_a_silent_server_ends_at_its_bound() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=1, max_overflow=0, pool_reset_timeout=2)
        connection = await engine.connect()
        await connection.begin()
        raw = await connection.get_raw_connection()
        raw.driver_connection.hang |= {"rollback", "close"}
        with suppress(exc.DBAPIError):  # the rollback has failed, after all
            await connection.close()
        assert now() == pytest.approx(2, abs=0.1)
        assert TypedPool.of(engine).checkedout() == 0
        async with engine.connect():
            pass
        await engine.dispose()

    run(main())


def test_two_engines_of_one_dialect_do_not_stack_their_bounds() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_reset_timeout=1)
        for _ in range(20):
            await use(engine.pool)
            await engine.dispose()
        fairy = await borrow(engine.pool)
        driver_of(fairy).hang.add("rollback")
        await give(fairy)
        assert now() == pytest.approx(1, abs=0.1)
        await engine.dispose()

    run(main())


def test_a_cancelled_return_loses_nothing() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        silent = driver_of(fairy)
        silent.hang |= {"rollback", "close"}
        returning = asyncio.ensure_future(give(fairy))
        await asyncio.sleep(0.5)
        returning.cancel()
        await asyncio.wait({returning})
        assert now() == pytest.approx(0.5, abs=0.1)
        assert pool.checkedout() == 0
        await use(pool)
        await asyncio.sleep(10)
        assert silent.is_closed
        assert_at_rest(pool, server)

    run(main())


def test_an_invalidation_on_a_silent_server_does_not_hold_its_caller() -> None:
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
        assert_at_rest(pool, server)

    run(main())


@pytest.mark.parametrize("driver", ["fake", "unheard-of"])
def test_a_close_that_hangs_is_over_at_its_bound(driver: str) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, driver=driver, pool_size=1, max_overflow=1, pool_reset_timeout=2)
        first, second = await borrow(pool), await borrow(pool)
        driver_of(second).hang.add("close")
        await give(first)
        await give(second)
        assert now() < 0.1, "nobody waits for it"
        assert counters_total(pool) == 2, "it counts until it is gone"
        await asyncio.sleep(3)
        assert_at_rest(pool, server)
        assert len(server.open) == 1

    run(main())


def counters_total(pool: Any) -> int:
    return int(pool.stats().size)


def test_a_close_that_fails_is_over() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_idle_timeout=5)
        (connection,) = await open_idle(pool, 1)
        connection.fails["close"] = OSError
        await asyncio.sleep(10)
        assert set(_busy(pool)) == {0}
        assert connection.is_closed or connection.did["close"] == 1
        await use(pool)

    run(main())


def _busy(pool: Any) -> list[int]:
    stats = pool.stats()
    return [stats.in_use, stats.waiting, stats.connecting, stats.size - stats.idle]


def test_a_close_listener_that_awaits_and_fails_hands_no_closed_connection_out() -> None:
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
        assert_at_rest(pool, server)

    run(main())


def test_a_forced_end_leaves_no_mark_behind_for_a_later_connection() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (dead,) = await open_idle(pool, 1)

        @event.listens_for(pool, "invalidate")
        def fail(connection: Any, record: Any, error: Any) -> None:
            raise LookupError

        dead.die(seen=True)
        await use(pool)
        assert dead.is_closed
        assert not pool.parting.forced
        assert_at_rest(pool, server)

    run(main())


# ---------------------------------------------------------------------- dispose


def test_disposing_of_five_silent_connections_ends_in_one_bound() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, pool_reset_timeout=3)
        for each in await open_idle(pool, 5):
            each.hang.add("close")
        await dispose(pool)
        assert now() == pytest.approx(3, abs=0.3)
        await rounds(10)
        assert server.sockets == 0

    run(main())


def test_dispose_returns_when_everything_is_closed() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5)
        for each in await open_idle(pool, 5):
            each.slow["close"] = 0.5
        await dispose(pool)
        assert now() == pytest.approx(0.5, abs=0.01)
        assert server.sockets == 0

    run(main())


def test_a_connection_out_at_dispose_is_closed_when_it_comes_back() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        fairy = await borrow(pool)
        await dispose(pool)
        assert not driver_of(fairy).is_closed
        connection = driver_of(fairy)
        await give(fairy)
        await asyncio.sleep(0.1)
        assert connection.is_closed
        assert pool.stats().closed["dispose"] == 1
        assert_at_rest(pool, server)

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


def test_an_attempt_under_way_at_dispose_leaves_no_connection_behind() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=1))
        pool = new_pool(server)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        waiter.cancel()
        await dispose(pool)
        await asyncio.sleep(5)
        assert server.open == []
        assert_at_rest(pool, server)

    run(main())


def test_waiters_of_a_disposed_pool_are_served() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=5)
        fairy = await borrow(pool)
        waiters = [asyncio.ensure_future(use(pool, 0.1)) for _ in range(3)]
        await rounds(5)
        await dispose(pool)
        pool.recreate()
        await give(fairy)
        await asyncio.gather(*waiters)
        assert now() < 1
        assert len(server.attempts) <= 2
        await asyncio.sleep(1)
        assert server.most_sockets == 1

    run(main())


def test_an_engine_works_after_dispose_with_every_option_it_had() -> None:
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


def test_close_waits_for_those_out_and_refuses_newcomers() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        fairies = [await borrow(pool) for _ in range(2)]
        waiter = asyncio.ensure_future(borrow(pool))
        await rounds(5)
        closing = asyncio.ensure_future(pool.close(timeout=10))
        await rounds(5)
        assert isinstance((await asyncio.gather(waiter, return_exceptions=True))[0], PoolClosed)
        with pytest.raises(PoolClosed):
            await borrow(pool)
        await asyncio.sleep(3)
        assert not closing.done()
        for fairy in fairies:
            await give(fairy)
        await closing
        assert now() == pytest.approx(3, abs=0.1)
        assert server.sockets == 0

    run(main())


def test_close_ends_those_that_stay_out_by_force_and_names_them(
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
        assert record.held == 1  # type: ignore[attr-defined]
        holder.cancel()
        await asyncio.wait({holder})
        assert_at_rest(pool, server)

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())


def test_close_twice_is_no_error_and_close_of_an_unused_pool_neither() -> None:
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


def test_two_closes_at_the_same_time_both_wait() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        fairy = await borrow(pool)
        closes = [asyncio.ensure_future(pool.close(timeout=30)) for _ in range(2)]
        await asyncio.sleep(1)
        await give(fairy)
        await asyncio.gather(*closes)
        assert now() == pytest.approx(1, abs=0.1)
        assert server.sockets == 0

    run(main())


@pytest.mark.parametrize("what", ["an attempt", "a ping", "a slow attempt"])
def test_nothing_is_open_after_close_although_something_was_under_way(what: str) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        if what == "a ping":
            for each in await open_idle(pool, 1):
                each.slow["ping"] = 1.5
            await asyncio.sleep(5)
        elif what == "an attempt":
            server.usual = Connect(silent=True)
        else:
            server.usual = Connect(seconds=0.3, stubborn=0.5)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.1)
        await pool.close(timeout=10)
        assert server.sockets == 0
        assert isinstance((await asyncio.gather(waiter, return_exceptions=True))[0], PoolClosed)

    run(main())


def test_a_closed_pool_does_nothing_more() -> None:
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


def test_dispose_after_close_starts_a_fresh_pool() -> None:
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


def test_one_engine_serves_one_run_after_the_other() -> None:
    server = Server()
    pool = new_pool(server, pool_min_size=2)

    async def main() -> None:
        await asyncio.gather(*(use(pool, 0.1) for _ in range(3)))

    for _ in range(3):
        run(main())
        assert server.sockets == 0, "idle connections say farewell at the end of the loop"
        assert pool.stats().size == 0
    assert pool.stats().checkouts == 9


def test_a_close_begun_in_the_last_instant_of_the_loop_is_finished() -> None:
    server = Server()

    async def main() -> None:
        pool = new_pool(server, pool_size=1, max_overflow=1)
        first, second = await borrow(pool), await borrow(pool)
        await give(first)
        await give(second)  # surplus: its close begins, and the program is over

    run(main())
    assert server.sockets == 0
    collect()  # a warning of a coroutine never awaited would be an error


def test_an_invalidation_in_the_last_instant_of_the_loop_is_finished() -> None:
    server = Server()

    async def main() -> None:
        pool = new_pool(server)
        fairy = await borrow(pool)
        await greenlet_spawn(fairy.invalidate)

    run(main())
    assert server.sockets == 0
    collect()


@pytest.mark.parametrize("connect", [Connect(5), Connect(silent=True), Connect(5, stubborn=1)])
def test_a_loop_that_ends_in_the_middle_of_a_connect_leaves_nothing(connect: Connect) -> None:
    server = Server(usual=connect)
    pool = new_pool(server, pool_min_size=3)
    kept: list[Any] = []

    async def main() -> None:
        kept.append(asyncio.ensure_future(borrow(pool)))
        await asyncio.sleep(0.5)

    run(main())
    assert server.sockets == 0
    assert pool.stats().size == 0
    collect()


def test_a_loop_that_ends_in_the_middle_of_a_ping_leaves_nothing() -> None:
    server = Server()
    pool = new_pool(server)
    kept: list[Any] = []

    async def main() -> None:
        for each in await open_idle(pool, 3):
            each.hang |= {"ping"}
        await asyncio.sleep(5)
        kept.append(asyncio.ensure_future(borrow(pool)))
        await asyncio.sleep(0.5)

    run(main())
    assert server.sockets == 0
    collect()


def test_a_loop_closed_without_a_word_is_let_go_of_at_once() -> None:
    server = Server()
    pool = new_pool(server, pool_size=3)
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(open_idle(pool, 3))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert server.sockets == 0, "although no checkout follows"

    async def main() -> None:
        await use(pool)
        assert pool.stats().idle == 1
        assert server.sockets == 1

    run(main())


def test_numbers_of_ended_loops_are_kept() -> None:
    pool = new_pool(Server())

    async def main() -> None:
        await use(pool, 1)

    for _ in range(3):
        run(main())
    stats = pool.stats()
    assert (stats.checkouts, stats.connects, stats.closed["loop"]) == (3, 3, 3)
    assert stats.use_time.sum == pytest.approx(3, abs=0.01)


def test_a_waiter_that_ends_with_its_loop_is_no_error() -> None:
    server = Server()
    pool = new_pool(server, pool_size=1, max_overflow=0)
    kept: list[Any] = []

    async def main() -> None:
        kept.append(await borrow(pool))
        kept.append(asyncio.ensure_future(borrow(pool)))
        await asyncio.sleep(1)
        kept[0]._connection_record.checkin()

    run(main())
    assert server.sockets == 0
    assert pool.checkedout() == 0


def test_what_is_out_when_its_loop_ends_is_reported_with_its_holder(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    pool = new_pool(server, pool_size=2)
    kept: list[Any] = []

    async def careless() -> None:
        kept.append(await borrow(pool))

    async def main() -> None:
        await asyncio.create_task(careless(), name="careless")

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())
    (record,) = caplog.records
    assert record.getMessage().startswith("leak: the event loop ends while 1 connections are out")
    assert "held by careless for 1.0 s" in record.getMessage()
    assert server.sockets == 0


def test_what_a_cancelled_task_could_not_give_back_is_closed_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SQLAlchemy's AsyncSession closes in a task, which an ending loop cancels with all others."""
    server = Server()
    pool = new_pool(server, pool_size=2)
    kept: list[Any] = []

    async def main() -> None:
        borrowed = asyncio.Event()

        async def interrupted() -> None:
            kept.append(await borrow(pool))
            borrowed.set()
            await asyncio.shield(asyncio.create_task(give(kept[0])))

        task = asyncio.create_task(interrupted())
        await borrowed.wait()
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        await asyncio.wait({task})

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())
    assert caplog.records == []
    assert pool.stats().closed["loop"] == 1, "and not by its return"
    assert server.sockets == 0
