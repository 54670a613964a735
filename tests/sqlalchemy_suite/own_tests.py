"""A pytest plugin that puts TypedPool in the place of SQLAlchemy's queue pools.

For SQLAlchemy's own tests, from its source distribution: see CONTRIBUTING.md.
"""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy.pool
from sqlalchemy.pool.base import _ConnDialect

from sqla_typedpool import TypedPool

# The tests that hold the stock pool to a behaviour which this one changes on purpose.
BY_DESIGN = {
    "test_fifo": "the idle list is last in, first out by default",
    "test_dispose_closes_pooled": "a connection out at dispose() is closed when it comes back",
    "test_recycle_pool_no_race": "one disconnect makes the others suspect, it does not close them",
    "test_alter_invalidate_pool_stays_true": "the same",
    "test_hanging_connect_within_overflow": "its creator expects to run in the borrower's thread",
}

# Those that fail for what they patch or name, not for what the pool does.
NOT_OURS = {
    "test_recycle": "patches time.time; ages are on the monotonic clock",
    "test_cant_use_async_pool_w_create_engine": "expects the stock pool's class name",
    "test_memory_mode_pool_deprecated": "expects the stock pool's class name",
    "test_timeout_subsecond_precision": "patches the stock queue's clock",
}

# pool_pre_ping=True is accepted: connections are validated in any case, but by
# pool_validate_after, and without an event loop nothing is pinged.
PRE_PING = ("PrePingMockTest", "RealPrePingEventHandlerTest", "PrePingRealTest")


class AnyTypedPool(type):
    """Lets `isinstance(pool, QueuePool)` hold for the asyncio one too, as it does in SQLAlchemy."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, TypedPool)


class QueueView:
    """What SQLAlchemy's tests look at in the stock pool's queue."""

    def __init__(self, pool: TypedPool) -> None:
        self._pool = pool
        self.use_lifo = pool.options.use_lifo

    @property
    def queue(self) -> Any:
        return self._pool.houses.inline.slots.idle

    @queue.setter
    def queue(self, records: Any) -> None:
        idle = self._pool.houses.inline.slots.idle
        kept = list(records)
        idle.clear()
        idle.extend(kept)

    def empty(self) -> bool:
        return not self.queue


class SyncTypedPool(TypedPool, metaclass=AnyTypedPool):
    """The pool for the tests that use a sync engine or a mock: it connects inline there."""

    _is_asyncio = False
    _dialect = _ConnDialect()

    @property
    def _pool(self) -> Any:
        return QueueView(self)

    def _do_get(self, wait: bool = True) -> Any:
        return super()._do_get(wait) if self._is_asyncio else self.houses.inline.checkout()


def pytest_configure() -> None:
    """Swap the pools before a test module or a dialect can take them."""
    sqlalchemy.pool.QueuePool = SyncTypedPool  # type: ignore[misc]
    sqlalchemy.pool.AsyncAdaptedQueuePool = TypedPool  # type: ignore[misc]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what differs by design, with the reason."""
    for item in items:
        name = item.name.partition("[")[0]
        reason = BY_DESIGN.get(name) or NOT_OURS.get(name)
        if any(each in item.nodeid for each in PRE_PING):
            reason = "pool_pre_ping is accepted, pool_validate_after rules"
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
