"""The fault proxy injects the faults that its methods describe."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.proxy import FaultProxy

SILENCE = 0.15  # seconds without data that count as silence


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back until the client disconnects."""
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
    """A connection that sends a line and waits for its echo."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, line: bytes = b"hello\n") -> bytes:
        self.writer.write(line)
        return await asyncio.wait_for(self.reader.readline(), 2)

    async def receives_nothing(self) -> bool:
        self.writer.write(b"no answer\n")
        try:
            await asyncio.wait_for(self.reader.readline(), SILENCE)
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
    """Wait until the condition holds, at most two seconds."""
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("the condition did not hold within two seconds")


def test_data_is_forwarded_and_connections_are_counted() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        assert await client.send() == b"hello\n"
        assert (proxy.connections, proxy.accepted) == (1, 1)
        client.writer.close()
        await until(lambda: proxy.connections == 0)
        assert proxy.accepted == 1

    with_client(check)


def test_a_delay_applies_to_both_directions() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        proxy.delay = 0.05
        started = time.monotonic()
        await client.send()
        assert 0.1 <= time.monotonic() - started < 1

    with_client(check)


def test_a_silent_proxy_accepts_connections_and_sends_no_data() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        await client.send()
        proxy.go_silent()
        assert await client.receives_nothing()
        async with connected(proxy) as second:
            assert await second.receives_nothing()
            assert proxy.connections == 2

    with_client(check)


def test_a_client_that_disconnects_from_a_silent_proxy_is_no_longer_counted() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        proxy.go_silent()
        await until(lambda: proxy.connections == 1)
        client.writer.close()
        await until(lambda: proxy.connections == 0)

    with_client(check)


def test_after_resume_new_connections_work_and_existing_ones_stay_silent() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        await client.send()
        proxy.go_silent()
        proxy.resume()
        assert await client.receives_nothing()
        async with connected(proxy) as second:
            assert await second.send() == b"hello\n"

    with_client(check)


def test_resume_with_existing_also_forwards_data_of_existing_connections() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        await client.send()
        proxy.go_silent()
        assert await client.receives_nothing()
        proxy.resume(existing=True)
        assert await client.send(b"again\n") == b"again\n"

    with_client(check)


def test_reset_all_resets_the_connections_of_all_clients() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        await client.send()
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            await client.reader.read(1)
        await until(lambda: proxy.connections == 0)

    with_client(check)


def test_a_refusing_proxy_refuses_new_connections_until_it_accepts_again() -> None:
    async def check(proxy: FaultProxy, client: Client) -> None:
        await client.send()
        port = proxy.port
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert await client.send() == b"hello\n"
        await proxy.accept()
        assert proxy.port == port
        async with connected(proxy) as second:
            assert await second.send() == b"hello\n"

    with_client(check)


def test_with_an_accept_delay_a_client_connects_at_once_and_is_answered_late() -> None:
    async def check(proxy: FaultProxy, _: Client) -> None:
        proxy.accept_delay = 0.2
        started = time.monotonic()
        async with connected(proxy) as late:
            assert time.monotonic() - started < 0.15
            await late.send()
        assert time.monotonic() - started >= 0.2

    with_client(check)


def test_a_proxy_whose_target_is_down_closes_the_connections_of_its_clients() -> None:
    async def main() -> None:
        async with FaultProxy("127.0.0.1", 1) as proxy, connected(proxy) as client:
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(client.reader.read(1), 2) == b""

    asyncio.run(main())


def test_exiting_the_proxy_closes_silent_and_waiting_connections() -> None:
    async def main() -> None:
        async with proxied_echo() as proxy:
            proxy.accept_delay = 30
            async with connected(proxy):
                await until(lambda: proxy.connections == 1)
                started = time.monotonic()
                await proxy.__aexit__(None, None, None)
                assert time.monotonic() - started < 1
                assert proxy.connections == 0

    asyncio.run(main())


@pytest.mark.parametrize("iterations", range(5))
def test_clients_that_connect_while_the_proxy_exits_are_closed_too(iterations: int) -> None:
    """A transport that was not closed causes a ResourceWarning, which fails the test."""

    async def main() -> list[socket.socket]:
        async with proxied_echo() as proxy:
            late = [socket.socket() for _ in range(10)]
            for client in late:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", proxy.port))
            for _ in range(iterations):
                await asyncio.sleep(0)
        return late

    for client in asyncio.run(main()):
        client.close()
    gc.collect()


@pytest.mark.parametrize("iterations", range(1, 6))
def test_a_reset_also_closes_clients_that_are_being_accepted(iterations: int) -> None:
    async def main() -> None:
        async with proxied_echo() as proxy:
            with socket.socket() as early:
                early.setblocking(False)
                early.connect_ex(("127.0.0.1", proxy.port))
                for _ in range(iterations):
                    await asyncio.sleep(0)
                if proxy.accepted:
                    proxy.reset_all()
                    with pytest.raises(ConnectionResetError):
                        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(early, 1), 2)
            async with connected(proxy) as late:
                assert await late.send() == b"hello\n"

    asyncio.run(main())
    gc.collect()


@pytest.mark.parametrize("received", [True, False])
def test_a_cut_resets_the_connection_that_sends_the_data_once(received: bool) -> None:
    """With `received` the target gets the data; in both cases the client gets no answer."""
    chunks: list[bytes] = []

    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(1024):
                chunks.append(chunk)
                writer.write(chunk)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(target, "127.0.0.1", 0)
        async with FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
            async with connected(proxy) as client:
                proxy.cut_at(b"COMMIT", received=received)
                assert await client.send(b"BEGIN\n") == b"BEGIN\n"
                with pytest.raises(ConnectionResetError):
                    await client.send(b"COMMIT\n")
            async with connected(proxy) as client:
                assert await client.send(b"COMMIT again\n") == b"COMMIT again\n"
        server.close()

    asyncio.run(main())
    received_chunks = [b"BEGIN\n", *([b"COMMIT\n"] if received else []), b"COMMIT again\n"]
    assert chunks == received_chunks
