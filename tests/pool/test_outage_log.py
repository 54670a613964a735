"""Guarantee 9: the log and the stats tell of an outage from its beginning to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sqla_typedpool import PoolSaturated, PoolTimeout
from tests.support.fake_driver import (
    Connect,
    Error,
    Server,
    TooManyClients,
    WrongPassword,
    assert_full_capacity,
    borrow,
    give_back,
    new_pool,
    open_idle,
    refused,
    use,
)
from tests.support.virtual_clock import VirtualLoop, now, run, virtual_loop

LOGGER = "sqla_typedpool.pool"
REFUSED = Connect(seconds=0.001, error=refused)
OUTAGE = ("outage_began", "outage_continues", "recovered")


class Lines(logging.Handler):
    """The records about outages, with their times."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: Any) -> None:
        if record.event in OUTAGE:
            record.at = now()
            self.records.append(record)

    @property
    def events(self) -> list[str]:
        return [record.event for record in self.records]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger(LOGGER)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


class Load:
    """Clients that use a connection again and again until stopped."""

    def __init__(self, pool: Any, clients: int, pause: float = 0.1) -> None:
        self.failed = self.served = 0
        self._pool = pool
        self._pause = pause
        self._tasks = [asyncio.ensure_future(self._run()) for _ in range(clients)]

    async def _run(self) -> None:
        while True:
            try:
                await use(self._pool, 0.01)
                self.served += 1
            except (Error, OSError, PoolTimeout, PoolSaturated):
                self.failed += 1
            await asyncio.sleep(self._pause)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


async def _restart(pool: Any, server: Server, usual: Connect) -> None:
    """The server closes its connections; further connects have this result."""
    for connection in server.open:
        connection.die(seen_by_probe=True)
    server.usual = usual


def test_an_outage_of_twelve_seconds_under_load_is_told_in_full_by_the_log(lines: Lines) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, max_overflow=0, timeout=30, pool_name="outage log")
        load = Load(pool, 10)
        await asyncio.sleep(1)
        assert load.failed == 0
        await _restart(pool, server, REFUSED)
        await asyncio.sleep(12)
        server.usual = Connect()
        await asyncio.sleep(3)
        await load.stop()
        failed = load.failed
        assert failed > 0
        began, *continued, recovered = lines.records
        assert lines.events == ["outage_began", "outage_continues", "outage_continues", "recovered"]
        assert began.at == pytest.approx(1.5, abs=0.3)
        assert "pool outage log" in began.getMessage()
        assert "Connect call failed" in began.getMessage()
        assert "5 s from its beginning (pool_connect_retry" in began.getMessage()
        assert [each.outage_seconds for each in continued] == pytest.approx([5.5, 11], abs=1)
        assert continued[1].failed_checkouts > continued[0].failed_checkouts >= 0
        assert "pool_connect_retry=5 is over" in continued[0].getMessage()
        assert recovered.outage_seconds == pytest.approx(12, abs=1.1)
        assert recovered.failed_checkouts == failed
        assert recovered.failed_attempts == pool.stats().connect_failures
        assert f"{failed} failed checkouts" in recovered.getMessage()
        assert {record.pool for record in lines.records} == {"outage log"}

    run(main())


@pytest.mark.parametrize("clients", [1, 2])
def test_one_failed_attempt_or_checkout_is_written_in_the_singular(
    lines: Lines, clients: int
) -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.1, error=WrongPassword))
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=30)
        waiting = [asyncio.ensure_future(use(pool)) for _ in range(clients)]
        await asyncio.wait(waiting)
        assert all(isinstance(each.exception(), WrongPassword) for each in waiting)
        server.usual = Connect()
        await use(pool)
        began, recovered = (record.getMessage() for record in lines.records)
        assert "1 failed attempt, " in began
        failed = "1 failed checkout" if clients == 1 else "2 failed checkouts"
        assert f", 1 failed attempt and {failed};" in recovered

    run(main())


def test_stats_tell_of_an_outage_while_it_lasts() -> None:
    async def main() -> None:
        server = Server(usual=REFUSED)
        pool = new_pool(server, timeout=30, pool_connect_retry=20)
        stats = pool.stats()
        assert (stats.last_connect_error, stats.outage_seconds) == (None, 0.0)
        waiter = asyncio.ensure_future(use(pool))
        await asyncio.sleep(8)
        stats = pool.stats()
        assert stats.last_connect_error == "ConnectionRefusedError(111, 'Connect call failed')"
        assert stats.outage_seconds == pytest.approx(8, abs=0.01)
        server.usual = Connect()
        await waiter
        stats = pool.stats()
        assert (stats.last_connect_error, stats.outage_seconds) == (None, 0.0)

    run(main())


