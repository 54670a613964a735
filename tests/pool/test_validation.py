"""Guarantee 6: a connection that was unused is validated before it is handed out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, exc, text

from sqla_typedpool import TypedPool
from sqla_typedpool._sqlalchemy import await_only, greenlet_spawn
from tests.support.fake_driver import (
    Connect,
    ReadOnly,
    Server,
    assert_full_capacity,
    assert_only_idle,
    borrow,
    borrowed,
    change_driver,
    driver_of,
    give_back,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import now, run


def test_a_connection_in_frequent_use_is_never_pinged() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        for _ in range(100):
            await use(pool)
            await asyncio.sleep(0.4)
        assert server.count("ping") == 0

    run(main())


def test_a_connection_unused_for_longer_than_pool_validate_after_is_pinged_once() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_validate_after=2)
        await use(pool)
        await asyncio.sleep(1.9)
        await use(pool)
        assert server.count("ping") == 0
        await asyncio.sleep(2.1)
        await use(pool)
        assert server.count("ping") == 1
        await use(pool)
        assert server.count("ping") == 1

    run(main())


def test_with_pool_validate_after_zero_every_checkout_pings_once() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_validate_after=0, pool_size=2, max_overflow=0)
        await use(pool)
        assert server.count("ping") == 0, "a new connection needs no ping"
        for number in range(1, 6):
            await use(pool)
            assert server.count("ping") == number
        await asyncio.gather(*(use(pool, 0.01) for _ in range(10)))
        assert_only_idle(pool, server)

    run(main())


def test_with_pool_validate_after_none_no_checkout_pings() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_validate_after=None, pool_idle_timeout=None)
        (connection,) = await open_idle(pool, 1)
        await asyncio.sleep(1_000)
        await use(pool)
        assert server.count("ping") == 0
        connection.die(seen_by_probe=True)
        assert (await use(pool)) is not connection, "the local probe remains"

    run(main())


def test_a_failed_ping_closes_only_that_connection_and_has_the_others_pinged_at_once() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, max_overflow=0)
        connections = await open_idle(pool, 5)
        await asyncio.sleep(5)
        connections[4].die()
        for each in connections:
            each.slow["ping"] = 0.9
        used = await use(pool)
        assert used in connections[:4]
        assert connections[4].is_closed
        assert now() == pytest.approx(5 + 0.9, abs=0.05), "the others were pinged at the same time"
        await asyncio.sleep(0.1)
        assert [each.calls["ping"] for each in connections] == [1, 1, 1, 1, 1]
        assert pool.stats().idle == 4
        assert len(server.attempts) == 5
        assert pool.stats().failed_pings == 1

    run(main())


def test_no_borrower_fails_when_a_restart_has_ended_all_idle_connections() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, max_overflow=0)
        for each in await open_idle(pool, 5):
            each.die()
        await asyncio.sleep(5)
        await asyncio.gather(*(use(pool, 0.01) for _ in range(20)))
        assert now() < 6
        assert len(server.open) == pool.stats().idle <= 5
        assert all(not each.is_dead for each in server.open)
        assert server.peak_sockets <= 5

    run(main())


def test_a_ping_ends_after_two_seconds_and_the_borrower_gets_another_connection() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=30)
        (connection,) = await open_idle(pool, 1)
        connection.hang.add("ping")
        await asyncio.sleep(5)
        assert (await use(pool)) is not connection
        assert now() == pytest.approx(7, abs=0.1)
        assert server.peak_sockets == 1
        assert_only_idle(pool, server)

    run(main())


def test_a_hung_ping_of_an_unknown_driver_is_bounded() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, driver="unknown", pool_size=1, max_overflow=0, timeout=30)
        (connection,) = await open_idle(pool, 1)
        connection.hang.add("ping")
        await asyncio.sleep(5)
        assert (await use(pool)) is not connection
        assert now() == pytest.approx(7, abs=0.5)
        assert connection.is_closed
        assert_only_idle(pool, server)

    run(main())


def test_a_hung_ping_whose_borrower_is_cancelled_is_ended_by_the_pool() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=30)
        (connection,) = await open_idle(pool, 1)
        connection.hang.add("ping")
        await asyncio.sleep(5)
        borrower = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        borrower.cancel()
        await asyncio.wait({borrower})
        assert now() == pytest.approx(5.5)
        assert pool.checkedout() == 0
        await asyncio.sleep(5)
        assert connection.is_closed
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_a_connection_whose_ping_succeeds_after_its_borrower_was_cancelled_becomes_idle() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        connection.slow["ping"] = 1
        await asyncio.sleep(5)
        borrower = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        borrower.cancel()
        await asyncio.sleep(5)
        assert pool.stats().idle == 1
        assert not connection.is_closed
        assert_only_idle(pool, server)

    run(main())


def test_a_ping_error_that_is_no_disconnect_reaches_the_borrower() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        connection.fails["ping"] = ReadOnly
        await asyncio.sleep(5)
        with pytest.raises(ReadOnly):
            await use(pool)
        await asyncio.sleep(5)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 2)

    run(main())


def test_a_returned_connection_serves_a_waiter_whose_ping_is_slow() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        slow, _ = await open_idle(pool, 2)
        slow.slow["ping"] = 1.5
        await asyncio.sleep(5)
        first = await borrow(pool)  # the fast one, after its ping
        waiter = asyncio.ensure_future(borrow(pool))  # the slow one is being pinged
        await asyncio.sleep(0.5)
        await give_back(first)
        fairy = await waiter
        assert now() < 6
        await give_back(fairy)

    run(main())


def test_a_known_adapter_class_is_pinged_through_its_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinged: list[Any] = []

    async def ping(connection: Any) -> None:
        pinged.append(connection)
        await connection.execute()

    change_driver(monkeypatch, ping=ping, adapter="FakeAdapter")

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        await asyncio.sleep(5)
        await use(pool)
        assert pinged == [connection]
        assert server.count("ping") == 0
        connection.die()
        await asyncio.sleep(5)
        assert (await use(pool)) is not connection

    run(main())


def test_an_unknown_adapter_class_is_pinged_through_its_dialect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ping(connection: Any) -> None:
        raise AssertionError("the ping is not meant for this adapter class")

    change_driver(monkeypatch, ping=ping, adapter="SomeOtherAdapter")

    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        await open_idle(pool, 1)
        await asyncio.sleep(5)
        await use(pool)
        assert server.count("ping") == 1

    run(main())


def test_handle_error_listeners_see_a_failed_ping() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=1, max_overflow=0)
        seen: list[Any] = []

        @event.listens_for(engine.sync_engine, "handle_error")
        def note(context: Any) -> None:
            seen.append((context.is_pre_ping, context.is_disconnect))

        async with engine.connect():
            pass
        server.connections[0].die()
        await asyncio.sleep(5)
        async with engine.connect() as connection:
            await connection.execute(text("select 1"))
        assert seen == [(True, True)]
        await engine.dispose()

    run(main())


# --------------------------------------------------------- disconnects in statements


async def _disconnect_one(engine: Any) -> None:
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        raw.driver_connection.die()
        with pytest.raises(exc.DBAPIError) as caught:
            await connection.execute(text("select 1"))
        assert caught.value.connection_invalidated


def test_a_disconnect_in_a_statement_has_the_other_connections_pinged_not_replaced() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=4, max_overflow=0)
        pool = TypedPool.of(engine)
        await open_idle(pool, 4)
        await _disconnect_one(engine)
        await asyncio.sleep(0.1)
        assert sorted(each.calls["ping"] for each in server.open) == [1, 1, 1]
        assert pool.stats().idle == 3
        assert len(server.attempts) == 4
        assert_only_idle(pool, server)
        await engine.dispose()

    run(main())


def test_a_connection_in_use_during_a_disconnect_is_pinged_before_its_next_use() -> None:
    """Guarantee 6: it may have been lost as well, but it is not replaced without a ping."""

    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=4, max_overflow=0)
        pool = TypedPool.of(engine)
        fairy = await borrow(pool)
        held = driver_of(fairy)
        await asyncio.sleep(0.01)
        await _disconnect_one(engine)
        await asyncio.sleep(0.01)
        await give_back(fairy)
        assert held.calls["ping"] == 0
        assert (await use(pool)) is held
        assert held.calls["ping"] == 1
        await use(pool)
        assert held.calls["ping"] == 1
        await engine.dispose()

    run(main())


def test_a_connection_opened_after_a_disconnect_is_not_pinged() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=4, max_overflow=0)
        await _disconnect_one(engine)
        await asyncio.sleep(0.01)
        for _ in range(3):
            await use(engine.pool)
        assert server.count("ping") == 0
        await engine.dispose()

    run(main())


def test_invalidate_pool_error_replaces_every_connection() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=3, max_overflow=0)
        old = await open_idle(pool, 3)
        rejecting = True

        @event.listens_for(pool, "checkout")
        def reject(connection: Any, record: Any, proxy: Any) -> None:
            nonlocal rejecting
            if rejecting:
                rejecting = False
                raise exc.InvalidatePoolError

        await use(pool)
        await asyncio.sleep(1)
        assert all(each.is_closed for each in old)
        assert_only_idle(pool, server)
        await asyncio.gather(*(use(pool, 0.1) for _ in range(3)))

    run(main())


def test_a_statement_cancelled_on_a_silent_server_ends_within_pool_reset_timeout() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=1, max_overflow=0)
        pool = TypedPool.of(engine)
        (silent,) = await open_idle(pool, 1)
        silent.hang |= {"execute", "close", "rollback"}

        async def work() -> None:
            async with engine.connect() as connection:
                await connection.execute(text("select 1"))

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0.5)
        started = now()
        task.cancel()
        await asyncio.wait({task})
        assert now() - started <= 5.01, "pool_reset_timeout is 5 s"
        await use(pool)
        assert silent.is_closed
        assert server.peak_sockets <= 1
        await engine.dispose()
        assert server.sockets == 0

    run(main())


# -------------------------------------------------------------------- reconnects


def _reject_once(pool: Any, error: type[Exception] = exc.DisconnectionError) -> None:
    done = False

    @event.listens_for(pool, "checkout")
    def reject(connection: Any, record: Any, proxy: Any) -> None:
        nonlocal done
        if not done:
            done = True
            raise error


def test_a_connection_that_a_checkout_listener_rejects_is_replaced() -> None:
    """SQLAlchemy reconnects the same entry, inside the checkout of the borrower."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (old,) = await open_idle(pool, 1)
        _reject_once(pool)
        assert (await use(pool)) is not old
        assert old.is_closed
        await asyncio.sleep(1)
        assert_only_idle(pool, server)
        assert pool.stats().connects == len(server.attempts) == 2

    run(main())


