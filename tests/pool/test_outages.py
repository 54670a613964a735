"""Guarantee 9: a server that refuses connections, is silent, is full or is slow."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from sqla_typedpool import PoolTimeout
from sqla_typedpool.pool.connect_errors import classify
from sqla_typedpool.pool.connect_rules import ErrorKind
from tests.support.fake_driver import (
    Connect,
    Error,
    Server,
    TooManyClients,
    WrongPassword,
    assert_full_capacity,
    assert_only_idle,
    borrow,
    driver_of,
    give_back,
    new_pool,
    open_idle,
    refused,
    use,
)
from tests.support.virtual_clock import now, run

LOGGER = "sqla_typedpool"
REFUSED = Connect(seconds=0.001, error=refused)


# --------------------------------------------------------------------- refused


def test_a_refused_connect_is_repeated_for_pool_connect_retry_and_then_raised_unchanged() -> None:
    async def main() -> None:
        server = Server(usual=REFUSED)
        pool = new_pool(server, pool_connect_retry=5)
        with pytest.raises(ConnectionRefusedError):
            await borrow(pool)
        assert 4.5 <= now() <= 5.5
        assert 5 <= len(server.attempts) <= 40

    run(main())


def test_no_waiter_fails_when_the_server_recovers_within_pool_connect_retry() -> None:
    async def main() -> None:
        server = Server(usual=REFUSED)
        pool = new_pool(server, pool_size=5, max_overflow=0)
        waiters = [asyncio.ensure_future(use(pool, 0.01)) for _ in range(20)]
        await asyncio.sleep(3)
        server.usual = Connect(seconds=0.01)
        await asyncio.gather(*waiters)
        assert now() <= 4.5
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 5)

    run(main())


def test_the_backoff_starts_small_and_grows_to_at_most_a_second() -> None:
    async def main() -> None:
        server = Server(usual=Connect(error=refused))
        pool = new_pool(server, pool_connect_retry=30, timeout=60)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(29)
        pauses = [b - a for a, b in zip(server.attempts, server.attempts[1:], strict=False)]
        assert min(pauses[1:3]) < 0.1
        assert max(pauses) <= 1.01
        assert pauses[-2] >= 0.5
        waiter.cancel()
        await asyncio.wait({waiter})

    run(main())


def test_with_pool_connect_retry_zero_the_error_is_raised_at_once() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=REFUSED), pool_connect_retry=0)
        with pytest.raises(ConnectionRefusedError):
            await borrow(pool)
        assert now() < 0.1

    run(main())


def test_later_arrivals_share_one_new_attempt_and_get_its_error() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.1, error=refused))
        pool = new_pool(server, pool_connect_retry=2)
        with pytest.raises(ConnectionRefusedError):
            await borrow(pool)
        await asyncio.sleep(0.2)
        started, before = now(), len(server.attempts)
        got = await asyncio.gather(*(borrow(pool) for _ in range(10)), return_exceptions=True)
        assert all(isinstance(each, ConnectionRefusedError) for each in got)
        assert len({id(each) for each in got}) == 10, "each waiter gets its own error object"
        assert now() - started < 0.5
        assert len(server.attempts) - before == 1

    run(main())


def test_later_arrivals_are_served_when_the_new_attempt_succeeds() -> None:
    async def main() -> None:
        server = Server(usual=REFUSED)
        pool = new_pool(server, pool_connect_retry=2, pool_size=5, max_overflow=0)
        with pytest.raises(ConnectionRefusedError):
            await borrow(pool)
        await asyncio.sleep(0.1)
        server.usual = Connect(seconds=0.1)
        await asyncio.gather(*(use(pool, 0.01) for _ in range(10)))
        assert now() < 4

    run(main())


def test_a_second_outage_is_retried_for_the_full_pool_connect_retry() -> None:
    """The time counts from the start of the present outage, not of the first one."""

    async def main() -> None:
        server = Server(usual=REFUSED)
        pool = new_pool(server, pool_connect_retry=2, pool_idle_timeout=10)
        with pytest.raises(ConnectionRefusedError):
            await borrow(pool)
        await asyncio.sleep(0.1)
        server.usual = Connect()
        await use(pool)
        await asyncio.sleep(100)
        server.usual = REFUSED
        started = now()
        with pytest.raises(ConnectionRefusedError):
            await borrow(pool)
        assert now() - started == pytest.approx(2, abs=0.6)

    run(main())


def test_a_deadline_shorter_than_pool_connect_retry_holds() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=REFUSED), timeout=1)
        with pytest.raises(PoolTimeout) as caught:
            await borrow(pool)
        assert now() == pytest.approx(1, abs=0.01)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)

    run(main())


def test_recovery_is_logged_once_with_its_numbers(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Server(usual=REFUSED)
        pool = new_pool(server)
        waiter = asyncio.ensure_future(use(pool))
        await asyncio.sleep(2)
        server.usual = Connect()
        await waiter
        logged = [each for each in caplog.records if "recovered" in each.getMessage()]
        assert len(logged) == 1
        assert logged[0].failed_attempts == pool.stats().connect_failures  # type: ignore[attr-defined]
        assert 1.5 <= logged[0].outage_seconds <= 3.5  # type: ignore[attr-defined]
        for _ in range(3):
            await use(pool)
        logged = [each for each in caplog.records if "recovered" in each.getMessage()]
        assert len(logged) == 1

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())


def test_a_returned_connection_serves_a_waiter_during_an_outage() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        first = await borrow(pool)
        server.usual = REFUSED
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(1.05)
        await give_back(first)
        await give_back(await waiter)
        assert now() == pytest.approx(1.05, abs=0.01)

    run(main())


# ----------------------------------------------------------------------- fatal


def test_a_fatal_error_reaches_every_waiter_at_once_when_no_connection_is_in_use() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.05, error=WrongPassword))
        pool = new_pool(server, pool_size=5, max_overflow=0)
        got = await asyncio.gather(*(borrow(pool) for _ in range(20)), return_exceptions=True)
        assert all(type(each) is WrongPassword for each in got)
        assert now() <= 0.2
        assert len(server.attempts) <= 4
        assert_only_idle(pool, server)

    run(main())


def test_a_fatal_error_while_a_connection_is_in_use_fails_only_a_few_waiters() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=3, max_overflow=0)
        first = await borrow(pool)
        server.usual = Connect(seconds=0.05, error=WrongPassword)
        waiters = [asyncio.ensure_future(use(pool)) for _ in range(10)]
        await asyncio.sleep(0.075)  # the first attempts have failed
        assert 1 <= sum(each.done() for each in waiters) <= 2
        await give_back(first)
        got = await asyncio.gather(*waiters, return_exceptions=True)
        assert sum(isinstance(each, WrongPassword) for each in got) <= 3
        assert now() < 1

    run(main())


def test_fatal_errors_while_a_connection_is_in_use_do_not_fail_the_whole_queue() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=3, max_overflow=0)
        first = await borrow(pool)
        server.usual = Connect(seconds=0.001, error=WrongPassword)
        waiters = [asyncio.ensure_future(use(pool)) for _ in range(10)]
        await asyncio.sleep(0.1)  # the holder returns it after a tenth of a second
        await give_back(first)
        got = await asyncio.gather(*waiters, return_exceptions=True)
        served = sum(not isinstance(each, BaseException) for each in got)
        assert served >= 5, "the returned connection could serve them all"

    run(main())


# --------------------------------------------------------------------- unknown


class UnknownError(Error):
    """An error that no rule knows."""


def test_after_an_unknown_error_waiters_wait_for_a_return_while_a_connection_is_in_use() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=3, max_overflow=0, timeout=30, pool_connect_retry=1)
        first = await borrow(pool)
        server.usual = Connect(seconds=0.001, error=UnknownError)
        waiters = [asyncio.ensure_future(use(pool, 0.01)) for _ in range(20)]
        await asyncio.sleep(10)
        assert not any(each.done() for each in waiters)
        assert 10 <= len(server.attempts) <= 60, "attempts go on, with a pause"
        await give_back(first)
        await asyncio.gather(*waiters)
        assert now() < 11

    run(main())


def test_after_an_unknown_error_waiters_wait_for_a_connection_that_is_being_validated() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=3, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        await asyncio.sleep(1)
        connection.slow["ping"] = 0.5
        server.usual = Connect(seconds=0.001, error=UnknownError)
        await asyncio.gather(*(use(pool) for _ in range(5)))
        assert now() < 2

    run(main())


def test_an_unknown_error_is_raised_at_once_when_no_connection_works() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(seconds=0.05, error=UnknownError)))
        got = await asyncio.gather(*(borrow(pool) for _ in range(10)), return_exceptions=True)
        assert all(type(each) is UnknownError for each in got)
        assert now() <= 0.2

    run(main())


def test_after_an_unknown_error_the_deadline_holds_and_its_error_has_the_cause() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=3, max_overflow=0, timeout=2)
        first = await borrow(pool)
        server.usual = Connect(error=UnknownError)
        with pytest.raises(PoolTimeout) as caught:
            await borrow(pool)
        assert now() == pytest.approx(2, abs=0.01)
        assert isinstance(caught.value.__cause__, UnknownError)
        await give_back(first)

    run(main())


def test_waiters_get_an_unknown_error_when_the_last_working_connection_is_lost() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=3, max_overflow=0)
        first = await borrow(pool)
        server.usual = Connect(error=UnknownError)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(5)
        driver_of(first).die(seen_by_probe=True)
        await give_back(first)
        with pytest.raises(UnknownError):
            await waiter
        assert now() < 6.1

    run(main())


# ---------------------------------------------------------------------- silent


def test_a_new_attempt_starts_each_second_beside_silent_ones() -> None:
    async def main() -> None:
        server = Server(usual=Connect(silent=True))
        pool = new_pool(server, pool_size=5, max_overflow=0, timeout=30)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(2.5)
        assert len(server.attempts) == 3
        server.usual = Connect(seconds=0.01)
        await give_back(await waiter)
        assert now() <= 3.5
        await asyncio.sleep(60)
        assert_only_idle(pool, server)
        assert server.peak_sockets <= 5

    run(main())


@pytest.mark.parametrize("size", [1, 5])
def test_recovery_does_not_wait_for_silent_attempts(size: int) -> None:
    async def main() -> None:
        server = Server(usual=Connect(silent=True))
        pool = new_pool(server, pool_size=size, max_overflow=0, timeout=60)
        waiters = [asyncio.ensure_future(use(pool, 0.01)) for _ in range(10)]
        await asyncio.sleep(3.2)
        server.usual = Connect(seconds=0.01)
        await asyncio.gather(*waiters)
        assert now() - 3.2 <= 5
        assert server.peak_sockets <= size
        await asyncio.sleep(30)
        assert_only_idle(pool, server)

    run(main())


@pytest.mark.parametrize(
    ("seconds", "within"), [(0.9, 1.0), (1.5, 3.5), (3.5, 8), (7.9, 25), (8, 25), (9.5, 29)]
)
def test_a_slow_server_is_reached_with_a_single_slot(seconds: float, within: float) -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=seconds))
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=30)
        fairy = await borrow(pool)
        assert now() <= within
        assert server.peak_sockets == 1
        await give_back(fairy)

    run(main())


def test_an_attempt_ends_at_the_connect_timeout() -> None:
    async def main() -> None:
        server = Server().script(Connect(silent=True))
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_connect_timeout=0.5)
        await use(pool)
        assert now() == pytest.approx(0.5, abs=0.1)
        assert pool.stats().connect_failures == 1

    run(main())


def test_a_silent_attempt_without_waiters_ends_at_the_connect_timeout() -> None:
    async def main() -> None:
        server = Server(usual=Connect(silent=True))
        pool = new_pool(server, timeout=1, pool_connect_timeout=4)
        with pytest.raises(PoolTimeout):
            await borrow(pool)
        await asyncio.sleep(4.1)
        assert_only_idle(pool, server)
        before = len(server.attempts)
        await asyncio.sleep(60)
        assert len(server.attempts) == before, "no attempt without a waiter"

    run(main())


# ------------------------------------------------------------------------ full


def test_the_waiters_of_a_full_server_wait_while_a_connection_is_in_use() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=5, max_overflow=0, timeout=60, pool_connect_retry=1)
        first = await borrow(pool)
        server.usual = Connect(seconds=0.01, error=TooManyClients)
        waiters = [asyncio.ensure_future(use(pool, 0.1)) for _ in range(3)]
        await asyncio.sleep(10)
        assert not any(each.done() for each in waiters)
        await give_back(first)
        await asyncio.gather(*waiters)
        assert now() < 11
        assert len(server.attempts) < 40

    run(main())


def test_a_full_server_error_is_raised_after_pool_connect_retry_when_nothing_is_in_use() -> None:
    async def main() -> None:
        pool = new_pool(
            Server(usual=Connect(error=TooManyClients)), timeout=60, pool_connect_retry=2
        )
        with pytest.raises(TooManyClients):
            await borrow(pool)
        assert now() == pytest.approx(2, abs=0.5)

    run(main())


# ------------------------------------------------------------------ classifier


def _chained(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


def _with(error: Exception, **attributes: Any) -> Exception:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def _mysql(number: int) -> Exception:
    kind = type("OperationalError", (Exception,), {"__module__": "pymysql.err"})
    return kind(number, "message of the server")  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(), ErrorKind.TRANSIENT),
        (ConnectionResetError(), ErrorKind.TRANSIENT),
        (TimeoutError(), ErrorKind.TRANSIENT),
        (asyncio.TimeoutError(), ErrorKind.TRANSIENT),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), ErrorKind.TRANSIENT),
        (__import__("socket").gaierror(-2, "Name or service not known"), ErrorKind.TRANSIENT),
        (_with(Exception(), sqlstate="57P03"), ErrorKind.TRANSIENT),
        (_with(Exception(), sqlstate="53300"), ErrorKind.FULL),
        (_with(Exception(), sqlstate="28P01"), ErrorKind.FATAL),
        (_with(Exception(), sqlstate="3D000"), ErrorKind.FATAL),
        (_mysql(1040), ErrorKind.FULL),
        (_mysql(2003), ErrorKind.TRANSIENT),
        (_mysql(2013), ErrorKind.TRANSIENT),
        (_mysql(1045), ErrorKind.FATAL),
        (_mysql(1049), ErrorKind.FATAL),
        (Exception('connection failed: FATAL: database "x" does not exist'), ErrorKind.FATAL),
        (Exception("connection failed: Connection refused"), ErrorKind.TRANSIENT),
        (Exception("FATAL: the database system is starting up"), ErrorKind.TRANSIENT),
        (Exception("FATAL: sorry, too many clients already"), ErrorKind.FULL),
        (Exception("FATAL: password authentication failed for user"), ErrorKind.FATAL),
        (__import__("ssl").SSLError("certificate verify failed"), ErrorKind.FATAL),
        (_chained(Exception("wrapped"), ConnectionRefusedError()), ErrorKind.TRANSIENT),
        (
            _chained(Exception("x"), _with(ConnectionRefusedError(), sqlstate="28000")),
            ErrorKind.FATAL,
        ),
        (Exception("an unknown error"), ErrorKind.UNKNOWN),
        (PermissionError(13, "denied"), ErrorKind.FATAL),
        (FileNotFoundError(2, "No such file or directory"), ErrorKind.TRANSIENT),
        (FileNotFoundError(2, "No such file or directory", "root.crt"), ErrorKind.FATAL),
        (
            Exception(
                'connection to server on socket "/run/.s.PGSQL.5432" failed: No such file or '
                "directory\n\tIs the server running locally and accepting connections on that "
                "socket?"
            ),
            ErrorKind.TRANSIENT,
        ),
    ],
    ids=lambda value: value.value if isinstance(value, ErrorKind) else repr(value)[:40],
)
def test_connect_errors_are_classified(error: BaseException, kind: ErrorKind) -> None:
    assert classify(error) is kind


def test_an_error_whose_causes_form_a_cycle_is_classified() -> None:
    first, second = Exception("a"), Exception("b")
    first.__cause__, second.__cause__ = second, first
    started = time.monotonic()
    assert classify(first) is ErrorKind.UNKNOWN
    assert time.monotonic() - started < 1


def test_the_number_of_attempts_during_an_outage_is_bounded() -> None:
    async def main() -> None:
        for error in (refused, WrongPassword, TooManyClients):
            server = Server(usual=Connect(error=error))
            pool = new_pool(server, pool_min_size=5, timeout=None, pool_connect_retry=3)
            waiters = [asyncio.ensure_future(use(pool)) for _ in range(50)]
            await asyncio.gather(*waiters, return_exceptions=True)
            await asyncio.sleep(100)
            assert len(server.attempts) <= 1_000, error

    run(main())