def test_stats_show_the_error_without_its_password() -> None:
    def rejected() -> Exception:
        return WrongPassword("cannot connect: postgresql://app:sec@ret@db/shop password=hidden")

    async def main() -> None:
        pool = new_pool(Server(usual=Connect(error=rejected)))
        with pytest.raises(WrongPassword):
            await borrow(pool)
        error = pool.stats().last_connect_error
        assert "cannot connect" in error
        assert "sec@ret" not in error
        assert "hidden" not in error

    run(main())


def test_a_short_interruption_is_not_logged(lines: Lines) -> None:
    async def main() -> None:
        server = Server().script(REFUSED, REFUSED)
        await use(new_pool(server))
        assert now() < 0.1
        assert lines.events == []

    run(main())


def test_flapping_connects_are_not_logged_while_no_checkout_fails(lines: Lines) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        for _ in range(100):
            server.script(REFUSED, Connect())
            await use(pool)
            await _restart(pool, server, Connect())
        assert pool.stats().connect_failures == 100
        assert lines.events == []

    run(main())


def test_an_expired_password_is_logged_once_and_not_for_each_request(lines: Lines) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, max_overflow=0)
        await use(pool)
        await _restart(pool, server, Connect(0.01, error=WrongPassword))
        load = Load(pool, 5, pause=0.01)
        await asyncio.sleep(4)
        assert lines.events == ["outage_began"]
        assert "WrongPassword" in lines.records[0].getMessage()
        assert "callers get the error at once" in lines.records[0].getMessage()
        assert load.failed > 500
        await asyncio.sleep(2)
        assert lines.events == ["outage_began", "outage_continues"]
        failed = load.failed
        assert lines.records[1].failed_checkouts == pytest.approx(failed, rel=0.4)
        server.usual = Connect()
        await asyncio.sleep(1)
        await load.stop()
        assert lines.events == ["outage_began", "outage_continues", "recovered"]
        assert lines.records[2].failed_checkouts == load.failed

    run(main())


def test_a_silent_server_is_logged_before_any_attempt_has_failed(lines: Lines) -> None:
    async def main() -> None:
        server = Server(usual=Connect(silent=True))
        pool = new_pool(server, pool_size=5, max_overflow=0, timeout=5)
        load = Load(pool, 3)
        await asyncio.sleep(4)
        assert lines.events == ["outage_began"]
        assert "pool_timeout=5" in lines.records[0].getMessage()
        assert lines.records[0].at == pytest.approx(3, abs=0.1)
        assert "has not answered for 3.0 s" in lines.records[0].getMessage()
        stats = pool.stats()
        assert "has not answered" in stats.last_connect_error
        assert stats.outage_seconds == pytest.approx(4, abs=0.1)
        await asyncio.sleep(8)
        assert lines.events[:2] == ["outage_began", "outage_continues"]
        assert lines.records[1].failed_checkouts >= 3
        server.usual = Connect(0.01)
        await asyncio.sleep(4)
        await load.stop()
        assert lines.events[-1] == "recovered"
        assert lines.records[-1].failed_checkouts == load.failed
        assert lines.records[-1].outage_seconds == pytest.approx(13, abs=1.5)

    run(main())


def test_a_silent_server_is_logged_with_one_slot_whose_attempts_are_abandoned(
    lines: Lines,
) -> None:
    async def main() -> None:
        server = Server(usual=Connect(silent=True))
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=5)
        load = Load(pool, 3)
        await asyncio.sleep(9)
        assert lines.events[0] == "outage_began"
        assert lines.records[0].at <= 4.1
        server.usual = Connect(0.01)
        await asyncio.sleep(10)
        await load.stop()
        assert lines.events[-1] == "recovered"
        assert lines.records[-1].failed_attempts >= 2

    run(main())


def test_a_server_that_needs_a_second_and_a_half_is_not_an_outage(lines: Lines) -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(1.5)), pool_size=2, max_overflow=0)
        load = Load(pool, 4)
        await asyncio.sleep(10)
        await load.stop()
        assert lines.events == []

    run(main())


def test_a_blocked_loop_is_not_an_outage(lines: Lines) -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(0.5)), pool_size=2, max_overflow=0)
        waiters = [asyncio.ensure_future(use(pool)) for _ in range(4)]
        await asyncio.sleep(0.1)
        virtual_loop().block(5)
        await asyncio.gather(*waiters)
        assert lines.events == []
        assert pool.stats().outage_seconds == 0.0

    run(main())


