"""Guarantee 9: no caller gets the error of an attempt that began before the caller arrived.

The application of these tests sends a token that expires. It fetches a new one on the first error
and retries: no retry may get the error of an attempt with the old token.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, cast

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from sqla_typedpool import TypedPool
from sqla_typedpool._sqlalchemy.greenlets import await_only
from tests.support.fake_driver import (
    Connect,
    Error,
    Server,
    assert_only_idle,
    borrow,
    change_driver,
    give_back,
    new_engine,
    new_pool,
    open_idle,
    refused,
    use,
)
from tests.support.virtual_clock import now, run

CONCURRENT = pytest.mark.parametrize("requests", [2, 5, 20])


class ExpiredToken(Error):
    """The server has rejected a token."""

    sqlstate = "28P01"

    def __init__(self, token: int) -> None:
        super().__init__(f"token {token} has expired")
        self.token = token


class Application:
    """An engine whose `do_connect` passes the present token, and its requests."""

    def __init__(self, seconds: Callable[[], float] | None = None, **options: Any) -> None:
        self.server = Server()
        self.engine = new_engine(self.server, **options)
        self.token = 1
        self.valid = 1
        self.stale_errors: list[str] = []
        # attempts that begin together end one after another
        durations = itertools.cycle([0.05, 0.06, 0.07])
        self._seconds = seconds or (lambda: next(durations))
        event.listen(self.engine.sync_engine, "do_connect", self._connect)

    @property
    def pool(self) -> TypedPool:
        return TypedPool.of(self.engine)

    def expire(self) -> None:
        """Tokens fetched so far are not accepted any more."""
        self.valid = self.token + 1

    def _connect(self, dialect: Any, record: Any, arguments: Any, named: Any) -> Any:
        token = self.token
        await_only(asyncio.sleep(self._seconds()))
        if token < self.valid:
            raise ExpiredToken(token)
        return dialect.connect(*arguments, **named)

    async def request(self, pause: float | None = None) -> None:
        """Use a connection; on an error fetch a token and retry once."""
        if await self._use() is None:
            return
        self.token = self.valid
        if pause is not None:
            await asyncio.sleep(pause)
        present = self.token
        error = await self._use()
        if error is not None and error.token < present:
            self.stale_errors.append(f"at {now():.3f}: {error}, and the token was {present}")

    async def _use(self) -> ExpiredToken | None:
        try:
            async with self.engine.connect():
                await asyncio.sleep(0.01)
        except DBAPIError as error:
            return cast(ExpiredToken, error.orig)
        return None


@CONCURRENT
@pytest.mark.parametrize("pause", [None, 0.0, 0.01])
def test_no_retry_gets_the_error_of_an_attempt_with_the_old_token(
    requests: int, pause: float | None
) -> None:
    async def main() -> None:
        application = Application(pool_size=5, max_overflow=0)
        application.expire()
        await asyncio.gather(*(application.request(pause) for _ in range(requests)))
        assert application.stale_errors == []
        await asyncio.sleep(1)
        assert_only_idle(application.pool, application.server)

    run(main())


@CONCURRENT
@pytest.mark.parametrize("seed", range(5))
def test_no_retry_gets_an_old_error_while_attempts_of_different_durations_overlap(
    requests: int, seed: int
) -> None:
    """Requests arrive one after another, and each attempt takes another time."""
    durations = itertools.cycle([0.01, 0.09, 0.03, 1.2, 0.05, 0.002, 0.4][seed:])

    async def main() -> None:
        application = Application(lambda: next(durations), pool_size=10, max_overflow=0)
        running = []
        for number in range(requests):
            if number % 4 == 0:
                application.expire()
            running.append(asyncio.ensure_future(application.request()))
            await asyncio.sleep(0.02 * (number % 3))
        await asyncio.gather(*running)
        assert application.stale_errors == []

    run(main())


@CONCURRENT
def test_no_retry_gets_an_old_error_while_another_connection_is_in_use(requests: int) -> None:
    async def main() -> None:
        application = Application(pool_size=5, max_overflow=0, pool_timeout=60)
        async with application.engine.connect():
            application.expire()
            await asyncio.gather(*(application.request() for _ in range(requests)))
        assert application.stale_errors == []

    run(main())


@CONCURRENT
def test_no_retry_gets_an_old_error_while_attempts_hang(requests: int) -> None:
    """Attempts with the old token hang, and newer ones are started beside them."""
    seconds = itertools.chain([6.0, 3.0, 0.05], itertools.repeat(2.5))

    async def main() -> None:
        application = Application(lambda: next(seconds), pool_size=5, max_overflow=0)
        application.expire()
        await asyncio.gather(*(application.request() for _ in range(requests)))
        await asyncio.sleep(10)
        assert application.stale_errors == []

    run(main())


def test_warm_does_not_get_the_error_of_an_attempt_that_began_before_it() -> None:
    async def main() -> None:
        application = Application(pool_size=5, max_overflow=0, pool_min_size=2)
        application.expire()
        first = asyncio.ensure_future(borrow(application.pool))
        await asyncio.sleep(0.02)
        application.token = application.valid
        await application.pool.warm()
        assert application.pool.stats().idle >= 2
        with pytest.raises(ExpiredToken):
            await first

    run(main())


def test_a_waiter_who_joined_after_an_attempt_began_gets_a_new_attempt() -> None:
    async def main() -> None:
        server = Server().script(Connect(1, error=lambda: ExpiredToken(1)))
        pool = new_pool(server, pool_size=5, max_overflow=0)
        first = asyncio.ensure_future(use(pool))
        await asyncio.sleep(0.5)
        server.usual = Connect(3)  # later than the first attempt fails
        second = asyncio.ensure_future(use(pool))
        with pytest.raises(ExpiredToken):
            await first
        assert now() == pytest.approx(1)
        await second

    run(main())


def test_the_oldest_waiter_does_not_get_the_error_of_an_attempt_that_began_before_him() -> None:
    """Another connection is in use, so that only the oldest waiter would get the error."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        held = await borrow(pool)
        server.script(Connect(0.9, error=lambda: ExpiredToken(1)))
        gone = asyncio.ensure_future(use(pool))
        await asyncio.sleep(0.5)
        gone.cancel()
        later = asyncio.ensure_future(use(pool))
        await later
        assert now() < 1.5
        await give_back(held)

    run(main())


def test_at_the_end_of_pool_connect_retry_a_later_arrival_gets_a_new_attempt() -> None:
    async def main() -> None:
        server = Server(usual=Connect(0.5, error=refused))
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_connect_retry=2)
        first = asyncio.ensure_future(use(pool))
        while not first.done():
            latest = len(server.attempts)
            await asyncio.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            await first
        assert len(server.attempts) == latest
        before = asyncio.ensure_future(use(pool))
        await asyncio.sleep(0.2)  # its attempt is under way, and will fail
        server.usual = Connect(0.5)
        after = asyncio.ensure_future(use(pool))
        with pytest.raises(ConnectionRefusedError):
            await before
        await after

    run(main())


def test_a_waiter_does_not_get_the_error_of_a_ping_that_began_before_him(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error of a ping that is not a disconnect is raised in a waiter."""
    change_driver(monkeypatch, has_ping=False)

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_validate_after=0.5)
        (connection,) = await open_idle(pool, 1)
        await asyncio.sleep(1)
        connection.slow["ping"] = 1
        connection.fails["ping"] = lambda: Error("not a disconnect")
        first = asyncio.ensure_future(use(pool))
        await asyncio.sleep(0.5)
        first.cancel()
        await use(pool)
        assert now() == pytest.approx(2, abs=0.1)

    run(main())
