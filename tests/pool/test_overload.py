"""`ServiceOrder` and `Shedding`, without a pool."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sqla_typedpool.pool import overload as module
from sqla_typedpool.pool.overload import Overload, ServiceOrder, Shedding


def no_guard() -> float:
    """The age of an oldest waiter that the guard does not serve."""
    return 0.0


class Recorder:
    """A `ServiceOrder` with a clock, and the reports of its overloads."""

    def __init__(self, *, is_adaptive: bool = True) -> None:
        self.now = 100.0
        self.reports: list[tuple[float, float | None]] = []
        self.last: Overload | None = None
        self.order = ServiceOrder(is_adaptive=is_adaptive, on_change=self._changed)

    def _changed(self, overload: Overload) -> None:
        self.last = overload
        self.reports.append((overload.began_at, overload.ended_at))

    def hand_over(self, count: int = 1, *, gave_up: int = 0, every: float = 0.01) -> list[bool]:
        """Hand over so often; before each one so many waiters give up at the age of 0.5 s."""
        newest = []
        for _ in range(count):
            self.now += every
            for _ in range(gave_up):
                self.order.waiter_gave_up(0.5, self.now)
            newest.append(self.order.serves_newest(self.now, no_guard))
        return newest

    @property
    def overloads(self) -> int:
        """How many have begun."""
        return sum(ended_at is None for _, ended_at in self.reports)

    def is_overloaded(self, *, has_waiters: bool = True) -> bool:
        return self.order.is_overloaded(self.now, has_waiters=has_waiters)


def overloaded() -> Recorder:
    """An order in which an overload has just begun."""
    recorder = Recorder()
    recorder.hand_over(16, gave_up=1)
    assert recorder.is_overloaded()
    return recorder


# -------------------------------------------------------------------------- the order


def test_the_oldest_is_served_while_no_caller_gives_up() -> None:
    recorder = Recorder()
    assert not any(recorder.hand_over(1000))
    assert not recorder.is_overloaded()


def test_an_overload_begins_with_the_sixteenth_hand_over_before_which_a_caller_gave_up() -> None:
    recorder = Recorder()
    assert not any(recorder.hand_over(15, gave_up=1))
    assert recorder.hand_over(1, gave_up=1) == [True]
    assert recorder.overloads == 1


def test_an_overload_begins_when_callers_give_up_before_one_hand_over_in_four() -> None:
    recorder = Recorder()
    for _ in range(16):
        recorder.hand_over(3)
        recorder.hand_over(1, gave_up=1)
    assert recorder.is_overloaded()


def test_no_overload_begins_when_callers_give_up_before_one_hand_over_in_five() -> None:
    recorder = Recorder()
    for _ in range(100):
        recorder.hand_over(4)
        recorder.hand_over(1, gave_up=1)
    assert not recorder.is_overloaded()


def test_a_thousand_callers_cancelled_before_one_hand_over_begin_no_overload() -> None:
    recorder = Recorder()
    assert recorder.hand_over(1, gave_up=1000) == [False]


def test_callers_cancelled_in_one_moment_begin_no_overload_among_many_hand_overs() -> None:
    recorder = Recorder()
    recorder.hand_over(1000, gave_up=1, every=0.00005)  # in 50 ms
    recorder.hand_over(1000, every=0.001)
    assert not recorder.is_overloaded()


def test_two_groups_cancelled_one_after_the_other_begin_no_overload() -> None:
    recorder = Recorder()
    for _ in range(2):
        recorder.hand_over(1000, gave_up=1, every=0.00005)
        recorder.hand_over(32, every=0.01)
    assert not recorder.is_overloaded()


def test_an_overload_of_a_large_pool_begins_after_a_tenth_of_a_second() -> None:
    recorder = Recorder()
    recorder.hand_over(990, gave_up=1, every=0.0001)
    assert not recorder.is_overloaded()
    recorder.hand_over(30, gave_up=1, every=0.0001)
    assert recorder.is_overloaded()


def test_fifo_serves_the_oldest_whatever_happens() -> None:
    recorder = Recorder(is_adaptive=False)
    assert not any(recorder.hand_over(1000, gave_up=10))
    recorder.order.borrower_gave_up(1.0, 0.1, recorder.now)
    assert (recorder.is_overloaded(), recorder.overloads) == (False, 0)


@pytest.mark.parametrize(
    ("waited", "held", "counts"),
    [(0.45, 0.05, True), (0.2, 0.3, True), (0.1, 0.4, False), (0.0, 0.5, False), (0.0, 0.0, False)],
)
def test_a_cancelled_borrower_counts_if_it_waited_for_a_good_part_of_its_time(
    waited: float, held: float, counts: bool
) -> None:
    recorder = Recorder()
    for _ in range(16):
        recorder.order.borrower_gave_up(waited, held, recorder.now)
        recorder.hand_over()
    assert recorder.is_overloaded() is counts


def test_the_patience_approaches_the_age_at_which_waiters_give_up_now() -> None:
    order = ServiceOrder()
    order.waiter_gave_up(4.0, 0.0)
    assert order.patience == 4.0
    for _ in range(100):
        order.waiter_gave_up(0.5, 0.0)
    assert order.patience == pytest.approx(0.5, abs=0.01)


def test_a_batch_that_was_cancelled_after_minutes_does_not_keep_a_later_overload_from_its_end() -> (
    None
):
    recorder = Recorder()
    recorder.order.waiter_gave_up(300.0, recorder.now)
    recorder.hand_over(65)  # until it is forgotten
    recorder.hand_over(16, gave_up=1)
    assert recorder.is_overloaded()
    assert recorder.order.patience == pytest.approx(0.5)
    recorder.now += 1.0
    assert not recorder.is_overloaded(has_waiters=False)


# ---------------------------------------------------------------------------- the end


def test_an_overload_ends_when_no_caller_has_given_up_for_a_while() -> None:
    recorder = overloaded()
    recorder.hand_over(65)  # 0.65 s
    assert recorder.is_overloaded()
    recorder.hand_over(6)
    assert not recorder.is_overloaded()
    assert not any(recorder.hand_over(10))


def test_an_overload_does_not_end_while_waiters_may_still_give_up() -> None:
    recorder = overloaded()
    for _ in range(100):
        recorder.order.waiter_gave_up(2.0, recorder.now)
    recorder.hand_over(190)
    assert recorder.is_overloaded()
    recorder.hand_over(15)
    assert not recorder.is_overloaded()


def test_an_overload_of_slow_statements_does_not_end_between_two_hand_overs() -> None:
    recorder = overloaded()
    recorder.hand_over(31, every=1.0)
    assert recorder.is_overloaded()
    recorder.hand_over(1, every=1.0)
    assert not recorder.is_overloaded()


def test_an_overload_after_which_no_waiter_comes_is_over_without_a_call() -> None:
    recorder = overloaded()
    assert recorder.is_overloaded(has_waiters=False)
    recorder.now += 1.0
    assert not recorder.is_overloaded(has_waiters=False)


def test_the_end_of_an_overload_after_which_no_waiter_comes_is_reported_once() -> None:
    recorder = overloaded()
    for _ in range(3):
        recorder.order.end_if_over(recorder.now, has_waiters=False)
    assert len(recorder.reports) == 1
    recorder.now += 1.0
    for _ in range(3):
        recorder.order.end_if_over(recorder.now, has_waiters=False)
    assert len(recorder.reports) == 2


def test_a_batch_that_begins_after_an_overload_is_served_in_order() -> None:
    recorder = overloaded()
    recorder.now += 1.0
    recorder.order.joined_empty_queue(recorder.now)
    assert not any(recorder.hand_over(100))


def test_history_without_an_overload_is_forgotten_too() -> None:
    recorder = Recorder()
    recorder.hand_over(15, gave_up=1)
    recorder.now += 1.0
    recorder.order.joined_empty_queue(recorder.now)
    assert not any(recorder.hand_over(15, gave_up=1))


def test_a_caller_that_gave_up_alone_long_ago_is_forgotten_too() -> None:
    """It was the only one in the queue, so no hand-over followed."""
    recorder = Recorder()
    recorder.order.waiter_gave_up(300.0, recorder.now)
    recorder.now += 3600.0
    recorder.order.joined_empty_queue(recorder.now)
    recorder.hand_over(1000, gave_up=1, every=0.00005)  # one group, cancelled in 50 ms
    assert not recorder.is_overloaded()
    assert recorder.order.patience == pytest.approx(0.5)


def test_an_empty_queue_does_not_end_an_overload_in_which_callers_give_up() -> None:
    recorder = overloaded()
    recorder.order.joined_empty_queue(recorder.now + 0.1)
    assert recorder.is_overloaded()


# ------------------------------------------------------------------ guard and reports


def test_one_hand_over_in_four_goes_to_an_oldest_that_does_not_give_up() -> None:
    recorder = overloaded()

    def newest(age: float) -> list[bool]:
        return [recorder.order.serves_newest(recorder.now, lambda: age) for _ in range(8)]

    assert newest(1.0).count(False) == 0  # twice the patience
    assert newest(1.01).count(False) == 2


def test_the_reports_have_the_numbers_of_the_overload() -> None:
    recorder = overloaded()
    began = recorder.now
    recorder.hand_over(9, gave_up=2)
    recorder.hand_over(80)
    assert recorder.last is not None
    assert (recorder.last.gave_up, recorder.last.patience) == (18, 0.5)
    assert 70 < recorder.last.served <= 90
    assert [start for start, _ in recorder.reports] == [began, began]
    assert recorder.last.ended_at is not None
    assert recorder.last.ended_at == pytest.approx(began + 0.09 + 0.7, abs=0.02)


def test_the_module_uses_no_clock_and_no_loop() -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "collections.abc", "dataclasses", "math"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]


# --------------------------------------------------------------------------- shedding

LIMIT = 0.2  # pool_shed_after


def shed(shedding: Shedding, now: float, age: float, waiting: int = 100) -> int:
    """Hand over once; return how many waiters of this age are refused."""
    shedding.handed_over(now, age)
    refused = 0
    while shedding.refuses(age, waiting - refused):
        refused += 1
    return refused


def shedding_since(now: float) -> Shedding:
    """A queue that has been too long for two seconds at that time."""
    shedding = Shedding(LIMIT)
    assert shed(shedding, now - 2.0, LIMIT) == 0
    return shedding


def test_no_caller_is_refused_before_the_queue_was_too_long_for_two_seconds() -> None:
    shedding = Shedding(LIMIT)
    refused = [shed(shedding, hundredth / 100, LIMIT) for hundredth in range(201)]
    assert refused == [0] * 200 + [1]


def test_a_young_oldest_waiter_starts_the_two_seconds_anew() -> None:
    shedding = Shedding(LIMIT)
    shed(shedding, 0.0, LIMIT)
    shed(shedding, 1.9, LIMIT - 0.01)
    assert shed(shedding, 2.1, LIMIT) == 0
    assert shed(shedding, 4.2, LIMIT) == 1


def test_the_rate_of_refusals_grows() -> None:
    shedding = shedding_since(100.0)
    refused = [shed(shedding, 100.0, LIMIT) for _ in range(40)]
    assert refused[:5] == [1, 0, 0, 0, 1]
    assert sum(refused[:10]) < sum(refused[10:20]) < sum(refused[20:30]) < sum(refused[30:])


def test_a_young_waiter_is_not_refused() -> None:
    shedding = shedding_since(100.0)
    assert shed(shedding, 100.0, LIMIT) == 1
    assert sum(shed(shedding, 100.0, LIMIT - 0.01) for _ in range(100)) == 0


def test_refusals_that_were_not_needed_are_not_made_up_for() -> None:
    shedding = shedding_since(100.0)
    for _ in range(40):
        shed(shedding, 100.0, LIMIT)
    at_once = max(shed(shedding, 100.0, LIMIT) for _ in range(5))
    for _ in range(1000):
        shed(shedding, 100.0, 0.0)
    assert shed(shedding, 100.0, LIMIT) <= at_once + 1


def test_the_only_waiter_is_served_however_old_it_is() -> None:
    shedding = shedding_since(100.0)
    assert shed(shedding, 100.0, 10.0, waiting=1) == 0
    assert shed(shedding, 100.0, 10.0, waiting=2) == 1


def test_a_batch_long_after_a_long_queue_is_not_refused() -> None:
    shedding = Shedding(LIMIT)
    shed(shedding, 0.0, LIMIT)
    shedding.joined_empty_queue(3600.0)
    assert shed(shedding, 3600.5, LIMIT) == 0


def test_a_batch_long_after_a_period_of_shedding_is_not_refused() -> None:
    shedding = shedding_since(100.0)
    assert shed(shedding, 100.0, LIMIT) == 1
    shedding.joined_empty_queue(101.9)
    assert shedding.is_shedding
    shedding.joined_empty_queue(3600.0)
    assert shed(shedding, 3600.5, LIMIT) == 0


def test_shedding_goes_on_while_statements_are_slow() -> None:
    shedding = shedding_since(100.0)
    assert [shed(shedding, 100.0 + 5 * turn, LIMIT) for turn in range(5)] == [1, 0, 0, 0, 1]


def test_shedding_ends_when_the_queue_was_short_for_two_seconds() -> None:
    shedding = shedding_since(100.0)
    shed(shedding, 100.0, LIMIT)
    shed(shedding, 101.9, 0.0)
    assert shedding.is_shedding
    shed(shedding, 102.0, 0.0)
    assert not shedding.is_shedding
    assert shed(shedding, 102.1, LIMIT) == 0
