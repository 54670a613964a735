"""The runs of `overload.py`: what is repeated, and what is printed of an invalid run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Any

import pytest

from benchmarks import machine_load, overload
from benchmarks.open_loop import Phase, Run, Workload
from benchmarks.overload import SCENARIOS, TRIES, figures, valid_run
from benchmarks.pools import Connects, Opener, OpenPool, Sizes

WORKLOAD = SCENARIOS["retries"].workload([Phase(1, 1.5)], seed=1)


async def unused(*arguments: object) -> None: ...


def no_borrower() -> AbstractAsyncContextManager[Any]:
    raise AssertionError


POOL = OpenPool(no_borrower, unused, unused, unused, Connects())


def run_beside(others: float) -> Run:
    """A run on a machine where other processes take so much of a computation, in percent."""
    run = Run(POOL, WORKLOAD)
    run.taken_by_others = others
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


def test_a_run_on_a_busy_machine_is_repeated(runs: list[Run]) -> None:
    runs += [run_beside(50), run_beside(2), run_beside(0)]
    assert asyncio.run(valid_run(no_pool, WORKLOAD)).is_valid
    assert len(runs) == 1


def test_a_run_is_not_repeated_for_ever(runs: list[Run]) -> None:
    runs += [run_beside(50)] * (TRIES + 1)
    assert not asyncio.run(valid_run(no_pool, WORKLOAD)).is_valid
    assert len(runs) == 1


def test_an_invalid_run_has_no_figures_but_those_of_the_machine() -> None:
    cells = figures(run_beside(50))
    assert cells[0] == "invalid"
    assert set(cells[1:-1]) == {"-"}
    assert cells[-1].endswith("50 %")
    assert len(cells) == len(figures(run_beside(1)))


@pytest.mark.parametrize("measured", [(50, 0), (0, 50)], ids=["before", "after"])
def test_the_machine_is_measured_before_and_after_a_run(
    measured: Sequence[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = list(measured)
    monkeypatch.setattr(overload, "taken_by_others", lambda: left.pop(0))

    async def opener(sizes: Sizes) -> OpenPool:
        return POOL

    nobody = SCENARIOS["fixed"].workload([], seed=1)
    assert asyncio.run(overload.run_once(opener, nobody)).taken_by_others == 50


def test_a_computation_loses_what_its_process_does_not_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_load, "perf_counter", count(0, 1).__next__)
    monkeypatch.setattr(machine_load, "process_time", count(0, 0.0).__next__)
    assert machine_load.taken_by_others() == 100


def test_the_results_of_uvloop_have_a_file_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for arguments in ([], ["--uvloop"], ["--uvloop", "--json", "mine.json"]):
        monkeypatch.setattr("sys.argv", ["overload", *arguments])
        names.append(overload.options().json.name)
    assert names == ["overload.json", "overload-uvloop.json", "mine.json"]
