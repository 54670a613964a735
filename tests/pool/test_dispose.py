"""Guarantee 12: ``await engine.dispose()`` leaves nothing behind that nobody uses or waits for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event, exc

from sqla_typedpool._sqlalchemy.greenlets import await_only
from tests.support.fake_driver import (
    Connect,
    Server,
    assert_only_idle,
    borrow,
    dispose,
    driver_of,
    give_back,
    loop_pool,
    new_engine,
    new_pool,
    open_idle,
    refused,
    use,
)
from tests.support.virtual_clock import VirtualLoop, now, run


def assert_nothing_open(pool: Any, server: Server) -> None:
    assert (server.sockets, server.open) == (0, [])
    assert_only_idle(pool, server)


def test_a_waiter_that_was_cancelled_just_before_keeps_no_connect() -> None:
    """Its task has not run since, so it is in the queue."""

    async def main() -> None:
        server = Server(usual=Connect(silent=True, ignores_cancel_for=0.5))
        pool = new_pool(server, pool_reset_timeout=3)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        waiter.cancel()
        await dispose(pool)
        assert now() == pytest.approx(1, abs=0.01)
        await asyncio.wait({waiter})
        assert_nothing_open(pool, server)

    run(main())


def test_a_connection_that_is_being_pinged_is_closed_before_dispose_returns() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_keepalive=10)
        (connection,) = await open_idle(pool, 1)
        connection.slow["ping"] = 0.5
        while not connection.calls["ping"]:
            await asyncio.sleep(0.1)
        await dispose(pool)
        assert pool.stats().closed["dispose"] == 1
        assert_nothing_open(pool, server)

    run(main())


def test_a_connection_that_is_being_rolled_back_is_closed_before_dispose_returns() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        await open_idle(pool, 1)
        fairy = await borrow(pool)
        connection = driver_of(fairy)
        connection.slow["rollback"] = 0.5
        part = loop_pool(pool)
        await give_back(fairy)
        (entry,) = part.entries
        assert part.slots.reserve(entry)
        part.validator.roll_back(entry)
        await asyncio.sleep(0.1)
        await dispose(pool)
        assert pool.stats().closed["dispose"] == 1
        assert_nothing_open(pool, server)

    run(main())


def test_a_reconnect_whose_borrower_was_cancelled_has_ended_before_dispose_returns() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=30)
        await open_idle(pool, 1)
        _reject_every_checkout(pool)
        server.script(Connect(silent=True, ignores_cancel_for=1))
        borrower = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        borrower.cancel()
        await asyncio.wait({borrower})
        await dispose(pool)
        assert_nothing_open(pool, server)

    run(main())


def test_a_reconnect_whose_borrower_waits_for_it_is_left_to_it() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=30)
        await open_idle(pool, 1)
        remove = _reject_every_checkout(pool)
        server.script(Connect(seconds=1))
        borrower = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        remove()
        await dispose(pool)
        assert now() < 0.6
        await give_back(await borrower)
        await asyncio.sleep(0.1)
        assert_nothing_open(pool, server)

    run(main())


def _reject_every_checkout(pool: Any) -> Any:
    def reject(connection: Any, record: Any, proxy: Any) -> None:
        raise exc.DisconnectionError

    event.listen(pool, "checkout", reject)
    return lambda: event.remove(pool, "checkout", reject)


def test_nothing_is_opened_after_a_dispose_in_an_outage() -> None:
    """The pause before the next attempt ends later, and so does the timer of the hedging."""

    async def main() -> None:
        server = Server(usual=Connect(error=refused))
        pool = new_pool(server, pool_min_size=2, timeout=3)
        with pytest.raises(exc.TimeoutError):
            await borrow(pool)
        await dispose(pool)
        attempts = len(server.attempts)
        server.usual = Connect()
        await asyncio.sleep(120)
        assert len(server.attempts) == attempts
        assert_nothing_open(pool, server)
        await use(pool)
        await asyncio.sleep(5)
        assert pool.stats().idle == 2
        await dispose(pool)

    run(main())


def test_connects_for_the_minimum_size_are_given_up() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, pool_min_size=4, pool_reset_timeout=3)
        server.script(Connect())
        server.usual = Connect(silent=True, ignores_cancel_for=0.5)
        await use(pool)
        await asyncio.sleep(2)
        assert pool.stats().connecting
        begun = now()
        await dispose(pool)
        assert now() - begun == pytest.approx(0.5, abs=0.01)
        assert_nothing_open(pool, server)
        await asyncio.sleep(60)
        assert_nothing_open(pool, server)

    run(main())


def test_several_calls_at_once_end_together_and_leave_an_engine_that_works() -> None:
    async def main() -> None:
        server = Server(usual=Connect(silent=True, ignores_cancel_for=0.5))
        engine = new_engine(server, pool_reset_timeout=3)
        waiter = asyncio.ensure_future(engine.connect().start())
        await asyncio.sleep(0.5)
        waiter.cancel()
        await asyncio.gather(*(engine.dispose() for _ in range(3)))
        assert now() == pytest.approx(1, abs=0.01)
        assert server.sockets == 0
        server.usual = Connect()
        async with engine.connect():
            assert server.sockets == 1
        await engine.dispose()
        assert server.sockets == 0

    run(main())


@pytest.mark.parametrize("what", ["connect", "close", "ping"])
def test_the_wait_is_limited_by_the_reset_timeout(what: str) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_reset_timeout=2, pool_keepalive=10)
        (connection,) = await open_idle(pool, 1)
        if what == "connect":
            server.usual = Connect(silent=True, ignores_cancel_for=60)
            fairy = await borrow(pool)
            waiter = asyncio.ensure_future(borrow(pool))
            await asyncio.sleep(0.1)
            waiter.cancel()
            await give_back(fairy)
        else:
            connection.slow[what] = 60
        if what == "ping":
            while not connection.calls["ping"]:
                await asyncio.sleep(0.1)
        begun = now()
        await dispose(pool)
        assert now() - begun <= 2.01
        await asyncio.sleep(120)
        assert_nothing_open(pool, server)

    run(main())


def test_a_connect_listener_that_disposes_of_the_pool_does_not_wait_for_itself() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2)
        seconds: list[float] = []

        @event.listens_for(pool, "connect")
        def dispose_of_all(connection: Any, record: Any) -> None:
            await_only(asyncio.sleep(0))
            started = now()
            pool.dispose()
            seconds.append(now() - started)

        await use(pool)
        await asyncio.sleep(5)
        assert seconds == [0]
        assert_nothing_open(pool, server)

    run(main())


@pytest.mark.parametrize("is_given_up", [False, True])
def test_a_connect_whose_listener_runs_when_its_loop_is_closed_by_hand_leaves_no_socket(
    is_given_up: bool,
) -> None:
    server = Server()
    pool = new_pool(server)

    @event.listens_for(pool, "connect")
    def ignore_a_cancellation(connection: Any, record: Any) -> None:
        with suppress(asyncio.CancelledError):
            await_only(asyncio.sleep(60))
        await_only(asyncio.sleep(60))

    async def main() -> None:
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        waiter.cancel()
        await asyncio.wait({waiter})
        if is_given_up:
            pool.dispose()

    loop = VirtualLoop()
    loop.run_until_complete(main())
    loop.close()
    pool.dispose()  # notices that the loop is closed
    (connection,) = server.connections
    assert connection.is_closed
