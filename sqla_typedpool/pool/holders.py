"""Who holds a connection, and from where in the code.

Two prices. With ``pool_leak_threshold`` set, the caller's line is noted at each
checkout (a few microseconds). Without it nothing is noted but the task, and the
line is found at report time by walking what the task awaits just now.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from types import CodeType, FrameType
from typing import Any

from sqla_typedpool._sqlalchemy import frames_outward
from sqla_typedpool.errors import Holder

__all__ = ["Holder", "call_site", "describe", "site_of_task"]

_INSIDE = (
    *("sqlalchemy.", "sqlmodel.", "sqla_typedpool.pool.", "sqla_typedpool._sqlalchemy."),
    *("sqla_typedpool.fetch.", "sqla_typedpool.mapping.", "sqla_typedpool.statement."),
    *("asyncio.", "uvloop.", "greenlet.", "contextlib."),
    *("asyncpg.", "psycopg.", "psycopg_binary.", "aiosqlite.", "aiomysql.", "asyncmy."),
)
_DEPTH = 60  # frames looked at before giving up


def describe(holders: Sequence[Holder], most: int = 3) -> str:
    """The longest holders in one line, for a message."""
    if not holders:
        return ""
    shown = "; ".join(str(holder) for holder in holders[:most])
    rest = len(holders) - most
    return shown + (f"; and {rest} more" if rest > 0 else "")


def call_site() -> tuple[CodeType, int] | None:
    """Where the application asked for a connection: code object and line.

    Formatting a path costs more than walking the frames, so it waits until
    somebody reads the report.
    """
    for frame in islice(frames_outward(sys._getframe(1)), _DEPTH):
        if not _is_inside(frame):
            return frame.f_code, frame.f_lineno
    return None


def written(site: tuple[CodeType, int] | None) -> str | None:
    """A call site as ``file:line in function``."""
    if site is None:
        return None
    code, line = site
    return f"{code.co_filename}:{line} in {code.co_name}"


def site_of_task(task: asyncio.Task[Any] | None) -> str | None:
    """The innermost line of the application a task is suspended at."""
    if task is None or task.done():
        return None
    found = None
    for frame in _awaited(task.get_coro()):
        if not _is_inside(frame):
            found = frame
    return None if found is None else written((found.f_code, found.f_lineno))


def _awaited(waiting: Any) -> Iterator[FrameType]:
    """The frames of a chain of coroutines, the outermost first."""
    for _ in range(_DEPTH):
        frame = (
            getattr(waiting, "cr_frame", None)
            or getattr(waiting, "gi_frame", None)
            or getattr(waiting, "ag_frame", None)
        )
        if frame is None:
            return
        yield frame
        waiting = (
            getattr(waiting, "cr_await", None)
            or getattr(waiting, "gi_yieldfrom", None)
            or getattr(waiting, "ag_await", None)
        )


def _is_inside(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return isinstance(name, str) and (name + ".").startswith(_INSIDE)
