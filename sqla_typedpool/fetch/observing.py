"""What an integration does around each call of the typed functions.

Without an integration nothing is called.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from sqla_typedpool.pool.call_sites import QUERY_GLOBAL

if TYPE_CHECKING:
    from types import FrameType

    from sqla_typedpool.fetch.fast.call import Call

_LEVELS = 6  # callers between an observed call and the function of a declared query


class CallObserver(Protocol):
    """Observes the calls of the typed functions. What it does must not raise."""

    def observe(
        self, db: Any, call: Call, query: str | None, run: Callable[[], Awaitable[Any]]
    ) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that awaits ``run()``, and returns or raises what that does.

        :param db: the engine, connection or session.
        :param query: the name of the declared query, if it is one.
        """
        ...

    def observe_stream(
        self, db: Any, statement: Any, query: str | None, rows: AsyncGenerator[Any, None]
    ) -> AsyncGenerator[Any, None]:
        """Return a generator that yields the rows of a stream, and closes it."""
        ...


# None = nothing is called.
observer: CallObserver | None = None


def calling_query() -> str | None:
    """Return the name of the declared query whose function is among the nearest callers."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_LEVELS):
        if frame is None:
            return None
        name = frame.f_globals.get(QUERY_GLOBAL)
        if name is not None:
            return str(name)
        frame = frame.f_back
    return None
