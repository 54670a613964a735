"""An engine on MariaDB with one connection, and what the server receives on it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from sqla_typedpool import TypedPool, execute, fetch_all
from tests.support.engines import make_engine
from tests.support.fetch_lab import no_listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.servers.mariadb import MariaDB


def plain_engine(server: MariaDB, driver: str, path: str, **options: Any) -> AsyncEngine:
    pytest.importorskip(driver)
    engine = make_engine(server.url(driver), **{"pool_size": 1, "max_overflow": 0, **options})
    if path == "slow":
        event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
    return engine


@asynccontextmanager
async def engine_of(
    server: MariaDB, driver: str, path: str = "fast", **options: Any
) -> AsyncIterator[AsyncEngine]:
    """An engine with one connection, and a new table `paths` with one row."""
    engine = plain_engine(server, driver, path, **options)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("DROP TABLE IF EXISTS paths"))
            await connection.execute(
                text("CREATE TABLE paths (id int PRIMARY KEY, name varchar(20) UNIQUE)")
            )
            await connection.execute(text("INSERT INTO paths VALUES (1, 'Ada')"))
        yield engine
        assert TypedPool.of(engine).stats().in_use == 0, "a connection was lost"
    finally:
        await engine.dispose()


async def sent(
    server: MariaDB, engine: AsyncEngine, work: Callable[[], Awaitable[object]]
) -> list[str]:
    """Return the statements that the server receives on the engine's connection during `work`."""
    admin = make_engine(server.url("aiomysql"))
    try:
        async with engine.connect() as connection:
            session = await connection.scalar(text("SELECT CONNECTION_ID()"))
        logged = f"""SELECT argument FROM mysql.general_log
            WHERE thread_id = {session} AND command_type IN ('Query', 'Execute')"""
        await execute(admin, "SET GLOBAL log_output = 'TABLE', GLOBAL general_log = ON")
        before = await fetch_all(admin, Any, logged)
        await work()
        after = await fetch_all(admin, Any, logged)
    finally:
        await execute(admin, "SET GLOBAL general_log = OFF")
        await admin.dispose()
    return [each.decode() if isinstance(each, bytes) else each for each in after[len(before) :]]
