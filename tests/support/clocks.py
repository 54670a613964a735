"""Time in which a loop turned.

Nothing can be in time in a loop that stands still, be it for the garbage collector, a busy machine
or a test's own load; what a deadline's lateness is measured with stands still as well.
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
    """A clock that stands still while its loop does: each tick that comes late is taken off.

    `looks` are called at every fifth tick.
    """

    def __init__(self, *looks: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._looks = looks
        self._ticks = 0
        self._last = time.monotonic()
        self.stalled = 0.0
        self._timer = self._loop.call_later(TICK, self._tick)

    def now(self) -> float:
        """Seconds in which the loop turned."""
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
            for look in self._looks:
                look()


@contextmanager
def clock_of_the_loop() -> Iterator[None]:
    """`now` and `Stopwatch.awake` stand still whenever the running loop does."""
    loop = asyncio.get_running_loop()
    clock = _clocks[loop] = LoopClock()
    try:
        yield
    finally:
        clock.stop()
        del _clocks[loop]


def now() -> float:
    """Seconds in which the running loop turned, or of real time where no loop's are counted."""
    try:
        clock = _clocks.get(asyncio.get_running_loop())
    except RuntimeError:
        clock = None
    return time.monotonic() if clock is None else clock.now()


class Stopwatch:
    """Seconds since it was made: real ones, and those in which the loop turned.

    What must not come too late is measured with `awake`, what must not come too soon with
    `seconds`.
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
        return f"<Stopwatch: {self.seconds:.3f} s, the loop turned for {self.awake:.3f} s>"
