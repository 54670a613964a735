"""The bridge between synchronous SQLAlchemy code and an event loop: greenlets.

SQLAlchemy runs its synchronous core in a greenlet; ``await_only`` inside it suspends
the greenlet and awaits in the task that started it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any, TypeVar, cast

import greenlet
from sqlalchemy.util.concurrency import await_only, greenlet_spawn

__all__ = ["await_only", "greenlet_spawn"]  # of SQLAlchemy, imported from here

T = TypeVar("T")


def in_greenlet() -> bool:
    """Whether ``await_only`` works here (2.1 has a function for it, 2.0 has not)."""
    return getattr(greenlet.getcurrent(), "__sqlalchemy_greenlet_provider__", False)


def outside_greenlet(fn: Callable[..., T], *args: Any) -> T:
    """Run ``fn`` so that ``await_only`` does not work in it.

    SQLAlchemy's adapters close a connection gracefully (up to 2 s) in a greenlet,
    and at once outside one.
    """
    return cast(T, greenlet.greenlet(fn).switch(*args))


def frames_outward(frame: FrameType | None) -> Iterator[FrameType]:
    """The calling frames, beyond the greenlet in which ``frame`` runs too."""
    current: greenlet.greenlet | None = greenlet.getcurrent()
    while current is not None:
        while frame is not None:
            yield frame
            frame = frame.f_back
        current = current.parent
        frame = None if current is None else current.gr_frame


_MAX_CANCELS = 5  # of a function that catches each


class _AwaitingGreenlet(greenlet.greenlet):
    # await_only() looks for this mark
    __sqlalchemy_greenlet_provider__ = True


class Suspended:
    """A function that runs in a greenlet and has reached its first await."""

    def __init__(self, context: greenlet.greenlet, awaited: Any) -> None:
        self._context = context
        self._awaited = awaited

    async def resume(self) -> None:
        """Run it to its end, in the current task."""
        context = self._context
        context.parent = greenlet.getcurrent()
        while not context.dead:
            try:
                value = await self._awaited
            except BaseException as error:  # noqa: BLE001 - raised again inside the greenlet
                self._awaited = context.throw(type(error), error, error.__traceback__)
            else:
                self._awaited = context.switch(value)

    def cancel(self) -> None:
        """Raise CancelledError at its await, and at a few more; nothing is awaited."""
        self._context.parent = greenlet.getcurrent()
        with suppress(BaseException):
            for _ in range(_MAX_CANCELS):
                if self._context.dead:
                    break
                if asyncio.iscoroutine(self._awaited):
                    self._awaited.close()
                self._awaited = self._context.throw(asyncio.CancelledError)


def run_until_await(fn: Callable[..., object], *args: Any) -> Suspended | None:
    """Run ``fn`` in its own greenlet until it first awaits.

    ``greenlet_spawn`` starts when its task gets a turn. A close should start at once,
    so that its effect is visible to the caller.

    :return: None if ``fn`` has ended, or else the rest of it.
    """
    context = _AwaitingGreenlet(fn)
    awaited = context.switch(*args)
    return None if context.dead else Suspended(context, awaited)
