"""A connection pool for async SQLAlchemy that keeps its word.

::

    from sqlalchemy.ext.asyncio import create_async_engine
    from sqla_typedpool import TypedPool

    engine = create_async_engine(url, poolclass=TypedPool, pool_size=10, pool_timeout=5)
"""

from __future__ import annotations

from sqla_typedpool.errors import PoolClosed, PoolSaturated, PoolTimeout, TypedPoolError
from sqla_typedpool.pool.holders import Holder
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.pool.stats import PoolStats

__version__ = "0.1.0"

__all__ = [
    "Holder",
    "PoolClosed",
    "PoolSaturated",
    "PoolStats",
    "PoolTimeout",
    "TypedPool",
    "TypedPoolError",
]
