"""Guarantee 8: the housekeeper closes, pings, refills and reports connections."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest
from sqlalchemy import event

from tests.support.fake_driver import (
    Connect,
    Server,
    WrongPassword,
    assert_only_idle,
    borrow,
    borrowed,
    dispose,
    driver_of,
    give_back,
    new_pool,
    open_idle,
    refused,
    use,
)
from tests.support.virtual_clock import VirtualLoop, now, run, virtual_loop

LOGGER = "sqla_typedpool"


# ----------------------------------------------------------------- idle timeout


def test_idle_connections_above_the_minimum_size_are_closed_after_the_idle_timeout() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, pool_min_size=2, pool_idle_timeout=60)
        await open_idle(pool, 5)
        await asyncio.sleep(55)
        assert pool.stats().idle == 5
        await asyncio.sleep(10)
        assert pool.stats().idle == 2
        assert pool.stats().closed["idle"] == 3
        assert all(each.calls["close"] == 1 for each in server.connections if each.is_closed)
        await asyncio.sleep(1_000)
        assert pool.stats().idle == 2
        assert_only_idle(pool, server)
        assert len(server.attempts) == 5, "the minimum size is not closed and opened again"

    run(main())


def test_an_unused_pool_without_a_minimum_size_becomes_empty() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_idle_timeout=60)
        await open_idle(pool, 5)
        await asyncio.sleep(65)
        assert server.open == []
        await use(pool)

    run(main())


def test_idle_connections_stay_open_without_idle_timeout_and_max_lifetime() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_idle_timeout=None, pool_max_lifetime=None)
        await open_idle(pool, 5)
        await asyncio.sleep(20_000)
        assert len(server.open) == 5

    run(main())


def test_light_load_shrinks_a_lifo_pool() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_idle_timeout=60)
        await open_idle(pool, 5)
        for _ in range(50):
            await use(pool, 0.1)
            await asyncio.sleep(2)
        assert pool.stats().idle == 1

    run(main())


def test_light_load_does_not_shrink_a_fifo_pool() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_idle_timeout=60, use_lifo=False)
        await open_idle(pool, 5)
        for _ in range(50):
            await use(pool, 0.1)
            await asyncio.sleep(2)
        assert pool.stats().idle == 5

    run(main())


def test_a_connection_in_use_is_not_closed_for_idle_timeout() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_idle_timeout=10)
        async with borrowed(pool) as fairy:
            await asyncio.sleep(100)
            assert not driver_of(fairy).is_closed
        assert pool.stats().idle == 1, "its idle time starts with its return"

    run(main())


# -------------------------------------------------------------------- keepalive


def test_keepalive_pings_idle_connections() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_keepalive=30, pool_idle_timeout=None)
        connections = await open_idle(pool, 3)
        await asyncio.sleep(100)
        assert all(3 <= each.calls["ping"] <= 4 for each in connections)

    run(main())


def test_keepalive_does_not_restart_the_idle_timeout() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_keepalive=10, pool_idle_timeout=60)
        await open_idle(pool, 3)
        await asyncio.sleep(65)
        assert server.open == []

    run(main())


def test_keepalive_does_not_change_the_order_of_idle_connections() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_keepalive=10, pool_idle_timeout=60)
        await open_idle(pool, 5)
        for _ in range(100):
            await use(pool, 0.1)
            await asyncio.sleep(2)
        assert pool.stats().idle == 1, "with a changed order, light load would use all five"

    run(main())


def test_keepalive_finds_dead_connections_and_the_minimum_size_is_refilled() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_keepalive=10, pool_min_size=3)
        for each in await open_idle(pool, 3):
            each.die()
        await asyncio.sleep(15)
        assert len(server.open) == 3
        assert all(not each.is_dead for each in server.open)
        assert_only_idle(pool, server)

    run(main())


# --------------------------------------------------------------------- lifetime


def test_a_connection_is_closed_in_the_last_ten_percent_of_its_max_lifetime() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(
            server, pool_size=50, pool_min_size=50, pool_max_lifetime=1_000, pool_idle_timeout=None
        )
        await open_idle(pool, 50)
        await asyncio.sleep(5_000)
        ages = [each.closed_at - each.opened_at for each in server.connections if each.closed_at]
        assert len(ages) >= 200
        assert min(ages) >= 900
        assert max(ages) <= 1_002
        assert max(ages) - min(ages) > 50, "connections opened together are not closed together"
        assert pool.stats().closed["lifetime"] == len(ages)

    run(main())


def test_a_connection_that_expires_in_use_is_closed_on_its_return() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_max_lifetime=10)
        async with borrowed(pool) as fairy:
            old = driver_of(fairy)
            await asyncio.sleep(20)
            assert not old.is_closed
        await asyncio.sleep(0.1)
        assert old.is_closed
        assert pool.stats().closed["lifetime"] == 1

    run(main())


def test_connections_expire_although_tasks_are_always_waiting() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0, pool_max_lifetime=10)
        end = asyncio.get_running_loop().time() + 100

        async def client() -> None:
            while asyncio.get_running_loop().time() < end:
                await use(pool, 0.5)

        await asyncio.gather(*(client() for _ in range(5)))
        ages = [each.closed_at - each.opened_at for each in server.connections if each.closed_at]
        assert len(ages) >= 15
        assert max(ages) <= 12

    run(main())


def test_the_jitter_of_the_lifetime_is_drawn_once_per_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        drawn: list[float] = []

        def draw() -> float:
            drawn.append(0.5)
            return 0.5

        import random

        monkeypatch.setattr(random, "random", draw)
        server = Server()
        pool = new_pool(server, pool_max_lifetime=1_000, pool_idle_timeout=None)
        (connection,) = await open_idle(pool, 1)
        for _ in range(100):
            await use(pool)
            await asyncio.sleep(5)
        assert len(drawn) == 1
        await asyncio.sleep(1_000)
        assert connection.closed_at is not None
        assert connection.closed_at - connection.opened_at == pytest.approx(950, abs=2)

    run(main())


def test_retire_all_replaces_idle_connections_at_once_and_others_on_return() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, pool_min_size=3)
        old = await open_idle(pool, 3)
        fairy = await borrow(pool)
        pool.retire_all()
        await asyncio.sleep(2)
        assert [each.is_closed for each in old] == [True, True, False]
        await give_back(fairy)
        await asyncio.sleep(2)
        assert all(each.is_closed for each in old)
        assert pool.stats().idle == 3, "the minimum size is refilled"
        assert_only_idle(pool, server)

    run(main())


# ----------------------------------------------------------------- minimum size


def test_the_minimum_size_is_refilled_without_a_checkout() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.1))
        pool = new_pool(server, pool_min_size=4, pool_idle_timeout=None)
        await pool.warm()
        for each in server.connections:
            each.die(seen_by_probe=True)
        await asyncio.sleep(3)
        assert len(server.open) == 4
        assert pool.stats().closed["dead"] == 4
        assert_only_idle(pool, server)

    run(main())


def test_the_first_checkout_starts_the_refill() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.1))
        pool = new_pool(server, pool_min_size=4)
        await use(pool)
        await asyncio.sleep(5)
        assert pool.stats().idle == 4

    run(main())


def test_a_refill_does_not_delay_waiters() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.5))
        pool = new_pool(server, pool_size=3, max_overflow=0, pool_min_size=3)
        fairies = await asyncio.gather(*(borrow(pool) for _ in range(3)))
        assert now() < 2
        for fairy in fairies:
            await give_back(fairy)
        assert server.peak_sockets == 3

    run(main())


@pytest.mark.parametrize("error", [refused, WrongPassword])
def test_a_refill_that_fails_is_repeated_with_backoff(error: Any) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_min_size=3)
        await use(pool)
        server.usual = Connect(seconds=0.001, error=error)
        for each in server.open:
            each.die(seen_by_probe=True)
        await asyncio.sleep(120)
        assert 5 <= len(server.attempts) <= 1_500, "no more than a few attempts per second"
        before = len(server.attempts)
        await asyncio.sleep(60)
        assert len(server.attempts) - before <= 240
        server.usual = Connect()
        await asyncio.sleep(15)
        assert pool.stats().idle == 3

    run(main())


def test_a_disposed_pool_stays_empty_until_its_next_use() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_min_size=3)
        await pool.warm()
        await dispose(pool)
        await asyncio.sleep(100)
        assert server.open == []
        await use(pool)
        await asyncio.sleep(5)
        assert pool.stats().idle == 3

    run(main())


# ------------------------------------------------------------------------ leaks


def test_a_leak_is_reported_once_with_its_call_site_and_again_on_return(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def borrow_without_return(pool: Any) -> Any:
        return await borrow(pool)

    async def main() -> None:
        pool = new_pool(Server(), pool_leak_threshold=10)
        fairy = await asyncio.create_task(borrow_without_return(pool), name="forgetful task")
        await asyncio.sleep(9)
        assert caplog.records == []
        await asyncio.sleep(60)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "leak" in record.getMessage()
        assert "test_housekeeper.py" in record.getMessage() or "fake_driver" in record.getMessage()
        assert isinstance(record.held_seconds, float)  # type: ignore[attr-defined]
        assert 10 <= record.held_seconds <= 13  # type: ignore[attr-defined]
        await give_back(fairy)
        assert len(caplog.records) == 2
        assert caplog.records[1].held_seconds == pytest.approx(69, abs=1)  # type: ignore[attr-defined]
        await use(pool)
        assert len(caplog.records) == 2

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())


def test_a_second_leak_of_the_same_connection_is_reported_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_leak_threshold=10)
        await use(pool, 30)
        await use(pool, 30)
        assert len(caplog.records) == 4

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())


def test_a_connection_collected_while_leaks_are_reported_does_not_stop_the_housekeeper(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A log handler that collects garbage changes the entries while the housekeeper walks them."""

    class CollectGarbage(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "leak" in record.getMessage():
                gc.collect()

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_leak_threshold=10, pool_size=10, pool_min_size=2)

        async def leak() -> None:
            cycle: list[Any] = [await borrow(pool)]
            cycle.append(cycle)

        held = [await borrow(pool) for _ in range(3)]
        gc.disable()
        try:
            for _ in range(3):
                await leak()
            with pytest.warns(Warning, match="garbage collector"):
                await asyncio.sleep(30)
        finally:
            gc.enable()
        for fairy in held:
            await give_back(fairy)
        await asyncio.sleep(5)
        assert virtual_loop().unhandled == []
        assert_only_idle(pool, server)

    handler = CollectGarbage()
    logging.getLogger(LOGGER).addHandler(handler)
    try:
        run(main())
    finally:
        logging.getLogger(LOGGER).removeHandler(handler)


# ---------------------------------------- blocked loops, pools without references


def test_a_blocked_loop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = new_pool(Server())
        await use(pool)
        await asyncio.sleep(5)
        assert caplog.records == []
        virtual_loop().block(4)
        await asyncio.sleep(2)
        (record,) = caplog.records
        assert "blocked" in record.getMessage()
        assert 2.5 <= record.blocked_seconds <= 4.5  # type: ignore[attr-defined]

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())


def test_a_loop_that_does_not_run_between_two_calls_is_not_logged_as_blocked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        await use(pool)
        await asyncio.sleep(5)

    async def create_pool() -> Any:
        return new_pool(Server())

    with caplog.at_level(logging.WARNING, LOGGER):
        pool = loop.run_until_complete(create_pool())
        loop.run_until_complete(main())
        loop.block(60)
        run(main(), loop=loop)
    assert caplog.records == []


def test_a_disposed_pool_without_references_is_collected_while_its_loop_runs() -> None:
    async def main() -> None:
        async def use_and_forget() -> weakref.ref[Any]:
            server = Server()
            pool = new_pool(server, pool_min_size=2, pool_idle_timeout=None)
            await open_idle(pool, 2)
            await asyncio.sleep(10)
            await dispose(pool)
            return weakref.ref(pool)

        pool = await asyncio.ensure_future(use_and_forget())
        await asyncio.sleep(60)
        gc.collect()
        assert pool() is None
        scheduled: Any = virtual_loop()
        assert [each for each in scheduled._scheduled if not each.cancelled()] == []

    run(main())


def test_a_pool_without_references_is_collected_although_it_was_not_disposed() -> None:
    async def main() -> None:
        async def use_and_forget() -> weakref.ref[Any]:
            pool = new_pool(Server(), pool_min_size=2, pool_keepalive=5)
            await open_idle(pool, 2)
            await asyncio.sleep(20)
            return weakref.ref(pool)

        pool = await asyncio.ensure_future(use_and_forget())
        for _ in range(2):  # at the first time a ping may be in progress
            await asyncio.sleep(33.3)
            gc.collect()
        assert pool() is None
        await asyncio.sleep(5)
        scheduled: Any = virtual_loop()
        assert [each for each in scheduled._scheduled if not each.cancelled()] == []

    run(main())


def test_a_failing_listener_does_not_stop_the_housekeeper() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_idle_timeout=10)
        await open_idle(pool, 3)

        @event.listens_for(pool, "close")
        def fail(connection: Any, record: Any) -> None:
            raise LookupError

        await asyncio.sleep(30)
        assert server.open == []
        assert_only_idle(pool, server)
        await use(pool)

    run(main())


def test_the_housekeeper_does_not_delay_waiters() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0, pool_keepalive=1, pool_idle_timeout=2)
        waits: list[float] = []
        end = asyncio.get_running_loop().time() + 60

        async def client() -> None:
            while (started := asyncio.get_running_loop().time()) < end:
                fairy = await borrow(pool)
                waits.append(asyncio.get_running_loop().time() - started)
                await asyncio.sleep(0.1)
                await give_back(fairy)

        await asyncio.gather(*(client() for _ in range(6)))
        assert max(waits) <= 0.31
        assert pool.stats().waiting == 0

    run(main())
