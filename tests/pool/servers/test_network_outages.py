"""Outages under steady load: network blackholes, refused connects, slow servers.

Resets of idle sockets, restarts under load and killed sessions are in test_recovery.py, a server
that takes a second to accept is in test_silence.py.
"""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.pool import AsyncAdaptedQueuePool

from sqla_typedpool import PoolTimeout, TypedPool
from tests.support.clocks import Stopwatch, now
from tests.support.drivers import POSTGRESQL, SERVERS
from tests.support.engines import SLACK, ask, open_all, return_all, run, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database

TIMEOUT = 5.0
VALIDATE_AFTER = 0.5  # pool_validate_after: connections used more recently are not pinged
FIVE: dict[str, Any] = {"pool_size": 5, "max_overflow": 0, "pool_timeout": TIMEOUT}


# --------------------------------------------------------------------------------- load


@dataclass
class Request:
    """A checkout, a statement and the return; times are those of `now`."""

    started: float
    waited: float | None = None  # None while the checkout has not ended
    checkout_error: Exception | None = None
    statement_error: Exception | None = None

    @property
    def received_at(self) -> float:
        """When the connection was handed out."""
        assert self.waited is not None
        return self.started + self.waited


class Load:
    """Clients that run statements until stopped, or once, with a timeout for each statement."""

    def __init__(
        self,
        engine: AsyncEngine,
        clients: int = 10,
        statement: str = "SELECT 1",
        *,
        once: bool = False,
        pause: float = 0.01,
    ) -> None:
        self._engine = engine
        self._statement = text(statement)
        self._once = once
        self._pause = pause
        self.requests: list[Request] = []
        self._tasks = [asyncio.ensure_future(self._run_client()) for _ in range(clients)]

    async def _run_client(self) -> None:
        while True:
            request = Request(now())
            self.requests.append(request)
            await self.serve(request)
            if self._once:
                return
            await asyncio.sleep(self._pause)

    async def serve(self, request: Request) -> None:
        try:
            connection = await self._engine.connect()
        except Exception as error:
            request.checkout_error = error
            return
        finally:
            request.waited = now() - request.started
        try:
            try:
                await asyncio.wait_for(connection.execute(self._statement), 3)
            finally:
                await connection.close()  # rolls back, which may fail as well
        except Exception as error:
            request.statement_error = error

    def since(self, moment: float) -> list[Request]:
        """The requests that started at this time or later and whose checkout has ended."""
        return [
            each for each in self.requests if each.started >= moment and each.waited is not None
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=15)


def check_waits(load: Load, limit: float = TIMEOUT + SLACK) -> None:
    """Check that no checkout has taken longer, whether or not it has ended."""
    moment = now()
    waits = [
        moment - each.started if each.waited is None else each.waited for each in load.requests
    ]
    assert max(waits) <= limit


def check_only_those_in_flight_failed(load: Load, silent_at: float, size: int) -> None:
    """Check that each connection failed at most one statement, and none that was due for a ping."""
    failed = [each for each in load.requests if each.statement_error is not None]
    assert len(failed) <= size, failed
    assert all(each.received_at <= silent_at + VALIDATE_AFTER + 0.1 for each in failed), failed
    errors = [each.checkout_error for each in load.requests if each.checkout_error is not None]
    assert all(isinstance(each, (PoolTimeout, TimeoutError)) for each in errors), errors


def check_all_served_since(load: Load, back_at: float) -> None:
    """Check that all requests started after the network was back have succeeded."""
    after = load.since(back_at)
    assert after
    bad = [each for each in after if each.checkout_error or each.statement_error]
    assert not bad, bad


async def first_success(engine: AsyncEngine) -> float:
    """Run one request; return how many seconds it took."""
    watch = Stopwatch()
    assert await ask(engine) == 1
    return watch.awake


# --------------------------------------------------------------------------- blackholes


async def blackhole_under_load(database: Database, seconds: float) -> None:
    options = {**FIVE, "pool_reset_timeout": 5}  # bounds rollbacks that hang
    async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
        load = Load(engine)
        await asyncio.sleep(1)
        silent_at = now()
        proxy.go_silent()
        await asyncio.sleep(seconds)
        proxy.resume()
        back_at = now()
        assert await first_success(engine) < TIMEOUT
        # connects that hung during the blackhole end now and must not fail new requests
        await asyncio.sleep(6)
        await load.stop()
        check_waits(load)
        check_only_those_in_flight_failed(load, silent_at, 5)
        check_all_served_since(load, back_at)


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "aiomysql"])
def test_in_a_blackhole_of_ten_seconds_checkouts_end_by_their_deadline_and_the_next_one_succeeds(
    database: Database,
) -> None:
    run(blackhole_under_load(database, 10))


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("driver", ["asyncpg"])
def test_in_a_blackhole_of_a_minute_checkouts_end_by_their_deadline_and_the_next_one_succeeds(
    database: Database,
) -> None:
    run(blackhole_under_load(database, 60))


