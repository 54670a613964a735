"""Guarantees 1 to 3: one deadline, a fair queue, and errors that name the next step."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import exc
from sqlalchemy.pool import Pool

from sqla_typedpool import PoolClosed, PoolSaturated, PoolTimeout, TypedPoolError
from tests.support.fake_driver import (
    SUSPECT,
    Connect,
    Server,
    assert_full_capacity,
    assert_only_idle,
    borrow,
    borrowed,
    counters,
    driver_of,
    give_back,
    new_pool,
    open_idle,
    refused,
    use,
)
from tests.support.virtual_clock import loop_iterations, now, run, virtual_loop


def small_pool(server: Server, **options: Any) -> Any:
    return new_pool(server, **{"pool_size": 1, "max_overflow": 0, **options})


# --------------------------------------------------------------------- the queue


def test_waiters_are_served_in_the_order_of_their_arrival() -> None:
    async def main() -> None:
        pool = small_pool(Server())
        order: list[int] = []

        async def client(number: int) -> None:
            async with borrowed(pool):
                order.append(number)
                await asyncio.sleep(0.01)

        await asyncio.gather(*(client(number) for number in range(20)))
        assert order == list(range(20))

    run(main())


def test_an_arriving_task_never_overtakes_a_waiter() -> None:
    async def main() -> None:
        pool = small_pool(Server())
        first = await borrow(pool)
        order: list[str] = []

        async def client(name: str) -> None:
            async with borrowed(pool):
                order.append(name)

        waiter = asyncio.ensure_future(client("waiter"))
        await loop_iterations(5)
        await give_back(first)  # the waiter is served but has not resumed yet
        newcomer = asyncio.ensure_future(client("newcomer"))
        await asyncio.gather(waiter, newcomer)
        assert order == ["waiter", "newcomer"]

    run(main())


def test_a_task_that_borrows_again_joins_the_end_of_the_queue() -> None:
    async def main() -> None:
        pool = small_pool(Server())
        order: list[str] = []

        async def client(name: str, times: int) -> None:
            for _ in range(times):
                async with borrowed(pool):
                    order.append(name)
                    await asyncio.sleep(0.01)

        await asyncio.gather(client("first", 4), client("second", 2))
        assert order == ["first", "second", "first", "second", "first", "first"]

    run(main())


def test_a_waiter_that_is_cancelled_after_it_was_served_passes_the_connection_on() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server)
        first = await borrow(pool)
        cancelled = asyncio.ensure_future(borrow(pool))
        next_waiter = asyncio.ensure_future(borrow(pool))
        await loop_iterations(5)
        await give_back(first)
        cancelled.cancel()  # it is served but has not resumed yet
        fairy = await asyncio.wait_for(next_waiter, 1)
        assert cancelled.cancelled() or cancelled.done()
        assert driver_of(fairy).number == 1
        await give_back(fairy)
        assert_only_idle(pool, server)
        assert now() < 0.1

    run(main())


def test_the_connection_of_a_cancelled_waiter_becomes_idle_when_no_other_waits() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server)
        first = await borrow(pool)
        cancelled = asyncio.ensure_future(borrow(pool))
        await loop_iterations(5)
        await give_back(first)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        assert_only_idle(pool, server)
        assert pool.stats().idle == 1
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_the_connection_becomes_idle_when_all_waiters_are_cancelled_as_one_is_served() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server)
        first = await borrow(pool)
        waiters = [asyncio.ensure_future(borrow(pool)) for _ in range(10)]
        await loop_iterations(5)
        await give_back(first)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)
        assert_only_idle(pool, server)
        assert pool.stats().idle == 1

    run(main())


def test_a_waiter_served_at_the_instant_of_its_deadline_loses_no_slot() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server, timeout=5)
        loop = asyncio.get_running_loop()
        first = await borrow(pool)

        def check_in() -> None:
            first._connection_record.checkin()

        # two timers end at the same instant: the check-in first, then the deadline first
        for check_in_first in (True, False):
            if check_in_first:
                loop.call_later(5, check_in)
            waiter = asyncio.ensure_future(borrow(pool))
            if not check_in_first:
                await loop_iterations(5)
                loop.call_later(5, check_in)
            try:
                first = await waiter
            except PoolTimeout:
                assert_only_idle(pool, server)
                first = await borrow(pool)
            assert counters(pool)["in_use"] == 1
        await give_back(first)
        assert_only_idle(pool, server)

    run(main())


def test_a_waiter_served_with_a_dead_connection_at_its_deadline_still_times_out() -> None:
    """After its timer has fired the waiter has to wait again, for a silent connect."""

    async def main() -> None:
        server = Server()
        pool = small_pool(server, timeout=5, pool_connect_timeout=100)
        loop = asyncio.get_running_loop()
        first = await borrow(pool)
        connection = driver_of(first)

        def check_in() -> None:
            first._connection_record.checkin()
            connection.die(seen_by_probe=True)  # after it was assigned, before the waiter resumes

        loop.call_later(5, check_in)
        server.usual = Connect(silent=True)
        waiter = asyncio.ensure_future(borrow(pool))
        done, _ = await asyncio.wait({waiter}, timeout=60)
        assert done, "the checkout has no deadline any more"
        assert isinstance(waiter.exception(), PoolTimeout)
        assert now() <= 6

    run(main())


def test_a_waiter_is_served_by_a_return_that_comes_before_its_connect() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        first = await borrow(pool)
        server.usual = Connect(seconds=5)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(1)
        await give_back(first)
        fairy = await waiter
        assert now() == pytest.approx(1, abs=0.01)
        await give_back(fairy)
        await asyncio.sleep(10)
        assert pool.stats().idle == 2, "the connection that the attempt opened is kept"
        assert_only_idle(pool, server)

    run(main())


def test_a_waiter_is_served_by_a_connect_that_comes_before_any_return() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.5))
        pool = new_pool(server, pool_size=2, max_overflow=0)
        first = await borrow(pool)
        second = await borrow(pool)
        assert now() == pytest.approx(1.0, abs=0.01)
        await give_back(first)
        await give_back(second)

    run(main())


def test_a_returned_connection_serves_a_waiter_whose_connect_is_silent() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, max_overflow=0, timeout=30)
        first = await borrow(pool)
        server.usual = Connect(silent=True)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.25)
        await give_back(first)
        await give_back(await waiter)
        assert now() == pytest.approx(0.25, abs=0.01)

    run(main())


# ------------------------------------------------------------------- the deadline


def test_the_deadline_covers_queueing() -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=3)
        async with borrowed(pool):
            with pytest.raises(PoolTimeout) as caught:
                await borrow(pool)
        assert caught.value.stage == "queueing"
        assert caught.value.waited == pytest.approx(3, abs=0.01)
        assert now() == pytest.approx(3, abs=0.01)

    run(main())


def test_the_deadline_covers_a_silent_connect() -> None:
    async def main() -> None:
        server = Server(usual=Connect(silent=True))
        pool = small_pool(server, timeout=3)
        with pytest.raises(PoolTimeout) as caught:
            await borrow(pool)
        assert caught.value.stage == "connecting"
        assert now() == pytest.approx(3, abs=0.01)
        await asyncio.sleep(20)
        assert_only_idle(pool, server)

    run(main())


def test_the_deadline_covers_a_silent_ping() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server, timeout=1)
        (connection,) = await open_idle(pool, 1)
        connection.hang.add("ping")
        await asyncio.sleep(10)
        with pytest.raises(PoolTimeout) as caught:
            await borrow(pool)
        assert caught.value.stage == "validating"
        assert now() == pytest.approx(11, abs=0.01)
        await asyncio.sleep(5)
        assert connection.is_closed
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_the_deadline_covers_queue_ping_and_connect_together() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server, timeout=4, pool_validate_after=0)
        first = await borrow(pool)
        connection = driver_of(first)
        connection.hang.add("ping")
        server.usual = Connect(silent=True)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(1.5)  # queueing for 1.5 s, a ping of 2 s, then a silent connect
        await give_back(first)
        with pytest.raises(PoolTimeout):
            await waiter
        assert now() == pytest.approx(4, abs=0.01)

    run(main())


def test_a_checkout_without_a_deadline_waits_until_it_is_served() -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=None)
        first = await borrow(pool)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(20_000)
        assert not waiter.done()
        await give_back(first)
        await give_back(await waiter)

    run(main())


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_with_a_timeout_of_zero_or_less_a_full_pool_raises_at_once(timeout: float) -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=timeout)
        async with borrowed(pool):
            with pytest.raises(PoolTimeout):
                await borrow(pool)
        assert now() < 0.01
        await use(pool)  # the pool still works

    run(main())


def test_with_a_timeout_of_zero_a_free_slot_may_still_connect() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(seconds=0.2)), pool_size=2, timeout=0)
        async with borrowed(pool), borrowed(pool):
            pass
        assert now() == pytest.approx(0.4, abs=0.01)

    run(main())


def test_with_a_timeout_of_zero_all_free_slots_may_connect_at_the_same_time() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.2))
        pool = new_pool(server, pool_size=5, max_overflow=0, timeout=0)
        got = await asyncio.gather(*(borrow(pool) for _ in range(7)), return_exceptions=True)
        errors = [each for each in got if isinstance(each, BaseException)]
        assert len(errors) == 2, "five slots are free: five connect, two are refused"
        assert all(isinstance(error, PoolTimeout) for error in errors)
        for each in got:
            if each not in errors:
                await give_back(each)

    run(main())


def test_with_a_timeout_of_zero_a_silent_connect_ends_at_the_connect_timeout() -> None:
    async def main() -> None:
        pool = small_pool(Server(usual=Connect(silent=True)), timeout=0, pool_connect_timeout=3)
        with pytest.raises(exc.TimeoutError):
            await borrow(pool)
        assert now() == pytest.approx(3, abs=0.05)

    run(main())


def test_with_a_timeout_of_zero_an_idle_connection_is_still_validated() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server, timeout=0)
        (connection,) = await open_idle(pool, 1)
        await asyncio.sleep(10)
        connection.die()
        assert (await use(pool)) is not connection

    run(main())


# ------------------------------------------------------------------------- errors


def test_a_timeout_error_names_the_stage_the_numbers_the_holders_and_the_next_step() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=2, max_overflow=0, timeout=1)

        async def hold() -> None:
            async with borrowed(pool):
                await asyncio.sleep(50)

        old = asyncio.create_task(hold(), name="old holder")
        await asyncio.sleep(5)
        young = asyncio.create_task(hold(), name="young holder")
        await asyncio.sleep(1)
        with pytest.raises(PoolTimeout) as caught:
            await borrow(pool)
        error, text = caught.value, str(caught.value)
        assert [holder.task for holder in error.holders] == ["old holder", "young holder"]
        assert error.holders[0].seconds == pytest.approx(7, abs=0.1)
        assert "hold" in (error.holders[0].where or "")
        for part in ("queueing", "2 in use", "0 idle", "0 connecting", "max 2", "old holder"):
            assert part in text
        assert "pool_size" in text
        assert "nested" not in text
        old.cancel()
        young.cancel()
        await asyncio.wait({old, young})

    run(main())


def test_a_timeout_error_reports_a_nested_checkout() -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=1)
        async with borrowed(pool):
            with pytest.raises(PoolTimeout, match="nested checkout"):
                await borrow(pool)

    run(main())


def test_a_checkout_of_another_task_is_not_reported_as_nested() -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=1)
        async with borrowed(pool):
            with pytest.raises(PoolTimeout) as caught:
                await asyncio.create_task(borrow(pool))
        assert "nested" not in str(caught.value)

    run(main())


def test_a_timeout_error_has_the_last_connect_error_as_its_cause() -> None:
    async def main() -> None:
        pool = small_pool(Server(usual=Connect(error=refused)), timeout=2, pool_connect_retry=60)
        with pytest.raises(PoolTimeout) as caught:
            await borrow(pool)
        assert caught.value.stage == "connecting"
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    run(main())


def test_a_connect_error_before_a_successful_connect_is_not_the_cause_of_a_timeout() -> None:
    async def main() -> None:
        server = Server().script(Connect(error=refused), Connect(error=refused))
        pool = small_pool(server, timeout=2)
        async with borrowed(pool):
            with pytest.raises(PoolTimeout) as caught:
                await borrow(pool)
        assert caught.value.__cause__ is None

    run(main())


def test_pool_errors_are_subclasses_of_sqlalchemys_errors() -> None:
    for kind in (PoolTimeout, PoolSaturated):
        assert issubclass(kind, exc.TimeoutError)
        assert issubclass(kind, TypedPoolError)
    assert issubclass(PoolClosed, exc.InvalidRequestError)
    assert issubclass(PoolClosed, TypedPoolError)


def test_an_except_clause_for_the_timeout_of_the_stock_pool_catches_ours() -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=1)
        assert isinstance(pool, Pool)
        async with borrowed(pool):
            with pytest.raises(exc.TimeoutError):
                await borrow(pool)

    run(main())


# -------------------------------------------------------------------- saturation


def test_a_waiter_beyond_pool_max_waiting_is_refused_at_once() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server, pool_max_waiting=2)
        first = await borrow(pool)
        waiters = [asyncio.ensure_future(borrow(pool)) for _ in range(2)]
        await loop_iterations(5)
        with pytest.raises(PoolSaturated, match="pool_max_waiting=2"):
            await borrow(pool)
        assert now() < 0.01
        assert pool.stats().saturated == 1
        await give_back(first)
        for waiter in waiters:
            await give_back(await waiter)
        assert_only_idle(pool, server)

    run(main())


def test_with_pool_max_waiting_zero_a_free_slot_may_still_connect() -> None:
    async def main() -> None:
        pool = small_pool(Server(), pool_max_waiting=0)
        async with borrowed(pool):
            with pytest.raises(PoolSaturated):
                await borrow(pool)
        await use(pool)

    run(main())


def test_waiters_that_free_slots_can_serve_do_not_count_against_pool_max_waiting() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.1))
        pool = new_pool(server, pool_size=10, max_overflow=0, pool_max_waiting=2)
        fairies = await asyncio.gather(*(borrow(pool) for _ in range(10)))
        assert len(fairies) == 10
        for fairy in fairies:
            await give_back(fairy)

    run(main())


# ------------------------------------------------- checkouts of idle connections


def test_checking_an_idle_connection_out_and_in_needs_no_loop_iteration() -> None:
    async def main() -> None:
        pool = new_pool(Server(), reset_on_return=None)
        await use(pool)
        before = virtual_loop().steps
        await give_back(await borrow(pool))
        assert virtual_loop().steps == before

    run(main())


def test_idle_connections_that_are_not_used_cause_no_ping() -> None:
    """Only the connection returned last is used; the four others become old."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5)
        await open_idle(pool, 5)
        for _ in range(50):
            await use(pool, 0.1)
        assert server.count("ping") == 0

    run(main())


