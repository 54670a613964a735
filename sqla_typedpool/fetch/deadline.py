"""The bound on a whole call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sqla_typedpool.errors import StatementTimeout

__all__ = ["within"]

T = TypeVar("T")

_SHOWN = 200  # characters of a statement in an error


async def within(seconds: float, statement: Any, work: Coroutine[Any, Any, T]) -> T:
    """Await this, at most so long; then it is cancelled.

    :raises StatementTimeout: naming the statement.
    """
    ends = asyncio.get_running_loop().time() + seconds
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError as error:
        if asyncio.get_running_loop().time() < ends:
            raise  # the driver's own, such as asyncpg's command_timeout
        raise StatementTimeout(
            f"no answer within {seconds:g} s (timeout={seconds:g}): {_short(statement)}; "
            f"next: look at the server and at the pool's holders, or allow more time"
        ) from error


def _short(statement: Any) -> str:
    text = " ".join(str(statement).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
