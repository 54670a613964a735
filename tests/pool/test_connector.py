"""Guarantee 2: tasks of the pool open connections, as many as are needed and no more."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import weakref
from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import event, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import PoolTimeout
from sqla_typedpool._sqlalchemy.greenlets import await_only
from tests.support.fake_driver import (
    Connect,
    FakeConnection,
    Server,
    WrongPassword,
    assert_full_capacity,
    assert_only_idle,
    borrow,
    borrowed,
    change_driver,
    give_back,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import VirtualLoop, collect_garbage, now, run


def test_a_spike_of_short_requests_opens_at_most_two_connections() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.15))
        pool = new_pool(server, pool_size=50, max_overflow=0)
        await open_idle(pool, 5)
        await asyncio.gather(*(use(pool, 0.002) for _ in range(50)))
        assert len(server.attempts) <= 7
        assert now() < 1
        await asyncio.sleep(1)
        assert len(server.attempts) <= 7, "no connection is opened after the demand has ended"

    run(main())


def test_many_long_requests_get_all_their_connections_in_a_few_round_trips() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.02))
        pool = new_pool(server, pool_size=50, max_overflow=0)
        running = 0
        peak = 0

        async def request() -> None:
            nonlocal running, peak
            async with borrowed(pool):
                running += 1
                peak = max(peak, running)
                await asyncio.sleep(2)
                running -= 1

        requests = [asyncio.ensure_future(request()) for _ in range(50)]
        await asyncio.sleep(1)
        assert running == 50
        await asyncio.gather(*requests)
        assert server.peak_sockets == 50

    run(main())


def test_growth_starts_with_two_attempts_and_doubles() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=1))
        pool = new_pool(server, pool_size=30, max_overflow=0)
        waiters = [asyncio.ensure_future(use(pool, 100)) for _ in range(30)]
        await asyncio.sleep(0.5)
        assert len(server.attempts) == 2
        await asyncio.sleep(1)
        assert 4 <= len(server.attempts) <= 10
        await asyncio.sleep(5)
        assert len(server.attempts) == 30
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)

    run(main())


def test_demand_is_checked_again_before_each_connect() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=10, max_overflow=0, timeout=None)
        first = await borrow(pool)
        server.usual = Connect(seconds=1)
        waiters = [asyncio.ensure_future(use(pool, 0.01)) for _ in range(10)]
        await asyncio.sleep(0.5)
        await give_back(first)  # ten short requests are served by this one before 1 s is over
        await asyncio.gather(*waiters)
        await asyncio.sleep(5)
        assert len(server.attempts) == 3

    run(main())


def test_no_connect_starts_for_a_cancelled_waiter() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=1))
        pool = new_pool(server, pool_size=10, max_overflow=0)
        waiters = [asyncio.ensure_future(borrow(pool)) for _ in range(10)]
        await asyncio.sleep(0.5)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.sleep(20)
        assert len(server.attempts) == 2
        assert pool.stats().idle == 2
        assert_only_idle(pool, server)

    run(main())


def test_a_connect_survives_the_cancellation_of_its_borrower() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=1))
        pool = new_pool(server)
        waiter = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        waiter.cancel()
        await asyncio.wait({waiter})
        assert waiter.cancelled()
        assert pool.checkedout() == 0
        await asyncio.sleep(1)
        assert pool.stats().idle == 1
        await use(pool)
        assert len(server.attempts) == 1
        assert pool.stats().cancelled == 1

    run(main())


def test_the_connection_opened_for_a_cancelled_borrower_serves_the_next_waiter() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.8))
        pool = new_pool(server, pool_size=1, max_overflow=0)
        first = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.5)
        second = asyncio.ensure_future(borrow(pool))
        first.cancel()
        fairy = await second
        assert now() == pytest.approx(0.8, abs=0.01)
        assert len(server.attempts) == 1
        await give_back(fairy)

    run(main())


def test_a_failed_connect_wakes_the_next_waiter_at_once() -> None:
    async def main() -> None:
        server = Server().script(Connect(0.1, error=WrongPassword))
        server.usual = Connect(0.1)
        pool = new_pool(server, pool_size=1, max_overflow=0)
        first = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(borrow(pool))
        with pytest.raises(WrongPassword):
            await first
        # no connection is in use, so both get the error; a third checkout finds a free slot
        await asyncio.wait({second})
        assert now() < 0.5
        if not second.exception():
            await give_back(second.result())
        await use(pool)
        assert_only_idle(pool, server)

    run(main())


def test_failed_connects_leave_the_full_pool_size_usable() -> None:
    async def main() -> None:
        server = Server().script(*(Connect(error=WrongPassword) for _ in range(3)))
        pool = new_pool(server, pool_size=3, max_overflow=0)
        for _ in range(3):
            with pytest.raises(WrongPassword):
                await borrow(pool)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 3)
        assert pool.stats().connect_failures == 3

    run(main())


def test_an_abandoned_connect_counts_until_its_socket_is_closed() -> None:
    async def main() -> None:
        # the driver ignores the cancellation for 3 s
        server = Server().script(Connect(silent=True, ignores_cancel_for=3))
        pool = new_pool(server, pool_size=1, max_overflow=0, pool_connect_timeout=1, timeout=30)
        fairy = await borrow(pool)
        assert server.peak_sockets == 1
        assert now() >= 4
        await give_back(fairy)
        assert_only_idle(pool, server)

    run(main())


def test_a_connect_listener_that_hangs_is_bounded_and_leaves_no_connection_open() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=5, pool_connect_timeout=1)
        hanging = True

        @event.listens_for(pool, "connect")
        def configure(connection: Any, record: Any) -> None:
            if hanging:
                await_only(asyncio.sleep(1_000))

        with pytest.raises(PoolTimeout):
            await borrow(pool)
        assert now() == pytest.approx(5, abs=0.01)
        hanging = False
        await asyncio.sleep(10)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_a_connect_listener_that_fails_raises_in_the_borrower_and_leaves_nothing_open() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        broken = True

        @event.listens_for(pool, "connect")
        def configure(connection: Any, record: Any) -> None:
            if broken:
                raise LookupError("no such setting")

        with pytest.raises(LookupError):
            await borrow(pool)
        broken = False
        await asyncio.sleep(5)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 2)

    run(main())


def test_a_connection_whose_probe_cannot_be_created_loses_no_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        server = Server()
        broken = True

        def make_probe(self: Any, connection: Any) -> Any:
            if broken:  # as psycopg's fileno() on a connection that has been closed meanwhile
                raise OSError("the connection is closed")
            return connection.probe

        change_driver(monkeypatch, make_probe=make_probe)
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=2)
        with pytest.raises(Exception):  # noqa: B017 - any error will do
            await borrow(pool)
        broken = False
        await asyncio.sleep(3)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


def test_a_new_connection_whose_probe_returns_something_else_is_used_without_a_ping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection that is a mock has a mock for a probe."""

    async def main() -> None:
        change_driver(monkeypatch, make_probe=lambda driver, connection: Mock())
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=5)
        await use(pool)
        assert now() < 0.1
        assert server.count("ping") == 0
        await use(pool)  # now it was idle, and may be pinged
        assert now() < 0.1
        assert len(server.attempts) == 1
        assert_only_idle(pool, server)

    run(main())


