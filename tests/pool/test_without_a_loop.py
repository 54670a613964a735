"""Without a loop: mocks, synchronous helpers, threads."""

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
from tests.support.virtual_clock import collect, run


class Raw:
    """A synchronous driver's connection."""

    def __init__(self, makers: Makers) -> None:
        self.makers = makers
        self.is_closed = False

    def rollback(self) -> None:
        pass

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True
        with self.makers.lock:
            self.makers.now -= 1


class Makers:
    """Opens connections and counts them, from many threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: list[Raw] = []
        self.now = self.most = 0
        self.error: Exception | None = None

    def __call__(self) -> Raw:
        if self.error is not None:
            raise self.error
        raw = Raw(self)
        with self.lock:
            self.made.append(raw)
            self.now += 1
            self.most = max(self.most, self.now)
        return raw


def sync_pool(**options: Any) -> tuple[Any, Makers]:
    makers = Makers()
    return TypedPool(makers, **options), makers


def test_a_connection_is_opened_used_and_used_again() -> None:
    pool, makers = sync_pool()
    for _ in range(3):
        fairy = pool.connect()
        assert pool.checkedout() == 1
        fairy.close()
    assert len(makers.made) == 1
    assert (pool.checkedin(), pool.checkedout()) == (1, 0)
    assert pool.stats().checkouts == 3


def test_a_mock_will_do() -> None:
    pool = TypedPool(mock.Mock)
    fairy = pool.connect()
    fairy.cursor().execute("select 1")
    fairy.close()
    pool.dispose()


def test_the_limit_holds_and_the_deadline_too() -> None:
    pool, _ = sync_pool(pool_size=1, max_overflow=1, timeout=0.05)
    first, second = pool.connect(), pool.connect()
    with pytest.raises(PoolTimeout):
        pool.connect()
    first.close()
    second.close()
    assert pool.checkedin() == 1, "the overflow one is closed"
    assert pool.stats().closed["overflow"] == 1


def test_a_full_pool_refuses_at_once_when_asked_to() -> None:
    pool, _ = sync_pool(pool_size=1, max_overflow=0, timeout=0)
    held = pool.connect()
    started = time.monotonic()
    with pytest.raises(exc.TimeoutError):
        pool.connect()
    assert time.monotonic() - started < 1
    held.close()


def test_a_failed_connect_frees_its_slot() -> None:
    pool, makers = sync_pool(pool_size=1, max_overflow=0, timeout=1)
    makers.error = OSError("no")
    for _ in range(3):
        with pytest.raises(OSError, match="no"):
            pool.connect()
    makers.error = None
    pool.connect().close()
    assert pool.stats().connect_failures == 3


def test_a_waiting_thread_is_served_by_a_return() -> None:
    pool, makers = sync_pool(pool_size=1, max_overflow=0, timeout=10)
    held = pool.connect()
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(pool.connect()))
    thread.start()
    _until(lambda: pool.stats().waiting == 1)
    held.close()
    thread.join(10)
    assert len(got) == 1
    assert len(makers.made) == 1
    got[0].close()


def test_a_waiting_thread_is_served_by_room() -> None:
    pool, makers = sync_pool(pool_size=1, max_overflow=0, timeout=10)
    held = pool.connect()
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(pool.connect()))
    thread.start()
    _until(lambda: pool.stats().waiting == 1)
    held.invalidate()
    held.close()
    thread.join(10)
    assert len(got) == 1
    assert len(makers.made) == 2
    got[0].close()


def test_many_threads_share_few_connections() -> None:
    pool, makers = sync_pool(pool_size=3, max_overflow=2, timeout=30)
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
    assert makers.most <= 5
    assert pool.checkedout() == 0
    assert pool.stats().waiting == 0
    assert makers.now == pool.stats().idle <= 3


def test_waiters_beyond_the_limit_are_refused() -> None:
    pool, _ = sync_pool(pool_size=1, max_overflow=0, timeout=10, pool_max_waiting=0)
    held = pool.connect()
    with pytest.raises(PoolSaturated):
        pool.connect()
    held.close()
    pool.connect().close()


def test_age_counts_here_too() -> None:
    pool, makers = sync_pool(pool_max_lifetime=0.05)
    pool.connect().close()
    time.sleep(0.06)
    pool.connect().close()
    assert len(makers.made) == 2
    assert makers.made[0].is_closed


def test_dispose_closes_what_is_idle_and_later_what_was_out() -> None:
    pool, makers = sync_pool()
    out, idle = pool.connect(), pool.connect()
    idle.close()
    pool.dispose()
    assert [each.is_closed for each in makers.made] == [False, True]
    out.close()
    assert makers.now == 0
    pool.connect().close()
    assert makers.now == 1


def test_retire_all_replaces_every_connection() -> None:
    pool, makers = sync_pool()
    out, idle = pool.connect(), pool.connect()
    idle.close()
    pool.retire_all()
    pool.connect().close()
    out.close()
    assert makers.made[0].is_closed
    assert makers.made[1].is_closed
    assert not makers.made[2].is_closed


def test_a_record_keeps_its_identity() -> None:
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
    # like the stock pool for asyncio, it drops what it cannot safely reset
    pool, _ = sync_pool(pool_size=1, max_overflow=0, timeout=1)
    cycle: list[Any] = [pool.connect()]
    cycle.append(cycle)
    del cycle
    with pytest.warns(Warning, match="garbage collector"):
        collect()
    pool.connect().close()
    assert pool.checkedout() == 0


def test_a_closed_pool_refuses_threads_too() -> None:
    pool, makers = sync_pool()
    pool.connect().close()
    run(pool.close())
    with pytest.raises(PoolClosed):
        pool.connect()
    assert makers.now == 0


def test_a_thread_that_waits_while_the_pool_is_closed_is_told() -> None:
    pool, _ = sync_pool(pool_size=1, max_overflow=0, timeout=3)
    held = pool.connect()
    got: list[Any] = []

    def wait() -> None:
        try:
            pool.connect().close()
        except BaseException as error:
            got.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    _until(lambda: pool.stats().waiting == 1)
    asyncio.run(pool.close(timeout=0))
    thread.join(1)
    told = list(got)
    held.close()
    thread.join(10)
    assert [type(each) for each in told] == [PoolClosed]


def test_a_synchronous_pool_inside_a_running_loop_works() -> None:
    async def main() -> None:
        pool, makers = sync_pool()
        pool.connect().close()
        pool.connect().close()
        assert len(makers.made) == 1
        pool.dispose()

    run(main())


def test_an_asynchronous_pool_without_a_loop_says_so() -> None:
    with pytest.raises(exc.MissingGreenlet):
        new_pool(Server()).connect()


def _until(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
