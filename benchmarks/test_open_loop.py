"""The clients of `open_loop.py`, on a pool without a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from benchmarks.open_loop import FIXED, MIXED, Outcome, Phase, Run, Workload
from benchmarks.pools import Connects, OpenPool

STEP = Workload(10, FIXED, 0.5, [Phase(5, 0.8), Phase(5, 3.0)], seed=1)
SHORT = replace(STEP, patience=0.05, phases=[Phase(0.1, 1.0)])


class Connection:
    """Executes every statement at once."""

    async def execute(self, statement: str) -> None: ...


class SlowConnection:
    """Never ends a statement."""

    async def execute(self, statement: str) -> None:
        await asyncio.sleep(60)


class StubbornConnection:
    """Ends a statement as if it had not been cancelled."""

    async def execute(self, statement: str) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


async def nothing() -> None: ...


Borrow = Callable[[], AbstractAsyncContextManager[Any]]


def pool_of(borrow: Borrow) -> OpenPool:
    async def unused(*arguments: object) -> None: ...

    return OpenPool(borrow, unused, unused, nothing, Connects())


@asynccontextmanager
async def at_once() -> AsyncIterator[Any]:
    yield Connection()


@asynccontextmanager
async def of_a_slow_server() -> AsyncIterator[Any]:
    yield SlowConnection()


@asynccontextmanager
async def that_ignores_a_cancellation() -> AsyncIterator[Any]:
    yield StubbornConnection()


@asynccontextmanager
async def never() -> AsyncIterator[Any]:
    await asyncio.sleep(60)
    yield Connection()


@asynccontextmanager
async def refused() -> AsyncIterator[Any]:
    raise TimeoutError
    yield


def test_the_same_seed_gives_the_same_clients() -> None:
    assert list(STEP.arrivals()) == list(replace(STEP).arrivals())
    assert list(STEP.arrivals()) != list(replace(STEP, seed=2).arrivals())


def test_each_phase_has_its_load() -> None:
    times = [at for at, _ in STEP.arrivals()]
    low, high = sum(at < 5 for at in times), sum(at >= 5 for at in times)
    assert 700 < low < 900  # 5 s, 200 a second, 0.8 x
    assert 2800 < high < 3200


def test_the_mean_of_the_mixed_times_is_that_of_the_capacity() -> None:
    drawn = [seconds for _, seconds in replace(STEP, times=MIXED).arrivals()]
    assert 0.97 < sum(drawn) / len(drawn) / MIXED.mean < 1.03


def run_on(borrow: Borrow, workload: Workload = SHORT) -> Run:
    return asyncio.run(Run(pool_of(borrow), workload).run())


def test_a_client_that_is_served_counts() -> None:
    run = run_on(at_once, replace(SHORT, patience=60))
    assert len(run.served) > 5
    assert run.outcomes == {Outcome.SERVED: len(run.served)}
    assert run.overtakings == []


def test_a_client_that_gives_up_does_not_count() -> None:
    run = run_on(never)
    assert set(run.outcomes) == {Outcome.LEFT_QUEUE}
    assert run.reading()["goodput %"] == 0


def test_a_client_gives_up_in_the_middle_of_its_statement() -> None:
    run = run_on(of_a_slow_server)
    assert set(run.outcomes) == {Outcome.LEFT_STATEMENT}


def test_a_statement_that_ends_after_its_client_gave_up_is_too_late() -> None:
    run = run_on(that_ignores_a_cancellation)
    assert set(run.outcomes) == {Outcome.LATE}
    assert run.served == []


def test_a_client_that_gets_an_error_instead_of_a_connection_is_refused() -> None:
    run = run_on(refused)
    assert set(run.outcomes) == {Outcome.REFUSED}


def test_a_client_tries_again_as_often_as_the_workload_allows() -> None:
    once, thrice = run_on(never), run_on(never, replace(SHORT, retries=2))
    assert thrice.outcomes[Outcome.LEFT_QUEUE] == 3 * once.outcomes[Outcome.LEFT_QUEUE]


def test_a_client_that_overtakes_an_earlier_one_is_counted() -> None:
    arrivals = 0

    @asynccontextmanager
    async def first_one_last() -> AsyncIterator[Any]:
        nonlocal arrivals
        arrivals += 1
        if arrivals == 1:
            await asyncio.sleep(SHORT.seconds)
        yield Connection()

    run = run_on(first_one_last, replace(SHORT, patience=10))
    assert len(run.overtakings) == len(run.served) - 1 > 5


def test_the_goodput_of_a_phase_counts_what_ended_in_it() -> None:
    run = Run(pool_of(at_once), STEP)
    run.served = [(0.1, 1.0), (4.9, 5.1), (9.0, 9.5), (9.9, 10.2)]
    per_second = STEP.capacity * 5
    assert run.goodputs() == [100 / per_second, 200 / per_second]


def test_the_order_has_returned_when_no_client_overtakes_and_the_pool_reports_it() -> None:
    run = Run(pool_of(at_once), STEP)
    assert run.in_order_after(5) == 0
    run.overtakings = [4.0, 5.5]
    assert run.in_order_after(5) == 0.5
    run.last_overloaded = 6.0
    assert run.in_order_after(5) == 1


def test_a_run_whose_pool_makes_the_event_loop_late_is_valid_and_its_lag_is_noted() -> None:
    @asynccontextmanager
    async def blocking() -> AsyncIterator[Any]:
        time.sleep(0.03)  # noqa: ASYNC251 - the loop must be late
        yield Connection()

    run = run_on(blocking)
    assert run.is_valid
    assert run.reading()["p99 loop lag ms"] > 20
