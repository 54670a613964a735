"""`time` and `threading` on an event loop, for SQLAlchemy's tests of its queue pool.

Those tests are written for threads. On an event loop a sleep that blocks would stop the pool's own
tasks as well, and a thread would have no loop. So inside a greenlet a sleep is awaited, a thread
is a task, and a lock or a barrier waits without blocking the loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from sqlalchemy.util.concurrency import AsyncAdaptedLock

from sqla_typedpool._sqlalchemy.greenlets import await_only, greenlet_spawn, in_greenlet


class _View:
    """A module with some of its names replaced."""

    def __init__(self, module: ModuleType, **replaced: Any) -> None:
        self._module = module
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _sleep(seconds: float) -> None:
    if in_greenlet():
        await_only(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


class _TaskThread:
    """A task with the methods of a `threading.Thread`."""

    daemon = False

    def __init__(self, target: Callable[..., object], args: Sequence[Any] = ()) -> None:
        self._target = target
        self._args = args

    def start(self) -> None:
        work = greenlet_spawn(self._target, *self._args)
        self._task = asyncio.get_running_loop().create_task(work)

    def join(self, timeout: float | None = None) -> None:
        await_only(asyncio.wait([self._task], timeout=timeout))


class _TaskBarrier:
    """A `threading.Barrier` for such tasks."""

    def __init__(self, parties: int) -> None:
        self._missing = parties
        self._complete = asyncio.Event()

    def wait(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._complete.set()
        await_only(self._complete.wait())


loop_time: Any = _View(time, sleep=_sleep)
loop_threading: Any = _View(
    threading, Thread=_TaskThread, Barrier=_TaskBarrier, Lock=AsyncAdaptedLock
)
