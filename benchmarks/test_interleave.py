"""Tests of the rounds and of their statistics."""

from __future__ import annotations

import asyncio
import gc
import math

import pytest

from benchmarks.interleave import (
    Comparison,
    Goal,
    Reading,
    Rounds,
    Summary,
    Turn,
    percentile,
    ratio,
)


def rounds_of(names: str, seed: int = 1) -> tuple[Rounds, list[str]]:
    """Rounds of subjects named by one letter each, and the list of those that ran."""
    ran: list[str] = []

    def turn_of(name: str) -> Turn:
        async def turn() -> Reading:
            ran.append(name)
            return {"us": float(len(ran))}

        return turn

    return Rounds({name: turn_of(name) for name in names}, seed=seed), ran


def run(rounds: Rounds, count: int) -> None:
    async def all_rounds() -> None:
        for _ in range(count):
            await rounds.run_one()

    asyncio.run(all_rounds())


def test_every_round_runs_every_subject_once() -> None:
    rounds, ran = rounds_of("abc")
    run(rounds, 4)
    orders = [ran[start : start + 3] for start in range(0, 12, 3)]
    assert [sorted(names) for names in orders] == [["a", "b", "c"]] * 4


def test_the_order_changes_from_round_to_round() -> None:
    rounds, ran = rounds_of("abc")
    run(rounds, 10)
    orders = {tuple(ran[start : start + 3]) for start in range(0, 30, 3)}
    assert len(orders) > 1


def test_a_seed_fixes_the_order() -> None:
    first, ran_first = rounds_of("abcdef", seed=7)
    second, ran_second = rounds_of("abcdef", seed=7)
    run(first, 5)
    run(second, 5)
    assert ran_first == ran_second


def test_forgetting_drops_the_warm_up_only() -> None:
    rounds, _ = rounds_of("ab")
    run(rounds, 1)
    rounds.forget()
    run(rounds, 3)
    assert {name: len(readings) for name, readings in rounds.readings.items()} == {"a": 3, "b": 3}


def test_turns_run_without_the_garbage_collector() -> None:
    found: list[bool] = []

    async def turn() -> Reading:
        found.append(gc.isenabled())
        return {}

    run(Rounds({"a": turn}, seed=1), 1)
    assert found == [False]
    assert gc.isenabled()


def test_the_garbage_collector_is_back_after_a_failed_turn() -> None:
    async def turn() -> Reading:
        raise ValueError("no server")

    with pytest.raises(ValueError, match="no server"):
        run(Rounds({"a": turn}, seed=1), 1)
    assert gc.isenabled()


def test_summary_of_an_even_number_of_values() -> None:
    assert Summary.of([4.0, 1.0, 2.0, 100.0]) == Summary(3.0, 1.0, 100.0)


def comparison_of(goal: Goal) -> Comparison:
    ours = [{"us": 1.0}, {"us": 4.0}, {"us": 3.0}]
    theirs = [{"us": 2.0}, {"us": 2.0}, {"us": 6.0}]
    return Comparison("a checkout", {"ours": ours, "theirs": theirs}, [goal])


def test_a_ratio_is_taken_in_three_ways() -> None:
    outcome = comparison_of(Goal("us", "ours", 1.05, compared_to="theirs")).outcomes()[0]
    assert (outcome.medians, outcome.minima, outcome.paired) == (1.5, 0.5, 0.5)


@pytest.mark.parametrize(("limit", "reached"), [(1.4, False), (1.5, True), (None, None)])
def test_a_goal_applies_to_the_ratio_of_the_medians(
    limit: float | None, reached: bool | None
) -> None:
    outcome = comparison_of(Goal("us", "ours", limit, compared_to="theirs")).outcomes()[0]
    assert outcome.reached is reached


def test_a_goal_without_a_reference_is_the_figure_itself() -> None:
    outcome = comparison_of(Goal("us", "ours", 2.0)).outcomes()[0]
    assert (outcome.medians, outcome.minima, outcome.reached) == (3.0, 1.0, False)


def test_medians_of_all_subjects() -> None:
    comparison = comparison_of(Goal("us", "ours"))
    assert comparison.medians() == {"ours": {"us": 3.0}, "theirs": {"us": 2.0}}
    assert comparison.rounds == 3


@pytest.mark.parametrize(
    ("value", "to", "expected"), [(1, 2, 0.5), (0, 0, 1.0), (3, 0, math.inf), (0, 2, 0.0)]
)
def test_ratio_to_zero(value: float, to: float, expected: float) -> None:
    assert ratio(value, to) == expected


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 50), (99, 99), (100, 100)])
def test_percentile_of_one_to_a_hundred(percent: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_percentile_of_one_value() -> None:
    assert percentile([7.0], 99) == 7.0