class StandIn:
    """A proxy of an adapter, as tracing libraries make them, without the private attributes."""

    def __init__(self, adapter: Any) -> None:
        self.__dict__["adapter"] = adapter

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.adapter, name)


def _new_engine_of_stand_ins(server: Server, **options: Any) -> AsyncEngine:
    engine = new_engine(server, **options)

    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, named: Any) -> Any:
        return StandIn(dialect.connect(*arguments, **named))

    return engine


def test_a_proxy_that_a_do_connect_listener_returns_is_used_at_once() -> None:
    async def main() -> None:
        server = Server()
        engine = _new_engine_of_stand_ins(server, pool_size=1, max_overflow=0, pool_timeout=5)
        for _ in range(3):
            async with engine.connect() as connection:
                await connection.execute(text("select 1"))
        assert now() < 0.1
        assert (len(server.attempts), server.count("ping")) == (1, 0)
        await asyncio.sleep(5)
        async with engine.connect():
            pass
        assert (len(server.attempts), server.count("ping")) == (1, 1)
        await engine.dispose()
        assert server.sockets == 0

    run(main())


async def _invalidate(engine: AsyncEngine, server: Server) -> None:
    async with engine.connect() as connection:
        await connection.invalidate()


async def _disconnect(engine: AsyncEngine, server: Server) -> None:
    server.open[0].die()
    with pytest.raises(exc.DBAPIError):
        async with engine.connect() as connection:
            await connection.execute(text("select 1"))


async def _cancel(engine: AsyncEngine, server: Server) -> None:
    server.open[0].slow["execute"] = 100
    with pytest.raises(asyncio.TimeoutError):
        async with engine.connect() as connection:
            await asyncio.wait_for(connection.execute(text("select 1")), 1)


async def _fall_silent(engine: AsyncEngine, server: Server) -> None:
    server.open[0].slow |= {"ping": 100, "close": 100}
    await asyncio.sleep(5)
    async with engine.connect():
        pass


async def _detach(engine: AsyncEngine, server: Server) -> None:
    fairy = await borrow(engine.pool)
    fairy.detach()
    await give_back(fairy)


async def _leak(engine: AsyncEngine, server: Server) -> None:
    cycle: list[Any] = [await borrow(engine.pool)]
    cycle.append(cycle)
    del cycle
    with pytest.warns(Warning, match="garbage collector"):
        collect_garbage()


@pytest.mark.parametrize(
    "end",
    [_invalidate, _disconnect, _cancel, _fall_silent, _detach, _leak],
    ids=lambda f: f.__name__,
)
def test_a_connection_that_is_a_proxy_is_closed_like_any_other(
    end: Callable[[AsyncEngine, Server], Coroutine[Any, Any, None]],
) -> None:
    async def main() -> None:
        server = Server()
        engine = _new_engine_of_stand_ins(server, pool_size=1, max_overflow=0, pool_timeout=5)
        async with engine.connect():
            pass
        first = server.open[0]
        await end(engine, server)
        await asyncio.sleep(5)
        assert first.is_closed
        assert_only_idle(engine.pool, server)
        await engine.dispose()
        assert server.sockets == 0

    run(main())


