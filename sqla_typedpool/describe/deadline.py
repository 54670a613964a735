"""The time limit of a describer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sqla_typedpool.errors import DescribeTimeout, Refused

T = TypeVar("T")

# The server has the same limit. Its error is preferred, because it leaves the connection usable:
# so many seconds are left for the error to arrive before the statement is cancelled.
_MARGIN = 0.25
_CANCEL_AGAIN = 1.0  # seconds until work that has not ended when cancelled is cancelled again

# PostgreSQL's errors when its limit is exceeded: lock_not_available, query_canceled
TIME_LIMIT_CODES = ("55P03", "57014")


async def within(
    seconds: float, action: str, work: Coroutine[Any, Any, T], *, grace: float = 0.0
) -> T:
    """Await ``work``, and cancel it when the time is over or the caller is cancelled.

    The work has always ended when this function returns or raises.

    :param action: what the work does, for the error: ``"describe 'SELECT 1'"``.
    :param grace: seconds that the work may go on when the caller is cancelled.
    :raises DescribeTimeout: this limit, or the server's, was exceeded.
    """
    clock = asyncio.get_running_loop().time
    ends = clock() + seconds
    try:
        return await _cancelled_after(seconds + _MARGIN, grace, work)
    except Exception as error:
        is_other_error = isinstance(error, Refused) and error.code not in TIME_LIMIT_CODES
        if is_other_error or clock() < ends:
            raise
        raise DescribeTimeout(action, seconds) from error


async def _cancelled_after(seconds: float, grace: float, work: Coroutine[Any, Any, T]) -> T:
    """Like ``asyncio.wait_for``, for work that may not end at its first cancellation.

    psycopg, for example, goes on to wait for the server. The caller may be cancelled more than
    once, too; that does not end the wait.
    """
    clock = asyncio.get_running_loop().time
    task, ends = asyncio.ensure_future(work), clock() + seconds
    is_late, cancelled = False, None
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=max(ends - clock(), 0))
        except asyncio.CancelledError as error:
            if cancelled is None:
                ends = min(ends, clock() + grace)
            cancelled = error
        if not task.done() and clock() >= ends:
            is_late = task.cancel()
            ends = clock() + _CANCEL_AGAIN
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # or asyncio would log that it was never retrieved
        raise cancelled
    if is_late and task.cancelled():
        raise asyncio.TimeoutError
    return task.result()
