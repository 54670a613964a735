"""Where in the application's code a connection was checked out.

With ``pool_leak_threshold`` set, the caller's line is noted at each checkout (a few
microseconds). Without it only the task is noted, and its line is found when a report
is made, by following what the task awaits at that moment.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import islice
from types import CodeType, FrameType
from typing import Any

from sqla_typedpool._sqlalchemy.greenlets import frames_outward

# A code object and a line. Formatting a path costs more than finding the frame, so it is left to
# the report.
CallSite = tuple[CodeType, int]

# modules between the application and the pool
_INSIDE = (
    *("sqlalchemy.", "sqlmodel.", "sqla_typedpool.pool.", "sqla_typedpool._sqlalchemy."),
    *("sqla_typedpool.fetch.", "sqla_typedpool.mapping.", "sqla_typedpool.statement."),
    *("asyncio.", "uvloop.", "greenlet.", "contextlib."),
    *("asyncpg.", "psycopg.", "psycopg_binary.", "aiosqlite.", "aiomysql.", "asyncmy."),
)
_MAX_FRAMES = 60


def call_site() -> CallSite | None:
    """The innermost frame of the application among the callers; None if there is none."""
    for frame in islice(frames_outward(sys._getframe(1)), _MAX_FRAMES):
        if not _is_inside(frame):
            return frame.f_code, frame.f_lineno
    return None


def format_site(site: CallSite | None) -> str | None:
    """A call site as ``file:line in function``."""
    if site is None:
        return None
    code, line = site
    return f"{code.co_filename}:{line} in {code.co_name}"


def site_of_task(task: asyncio.Task[Any] | None) -> str | None:
    """The innermost line of the application at which a task is suspended."""
    if task is None or task.done():
        return None
    found = None
    for frame in _awaited_frames(task.get_coro()):
        if not _is_inside(frame):
            found = frame
    return None if found is None else format_site((found.f_code, found.f_lineno))


def _awaited_frames(awaitable: Any) -> Iterator[FrameType]:
    """The frames of a chain of coroutines, generators and async generators, outermost first."""
    for _ in range(_MAX_FRAMES):
        frame = _attribute_of(awaitable, "cr_frame", "gi_frame", "ag_frame")
        if frame is None:
            return
        yield frame
        awaitable = _attribute_of(awaitable, "cr_await", "gi_yieldfrom", "ag_await")


def _attribute_of(awaitable: Any, *names: str) -> Any:
    found = (getattr(awaitable, name, None) for name in names)
    return next((each for each in found if each is not None), None)


def _is_inside(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return isinstance(name, str) and (name + ".").startswith(_INSIDE)
