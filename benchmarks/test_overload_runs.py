"""The runs of `overload.py`: what is repeated, and what is printed of an invalid run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from benchmarks import overload
from benchmarks.open_loop import Phase, Run, Workload
from benchmarks.overload import SCENARIOS, TRIES, figures, valid_run
from benchmarks.pools import Connects, Opener, OpenPool, Sizes

WORKLOAD = SCENARIOS["retries"].workload([Phase(1, 1.5)], seed=1)


async def unused(*arguments: object) -> None: ...


def run_with(lag: Sequence[float]) -> Run:
    """A run whose event loop was so many milliseconds late."""
    pool = OpenPool(lambda: pytest.fail("not used"), unused, unused, unused, Connects())
    run = Run(pool, WORKLOAD)
    run.lag.late.extend(lag)
    return run


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The results of the next runs, which are removed as they are used."""
    ready: list[Run] = []

    async def next_run(opener: Opener, workload: Workload) -> Run:
        return ready.pop(0)

    monkeypatch.setattr(overload, "run_once", next_run)
    return ready


async def no_pool(sizes: Sizes) -> OpenPool:
    raise AssertionError


def test_a_run_with_a_late_loop_is_repeated(runs: list[Run]) -> None:
    runs += [run_with([1, 500]), run_with([1, 1]), run_with([0])]
    assert asyncio.run(valid_run(no_pool, WORKLOAD)).is_valid
    assert len(runs) == 1


def test_a_run_is_not_repeated_for_ever(runs: list[Run]) -> None:
    runs += [run_with([500])] * (TRIES + 1)
    assert not asyncio.run(valid_run(no_pool, WORKLOAD)).is_valid
    assert len(runs) == 1


def test_an_invalid_run_has_no_figures_but_those_of_the_loop() -> None:
    cells = figures(run_with([500]))
    assert cells[0] == "invalid"
    assert set(cells[1:-1]) == {"-"}
    assert cells[-1].startswith("500.0, 500 ms")
    assert len(cells) == len(figures(run_with([1])))
