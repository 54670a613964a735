"""A pytest plugin that puts TypedPool in the place of SQLAlchemy's queue pools.

For SQLAlchemy's own tests, from its source distribution: see CONTRIBUTING.md.
"""

from __future__ import annotations

import pytest
import sqlalchemy.pool

from sqla_typedpool import TypedPool

# The tests that hold the stock pool to a behaviour which this one changes on purpose.
BY_DESIGN = {
    "test_fifo": "the idle list is last in, first out by default",
    "test_dispose_closes_pooled": "a connection out at dispose() is closed when it comes back",
    "test_recycle_pool_no_race": "one disconnect makes the others suspect, it does not close them",
    "test_alter_invalidate_pool_stays_true": "the same",
    "test_hanging_connect_within_overflow": "its creator expects to run in the borrower's thread",
}


class AnyTypedPool(type):
    """Lets `isinstance(pool, QueuePool)` hold for the asyncio one too, as it does in SQLAlchemy."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, TypedPool)


class SyncTypedPool(TypedPool, metaclass=AnyTypedPool):
    """The pool for the tests that use a sync engine or a mock: it connects inline there."""

    _is_asyncio = False


def pytest_configure() -> None:
    """Swap the pools before a test module or a dialect can take them."""
    sqlalchemy.pool.QueuePool = SyncTypedPool  # type: ignore[misc]
    sqlalchemy.pool.AsyncAdaptedQueuePool = TypedPool  # type: ignore[misc]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what differs by design, with the reason."""
    for item in items:
        reason = BY_DESIGN.get(item.name.partition("[")[0])
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
