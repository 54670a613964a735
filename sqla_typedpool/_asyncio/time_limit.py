"""A time limit for one call, which runs in the caller's own task."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class TimeLimit:
    """Limits the time of one call.

    Before Python 3.12 ``asyncio.wait_for`` runs the call in another task. Here it runs in the
    caller's task, so that reports show the caller's name and line (Python 3.10: ``CallTask``).

    :param seconds: after which the call is cancelled.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._has_expired: Callable[[], bool] = lambda: False

    @property
    def is_expired(self) -> bool:
        """Whether the time is over; True from the moment at which the call is cancelled."""
        return self._has_expired()

    async def run(self, work: Awaitable[T]) -> T:
        """Await ``work``, and cancel it when the time is over.

        :raises asyncio.TimeoutError: the time is over. If ``is_expired`` is False, it is an
            error of ``work``.
        :raises asyncio.CancelledError: the caller was cancelled, perhaps at the same time.
        """
        if sys.version_info >= (3, 11):
            async with asyncio.timeout(self.seconds) as timeout:
                self._has_expired = timeout.expired
                return await work
        else:
            task = CallTask(work)
            self._has_expired = lambda: task.is_expired
            result: T = await task.run(self.seconds)
            return result


class CallTask(asyncio.Task[Any]):
    """A call with a time limit, in a task of its own: Python 3.10 has no ``asyncio.timeout``."""

    def __init__(self, work: Awaitable[Any]) -> None:
        self.caller = asyncio.current_task()
        self.is_expired = False
        # A coroutine is run as it is: a task that is cancelled before its first step would not
        # run a coroutine that is wrapped in another, and Python would warn of it.
        main = work if asyncio.iscoroutine(work) else _await(work)
        super().__init__(main, name=None if self.caller is None else self.caller.get_name())

    async def run(self, seconds: float) -> Any:
        """Wait for the end of the call, and cancel it after so many seconds."""
        timer = self.get_loop().call_later(seconds, self._expire)
        try:
            await asyncio.wait({self})
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.wait({self})
            raise
        finally:
            timer.cancel()
            self.cancel()  # only a caller that is closed leaves it undone
        if self.is_expired and self.cancelled():
            raise asyncio.TimeoutError
        return self.result()

    def _expire(self) -> None:
        self.is_expired = True
        self.cancel()


async def _await(work: Awaitable[T]) -> T:
    return await work


def caller_of(task: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
    """The application's task: the one that waits for a ``CallTask``, else the task itself."""
    while isinstance(task, CallTask):
        task = task.caller
    return task
