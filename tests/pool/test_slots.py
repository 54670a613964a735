"""`Slots` without an event loop: fairness, counters, and cancelled waiters."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sqla_typedpool.pool import slots as module
from sqla_typedpool.pool.slots import Limits, Slots


class FakeWaiter:
    """A waiter that keeps the entry or the error it was given."""

    def __init__(self) -> None:
        self.entry: Any = None
        self.error: BaseException | None = None
        self.is_done = False

    def serve(self, entry: Any) -> bool:
        if self.is_done:
            return False
        self.entry = entry
        self.is_done = True
        return True

    def fail(self, error: BaseException) -> bool:
        if self.is_done:
            return False
        self.error = error
        self.is_done = True
        return True


def park(slots: Slots[str], entry: str) -> None:
    """A connection that was opened and is idle now."""
    slots.start_opening()
    slots.opened()
    slots.park(entry)


def new_slots(size: int = 3, overflow: int = 0, *, lifo: bool = True) -> Slots[str]:
    return Slots(Limits(size, overflow), lifo=lifo)


def test_an_entry_is_assigned_to_the_oldest_waiter_that_still_waits() -> None:
    slots = new_slots()
    done, second, third = FakeWaiter(), FakeWaiter(), FakeWaiter()
    done.is_done = True
    for each in (done, second, third):
        slots.enqueue(each)
    assert slots.assign("a")
    assert (second.entry, third.entry) == ("a", None)
    assert slots.in_use == 1
    assert list(slots.waiters) == [third]


def test_an_entry_is_assigned_to_the_newest_waiter_that_still_waits_if_that_is_asked_for() -> None:
    slots = new_slots()
    first, second, done = FakeWaiter(), FakeWaiter(), FakeWaiter()
    done.is_done = True
    for each in (first, second, done):
        slots.enqueue(each)
    assert slots.assign("a", newest=True)
    assert (first.entry, second.entry) == (None, "a")
    assert list(slots.waiters) == [first]


def test_an_entry_is_not_assigned_when_no_waiter_still_waits() -> None:
    slots = new_slots()
    done = FakeWaiter()
    done.is_done = True
    slots.enqueue(done)
    assert not slots.assign("a")
    assert slots.in_use == 0
    assert not slots.waiters


def test_an_error_goes_to_the_oldest_waiter_that_still_waits() -> None:
    slots = new_slots()
    done, second, third = FakeWaiter(), FakeWaiter(), FakeWaiter()
    done.is_done = True
    for each in (done, second, third):
        slots.enqueue(each)
    error = RuntimeError()
    assert slots.fail_oldest(error)
    assert second.error is error
    assert third.error is None
    assert slots.fail_oldest(error)
    assert not slots.fail_oldest(error)


def test_a_waiter_can_be_enqueued_at_the_head_of_the_queue() -> None:
    slots = new_slots()
    first, second = FakeWaiter(), FakeWaiter()
    slots.enqueue(second)
    slots.enqueue_again(first, first=True)
    assert [slots.position_of(each, 5) for each in (first, second)] == [0, 1]
    assert [slots.position_of(each, 5, newest=True) for each in (first, second)] == [1, 0]
    assert slots.position_of(first, 1, newest=True) == 1


def test_dequeuing_a_waiter_twice_raises_no_error() -> None:
    slots = new_slots()
    waiter = FakeWaiter()
    slots.enqueue(waiter)
    slots.dequeue(waiter)
    slots.dequeue(waiter)
    assert not slots.waiters


@pytest.mark.parametrize(("lifo", "order"), [(True, "cba"), (False, "abc")])
def test_the_next_idle_entry_is_the_one_that_is_taken(lifo: bool, order: str) -> None:
    slots = new_slots(lifo=lifo)
    for entry in "abc":
        park(slots, entry)
    taken = []
    while slots.idle:
        next_idle = slots.idle[slots.next_index]
        assert slots.checkout() == next_idle
        taken.append(next_idle)
    assert "".join(taken) == order
    assert slots.in_use == 3


def test_an_entry_can_be_reserved_only_once() -> None:
    slots = new_slots()
    park(slots, "a")
    assert slots.reserve("a")
    assert not slots.reserve("a")


@pytest.mark.parametrize(
    ("size", "overflow", "max_total"),
    [(5, 10, 15), (5, 0, 5), (0, 10, float("inf")), (5, -1, float("inf")), (0, 0, float("inf"))],
)
def test_the_stock_values_for_unlimited_are_honoured(
    size: int, overflow: int, max_total: float
) -> None:
    assert Limits(size, overflow).max_total == max_total


def test_a_changed_limit_applies_at_once() -> None:
    limits = Limits(1, 0)
    slots: Slots[str] = Slots(limits)
    park(slots, "a")
    assert not slots.has_free()
    limits.max_overflow = 1
    assert slots.has_free()


def test_the_slots_module_cannot_await() -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith))
    ]
    assert found == []


class SlotsAgainstAModel(RuleBasedStateMachine):
    """`Slots` and a model of plain lists agree after every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(3, 2)
        self.slots: Slots[int] = Slots(self.limits, lifo=True)
        self.idle: list[int] = []
        self.used: list[int] = []
        self.queue: list[FakeWaiter] = []
        self.busy = {"opening": 0, "validating": 0, "closing": 0}
        self.reserved: list[int] = []
        self.names = iter(range(10**9))

    @rule()
    def check_out(self) -> None:
        if self.slots.waiters or not self.slots.idle:
            waiter = FakeWaiter()
            self.slots.enqueue(waiter)
            self.queue.append(waiter)
        else:
            entry = self.slots.checkout()
            assert entry == self.idle.pop()
            self.used.append(entry)

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def check_in_to_idle(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.used))
        if not self.slots.waiters and len(self.idle) < self.slots.max_idle:
            self.slots.checkin_idle(entry)
            self.used.remove(entry)
            self.idle.append(entry)

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def check_in(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.used))
        self.used.remove(entry)
        self.slots.checkin()
        self.reserved.append(entry)

    @precondition(lambda self: self.reserved)
    @rule()
    def release(self) -> None:
        entry = self.reserved.pop()
        if self.slots.assign(entry):
            self._model_serves(entry)
        elif len(self.slots.idle) >= self.slots.max_idle:
            assert len(self.idle) >= self.limits.size
            self.slots.start_closing()
            self.busy["closing"] += 1
        else:
            self.slots.park(entry)
            self.idle.append(entry)

    def _model_serves(self, entry: int) -> None:
        while self.queue and self.queue[0].entry is None and self.queue[0].is_done:
            self.queue.pop(0)
        waiter = self.queue.pop(0)
        assert waiter.entry == entry, "the oldest waiter is served first"
        self.used.append(entry)

    @precondition(lambda self: self.queue)
    @rule(data=st.data(), dequeued=st.booleans())
    def cancel(self, data: st.DataObject, dequeued: bool) -> None:
        waiter = data.draw(st.sampled_from(self.queue))
        waiter.is_done = True
        if dequeued:
            self.slots.dequeue(waiter)
            self.queue.remove(waiter)

    @precondition(lambda self: self.queue)
    @rule()
    def fail_oldest(self) -> None:
        self.queue = [each for each in self.queue if not each.is_done]
        failed = self.slots.fail_oldest(RuntimeError())
        assert failed == bool(self.queue)
        if self.queue:
            assert self.queue.pop(0).error is not None

    @precondition(lambda self: self.slots.has_free())
    @rule()
    def open(self) -> None:
        self.slots.start_opening()
        self.busy["opening"] += 1

    @precondition(lambda self: self.busy["opening"])
    @rule(succeeds=st.booleans())
    def opened(self, succeeds: bool) -> None:
        self.busy["opening"] -= 1
        if succeeds:
            self.slots.opened()
            self.reserved.append(next(self.names))
        else:
            self.slots.opening_failed()

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def reserve(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.idle))
        assert self.slots.reserve(entry)
        self.idle.remove(entry)
        self.reserved.append(entry)

    @precondition(lambda self: self.reserved)
    @rule()
    def validate(self) -> None:
        self.reserved.pop()
        self.slots.start_validating()
        self.busy["validating"] += 1

    @precondition(lambda self: self.busy["validating"])
    @rule()
    def validated(self) -> None:
        self.busy["validating"] -= 1
        self.slots.validated()
        self.reserved.append(next(self.names))

    @precondition(lambda self: self.reserved)
    @rule()
    def close(self) -> None:
        self.reserved.pop()
        self.slots.start_closing()
        self.busy["closing"] += 1

    @precondition(lambda self: self.reserved)
    @rule()
    def release_empty(self) -> None:
        self.reserved.pop()
        self.slots.release_empty()

    @precondition(lambda self: self.used)
    @rule()
    def terminate(self) -> None:
        self.slots.start_terminating()
        self.busy["closing"] += 1

    @precondition(lambda self: self.busy["closing"])
    @rule()
    def closed(self) -> None:
        self.busy["closing"] -= 1
        self.slots.closed()

    @invariant()
    def both_agree(self) -> None:
        slots = self.slots
        assert list(slots.idle) == self.idle
        assert slots.in_use == len(self.used)
        assert slots.reserved == len(self.reserved)
        working = sum(self.busy.values()) + len(self.reserved)
        assert slots.total == len(self.idle) + len(self.used) + working
        assert slots.has_free() == (slots.total < self.limits.max_total)
        waiting = [each for each in slots.waiters if not each.is_done]  # type: ignore[attr-defined]
        assert waiting == [each for each in self.queue if not each.is_done]


SlotsAgainstAModel.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None
)
test_slots_agree_with_a_simple_model = SlotsAgainstAModel.TestCase
