"""Ctrl-C, a terminal closed, a polite kill: each ends the run once, with its clean-up done."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

CLEAN_UP_PATIENCE = 15.0
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class StopOnce:
    """While entered, the first signal raises KeyboardInterrupt; those soon after it are ignored.

    An impatient second Ctrl-C would otherwise break the clean-up of the first, and leave a server
    behind; one after `CLEAN_UP_PATIENCE` seconds counts again, should the clean-up hang. Within
    `run()` the coroutine is cancelled, so that its own `finally` blocks are awaited.
    """

    def __init__(self) -> None:
        self._stopped = float("-inf")
        self._task: asyncio.Task[Any] | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopOnce:
        self._previous = {number: signal.signal(number, self._stop) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """`asyncio.run(main)`; a signal cancels `main`, and KeyboardInterrupt comes out here."""
        try:
            return asyncio.run(self._watched(main))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    async def _watched(self, main: Coroutine[Any, Any, T]) -> T:
        self._task = asyncio.current_task()
        try:
            return await main
        finally:
            self._task = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._stopped < CLEAN_UP_PATIENCE:
            return
        self._stopped = now
        if self._task is None:
            raise KeyboardInterrupt
        self._task.get_loop().call_soon_threadsafe(self._task.cancel)
