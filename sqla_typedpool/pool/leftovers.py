"""What is left in an event loop that was closed by hand: tasks, and sockets half made.

No driver has given those to anybody yet, so only the frames of its coroutines know them.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from contextlib import suppress
from typing import Any

__all__ = ["close_socket", "end_task", "release_half_made"]

_INSISTS = 5


def end_task(task: asyncio.Task[Any]) -> None:
    """End what hangs in a task, though it may need its loop for that."""
    coroutine: Any = task.get_coro()
    for _ in range(_INSISTS):  # what is cancelled may await once more
        if not _hangs(task):
            break
        try:
            coroutine.throw(asyncio.CancelledError())  # unlike close(), it leaves a traceback
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - of a driver
            release_half_made(error)
    with suppress(Exception):  # a driver may await for ever
        coroutine.close()
    # it cannot be cancelled any more, and asyncio would complain of it
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def release_half_made(error: BaseException) -> None:
    """Let go of what the work has opened that ended with this error."""
    for each in _chain(error):
        frames = [frame for frame, _ in traceback.walk_tb(each.__traceback__)]
        for frame in frames:
            for value in list(frame.f_locals.values()):
                _release(value)
        # psycopg's socket closes when nobody has its connection any more
        traceback.clear_frames(each.__traceback__)
        for frame in frames:
            _ = frame.f_locals  # before Python 3.13 a snapshot, which would keep all it has shown


def _release(value: object) -> None:
    if isinstance(value, asyncio.BaseTransport):
        close_socket(value)
    elif isinstance(value, asyncio.Task) and _hangs(value):
        end_task(value)  # what ``wait_for`` awaits, before Python 3.12


def close_socket(transport: Any) -> None:
    """asyncio's transport would ask the closed loop, and warn of its socket when collected."""
    sock = getattr(transport, "_sock", None)
    if sock is not None:
        sock.close()
        transport._sock = None


def _hangs(task: asyncio.Task[Any]) -> bool:
    coroutine: Any = task.get_coro()
    is_suspended = inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
    return is_suspended and task.get_loop().is_closed()


def _chain(error: BaseException) -> list[BaseException]:
    """The error, and those it came of."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain
