"""What the pool reports: stats, holders, errors and log records."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from sqla_typedpool import Holder, PoolStats, PoolTimeout
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from sqla_typedpool.errors import PoolOptionError, PoolSaturated, copy_error
from sqla_typedpool.pool.log import LogEvent
from sqla_typedpool.pool.stats import BOUNDS, CloseReason
from tests.support.fake_driver import (
    Connect,
    Server,
    WrongPassword,
    assert_full_capacity,
    assert_only_idle,
    borrow,
    borrowed,
    dispose,
    give_back,
    new_pool,
    open_idle,
    refused,
    use,
)
from tests.support.virtual_clock import now, run

LOGGER = "sqla_typedpool"


def test_the_stats_of_an_unused_pool_are_zero() -> None:
    stats = new_pool(Server(), pool_size=2, max_overflow=1, pool_min_size=1).stats()
    assert (stats.size, stats.idle, stats.in_use, stats.waiting) == (0, 0, 0, 0)
    assert (stats.max, stats.min) == (3, 1)
    assert stats.closed == dict.fromkeys([reason.value for reason in CloseReason], 0)
    assert stats.wait_time.count == 0


def test_gauges_count_the_present_connections_and_waiters() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=3, max_overflow=0, pool_validate_after=None)
        await open_idle(pool, 2)
        async with borrowed(pool):
            server.usual = Connect(silent=True)
            others = [asyncio.ensure_future(borrow(pool)) for _ in range(3)]
            await asyncio.sleep(0.1)
            stats = pool.stats()
            assert (stats.in_use, stats.idle, stats.connecting) == (2, 0, 1)
            assert stats.waiting == 2
            assert stats.size == 3
            for other in others:
                other.cancel()
            await asyncio.wait(others)
            for other in others:
                if not other.cancelled():
                    await give_back(other.result())
            assert pool.stats().waiting == 0

    run(main())


def test_counters_count_the_past_checkouts_connects_pings_and_closes() -> None:
    async def main() -> None:
        server = Server().script(Connect(error=WrongPassword))
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=1, pool_max_waiting=1)
        with pytest.raises(WrongPassword):
            await borrow(pool)
        async with borrowed(pool):
            with pytest.raises(PoolTimeout):
                await borrow(pool)
            waiter = asyncio.ensure_future(borrow(pool))
            await asyncio.sleep(0.1)
            with pytest.raises(PoolSaturated):
                await borrow(pool)
            waiter.cancel()
            await asyncio.wait({waiter})
        await asyncio.sleep(5)
        await use(pool)
        server.connections[-1].die()
        await asyncio.sleep(5)
        await use(pool)
        stats = pool.stats()
        assert stats.checkouts == 3
        assert (stats.timeouts, stats.saturated, stats.cancelled) == (1, 1, 1)
        assert (stats.connects, stats.connect_failures) == (2, 1)
        assert (stats.pings, stats.failed_pings) == (2, 1)
        assert stats.closed["ping"] == 1
        assert sum(stats.closed.values()) == 1

    run(main())


def test_connections_opened_less_connections_closed_is_the_size() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=3, max_overflow=3, pool_idle_timeout=20)
        for number in range(40):
            await asyncio.gather(*(use(pool, 0.1) for _ in range(number % 7)))
            fairy = await borrow(pool)
            if number % 5 == 0:
                await greenlet_spawn(fairy.invalidate)
            elif number % 7 == 0:
                fairy.invalidate(soft=True)
            elif number % 11 == 0:
                fairy.detach()
            await give_back(fairy)
            if number % 9 == 0:
                await dispose(pool)
            await asyncio.sleep(number % 4)
        stats = pool.stats()
        assert stats.connects == len(server.connections)
        assert stats.connects - sum(stats.closed.values()) == stats.size == len(server.open)

    run(main())


def test_distributions_measure_connect_use_and_wait_times() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(0.2)), pool_size=1, max_overflow=0)
        await asyncio.gather(use(pool, 3), use(pool, 3))
        stats = pool.stats()
        assert stats.connect_time.count == 1
        assert stats.connect_time.sum == pytest.approx(0.2, abs=0.01)
        assert stats.use_time.count == 2
        assert stats.use_time.sum == pytest.approx(6, abs=0.01)
        assert stats.wait_time.count == 2
        assert stats.wait_time.sum == pytest.approx(0.2 + 3.2, abs=0.01)
        for each in (stats.connect_time, stats.use_time, stats.wait_time):
            assert list(each.buckets) == [*BOUNDS, float("inf")]
            assert list(each.buckets.values()) == sorted(each.buckets.values())
            assert each.buckets[float("inf")] == each.count
        assert stats.use_time.buckets[1.0] == 0
        assert stats.use_time.buckets[5.0] == 2

    run(main())


def test_reading_the_stats_does_not_change_them() -> None:
    async def main() -> None:
        pool = new_pool(Server())
        for _ in range(50):
            await use(pool, 0.02)
        first = pool.stats()
        assert pool.stats() == first
        assert first.use_time.count == 50
        assert first.use_time.buckets[0.05] == 50
        assert first.wait_time.count == first.checkouts == 50

    run(main())


def test_stats_are_frozen_and_can_be_pickled() -> None:
    stats = new_pool(Server()).stats()
    assert isinstance(stats, PoolStats)
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.size = 3
    assert dataclasses.asdict(stats)["size"] == 0
    assert pickle.loads(pickle.dumps(stats)) == stats


# ---------------------------------------------------------------------- holders


def test_holders_are_listed_longest_first_with_task_and_time() -> None:
    async def main() -> None:
        pool = new_pool(Server())

        async def hold(seconds: float) -> None:
            async with borrowed(pool):
                await asyncio.sleep(seconds)

        tasks = []
        for name in ("first", "second", "third"):
            tasks.append(asyncio.create_task(hold(20), name=name))
            await asyncio.sleep(1)
        holders = pool.holders()
        assert [each.task for each in holders] == ["first", "second", "third"]
        assert [round(each.seconds) for each in holders] == [3, 2, 1]
        assert all(isinstance(each, Holder) for each in holders)
        assert all("hold" in (each.where or "") for each in holders)
        assert all(each.task in str(each) for each in holders)
        await asyncio.gather(*tasks)
        assert pool.holders() == []

    run(main())


def test_a_holder_names_its_call_site_when_the_leak_threshold_is_set() -> None:
    async def check_out(pool: Any) -> Any:
        return await pool_connect(pool)

    async def pool_connect(pool: Any) -> Any:
        return await greenlet_spawn(pool.connect)

    async def main() -> None:
        for threshold in (None, 100):
            pool = new_pool(Server(), pool_leak_threshold=threshold)
            for _ in range(2):  # a new connection, then an idle one
                fairy = await asyncio.create_task(check_out(pool), name="borrower")
                (holder,) = pool.holders()
                if threshold is None:
                    assert holder.where is None, "the task has ended"
                else:
                    assert "test_reports.py" in holder.where
                    assert "pool_connect" in holder.where
                await give_back(fairy)

    run(main())


def test_a_holder_whose_task_has_ended_is_still_listed() -> None:
    async def main() -> None:
        pool = new_pool(Server())
        fairy = await asyncio.create_task(borrow(pool), name="ended")
        await asyncio.sleep(5)
        (holder,) = pool.holders()
        assert holder.seconds == pytest.approx(5, abs=0.1)
        await give_back(fairy)

    run(main())


# ------------------------------------------------------------------ log records


def test_a_slow_checkout_is_logged_with_its_numbers(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, pool_slow_checkout=2)
        await asyncio.gather(use(pool, 1.5), use(pool), use(pool, 0))
        assert caplog.records == []
        await asyncio.gather(use(pool, 3), use(pool))
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "slow checkout" in record.getMessage()
        assert record.waited_seconds == pytest.approx(3, abs=0.01)  # type: ignore[attr-defined]
        assert record.threshold_seconds == 2  # type: ignore[attr-defined]

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())


def test_many_slow_checkouts_write_one_line_every_five_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, pool_slow_checkout=1)
        await asyncio.gather(*(use(pool, 1.5) for _ in range(7)))  # six of them wait

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())
    counts = [record.slow_checkouts for record in caplog.records]  # type: ignore[attr-defined]
    assert counts == [1, 4]
    assert "slow" in caplog.text
    assert "; 4 since the last such line; next: shorten " in caplog.records[1].getMessage()


def test_a_slow_checkout_is_not_logged_when_pool_slow_checkout_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, pool_slow_checkout=None)
        await asyncio.gather(use(pool, 20), use(pool))

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())
    assert caplog.records == []


def test_normal_operation_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(0.05)), pool_min_size=2, pool_max_lifetime=60)
        for _ in range(30):
            await asyncio.gather(*(use(pool, 0.1) for _ in range(10)))
            await asyncio.sleep(10)
        waiter = asyncio.ensure_future(use(pool, 10))
        await asyncio.sleep(1)
        waiter.cancel()
        await asyncio.wait({waiter})
        await dispose(pool)
        await pool.close()

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())
    assert [each.getMessage() for each in caplog.records] == []


def test_every_log_record_has_its_numbers_as_attributes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        server = Server(usual=Connect(error=refused))
        pool = new_pool(
            server, pool_leak_threshold=5, pool_size=1, max_overflow=0, pool_name="orders"
        )
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(3)
        server.usual = Connect()
        fairy = await waiter
        await asyncio.sleep(10)
        await give_back(fairy)

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())
    standard = vars(logging.makeLogRecord({}))
    assert len(caplog.records) >= 4
    for record in caplog.records:
        extras = {
            name: value
            for name, value in vars(record).items()
            if name not in standard and name not in ("message", "asctime", "taskName")
        }
        assert extras.pop("event") in [event.value for event in LogEvent]
        assert extras.pop("pool") == "orders"
        assert extras, record.getMessage()
        assert record.name.startswith(LOGGER)


class FailOn(logging.Handler):
    """A log handler of the application that raises for records with this text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.failed = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.failed += 1
            raise LookupError(self.text)


