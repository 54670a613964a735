"""The state of the pool, without a loop: fairness, counting, and what cancellation costs."""

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


class Customer:
    """A waiter that notes what it got."""

    def __init__(self) -> None:
        self.got: Any = None
        self.error: BaseException | None = None
        self.is_gone = False

    def serve(self, record: Any) -> bool:
        if self.is_gone:
            return False
        self.got = record
        self.is_gone = True
        return True

    def fail(self, error: BaseException) -> bool:
        if self.is_gone:
            return False
        self.error = error
        self.is_gone = True
        return True


def new_slots(size: int = 3, overflow: int = 0, *, lifo: bool = True) -> Slots[str]:
    return Slots(Limits(size, overflow), lifo=lifo)


def test_a_record_goes_to_the_oldest_waiter_that_is_still_there() -> None:
    slots = new_slots()
    gone, second, third = Customer(), Customer(), Customer()
    gone.is_gone = True
    for each in (gone, second, third):
        slots.join(each)
    assert slots.hand_over("a")
    assert (second.got, third.got) == ("a", None)
    assert slots.in_use == 1
    assert list(slots.waiters) == [third]


def test_nobody_there_means_the_record_stays_in_hand() -> None:
    slots = new_slots()
    gone = Customer()
    gone.is_gone = True
    slots.join(gone)
    assert not slots.hand_over("a")
    assert slots.in_use == 0
    assert not slots.waiters


def test_an_error_goes_to_the_oldest_waiter_that_is_still_there() -> None:
    slots = new_slots()
    gone, second, third = Customer(), Customer(), Customer()
    gone.is_gone = True
    for each in (gone, second, third):
        slots.join(each)
    error = RuntimeError()
    assert slots.fail_oldest(error)
    assert second.error is error
    assert third.error is None
    assert slots.fail_oldest(error)
    assert not slots.fail_oldest(error)


def test_one_served_in_vain_gets_its_place_back() -> None:
    slots = new_slots()
    first, second = Customer(), Customer()
    slots.join(second)
    slots.join(first, first=True)
    assert [slots.place_of(each) for each in (first, second)] == [0, 1]


def test_leaving_the_queue_twice_is_no_error() -> None:
    slots = new_slots()
    customer = Customer()
    slots.join(customer)
    slots.leave(customer)
    slots.leave(customer)
    assert not slots.waiters


@pytest.mark.parametrize(("lifo", "order"), [(True, "cba"), (False, "abc")])
def test_the_end_of_the_idle_row_that_is_used_is_the_one_that_is_shown(
    lifo: bool, order: str
) -> None:
    slots = new_slots(lifo=lifo)
    for record in "abc":
        slots.keep(record)
    taken = []
    while (shown := slots.next_idle()) is not None:
        assert slots.take() == shown
        taken.append(shown)
    assert "".join(taken) == order
    assert slots.in_use == 3


def test_claiming_what_is_gone_says_so() -> None:
    slots = new_slots()
    slots.keep("a")
    assert slots.claim("a")
    assert not slots.claim("a")


@pytest.mark.parametrize(
    ("size", "overflow", "most"),
    [(5, 10, 15), (5, 0, 5), (0, 10, float("inf")), (5, -1, float("inf")), (0, 0, float("inf"))],
)
def test_the_stock_words_for_unlimited_hold(size: int, overflow: int, most: float) -> None:
    assert Limits(size, overflow).most == most


def test_a_limit_changed_later_counts_at_once() -> None:
    limits = Limits(1, 0)
    slots: Slots[str] = Slots(limits)
    slots.in_use = 1
    assert not slots.has_room()
    limits.max_overflow = 1
    assert slots.has_room()


def test_slots_cannot_await() -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith))
    ]
    assert found == []


