"""Laws 1 to 3: one deadline, a fair queue, errors that tell what to do next."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import exc
from sqlalchemy.pool import Pool

from sqla_typedpool import PoolClosed, PoolSaturated, PoolTimeout, TypedPoolError
from sqla_typedpool.pool.drivers import Probe
from tests.support.fake_driver import (
    Connect,
    Server,
    assert_at_rest,
    assert_serves_in_full,
    borrow,
    borrowed,
    counters,
    driver_of,
    give,
    new_pool,
    open_idle,
    refused,
    use,
)
from tests.support.virtual_clock import now, rounds, run


def small_pool(server: Server, **options: Any) -> Any:
    return new_pool(server, **{"pool_size": 1, "max_overflow": 0, **options})


# --------------------------------------------------------------------- the queue


def test_waiters_are_served_in_the_order_they_came() -> None:
    async def main() -> None:
        pool = small_pool(Server())
        order: list[int] = []

        async def customer(number: int) -> None:
            async with borrowed(pool):
                order.append(number)
                await asyncio.sleep(0.01)

        await asyncio.gather(*(customer(number) for number in range(20)))
        assert order == list(range(20))

    run(main())


def test_an_arriving_task_never_passes_a_waiter() -> None:
    async def main() -> None:
        pool = small_pool(Server())
        first = await borrow(pool)
        order: list[str] = []

        async def customer(name: str) -> None:
            async with borrowed(pool):
                order.append(name)

        waiter = asyncio.ensure_future(customer("waiter"))
        await rounds(5)
        await give(first)  # the waiter is served but has not run yet
        # barge in the same instant, and again before the waiter's return is seen by others
        newcomer = asyncio.ensure_future(customer("newcomer"))
        await asyncio.gather(waiter, newcomer)
        assert order == ["waiter", "newcomer"]

    run(main())


def test_one_task_that_returns_and_asks_again_goes_to_the_end_of_the_queue() -> None:
    async def main() -> None:
        pool = small_pool(Server())
        order: list[str] = []

        async def customer(name: str, times: int) -> None:
            for _ in range(times):
                async with borrowed(pool):
                    order.append(name)
                    await asyncio.sleep(0.01)

        await asyncio.gather(customer("greedy", 4), customer("modest", 2))
        assert order == ["greedy", "modest", "greedy", "modest", "greedy", "greedy"]

    run(main())


def test_a_waiter_cancelled_at_the_instant_it_is_served_passes_the_connection_on() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server)
        first = await borrow(pool)
        cancelled = asyncio.ensure_future(borrow(pool))
        next_one = asyncio.ensure_future(borrow(pool))
        await rounds(5)
        await give(first)
        cancelled.cancel()  # served already, not yet awake
        fairy = await asyncio.wait_for(next_one, 1)
        assert cancelled.cancelled() or cancelled.done()
        assert driver_of(fairy).number == 1
        await give(fairy)
        assert_at_rest(pool, server)
        assert now() < 0.1

    run(main())


def test_a_served_and_cancelled_waiter_with_nobody_behind_it_leaves_it_idle() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server)
        first = await borrow(pool)
        cancelled = asyncio.ensure_future(borrow(pool))
        await rounds(5)
        await give(first)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        assert_at_rest(pool, server)
        assert pool.stats().idle == 1
        await assert_serves_in_full(pool, server, 1)

    run(main())


def test_all_waiters_cancelled_at_the_instant_one_is_served() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server)
        first = await borrow(pool)
        waiters = [asyncio.ensure_future(borrow(pool)) for _ in range(10)]
        await rounds(5)
        await give(first)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)
        assert_at_rest(pool, server)
        assert pool.stats().idle == 1

    run(main())


def test_a_waiter_whose_time_is_over_at_the_instant_it_is_served_loses_nothing() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server, timeout=5)
        loop = asyncio.get_running_loop()
        first = await borrow(pool)

        def bring_back() -> None:
            first._connection_record.checkin()

        # both orders of the two timers of one instant
        for earlier in (True, False):
            if earlier:
                loop.call_later(5, bring_back)
            waiter = asyncio.ensure_future(borrow(pool))
            if not earlier:
                await rounds(5)
                loop.call_later(5, bring_back)
            try:
                first = await waiter
            except PoolTimeout:
                assert_at_rest(pool, server)
                first = await borrow(pool)
            assert counters(pool)["in_use"] == 1
        await give(first)
        assert_at_rest(pool, server)

    run(main())


def test_a_waiter_served_with_a_dead_connection_at_its_deadline_still_has_a_deadline() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server, timeout=5, pool_connect_timeout=100)
        loop = asyncio.get_running_loop()
        first = await borrow(pool)
        connection = driver_of(first)

        def bring_back() -> None:
            first._connection_record.checkin()
            connection.die(seen=True)  # handed over, and dead before the waiter wakes

        loop.call_later(5, bring_back)
        server.usual = Connect(silent=True)
        waiter = asyncio.ensure_future(borrow(pool))
        done, _ = await asyncio.wait({waiter}, timeout=60)
        assert done, "the deadline was lost"
        assert isinstance(waiter.exception(), PoolTimeout)
        assert now() <= 6

    run(main())


def test_a_waiter_gets_what_comes_first_a_return() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        first = await borrow(pool)
        server.usual = Connect(seconds=5)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(1)
        await give(first)
        fairy = await waiter
        assert now() == pytest.approx(1, abs=0.01)
        await give(fairy)
        await asyncio.sleep(10)
        assert pool.stats().idle == 2  # what the attempt brought has not been thrown away
        assert_at_rest(pool, server)

    run(main())


def test_a_waiter_gets_what_comes_first_a_connect() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.5))
        pool = new_pool(server, pool_size=2, max_overflow=0)
        first = await borrow(pool)
        second = await borrow(pool)
        assert now() == pytest.approx(1.0, abs=0.01)
        await give(first)
        await give(second)

    run(main())


def test_a_connection_comes_back_and_serves_a_waiter_whose_own_attempt_is_silent() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, max_overflow=0, timeout=30)
        first = await borrow(pool)
        server.usual = Connect(silent=True)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.25)
        await give(first)
        await give(await waiter)
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
        assert_at_rest(pool, server)

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
        assert_at_rest(pool, server)
        await assert_serves_in_full(pool, server, 1)

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
        await asyncio.sleep(1.5)  # 1.5 s of queue, 2 s of ping, then a silent connect
        await give(first)
        with pytest.raises(PoolTimeout):
            await waiter
        assert now() == pytest.approx(4, abs=0.01)

    run(main())


def test_no_deadline_means_waiting_for_as_long_as_it_takes() -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=None)
        first = await borrow(pool)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(20_000)
        assert not waiter.done()
        await give(first)
        await give(await waiter)

    run(main())


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_without_time_to_wait_a_full_pool_refuses_at_once(timeout: float) -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=timeout)
        async with borrowed(pool):
            with pytest.raises(PoolTimeout):
                await borrow(pool)
        assert now() < 0.01
        await use(pool)  # and serves again

    run(main())


def test_without_time_to_wait_an_open_slot_may_still_connect() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(seconds=0.2)), pool_size=2, timeout=0)
        async with borrowed(pool), borrowed(pool):
            pass
        assert now() == pytest.approx(0.4, abs=0.01)

    run(main())


def test_without_time_to_wait_every_open_slot_may_connect_at_the_same_time() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.2))
        pool = new_pool(server, pool_size=5, max_overflow=0, timeout=0)
        got = await asyncio.gather(*(borrow(pool) for _ in range(7)), return_exceptions=True)
        errors = [each for each in got if isinstance(each, BaseException)]
        assert len(errors) == 2, "five slots are open: five connect, two are refused"
        assert all(isinstance(error, PoolTimeout) for error in errors)
        for each in got:
            if each not in errors:
                await give(each)

    run(main())


def test_without_time_to_wait_a_silent_connect_ends_at_the_connect_timeout() -> None:
    async def main() -> None:
        pool = small_pool(Server(usual=Connect(silent=True)), timeout=0, pool_connect_timeout=3)
        with pytest.raises(exc.TimeoutError):
            await borrow(pool)
        assert now() == pytest.approx(3, abs=0.05)

    run(main())


def test_without_time_to_wait_an_idle_connection_is_still_validated() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server, timeout=0)
        (connection,) = await open_idle(pool, 1)
        await asyncio.sleep(10)
        connection.die()
        assert (await use(pool)) is not connection

    run(main())


# ---------------------------------------------------------------- what errors say


def test_a_timeout_names_stage_numbers_holders_and_the_next_step() -> None:
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


def test_a_timeout_tells_a_nested_checkout() -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=1)
        async with borrowed(pool):
            with pytest.raises(PoolTimeout, match="nested checkout"):
                await borrow(pool)

    run(main())


def test_another_tasks_checkout_is_not_called_nested() -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=1)
        async with borrowed(pool):
            with pytest.raises(PoolTimeout) as caught:
                await asyncio.create_task(borrow(pool))
        assert "nested" not in str(caught.value)

    run(main())


def test_a_timeout_carries_the_last_connect_error_as_its_cause() -> None:
    async def main() -> None:
        pool = small_pool(Server(usual=Connect(error=refused)), timeout=2, pool_connect_retry=60)
        with pytest.raises(PoolTimeout) as caught:
            await borrow(pool)
        assert caught.value.stage == "connecting"
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    run(main())


def test_an_error_overcome_long_ago_is_no_cause() -> None:
    async def main() -> None:
        server = Server().script(Connect(error=refused), Connect(error=refused))
        pool = small_pool(server, timeout=2)
        async with borrowed(pool):
            with pytest.raises(PoolTimeout) as caught:
                await borrow(pool)
        assert caught.value.__cause__ is None

    run(main())


def test_the_errors_are_those_that_applications_catch_today() -> None:
    for kind in (PoolTimeout, PoolSaturated):
        assert issubclass(kind, exc.TimeoutError)
        assert issubclass(kind, TypedPoolError)
    assert issubclass(PoolClosed, exc.InvalidRequestError)
    assert issubclass(PoolClosed, TypedPoolError)


def test_a_timeout_of_stock_and_ours_is_caught_by_the_same_clause() -> None:
    async def main() -> None:
        pool = small_pool(Server(), timeout=1)
        assert isinstance(pool, Pool)
        async with borrowed(pool):
            with pytest.raises(exc.TimeoutError):
                await borrow(pool)

    run(main())


# -------------------------------------------------------------------- saturation


def test_more_waiters_than_allowed_are_refused_at_once() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server, pool_max_waiting=2)
        first = await borrow(pool)
        waiters = [asyncio.ensure_future(borrow(pool)) for _ in range(2)]
        await rounds(5)
        with pytest.raises(PoolSaturated, match="pool_max_waiting=2"):
            await borrow(pool)
        assert now() < 0.01
        assert pool.stats().saturated == 1
        await give(first)
        for waiter in waiters:
            await give(await waiter)
        assert_at_rest(pool, server)

    run(main())


def test_no_waiters_allowed_still_lets_an_open_slot_connect() -> None:
    async def main() -> None:
        pool = small_pool(Server(), pool_max_waiting=0)
        async with borrowed(pool):
            with pytest.raises(PoolSaturated):
                await borrow(pool)
        await use(pool)

    run(main())


def test_those_an_open_slot_can_serve_do_not_count_as_waiters() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.1))
        pool = new_pool(server, pool_size=10, max_overflow=0, pool_max_waiting=2)
        fairies = await asyncio.gather(*(borrow(pool) for _ in range(10)))
        assert len(fairies) == 10
        for fairy in fairies:
            await give(fairy)

    run(main())


# ------------------------------------------------------------------ the hot path


def test_a_warm_checkout_and_return_need_no_turn_of_the_loop() -> None:
    async def main() -> None:
        from tests.support.virtual_clock import virtual_loop

        pool = new_pool(Server(), reset_on_return=None)
        await use(pool)
        before = virtual_loop().steps
        await give(await borrow(pool))
        assert virtual_loop().steps == before

    run(main())


def test_a_cold_idle_connection_beneath_a_warm_one_costs_nothing() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5)
        await open_idle(pool, 5)
        for _ in range(50):
            await use(pool, 0.1)
        assert server.count("ping") == 0

    run(main())


def test_stacked_connections_are_used_last_in_first_out_unless_asked_otherwise() -> None:
    async def main() -> None:
        for lifo, expected in ((True, 3), (False, 1)):
            pool = new_pool(Server(), use_lifo=lifo)
            await open_idle(pool, 3)
            assert (await use(pool)).number == expected

    run(main())


def test_a_probe_that_finds_it_dead_takes_the_next_one_at_once() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        connections = await open_idle(pool, 3)
        connections[2].die(seen=True)
        connections[1].die(seen=True)
        assert (await use(pool)) is connections[0]
        assert connections[2].is_closed
        assert connections[1].is_closed
        assert connections[2].did["close"] == 0, "no farewell to the dead"
        assert server.count("ping") == 0
        assert_at_rest(pool, server)

    run(main())


def test_a_doubtful_socket_is_pinged_first() -> None:
    async def main() -> None:
        server = Server()
        pool = small_pool(server)
        (connection,) = await open_idle(pool, 1)
        connection.verdict = Probe.DOUBTFUL
        asyncio.get_running_loop().call_soon(lambda: setattr(connection, "verdict", None))
        assert (await use(pool)) is connection
        assert connection.did["ping"] == 1

    run(main())


def test_a_socket_that_stays_doubtful_after_its_answer_is_used() -> None:
    async def main() -> None:
        # a server that keeps sending notices: readable again after every ping
        server = Server()
        pool = small_pool(server, timeout=30)
        (connection,) = await open_idle(pool, 1)
        connection.slow["ping"] = 0.001
        connection.verdict = Probe.DOUBTFUL
        assert (await use(pool)) is connection
        assert connection.did["ping"] <= 2

    run(main())
