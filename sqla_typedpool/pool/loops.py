"""How the pool meets event loops: their end, and the first connect of all.

A loop's end is heard through an asynchronous generator: ``asyncio.run`` closes
those with ``loop.shutdown_asyncgens()`` while the loop still runs, so idle
connections can say farewell. A loop closed without it is noticed at the next
use of any pool.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING

from sqla_typedpool.pool import ending

if TYPE_CHECKING:
    from sqla_typedpool.pool.station import Station

__all__ = ["FirstTurn", "forget_all", "post", "sweep", "watch"]


class _Guard:
    """The stations of one loop, and the generator that hears its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stations: weakref.WeakSet[Station] = weakref.WeakSet()
        self.vigil = _vigil(loop)
        with suppress(StopIteration):
            self.vigil.__anext__().send(None)  # up to its yield; the loop now knows it


_guards: dict[asyncio.AbstractEventLoop, _Guard] = {}


async def _vigil(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        guard = _guards.pop(loop, None)
        if guard is not None:
            ends = [ending.end(station) for station in guard.stations]
            await asyncio.gather(*ends, return_exceptions=True)


def post(loop: asyncio.AbstractEventLoop, action: Callable[..., object], *args: object) -> bool:
    """Do something in another thread's loop, soon; False when that loop has closed."""
    try:
        loop.call_soon_threadsafe(action, *args, context=Context())
    except RuntimeError:
        return False
    return True


def watch(station: Station) -> None:
    """Tell this station when its loop ends. Call it in the running loop."""
    sweep()
    guard = _guards.get(station.loop)
    if guard is None:
        guard = _guards[station.loop] = _Guard(station.loop)
    guard.stations.add(station)


def sweep() -> None:
    """Let go of everything that belongs to closed loops."""
    for loop in list(_guards):
        if loop.is_closed():
            guard = _guards.pop(loop, None)
            for station in [] if guard is None else list(guard.stations):
                ending.abandon(station)


def forget_all() -> object:
    """In a forked child: the loops that are watched are the parent's."""
    global _guards
    inherited, _guards = _guards, {}
    return inherited


class FirstTurn:
    """Lets one event loop at a time make a pool's first connect.

    SQLAlchemy runs the first connect's events under an asyncio lock, which
    belongs to one loop; a second loop that meets it fails with "bound to a
    different event loop". Attempts of the loop whose turn it is do not wait.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = False
        self._owner: Station | None = None
        self._attempts = 0
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    async def wait(self, station: Station) -> None:
        """Return when this station may connect."""
        while not self._over:
            with self._lock:
                if self._may(station):
                    self._owner = station
                    self._attempts += 1
                    return
                future = station.loop.create_future()
                self._waiting.append((station.loop, future))
            await future

    def leave(self, station: Station, connected: bool) -> None:
        """An attempt is over."""
        if self._over:
            return
        with self._lock:
            if self._owner is not station:
                return
            self._attempts -= 1
            self._over = connected
            if connected or self._attempts == 0:
                self._owner = None
                self._attempts = 0
                waiting, self._waiting = self._waiting, []
                for loop, future in waiting:
                    _wake(loop, future)

    def _may(self, station: Station) -> bool:
        owner = self._owner
        if owner is None or owner is station:
            return True
        if owner.loop.is_closed():
            self._attempts = 0
            return True
        return False


def _wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    post(loop, lambda: None if future.done() else future.set_result(None))