def test_idle_connections_are_used_last_in_first_out_unless_use_lifo_is_false() -> None:
    async def main() -> None:
        for lifo, expected in ((True, 3), (False, 1)):
            pool = new_pool(Server(), use_lifo=lifo)
            await open_idle(pool, 3)
            assert (await use(pool)).number == expected

    run(main())


def test_a_connection_that_the_probe_finds_dead_is_replaced_by_the_next_idle_one() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        connections = await open_idle(pool, 3)
        connections[2].die(seen_by_probe=True)
        connections[1].die(seen_by_probe=True)
        assert (await use(pool)) is connections[0]
        assert connections[2].is_closed
        assert connections[1].is_closed
        assert connections[2].calls["close"] == 0, "a dead connection is not closed gracefully"
        assert server.count("ping") == 0
        assert_only_idle(pool, server)

    run(main())


def test_a_suspect_connection_is_pinged_before_use() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server)
        (connection,) = await open_idle(pool, 1)
        connection.probe_result = SUSPECT
        asyncio.get_running_loop().call_soon(lambda: setattr(connection, "probe_result", None))
        assert (await use(pool)) is connection
        assert connection.calls["ping"] == 1

    run(main())


def test_a_connection_that_stays_suspect_after_a_successful_ping_is_used() -> None:
    """Such a connection must not be pinged without end."""

    async def main() -> None:
        # as with a server that sends notices all the time: the socket is readable after each ping
        server = Server()
        pool = small_pool(server, timeout=30)
        (connection,) = await open_idle(pool, 1)
        connection.slow["ping"] = 0.001
        connection.probe_result = SUSPECT
        assert (await use(pool)) is connection
        assert connection.calls["ping"] <= 2

    run(main())
