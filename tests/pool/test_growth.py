"""Many waiters that end together: the work for each is constant, and no turn of the loop is long.

Speed is not asserted: these tests count operations.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqla_typedpool import PoolClosed, PoolTimeout, fetch_all
from sqla_typedpool.errors import StatementTimeout
from sqla_typedpool.pool import holders
from sqla_typedpool.pool.slots import Limits, Slots
from sqla_typedpool.pool.waiting import MOST_PER_TURN, Deadlines, Waiter
from tests.support.fake_driver import (
    Connect,
    Server,
    WrongPassword,
    assert_only_idle,
    borrow,
    give_back,
    loop_pool,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import loop_iterations, now, run, virtual_loop

MANY = 10 * MOST_PER_TURN + 50


class Crowd:
    """Tasks that wait for a connection, with their results in the order in which they end."""

    def __init__(self, pool: Any, count: int = MANY) -> None:
        self.pool = pool
        self.ended: list[int] = []
        self.errors: dict[int, BaseException] = {}
        self.tasks = [asyncio.ensure_future(self._wait(number)) for number in range(count)]

    async def _wait(self, number: int) -> None:
        try:
            await use(self.pool)
        except Exception as error:
            self.errors[number] = error
        self.ended.append(number)

    async def end(self) -> None:
        await asyncio.wait(self.tasks)


@contextmanager
def failures_per_turn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[int]]:
    """Count the waiters that fail in each turn of the virtual loop."""
    turns: Counter[int] = Counter()
    fail = Waiter.fail

    def counting(self: Waiter, error: BaseException) -> bool:
        turns[virtual_loop().steps] += 1
        return fail(self, error)

    with monkeypatch.context() as patch:
        patch.setattr(Waiter, "fail", counting)
        yield turns


def assert_spread(turns: Counter[int], count: int = MANY) -> None:
    """All have failed, in as few turns as possible."""
    assert sum(turns.values()) == count
    assert max(turns.values()) == MOST_PER_TURN
    assert len(turns) == -(-count // MOST_PER_TURN)


# -------------------------------------------------------------------------- in which turn


def test_waiters_that_time_out_together_fail_a_hundred_per_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=2)
        held = await borrow(pool)
        with failures_per_turn(monkeypatch) as turns:
            crowd = Crowd(pool)
            await crowd.end()
        assert_spread(turns)
        assert now() == pytest.approx(2)
        assert crowd.ended == list(range(MANY))
        assert {type(error) for error in crowd.errors.values()} == {PoolTimeout}
        assert pool.stats().timeouts == MANY
        await give_back(held)

    run(main())


def test_waiters_that_get_one_connect_error_fail_a_hundred_per_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        server = Server(usual=Connect(0.5, error=lambda: WrongPassword("no")))
        pool = new_pool(server, pool_size=1, max_overflow=0)
        with failures_per_turn(monkeypatch) as turns:
            crowd = Crowd(pool)
            await crowd.end()
        assert_spread(turns)
        assert crowd.ended == list(range(MANY))
        assert len({id(error) for error in crowd.errors.values()}) == MANY, "each has its own"
        assert len(server.attempts) == 1, "none is started for those that get the error"

    run(main())


def test_waiters_of_a_pool_that_is_closed_fail_a_hundred_per_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        held = await borrow(pool)
        with failures_per_turn(monkeypatch) as turns:
            crowd = Crowd(pool)
            await loop_iterations(3)
            closing = asyncio.ensure_future(pool.close(timeout=5))
            await loop_iterations(2)
            await give_back(held)
            await closing
            assert not loop_pool(pool).queue.is_failing, "close() waits for them"
        assert_spread(turns)
        await crowd.end()
        assert {type(error) for error in crowd.errors.values()} == {PoolClosed}
        assert now() == 0
        assert_only_idle(pool, server)

    run(main())


def test_close_returns_when_every_waiter_has_its_error() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(silent=True)), pool_size=1, max_overflow=0)
        crowd = Crowd(pool)
        await loop_iterations(3)
        await pool.close(timeout=0)
        assert not loop_pool(pool).queue.is_failing
        await crowd.end()
        assert len(crowd.errors) == MANY

    run(main())


def test_waiters_that_a_single_connection_cannot_serve_fail_a_hundred_per_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        held, queue = await borrow(pool), loop_pool(pool).queue
        with failures_per_turn(monkeypatch) as turns:
            crowd = Crowd(pool)
            await loop_iterations(3)
            assert queue.fail_oldest(OSError("one only"), queue.joined, count=MANY - 1) == MANY - 1
            await loop_iterations(10)
        assert_spread(turns, MANY - 1)
        await give_back(held)
        await crowd.end()
        assert sorted(crowd.errors) == list(range(MANY - 1)), "the youngest is served"

    run(main())


# ------------------------------------------------------------------- between the turns


def test_a_waiter_that_joins_between_the_turns_does_not_get_the_error_of_the_others() -> None:
    async def main() -> None:
        server = Server().script(Connect(0.5, error=lambda: WrongPassword("no")))
        pool = new_pool(server, pool_size=1, max_overflow=0)
        crowd = Crowd(pool)
        await asyncio.wait(crowd.tasks, return_when=asyncio.FIRST_COMPLETED)
        queue = loop_pool(pool).queue
        assert queue.is_failing
        assert pool.stats().waiting == 0
        await use(pool)
        await crowd.end()
        assert {type(each) for each in crowd.errors.values()} == {WrongPassword}
        assert len(crowd.errors) == MANY
        assert len(server.attempts) == 2

    run(main())


def test_a_waiter_past_its_deadline_is_served_if_a_connection_returns_before_its_turn() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=2)
        held = await borrow(pool)
        crowd = Crowd(pool)
        await asyncio.wait(crowd.tasks, return_when=asyncio.FIRST_COMPLETED)
        await give_back(held)
        await crowd.end()
        served = set(range(MANY)) - set(crowd.errors)
        assert served
        assert min(served) % MOST_PER_TURN == 0, "the oldest of those that still waited"
        assert now() == pytest.approx(2)
        assert pool.stats().timeouts == MANY - len(served)

    run(main())


def test_a_waiter_that_is_cancelled_between_the_turns_is_cancelled() -> None:
    async def main() -> None:
        server = Server(usual=Connect(0.5, error=lambda: WrongPassword("no")))
        pool = new_pool(server, pool_size=1, max_overflow=0)
        crowd = Crowd(pool)
        await asyncio.wait(crowd.tasks, return_when=asyncio.FIRST_COMPLETED)
        last = crowd.tasks[-1]
        assert not last.done()
        last.cancel()
        await crowd.end()
        assert last.cancelled()
        assert len(crowd.errors) == MANY - 1
        assert_only_idle(pool, server)

    run(main())


def test_a_loop_that_ends_between_the_turns_leaves_no_waiter_behind() -> None:
    crowds: list[Crowd] = []

    async def main() -> None:
        server = Server(usual=Connect(0.5, error=lambda: WrongPassword("no")))
        pool = new_pool(server, pool_size=1, max_overflow=0)
        crowds.append(Crowd(pool))
        await asyncio.wait(crowds[0].tasks, return_when=asyncio.FIRST_COMPLETED)
        assert loop_pool(pool).queue.is_failing

    run(main())
    assert all(task.done() for task in crowds[0].tasks)


# ---------------------------------------------------------------------- work per waiter


class CountingQueue(OrderedDict[Any, None]):
    """Counts the waiters that are looked at one after another."""

    steps = 0

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            self.steps += 1
            yield each


@pytest.mark.parametrize("ending", ["timeout", "cancelled"])
def test_no_waiter_that_ends_looks_at_the_others(ending: str) -> None:
    """Not even to find out whether a ping or a connect in progress would have served it."""

    async def main() -> None:
        pool = new_pool(Server(), pool_size=40, max_overflow=0, timeout=1, pool_validate_after=0)
        for connection in await open_idle(pool, 40):
            connection.hang.add("ping")
        slots = loop_pool(pool).slots
        slots.waiters = queue = CountingQueue()
        crowd = Crowd(pool)
        await loop_iterations(3)
        assert (len(queue), slots.validating) == (MANY, 40)
        queue.steps = 0
        if ending == "cancelled":
            for task in reversed(crowd.tasks):
                task.cancel()
        await crowd.end()
        assert queue.steps <= 5 * MANY
        await asyncio.sleep(10)

    run(main())


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The entries whose holders were found, which means walking the stack of a task."""
    entries: list[Any] = []
    holder_of = holders.holder_of

    def counting(entry: Any, now: float) -> Any:
        entries.append(entry)
        return holder_of(entry, now)

    monkeypatch.setattr(holders, "holder_of", counting)
    return entries


