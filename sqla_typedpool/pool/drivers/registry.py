"""Finds the driver of a dialect."""

from __future__ import annotations

from typing import Any

from sqla_typedpool.pool.drivers.asyncpg import Asyncpg
from sqla_typedpool.pool.drivers.base import Driver
from sqla_typedpool.pool.drivers.mysql import Mysql
from sqla_typedpool.pool.drivers.psycopg import Psycopg
from sqla_typedpool.pool.drivers.sqlite import Aiosqlite

_UNKNOWN = Driver()
_DRIVERS: dict[str, Driver] = {
    "asyncpg": Asyncpg(),
    "psycopg": Psycopg(),
    "aiosqlite": Aiosqlite(),
    "aiomysql": Mysql("AsyncAdapt_aiomysql_connection"),
    "asyncmy": Mysql("AsyncmyAdapter"),
}


def driver_of(dialect: Any) -> Driver:
    """What is known of an asyncio dialect's driver; ``Driver()`` for an unknown one."""
    if not getattr(dialect, "is_async", False):
        return _UNKNOWN
    return _DRIVERS.get(getattr(dialect, "driver", ""), _UNKNOWN)
