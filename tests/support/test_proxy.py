"""The fault proxy is a measuring instrument: here it is measured itself."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.proxy import FaultProxy

QUIET = 0.15  # seconds of silence that count as silence


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back until the client hangs up."""
    with suppress(ConnectionError):
        while chunk := await reader.read(1024):
            writer.write(chunk)
    writer.close()


@asynccontextmanager
async def proxied_echo() -> AsyncIterator[FaultProxy]:
    """An echo server behind a proxy."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        try:
            yield proxy
        finally:
            server.close()


class Client:
    """A connection that says a line and listens for its echo."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, line: bytes = b"hello\n") -> bytes:
        self.writer.write(line)
        return await asyncio.wait_for(self.reader.readline(), 2)

    async def hears_nothing(self) -> bool:
        self.writer.write(b"anybody?\n")
        try:
            await asyncio.wait_for(self.reader.readline(), QUIET)
        except asyncio.TimeoutError:
            return True
        return False


def with_client(check: Callable[[FaultProxy, Client], Awaitable[None]]) -> None:
    """Run a check with an echo server, a proxy and one client."""

    async def main() -> None:
        async with proxied_echo() as proxy, connected(proxy) as client:
            await check(proxy, client)

    asyncio.run(main())


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Client]:
    """A client of the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, two seconds at most."""
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("waited two seconds in vain")


def test_bytes_go_through_and_connections_are_counted() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        assert await client.say() == b"hello\n"
        assert (proxy.connections, proxy.accepted) == (1, 1)
        client.writer.close()
        await until(lambda: proxy.connections == 0)
        assert proxy.accepted == 1

    with_client(check)


def test_a_delay_holds_chunks_back_each_way() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        proxy.delay = 0.05
        began = time.monotonic()
        await client.say()
        assert 0.1 <= time.monotonic() - began < 1

    with_client(check)


def test_a_silent_proxy_accepts_and_answers_nothing() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        await client.say()
        proxy.go_silent()
        assert await client.hears_nothing()
        async with connected(proxy) as second:
            assert await second.hears_nothing()
            assert proxy.connections == 2

    with_client(check)


def test_a_client_that_leaves_a_silent_proxy_is_no_longer_counted() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        proxy.go_silent()
        await until(lambda: proxy.connections == 1)
        client.writer.close()
        await until(lambda: proxy.connections == 0)

    with_client(check)


def test_after_resume_new_connections_work_and_old_ones_stay_dead() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        await client.say()
        proxy.go_silent()
        proxy.resume()
        assert await client.hears_nothing()
        async with connected(proxy) as second:
            assert await second.say() == b"hello\n"

    with_client(check)


def test_resume_with_revive_brings_old_connections_back() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        await client.say()
        proxy.go_silent()
        assert await client.hears_nothing()
        proxy.resume(revive=True)
        assert await client.say(b"again\n") == b"again\n"

    with_client(check)


def test_reset_all_cuts_clients_off_with_a_reset() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        await client.say()
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            await client.reader.read(1)
        await until(lambda: proxy.connections == 0)

    with_client(check)


def test_a_refusing_proxy_refuses_new_connections_until_it_accepts_again() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        await client.say()
        port = proxy.port
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert await client.say() == b"hello\n"
        await proxy.accept()
        assert proxy.port == port
        async with connected(proxy) as second:
            assert await second.say() == b"hello\n"

    with_client(check)


def test_an_accept_delay_connects_at_once_and_answers_late() -> None:
    async def check(proxy: FaultProxy, _: Client) -> None:
        proxy.accept_delay = 0.2
        began = time.monotonic()
        async with connected(proxy) as late:
            assert time.monotonic() - began < 0.15
            await late.say()
        assert time.monotonic() - began >= 0.2

    with_client(check)


def test_a_proxy_to_nowhere_closes_its_clients() -> None:
    async def main() -> None:
        async with FaultProxy("127.0.0.1", 1) as proxy, connected(proxy) as client:
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(client.reader.read(1), 2) == b""

    asyncio.run(main())


def test_leaving_the_proxy_closes_silent_and_waiting_clients() -> None:
    async def main() -> None:
        async with proxied_echo() as proxy:
            proxy.accept_delay = 30
            async with connected(proxy):
                await until(lambda: proxy.connections == 1)
                began = time.monotonic()
                await proxy.__aexit__(None, None, None)
                assert time.monotonic() - began < 1
                assert proxy.connections == 0

    asyncio.run(main())


@pytest.mark.parametrize("rounds", range(5))
def test_clients_that_come_while_the_proxy_is_left_are_closed_as_well(rounds: int) -> None:
    """A transport that nobody closed is a warning of the collector, and so an error."""

    async def main() -> list[socket.socket]:
        async with proxied_echo() as proxy:
            late = [socket.socket() for _ in range(10)]
            for client in late:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", proxy.port))
            for _ in range(rounds):
                await asyncio.sleep(0)
        return late

    for client in asyncio.run(main()):
        client.close()
    gc.collect()


@pytest.mark.parametrize("rounds", range(1, 6))
def test_a_reset_reaches_clients_that_are_just_being_accepted(rounds: int) -> None:
    async def main() -> None:
        async with proxied_echo() as proxy:
            with socket.socket() as early:
                early.setblocking(False)
                early.connect_ex(("127.0.0.1", proxy.port))
                for _ in range(rounds):
                    await asyncio.sleep(0)
                if proxy.accepted:
                    proxy.reset_all()
                    with pytest.raises(ConnectionResetError):
                        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(early, 1), 2)
            async with connected(proxy) as late:
                assert await late.say() == b"hello\n"

    asyncio.run(main())
    gc.collect()
