"""Contestants measured side by side, and what their readings say.

A machine is never the same for a minute, and whoever runs first in a round runs on a colder or a
warmer one. So every round runs every contestant once, in an order shuffled anew, and a contestant
is judged by all its rounds: by their median, by their minimum, and by its ratio to another one.

Nothing here knows a pool, a database or pytest.
"""

from __future__ import annotations

import gc
import math
import random
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

Reading = Mapping[str, float]
"""What one turn measured: metric (its unit in its name) -> value."""

Turn = Callable[[], Awaitable[Reading]]


class Race:
    """Runs the turns of all contestants, round by round, and keeps every reading."""

    def __init__(self, turns: Mapping[str, Turn], *, seed: int) -> None:
        self._turns = dict(turns)
        self._random = random.Random(seed)
        self.readings: dict[str, list[Reading]] = {}
        self.forget()

    async def play_round(self) -> None:
        """One turn of every contestant, in an order of this round's own."""
        order = list(self._turns)
        self._random.shuffle(order)
        for contestant in order:
            reading = await undisturbed(self._turns[contestant])
            self.readings[contestant].append(reading)

    def forget(self) -> None:
        """Drop all readings; called after the warm-up."""
        self.readings = {contestant: [] for contestant in self._turns}


async def undisturbed(turn: Turn) -> Reading:
    """Run a turn without the garbage collector, on a heap that was just collected.

    The same for every contestant; what a turn leaves behind is collected after its clock stopped.
    """
    gc.collect()
    gc.disable()
    try:
        return await turn()
    finally:
        gc.enable()


@dataclass(frozen=True)
class Summary:
    """All rounds of one contestant in one metric."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Goal:
    """What a contestant should reach in one metric: at most `limit`.

    With `compared_to` the limit is for its ratio to that contestant. Goals are shown, never
    asserted: a busy machine is not a defect. Without a limit the ratio is shown for its own sake.
    """

    metric: str
    contestant: str
    limit: float | None = None
    compared_to: str | None = None

    @property
    def text(self) -> str:
        if self.compared_to is None:
            return f"{self.contestant}, {self.metric}"
        return f"{self.contestant} / {self.compared_to}, {self.metric}"


@dataclass(frozen=True)
class Outcome:
    """A goal beside what was measured, in three ways that agree on a quiet machine.

    `medians` compares the medians of all rounds, `minima` the best rounds, `paired` is the median
    of the ratios within each round: drift of the machine hits both sides of such a ratio.
    """

    goal: Goal
    medians: float
    minima: float
    paired: float

    @property
    def reached(self) -> bool | None:
        """Whether the medians keep the limit; None without one."""
        return None if self.goal.limit is None else self.medians <= self.goal.limit


@dataclass(frozen=True)
class Comparison:
    """One finished race."""

    title: str
    readings: Mapping[str, Sequence[Reading]]
    goals: Sequence[Goal] = ()

    @property
    def rounds(self) -> int:
        return min(len(readings) for readings in self.readings.values())

    def metrics(self, contestant: str) -> list[str]:
        return list(self.readings[contestant][0])

    def values(self, contestant: str, metric: str) -> list[float]:
        return [reading[metric] for reading in self.readings[contestant]]

    def summary(self, contestant: str, metric: str) -> Summary:
        return Summary.of(self.values(contestant, metric))

    def medians(self) -> dict[str, dict[str, float]]:
        """The figures in short: contestant -> metric -> median."""
        return {
            contestant: {
                metric: self.summary(contestant, metric).median
                for metric in self.metrics(contestant)
            }
            for contestant in self.readings
        }

    def outcomes(self) -> list[Outcome]:
        return [self._outcome(goal) for goal in self.goals]

    def _outcome(self, goal: Goal) -> Outcome:
        values = self.values(goal.contestant, goal.metric)
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
    """`value / to`; two zeros are equal, and anything is infinitely more than zero."""
    if to == 0:
        return 1.0 if value == 0 else math.inf
    return value / to


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of all values do not exceed."""
    ordered = sorted(values)
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]
