"""The pool's own tasks: they carry no request's context, and each is accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any

from sqla_typedpool._asyncio.timers import call_later

_PREFIX = "typedpool-"
_THREAD_PATIENCE = 2.0  # seconds for a thread to end by itself


class _ThreadTask(asyncio.Task[Any]):
    """A task that waits for a thread, which nothing can cancel.

    ``asyncio.run`` cancels all tasks at its end. A thread would still report to the
    closed loop, fail, and leave open what it has opened or was closing. So a cancelled
    task gets two seconds to end by itself. Later cancellations reach it at once.
    """

    _is_cancelling = _had_its_time = False

    def cancel(self, msg: object = None) -> bool:
        if self.done():
            return False
        if self._had_its_time:
            return super().cancel()
        if not self._is_cancelling:
            self._is_cancelling = True
            timer = call_later(self.get_loop(), _THREAD_PATIENCE, self._cancel_now)
            self.add_done_callback(lambda _: timer.cancel(), context=Context())
        return True

    def _cancel_now(self) -> None:
        self._had_its_time = True
        super().cancel()


class BackgroundTasks:
    """The tasks of one event loop. They outlive the request they work for.

    :param on_failure: called with the error of a task that nothing else handles.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_failure: Callable[[BaseException], object]
    ) -> None:
        self.loop = loop
        self._on_failure = on_failure
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(
        self,
        work: Coroutine[Any, Any, Any],
        name: str,
        on_done: Callable[[asyncio.Task[Any]], object] | None = None,
        *,
        in_thread: bool = False,
    ) -> asyncio.Task[Any]:
        """Start a task.

        Not through ``loop.create_task``: a task factory that starts tasks at once
        would switch into another greenlet in the middle of this one.

        :param name: what it does: "close", "connect", "keep", "kill", "ping", "reconnect",
            "rollback".
        :param on_done: called with the task when it has ended, also if it was cancelled
            before its first step; it handles the task's error.
        :param in_thread: the work waits for a thread: give it time when it is cancelled.
        """
        kind = _ThreadTask if in_thread else asyncio.Task
        task: asyncio.Task[Any] = Context().run(kind, work, loop=self.loop, name=_PREFIX + name)
        self._running.add(task)
        task.add_done_callback(self._running.discard, context=Context())
        task.add_done_callback(on_done or self._failed, context=Context())
        return task

    def _failed(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._on_failure(error)

    async def wait_closed(self, seconds: float, first: Collection[str] = ()) -> None:
        """Wait until the connections being closed are closed, at most so long.

        The connections of cancelled statements may have to be closed as well.

        :param first: the names of other tasks whose connections are closed when they end.
        """
        deadline = self.loop.time() + seconds
        ending = {"keep", *first}
        for names in (ending, ending, {"close"}):  # a rollback may be followed by a ping
            tasks = {task for task in self._others() if _name_of(task) in names}
            if tasks and (left := deadline - self.loop.time()) > 0:
                await asyncio.wait(tasks, timeout=left)
                await asyncio.sleep(0)  # their callbacks may start to close a connection

    async def wait_all(self, seconds: float) -> None:
        """Wait until no task runs any more, at most so long."""
        deadline = self.loop.time() + seconds
        while (others := self._others()) and (left := deadline - self.loop.time()) > 0:
            await asyncio.wait(others, timeout=left)
            await asyncio.sleep(0)  # the callbacks of those tasks may start new ones

    def _others(self) -> set[asyncio.Task[Any]]:
        """Return the running tasks except the caller (an application's listener may call this)."""
        return {task for task in self._running if task is not asyncio.current_task()}

    def cancel(self) -> None:
        """Cancel all of them."""
        for task in list(self._running):
            task.cancel()

    def forget(self) -> None:
        """The loop is closed: none of them will run again, and what they hold is released."""
        while self._running:
            task = self._running.pop()
            with suppress(Exception, asyncio.CancelledError):  # a driver may need its loop
                task.get_coro().close()
            # asyncio would log it as pending, and it cannot be cancelled any more
            task._log_destroy_pending = False  # type: ignore[attr-defined]


def rename(task: asyncio.Task[Any], name: str) -> None:
    """Give a task of the pool the name of another kind of work; see ``spawn``."""
    task.set_name(_PREFIX + name)


def _name_of(task: asyncio.Task[Any]) -> str:
    return task.get_name().removeprefix(_PREFIX)


def error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """Why a task that is done has failed: its error, or a CancelledError; None = it has not."""
    return asyncio.CancelledError() if task.cancelled() else task.exception()
