"""`PoolEntry`: what is known against a connection, and how SQLAlchemy gives one up."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import event

from sqla_typedpool._sqlalchemy.greenlets import await_only, greenlet_spawn
from sqla_typedpool.pool.drivers.base import always_alive
from sqla_typedpool.pool.entry import Condition, PoolEntry
from sqla_typedpool.pool.stats import CloseReason
from tests.support.fake_driver import (
    Server,
    assert_full_capacity,
    assert_only_idle,
    borrow,
    driver_of,
    give_back,
    new_pool,
    use,
)
from tests.support.virtual_clock import now, run


class Owner:
    """Keeps the connections that its entries give up."""

    loop: Any = None

    def __init__(self) -> None:
        self.terminated: list[tuple[Any, bool]] = []
        self.returned: list[PoolEntry] = []
        self.cancelled: list[PoolEntry] = []
        self.gave_up: list[PoolEntry] = []

    def checkin(self, entry: PoolEntry) -> None:
        self.returned.append(entry)

    def reconnect(self, entry: PoolEntry) -> Any:
        entry.dbapi_connection = connection = Mock()
        return connection

    def terminate(
        self, entry: PoolEntry, connection: Any, *, wait: bool, abort: bool = False
    ) -> None:
        assert entry.dbapi_connection is None, "the entry has forgotten it"
        self.terminated.append((connection, wait))

    def borrower_gave_up(self, entry: PoolEntry) -> None:
        self.gave_up.append(entry)

    def statement_cancelled(self, entry: PoolEntry) -> None:
        self.cancelled.append(entry)


def connected() -> tuple[PoolEntry, Owner]:
    """An entry with a connection, and its owner. No event loop is needed."""
    owner = Owner()
    entry = PoolEntry(new_pool(Server()), owner)
    entry.dbapi_connection = Mock()
    return entry, owner


# -------------------------------------------------------------------- condition


def test_a_new_entry_is_good() -> None:
    entry, _ = connected()
    assert (entry.condition, entry.evicted) == (Condition.GOOD, None)
    assert not entry.condition, "a checkout takes this for granted"


@pytest.mark.parametrize(("first", "second"), list(itertools.product(Condition, repeat=2)))
def test_the_higher_of_two_conditions_outweighs_the_lower(
    first: Condition, second: Condition
) -> None:
    entry, _ = connected()
    entry.mark(first)
    entry.mark(second)
    assert entry.condition is max(first, second)


def test_the_conditions_are_good_suspect_read_only_and_evicted_in_this_order() -> None:
    order = [Condition.GOOD, Condition.SUSPECT, Condition.READ_ONLY, Condition.EVICTED]
    assert sorted(Condition) == order


@pytest.mark.parametrize("condition", [Condition.GOOD, Condition.SUSPECT, Condition.READ_ONLY])
def test_an_answer_clears_what_was_known_against_a_connection(condition: Condition) -> None:
    entry, _ = connected()
    entry.mark(condition)
    entry.mark_validated(17.0)
    assert (entry.condition, entry.validated_at) == (Condition.GOOD, 17.0)


def test_an_answer_does_not_clear_an_eviction() -> None:
    entry, _ = connected()
    entry.evict(CloseReason.LIFETIME)
    entry.mark_validated(17.0)
    assert (entry.condition, entry.evicted) == (Condition.EVICTED, CloseReason.LIFETIME)
    assert entry.validated_at == 17.0


def test_suspicion_does_not_clear_an_eviction() -> None:
    entry, _ = connected()
    entry.evict(CloseReason.DISPOSE)
    entry.mark(Condition.SUSPECT)
    assert (entry.condition, entry.evicted) == (Condition.EVICTED, CloseReason.DISPOSE)


def test_the_next_connection_of_an_evicted_entry_is_good() -> None:
    entry, _ = connected()
    entry.evict(CloseReason.FAILOVER)
    entry.detach_connection()
    entry.start_opening()
    entry.attach(always_alive)
    assert (entry.condition, entry.evicted) == (Condition.GOOD, None)
    assert entry.is_reusable


def test_an_entry_evicted_while_it_connects_stays_evicted_and_is_not_reused() -> None:
    entry, _ = connected()
    entry.detach_connection()
    entry.start_opening()
    entry.evict(CloseReason.INVALIDATED)
    entry.attach(always_alive)
    assert entry.condition is Condition.EVICTED
    assert not entry.is_reusable


def test_a_detached_connection_leaves_nothing_behind_in_its_entry() -> None:
    entry, _ = connected()
    connection, probe = entry.dbapi_connection, Mock()
    entry.attach(probe, True, Mock())
    assert entry.detach_connection() is connection
    assert entry.dbapi_connection is None
    assert entry.probe is always_alive
    assert entry.server_session is None


# ------------------------------------------------- SQLAlchemy gives a connection up


def test_a_soft_invalidation_evicts_and_keeps_the_connection() -> None:
    entry, owner = connected()
    connection = entry.dbapi_connection
    entry.invalidate(soft=True)
    assert (entry.condition, entry.evicted) == (Condition.EVICTED, CloseReason.INVALIDATED)
    assert entry.dbapi_connection is connection
    assert owner.terminated == []


def test_a_hard_invalidation_empties_the_entry_and_terminates_the_connection_once() -> None:
    entry, owner = connected()
    connection = entry.dbapi_connection
    entry.invalidate()
    entry.invalidate()
    assert entry.dbapi_connection is None
    assert owner.terminated == [(connection, True)]


@pytest.mark.parametrize("error", [LookupError(), asyncio.CancelledError()])
def test_an_invalidation_after_an_error_does_not_wait_for_the_close(error: BaseException) -> None:
    entry, owner = connected()
    connection = entry.dbapi_connection
    entry.invalidate(error)
    assert owner.terminated == [(connection, False)]


def test_only_a_cancelled_statement_of_a_known_session_is_ended_on_the_server() -> None:
    for error in (None, LookupError(), asyncio.CancelledError()):
        for session in (None, Mock()):
            entry, owner = connected()
            entry.attach(always_alive, None, session)
            entry.invalidate(error)
            is_expected = session is not None and isinstance(error, asyncio.CancelledError)
            assert bool(owner.cancelled) == is_expected


def test_a_borrower_has_given_up_only_if_its_statement_was_cancelled() -> None:
    for error in (asyncio.CancelledError(), GeneratorExit(), Interruption(), LookupError(), None):
        entry, owner = connected()
        entry.invalidate(error)
        assert bool(owner.gave_up) == isinstance(error, asyncio.CancelledError)


class Interruption(BaseException):
    """Not an Exception, as KeyboardInterrupt."""


@pytest.mark.parametrize("name", ["invalidate", "close"])
@pytest.mark.parametrize("error", [LookupError, Interruption])
def test_an_invalidation_interrupted_by_a_listener_empties_the_entry_and_terminates(
    name: str, error: type[BaseException]
) -> None:
    entry, owner = connected()
    connection = entry.dbapi_connection

    def fail(*arguments: object) -> None:
        raise error

    event.listen(entry.pool, name, fail)
    with pytest.raises(error):
        entry.invalidate()
    assert entry.dbapi_connection is None
    assert owner.terminated == [(connection, True)]


@pytest.mark.parametrize("name", ["invalidate", "close"])
def test_an_invalidation_cancelled_in_a_listener_closes_the_connection_and_frees_its_slot(
    name: str,
) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=5)
        reached = asyncio.Event()

        def wait(*arguments: object) -> None:
            if not reached.is_set():
                reached.set()
                await_only(asyncio.sleep(100))

        event.listen(pool, name, wait)
        fairy = await borrow(pool)
        old = driver_of(fairy)
        invalidating = asyncio.ensure_future(greenlet_spawn(fairy.invalidate))
        await reached.wait()
        invalidating.cancel()
        await asyncio.wait({invalidating})
        assert invalidating.cancelled()
        await give_back(fairy)
        assert (await use(pool)) is not old
        assert now() < 0.1
        await asyncio.sleep(3)
        assert old.is_closed
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, 1)

    run(main())


# ------------------------------------------------------------------ failed returns


def test_a_failed_return_evicts_and_returns_an_entry_that_is_in_use() -> None:
    entry, _ = connected()
    returned: list[object] = []
    entry.pool._return_conn = returned.append  # type: ignore[method-assign]
    entry.checked_out_at = 1.0
    entry.checkin_failed()
    assert entry.evicted is CloseReason.INVALIDATED
    assert returned == [entry]


def test_a_failed_return_of_an_entry_that_has_come_back_already_changes_nothing() -> None:
    entry, owner = connected()
    entry.checkin_failed()
    assert entry.condition is Condition.GOOD
    assert owner.returned == []