def test_a_reconnect_on_a_silent_server_ends_at_the_deadline_of_the_checkout() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=3, pool_connect_timeout=10)
        await open_idle(pool, 1)
        _reject_once(pool)
        server.usual = Connect(silent=True)
        with pytest.raises(exc.TimeoutError):
            await borrow(pool)
        assert now() == pytest.approx(3, abs=0.1)
        server.usual = Connect()
        await asyncio.sleep(10)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_a_reconnect_waits_until_the_old_connection_is_closed() -> None:
    """Guarantee 4: otherwise there would be more sockets than the limit for a moment."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (old,) = await open_idle(pool, 1)
        old.slow["close"] = 0.5
        _reject_once(pool)
        await use(pool)
        assert server.peak_sockets == 1, "the server may allow only one connection"

    run(main())


def test_a_cancelled_reconnect_counts_until_its_socket_is_closed() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=30)
        await open_idle(pool, 1)
        _reject_once(pool)
        server.script(Connect(silent=True, ignores_cancel_for=3))
        borrower = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        borrower.cancel()
        await asyncio.wait({borrower})
        await use(pool)
        assert server.peak_sockets == 1
        await asyncio.sleep(10)
        assert_only_idle(pool, server)

    run(main())


def test_a_softly_invalidated_connection_is_replaced_at_the_next_checkout() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        old = driver_of(fairy)
        fairy.invalidate(soft=True)
        assert not old.is_closed
        await give_back(fairy)
        assert (await use(pool)) is not old
        await asyncio.sleep(1)
        assert old.is_closed
        assert_only_idle(pool, server)

    run(main())


def test_an_invalidated_connection_frees_its_slot_on_return() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        async with borrowed(pool) as fairy:
            await greenlet_spawn(fairy.invalidate)
        await asyncio.sleep(0.1)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_pool_pre_ping_is_accepted_and_adds_no_ping() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_pre_ping=True)
        for _ in range(5):
            await use(engine.pool)
        assert server.count("ping") == 0
        server.connections[0].die()
        await asyncio.sleep(5)
        await use(engine.pool)
        assert server.count("ping") == 1
        await engine.dispose()

    run(main())


def test_an_invalidate_listener_that_awaits_does_not_affect_the_next_connection() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (dead,) = await open_idle(pool, 1)

        @event.listens_for(pool, "invalidate")
        def wait(connection: Any, record: Any, error: Any) -> None:
            await_only(asyncio.sleep(0.5))

        dead.die(seen_by_probe=True)
        fairy = await borrow(pool)
        fresh = driver_of(fairy)
        assert fresh is not dead
        await asyncio.sleep(2)
        assert not fresh.is_closed
        assert fairy.is_valid
        assert fairy._connection_record.dbapi_connection is not None
        await give_back(fairy)
        assert dead.is_closed
        assert_only_idle(pool, server)

    run(main())


def test_each_waiter_gets_its_own_ping_error() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        for each in await open_idle(pool, 2):
            each.fails["ping"] = ReadOnly
        await asyncio.sleep(5)
        got = await asyncio.gather(borrow(pool), borrow(pool), return_exceptions=True)
        errors = [each for each in got if isinstance(each, ReadOnly)]
        assert len(errors) == len({id(each) for each in errors})
        assert len(errors) >= 1
        for each in got:
            if not isinstance(each, BaseException):
                await give_back(each)

    run(main())
