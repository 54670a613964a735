"""A pool without an event loop connects and closes, and pools nothing: mocks, sync helpers."""

from __future__ import annotations

import threading
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import event, exc

from sqla_typedpool import PoolClosed, TypedPool
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
        self.open = 0
        self.error: Exception | None = None

    def __call__(self) -> SyncConnection:
        if self.error is not None:
            raise self.error
        connection = SyncConnection(self)
        with self.lock:
            self.connections.append(connection)
            self.open += 1
        return connection


def sync_pool(**options: Any) -> tuple[Any, Creator]:
    creator = Creator()
    return TypedPool(creator, **options), creator


def test_a_connection_is_opened_at_checkout_and_closed_at_its_return() -> None:
    pool, creator = sync_pool()
    for count in (1, 2):
        fairy = pool.connect()
        assert creator.open == 1
        fairy.close()
        assert (pool.checkedin(), creator.open) == (0, 0)
        assert len(creator.connections) == count


def test_a_mock_is_accepted_as_a_connection() -> None:
    pool = TypedPool(mock.Mock)
    fairy = pool.connect()
    fairy.cursor().execute("select 1")
    fairy.close()
    pool.dispose()


def test_a_failed_connect_raises_the_creators_error_and_counts_nothing() -> None:
    pool, creator = sync_pool(pool_size=1, max_overflow=0)
    creator.error = LookupError()
    with pytest.raises(LookupError):
        pool.connect()
    assert pool.checkedout() == 0
    creator.error = None
    pool.connect().close()


def test_threads_do_not_wait_for_each_other() -> None:
    pool, creator = sync_pool(pool_size=1, max_overflow=0)
    barrier = threading.Barrier(4, timeout=10)

    def use() -> None:
        fairy = pool.connect()
        barrier.wait()
        fairy.close()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(creator.connections) == 4
    assert creator.open == 0


def test_the_events_of_a_return_include_the_close() -> None:
    pool, _ = sync_pool()
    fired: list[str] = []
    for name in ("checkout", "reset", "checkin", "close"):
        event.listen(pool, name, lambda *_, name=name: fired.append(name))
    pool.connect().close()
    assert fired == ["checkout", "reset", "checkin", "close"]


def test_an_invalidated_connection_is_closed_at_once() -> None:
    pool, creator = sync_pool()
    fairy = pool.connect()
    fairy.invalidate()
    assert creator.open == 0


def test_a_connection_that_a_listener_rejects_is_replaced() -> None:
    pool, creator = sync_pool()
    rejected: list[Any] = []

    @event.listens_for(pool, "checkout")
    def reject_first(connection: Any, record: Any, fairy: Any) -> None:
        if not rejected:
            rejected.append(connection)
            raise exc.DisconnectionError

    fairy = pool.connect()
    assert fairy.dbapi_connection is not rejected[0]
    assert rejected[0].is_closed
    fairy.close()
    assert creator.open == 0


def test_a_detached_connection_is_left_to_its_owner() -> None:
    pool, creator = sync_pool()
    fairy = pool.connect()
    fairy.detach()
    fairy.dbapi_connection.rollback()
    assert creator.open == 1


def test_a_leaked_connection_is_dropped_with_a_warning() -> None:
    pool, _ = sync_pool()
    cycle: list[Any] = [pool.connect()]
    cycle.append(cycle)
    del cycle
    with pytest.warns(Warning, match="garbage collector"):
        collect_garbage()


def test_a_closed_pool_refuses_callers_without_a_loop() -> None:
    pool, creator = sync_pool()
    run(pool.close())
    with pytest.raises(PoolClosed):
        pool.connect()
    assert creator.open == 0


def test_a_synchronous_driver_outside_a_greenlet_works_inside_a_running_loop() -> None:
    async def main() -> None:
        pool, creator = sync_pool()
        pool.connect().close()
        pool.connect().close()
        assert (len(creator.connections), creator.open) == (2, 0)
        pool.dispose()

    run(main())


def test_connecting_an_asynchronous_pool_without_a_loop_raises_missing_greenlet() -> None:
    with pytest.raises(exc.MissingGreenlet):
        new_pool(Server()).connect()


def test_connecting_an_asynchronous_pool_outside_a_greenlet_raises_missing_greenlet() -> None:
    async def main() -> None:
        pool = new_pool(Server())
        with pytest.raises(exc.MissingGreenlet):
            pool.connect()
        assert pool.stats().waiting == 0

    run(main())
