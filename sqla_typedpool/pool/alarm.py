"""Timers: in no request's context, and fair to those a blocked loop kept waiting.

A timer made in a request carries the request's context variables, and with them
perhaps the whole request, until it is due: even a cancelled one. Ours carry none.

When something blocks the loop, timers are due before the answers that arrived
meanwhile are read. An alarm that rings late waits a moment more, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

__all__ = ["Alarm", "later"]

_LATE = 0.1  # seconds after its time from which a ring is the loop's fault
_GRACE = 0.2  # seconds then granted


def later(
    loop: asyncio.AbstractEventLoop, seconds: float, action: Callable[..., object], *args: object
) -> asyncio.TimerHandle:
    """``loop.call_later`` in an empty context."""
    return loop.call_later(seconds, action, *args, context=Context())


class Alarm:
    """Calls ``action(*args)`` after ``seconds``, unless cancelled before."""

    __slots__ = ("_action", "_args", "_due", "_loop", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        action: Callable[..., object],
        *args: object,
    ) -> None:
        self._loop = loop
        self._action = action
        self._args = args
        self._due = loop.time() + seconds
        self._timer = later(loop, seconds, self._ring)

    def cancel(self) -> None:
        self._timer.cancel()

    def _ring(self) -> None:
        if self._loop.time() - self._due > _LATE:
            self._due = float("inf")
            self._timer = later(self._loop, _GRACE, self._ring)
        else:
            self._action(*self._args)
