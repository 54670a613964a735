"""The live data of `PoolMonitor`: made once a second, and sent to each viewer as events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Any, Final, TypeAlias

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.integrations.live_state import EventLog, History

_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PERIOD: Final = 1.0  # seconds between two states
STREAM_SECONDS: Final = 15.0
EVENT_STREAM: Final = "text/event-stream; charset=utf-8"
NO_BUFFERING: Final = (b"x-accel-buffering", b"no")  # nginx would keep the events back
_END_SECONDS: Final = 2.0  # for a viewer that does not read, to get the end of the stream
_UNSEEN: Final = 2  # seconds without a viewer: browsers connect again after each stream


class LiveData:
    """The states of some pools, one a second while there are viewers.

    It belongs to one event loop.
    """

    def __init__(self, engines: Sequence[AsyncEngine], log: EventLog) -> None:
        self._history = History(engines, log)
        self._viewers = 0
        self._task: asyncio.Task[None] | None = None
        self._next = asyncio.Event()
        self._latest = b""
        # How many states have been made, and how many before there was a viewer.
        self.made = 0
        self._too_old = 0

    @asynccontextmanager
    async def viewer(self) -> AsyncIterator[int]:
        """Count a viewer inside the block: states are made while there is one.

        It gets the number of the latest state that is too old to be shown.
        """
        self._viewers += 1
        if self._task is None or self._task.done():
            self._too_old = self.made
            # in an empty context: it must not keep that of the request
            self._task = Context().run(asyncio.ensure_future, self._make_states())
        try:
            yield max(self._too_old, self.made - 1)
        finally:
            self._viewers -= 1

    async def state(self, after: int) -> tuple[int, bytes]:
        """Wait for a state that is newer than the one with this number.

        :return: the number of the latest state, and the state. All viewers get the same bytes.
        """
        while self.made <= after:
            await self._next.wait()
            if self._task is not None and self._task.done():
                self._task.result()  # raises the error that has ended it
        return self.made, self._latest

    def past(self) -> bytes:
        """Return what the chart shows of the time before the latest state."""
        return self._history.past()

    async def _make_states(self) -> None:
        clock, unseen = asyncio.get_running_loop().time, 0
        try:
            while unseen < _UNSEEN:
                self._latest = self._history.new_state(clock())
                self.made += 1
                self._wake_viewers()
                await asyncio.sleep(PERIOD)
                unseen = 0 if self._viewers else unseen + 1
        finally:
            self._wake_viewers()

    def _wake_viewers(self) -> None:
        self._next.set()
        self._next = asyncio.Event()


async def stream_events(live: LiveData, receive: _Receive, send: _Send) -> None:
    """Send the states as server-sent events, until the viewer leaves or the time is over.

    The time is limited because servers wait for open responses when they shut down. The
    browser connects again at once.
    """
    headers = [
        (b"content-type", EVENT_STREAM.encode()),
        (b"cache-control", b"no-store"),
        NO_BUFFERING,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.ensure_future(_until_disconnected(receive))
    sending = asyncio.ensure_future(_send_states(live, send))
    try:
        await asyncio.wait(
            (gone, sending), timeout=STREAM_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if sending.done():
            sending.result()
    except OSError:  # servers raise it when the viewer has left
        return
    finally:
        is_over = not gone.done()
        await _cancel(gone, sending)
    if is_over:
        await _end(send)


async def _send_states(live: LiveData, send: _Send) -> None:
    """Send one state after the other. A slow viewer gets only the latest one each time."""
    async with live.viewer() as number:
        number, state = await live.state(number)
        await _send_event(send, b"retry: 500\nevent: past\ndata: " + live.past())
        while True:
            await _send_event(send, b"data: " + state)
            number, state = await live.state(number)


async def _until_disconnected(receive: _Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_event(send: _Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event + b"\n\n", "more_body": True})


async def _end(send: _Send) -> None:
    """End the stream. The server closes the connection of a viewer that does not read."""
    with suppress(asyncio.TimeoutError, OSError):
        last = send({"type": "http.response.body", "body": b"", "more_body": False})
        await asyncio.wait_for(last, _END_SECONDS)


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
