"""The time limit of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sqla_typedpool.errors import StatementTimeout

T = TypeVar("T")

_MAX_SHOWN = 200  # characters of a statement in an error message


async def within(seconds: float, statement: object, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``, and cancel it after this many seconds.

    :param statement: shown in the error message.
    :raises StatementTimeout: the time is over.
    """
    ends = asyncio.get_running_loop().time() + seconds
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError as error:
        if asyncio.get_running_loop().time() < ends:
            raise  # an error of the driver, such as asyncpg's command_timeout
        raise StatementTimeout(
            f"the call did not finish within {seconds:g} s (timeout={seconds:g}): "
            f"{_shortened(statement)}; next: check the server and "
            "TypedPool.of(engine).holders(), or raise the timeout"
        ) from error


def _shortened(statement: object) -> str:
    text = " ".join(str(statement).split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
