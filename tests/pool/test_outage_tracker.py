"""`OutageTracker` without an event loop: when an outage begins and ends, and what is logged."""

from __future__ import annotations

import pytest

from sqla_typedpool.pool.connect_rules import ErrorKind
from sqla_typedpool.pool.log import LogEvent
from sqla_typedpool.pool.outages import AttemptStart, Outage, OutageTracker

ERROR = ConnectionRefusedError(111, "Connect call failed")
BEGAN, CONTINUES = LogEvent.OUTAGE_BEGAN, LogEvent.OUTAGE_CONTINUES


class Tracked:
    """A tracker, and the lines that are due after each failed attempt."""

    def __init__(self) -> None:
        self.tracker = OutageTracker()
        self.failed_checkouts = 0
        self.lines: list[tuple[float, LogEvent]] = []

    def fail(
        self, now: float, kind: ErrorKind = ErrorKind.TRANSIENT, *, started: float | None = None
    ) -> None:
        self.tracker.failed(ERROR, kind, self.start(now if started is None else started), now)
        self.note(now)

    def be_silent(self, started: float, now: float) -> None:
        self.tracker.silent(self.start(started), now)
        self.note(now)

    def start(self, at: float) -> AttemptStart:
        return AttemptStart(at, self.failed_checkouts)

    def note(self, now: float) -> None:
        line = self.tracker.due_line(now, self.failed_checkouts)
        if line is not None:
            self.lines.append((now, line))


def test_a_failed_attempt_that_is_retried_successfully_at_once_is_no_line() -> None:
    tracked = Tracked()
    tracked.fail(10.0)
    tracked.fail(10.02)
    assert tracked.tracker.seconds(10.02) == pytest.approx(0.02)
    ended = tracked.tracker.end(10.04, 0)
    assert tracked.lines == []
    assert ended is not None
    assert not ended.is_logged


def test_an_outage_is_logged_when_it_has_lasted_for_half_a_second() -> None:
    tracked = Tracked()
    for now in (10.0, 10.2, 10.4, 10.6, 10.8):
        tracked.fail(now)
    assert tracked.lines == [(10.6, BEGAN)]


def test_an_outage_is_logged_at_once_when_a_checkout_has_failed() -> None:
    tracked = Tracked()
    start = tracked.start(10.0)
    tracked.failed_checkouts = 1
    tracked.tracker.failed(ERROR, ErrorKind.TRANSIENT, start, 10.0)
    tracked.note(10.0)
    assert tracked.lines == [(10.0, BEGAN)]


def test_checkouts_that_failed_before_an_outage_are_not_counted() -> None:
    tracked = Tracked()
    tracked.failed_checkouts = 7
    tracked.fail(10.0)
    assert tracked.lines == []
    tracked.failed_checkouts = 9
    tracked.fail(10.1)
    assert tracked.lines == [(10.1, BEGAN)]
    ended = tracked.tracker.end(11.0, 10)
    assert ended is not None
    assert ended.failed_checkouts == 3


def test_a_fatal_error_is_logged_at_once() -> None:
    tracked = Tracked()
    tracked.fail(10.0, ErrorKind.FATAL)
    assert tracked.lines == [(10.0, BEGAN)]


def test_a_server_that_does_not_answer_is_logged_after_three_seconds() -> None:
    tracked = Tracked()
    for now in (11.0, 12.0, 13.0):
        tracked.be_silent(10.0, now)
    assert tracked.lines == [(13.0, BEGAN)]
    assert tracked.tracker.last_error_text == (
        "TimeoutError('the server has not answered for 3.0 s')"
    )


def test_a_slow_server_that_answers_is_no_line() -> None:
    tracked = Tracked()
    tracked.be_silent(10.0, 11.0)
    ended = tracked.tracker.end(11.5, 0)
    assert tracked.lines == []
    assert ended is not None
    assert not ended.is_logged


def test_an_attempt_that_hung_for_ten_seconds_and_failed_is_logged_at_once() -> None:
    """There was no waiter, so that nobody has noticed that the attempt was silent."""
    tracked = Tracked()
    tracked.fail(20.0, started=10.0)
    assert tracked.lines == [(20.0, BEGAN)]
    assert tracked.tracker.seconds(20.0) == 10.0


def test_the_intervals_between_the_lines_grow_to_five_minutes() -> None:
    tracked = Tracked()
    for second in range(2000):
        tracked.fail(float(second))
    times = [now for now, _ in tracked.lines]
    assert [line for _, line in tracked.lines] == [BEGAN] + [CONTINUES] * (len(times) - 1)
    assert times[:7] == [1, 6, 12, 24, 48, 96, 192]
    assert {times[8] - times[7], times[9] - times[8], times[10] - times[9]} == {300}


def test_the_end_of_an_outage_has_its_numbers() -> None:
    tracked = Tracked()
    assert tracked.tracker.end(9.0, 0) is None
    tracked.fail(10.0)
    tracked.tracker.silent(tracked.start(11.0), 13.0, is_abandoned=True)
    tracked.fail(14.0)
    tracked.failed_checkouts = 5
    ended = tracked.tracker.end(22.0, 5)
    assert ended == Outage(22.0, 12.0, 3, 5, repr(ERROR), is_logged=True)
    assert tracked.tracker.last_outage == ended
    assert tracked.tracker.last_error is None
    assert tracked.tracker.seconds(23.0) == 0.0
    assert tracked.tracker.end(24.0, 5) is None


def test_an_outage_without_a_failed_attempt_for_a_minute_counts_no_more() -> None:
    tracked = Tracked()
    tracked.fail(10.0)
    tracked.fail(11.0)
    assert tracked.tracker.seconds(71.0) == 61.0
    assert tracked.tracker.seconds(71.1) == 0.0
    tracked.fail(100.0)
    tracked.fail(101.0)
    assert tracked.lines == [(11.0, BEGAN), (101.0, BEGAN)]
    assert tracked.tracker.seconds(101.0) == 1.0


def test_the_pauses_of_attempts_without_a_waiter_do_not_begin_an_outage_anew() -> None:
    tracked = Tracked()
    now = 0.0
    for pause in (1, 2, 4, 8, 16, 31, 31, 31, 31):
        tracked.fail(now)
        now += pause
    assert [line for _, line in tracked.lines].count(BEGAN) == 1


def test_the_text_of_the_last_error_has_no_password() -> None:
    tracker = OutageTracker()
    error = ConnectionError("cannot connect to postgresql://app:sec@ret@db:5432/shop")
    tracker.failed(error, ErrorKind.TRANSIENT, AttemptStart(0.0, 0), 0.0)
    assert tracker.last_error_text is not None
    assert "ret" not in tracker.last_error_text.replace("postgresql", "")
    ended = tracker.end(1.0, 0)
    assert ended is not None
    assert "sec" not in ended.error
