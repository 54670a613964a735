"""Measuring several subjects in interleaved rounds, and the statistics of what was measured.

The speed of a machine changes from minute to minute, and the order of the measurements matters. So
every round measures each subject once, in a newly shuffled order, and the result of a subject is
computed from all rounds: the median, the minimum, and the ratio to another subject.

This module does not depend on pools, databases or pytest.
"""

from __future__ import annotations

import gc
import math
import random
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

Reading = Mapping[str, float]
"""The result of one turn: metric (its name contains the unit) -> value."""

Turn = Callable[[], Awaitable[Reading]]


class Rounds:
    """Runs the turns of all subjects, round by round, and keeps every reading."""

    def __init__(self, turns: Mapping[str, Turn], *, seed: int) -> None:
        self._turns = dict(turns)
        self._random = random.Random(seed)
        self.readings: dict[str, list[Reading]] = {}
        self.forget()

    async def run_one(self) -> None:
        """Run one turn of every subject, in a newly shuffled order."""
        order = list(self._turns)
        self._random.shuffle(order)
        for subject in order:
            reading = await undisturbed(self._turns[subject])
            self.readings[subject].append(reading)

    def forget(self) -> None:
        """Delete all readings; called after the warm-up."""
        self.readings = {subject: [] for subject in self._turns}


async def undisturbed(turn: Turn) -> Reading:
    """Collect garbage, then run the turn with the garbage collector disabled."""
    gc.collect()
    gc.disable()
    try:
        return await turn()
    finally:
        gc.enable()


@dataclass(frozen=True)
class Summary:
    """One metric of one subject over all rounds."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Goal:
    """A metric of a subject should be at most `limit`.

    With `compared_to`, the limit applies to the ratio to that subject. Without a limit, the value
    or ratio is only printed. Goals are never asserted: a busy machine is not a defect.
    """

    metric: str
    subject: str
    limit: float | None = None
    compared_to: str | None = None

    @property
    def text(self) -> str:
        if self.compared_to is None:
            return f"{self.subject}, {self.metric}"
        return f"{self.subject} / {self.compared_to}, {self.metric}"


@dataclass(frozen=True)
class Outcome:
    """A goal and what was measured, as three ratios that agree on a quiet machine.

    `medians` is the ratio of the medians, `minima` the ratio of the minima, and `paired` the median
    of the ratios within each round, in which changes of the machine's speed cancel out.
    """

    goal: Goal
    medians: float
    minima: float
    paired: float

    @property
    def reached(self) -> bool | None:
        """Whether the ratio of the medians is within the limit; None without a limit."""
        return None if self.goal.limit is None else self.medians <= self.goal.limit


@dataclass(frozen=True)
class Comparison:
    """All readings of one comparison, and its goals."""

    title: str
    readings: Mapping[str, Sequence[Reading]]
    goals: Sequence[Goal] = ()

    @property
    def rounds(self) -> int:
        return min(len(readings) for readings in self.readings.values())

    def metrics(self, subject: str) -> list[str]:
        return list(self.readings[subject][0])

    def values(self, subject: str, metric: str) -> list[float]:
        return [reading[metric] for reading in self.readings[subject]]

    def summary(self, subject: str, metric: str) -> Summary:
        return Summary.of(self.values(subject, metric))

    def medians(self) -> dict[str, dict[str, float]]:
        """Subject -> metric -> median."""
        return {
            subject: {
                metric: self.summary(subject, metric).median for metric in self.metrics(subject)
            }
            for subject in self.readings
        }

    def outcomes(self) -> list[Outcome]:
        return [self._outcome(goal) for goal in self.goals]

    def _outcome(self, goal: Goal) -> Outcome:
        values = self.values(goal.subject, goal.metric)
        if goal.compared_to is None:
            own = Summary.of(values)
            return Outcome(goal, own.median, own.minimum, own.median)
        return _compare(goal, values, self.values(goal.compared_to, goal.metric))


def _compare(goal: Goal, values: Sequence[float], others: Sequence[float]) -> Outcome:
    own, other = Summary.of(values), Summary.of(others)
    within_rounds = [ratio(one, two) for one, two in zip(values, others, strict=True)]
    return Outcome(
        goal,
        medians=ratio(own.median, other.median),
        minima=ratio(own.minimum, other.minimum),
        paired=statistics.median(within_rounds),
    )


def ratio(value: float, to: float) -> float:
    """`value / to`; 1 if both are zero, infinite if only `to` is."""
    if to == 0:
        return 1.0 if value == 0 else math.inf
    return value / to


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of all values do not exceed."""
    ordered = sorted(values)
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]
