"""`ConnectPolicy` without an event loop: growth, backoff, and which waiters get an error."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqla_typedpool.pool.connect_policy import Affected, ConnectPolicy, Decision
from sqla_typedpool.pool.connect_rules import ErrorKind

RETRY = 5.0  # pool_connect_retry


def fail(
    policy: ConnectPolicy,
    now: float,
    kind: ErrorKind = ErrorKind.TRANSIENT,
    *,
    started: float | None = None,
    working: int = 0,
) -> Decision:
    """An attempt fails at this time; it began then as well, unless `started` is given."""
    return policy.failed(kind, now if started is None else started, now, working)


def policy_in_an_outage(age: float) -> ConnectPolicy:
    """A policy whose outage began at 0, and whose next failure at `age` is part of it."""
    policy = ConnectPolicy(RETRY)
    fail(policy, 0.0)
    for second in range(1, int(age)):
        fail(policy, float(second))
    return policy


# ----------------------------------------------------------------------- growth


def test_two_attempts_may_run_at_first() -> None:
    assert ConnectPolicy(RETRY).parallel == 2


def test_each_success_doubles_the_attempts_while_waiters_remain() -> None:
    policy = ConnectPolicy(RETRY)
    seen = []
    for _ in range(12):
        policy.demand_after_success(remains=True)
        seen.append(policy.parallel)
    assert seen == [4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024, 1024]


def test_growth_starts_again_with_two_attempts_when_no_waiter_remains() -> None:
    policy = ConnectPolicy(RETRY)
    for _ in range(5):
        policy.demand_after_success(remains=True)
    policy.demand_after_success(remains=False)
    assert policy.parallel == 2


@pytest.mark.parametrize("kind", ErrorKind)
def test_one_attempt_may_run_after_a_failure(kind: ErrorKind) -> None:
    policy = ConnectPolicy(RETRY)
    for _ in range(5):
        policy.demand_after_success(remains=True)
    fail(policy, 1.0, kind)
    assert policy.parallel == 1
    policy.demand_after_success(remains=True)
    assert policy.parallel == 2


def test_a_failure_that_the_server_has_outdated_does_not_slow_the_growth() -> None:
    policy = ConnectPolicy(RETRY)
    policy.succeeded(10.0, 10.1)
    policy.demand_after_success(remains=True)
    fail(policy, 11.0, started=9.0)
    assert policy.parallel == 4


# ---------------------------------------------------------------------- backoff


@pytest.mark.parametrize(
    ("age", "pause"),
    [(0.0, 0.01), (0.04, 0.01), (0.1, 0.02), (1.0, 0.2), (3.0, 0.6), (5.0, 1.0), (20.0, 1.0)],
)
def test_the_pause_is_a_fifth_of_the_age_of_the_outage_within_limits(
    age: float, pause: float
) -> None:
    policy = ConnectPolicy(retry=60.0)
    fail(policy, 0.0)
    assert fail(policy, age).pause == pytest.approx(pause)


def test_the_last_pause_ends_when_pool_connect_retry_has_passed() -> None:
    policy = policy_in_an_outage(4.0)
    assert fail(policy, 4.6).pause == pytest.approx(0.4)


def test_an_outage_begins_anew_after_a_success() -> None:
    policy = policy_in_an_outage(4.0)
    policy.succeeded(4.0, 4.1)
    assert fail(policy, 10.0) == Decision(Affected.NONE, 0.01)
    assert fail(policy, 14.0).affected is Affected.NONE


def test_an_outage_is_forgotten_after_thirty_seconds_without_an_attempt() -> None:
    policy = policy_in_an_outage(4.0)
    last = 4.9
    fail(policy, last)
    assert fail(policy, last + 30.0).affected is Affected.JOINED_BEFORE, "it is the same outage"
    assert fail(policy, last + 60.1) == Decision(Affected.NONE, 0.01)


# ----------------------------------------------------- which waiters to fail


@pytest.mark.parametrize(
    ("kind", "working", "age", "expected"),
    [
        (ErrorKind.TRANSIENT, 0, 0.0, Affected.NONE),
        (ErrorKind.TRANSIENT, 1, 0.0, Affected.NONE),
        (ErrorKind.TRANSIENT, 0, 4.9, Affected.NONE),
        (ErrorKind.TRANSIENT, 0, 5.0, Affected.JOINED_BEFORE),
        (ErrorKind.TRANSIENT, 1, 5.0, Affected.JOINED_BEFORE),
        (ErrorKind.FULL, 0, 0.0, Affected.NONE),
        (ErrorKind.FULL, 1, 0.0, Affected.NONE),
        (ErrorKind.FULL, 0, 5.0, Affected.JOINED_BEFORE),
        (ErrorKind.FULL, 1, 5.0, Affected.NONE),
        (ErrorKind.FATAL, 0, 0.0, Affected.JOINED_BEFORE),
        (ErrorKind.FATAL, 1, 0.0, Affected.OLDEST),
        (ErrorKind.FATAL, 0, 5.0, Affected.JOINED_BEFORE),
        (ErrorKind.FATAL, 1, 5.0, Affected.OLDEST),
        (ErrorKind.UNKNOWN, 0, 0.0, Affected.JOINED_BEFORE),
        (ErrorKind.UNKNOWN, 1, 0.0, Affected.NONE),
        (ErrorKind.UNKNOWN, 0, 5.0, Affected.JOINED_BEFORE),
        (ErrorKind.UNKNOWN, 1, 5.0, Affected.NONE),
    ],
)
def test_which_waiters_fail_depends_on_the_kind_of_error_the_working_connections_and_the_age(
    kind: ErrorKind, working: int, age: float, expected: Affected
) -> None:
    policy = policy_in_an_outage(age)
    assert fail(policy, age, kind, working=working).affected is expected


def test_the_pause_after_unknown_errors_grows_to_a_second_while_a_connection_works() -> None:
    policy = ConnectPolicy(RETRY)
    pauses = [fail(policy, now, ErrorKind.UNKNOWN, working=1).pause for now in (0, 0.1, 1, 5, 60)]
    assert pauses == pytest.approx([0.01, 0.02, 0.2, 1.0, 1.0])


def test_the_next_attempt_waits_a_moment_after_a_fatal_error_that_only_one_waiter_gets() -> None:
    policy = ConnectPolicy(RETRY)
    assert fail(policy, 1.0, ErrorKind.FATAL, working=3) == Decision(Affected.OLDEST, 0.1)
    assert fail(policy, 2.0, ErrorKind.FATAL) == Decision(Affected.JOINED_BEFORE)


def test_a_full_server_is_tried_again_each_second_while_a_connection_is_in_use() -> None:
    policy = policy_in_an_outage(100.0)
    assert fail(policy, 100.0, ErrorKind.FULL, working=1) == Decision(Affected.NONE, 1.0)


def test_with_a_retry_time_of_zero_waiters_get_the_first_error() -> None:
    assert fail(ConnectPolicy(0.0), 1.0) == Decision(Affected.JOINED_BEFORE)


@pytest.mark.parametrize("kind", [ErrorKind.FATAL, ErrorKind.UNKNOWN])
def test_an_error_that_is_not_retried_does_not_shorten_the_time_of_later_retries(
    kind: ErrorKind,
) -> None:
    policy = ConnectPolicy(RETRY)
    fail(policy, 0.0, kind)
    assert fail(policy, 6.0) == Decision(Affected.NONE, 0.01)


@pytest.mark.parametrize("kind", ErrorKind)
def test_no_waiter_gets_the_error_of_an_attempt_that_began_before_the_last_success(
    kind: ErrorKind,
) -> None:
    """It may have hung for long, and the server has answered since."""
    policy = ConnectPolicy(RETRY)
    policy.succeeded(10.0, 10.1)
    assert fail(policy, 30.0, kind, started=9.9) == Decision(Affected.NONE, None)
    assert policy.is_outdated(9.9)
    assert not policy.is_outage
    assert policy.may_refill(30.0)


def test_an_attempt_as_old_as_the_last_success_counts() -> None:
    policy = ConnectPolicy(RETRY)
    policy.succeeded(10.0, 10.1)
    assert fail(policy, 10.2, ErrorKind.FATAL, started=10.0).affected is Affected.JOINED_BEFORE


def test_a_late_success_of_an_older_attempt_does_not_revive_what_a_newer_one_outdated() -> None:
    policy = ConnectPolicy(RETRY)
    policy.succeeded(10.0, 10.1)
    policy.succeeded(5.0, 10.2)
    assert fail(policy, 11.0, ErrorKind.FATAL, started=9.0).affected is Affected.NONE


# ----------------------------------------------------------------------- refill


def test_a_refill_may_start_at_any_time_until_an_attempt_fails() -> None:
    assert ConnectPolicy(RETRY).may_refill(float("-inf"))


def test_the_pause_of_a_refill_doubles_up_to_thirty_seconds() -> None:
    policy = ConnectPolicy(RETRY)
    for number, pause in enumerate([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]):
        now = 100.0 * number
        fail(policy, now)
        assert not policy.may_refill(now + pause - 0.01)
        assert policy.may_refill(now + pause)


def test_a_success_ends_the_pause_of_a_refill_and_its_growth() -> None:
    policy = ConnectPolicy(RETRY)
    for now in range(5):
        fail(policy, float(now))
    assert not policy.may_refill(5.0)
    policy.succeeded(4.9, 5.0)
    assert policy.may_refill(5.0)
    fail(policy, 6.0)
    assert not policy.may_refill(6.9)
    assert policy.may_refill(7.0)


def test_a_cancelled_attempt_delays_a_refill_and_is_no_failure() -> None:
    policy = ConnectPolicy(RETRY)
    policy.cancelled(10.0)
    assert not policy.may_refill(10.9)
    assert policy.may_refill(11.0)
    assert (policy.is_outage, policy.parallel) == (False, 2)


# -------------------------------------------------------------- silent attempts


@pytest.mark.parametrize(
    ("connect_time", "silent_after"), [(0.01, 1.0), (0.5, 1.0), (0.9, 1.8), (1.5, 3.0), (9.0, 3.0)]
)
def test_an_attempt_is_silent_after_twice_the_time_of_the_last_success_within_limits(
    connect_time: float, silent_after: float
) -> None:
    policy = ConnectPolicy(RETRY)
    assert policy.silent_after == 1.0
    policy.succeeded(0.0, connect_time)
    assert policy.silent_after == pytest.approx(silent_after)


def test_no_attempt_is_abandoned_before_it_is_silent() -> None:
    policy = ConnectPolicy(RETRY)
    assert policy.to_abandon([], 10.0, 8.0) is None
    assert policy.to_abandon([9.1, 9.2, 9.3], 10.0, 8.0) is None


def test_the_second_oldest_of_several_silent_attempts_is_abandoned() -> None:
    """The oldest is the next to be answered by a slow server."""
    policy = ConnectPolicy(RETRY)
    assert policy.to_abandon([1.0, 2.0, 3.0, 9.5], 10.0, 8.0) == 1
    assert policy.to_abandon([1.0, 9.0], 10.0, 8.0) == 1


def test_the_patience_with_the_only_silent_attempt_doubles_up_to_a_limit() -> None:
    policy = ConnectPolicy(RETRY)
    for patience in (1.0, 2.0, 4.0, 8.0, 8.0):
        assert policy.to_abandon([0.0], patience - 0.01, 8.0) is None
        assert policy.to_abandon([0.0], patience, 8.0) == 0


def test_a_success_resets_the_patience() -> None:
    policy = ConnectPolicy(RETRY)
    for patience in (1.0, 2.0, 4.0):
        assert policy.to_abandon([0.0], patience, 8.0) == 0
    policy.succeeded(10.0, 10.1)
    assert policy.to_abandon([20.0], 21.0, 8.0) == 0


@pytest.mark.parametrize(
    ("connect_timeout", "checkout_timeout", "expected"),
    [
        (10.0, None, 10.0),
        (10.0, 0.0, 10.0),
        (10.0, -1.0, 10.0),
        (10.0, 30.0, 10.0),
        (10.0, 5.0, 4.0),
        (10.0, 0.5, 1.0),
        (0.5, 5.0, 0.5),
    ],
)
def test_the_longest_patience_leaves_a_checkout_time_for_a_fresh_attempt(
    connect_timeout: float, checkout_timeout: float | None, expected: float
) -> None:
    policy = ConnectPolicy(RETRY)
    assert policy.max_patience(connect_timeout, checkout_timeout) == pytest.approx(expected)


def test_a_success_supersedes_silent_attempts_that_began_before_it_and_no_others() -> None:
    policy = ConnectPolicy(RETRY)
    starts = [1.0, 2.0, 8.0, 9.5]
    assert policy.superseded(starts, success=8.0, now=10.0) == [0, 1]
    assert policy.superseded(starts, success=9.8, now=10.0) == [0, 1, 2]
    assert policy.superseded(starts, success=0.5, now=10.0) == []
    assert policy.superseded([], success=9.0, now=10.0) == []


# -------------------------------------------------------- any sequence of results


@dataclass
class Observer:
    """The state of the outage, computed from the sequence of results alone."""

    since: float | None = None  # of the present outage
    last_failure: float | None = None
    last_success_started: float | None = None

    def failed(self, now: float) -> None:
        is_new = self.last_failure is None or now - self.last_failure > 30
        if self.since is None or is_new:
            self.since = now
        self.last_failure = now

    def succeeded(self, started: float) -> None:
        self.since = None
        self.last_success_started = max(started, self.last_success_started or started)


@dataclass
class Result:
    """One attempt and what came of it."""

    seconds_later: float
    took: float
    kind: ErrorKind | None  # None = it succeeded
    working: int
    waiters_remain: bool


RESULTS = st.lists(
    st.builds(
        Result,
        seconds_later=st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 60)),
        took=st.one_of(st.just(0.0), st.floats(0, 10)),
        kind=st.sampled_from([None, *ErrorKind]),
        working=st.integers(0, 3),
        waiters_remain=st.booleans(),
    ),
    max_size=60,
)


@dataclass
class Run:
    """Feeds results to a policy and checks each decision."""

    retry: float
    observer: Observer = field(default_factory=Observer)
    now: float = 1_000.0

    def __post_init__(self) -> None:
        self.policy = ConnectPolicy(self.retry)

    def step(self, result: Result) -> None:
        self.now += result.seconds_later
        started = self.now - result.took
        if result.kind is None:
            self.policy.succeeded(started, self.now)
            self.policy.demand_after_success(remains=result.waiters_remain)
            self.observer.succeeded(started)
        else:
            decision = self.policy.failed(result.kind, started, self.now, result.working)
            self._check(decision, result, started)
        assert 1 <= self.policy.parallel <= 1024
        assert 1.0 <= self.policy.silent_after <= 3.0

    def _check(self, decision: Decision, result: Result, started: float) -> None:
        proven = self.observer.last_success_started
        if proven is not None and started < proven:
            assert decision == Decision(Affected.NONE)
        elif result.kind is ErrorKind.FATAL:
            assert decision.affected is not Affected.NONE
        elif result.kind is ErrorKind.UNKNOWN:
            assert (decision.affected is Affected.NONE) == (result.working > 0)
            assert (decision.pause is None) == (result.working == 0)
        else:
            self.observer.failed(self.now)
            self._check_in_outage(decision)

    def _check_in_outage(self, decision: Decision) -> None:
        assert self.observer.since is not None
        left = self.observer.since + self.retry - self.now
        if decision.affected is Affected.NONE:
            assert decision.pause is not None, "somebody must try again"
            assert 0.01 <= decision.pause <= 1.0
            if left > 0.01:
                assert decision.pause <= left + 1e-9, "waiters get the error in time"
        else:
            assert decision == Decision(Affected.JOINED_BEFORE)
            assert left <= 0.01 + 1e-9, "no waiter fails before pool_connect_retry has passed"


@settings(max_examples=300, deadline=None)
@given(results=RESULTS, retry=st.sampled_from([0.0, 0.5, 5.0, 60.0]))
def test_no_sequence_of_results_breaks_the_limits_of_pauses_parallel_attempts_and_failures(
    results: list[Result], retry: float
) -> None:
    run = Run(retry)
    for result in results:
        run.step(result)
