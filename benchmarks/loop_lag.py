"""How late the event loop is: a busy machine, or the load itself, can distort the figures."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter

from benchmarks.interleave import percentile

INTERVAL = 0.005  # seconds between two looks
# A statement needs a few iterations of the loop, and each is late by the lag. With more than this
# mean or 99th percentile, in milliseconds, a figure describes the machine and not the pool.
MOST_MEAN, MOST_P99 = 3.0, 25.0


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

    @property
    def is_small(self) -> bool:
        """Whether the figures of a run with this lag are those of the pool."""
        return self.mean <= MOST_MEAN and self.p99 <= MOST_P99
