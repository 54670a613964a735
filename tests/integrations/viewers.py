"""A viewer of the live page, as a server passes it to `PoolMonitor`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from sqla_typedpool.integrations.asgi import PoolMonitor


class Viewer:
    """Requests `/events`, and keeps what is sent.

    :param delays: seconds that each of the first sends takes; the last one holds for all others.
    """

    def __init__(self, monitor: PoolMonitor, *delays: float, **scope: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self._monitor = monitor
        self._delays = list(delays) or [0.0]
        self._left = asyncio.Event()
        self._scope = {"type": "http", "method": "GET", "path": "/events", "headers": [], **scope}
        self.task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        await self._monitor(self._scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        delay = self._delays.pop(0) if len(self._delays) > 1 else self._delays[0]
        if delay:
            await asyncio.sleep(delay)
        self.sent.append(message)

    async def leave(self) -> None:
        """Close the connection, and wait for the end of the request."""
        self._left.set()
        await self.task

    @property
    def is_ended(self) -> bool:
        """Whether the end of the response was sent."""
        return self.sent[-1].get("more_body") is False

    def events(self, name: str) -> list[str]:
        """Return the data of the events of this name; "message" is that of an event without one."""
        bodies = [each.get("body", b"").decode() for each in self.sent]
        fields = [
            dict(line.split(": ", 1) for line in body.splitlines() if line) for body in bodies
        ]
        return [
            each["data"]
            for each in fields
            if "data" in each and each.get("event", "message") == name
        ]

    @property
    def states(self) -> list[Any]:
        """The states that were sent."""
        return [json.loads(each) for each in self.events("message")]