def test_the_holders_are_listed_once_for_all_checkouts_that_fail_in_a_turn(
    described: list[Any],
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=2, max_overflow=0, timeout=2)
        held = [await borrow(pool) for _ in range(2)]
        await Crowd(pool).end()
        turns = -(-MANY // MOST_PER_TURN)
        assert len(described) == 2 * turns
        for each in held:
            await give_back(each)

    run(main())


def test_the_holders_are_listed_once_for_all_calls_whose_timeout_ends_in_a_turn(
    described: list[Any],
) -> None:
    async def main() -> None:
        engine = new_engine(Server(), pool_size=1, max_overflow=0)
        held = await borrow(engine.pool)
        calls = [fetch_all(engine, int, "SELECT 1", timeout=1) for _ in range(50)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(each) for each in results} == {StatementTimeout}
        assert all("held longest by" in str(each) for each in results)
        assert len(described) <= 2
        await give_back(held)
        await engine.dispose()

    run(main())


def test_the_holders_of_an_earlier_moment_of_the_turn_are_not_named() -> None:
    """In one turn a checkout fails, its task gets the connection, and its next checkout fails."""

    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=0)
        await open_idle(pool, 1)
        part = loop_pool(pool)
        held = part.try_checkout()

        async def nested() -> list[str]:
            step = virtual_loop().steps
            with pytest.raises(PoolTimeout) as first:
                await part.acquire()
            part.checkin(held)
            own = part.try_checkout()
            with pytest.raises(PoolTimeout) as second:
                await part.acquire()
            assert virtual_loop().steps == step
            part.checkin(own)
            return [str(raised.value) for raised in (first, second)]

        first, second = await asyncio.create_task(nested())
        assert "itself" not in first
        assert "the waiting task itself holds 1 of them" in second

    run(main())