class SlotsAgainstAModel(RuleBasedStateMachine):
    """Slots next to plain lists: whatever is done, both agree."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(3, 2)
        self.slots: Slots[int] = Slots(self.limits, lifo=True)
        self.idle: list[int] = []
        self.used: list[int] = []
        self.queue: list[Customer] = []
        self.busy = {"opening": 0, "validating": 0, "closing": 0}
        self.in_hand: list[int] = []
        self.names = iter(range(10**9))

    # what a station does, in its parts

    @rule()
    def arrive(self) -> None:
        if self.slots.waiters or self.slots.next_idle() is None:
            customer = Customer()
            self.slots.join(customer)
            self.queue.append(customer)
        else:
            record = self.slots.take()
            assert record == self.idle.pop()
            self.used.append(record)

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        record = data.draw(st.sampled_from(self.used))
        self.used.remove(record)
        self.slots.in_use -= 1
        self.in_hand.append(record)

    @precondition(lambda self: self.in_hand)
    @rule()
    def place(self) -> None:
        record = self.in_hand.pop()
        if self.slots.hand_over(record):
            self._model_serves(record)
        elif self.slots.is_surplus():
            assert len(self.idle) >= self.limits.size
        else:
            self.slots.keep(record)
            self.idle.append(record)

    def _model_serves(self, record: int) -> None:
        while self.queue and self.queue[0].got is None and self.queue[0].is_gone:
            self.queue.pop(0)
        customer = self.queue.pop(0)
        assert customer.got == record, "not the oldest"
        self.used.append(record)

    @precondition(lambda self: self.queue)
    @rule(data=st.data(), politely=st.booleans())
    def give_up(self, data: st.DataObject, politely: bool) -> None:
        customer = data.draw(st.sampled_from(self.queue))
        customer.is_gone = True
        if politely:
            self.slots.leave(customer)
            self.queue.remove(customer)

    @precondition(lambda self: self.queue)
    @rule()
    def fail_one(self) -> None:
        self.queue = [each for each in self.queue if not each.is_gone]
        failed = self.slots.fail_oldest(RuntimeError())
        assert failed == bool(self.queue)
        if self.queue:
            assert self.queue.pop(0).error is not None

    @precondition(lambda self: self.slots.has_room())
    @rule()
    def open(self) -> None:
        self.slots.opening += 1
        self.busy["opening"] += 1

    @precondition(lambda self: self.busy["opening"])
    @rule(succeeds=st.booleans())
    def opened(self, succeeds: bool) -> None:
        self.slots.opening -= 1
        self.busy["opening"] -= 1
        if succeeds:
            self.in_hand.append(next(self.names))

    @precondition(lambda self: self.idle)
    @rule(data=st.data(), state=st.sampled_from(["validating", "closing"]))
    def claim(self, data: st.DataObject, state: str) -> None:
        record = data.draw(st.sampled_from(self.idle))
        assert self.slots.claim(record)
        self.idle.remove(record)
        setattr(self.slots, state, getattr(self.slots, state) + 1)
        self.busy[state] += 1

    @precondition(lambda self: self.busy["validating"] or self.busy["closing"])
    @rule()
    def done(self) -> None:
        state = "validating" if self.busy["validating"] else "closing"
        setattr(self.slots, state, getattr(self.slots, state) - 1)
        self.busy[state] -= 1

    @invariant()
    def both_agree(self) -> None:
        slots = self.slots
        assert list(slots.idle) == self.idle
        assert slots.in_use == len(self.used)
        assert slots.total() == len(self.idle) + len(self.used) + sum(self.busy.values())
        assert slots.total() + len(self.in_hand) >= slots.total()
        assert slots.has_room() == (slots.total() < self.limits.most)
        waiting = [each for each in slots.waiters if not each.is_gone]  # type: ignore[attr-defined]
        assert waiting == [each for each in self.queue if not each.is_gone]


SlotsAgainstAModel.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None
)
test_slots_agree_with_a_simple_model = SlotsAgainstAModel.TestCase
