"""A pytest plugin that runs SQLAlchemy's own tests with TypedPool in place of its queue pools.

SQLAlchemy runs tests of asyncio drivers in `greenlet_spawn` on one event loop. With this plugin it
does so with every test, those with a mock or a synchronous driver included, and with every fixture,
set-up and tear-down, because TypedPool pools only in a running loop. See CONTRIBUTING.md.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import sqlalchemy.event.attr
import sqlalchemy.pool
from sqlalchemy.pool.base import _AsyncConnDialect, _ConnDialect

from sqla_typedpool import TypedPool
from tests.sqlalchemy_suite.differences import (
    EXPECTED_FAILURES,
    FAILS_WITH_THE_STOCK_POOL,
    NEEDS_THREADS,
)
from tests.sqlalchemy_suite.on_a_loop import loop_threading, loop_time

# The stock pools are named in messages and loggers, and some tests compare those.
_LOGGERS = "sqlalchemy.pool.impl"


class _Queue:
    """The attributes of the stock pool's queue that tests read."""

    def __init__(self, pool: TypedPool) -> None:
        self._pool = pool
        self.use_lifo = pool.options.use_lifo
        # Tests remove entries without a connection from it; TypedPool has none among the idle.
        self.queue: deque[Any] = deque()

    def empty(self) -> bool:
        return self._pool.stats().idle == 0


class QueuePool(TypedPool):
    """TypedPool for synchronous drivers and mocks, for which `create_engine` refuses it."""

    _is_asyncio = False
    _dialect = _ConnDialect()
    _sqla_logger_namespace = f"{_LOGGERS}.QueuePool"

    def __init__(self, *args: Any, pre_ping: bool = False, **options: Any) -> None:
        # For the stock pool this means a ping at every checkout; here it has no
        # effect, and pool_validate_after decides when to ping.
        if pre_ping:
            options.setdefault("pool_validate_after", 0)
        super().__init__(*args, **options)

    @property
    def _pool(self) -> _Queue:
        return _Queue(self)


class AsyncAdaptedQueuePool(QueuePool):
    """TypedPool itself; a subclass of `QueuePool` because tests use `isinstance`."""

    _is_asyncio = True
    _dialect = _AsyncConnDialect()
    _sqla_logger_namespace = f"{_LOGGERS}.AsyncAdaptedQueuePool"


def pytest_configure() -> None:
    """Replace the pools before a test module or a dialect can import them."""
    for module in (sqlalchemy, sqlalchemy.pool):
        for stand_in in (QueuePool, AsyncAdaptedQueuePool):
            setattr(module, stand_in.__name__, stand_in)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart() -> None:
    """Let SQLAlchemy run everything on its event loop, before it defines its fixtures."""
    from sqlalchemy.testing import asyncio as runner
    from sqlalchemy.testing import config

    config.any_async = True
    runner._maybe_async = runner._maybe_async_provisioning = runner._assume_async


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are named in the tables, with their reason."""
    for item in items:
        for name in _names(item):
            if reason := EXPECTED_FAILURES.get(name):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
            if reason := FAILS_WITH_THE_STOCK_POOL.get(name):
                item.add_marker(pytest.mark.skip(reason=f"fails with the stock pool: {reason}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Give the tests of the engine and its pools a `time` and a `threading` of the event loop."""
    with pytest.MonkeyPatch.context() as patch:
        if _is_of_the_engine(item) and NEEDS_THREADS.keys().isdisjoint(_names(item)):
            # SQLAlchemy holds a lock while it fires the first connect event.
            patch.setattr(sqlalchemy.event.attr, "threading", loop_threading)
            for name, view in (("time", loop_time), ("threading", loop_threading)):
                if hasattr(item.module, name):
                    patch.setattr(item.module, name, view)
        return (yield)


def _is_of_the_engine(item: pytest.Item) -> bool:
    return item.path.parent.name == "engine"


def _names(item: pytest.Item) -> Iterator[str]:
    """The names of a test in the tables, from `Class.test` to `Class.test[parameters]@driver`."""
    from sqlalchemy.testing import config

    # Tests of real databases are in classes like Class_sqlite+aiosqlite_async_3_40_1; the others
    # run on the first database.
    kind, driver = re.fullmatch(
        r"(\w+?)(?:_[a-z]+\+([a-z]+[a-z0-9]*)_.*)?", item.cls.__name__
    ).groups()
    for name in {item.originalname, item.name}:
        yield f"{kind}.{name}"
        yield f"{kind}.{name}@{driver or config.db.dialect.driver}"
