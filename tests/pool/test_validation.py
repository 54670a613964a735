"""Law 6: is an unused connection still alive?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, exc, text

from sqla_typedpool import TypedPool
from sqla_typedpool._sqlalchemy import greenlet_spawn
from sqla_typedpool.pool import drivers
from tests.support.fake_driver import (
    ROW,
    Connect,
    ReadOnly,
    Server,
    assert_at_rest,
    assert_serves_in_full,
    borrow,
    borrowed,
    driver_of,
    give,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import now, run


def test_a_busy_connection_is_never_pinged() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        for _ in range(100):
            await use(pool)
            await asyncio.sleep(0.4)
        assert server.count("ping") == 0

    run(main())


def test_a_connection_unused_for_longer_is_pinged_once() -> None:
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


def test_zero_means_a_ping_at_every_checkout_and_only_one() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_validate_after=0, pool_size=2, max_overflow=0)
        await use(pool)
        assert server.count("ping") == 0, "a new connection needs none"
        for number in range(1, 6):
            await use(pool)
            assert server.count("ping") == number
        await asyncio.gather(*(use(pool, 0.01) for _ in range(10)))
        assert_at_rest(pool, server)

    run(main())


def test_none_means_no_ping_ever() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_validate_after=None, pool_idle_timeout=None)
        (connection,) = await open_idle(pool, 1)
        await asyncio.sleep(1_000)
        await use(pool)
        assert server.count("ping") == 0
        connection.die(seen=True)
        assert (await use(pool)) is not connection, "the free look remains"

    run(main())


def test_a_failed_ping_costs_only_that_connection_and_asks_the_others_at_once() -> None:
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
        assert now() == pytest.approx(5 + 0.9, abs=0.05), "the others were asked at the same time"
        await asyncio.sleep(0.1)
        assert [each.did["ping"] for each in connections] == [1, 1, 1, 1, 1]
        assert pool.stats().idle == 4
        assert len(server.attempts) == 5
        assert pool.stats().failed_pings == 1

    run(main())


def test_all_dead_after_a_restart_means_one_reconnect_per_borrower_and_no_error() -> None:
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
        assert server.most_sockets <= 5

    run(main())


def test_a_ping_is_over_after_two_seconds_and_the_borrower_gets_another_connection() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=30)
        (connection,) = await open_idle(pool, 1)
        connection.hang.add("ping")
        await asyncio.sleep(5)
        assert (await use(pool)) is not connection
        assert now() == pytest.approx(7, abs=0.1)
        assert server.most_sockets == 1
        assert_at_rest(pool, server)

    run(main())


def test_an_unknown_drivers_hung_ping_is_bounded_too() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, driver="unheard-of", pool_size=1, max_overflow=0, timeout=30)
        (connection,) = await open_idle(pool, 1)
        connection.hang.add("ping")
        await asyncio.sleep(5)
        assert (await use(pool)) is not connection
        assert now() == pytest.approx(7, abs=0.5)
        assert connection.is_closed
        assert_at_rest(pool, server)

    run(main())


def test_a_cancelled_borrower_leaves_the_hung_ping_to_the_pool() -> None:
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
        assert_at_rest(pool, server)
        await assert_serves_in_full(pool, server, 1)

    run(main())


def test_a_ping_answered_after_its_borrower_has_gone_leaves_the_connection_idle() -> None:
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
        assert_at_rest(pool, server)

    run(main())


def test_a_ping_error_that_is_no_disconnect_reaches_the_caller() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        connection.fails["ping"] = ReadOnly
        await asyncio.sleep(5)
        with pytest.raises(ReadOnly):
            await use(pool)
        await asyncio.sleep(5)
        assert_at_rest(pool, server)
        await assert_serves_in_full(pool, server, 2)

    run(main())


def test_a_waiter_need_not_wait_for_a_slow_ping_when_something_comes_back() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        slow, _ = await open_idle(pool, 2)
        slow.slow["ping"] = 1.5
        await asyncio.sleep(5)
        first = await borrow(pool)  # the other one, pinged
        waiter = asyncio.ensure_future(borrow(pool))  # the slow one is asked
        await asyncio.sleep(0.5)
        await give(first)
        fairy = await waiter
        assert now() < 6
        await give(fairy)

    run(main())


def test_pings_of_a_studied_adapter_take_the_drivers_own_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    async def ping(connection: Any) -> None:
        asked.append(connection)
        await connection.execute()

    row = drivers.Driver(**{**vars(ROW), "ping": ping, "adapter": "FakeAdapter"})
    monkeypatch.setitem(drivers._DRIVERS, "fake", row)

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        await asyncio.sleep(5)
        await use(pool)
        assert asked == [connection]
        assert server.count("ping") == 0
        connection.die()
        await asyncio.sleep(5)
        assert (await use(pool)) is not connection

    run(main())


def test_a_foreign_adapter_is_pinged_by_its_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ping(connection: Any) -> None:
        raise AssertionError("not studied on this class")

    row = drivers.Driver(**{**vars(ROW), "ping": ping, "adapter": "SomeOtherAdapter"})
    monkeypatch.setitem(drivers._DRIVERS, "fake", row)

    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        await open_idle(pool, 1)
        await asyncio.sleep(5)
        await use(pool)
        assert server.count("ping") == 1

    run(main())


def test_listeners_of_errors_see_a_failing_ping() -> None:
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


# --------------------------------------------------------- a statement's disconnect


async def _lose_one(engine: Any) -> None:
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        raw.driver_connection.die()
        with pytest.raises(exc.DBAPIError) as caught:
            await connection.execute(text("select 1"))
        assert caught.value.connection_invalidated


def test_a_disconnect_seen_by_a_statement_makes_the_others_be_asked_not_replaced() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=4, max_overflow=0)
        pool = TypedPool.of(engine)
        await open_idle(pool, 4)
        await _lose_one(engine)
        await asyncio.sleep(0.1)
        assert sorted(each.did["ping"] for each in server.open) == [1, 1, 1]
        assert pool.stats().idle == 3
        assert len(server.attempts) == 4
        assert_at_rest(pool, server)
        await engine.dispose()

    run(main())


def test_a_connection_in_use_during_a_disconnect_is_pinged_after_its_return() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=4, max_overflow=0)
        pool = TypedPool.of(engine)
        fairy = await borrow(pool)
        held = driver_of(fairy)
        await asyncio.sleep(0.01)
        await _lose_one(engine)
        await asyncio.sleep(0.01)
        await give(fairy)
        assert held.did["ping"] == 0
        assert (await use(pool)) is held
        assert held.did["ping"] == 1
        await use(pool)
        assert held.did["ping"] == 1
        await engine.dispose()

    run(main())


def test_a_connection_opened_after_the_disconnect_is_not_suspect() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=4, max_overflow=0)
        await _lose_one(engine)
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
        assert_at_rest(pool, server)
        await asyncio.gather(*(use(pool, 0.1) for _ in range(3)))

    run(main())


def test_a_statement_cancelled_on_a_silent_server_frees_its_borrower_at_once() -> None:
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
        assert now() - started <= 5.01, "the bound of pool_reset_timeout"
        await use(pool)
        assert silent.is_closed
        assert server.most_sockets <= 1
        await engine.dispose()
        assert server.sockets == 0

    run(main())


# ---------------------------------------------------------------------- renewal


def _reject_once(pool: Any, error: type[Exception] = exc.DisconnectionError) -> None:
    done = False

    @event.listens_for(pool, "checkout")
    def reject(connection: Any, record: Any, proxy: Any) -> None:
        nonlocal done
        if not done:
            done = True
            raise error


def test_a_checkout_listener_that_rejects_gets_a_new_connection() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (old,) = await open_idle(pool, 1)
        _reject_once(pool)
        assert (await use(pool)) is not old
        assert old.is_closed
        await asyncio.sleep(1)
        assert_at_rest(pool, server)
        assert pool.stats().connects == len(server.attempts) == 2

    run(main())


def test_a_renewal_on_a_silent_server_ends_with_the_deadline_of_the_checkout() -> None:
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
        assert_at_rest(pool, server)
        await assert_serves_in_full(pool, server, 1)

    run(main())


def test_a_renewal_waits_for_the_old_connection_to_be_gone() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (old,) = await open_idle(pool, 1)
        old.slow["close"] = 0.5
        _reject_once(pool)
        await use(pool)
        assert server.most_sockets == 1, "the server may have room for one only"

    run(main())


def test_a_renewal_given_up_counts_until_its_socket_is_closed() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=30)
        await open_idle(pool, 1)
        _reject_once(pool)
        server.script(Connect(silent=True, stubborn=3))
        borrower = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        borrower.cancel()
        await asyncio.wait({borrower})
        await use(pool)
        assert server.most_sockets == 1
        await asyncio.sleep(10)
        assert_at_rest(pool, server)

    run(main())


def test_a_softly_invalidated_connection_is_replaced_at_the_next_checkout() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        old = driver_of(fairy)
        fairy.invalidate(soft=True)
        assert not old.is_closed
        await give(fairy)
        assert (await use(pool)) is not old
        await asyncio.sleep(1)
        assert old.is_closed
        assert_at_rest(pool, server)

    run(main())


def test_an_invalidated_connection_frees_its_slot_on_return() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        async with borrowed(pool) as fairy:
            await greenlet_spawn(fairy.invalidate)
        await asyncio.sleep(0.1)
        assert_at_rest(pool, server)
        await assert_serves_in_full(pool, server, 1)

    run(main())


def test_sqlalchemys_own_pre_ping_is_accepted_and_stays_off_inside() -> None:
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


def test_a_listener_that_awaits_while_a_dead_connection_goes_does_not_hurt_the_next() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (dead,) = await open_idle(pool, 1)

        @event.listens_for(pool, "invalidate")
        def tell(connection: Any, record: Any, error: Any) -> None:
            from sqla_typedpool._sqlalchemy import await_only

            await_only(asyncio.sleep(0.5))

        dead.die(seen=True)
        fairy = await borrow(pool)
        fresh = driver_of(fairy)
        assert fresh is not dead
        await asyncio.sleep(2)
        assert not fresh.is_closed
        assert fairy.is_valid
        assert fairy._connection_record.dbapi_connection is not None
        await give(fairy)
        assert dead.is_closed
        assert_at_rest(pool, server)

    run(main())


def test_the_ping_error_of_one_waiter_is_not_shared_with_others() -> None:
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
                await give(each)

    run(main())
