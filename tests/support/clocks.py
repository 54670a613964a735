"""Clocks that count only the time in which the event loop could run.

A loop that is blocked, by the garbage collector, a busy machine or the load of the test itself,
cannot keep any deadline. The time in which it was blocked is not counted when a test measures how
late something was.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK = 0.02

_clocks: dict[asyncio.AbstractEventLoop, LoopClock] = {}


class LoopClock:
    """A clock without the time in which its loop was blocked, which is how late its ticks come.

    `callbacks` are called at every fifth tick.
    """

    def __init__(self, *callbacks: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callbacks = callbacks
        self._ticks = 0
        self._last = time.monotonic()
        self.stalled = 0.0
        self._timer = self._loop.call_later(TICK, self._tick)

    def now(self) -> float:
        """Seconds, without those in which the loop was blocked."""
        real = time.monotonic()
        return real - self.stalled - self._late(real)

    def stop(self) -> None:
        self._timer.cancel()

    def _late(self, now: float) -> float:
        late = now - self._last - TICK
        return late if late > TICK / 4 else 0.0

    def _tick(self) -> None:
        now = time.monotonic()
        self.stalled += self._late(now)
        self._last = now
        self._timer = self._loop.call_later(TICK, self._tick)
        self._ticks += 1
        if self._ticks % 5 == 0:
            for callback in self._callbacks:
                callback()


@contextmanager
def clock_of_the_loop() -> Iterator[None]:
    """Inside the block, `now` and `Stopwatch.awake` exclude time in which the loop is blocked."""
    loop = asyncio.get_running_loop()
    clock = _clocks[loop] = LoopClock()
    try:
        yield
    finally:
        clock.stop()
        del _clocks[loop]


def now() -> float:
    """The time of the running loop's `LoopClock`, or the monotonic time if it has none."""
    try:
        clock = _clocks.get(asyncio.get_running_loop())
    except RuntimeError:
        clock = None
    return time.monotonic() if clock is None else clock.now()


class Stopwatch:
    """Seconds since it was created: `seconds` in real time, `awake` without blocked time.

    Use `awake` to assert that something is not too late, `seconds` that it is not too early.
    """

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._awake = now()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    @property
    def awake(self) -> float:
        return now() - self._awake

    def __repr__(self) -> str:
        return f"<Stopwatch: {self.seconds:.3f} s, {self.awake:.3f} s not blocked>"
