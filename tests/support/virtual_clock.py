"""An event loop whose time is virtual: a day passes in seconds, and nothing is flaky.

When no callback is ready the clock jumps to the next timer. Two mistakes become errors instead of
a test that hangs: a loop that nobody will ever wake (`Stuck`), and one that runs round and round
without time passing (`Spinning`).
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START = 1_000.0
_REAL_PATIENCE = 2.0  # seconds of real time granted to other threads
_MOST_STEPS = 50_000  # without time passing


class Stuck(RuntimeError):
    """Nothing is ready, nothing is scheduled, and no other thread calls."""


class Spinning(RuntimeError):
    """The loop runs and runs at the same instant."""


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[valid-type, misc]
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(_REAL_PATIENCE)
            if not ready:
                raise Stuck("nothing is scheduled and nobody wakes this loop")
            return ready
        self.loop.jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time is `START` at first and moves only when nothing is left to do."""

    def __init__(self) -> None:
        self._now = START
        self.steps = 0  # iterations so far
        self.on_step: Callable[[int], None] | None = None  # called before each iteration
        self.problems: list[dict[str, Any]] = []  # what nobody handled
        self._steps_at_this_time = 0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self.set_exception_handler(lambda _, context: self.problems.append(context))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock, normally to the next timer exactly."""
        scheduled: Any = getattr(self, "_scheduled", None)
        next_timer = scheduled[0].when() if scheduled else self._now + seconds
        self._now = max(self._now, min(next_timer, self._now + seconds + 1e-6))
        self._steps_at_this_time = 0

    def block(self, seconds: float) -> None:
        """What a synchronous call in a coroutine does: time passes, nothing else happens."""
        self._now += seconds

    def _run_once(self) -> None:
        self.steps += 1
        self._steps_at_this_time += 1
        if self._steps_at_this_time > _MOST_STEPS:
            self._steps_at_this_time = 0
            raise Spinning(f"{_MOST_STEPS} iterations at {self._now}")
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

    :param tolerant: do not fail for exceptions that nobody handled (see `loop.problems`).
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
    if not tolerant and loop.problems:
        raise AssertionError(f"nobody handled {loop.problems}")
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
    """The running loop, which is a virtual one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


async def rounds(count: int = 1) -> None:
    """Let the loop go round; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


def collect() -> None:
    """Collect garbage until nothing more comes of it."""
    for _ in range(3):
        gc.collect()
