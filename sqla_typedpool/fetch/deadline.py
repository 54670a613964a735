"""The time limit of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from sqla_typedpool._asyncio.time_limit import TimeLimit
from sqla_typedpool.errors import StatementTimeout

T = TypeVar("T")

_MAX_SHOWN = 200  # characters of a statement in an error message


async def within(seconds: float, statement: object, work: Awaitable[T]) -> T:
    """Await ``work``, and cancel it after this many seconds.

    :param statement: shown in the error message.
    :raises StatementTimeout: the time is over.
    """
    limit = TimeLimit(seconds)
    try:
        return await limit.run(work)
    except asyncio.TimeoutError as error:
        if not limit.is_expired:
            raise  # an error of the driver, such as asyncpg's command_timeout
        raise StatementTimeout(
            f"the call did not finish within {seconds:g} s (timeout={seconds:g}): "
            f"{_shortened(statement)}; next: check the server and "
            "TypedPool.of(engine).holders(), or raise the timeout"
        ) from error


def _shortened(statement: object) -> str:
    text = " ".join(str(statement).split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
