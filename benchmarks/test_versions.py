"""Tests of `benchmarks.versions`: its statistics, the status of a result, and a short run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.version_cases import BOUND, BOUNDS, CASES, Bound
from benchmarks.version_results import AGAIN, NEW, OLD, Calls, Ratio, Result, results_of, spread
from benchmarks.versions import bound_of

ROOT = Path(__file__).resolve().parent.parent
STEADY = [100.0] * 30


def result_of(new: float, again: float = 100.0, calls: float = 10.0) -> Result:
    values = {OLD: STEADY, AGAIN: [again] * 30, NEW: [new] * 30}
    return Result("a", "us", Bound(1.03), values, {OLD: Calls(10, 5), NEW: Calls(calls, 5)})


@pytest.mark.parametrize(
    ("new", "again", "calls", "status"),
    [
        (103, 100, 10, "met"),
        (103, 100, 11, "met"),
        (104, 100, 10, "MISSED"),
        (104, 102, 10, "met (noise)"),
        (104, 98, 10, "met (noise)"),
        (104, 98, 9, "met (noise)"),
        (104, 98, 10.4, "met (noise)"),
        (104, 98, 11, "MORE CALLS"),
        (106, 98, 10, "MISSED"),
    ],
)
def test_the_status_follows_from_ratio_noise_and_calls(
    new: float, again: float, calls: float, status: str
) -> None:
    assert result_of(new, again, calls).status == status


def test_a_ratio_is_the_median_of_the_ratios_within_the_rounds() -> None:
    assert Ratio.of([2.0, 9.0, 4.0], to=[1.0, 3.0, 4.0]).median == 2.0


def test_spread_of_equal_values() -> None:
    assert spread(STEADY) == (100.0, 100.0)


def test_spread_is_narrower_than_the_values_and_around_their_median() -> None:
    low, high = spread([float(value) for value in range(31)])
    assert 5 < low < 15 < high < 25


def test_a_result_for_each_metric() -> None:
    reading = {"total ms": 2.0, "new": 1.0}
    readings = {version: [reading] for version in (OLD, AGAIN, NEW)}
    calls = {OLD: Calls(1, 1), NEW: Calls(1, 1)}
    assert [each.metric for each in results_of("spike", BOUND, readings, calls)] == list(reading)


def test_bounds_are_those_of_cases() -> None:
    assert set(BOUNDS) <= set(CASES)


def test_a_limit_replaces_the_ratio_of_a_bound_and_keeps_its_calls() -> None:
    assert bound_of("spike", 0.85) == Bound(0.85, BOUNDS["spike"].calls)
    assert bound_of("spike", None) is BOUNDS["spike"]


def test_a_short_run(tmp_path: Path) -> None:
    """This checkout compared with itself."""
    written = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.versions", str(ROOT), str(ROOT)]
    options = ["--rounds", "1", "-k", "take", "--json", str(written)]
    ended = subprocess.run(
        command + options, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    (result,) = json.loads(written.read_text(encoding="utf-8"))["results"]
    assert result["calls"][OLD] == result["calls"][NEW]
    assert "take and give back" in ended.stdout


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "version_worker.py"), str(tmp_path), "unused"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "sqla_typedpool" in ended.stderr
