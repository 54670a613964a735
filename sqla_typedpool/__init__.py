"""A connection pool and typed results for async SQLAlchemy.

The pool has one deadline for each checkout, validates connections and serves callers in
order. Rows have exactly the declared types.

::

    from sqlalchemy.ext.asyncio import create_async_engine
    from sqla_typedpool import TypedPool, fetch_all

    engine = create_async_engine(url, poolclass=TypedPool, pool_size=10, pool_timeout=5)
    users = await fetch_all(engine, User, "SELECT id, name FROM users")
"""

from __future__ import annotations

from sqla_typedpool.errors import (
    Holder,
    PoolClosed,
    PoolSaturated,
    PoolTimeout,
    RowShapeError,
    RowValueError,
    StatementTimeout,
    TypedPoolError,
)
from sqla_typedpool.fetch.api import (
    Executor,
    execute,
    fetch_all,
    fetch_one,
    fetch_optional,
    stream,
)
from sqla_typedpool.fetch.rows import TypedRows, rows_as
from sqla_typedpool.mapping.explain import explain_mapping
from sqla_typedpool.mapping.markers import ByName, Col, Decode, Flatten, Json
from sqla_typedpool.pool.engine import create_typed_engine
from sqla_typedpool.pool.labels import holder_label
from sqla_typedpool.pool.option_types import EngineOptions, PoolOptions
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.pool.stats import Distribution, PoolStats
from sqla_typedpool.queries import RowCount, query, query_info

__version__ = "0.1.0"

__all__ = [
    "ByName",
    "Col",
    "Decode",
    "Distribution",
    "EngineOptions",
    "Executor",
    "Flatten",
    "Holder",
    "Json",
    "PoolClosed",
    "PoolOptions",
    "PoolSaturated",
    "PoolStats",
    "PoolTimeout",
    "RowCount",
    "RowShapeError",
    "RowValueError",
    "StatementTimeout",
    "TypedPool",
    "TypedPoolError",
    "TypedRows",
    "create_typed_engine",
    "execute",
    "explain_mapping",
    "fetch_all",
    "fetch_one",
    "fetch_optional",
    "holder_label",
    "query",
    "query_info",
    "rows_as",
    "stream",
]
