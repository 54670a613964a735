"""Who runs: the names under which the contestants appear, and how each is opened."""

from __future__ import annotations

from functools import partial
from typing import Any

from psycopg_pool import AsyncConnectionPool
from sqlalchemy.engine import URL
from sqlalchemy.pool import AsyncAdaptedQueuePool

from benchmarks import stub_driver
from benchmarks.contestants import Opener, open_asyncpg, open_engine, open_psycopg
from sqla_typedpool import TypedPool

TYPED = "TypedPool"
STOCK = "stock"
STOCK_AGAIN = "stock again"
"""The same once more: its ratio to the first is the noise of the machine."""
STOCK_LIFO = "stock LIFO"
STOCK_PING = "stock + pre_ping"
ASYNCPG = "asyncpg.Pool"
PSYCOPG = "psycopg_pool"
PSYCOPG_CHECK = "psycopg_pool + check"

# SQLAlchemy's pools, by the options that make them: TypedPool and the stock one with defaults.
TYPED_OPTIONS: dict[str, Any] = {"poolclass": TypedPool}
STOCK_OPTIONS: dict[str, Any] = {"poolclass": AsyncAdaptedQueuePool}
LIFO_OPTIONS: dict[str, Any] = {**STOCK_OPTIONS, "pool_use_lifo": True}
PING_OPTIONS: dict[str, Any] = {**STOCK_OPTIONS, "pool_pre_ping": True}


def on_a_server(url: URL) -> dict[str, Opener]:
    """Everybody, with the driver that each is made for."""
    return {
        TYPED: partial(open_engine, url, TYPED_OPTIONS),
        STOCK: partial(open_engine, url, STOCK_OPTIONS),
        ASYNCPG: partial(open_asyncpg, url),
        PSYCOPG: partial(open_psycopg, url, {}),
    }


def with_validation(url: URL) -> dict[str, Opener]:
    """Everybody, those with a check at every checkout, and the stock pool twice."""
    check = {"check": AsyncConnectionPool.check_connection}
    return {
        **on_a_server(url),
        STOCK_AGAIN: partial(open_engine, url, STOCK_OPTIONS),
        STOCK_PING: partial(open_engine, url, PING_OPTIONS),
        PSYCOPG_CHECK: partial(open_psycopg, url, check),
    }


def on_the_stub() -> dict[str, Opener]:
    """SQLAlchemy's pools on the driver without a server."""
    return {
        TYPED: partial(open_engine, stub_driver.URL, TYPED_OPTIONS),
        STOCK: partial(open_engine, stub_driver.URL, STOCK_OPTIONS),
    }
