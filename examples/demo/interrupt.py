"""Stop on a signal: Ctrl-C, SIGTERM or SIGHUP ends the run once, and its clean-up is completed."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

IGNORE_SECONDS = 15.0
"""How long further signals are ignored after one that stops the run."""
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class StopOnSignal:
    """While entered, the first signal raises KeyboardInterrupt, and those soon after are ignored.

    A second Ctrl-C would interrupt the clean-up and leave a server running. After
    `IGNORE_SECONDS` a signal counts again, in case the clean-up hangs. Within `run()` a signal
    cancels the coroutine, so that its `finally` blocks are awaited.
    """

    def __init__(self) -> None:
        self._stopped_at = float("-inf")
        self._task: asyncio.Task[Any] | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
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
        """Run `main` like `asyncio.run`.

        :raises KeyboardInterrupt: a signal has cancelled `main`.
        """
        try:
            return asyncio.run(self._run(main))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    async def _run(self, main: Coroutine[Any, Any, T]) -> T:
        self._task = asyncio.current_task()
        try:
            return await main
        finally:
            self._task = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._stopped_at < IGNORE_SECONDS:
            return
        self._stopped_at = now
        if self._task is None:
            raise KeyboardInterrupt
        self._task.get_loop().call_soon_threadsafe(self._task.cancel)