@pytest.mark.slow
@pytest.mark.parametrize("driver", SERVERS)
def test_connections_that_were_idle_when_a_blackhole_began_are_not_handed_out_after_it(
    database: Database,
) -> None:
    """No request was made during the blackhole, and the sockets stay silent for ever."""

    async def main() -> None:
        options = {**FIVE, "pool_timeout": 3}  # the bound of one ping, and a connect
        async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
            await return_all(await open_all(engine, 5))
            proxy.go_silent()
            await asyncio.sleep(1)
            proxy.resume()
            assert await first_success(engine) < 3
            assert await asyncio.gather(*(ask(engine) for _ in range(10))) == [1] * 10
            assert await first_success(engine) < SLACK

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "asyncmy"])
def test_statements_that_hang_in_every_slot_of_a_blackhole_end_and_free_their_slots(
    database: Database,
) -> None:
    async def main() -> None:
        async with database.proxy() as proxy, database.engine(proxy, **FIVE) as engine:
            pool = TypedPool.of(engine)
            holders = Load(engine, 5, database.sleep(30), once=True)
            assert await until(lambda: pool.checkedout() == 5)
            await asyncio.sleep(0.1)  # until the statements have been sent
            proxy.go_silent()
            load = Load(engine, 5)
            await asyncio.sleep(10)
            proxy.resume()
            # psycopg cancels a statement on the server, with 5 s to connect and 5 s for the answer
            assert await until(lambda: pool.checkedout() < 5, 15)
            back_at = now()
            assert await first_success(engine) < TIMEOUT
            await asyncio.sleep(1)
            check_waits(load)
            check_waits(holders)
            check_all_served_since(load, back_at)
            await holders.stop()
            await load.stop()
            assert await until(lambda: pool.checkedout() == 0)

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("driver", POSTGRESQL)
def test_rollbacks_that_hang_in_every_slot_do_not_fail_the_first_checkout_after_a_blackhole(
    database: Database,
) -> None:
    """With the default `pool_reset_timeout`; for MySQL it is a minute, for InnoDB's rollbacks."""

    async def main() -> None:
        async with database.proxy() as proxy, database.engine(proxy, **FIVE) as engine:
            held = await open_all(engine, 5)
            proxy.go_silent()
            returns = [asyncio.ensure_future(connection.close()) for connection in held]
            await asyncio.sleep(6)
            proxy.resume()
            try:
                assert await first_success(engine) < TIMEOUT
            finally:
                proxy.reset_all()
                await asyncio.wait(returns, timeout=10)
                await asyncio.gather(*returns, return_exceptions=True)

    run(main())


async def hung_attempts(database: Database, size: int, seconds: float) -> tuple[int, float, object]:
    """Let a connect hang in every slot; return what the first request after a blackhole gets."""
    options = {**FIVE, "pool_size": size}
    async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
        proxy.go_silent()
        load = Load(engine, 3, pause=0.1)  # many of these run concurrently
        await asyncio.sleep(seconds)
        proxy.resume()
        back_at = now()
        try:
            end: object = await first_success(engine)
        except Exception as error:
            end = error
        await asyncio.sleep(6)
        await load.stop()
        check_waits(load)
        check_all_served_since(load, back_at)
        return size, seconds, end


@pytest.mark.slow
@pytest.mark.parametrize("driver", POSTGRESQL)
def test_connects_that_hang_in_every_slot_do_not_fail_the_first_checkout_after_a_blackhole(
    database: Database,
) -> None:
    """Tried concurrently with many lengths of the blackhole."""

    async def main() -> None:
        moments = [(size, 6 + step * 0.8) for size in (1, 2, 3) for step in range(12)]
        attempts = (hung_attempts(database, *each) for each in moments)
        ends = await asyncio.gather(*attempts, return_exceptions=True)
        bad = [end for end in ends if not (isinstance(end, tuple) and isinstance(end[-1], float))]
        assert not bad, bad

    run(main())


