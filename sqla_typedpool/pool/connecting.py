"""The job that opens one connection, and the lock of a pool's first connect."""

from __future__ import annotations

import asyncio
import threading
import traceback
from dataclasses import dataclass
from typing import Protocol

from sqla_typedpool._asyncio.timers import Deadline, call_in_loop
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from sqla_typedpool.pool.backend import Backend
from sqla_typedpool.pool.entry import PoolEntry


class FirstConnectLock:
    """Lets one event loop at a time run a pool's first connect.

    SQLAlchemy runs the events of the first connect under an asyncio lock, which belongs
    to one loop; a second loop that meets it fails with "bound to a different event
    loop". The attempts of the loop that has the lock do not wait for each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_open = False  # a connection has been opened: no attempt waits any more
        self._owner: asyncio.AbstractEventLoop | None = None
        self._attempts = 0  # of the owner
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    async def acquire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Return when this loop may connect."""
        while not self.is_open:
            with self._lock:
                if self._may_connect(loop):
                    self._owner = loop
                    self._attempts += 1
                    return
                future = loop.create_future()
                self._waiting.append((loop, future))
            await future

    def release(self, loop: asyncio.AbstractEventLoop, *, connected: bool) -> None:
        """An attempt has ended."""
        if self.is_open:
            return
        with self._lock:
            if self._owner is not loop:
                return
            self._attempts -= 1
            self.is_open = connected
            if connected or self._attempts == 0:
                self._owner = None
                self._attempts = 0
                waiting, self._waiting = self._waiting, []
                for waiting_loop, future in waiting:
                    call_in_loop(waiting_loop, _resolve, future)

    def _may_connect(self, loop: asyncio.AbstractEventLoop) -> bool:
        owner = self._owner
        if owner is None or owner is loop:
            return True
        if owner.is_closed():
            self._attempts = 0
            return True
        return False


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Queue(Protocol):
    joined: int


@dataclass(eq=False)
class QueuePosition:
    """How many waiters had joined a queue when an attempt began."""

    queue: _Queue
    joined: int


async def connect(
    entry: PoolEntry,
    backend: Backend,
    lock: FirstConnectLock,
    deadline: Deadline,
    position: QueuePosition | None = None,
) -> None:
    """Open a connection in this entry, connect events included.

    :param deadline: of the whole attempt, the lock included.
    :param position: updated before anything is read or sent for this attempt.
    :raises TimeoutError: the server has not answered in time.
    :raises Exception: the driver's or a listener's own error.
    """
    loop = asyncio.get_running_loop()
    with deadline:
        try:
            await lock.acquire(loop)
            if position is not None:
                position.joined = position.queue.joined
            await _open(entry, backend, lock, loop)
        except asyncio.CancelledError as error:
            # psycopg's half-open connection is in these frames; its socket would stay
            # open as long as the error is kept
            traceback.clear_frames(error.__traceback__)
            if not deadline.is_expired:
                raise
            raise TimeoutError(
                f"no connection after {deadline.seconds:g} s (pool_connect_timeout): "
                f"the server does not answer"
            ) from None


async def _open(
    entry: PoolEntry, backend: Backend, lock: FirstConnectLock, loop: asyncio.AbstractEventLoop
) -> None:
    connected = False
    try:
        await greenlet_spawn(backend.open, entry)
        connected = True
    finally:
        lock.release(loop, connected=connected)
