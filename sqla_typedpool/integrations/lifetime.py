"""The start and the end of an application that uses pools, for any framework."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.errors import CannotRun
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.secrets import mask_secrets


class Running(AbstractAsyncContextManager[Any]):
    """Connects at the beginning of a block, and closes the pools at its end.

    A pool that is closed hands out no more connections, and waits for those in use. Who still
    holds one after the time is logged (event ``closed_by_force``).

    It is a class, because each generator adds two entries to the traceback that a server prints.

    :param drain: seconds to wait for the connections in use.
    :param connects: whether to open ``pool_min_size`` connections, at least one, of each engine.
    :param inner: what is entered while the databases can be used; its result is that of the block.
    :raises CannotRun: a database cannot be used; in one line, without passwords.
    """

    def __init__(
        self,
        *engines: AsyncEngine,
        drain: float = 10.0,
        connects: bool = True,
        inner: AbstractAsyncContextManager[Any] | None = None,
    ) -> None:
        self._engines = engines
        self._drain = drain
        self._connects = connects
        self._inner = inner
        self._pools: list[TypedPool] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Any:
        self._pools = [TypedPool.of(each) for each in self._engines]
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._stop)
            faults = await asyncio.gather(*map(_warm, self._pools)) if self._connects else []
            for fault in filter(None, faults):
                raise CannotRun(fault)
            state = None if self._inner is None else await stack.enter_async_context(self._inner)
            self._stack = stack.pop_all()
        return state

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)

    async def _stop(self) -> None:
        await asyncio.gather(*(each.close(self._drain) for each in self._pools))
        for engine in self._engines:
            await engine.dispose()


async def _warm(pool: TypedPool) -> str | None:
    """Connect; return why that is impossible, in one line."""
    try:
        await pool.warm()
    except Exception as error:  # noqa: BLE001 - returned in one line
        cause = getattr(error, "orig", None) or error
        if type(cause).__module__.startswith("sqlalchemy.") and cause.__cause__ is not None:
            cause = cause.__cause__  # of the driver, where SQLAlchemy's adapter has a class `Error`
        reason = " ".join(mask_secrets(f"{type(cause).__name__}: {cause}").split())
        return (
            f"pool {pool.shared.name}: the database cannot be used: {reason}; next: check the "
            "URL, the server and the network"
        )
    return None
