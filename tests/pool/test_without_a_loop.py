"""A pool without an event loop: mocks, synchronous helpers, threads."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import exc

from sqla_typedpool import PoolClosed, PoolSaturated, PoolTimeout, TypedPool
from tests.support.fake_driver import Server, new_pool
from tests.support.virtual_clock import collect_garbage, run


class SyncConnection:
    """A connection of a synchronous driver."""

    def __init__(self, creator: Creator) -> None:
        self.creator = creator
        self.is_closed = False

    def rollback(self) -> None:
        pass

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True
        with self.creator.lock:
            self.creator.open -= 1


class Creator:
    """Opens connections for many threads and counts them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connections: list[SyncConnection] = []
        self.open = self.peak = 0
        self.error: Exception | None = None

    def __call__(self) -> SyncConnection:
        if self.error is not None:
            raise self.error
        connection = SyncConnection(self)
        with self.lock:
            self.connections.append(connection)
            self.open += 1
            self.peak = max(self.peak, self.open)
        return connection


def sync_pool(**options: Any) -> tuple[Any, Creator]:
    creator = Creator()
    return TypedPool(creator, **options), creator


def test_a_returned_connection_is_used_again() -> None:
    pool, creator = sync_pool()
    for _ in range(3):
        fairy = pool.connect()
        assert pool.checkedout() == 1
        fairy.close()
    assert len(creator.connections) == 1
    assert (pool.checkedin(), pool.checkedout()) == (1, 0)
    assert pool.stats().checkouts == 3


def test_the_creator_may_be_a_mock() -> None:
    pool = TypedPool(mock.Mock)
    fairy = pool.connect()
    fairy.cursor().execute("select 1")
    fairy.close()
    pool.dispose()


def test_the_limit_and_the_deadline_hold() -> None:
    pool, _ = sync_pool(pool_size=1, max_overflow=1, timeout=0.05)
    first, second = pool.connect(), pool.connect()
    with pytest.raises(PoolTimeout):
        pool.connect()
    first.close()
    second.close()
    assert pool.checkedin() == 1, "the overflow connection is closed"
    assert pool.stats().closed["overflow"] == 1


def test_a_full_pool_with_a_timeout_of_zero_raises_at_once() -> None:
    pool, _ = sync_pool(pool_size=1, max_overflow=0, timeout=0)
    held = pool.connect()
    started = time.monotonic()
    with pytest.raises(exc.TimeoutError):
        pool.connect()
    assert time.monotonic() - started < 1
    held.close()


def test_a_failed_connect_frees_its_slot() -> None:
    pool, creator = sync_pool(pool_size=1, max_overflow=0, timeout=1)
    creator.error = OSError("no")
    for _ in range(3):
        with pytest.raises(OSError, match="no"):
            pool.connect()
    creator.error = None
    pool.connect().close()
    assert pool.stats().connect_failures == 3


def test_a_waiting_thread_is_served_by_a_return() -> None:
    pool, creator = sync_pool(pool_size=1, max_overflow=0, timeout=10)
    held = pool.connect()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(pool.connect()))
    thread.start()
    _wait_until(lambda: pool.stats().waiting == 1)
    held.close()
    thread.join(10)
    assert len(results) == 1
    assert len(creator.connections) == 1
    results[0].close()


def test_a_waiting_thread_is_served_by_a_freed_slot() -> None:
    pool, creator = sync_pool(pool_size=1, max_overflow=0, timeout=10)
    held = pool.connect()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(pool.connect()))
    thread.start()
    _wait_until(lambda: pool.stats().waiting == 1)
    held.invalidate()
    held.close()
    thread.join(10)
    assert len(results) == 1
    assert len(creator.connections) == 2
    results[0].close()


def test_many_threads_share_few_connections() -> None:
    pool, creator = sync_pool(pool_size=3, max_overflow=2, timeout=30)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(50):
                fairy = pool.connect()
                if number % 10 == 0:
                    fairy.invalidate()
                fairy.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert creator.peak <= 5
    assert pool.checkedout() == 0
    assert pool.stats().waiting == 0
    assert creator.open == pool.stats().idle <= 3


def test_a_thread_beyond_pool_max_waiting_is_refused() -> None:
    pool, _ = sync_pool(pool_size=1, max_overflow=0, timeout=10, pool_max_waiting=0)
    held = pool.connect()
    with pytest.raises(PoolSaturated):
        pool.connect()
    held.close()
    pool.connect().close()


def test_an_expired_connection_is_replaced() -> None:
    pool, creator = sync_pool(pool_max_lifetime=0.05)
    pool.connect().close()
    time.sleep(0.06)
    pool.connect().close()
    assert len(creator.connections) == 2
    assert creator.connections[0].is_closed


def test_dispose_closes_idle_connections_at_once_and_others_on_return() -> None:
    pool, creator = sync_pool()
    in_use, idle = pool.connect(), pool.connect()
    idle.close()
    pool.dispose()
    assert [each.is_closed for each in creator.connections] == [False, True]
    in_use.close()
    assert creator.open == 0
    pool.connect().close()
    assert creator.open == 1


def test_retire_all_replaces_every_connection() -> None:
    pool, creator = sync_pool()
    in_use, idle = pool.connect(), pool.connect()
    idle.close()
    pool.retire_all()
    pool.connect().close()
    in_use.close()
    assert creator.connections[0].is_closed
    assert creator.connections[1].is_closed
    assert not creator.connections[2].is_closed


def test_an_invalidated_entry_keeps_its_record_info() -> None:
    pool, _ = sync_pool(pool_size=1, max_overflow=0)
    fairy = pool.connect()
    fairy.record_info["kept"] = 1
    fairy.invalidate()
    fairy.close()
    assert pool.checkedin() == 1
    fairy = pool.connect()
    assert fairy.record_info == {"kept": 1}
    fairy.close()


def test_a_leaked_connection_frees_its_slot_for_a_thread() -> None:
    # as in the stock pool for asyncio, a connection that cannot be reset safely is closed
    pool, _ = sync_pool(pool_size=1, max_overflow=0, timeout=1)
    cycle: list[Any] = [pool.connect()]
    cycle.append(cycle)
    del cycle
    with pytest.warns(Warning, match="garbage collector"):
        collect_garbage()
    pool.connect().close()
    assert pool.checkedout() == 0


def test_a_closed_pool_refuses_threads() -> None:
    pool, creator = sync_pool()
    pool.connect().close()
    run(pool.close())
    with pytest.raises(PoolClosed):
        pool.connect()
    assert creator.open == 0


def test_a_waiting_thread_gets_pool_closed_when_the_pool_is_closed() -> None:
    pool, _ = sync_pool(pool_size=1, max_overflow=0, timeout=3)
    held = pool.connect()
    results: list[Any] = []

    def wait() -> None:
        try:
            pool.connect().close()
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    _wait_until(lambda: pool.stats().waiting == 1)
    asyncio.run(pool.close(timeout=0))
    thread.join(1)
    errors = list(results)
    held.close()
    thread.join(10)
    assert [type(each) for each in errors] == [PoolClosed]


def test_a_synchronous_pool_inside_a_running_loop_works() -> None:
    async def main() -> None:
        pool, creator = sync_pool()
        pool.connect().close()
        pool.connect().close()
        assert len(creator.connections) == 1
        pool.dispose()

    run(main())


def test_connecting_an_asynchronous_pool_without_a_loop_raises_missing_greenlet() -> None:
    with pytest.raises(exc.MissingGreenlet):
        new_pool(Server()).connect()


def _wait_until(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
