"""Guarantee 9: connections that were opened before their server became read-only are replaced.

MySQL does not report the change, so the server is queried, and the result is kept by host.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import TypedPool
from tests.support.fake_driver import (
    Connect,
    Error,
    FakeConnection,
    Server,
    assert_only_idle,
    borrow,
    borrowed,
    change_driver,
    driver_of,
    give_back,
    new_engine,
    open_idle,
    use,
)
from tests.support.virtual_clock import run


class MysqlError(Error):
    """An error of a MySQL driver; the module of its class is how it is recognised."""

    __module__ = "fake_mysql.errors"


def read_only_error() -> Exception:
    return MysqlError(1290, "The MySQL server is running with the --read-only option")


class Hosts:
    """Where connections lead to, and which of these servers are read-only now."""

    def __init__(self) -> None:
        self.next = "a"  # where the next connection leads to
        self.read_only: set[str] = set()
        self.queried: list[FakeConnection] = []  # connections over which a server was queried
        self._host_of: dict[FakeConnection, str] = {}
        self.server = Server(usual=Connect(on_open=self._opened))

    def _opened(self, connection: FakeConnection) -> None:
        self._host_of[connection] = self.next

    def host_of(self, connection: FakeConnection) -> str:
        return self._host_of[connection]

    def is_read_only(self, adapter: Any) -> bool:
        """Answer the question; it takes a round trip."""
        self.queried.append(adapter._connection)
        adapter.cursor().execute("SELECT @@GLOBAL.read_only")
        return self.host_of(adapter._connection) in self.read_only


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Servers of a driver that has to query their mode."""
    hosts = Hosts()
    change_driver(
        monkeypatch,
        queries_read_only=True,
        server_mode=lambda driver, adapter: hosts.is_read_only(adapter),
        server_host=lambda driver, connection: hosts.host_of(connection),
    )
    return hosts


async def write(engine: AsyncEngine) -> FakeConnection:
    """A statement fails because nothing may be written; return its connection when it is back."""
    async with engine.connect() as connection:
        used: FakeConnection = (await connection.get_raw_connection()).driver_connection
        used.fails["execute"] = read_only_error
        with pytest.raises(exc.DBAPIError, match="1290"):
            await connection.execute(text("insert"))
        del used.fails["execute"]
    await asyncio.sleep(0.1)
    return used


def test_no_server_is_queried_at_connect(hosts: Hosts) -> None:
    async def main() -> None:
        hosts.read_only = {"a"}
        engine = new_engine(hosts.server)
        await open_idle(engine.pool, 3)
        assert hosts.queried == []
        assert hosts.server.count("execute") == 0
        await engine.dispose()

    run(main())


def test_the_server_is_queried_once_when_the_connection_is_returned_after_a_read_only_error(
    hosts: Hosts,
) -> None:
    async def main() -> None:
        engine = new_engine(hosts.server)
        async with engine.connect() as connection:
            used: Any = (await connection.get_raw_connection()).driver_connection
            used.fails["execute"] = read_only_error
            for _ in range(3):
                with pytest.raises(exc.DBAPIError):
                    await connection.execute(text("insert"))
                await connection.rollback()
            used.fails.clear()
            await asyncio.sleep(0.1)
            assert hosts.queried == [], "the borrower does not wait for it"
        await asyncio.sleep(0.1)
        assert hosts.queried == [used]
        await engine.dispose()

    run(main())


@pytest.mark.parametrize("error", [MysqlError(1064, "syntax"), Error(1290), MysqlError("1290")])
def test_the_server_is_not_queried_after_any_other_error(hosts: Hosts, error: Exception) -> None:
    async def main() -> None:
        hosts.read_only = {"a"}
        engine = new_engine(hosts.server)
        async with engine.connect() as connection:
            used: Any = (await connection.get_raw_connection()).driver_connection
            used.fails["execute"] = lambda: error
            with pytest.raises(exc.DBAPIError):
                await connection.execute(text("insert"))
            used.fails.clear()
        await asyncio.sleep(0.1)
        assert hosts.queried == []
        assert (await use(engine.pool)) is used
        await engine.dispose()

    run(main())


