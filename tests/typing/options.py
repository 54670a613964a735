# pyright: reportUnnecessaryTypeIgnoreComment=true
"""The options of the pool and of the engine, as type checkers see them.

A line that a checker must reject has `type: ignore`, as in `typed_results.py`.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from typing_extensions import assert_type

from sqla_typedpool import (
    Distribution,
    EngineOptions,
    PoolOptions,
    TypedPool,
    create_typed_engine,
)


async def connect() -> Any:
    raise NotImplementedError


def right(url: str) -> None:
    assert_type(create_typed_engine(url), AsyncEngine)
    assert_type(create_typed_engine(make_url(url), pool_size=5), AsyncEngine)
    assert_type(TypedPool.configured(pool_min_size=2, pool_timeout=None), type[TypedPool])
    assert_type(TypedPool.of(create_typed_engine(url)).stats().wait_time, Distribution)


def every_option_of_the_pool(url: str) -> None:
    options: PoolOptions = {
        "pool_size": 10,
        "max_overflow": 0,
        "pool_timeout": 1.5,
        "pool_use_lifo": True,
        "pool_recycle": -1,
        "pool_pre_ping": True,
        "pool_reset_on_return": "rollback",
        "pool_logging_name": "app",
        "echo_pool": "debug",
        "pool_min_size": 2,
        "pool_idle_timeout": 300,
        "pool_max_lifetime": None,
        "pool_validate_after": 0.5,
        "pool_connect_timeout": 5,
        "pool_connect_retry": 0,
        "pool_reset_timeout": 5,
        "pool_max_waiting": 100,
        "pool_overload": "fifo",
        "pool_shed_after": None,
        "pool_keepalive": 30,
        "pool_slow_checkout": 2,
        "pool_keep_cancelled": False,
        "pool_leak_threshold": 60,
        "pool_name": "app",
    }
    create_typed_engine(url, **options)
    create_async_engine(url, poolclass=TypedPool, **options)
    TypedPool.configured(**options)


def every_other_option_of_the_engine(url: str) -> None:
    options: EngineOptions = {
        "connect_args": {"timeout": 5},
        "async_creator": connect,
        "creator": lambda: None,
        "isolation_level": "REPEATABLE READ",
        "skip_autocommit_rollback": True,
        "execution_options": {"a": 1},
        "echo": "debug",
        "logging_name": "app",
        "hide_parameters": True,
        "plugins": ["typedpool"],
        "query_cache_size": 0,
        "use_insertmanyvalues": True,
        "insertmanyvalues_page_size": 1000,
        "enable_from_linting": True,
        "json_serializer": json.dumps,
        "json_deserializer": json.loads,
        "label_length": None,
        "max_identifier_length": 63,
        "paramstyle": "named",
        "module": sqlite3,
        "implicit_returning": True,
        "future": True,
        "native_inet_types": False,
        "client_encoding": "utf8",
        "use_native_hstore": False,
        "native_datetime": True,
        "pool_size": 5,
    }
    create_typed_engine(url, **options)
    create_async_engine(url, poolclass=TypedPool, **options)


def misspelt(url: str) -> None:
    create_typed_engine(url, pool_sise=5)  # type: ignore[call-arg]
    create_typed_engine(url, isolation_levl="AUTOCOMMIT")  # type: ignore[call-arg]
    TypedPool.configured(pool_minsize=2)  # type: ignore[call-arg]
    PoolOptions(pool_minsize=2)  # type: ignore[typeddict-unknown-key]
    TypedPool.configured(isolation_level="AUTOCOMMIT")  # type: ignore[call-arg]
    create_typed_engine(url, poolclass=TypedPool)  # type: ignore[call-arg]


def mistyped(url: str) -> None:
    create_typed_engine(url, pool_size="5")  # type: ignore[arg-type]
    create_typed_engine(url, pool_size=None)  # type: ignore[arg-type]
    create_typed_engine(url, pool_overload="lifo")  # type: ignore[arg-type]
    create_typed_engine(url, pool_reset_on_return="maybe")  # type: ignore[arg-type]
    create_typed_engine(url, isolation_level="SERIALISABLE")  # type: ignore[arg-type]
    create_typed_engine(url, async_creator=json.loads)  # type: ignore[arg-type]
    TypedPool.configured(pool_timeout="5")  # type: ignore[arg-type]
    PoolOptions(pool_idle_timeout="5")  # type: ignore[typeddict-item]
