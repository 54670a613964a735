"""Guarantee 6: a connection that was unused is validated before it is handed out."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event, exc, text

from sqla_typedpool import PoolTimeout, TypedPool
from sqla_typedpool._sqlalchemy.greenlets import await_only, greenlet_spawn
from tests.support.fake_driver import (
    Connect,
    Disconnect,
    FakeConnection,
    ReadOnly,
    Server,
    assert_full_capacity,
    assert_only_idle,
    borrow,
    borrowed,
    change_driver,
    dispose,
    driver_of,
    give_back,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import collect_garbage, loop_iterations, now, run


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


def test_when_all_idle_connections_are_silent_one_ping_is_waited_for_and_not_the_others() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, max_overflow=0)
        silent = await open_idle(pool, 5)
        for each in silent:
            each.hang |= {"ping", "close"}
        await asyncio.sleep(5)
        fresh = await use(pool)
        assert fresh not in silent
        assert now() - 5 <= 2.3, "a ping has 2 s"
        assert server.count("ping") == 5, "the others are being pinged"
        await asyncio.sleep(5)
        assert all(each.is_closed for each in silent)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 5)

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

    async def ping(self: Any, connection: Any) -> None:
        pinged.append(connection)
        await connection.execute()

    change_driver(monkeypatch, has_ping=True, ping=ping, adapter="FakeAdapter")

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
    async def ping(self: Any, connection: Any) -> None:
        raise AssertionError("the ping is not meant for this adapter class")

    change_driver(monkeypatch, has_ping=True, ping=ping, adapter="SomeOtherAdapter")

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


def _calls_for_disconnects(count: int) -> int:
    """How many functions are called when so many connections in use meet a disconnect each."""
    calls = 0

    def count_call(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    def disconnect(pool: Any, fairies: list[Any]) -> None:
        profile = sys.getprofile()
        sys.setprofile(count_call)
        try:
            for fairy in fairies:
                pool._invalidate(fairy, Disconnect())
        finally:
            sys.setprofile(profile)

    async def main() -> None:
        server = Server(keep_ledger=False)
        pool = new_pool(server, pool_size=count, max_overflow=0)
        fairies = [await borrow(pool) for _ in range(count)]
        await asyncio.sleep(1)
        await greenlet_spawn(disconnect, pool, fairies)
        await asyncio.sleep(1)
        assert_only_idle(pool, server)

    run(main())
    return calls


def test_the_work_for_disconnects_of_all_connections_in_use_grows_no_faster_than_their_number() -> (
    None
):
    """A restart of the server ends them all: none may have to mark each of the others."""
    few, many = _calls_for_disconnects(100), _calls_for_disconnects(500)
    assert few >= 100, "it has been counted"
    assert many <= 5.2 * few


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


@pytest.mark.parametrize("how", ["dispose", "close"])
def test_a_reconnect_in_progress_at_dispose_or_close_leaves_no_connection_open(how: str) -> None:
    """It is older than the dispose, so what it opens is closed on its return."""

    async def main() -> None:
        server = Server().script(Connect(), Connect(seconds=0.5))
        pool = new_pool(server, pool_size=2)
        _reject_once(pool)
        borrower = asyncio.ensure_future(use(pool, 1))
        await asyncio.sleep(0.2)
        await (dispose(pool) if how == "dispose" else pool.close(timeout=10))
        await borrower
        await asyncio.sleep(1)
        assert len(server.attempts) == 2
        assert pool.stats().closed[how] == 1
        assert (pool.stats().idle, server.sockets) == (0, 0)

    run(main())


class FailsWhenCancelled(Server):
    """Its driver turns the cancellation of a connect into its own error."""

    async def connect(self) -> FakeConnection:
        try:
            return await super().connect()
        except asyncio.CancelledError:
            raise Disconnect("the connect was interrupted") from None


def test_the_error_of_a_reconnect_that_its_borrower_has_given_up_is_retrieved() -> None:
    """asyncio would log "Task exception was never retrieved"; `run` fails for that."""

    async def main() -> None:
        server = FailsWhenCancelled().script(Connect(), Connect(silent=True))
        pool = new_pool(server, pool_size=2, timeout=1)
        _reject_once(pool)
        with pytest.raises(PoolTimeout):
            await use(pool)
        assert now() == pytest.approx(1, abs=0.01)
        await asyncio.sleep(1)
        collect_garbage()
        assert_only_idle(pool, server)

    run(main())


class IgnoresCancellation(Server):
    """Its driver continues a connect that is cancelled, and succeeds."""

    async def connect(self) -> FakeConnection:
        connecting = asyncio.ensure_future(super().connect())
        while not connecting.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({connecting})
        return connecting.result()


def test_a_reconnect_that_succeeds_too_late_does_not_close_a_connection_in_use() -> None:
    """The entry has been returned with the late connection in it, while its connect listener
    still runs: the next borrower got it, and lost it when the reconnect ended."""

    async def main() -> None:
        server = IgnoresCancellation().script(Connect(), Connect(seconds=1.5))
        pool = new_pool(server, driver="unknown", pool_size=1, max_overflow=0, timeout=1)
        checkouts = 0

        @event.listens_for(pool, "checkout")
        def reject_first(connection: Any, record: Any, proxy: Any) -> None:
            nonlocal checkouts
            checkouts += 1
            if checkouts == 1:
                raise exc.DisconnectionError

        @event.listens_for(pool, "checkin")
        def return_slowly(connection: Any, record: Any) -> None:
            if checkouts == 1:
                await_only(asyncio.sleep(1))

        @event.listens_for(pool, "connect")
        def configure_slowly(connection: Any, record: Any) -> None:
            if len(server.attempts) == 2:
                with suppress(asyncio.CancelledError):
                    await_only(asyncio.sleep(1))

        with pytest.raises(PoolTimeout):
            await use(pool)
        assert now() == pytest.approx(2, abs=0.01)
        late = server.connections[1]
        assert not late.is_closed, "its connect listener runs"
        async with borrowed(pool) as fairy:
            assert driver_of(fairy) is not late
            await asyncio.sleep(1.5)
            assert not driver_of(fairy).is_closed
            assert late.is_closed
        await asyncio.sleep(1)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

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


def test_a_softly_invalidated_connection_is_not_given_to_a_waiter_of_a_disposed_pool() -> None:
    """Waiters of a disposed pool get connections that are to be closed, but not this one: the
    application has invalidated it."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        old = driver_of(fairy)
        waiter = asyncio.ensure_future(borrow(pool))
        await loop_iterations(3)
        fairy.invalidate(soft=True)
        await dispose(pool)
        await give_back(fairy)
        fairy = await waiter
        assert driver_of(fairy) is not old
        assert old.is_closed
        await give_back(fairy)
        await asyncio.sleep(1)
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
