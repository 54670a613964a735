"""The time limit of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from sqla_typedpool.errors import StatementTimeout
from sqla_typedpool.pool.call_limits import CallLimit, call_limit

T = TypeVar("T")

_MAX_SHOWN = 200  # characters of a statement in an error message


async def within(
    seconds: float, statement: object, work: Awaitable[T], declared_query: str | None = None
) -> T:
    """Await ``work``, and cancel it after this many seconds.

    :param statement: shown in the error message.
    :param declared_query: the name of the declared query, for the error.
    :raises StatementTimeout: the time is over.
    """
    limit = CallLimit(seconds)
    token = call_limit.set(limit)
    try:
        return await limit.run(work)
    except asyncio.TimeoutError:
        if not limit.is_expired:
            raise  # an error of the driver, such as asyncpg's command_timeout
        error = _timeout_error(limit, statement)
        error.query = declared_query
        # The cancellation is no cause: it shows where in the driver the call was.
        raise error from (None if limit.report is None else limit.report.connect_error)
    finally:
        with suppress(ValueError):  # the garbage collector closes the call in another context
            call_limit.reset(token)


def _timeout_error(limit: CallLimit, statement: object) -> StatementTimeout:
    seconds, report, shown = limit.seconds, limit.report, _shortened(statement)
    if report is not None:
        return StatementTimeout(
            f"{report.text}; not sent: {shown}; {report.next_step}",
            stage=report.stage,
            timeout=seconds,
            holders=report.holders,
            retry_after=report.retry_after,
        )
    return StatementTimeout(
        f"the call did not finish within {seconds:g} s (timeout={seconds:g}), while executing: "
        f"{shown}; next: check the server for locks and slow statements, or raise the timeout",
        timeout=seconds,
    )


def _shortened(statement: object) -> str:
    text = " ".join(str(statement).split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
