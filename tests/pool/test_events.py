"""Guarantee 11: pool events fire as often and in the same order as in the stock pool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import event, exc
from sqlalchemy.pool import AsyncAdaptedQueuePool

from sqla_typedpool import TypedPool
from sqla_typedpool._sqlalchemy.greenlets import await_only, greenlet_spawn
from tests.support.fake_driver import (
    Connect,
    Server,
    WrongPassword,
    borrow,
    borrowed,
    dispose,
    driver_of,
    give_back,
    new_pool,
    use,
)
from tests.support.virtual_clock import run

EVENTS = (
    "connect",
    "first_connect",
    "checkout",
    "checkin",
    "reset",
    "invalidate",
    "soft_invalidate",
    "detach",
    "close",
    "close_detached",
)


def listen(pool: Any) -> list[str]:
    """Log every event with the number of its connection."""
    log: list[str] = []

    def listener(name: str) -> Callable[..., None]:
        def note(connection: Any = None, *rest: Any) -> None:
            number = "-" if connection is None else connection._connection.number
            log.append(f"{name} {number}")

        return note

    for name in EVENTS:
        event.listen(pool, name, listener(name))
    return log


async def borrow_twice(pool: Any) -> None:
    await use(pool)
    await use(pool)


async def two_at_a_time(pool: Any) -> None:
    first = await borrow(pool)
    second = await borrow(pool)
    await give_back(first)
    await give_back(second)


async def overflow(pool: Any) -> None:
    fairies = [await borrow(pool) for _ in range(3)]
    for fairy in fairies:
        await give_back(fairy)


async def invalidate(pool: Any) -> None:
    async with borrowed(pool) as fairy:
        await greenlet_spawn(fairy.invalidate)
    await use(pool)


async def soft_invalidate(pool: Any) -> None:
    async with borrowed(pool) as fairy:
        fairy.invalidate(soft=True)
    await use(pool)


async def detach(pool: Any) -> None:
    async with borrowed(pool) as fairy:
        fairy.detach()
    await use(pool)


async def dispose_while_idle(pool: Any) -> None:
    await two_at_a_time(pool)
    await dispose(pool)


async def reset_fails(pool: Any) -> None:
    async with borrowed(pool) as fairy:
        driver_of(fairy).fails["rollback"] = WrongPassword
    await use(pool)


async def connect_fails(pool: Any) -> None:
    with pytest.raises(WrongPassword):
        await borrow(pool)
    await use(pool)


def _rejecting(error: type[Exception], times: int) -> Callable[[Any], Awaitable[None]]:
    async def scenario(pool: Any) -> None:
        await use(pool)
        left = times

        @event.listens_for(pool, "checkout")
        def reject(connection: Any, record: Any, proxy: Any) -> None:
            nonlocal left
            if left > 0:
                left -= 1
                raise error

        with contextlib.suppress(exc.InvalidRequestError):
            await use(pool)
        await use(pool)

    return scenario


SCENARIOS: dict[str, Callable[[Any], Awaitable[None]]] = {
    "two borrows": borrow_twice,
    "two connections at a time": two_at_a_time,
    "overflow": overflow,
    "invalidation": invalidate,
    "soft invalidation": soft_invalidate,
    "detaching": detach,
    "dispose": dispose_while_idle,
    "a reset that fails": reset_fails,
    "a checkout rejected": _rejecting(exc.DisconnectionError, 1),
    "a checkout rejected twice": _rejecting(exc.DisconnectionError, 2),
    "a checkout that invalidates the pool": _rejecting(exc.InvalidatePoolError, 1),
}


def _log_of(
    poolclass: type[Any], scenario: Callable[[Any], Awaitable[None]], **options: Any
) -> Any:
    async def main() -> list[str]:
        pool = new_pool(Server(), poolclass=poolclass, pool_size=2, max_overflow=1, **options)
        log = listen(pool)
        await scenario(pool)
        await asyncio.sleep(0.01)
        result = list(log)
        await dispose(pool)
        return result

    return run(main())


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_events_and_their_order_are_those_of_the_stock_pool(name: str) -> None:
    stock = _log_of(AsyncAdaptedQueuePool, SCENARIOS[name], use_lifo=True)
    ours = _log_of(TypedPool, SCENARIOS[name])
    assert ours == stock
    assert ours


def test_a_failed_connect_fires_no_connect_event() -> None:
    async def main() -> None:
        server = Server().script(Connect(error=WrongPassword))
        pool = new_pool(server, pool_size=1, max_overflow=0)
        log = listen(pool)
        await connect_fails(pool)
        assert log[0].startswith(("first_connect", "connect"))
        assert [each for each in log if each.startswith("connect")] == ["connect 2"]

    run(main())


def test_first_connect_fires_once_for_a_pool_used_in_several_loops() -> None:
    pool = new_pool(Server(), pool_size=2)
    log = listen(pool)

    async def main() -> None:
        await asyncio.gather(*(use(pool, 0.1) for _ in range(2)))

    for _ in range(3):
        run(main())
    assert sum(each.startswith("first_connect") for each in log) == 1
    assert sum(each.startswith("connect") for each in log) == 6


def test_every_connection_fires_connect_and_close_exactly_once() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=3, pool_idle_timeout=10, pool_max_lifetime=30)
        log = listen(pool)
        for _ in range(30):
            await asyncio.gather(*(use(pool, 0.5) for _ in range(6)))
            await asyncio.sleep(3)
        await asyncio.sleep(60)
        for name in ("connect", "close"):
            fired = [each for each in log if each.startswith(f"{name} ")]
            assert len(fired) == len(set(fired)) == len(server.connections), name

    run(main())


def test_a_dead_connection_fires_invalidate_and_close_once() -> None:
    async def main() -> None:
        pool = new_pool(Server())
        log = listen(pool)
        connection = await use(pool)
        connection.die(seen_by_probe=True)
        del log[:]
        await use(pool)
        assert log[:2] == ["invalidate 1", "close 1"]
        assert log.count("close 1") == 1

    run(main())


def test_pings_and_the_housekeeper_fire_no_checkout_event() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_keepalive=5, pool_min_size=2, pool_idle_timeout=None)
        log = listen(pool)
        await pool.warm()
        await asyncio.sleep(60)
        assert not [each for each in log if each.startswith(("checkout", "checkin", "reset"))]

    run(main())


def test_event_listeners_may_await() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_idle_timeout=5)
        seen: list[str] = []

        def listener(name: str) -> Callable[..., None]:
            def wait(*args: Any) -> None:
                await_only(asyncio.sleep(0.1))
                seen.append(name)

            return wait

        for name in ("connect", "checkout", "reset", "checkin", "close"):
            event.listen(pool, name, listener(name))
        await use(pool)
        await asyncio.sleep(10)
        assert seen == ["connect", "checkout", "reset", "checkin", "close"]
        assert pool.stats().size == 0

    run(main())


def test_recreate_copies_the_event_listeners() -> None:
    async def main() -> None:
        pool = new_pool(Server())
        log = listen(pool)
        fresh = pool.recreate()
        await use(fresh)
        assert "checkin 1" in log

    run(main())


def test_take_returns_none_when_a_checkout_listener_is_registered() -> None:
    """`take()` is the fast path of a fetch, which fires no events."""

    async def main() -> None:
        pool = new_pool(Server(), reset_on_return=None)
        assert pool.take() is None, "nothing is idle"
        await use(pool)
        record = pool.take()
        assert record is not None
        assert pool.checkedout() == 1
        pool.give_back(record)
        assert pool.stats().idle == 1
        event.listen(pool, "checkout", lambda *args: None)
        assert pool.take() is None

    run(main())