def test_an_error_names_the_twenty_longest_holders_and_how_many_more_there_are() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=30, max_overflow=0, timeout=2)
        fairies = []
        for _ in range(30):
            fairies.append(await borrow(pool))
            await asyncio.sleep(1)
        with pytest.raises(PoolTimeout, match="; and 27 more; ") as raised:
            await borrow(pool)
        seconds = [round(holder.seconds) for holder in raised.value.holders]
        assert seconds == list(range(32, 12, -1))
        assert len(pool.holders()) == 30, "holders() lists all"
        for each in fairies:
            await give_back(each)

    run(main())


def test_a_pool_closed_by_force_names_twenty_holders(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=30, max_overflow=0)
        fairies = [await borrow(pool) for _ in range(30)]
        await pool.close(timeout=1)
        for each in fairies:
            await give_back(each)

    run(main())
    (record,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "close: 30 connections not returned within 1.0 s" in record.getMessage()
    assert record.getMessage().count(" in main") == 20
    assert "; and 10 more; next:" in record.getMessage()


def test_an_error_is_freed_without_the_garbage_collector() -> None:
    """The error of a waiter is no part of a reference cycle of the pool."""

    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=2)
        await use(pool)
        held = await borrow(pool)
        errors: list[weakref.ref[BaseException]] = []

        async def wait() -> None:
            try:
                await loop_pool(pool).acquire()
            except PoolTimeout as error:
                errors.append(weakref.ref(error))

        gc.collect()
        gc.disable()
        try:
            await asyncio.create_task(wait())
            await loop_iterations(2)
            assert [each() for each in errors] == [None]
        finally:
            gc.enable()
        await give_back(held)

    run(main())


def test_a_waiter_that_was_served_is_not_kept_until_its_deadline() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=600)
        held = await borrow(pool)
        waiting = asyncio.ensure_future(use(pool))
        task = weakref.ref(waiting)
        await asyncio.sleep(1)
        await give_back(held)
        await waiting
        del waiting
        await loop_iterations(2)
        gc.collect()
        assert task() is None

    run(main())


def test_the_latest_idle_entry_is_found_without_a_search() -> None:
    class Entry:
        compared = 0

        def __eq__(self, other: object) -> bool:
            Entry.compared += 1
            return self is other

        __hash__ = None  # type: ignore[assignment]

    slots: Slots[Any] = Slots(Limits(200, 0))
    entries = [Entry() for _ in range(200)]
    for each in entries:
        slots.start_opening()
        slots.opened()
        slots.park(each)
    while slots.idle:
        assert slots.reserve(slots.idle[-1])
    assert Entry.compared == 0


def test_attempts_are_not_counted_one_by_one() -> None:
    class Attempt:
        read = 0

        def __init__(self, started: float) -> None:
            self._started = started

        @property
        def started(self) -> float:
            Attempt.read += 1
            return self._started

    async def main() -> None:
        connector = loop_pool(new_pool(Server())).connector
        connector._attempts = [Attempt(now() + 1000 - 100 + number / 10) for number in range(1001)]
        assert connector.expected == 10
        assert Attempt.read < 20
        connector._attempts = []
        assert connector.expected == 0

    run(main())


# ---------------------------------------------------------------------------- deadlines