def test_connections_that_are_proxies_are_closed_when_their_loop_is_closed_by_hand() -> None:
    server = Server()
    engine = _new_engine_of_stand_ins(server)
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(open_idle(engine.pool, 3))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert server.sockets == 0


# ------------------------------------------------------------------ context

REQUEST: contextvars.ContextVar[object] = contextvars.ContextVar("REQUEST")


class Request:
    """An object that an application keeps in a context variable during a request."""


def test_the_tasks_of_the_pool_do_not_run_in_the_context_of_a_request() -> None:
    """A task that inherited the context would keep the request alive (guarantee 8)."""

    async def main() -> None:
        seen: list[object] = []
        pool = new_pool(Server())

        @event.listens_for(pool, "connect")
        def note_request(connection: Any, record: Any) -> None:
            seen.append(REQUEST.get(None))

        REQUEST.set("secret")
        await use(pool)
        assert seen == [None]

    run(main())


@pytest.mark.parametrize("connect", [Connect(0.1), Connect(silent=True)], ids=["slow", "silent"])
def test_the_pool_does_not_keep_a_finished_request_alive(connect: Connect) -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=connect), timeout=1)

        async def serve() -> weakref.ref[Request]:
            request = Request()
            REQUEST.set(request)
            with contextlib.suppress(PoolTimeout):
                await use(pool)
            return weakref.ref(request)

        request = await asyncio.ensure_future(serve())
        await asyncio.sleep(60)  # the housekeeper has ticked; asyncio has dropped cancelled timers
        gc.collect()
        assert request() is None

    run(main())


def test_a_connection_does_not_keep_the_request_that_used_it_alive() -> None:
    async def main() -> None:
        pool = new_pool(Server())
        await open_idle(pool, 2)

        async def serve() -> tuple[Any, Any]:
            request = Request()
            REQUEST.set(request)
            await use(pool, 0.1)
            task = asyncio.current_task()
            assert task is not None
            return weakref.ref(request), weakref.ref(task)

        request, task = await asyncio.ensure_future(serve())
        await asyncio.sleep(60)
        gc.collect()
        assert request() is None
        assert task() is None

    run(main())


def test_a_pool_whose_connections_have_real_transports_is_collected_while_its_loop_runs() -> None:
    """The event loop keeps the context in which a transport was made, and that named the pool."""

    streams: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams.append(writer)

    async def main() -> None:
        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]

        class WithTransports(Server):
            async def connect(self) -> FakeConnection:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                streams.append(writer)
                return await super().connect()

        async def use_and_forget() -> weakref.ref[Any]:
            pool = new_pool(WithTransports(keep_ledger=False), pool_size=1)
            await use(pool)
            return weakref.ref(pool)

        pool = await asyncio.ensure_future(use_and_forget())
        await asyncio.sleep(60)  # asyncio has dropped cancelled timers
        collect_garbage()
        assert streams
        assert pool() is None
        for stream in streams:
            stream.close()
        listener.close()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_the_pool_works_with_an_eager_task_factory() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        server = Server(usual=Connect(seconds=0.1))
        pool = new_pool(server, pool_size=3, max_overflow=0, pool_min_size=2)
        await pool.warm()
        await asyncio.gather(*(use(pool, 0.01) for _ in range(30)))
        await asyncio.sleep(10)
        await asyncio.gather(*(use(pool, 0.01) for _ in range(30)))
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 3)
        await pool.close()
        assert server.open == []

    run(main())


# -------------------------------------------------------------------------- warm


def test_warm_opens_the_minimum_size_and_waits_for_it() -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.2))
        pool = new_pool(server, pool_min_size=4)
        await pool.warm()
        assert pool.stats().idle == 4
        assert now() < 1
        await pool.warm()
        assert len(server.attempts) == 4

    run(main())


def test_warm_without_a_minimum_size_opens_one_connection() -> None:
    async def main() -> None:
        server = Server()
        await new_pool(server).warm()
        assert len(server.attempts) == 1

    run(main())


def test_warm_raises_the_drivers_error_as_engine_connect_does() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(error=WrongPassword)), pool_min_size=3)
        with pytest.raises(exc.DBAPIError) as caught:
            await pool.warm()
        assert isinstance(caught.value.orig, WrongPassword)

    run(main())


def test_warm_is_not_refused_by_pool_max_waiting() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(0.1)), pool_min_size=4, pool_max_waiting=1)
        await pool.warm()
        assert pool.stats().idle == 4

    run(main())


def test_a_cancelled_warm_loses_no_slot() -> None:
    async def main() -> None:
        server = Server().script(Connect(0.1), Connect(0.1), Connect(5), Connect(5))
        pool = new_pool(server, pool_size=4, max_overflow=0, pool_min_size=4)
        warming = asyncio.ensure_future(pool.warm())
        await asyncio.sleep(1)
        warming.cancel()
        await asyncio.wait({warming})
        await asyncio.sleep(30)
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 4)

    run(main())