@contextmanager
def _failing_on(text: str) -> Iterator[None]:
    logger = logging.getLogger(LOGGER)
    handler = FailOn(text)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert handler.failed, "the record was logged"


def test_a_log_handler_that_raises_when_the_server_recovers_loses_no_connection() -> None:
    """The outage had ended, but the connection that ended it was neither handed out nor idle."""

    async def main() -> None:
        server = Server().script(Connect(0.6, error=refused))
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=10)
        await use(pool)
        assert now() < 1
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    with _failing_on("recovered"):
        run(main())


def test_a_log_handler_that_raises_for_a_slow_checkout_loses_no_connection() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=2))
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_slow_checkout=1)
        await use(pool)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    with _failing_on("slow checkout"):
        run(main())


def test_a_log_handler_that_raises_when_a_leak_is_returned_loses_no_connection() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_leak_threshold=10)
        entry = await pool.wait_and_take()
        await asyncio.sleep(20)
        pool.give_back(entry)
        assert pool.stats().idle == 1
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    with _failing_on("leak returned"):
        run(main())


def test_a_log_handler_that_raises_for_a_failed_close_listener_loses_no_slot() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_idle_timeout=5, timeout=5)
        await open_idle(pool, 1)

        @event.listens_for(pool, "close")
        def fail(connection: Any, record: Any) -> None:
            raise ValueError

        await asyncio.sleep(20)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    with _failing_on("closing a connection failed"):
        run(main())