def test_the_older_connections_of_a_host_that_became_read_only_are_replaced(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        engine = new_engine(hosts.server, pool_size=4, max_overflow=0)
        old = await open_idle(engine.pool, 4)
        held = await borrow(engine.pool)
        hosts.read_only = {"a"}
        await write(engine)
        assert [each for each in old if not each.is_closed] == [driver_of(held)]
        await give_back(held)
        await asyncio.sleep(0.1)
        assert all(each.is_closed for each in old), "the one in use is closed when it comes back"
        assert TypedPool.of(engine).stats().closed["failover"] == 4
        assert len(hosts.queried) == 1
        assert len(caplog.records) == 1
        assert_only_idle(engine.pool, hosts.server)
        await engine.dispose()

    run(main())


def test_connections_opened_since_a_host_became_read_only_are_kept(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    """A second error does not replace them: the host is known to be read-only."""

    async def main() -> None:
        engine = new_engine(hosts.server, pool_size=3, max_overflow=0)
        await open_idle(engine.pool, 3)
        hosts.read_only = {"a"}
        await write(engine)
        fresh = await open_idle(engine.pool, 3)
        for _ in range(3):
            assert (await write(engine)) in fresh
        assert not any(each.is_closed for each in fresh)
        assert len(hosts.server.attempts) == 6
        assert len(caplog.records) == 1
        await engine.dispose()

    run(main())


def test_the_connections_of_other_hosts_are_kept(hosts: Hosts) -> None:
    async def main() -> None:
        engine = new_engine(hosts.server, pool_size=4, max_overflow=0)
        fairies = []
        for host in ("b", "b", "a", "a"):
            hosts.next = host
            fairies.append(await borrow(engine.pool))
        connections = [driver_of(each) for each in fairies]
        for fairy in fairies:
            await give_back(fairy)
        hosts.read_only = {"a"}
        assert hosts.host_of(await write(engine)) == "a"
        assert [each.is_closed for each in connections] == [False, False, True, True]
        hosts.read_only = {"a", "b"}
        assert hosts.host_of(await write(engine)) == "b"
        assert all(each.is_closed for each in connections)
        await engine.dispose()

    run(main())


def test_nothing_is_replaced_when_the_server_is_not_read_only(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    """The application's own transaction is read-only."""

    async def main() -> None:
        engine = new_engine(hosts.server, pool_size=3, max_overflow=0)
        connections = await open_idle(engine.pool, 3)
        for _ in range(5):
            assert (await write(engine)) in connections
        assert len(hosts.queried) == 5, "the server may have changed each time"
        assert not any(each.is_closed for each in connections)
        assert len(hosts.server.attempts) == 3
        assert caplog.records == []
        await engine.dispose()

    run(main())


def test_a_host_known_to_be_read_only_is_queried_at_connect_until_it_is_writable_again(
    hosts: Hosts,
) -> None:
    async def main() -> None:
        engine = new_engine(hosts.server, pool_size=1, max_overflow=4)
        await use(engine.pool)
        hosts.read_only = {"a"}
        await write(engine)
        hosts.queried.clear()
        async with borrowed(engine.pool) as first:
            assert hosts.queried == [driver_of(first)], "queried, since it is known to be read-only"
            hosts.read_only = set()
            async with borrowed(engine.pool) as second:
                assert hosts.queried == [driver_of(first), driver_of(second)]
                async with borrowed(engine.pool), borrowed(engine.pool):
                    assert len(hosts.queried) == 2, "it is known to be writable"
        await engine.dispose()

    run(main())


def test_an_unrelated_host_is_not_queried_at_connect(hosts: Hosts) -> None:
    async def main() -> None:
        engine = new_engine(hosts.server, pool_size=1, max_overflow=0)
        await use(engine.pool)
        hosts.read_only = {"a"}
        await write(engine)
        hosts.queried.clear()
        hosts.next = "b"
        assert hosts.host_of(await use(engine.pool)) == "b"
        assert hosts.queried == []
        await engine.dispose()

    run(main())


def test_a_host_that_becomes_read_only_a_second_time_has_its_connections_replaced_again(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        engine = new_engine(hosts.server, pool_size=3, max_overflow=0)
        for change in (1, 2, 3):
            hosts.read_only = set()
            old = await open_idle(engine.pool, 3)
            hosts.read_only = {"a"}
            await write(engine)
            assert all(each.is_closed for each in old)
            assert len(caplog.records) == change
        assert len(hosts.server.attempts) == 9
        await engine.dispose()

    run(main())


def test_an_answer_that_the_host_is_writable_again_counts_as_well(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    """It may come at a read-only error of the application's own making."""

    async def main() -> None:
        engine = new_engine(hosts.server, pool_size=2, max_overflow=0)
        await open_idle(engine.pool, 2)
        hosts.read_only = {"a"}
        await write(engine)
        fresh = await open_idle(engine.pool, 2)
        hosts.read_only = set()
        assert not (await write(engine)).is_closed
        hosts.read_only = {"a"}
        await write(engine)
        assert all(each.is_closed for each in fresh)
        assert len(caplog.records) == 2
        await engine.dispose()

    run(main())


def test_a_connection_that_does_not_answer_the_question_is_closed_alone(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        engine = new_engine(hosts.server, pool_size=2, max_overflow=0)
        connections = await open_idle(engine.pool, 2)
        async with engine.connect() as connection:
            used: Any = (await connection.get_raw_connection()).driver_connection
            used.fails["execute"] = read_only_error
            with pytest.raises(exc.DBAPIError):
                await connection.execute(text("insert"))
            used.fails.clear()
            await connection.rollback()
            used.hang |= {"execute", "close"}
        await asyncio.sleep(5)
        (other,) = [each for each in connections if each is not used]
        assert used.is_closed
        assert not other.is_closed
        assert caplog.records == []
        assert_only_idle(engine.pool, hosts.server)
        await engine.dispose()

    run(main())