def test_an_outage_without_a_waiter_is_logged(lines: Lines) -> None:
    """The minimum size is refilled in the background."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, pool_min_size=3)
        await pool.warm()
        await _restart(pool, server, REFUSED)
        await asyncio.sleep(300)
        assert lines.events.count("outage_began") == 1
        assert 2 <= lines.events.count("outage_continues") <= 8
        assert lines.records[-1].failed_checkouts == 0
        server.usual = Connect()
        await asyncio.sleep(60)
        assert lines.events[-1] == "recovered"
        assert lines.records[-1].outage_seconds > 300

    run(main())


def test_a_full_server_is_logged_with_what_callers_wait_for(lines: Lines) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, max_overflow=0, timeout=60)
        first = await borrow(pool)
        server.usual = Connect(seconds=0.01, error=TooManyClients)
        waiters = [asyncio.ensure_future(use(pool, 0.1)) for _ in range(3)]
        await asyncio.sleep(3)
        assert lines.events == ["outage_began"]
        assert "wait for 1 other connection to be returned (" in lines.records[0].getMessage()
        assert lines.records[0].waiting_callers == 3
        await give_back(first)
        await asyncio.gather(*waiters)

    run(main())


def test_checkouts_that_were_refused_or_timed_out_count_as_failed(lines: Lines) -> None:
    async def main() -> None:
        server = Server(usual=REFUSED)
        options: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "pool_max_waiting": 1}
        pool = new_pool(server, timeout=2, pool_connect_retry=60, **options)
        waiters = [asyncio.ensure_future(use(pool)) for _ in range(5)]
        got = await asyncio.gather(*waiters, return_exceptions=True)
        assert {type(each) for each in got} == {PoolSaturated, PoolTimeout}
        server.usual = Connect()
        await asyncio.sleep(1)
        await use(pool)
        assert lines.records[-1].event == "recovered"
        assert lines.records[-1].failed_checkouts == 5

    run(main())


@contextmanager
def _failing_handler() -> Iterator[None]:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("the log is full")

    handler, logger = Failing(), logging.getLogger(LOGGER)
    logger.addHandler(handler)
    with contextlib.redirect_stderr(None):
        try:
            yield
        finally:
            logger.removeHandler(handler)


@pytest.mark.parametrize(
    "usual",
    [REFUSED, Connect(error=WrongPassword), Connect(silent=True)],
    ids=["refused", "fatal", "silent"],
)
def test_a_log_handler_that_raises_during_an_outage_loses_no_waiter_and_no_slot(
    usual: Connect,
) -> None:
    async def main() -> None:
        server = Server(usual=usual)
        pool = new_pool(server, pool_size=3, max_overflow=0, timeout=5)
        load = Load(pool, 5)
        await asyncio.sleep(12)
        server.usual = Connect()
        await asyncio.sleep(15)
        before = load.served
        await asyncio.sleep(1)
        assert load.served > before
        await load.stop()
        await asyncio.sleep(15)
        await assert_full_capacity(pool, server, 3)

    with _failing_handler():
        run(main())


def test_an_unused_pool_or_one_that_works_has_no_line(lines: Lines) -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(0.2)), pool_size=5, max_overflow=0)
        await open_idle(pool, 3)
        load = Load(pool, 20)
        await asyncio.sleep(30)
        await load.stop()
        assert lines.events == []

    run(main())


def test_stats_of_several_loops_show_the_longest_outage() -> None:
    server = Server(usual=REFUSED)
    pool = new_pool(server, timeout=60, pool_connect_retry=60)

    async def wait_for(seconds: float) -> None:
        asyncio.ensure_future(use(pool))  # noqa: RUF006 - ended with its loop
        await asyncio.sleep(seconds)

    loops = [VirtualLoop(), VirtualLoop()]
    try:
        for loop, seconds in zip(loops, (3.0, 9.0), strict=True):
            asyncio.set_event_loop(loop)
            loop.run_until_complete(wait_for(seconds))
        assert pool.stats().outage_seconds == pytest.approx(9, abs=0.01)
        assert "Connect call failed" in pool.stats().last_connect_error
    finally:
        for loop in loops:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            asyncio.set_event_loop(loop)
            loop.run_until_complete(asyncio.sleep(0.1))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        asyncio.set_event_loop(None)
