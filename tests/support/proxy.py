"""A TCP proxy that can be made slow, silent, resetting or refusing while it runs.

Example:
    async with FaultProxy("127.0.0.1", server.port) as proxy:
        ...connect to proxy.port...
        proxy.go_silent()
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

CHUNK = 65536


class _Link:
    """A connection of a client, and the connection to the target that serves it."""

    def __init__(self, accepted: socket.socket) -> None:
        self.accepted = accepted
        self.client: asyncio.StreamWriter | None = None
        self.target: asyncio.StreamWriter | None = None
        self.silent = self.is_started = self.closed = self.is_cut = False

    def close(self, *, reset: bool = False) -> None:
        """Close both connections at once; with `reset` the client receives RST instead of FIN."""
        self.closed = True
        if reset:
            with suppress(OSError):
                self.accepted.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
        for writer in (self.client, self.target):
            if writer is not None:
                writer.transport.abort()


class FaultProxy:
    """Forwards 127.0.0.1:`port` to a target; its faults can be changed at any time.

    Attributes:
        delay: seconds by which each chunk is delayed, in both directions.
        accept_delay: seconds before a new connection is forwarded.
        accepted: connections accepted so far.
        port: where to connect; `refuse()` and `accept()` do not change it.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self.delay = 0.0
        self.accept_delay = 0.0
        self.accepted = 0
        self.port = 0
        self._target = (target_host, target_port)
        self._silent = False
        self._cut: tuple[bytes, bool] | None = None
        self._listener: socket.socket | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._links)

    def go_silent(self) -> None:
        """Discard the data of existing and new connections; sockets stay open, connects succeed."""
        self._silent = True
        for link in self._links.values():
            link.silent = True

    def resume(self, *, existing: bool = False) -> None:
        """Forward the data of new connections again, with `existing` also of the silent ones.

        Discarded data stays lost: the stream of an existing connection has a gap.
        """
        self._silent = False
        if existing:
            for link in self._links.values():
                link.silent = False

    def cut_at(self, data: bytes, *, received: bool) -> None:
        """Reset the next connection on which a client sends `data`, once.

        With `received` the target gets the data, and the reset comes in place of its answer.
        """
        self._cut = (data, received)

    def half_close_all(self) -> None:
        """Send an end of stream to every client and keep the sockets open."""
        for link in self._links.values():
            link.accepted.shutdown(socket.SHUT_WR)

    def reset_all(self) -> None:
        """Close the connection of every client with a TCP reset."""
        for link in list(self._links.values()):
            link.close(reset=True)

    def refuse(self) -> None:
        """Close the listener: new connects are refused, open connections stay open."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def accept(self) -> None:
        """Start to listen, on the same port as before."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=100)
            self._listener.setblocking(False)
            self.port = self._listener.getsockname()[1]
            # a closed asyncio server loses clients that it has just accepted
            asyncio.get_running_loop().add_reader(self._listener, self._serve, self._listener)

    async def __aenter__(self) -> FaultProxy:
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        links = dict(self._links)
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        for link in links.values():
            if not link.is_started:  # the client has just connected: its task has not started
                link.accepted.close()
        await asyncio.sleep(0)

    def _serve(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                link = _Link(listener.accept()[0])
                link.silent = self._silent
                self.accepted += 1
                task = asyncio.get_running_loop().create_task(self._forward(link))
                self._links[task] = link
                task.add_done_callback(self._links.pop)

    async def _forward(self, link: _Link) -> None:
        """Copy in both directions until either connection ends; connection errors are expected."""
        copies: list[asyncio.Task[None]] = []
        link.is_started = True
        try:
            link.accepted.setblocking(False)
            source, link.client = await asyncio.open_connection(sock=link.accepted)
            if link.closed:  # while the connection was opened
                return
            await asyncio.sleep(self.accept_delay)
            reader, link.target = await asyncio.open_connection(*self._target)
            copies = [
                asyncio.ensure_future(self._copy(link, source, link.target)),
                asyncio.ensure_future(self._copy(link, reader, link.client)),
            ]
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the target is down: the connection of the client is closed
        finally:
            for copy in copies:
                copy.cancel()
            link.close()
            await asyncio.gather(*copies, return_exceptions=True)

    async def _copy(
        self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while chunk := await source.read(CHUNK):
                await asyncio.sleep(self.delay)
                if self._is_cut(link, chunk, is_answer=sink is link.client):
                    link.close(reset=True)
                elif not link.silent:
                    sink.write(chunk)
                    await sink.drain()
        if link.silent and sink is link.client:
            await asyncio.Event().wait()  # the client must not learn that the target has closed

    def _is_cut(self, link: _Link, chunk: bytes, *, is_answer: bool) -> bool:
        """Whether the connection is to be reset in place of forwarding this chunk."""
        if is_answer or self._cut is None or self._cut[0] not in chunk:
            return is_answer and link.is_cut
        _, received = self._cut
        self._cut = None
        link.is_cut = True
        return not received
