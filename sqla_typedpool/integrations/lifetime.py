"""The start and the end of an application that uses pools, for any framework."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.errors import CannotRun
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.secrets import mask_secrets


@asynccontextmanager
async def running(
    *engines: AsyncEngine, drain: float = 10.0, connects: bool = True
) -> AsyncGenerator[None, None]:
    """Connect at the beginning of the block, and close the pools at its end.

    A pool that is closed hands out no more connections, and waits for those in use. Who still
    holds one after the time is logged (event ``closed_by_force``).

    :param drain: seconds to wait for the connections in use.
    :param connects: whether to open ``pool_min_size`` connections, at least one, of each engine.
    :raises CannotRun: a database cannot be used; in one line, without passwords.
    """
    pools = [TypedPool.of(each) for each in engines]
    try:
        if connects:
            await asyncio.gather(*map(_warm, pools))
        yield
    finally:
        await asyncio.gather(*(each.close(drain) for each in pools))
        for engine in engines:
            await engine.dispose()


async def _warm(pool: TypedPool) -> None:
    try:
        await pool.warm()
    except Exception as error:  # noqa: BLE001 - in one line
        cause = getattr(error, "orig", None) or error
        reason = " ".join(mask_secrets(f"{type(cause).__name__}: {cause}").split())
        raise CannotRun(
            f"pool {pool.shared.name}: the database cannot be used: {reason}; next: check the "
            "URL, the server and the network"
        ) from None
