"""The pool's own tasks: in no request's context, each accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from logging import Logger
from typing import Any

from sqla_typedpool.pool.leftovers import end_task

__all__ = ["Tasks"]

_CLOSE = "typedpool-close"
_PATIENCE = 2.0  # seconds


class _PatientTask(asyncio.Task[Any]):
    """A task that waits for a thread: one that is cancelled has a moment to end by itself.

    ``asyncio.run`` cancels all tasks at its end. A thread would still tell the closed loop of
    what it has done, fail, and leave open what it has opened.
    """

    _is_asked = False

    def cancel(self, msg: object = None) -> bool:
        if self.done():
            return False
        if not self._is_asked:
            self._is_asked = True
            timer = self.get_loop().call_later(_PATIENCE, super().cancel, context=Context())
            self.add_done_callback(lambda _: timer.cancel(), context=Context())
        return True


class Tasks:
    """The tasks of one station. They survive the borrower they work for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Logger) -> None:
        self._loop = loop
        self._log = log
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(list(self._running))

    def spawn(
        self,
        work: Coroutine[Any, Any, Any],
        what: str,
        lost: Callable[[], object] | None = None,
        *,
        patient: bool = False,
    ) -> asyncio.Task[Any]:
        """Begin a task.

        Not ``loop.create_task``: a task factory that starts tasks at once (eager
        ones) would enter another greenlet in the middle of this one.

        :param what: "close", "connect", "ping" or "renew" (whose borrower gets its error).
        :param lost: called when the task was cancelled before its first step, so
            that not even a ``finally`` of its work has run.
        :param patient: what is cancelled is given a moment to end by itself.
        """
        begun: list[bool] = []
        kind = _PatientTask if patient else asyncio.Task
        task: asyncio.Task[Any] = Context().run(
            kind, _note(begun, work), loop=self._loop, name=f"typedpool-{what}"
        )
        self._running.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._running.discard(task)
            if not begun:
                work.close()
                if lost is not None:
                    lost()
            if not task.cancelled() and task.exception() is not None and what != "renew":
                self._log.error("a task of the pool failed", exc_info=task.exception())

        task.add_done_callback(ended, context=Context())
        return task

    async def settle(self, seconds: float) -> None:
        """Wait until what is being closed is closed, at most so long."""
        closing = {task for task in self._running if task.get_name() == _CLOSE}
        if closing:
            await asyncio.wait(closing, timeout=seconds)

    async def quiet(self, seconds: float) -> None:
        """Wait until none runs any more, at most so long."""
        deadline = self._loop.time() + seconds
        while self._running and (left := deadline - self._loop.time()) > 0:
            await asyncio.wait(set(self._running), timeout=left)
            await asyncio.sleep(0)  # let the callbacks of those tasks begin new ones

    def cancel(self) -> None:
        """Cancel all of them."""
        for task in list(self._running):
            task.cancel()

    def abandon(self) -> None:
        """The loop has closed: end what hangs in it, and let go of its sockets."""
        for task in list(self._running):
            end_task(task)
        self._running.clear()


async def _note(begun: list[bool], work: Coroutine[Any, Any, Any]) -> Any:
    begun.append(True)
    return await work