def test_each_waiter_has_the_deadline_of_the_limit_it_began_with() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=30)
        held = await borrow(pool)
        ends: dict[float | None, float] = {}

        async def wait(limit: float | None) -> None:
            with pytest.raises((PoolTimeout, PoolClosed)):
                await borrow(pool)
            ends[limit] = now()

        tasks = []
        for limit in (30, None, 1, 5, 2):
            pool._timeout = limit
            tasks.append(asyncio.ensure_future(wait(limit)))
            await asyncio.sleep(0.1)
        await asyncio.sleep(40)
        await asyncio.gather(pool.close(timeout=1), *tasks)
        ended = {limit: pytest.approx(end) for limit, end in ends.items() if limit is not None}
        assert ended == {30: 30, 1: 1.2, 5: 5.3, 2: 2.4}
        await give_back(held)

    run(main())


def test_a_waiter_whose_connection_was_unusable_still_has_its_deadline() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=2)
        held = await borrow(pool)
        held.driver_connection.die(seen_by_probe=True)
        crowd = Crowd(pool, 3)
        await asyncio.sleep(1)
        server.usual = Connect(silent=True)
        await give_back(held)
        await crowd.end()
        assert now() == pytest.approx(2)
        assert crowd.ended == [0, 1, 2]
        assert {type(error) for error in crowd.errors.values()} == {PoolTimeout}

    run(main())


def test_a_waiter_that_finds_its_connection_dead_after_its_deadline_times_out_at_once() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=2)
        part = loop_pool(pool)
        entry = await part.acquire()
        (connection,) = server.open
        crowd = Crowd(pool, 2)
        await asyncio.sleep(1.5)
        server.usual = Connect(silent=True)
        virtual_loop().block(1)  # beyond the deadline
        part.checkin(entry)  # to the first waiter, which runs in the next turn
        part.queue.expire()
        connection.die(seen_by_probe=True)
        await crowd.end()
        assert now() == pytest.approx(2.5)
        assert crowd.ended == [1, 0]
        assert {type(error) for error in crowd.errors.values()} == {PoolTimeout}

    run(main())


def test_a_waiter_that_joins_again_keeps_its_number_and_its_deadline() -> None:
    """Also if it joins last, as in an overload: errors of earlier attempts still concern it."""

    async def main() -> None:
        part = loop_pool(new_pool(Server(), pool_size=1, max_overflow=0))
        queue, slots = part.queue, part.slots
        one, two = (Waiter(virtual_loop(), slots, now(), limit) for limit in (2.0, 2.0))
        for each in (one, two):
            queue.join(each)
        slots.dequeue(one)  # it is served, and its connection is unusable
        queue.rejoin(one, first=False)
        assert list(slots.waiters) == [two, one]
        assert (one.number, two.number, queue.joined) == (1, 2, 2)
        assert queue.fail_all(OSError("refused"), joined=1) == 1
        assert isinstance(one.future.exception(), OSError)
        assert list(slots.waiters) == [two]
        for each in (one, two):
            queue.deadlines.discard(each, 2.0)
        queue.stop_timer()
        two.future.cancel()

    run(main())


@given(st.lists(st.tuples(st.sampled_from("ajdpr"), st.integers(0, 9)), max_size=60))
@settings(max_examples=150, deadline=None)
def test_deadlines_agree_with_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    deadlines: Deadlines[SimpleNamespace] = Deadlines()
    present: list[Any] = []
    popped: list[Any] = []
    clock = 0.0
    for step, value in steps:
        clock += value / 4
        if step == "a":
            limit = float(1 + value % 3)
            waiter = _Waiter(limit, clock + limit)
            deadlines.add(waiter, limit, waiter.deadline)  # type: ignore[arg-type]
            present.append(waiter)
        elif step == "d" and present:
            waiter = present.pop(value % len(present))
            deadlines.discard(waiter, waiter.limit)
        elif step == "r" and popped:
            waiter = popped.pop(value % len(popped))
            deadlines.restore(waiter, waiter.limit, waiter.deadline)
            present.append(waiter)
        elif step == "p":
            found: Any = deadlines.pop_due(clock)
            due = [each for each in present if each.deadline <= clock]
            assert (found is None) == (not due)
            if found is not None:
                present.remove(found)
                popped.append(found)
        due_now = min((each.deadline for each in present), default=None)
        known = deadlines.next_due()
        if due_now is None or due_now > clock:
            assert known == due_now
        else:
            assert known is not None
            assert known <= clock


class _Waiter:
    def __init__(self, limit: float, deadline: float) -> None:
        self.limit = limit
        self.deadline = deadline