def test_a_log_handler_that_raises_as_close_names_the_holders_leaves_nothing_open() -> None:
    kept: list[Any] = []

    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        kept.append(await borrow(pool))
        await pool.close(1)
        assert server.sockets == 0

    with _failing_on("closed by force"):
        run(main())


def test_a_log_handler_that_raises_as_the_loop_ends_leaves_nothing_open() -> None:
    server = Server()
    kept: list[Any] = []

    async def main() -> None:
        pool = new_pool(server)
        kept.extend([pool, await borrow(pool)])

    with _failing_on("the event loop ends"):
        run(main())
    assert server.sockets == 0


# ----------------------------------------------------------------------- errors


def test_a_copied_error_is_another_object_with_the_same_contents() -> None:
    error = WrongPassword("no", 7)
    error.detail = "x"  # type: ignore[attr-defined]
    error.__cause__ = OSError()
    copy = copy_error(error)
    assert copy is not error
    assert type(copy) is WrongPassword
    assert (copy.args, copy.detail) == (("no", 7), "x")  # type: ignore[attr-defined]
    assert copy.__cause__ is error.__cause__


def test_an_error_that_cannot_be_copied_is_returned_itself() -> None:
    class CannotBeCopied(Exception):
        def __new__(cls, *args: Any, **options: Any) -> Any:
            if not options:
                raise TypeError
            return super().__new__(cls)

        def __init__(self, **options: Any) -> None:
            super().__init__()

    error = CannotBeCopied(needed=1)
    assert copy_error(error) is error


def test_each_waiter_gets_its_own_error_object() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(0.1, error=WrongPassword)))
        got = await asyncio.gather(*(borrow(pool) for _ in range(5)), return_exceptions=True)
        assert len({id(each) for each in got}) == 5
        assert all(type(each) is WrongPassword for each in got)

    run(main())


def test_a_wrong_option_raises_the_error_of_the_package() -> None:
    with pytest.raises(PoolOptionError):
        new_pool(Server(), pool_size="x")
