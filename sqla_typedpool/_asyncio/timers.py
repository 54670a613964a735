"""Timers that carry no context, and deadlines for one operation.

A timer started in a request would keep the request's context variables, and perhaps
the whole request, until its time has come, even if it is cancelled. These timers have
an empty context.

After something blocked the loop, timers are due before the answers that arrived
meanwhile are read. A timer that fires late therefore waits a moment more, once.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextvars import Context
from typing import Any

_LATE = 0.1  # seconds after its time from which a timer was kept waiting by the loop
_GRACE = 0.2  # seconds granted then
_CANCEL_AGAIN = 1.0  # seconds until a task that ignored its cancellation is cancelled again


def running_loop() -> AbstractEventLoop | None:
    """The running event loop of this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def clock_of(loop: AbstractEventLoop) -> Callable[[], float]:
    """The monotonic clock to use with this loop, in seconds.

    The clock of a loop that has its own clock (in a test) is used. That of uvloop is not,
    because it stands still during one iteration.
    """
    own = getattr(type(loop), "time", None)
    is_own = isinstance(loop, asyncio.BaseEventLoop) and own is not asyncio.BaseEventLoop.time
    return loop.time if is_own else time.monotonic


def call_later(
    loop: AbstractEventLoop, seconds: float, action: Callable[..., object], *args: object
) -> asyncio.TimerHandle:
    """``loop.call_later`` in an empty context."""
    return loop.call_later(seconds, action, *args, context=Context())


def call_in_loop(loop: AbstractEventLoop, action: Callable[..., object], *args: object) -> bool:
    """Call ``action`` in the loop's own thread, soon; False if the loop is closed."""
    try:
        loop.call_soon_threadsafe(action, *args, context=Context())
    except RuntimeError:
        return False
    return True


class Timer:
    """Calls ``action(*args)`` once, after ``seconds``, unless it is cancelled before."""

    __slots__ = ("_call", "_due", "_handle", "_loop")

    def __init__(
        self, loop: AbstractEventLoop, seconds: float, action: Callable[..., object], *args: object
    ) -> None:
        self._loop = loop
        self._call: tuple[Callable[..., object], tuple[object, ...]] | None = (action, args)
        self._due: float | None = loop.time() + seconds
        self._handle = call_later(loop, seconds, self._fire)

    def cancel(self) -> None:
        """Do not call; no error if it has been called already."""
        self._handle.cancel()
        self._call = None

    def _fire(self) -> None:
        if self._due is not None and self._loop.time() - self._due > _LATE:
            self._due = None
            self._handle = call_later(self._loop, _GRACE, self._fire)
        elif self._call is not None:
            (action, args), self._call = self._call, None
            action(*args)


class Deadline:
    """Limits one operation of the current task, as a context manager.

    When the time is over, ``on_expired`` is called, if given: it makes the operation
    fail, such as by shutting its socket down. After ``patience`` more seconds the task
    is cancelled, and again each second until the block is left.

    Example::

        with Deadline(loop, 2.0, on_expired=shut_socket_down) as deadline:
            await read_from_socket()
        if deadline.is_expired: ...
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        seconds: float,
        on_expired: Callable[[], object] | None = None,
        *,
        patience: float = 0.0,
    ) -> None:
        self.seconds = seconds
        self.is_expired = False
        self._loop = loop
        self._on_expired = on_expired
        self._patience = patience
        self._task: asyncio.Task[Any] | None = None
        self._timer: Timer | asyncio.TimerHandle | None = None

    def __enter__(self) -> Deadline:
        self._task = asyncio.current_task(self._loop)
        self._timer = Timer(self._loop, self.seconds, self._expire)
        return self

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._task = self._on_expired = None  # no cycle keeps them alive

    def cancel_task(self, task: asyncio.Task[Any]) -> None:
        """Cancel the operation's task now, and again each second until the block is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._task = task
        self._cancel()

    def _expire(self) -> None:
        self.is_expired = True
        try:
            if self._on_expired is not None:
                self._on_expired()
        finally:
            if self._patience:
                self._timer = call_later(self._loop, self._patience, self._cancel)
            else:
                self._cancel()

    def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._timer = call_later(self._loop, _CANCEL_AGAIN, self._cancel)
