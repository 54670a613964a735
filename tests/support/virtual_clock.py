"""An event loop with a virtual clock: a simulated day takes seconds, and tests are deterministic.

When no callback is ready, the clock jumps to the next timer. Two faults raise an error instead of
letting a test hang: a loop that nothing will ever wake (`Stuck`), and a loop that runs without end
while its clock does not advance (`Spinning`).
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START = 1_000.0
_REAL_TIMEOUT = 2.0  # seconds of real time to wait for a call from another thread
_MAX_STEPS = 50_000  # iterations while the clock does not advance


class Stuck(RuntimeError):
    """No callback is ready, no timer is scheduled, and no other thread calls the loop."""


class Spinning(RuntimeError):
    """Too many iterations while the clock did not advance."""


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[valid-type, misc]
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(_REAL_TIMEOUT)
            if not ready:
                raise Stuck("no callback is ready and no timer is scheduled")
            return ready
        self.loop.jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock starts at `START` and advances only when no callback is ready."""

    def __init__(self) -> None:
        self._now = START
        self.steps = 0  # iterations so far
        self.on_step: Callable[[int], None] | None = None  # called before each iteration
        self.unhandled: list[dict[str, Any]] = []  # contexts given to the exception handler
        self._steps_at_this_time = 0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self.set_exception_handler(lambda _, context: self.unhandled.append(context))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        """Advance the clock, to the next timer exactly if there is one."""
        scheduled: Any = getattr(self, "_scheduled", None)
        next_timer = scheduled[0].when() if scheduled else self._now + seconds
        self._now = max(self._now, min(next_timer, self._now + seconds + 1e-6))
        self._steps_at_this_time = 0

    def block(self, seconds: float) -> None:
        """Advance the clock while no callback runs, as a synchronous call in a coroutine does."""
        self._now += seconds

    def _run_once(self) -> None:
        self.steps += 1
        self._steps_at_this_time += 1
        if self._steps_at_this_time > _MAX_STEPS:
            self._steps_at_this_time = 0
            raise Spinning(f"{_MAX_STEPS} iterations at {self._now}")
        if self.on_step is not None:
            self.on_step(self.steps)
        super()._run_once()  # type: ignore[misc]


def run(
    coroutine: Coroutine[Any, Any, T],
    *,
    loop: VirtualLoop | None = None,
    tolerant: bool = False,
) -> T:
    """`asyncio.run` on a virtual loop.

    :param tolerant: do not fail for unhandled exceptions (see `loop.unhandled`).
    """
    loop = loop or VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(coroutine)
    finally:
        try:
            _cancel_all_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    if not tolerant and loop.unhandled:
        raise AssertionError(f"unhandled exceptions: {loop.unhandled}")
    return result


def _cancel_all_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def now() -> float:
    """Virtual seconds since the start of the running loop."""
    return asyncio.get_running_loop().time() - START


def virtual_loop() -> VirtualLoop:
    """The running loop, which must be a virtual one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


async def loop_iterations(count: int = 1) -> None:
    """Let the loop iterate so many times; the clock does not advance."""
    for _ in range(count):
        await asyncio.sleep(0)


def collect_garbage() -> None:
    """Run the collector several times, because finalizers may create new garbage."""
    for _ in range(3):
        gc.collect()
