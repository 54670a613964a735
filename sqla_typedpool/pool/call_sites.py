"""Where in the application's code a connection was checked out, and by which declared query.

With ``pool_leak_threshold`` set, the caller's line is noted at each checkout (a few
microseconds). Without it only the task is noted, and its line is found when a report
is made, by following what the task awaits at that moment.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from types import CodeType, FrameType
from typing import Any, NamedTuple

from sqla_typedpool._asyncio.time_limit import caller_of
from sqla_typedpool._sqlalchemy.greenlets import frames_outward

# The function that is generated for a declared query has a code object that names the user's file.
# It is recognised by this name, which is a global of the function only, with the query's name as
# its value. A function of this package that runs a declared query has it as a local.
QUERY_GLOBAL = "__typedpool_query_name__"
QUERY_LOCAL = "declared_query"

# modules between the application and the pool
_INSIDE = (
    *("sqlalchemy.", "sqlmodel.", "sqla_typedpool.", "sqla_typedpool_pytest."),
    *("asyncio.", "async_timeout.", "uvloop.", "greenlet.", "contextlib.", "functools."),
    *("asyncpg.", "psycopg.", "psycopg_binary.", "aiosqlite.", "aiomysql.", "pymysql.", "asyncmy."),
    *("fastapi.", "starlette.", "litestar.", "advanced_alchemy.", "anyio."),
    *("uvicorn.", "hypercorn.", "granian."),
)
# Awaitables without a frame that refer to the coroutine or generator that has one.
_WRAPPERS = (
    *("async_generator_asend", "async_generator_athrow", "anext_awaitable"),
    "coroutine_wrapper",
)
_MAX_FRAMES = 100


class CallSite(NamedTuple):
    """A line of the application, and the declared query that it calls.

    The path is formatted by the report only: that costs more than finding the frame.
    """

    # None = the application has no line there, as in a task made of a query's own coroutine.
    code: CodeType | None
    line: int
    # The name of the query; None = the line calls no declared query.
    query: str | None

    @property
    def where(self) -> str | None:
        """The line as ``file:line in function``."""
        if self.code is None:
            return None
        return f"{self.code.co_filename}:{self.line} in {self.code.co_name}"


def call_site(task: asyncio.Task[Any] | None) -> CallSite | None:
    """The innermost frame of the application among the callers; None if there is none.

    :param task: the current task. Its first frame is the last that is looked at: the frames
        beyond belong to the caller of the event loop.
    """
    caller = caller_of(task)
    if caller is not task:
        return site_of_task(caller)
    frames = _up_to(_first_frame(task), frames_outward(sys._getframe(1)))
    return _find(islice(frames, _MAX_FRAMES))


def site_of_task(task: asyncio.Task[Any] | None) -> CallSite | None:
    """The innermost line of the application at which a task is; None if there is none."""
    if task is None or task.done():
        return None
    return call_site(task) if _is_current(task) else _find(_frames_of(task))


def sites_of_task(task: asyncio.Task[Any] | None, limit: int) -> list[CallSite]:
    """The lines of the application at which a task is, the innermost first, at most ``limit``.

    The second one is the line that calls the function of the first one, and so on.
    """
    if task is None or task.done():
        return []
    frames = _frames_of(task)
    return list(islice(iter(partial(_find, frames), None), limit))


def _frames_of(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames of a task, the innermost first."""
    if _is_current(task):
        frames = _up_to(_first_frame(task), frames_outward(sys._getframe(1)))
        return islice(frames, _MAX_FRAMES)
    return reversed(list(_awaited_frames(task.get_coro())))


def _find(frames: Iterable[FrameType]) -> CallSite | None:
    """The first frame of the application, and the query whose frames come before it.

    :param frames: the innermost first.
    """
    query = None
    for frame in frames:
        called = _query_of(frame)
        query = query or called
        if called is None and not _is_inside(frame):
            return CallSite(frame.f_code, frame.f_lineno, query)
    return None if query is None else CallSite(None, 0, query)


def _query_of(frame: FrameType) -> str | None:
    """The name of the declared query that a frame of this package runs."""
    name = frame.f_globals.get(QUERY_GLOBAL)
    if name is None and QUERY_LOCAL in frame.f_code.co_varnames and _is_inside(frame):
        name = frame.f_locals.get(QUERY_LOCAL)
    return name if isinstance(name, str) else None


def _is_inside(frame: FrameType) -> bool:
    """Whether a frame is not the application's.

    Code without a module name is none of its: generated functions, such as mappers, and drivers
    compiled by Cython.
    """
    name = frame.f_globals.get("__name__")
    return not isinstance(name, str) or (name + ".").startswith(_INSIDE)


# ------------------------------------------------------------------------------ frames of tasks


def _is_current(task: asyncio.Task[Any]) -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no event loop runs in this thread
        return False


def _first_frame(task: asyncio.Task[Any] | None) -> FrameType | None:
    return None if task is None else _attribute_of(task.get_coro(), "cr_frame", "gi_frame")


def _up_to(last: FrameType | None, frames: Iterator[FrameType]) -> Iterator[FrameType]:
    for frame in frames:
        yield frame
        if frame is last:
            return


def _awaited_frames(awaitable: Any) -> Iterator[FrameType]:
    """The frames of a chain of coroutines, generators and async generators, outermost first."""
    for _ in range(_MAX_FRAMES):
        awaitable = _unwrapped(awaitable)
        frame = _attribute_of(awaitable, "cr_frame", "gi_frame", "ag_frame")
        if frame is None:
            return
        yield frame
        awaitable = _attribute_of(awaitable, "cr_await", "gi_yieldfrom", "ag_await")


def _unwrapped(awaitable: Any) -> Any:
    """What an awaitable without a frame waits for, such as the generator of an ``async for``."""
    while type(awaitable).__name__ in _WRAPPERS:
        inner = (each for each in gc.get_referents(awaitable) if _is_suspended(each))
        awaitable = next(inner, None)
    return awaitable


def _is_suspended(value: Any) -> bool:
    kinds = ("coroutine", "generator", "async_generator", *_WRAPPERS)
    return type(value).__name__ in kinds


def _attribute_of(awaitable: Any, *names: str) -> Any:
    found = (getattr(awaitable, name, None) for name in names)
    return next((each for each in found if each is not None), None)
