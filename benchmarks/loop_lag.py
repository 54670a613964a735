"""How late the event loop is: a busy machine delays it, and so does the work of a pool."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter

from benchmarks.interleave import percentile

INTERVAL = 0.005  # seconds between two looks


class LoopLag:
    """Measures how late the loop wakes a task, in milliseconds."""

    def __init__(self) -> None:
        self.late: list[float] = []  # one for each look
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while True:
            self._due = perf_counter() + INTERVAL
            await asyncio.sleep(INTERVAL)
            self._note()

    def _note(self) -> None:
        self.late.append(1000 * max(0.0, perf_counter() - self._due))

    async def stop(self) -> None:
        """End the measurement; a delay that has not ended yet counts."""
        if self._due:
            self._note()
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @property
    def mean(self) -> float:
        return sum(self.late) / len(self.late) if self.late else 0.0

    @property
    def p99(self) -> float:
        return percentile(self.late, 99) if self.late else 0.0
