"""Guarantee 15: a connection inside a transaction that nobody knows of is not used.

SQLAlchemy rolls back before the pool hears of a return, so these tests begin the transaction
afterwards, in a `checkin` listener, as an application's own cursor may do.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from sqlalchemy import event, text

from sqla_typedpool import PoolTimeout, TypedPool
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from sqla_typedpool.pool.drivers import registry
from sqla_typedpool.pool.drivers.base import Probe
from sqla_typedpool.pool.drivers.sqlite_storage import Storage
from sqla_typedpool.pool.entry import Condition
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
    counters,
    dispose,
    driver_of,
    give_back,
    loop_pool,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import VirtualLoop, loop_iterations, now, run, virtual_loop


class Marked(set[FakeConnection]):
    """Connections in which a `checkin` listener begins a transaction, once."""

    def listen(self, pool: Any) -> None:
        event.listen(pool, "checkin", self._on_checkin)

    def _on_checkin(self, adapter: Any, record: Any) -> None:
        if adapter is not None and adapter._connection in self:
            self.discard(adapter._connection)
            adapter._connection.in_transaction = True


def dirty_pool(server: Server, **options: Any) -> tuple[Any, Marked]:
    """A pool, and the connections that are to be returned inside a transaction."""
    pool, marked = new_pool(server, **{"pool_size": 1, "max_overflow": 0, **options}), Marked()
    marked.listen(pool)
    return pool, marked


async def return_dirty(pool: Any, marked: Marked, seconds: float = 0.0) -> FakeConnection:
    """Check out a connection and return it inside a transaction."""
    async with borrowed(pool) as fairy:
        connection = driver_of(fairy)
        marked.add(connection)
        await asyncio.sleep(seconds)
    return connection


def closed(pool: Any) -> dict[str, int]:
    return {reason: count for reason, count in pool.stats().closed.items() if count}


# -------------------------------------------------------------------------- at a return


def test_a_connection_returned_inside_a_transaction_is_rolled_back_before_it_is_idle() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server)
        connection = await return_dirty(pool, marked)
        assert counters(pool)["busy"] == 1
        assert pool.stats().idle == 0
        before = connection.calls["rollback"]
        await asyncio.sleep(0.01)
        assert (connection.calls["rollback"], connection.in_transaction) == (before + 1, False)
        assert await use(pool) is connection
        assert pool.stats().dirty_returns == 1
        assert (pool.stats().pings, closed(pool)) == (0, {})
        assert_only_idle(pool, server)

    run(main())


def test_a_waiter_gets_the_connection_when_it_is_rolled_back() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server)
        async with borrowed(pool) as fairy:
            connection = driver_of(fairy)
            connection.slow["rollback"] = 0.5
            marked.add(connection)
            waiter = asyncio.ensure_future(use(pool))
            await asyncio.sleep(1)
        started = now()
        assert await waiter is connection
        # the rollback of the pool, and that of the waiter's own return
        assert now() - started == pytest.approx(1.0, abs=0.05)
        assert_only_idle(pool, server)

    run(main())


def test_a_waiter_does_not_wait_for_the_rollback_if_another_connection_is_returned() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server, pool_size=2)
        other = await borrow(pool)
        connection = await return_dirty(pool, marked)
        connection.hang.add("rollback")
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.2)
        assert not waiter.done()
        await give_back(other)
        fairy = await waiter
        assert driver_of(fairy) is not connection
        assert now() == pytest.approx(0.2, abs=0.05)
        await give_back(fairy)

    run(main())


def test_a_free_slot_is_connected_while_a_rollback_is_not_answered() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server, pool_size=2)
        connection = await return_dirty(pool, marked)
        connection.hang.add("rollback")
        assert await use(pool) is not connection
        assert now() < 0.1

    run(main())


def test_a_rollback_that_hangs_ends_at_pool_reset_timeout_and_the_connection_is_closed() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server, pool_reset_timeout=3, timeout=30)
        connection = await return_dirty(pool, marked)
        connection.hang.add("rollback")
        started = now()
        assert await use(pool) is not connection
        assert now() - started == pytest.approx(3, abs=0.3)
        assert connection.is_closed
        assert closed(pool) == {"transaction": 1}
        assert server.peak_sockets == 1
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_a_checkout_ends_at_its_deadline_while_a_rollback_hangs() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server, pool_reset_timeout=5, timeout=1)
        connection = await return_dirty(pool, marked)
        connection.hang.add("rollback")
        with pytest.raises(PoolTimeout):
            await borrow(pool)
        assert now() == pytest.approx(1, abs=0.05)
        await asyncio.sleep(6)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_a_rollback_that_fails_closes_its_connection_and_no_other_is_pinged() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server, pool_size=3)
        others = await open_idle(pool, 3)
        connection = await return_dirty(pool, marked)
        connection.fails["rollback"] = ReadOnly
        await asyncio.sleep(0.1)
        assert connection.is_closed
        assert closed(pool) == {"transaction": 1}
        assert pool.stats().idle == 2
        await use(pool)
        assert server.count("ping") == 0
        assert len([each for each in others if not each.is_closed]) == 2

    run(main())


def test_after_a_rollback_that_met_a_disconnect_the_other_connections_are_pinged() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server, pool_size=3)
        await open_idle(pool, 3)
        connection = await return_dirty(pool, marked)
        connection.die(seen_by_probe=True)
        await asyncio.sleep(0.1)
        assert closed(pool) == {"transaction": 1}
        assert server.count("ping") == 2
        assert pool.stats().idle == 2
        assert pool.stats().failed_pings == 0

    run(main())


def test_a_connection_is_kept_if_its_transaction_is_over_though_the_rollback_failed() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server)
        connection = await return_dirty(pool, marked)

        def over() -> Exception:
            connection.in_transaction = False
            return ReadOnly("no transaction is active")

        connection.fails["rollback"] = over
        await asyncio.sleep(0.1)
        del connection.fails["rollback"]
        assert await use(pool) is connection

    run(main())


def test_a_connection_that_must_be_closed_anyway_is_not_rolled_back_first() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server)
        async with borrowed(pool) as fairy:
            connection = driver_of(fairy)
            marked.add(connection)
            pool.retire_all()
            rollbacks = connection.calls["rollback"]
        await asyncio.sleep(0.1)
        assert connection.is_closed
        assert connection.calls["rollback"] == rollbacks + 1, "that of SQLAlchemy"
        assert closed(pool) == {"lifetime": 1}
        assert pool.stats().dirty_returns == 1

    run(main())


def test_the_server_of_a_connection_is_asked_for_its_mode_after_the_rollback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queried: list[FakeConnection] = []

    def server_mode(driver: Any, adapter: Any) -> bool:
        queried.append(adapter._connection)
        assert not adapter._connection.in_transaction
        return False

    async def main() -> None:
        change_driver(monkeypatch, queries_read_only=True, server_mode=server_mode)
        server = Server()
        pool, marked = dirty_pool(server)
        async with borrowed(pool) as fairy:
            connection = driver_of(fairy)
            marked.add(connection)
            fairy._connection_record.mark(Condition.READ_ONLY)
        await asyncio.sleep(0.1)
        assert queried == [connection]
        assert await use(pool) is connection
        assert_only_idle(pool, server)

    run(main())


def test_an_invalidated_or_detached_connection_is_no_dirty_return() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        first, second = await borrow(pool), await borrow(pool)
        for each in (first, second):
            driver_of(each).in_transaction = True
        first.detach()
        second.invalidate()
        await asyncio.sleep(0.1)
        assert pool.checkedout() == 0
        assert pool.stats().dirty_returns == 0
        await greenlet_spawn(first.close)

    run(main())


def test_a_return_from_another_thread_is_checked_in_the_loop() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        entry = await loop_pool(pool).acquire()
        connection = entry.dbapi_connection._connection
        connection.in_transaction = True
        thread = threading.Thread(target=pool._return_conn, args=(entry,))
        thread.start()
        thread.join(10)
        assert pool.stats().dirty_returns == 0
        await asyncio.sleep(0.1)
        assert pool.stats().dirty_returns == 1
        assert not connection.in_transaction
        assert_only_idle(pool, server)

    run(main())


def test_what_the_typed_layer_gives_back_is_checked_too() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        await use(pool)
        entry = pool.take()
        entry.dbapi_connection._connection.in_transaction = True
        pool.give_back(entry)
        assert pool.take() is None, "it is being rolled back"
        await asyncio.sleep(0.1)
        assert pool.take() is entry
        pool.give_back(entry)
        assert pool.stats().dirty_returns == 1

    run(main())


# ------------------------------------------------------------------ before it is handed out


def test_a_transaction_begun_on_an_idle_connection_is_rolled_back_before_its_next_use() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        older, latest = await open_idle(pool, 2)
        latest.in_transaction = True
        latest.slow["rollback"] = 0.5
        assert await use(pool) is older, "the next one is taken meanwhile"
        assert now() < 0.1
        await asyncio.sleep(1)
        assert not latest.in_transaction
        assert pool.stats().dirty_returns == 1
        assert pool.stats().idle == 2
        assert_only_idle(pool, server)

    run(main())


def test_a_transaction_begun_after_the_assignment_is_rolled_back_before_the_borrower_runs() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=10)
        fairy = await borrow(pool)
        connection = driver_of(fairy)
        waiter = asyncio.ensure_future(borrow(pool))
        await loop_iterations(2)
        await give_back(fairy)
        connection.in_transaction = True
        fairy = await waiter
        assert driver_of(fairy) is connection
        assert not connection.in_transaction
        await give_back(fairy)
        assert_only_idle(pool, server)

    run(main())


def test_the_housekeeper_rolls_back_instead_of_pinging() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        connection.in_transaction = True
        await asyncio.sleep(1.5)
        assert not connection.in_transaction
        assert server.count("ping") == 0
        assert_only_idle(pool, server)

    run(main())


def test_a_suspect_connection_inside_a_transaction_is_rolled_back() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        connection.in_transaction = True
        connection.probe_result = Probe.SUSPECT
        loop = asyncio.get_running_loop()
        loop.call_later(0.5, setattr, connection, "probe_result", None)
        fairy = await borrow(pool)
        assert not connection.in_transaction
        await give_back(fairy)

    run(main())


def test_what_a_connect_listener_leaves_open_is_committed_once() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)

        def begin(adapter: Any, record: Any) -> None:
            adapter._connection.in_transaction = True

        async def commit() -> None:
            connection.in_transaction = False
            committed.append(connection)

        def keep(adapter: Any, record: Any) -> None:
            nonlocal connection
            connection = adapter._connection
            connection.commit = commit  # type: ignore[method-assign]

        connection: Any = None
        committed: list[Any] = []
        event.listen(pool, "connect", begin)
        event.listen(pool, "connect", keep)
        for _ in range(3):
            await use(pool)
        assert committed == [connection]
        assert pool.stats().dirty_returns == 0

    run(main())


# ----------------------------------------------------------------- commits that have failed


def test_after_a_failed_commit_a_driver_without_readable_state_is_rolled_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(registry._DRIVERS, "fake")

    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=1, max_overflow=0)
        async with engine.connect() as connection:
            await connection.execute(text("INSERT"))
            (driver,) = server.connections
            driver.fails["commit"] = ReadOnly
            with pytest.raises(Exception, match="ReadOnly"):
                await connection.commit()
            before = driver.calls["rollback"]
        pool = TypedPool.of(engine)
        assert (pool.stats().idle, pool.stats().dirty_returns) == (0, 1)
        await asyncio.sleep(0.1)
        assert driver.calls["rollback"] == before + 1, "SQLAlchemy itself has sent none"
        async with engine.connect():
            pass
        assert (pool.stats().connects, pool.stats().dirty_returns) == (1, 1)
        await engine.dispose()

    run(main())


def test_after_a_failed_commit_and_a_failed_rollback_the_connection_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(registry._DRIVERS, "fake")

    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=1, max_overflow=0)
        async with engine.connect() as connection:
            await connection.execute(text("INSERT"))
            (driver,) = server.connections
            driver.fails |= {"commit": ReadOnly, "rollback": ReadOnly}
            with pytest.raises(Exception, match="ReadOnly"):
                await connection.commit()
        await asyncio.sleep(0.1)
        assert driver.is_closed
        assert closed(TypedPool.of(engine)) == {"transaction": 1}
        await engine.dispose()

    run(main())


def test_a_failed_commit_is_nothing_special_where_the_state_can_be_read() -> None:
    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=1, max_overflow=0)
        async with engine.connect() as connection:
            await connection.execute(text("INSERT"))
            (driver,) = server.connections
            driver.fails["commit"] = ReadOnly
            with pytest.raises(Exception, match="ReadOnly"):
                await connection.commit()
        assert TypedPool.of(engine).stats().idle == 1
        assert TypedPool.of(engine).stats().dirty_returns == 0
        await engine.dispose()

    run(main())


# ------------------------------------------------------------------------ reset_on_return


def test_with_reset_on_return_none_a_transaction_is_counted_and_handed_out() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, reset_on_return=None)
        fairy = await borrow(pool)
        connection = driver_of(fairy)
        connection.in_transaction = True
        await give_back(fairy)
        assert (pool.stats().idle, pool.stats().dirty_returns) == (1, 1)
        assert await use(pool) is connection
        await asyncio.sleep(10)  # the housekeeper, and a ping
        assert await use(pool) is connection
        assert connection.in_transaction
        assert (connection.calls["rollback"], connection.calls["commit"]) == (0, 0)
        assert pool.stats().dirty_returns == 3
        assert_only_idle(pool, server)

    run(main())


def test_with_reset_on_return_commit_a_transaction_that_remains_is_rolled_back() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server, reset_on_return="commit")
        connection = await return_dirty(pool, marked)
        await asyncio.sleep(0.1)
        assert (connection.calls["commit"], connection.calls["rollback"]) == (1, 1)
        assert not connection.in_transaction

    run(main())


# ------------------------------------------------------------------------------- the log


def lines_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if getattr(each, "event", "") == "dirty_return"]


def test_dirty_returns_are_logged_once_a_minute_with_the_holder_and_their_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool, marked = dirty_pool(Server(), pool_validate_after=None)
        for _ in range(5):
            await return_dirty(pool, marked, 1.0)
        await asyncio.sleep(60)
        await return_dirty(pool, marked)

    asyncio_task_name = "Task-"
    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        run(main())
    first, second = lines_of(caplog)
    assert asyncio_task_name in first.getMessage()
    assert "is rolled back; next: " in first.getMessage()
    assert "; 5 since the last such line" in second.getMessage()
    assert (first.dirty_returns, second.dirty_returns) == (1, 5)  # type: ignore[attr-defined]


def test_with_reset_on_return_none_one_line_is_logged_for_each_pool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, reset_on_return=None)
        for _ in range(5):
            async with borrowed(pool) as fairy:
                driver_of(fairy).in_transaction = True
            await asyncio.sleep(100)

    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        run(main())
    (line,) = lines_of(caplog)
    assert "stays open, because of reset_on_return=None" in line.getMessage()


def test_a_transaction_begun_while_idle_is_logged_without_a_holder(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        connection.in_transaction = True
        await use(pool)

    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        run(main())
    (line,) = lines_of(caplog)
    assert "a connection was idle inside a transaction" in line.getMessage()


# --------------------------------------------------------------------- ends in the middle


@pytest.mark.parametrize("hangs", [False, True])
def test_a_loop_that_ends_during_a_rollback_leaves_nothing_open(hangs: bool) -> None:
    server = Server()

    async def main() -> None:
        pool, marked = dirty_pool(server)
        connection = await return_dirty(pool, marked)
        connection.slow["rollback"] = 0.5
        if hangs:
            connection.hang.add("rollback")

    run(main())
    assert not server.open


def test_close_waits_for_a_rollback_and_leaves_nothing_open() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server)
        connection = await return_dirty(pool, marked)
        connection.slow["rollback"] = 0.5
        await pool.close()
        assert not server.open
        assert now() < 1
        await dispose(pool)

    run(main())


def test_a_connection_disposed_during_its_rollback_is_closed_afterwards() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server)
        connection = await return_dirty(pool, marked)
        connection.slow["rollback"] = 0.5
        await loop_iterations(2)
        await dispose(pool)
        await asyncio.sleep(1)
        assert connection.is_closed
        assert closed(pool) == {"dispose": 1}

    run(main())


def test_a_checkout_cancelled_at_any_step_of_a_rollback_loses_no_slot() -> None:
    async def scenario(step: int) -> bool:
        server = Server(usual=Connect(seconds=0.01))
        pool, marked = dirty_pool(server, timeout=10)
        connection = await return_dirty(pool, marked)
        connection.slow["rollback"] = 0.01
        task = asyncio.ensure_future(use(pool))
        start = virtual_loop().steps

        def on_step(steps: int) -> None:
            if steps == start + step:
                task.cancel()

        virtual_loop().on_step = on_step
        await asyncio.wait({task})
        virtual_loop().on_step = None
        await asyncio.sleep(5)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)
        return task.cancelled()

    cancelled = 0
    for step in range(1, 40):
        cancelled += run(scenario(step), loop=VirtualLoop())
    assert cancelled > 5


def test_sqlite_in_memory_is_not_lost_while_its_thread_is_busy() -> None:
    async def main() -> None:
        server = Server()
        pool, marked = dirty_pool(server, pool_reset_timeout=1, timeout=60)
        pool.shared.backend.storage = Storage.PRIVATE
        connection = await return_dirty(pool, marked)
        connection.slow["rollback"] = 0.9
        calls = connection.calls["rollback"]

        async def busy() -> None:
            connection.calls["rollback"] += 1
            await asyncio.sleep(10 if connection.calls["rollback"] < calls + 3 else 0)
            connection.in_transaction = False

        connection.rollback = busy  # type: ignore[method-assign]
        assert await use(pool) is connection
        assert closed(pool) == {}

    run(main())


def test_a_disconnect_while_idle_inside_a_transaction_is_found_by_the_probe() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        connection.in_transaction = True
        connection.fails["rollback"] = Disconnect
        connection.die(seen_by_probe=True)
        assert await use(pool) is not connection
        assert closed(pool) == {"dead": 1}
        assert pool.stats().dirty_returns == 0

    run(main())