@contextmanager
def full_backlog(port: int) -> Iterator[None]:
    """A listener whose backlog is full answers no SYN, like a firewall that drops packets."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            yield
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "aiomysql"])
def test_while_the_network_drops_connects_checkouts_end_by_their_deadline_and_succeed_afterwards(
    database: Database,
) -> None:
    async def main() -> None:
        options = {**FIVE, "pool_reset_timeout": 5}
        async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
            load = Load(engine)
            await asyncio.sleep(0.5)
            silent_at = now()
            proxy.go_silent()
            proxy.refuse()
            with full_backlog(proxy.port):
                await asyncio.sleep(10)
            proxy.resume()
            await proxy.accept()
            back_at = now()
            assert await first_success(engine) < TIMEOUT
            await asyncio.sleep(2)
            await load.stop()
            check_waits(load)
            check_only_those_in_flight_failed(load, silent_at, 5)
            check_all_served_since(load, back_at)

    run(main())


# ---------------------------------------------------------------------- refused connects


async def failure(engine: AsyncEngine) -> tuple[float, type, type]:
    """How long a request took to fail, the type of its error and of the wrapped error.

    Only types are returned: thousands of stored tracebacks would slow down garbage collection.
    """
    watch = Stopwatch()
    try:
        await ask(engine)
    except Exception as error:
        return watch.awake, type(error), type(getattr(error, "orig", None))
    raise AssertionError("the request did not fail")


@pytest.mark.slow
@pytest.mark.parametrize("driver", SERVERS)
def test_while_connects_are_refused_waiters_fail_after_five_seconds_and_later_checkouts_at_once(
    database: Database,
) -> None:
    async def main() -> None:
        options = {"pool_size": 5, "max_overflow": 0}
        async with (
            database.proxy() as proxy,
            database.engine(proxy, **options) as engine,
            database.engine(proxy, poolclass=AsyncAdaptedQueuePool) as stock,
        ):
            await return_all(await open_all(engine, 5))
            proxy.refuse()
            proxy.reset_all()
            await asyncio.sleep(0.02)  # until the resets have arrived
            watch = Stopwatch()
            first = await asyncio.gather(*(failure(engine) for _ in range(10)))
            assert max(seconds for seconds, *_ in first) <= 5 + SLACK
            assert min(seconds for seconds, *_ in first) >= 4
            later = []
            while watch.seconds < 6:
                later += await asyncio.gather(*(failure(engine) for _ in range(10)))
                await asyncio.sleep(0.01)
            assert max(seconds for seconds, *_ in later) < 1
            _, *stock_error = await failure(stock)
            assert {tuple(kinds) for _, *kinds in (*first, *later)} == {tuple(stock_error)}
            await proxy.accept()
            assert await first_success(engine) < SLACK
            assert await asyncio.gather(*(ask(engine) for _ in range(10))) == [1] * 10

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("driver", SERVERS)
def test_an_outage_of_twelve_seconds_under_load_has_its_beginning_and_its_end_in_the_log(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        options = {"pool_size": 5, "max_overflow": 0, "pool_name": "shop"}
        async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
            load = Load(engine, pause=0.1)
            await asyncio.sleep(1)
            assert outage_records() == []
            proxy.refuse()
            proxy.reset_all()
            await asyncio.sleep(12)
            stats = TypedPool.of(engine).stats()
            assert stats.outage_seconds == pytest.approx(12, abs=0.5)
            assert stats.last_connect_error is not None
            await proxy.accept()
            await asyncio.sleep(3)
            await load.stop()
            stats = TypedPool.of(engine).stats()
            assert (stats.outage_seconds, stats.last_connect_error) == (0.0, None)
            failed = sum(each.checkout_error is not None for each in load.requests)

        began, *continued, recovered = outage_records()
        assert [each.event for each in continued] == ["outage_continues"] * 2
        assert (began.event, recovered.event) == ("outage_began", "recovered")
        assert began.outage_seconds < 1
        assert re.search(database.REFUSED, began.error)
        assert recovered.outage_seconds == pytest.approx(12.5, abs=1)
        assert recovered.failed_checkouts == failed > 0
        assert f"{failed} failed checkouts" in recovered.getMessage()

    def outage_records() -> list[Any]:
        events = ("outage_began", "outage_continues", "recovered")
        return [each for each in caplog.records if getattr(each, "event", "") in events]

    with caplog.at_level("WARNING", "sqla_typedpool"):
        run(main())


# -------------------------------------------------------------------------- slow servers


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["asyncpg", "aiomysql"])
def test_a_server_that_takes_eight_seconds_to_accept_is_reached_by_one_caller_and_by_five_at_once(
    database: Database,
) -> None:
    """With a single slot and the default pool_timeout, 30 s."""

    async def reached_by(callers: int) -> None:
        async with database.proxy() as proxy:
            proxy.accept_delay = 8
            options = {"pool_size": 1, "max_overflow": 0}
            async with database.engine(proxy, **options) as engine:
                asking = [ask(engine) for _ in range(callers)]
                assert await asyncio.gather(*asking) == [1] * callers
                assert TypedPool.of(engine).stats().connects == 1

    async def main() -> None:
        await asyncio.gather(reached_by(1), reached_by(5))

    run(main())
