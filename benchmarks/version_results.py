"""The results of `benchmarks.versions`: ratios, noise, status, and the table."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmarks.interleave import Reading, ratio
from benchmarks.report import aligned
from benchmarks.version_cases import Bound

OLD, AGAIN, NEW = "old", "old again", "new"

DRAWS = 2_000
SEED = 1
FEWEST_ROUNDS = 30


@dataclass(frozen=True)
class Calls:
    """Python function calls per operation, all and those of the package."""

    all: float
    package: float


@dataclass(frozen=True)
class Ratio:
    """A ratio of two versions in one metric, computed from the ratios within the rounds."""

    median: float
    low: float
    high: float
    """5 and 95 % of the median, by bootstrap."""

    @classmethod
    def of(cls, values: Sequence[float], to: Sequence[float]) -> Ratio:
        ratios = [ratio(one, two) for one, two in zip(values, to, strict=True)]
        return cls(statistics.median(ratios), *spread(ratios))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """5 and 95 % of the median of these values, by bootstrap."""
    generator = random.Random(SEED)
    draws = (generator.choices(values, k=len(values)) for _ in range(DRAWS))
    medians = sorted(map(statistics.median, draws))
    return medians[DRAWS // 20], medians[-DRAWS // 20 - 1]


@dataclass(frozen=True)
class Result:
    """One metric of one case."""

    case: str
    metric: str
    bound: Bound
    values: Mapping[str, Sequence[float]]
    """The readings of `OLD`, `AGAIN` and `NEW`, one for each round."""
    calls: Mapping[str, Calls]
    """Those of `OLD` and `NEW`."""

    def median(self, version: str) -> float:
        return statistics.median(self.values[version])

    @cached_property
    def new_to_old(self) -> Ratio:
        return Ratio.of(self.values[NEW], self.values[OLD])

    @cached_property
    def again_to_old(self) -> Ratio:
        return Ratio.of(self.values[AGAIN], self.values[OLD])

    @property
    def of_medians(self) -> float:
        return ratio(self.median(NEW), self.median(OLD))

    @property
    def noise(self) -> float:
        """How far the ratio of a version to itself may be from 1."""
        same = self.again_to_old
        return max(abs(same.low - 1), abs(same.high - 1))

    @property
    def more_calls(self) -> bool:
        return self.calls[NEW].all - self.calls[OLD].all >= self.bound.calls

    @property
    def status(self) -> str:
        excess = self.new_to_old.median - self.bound.ratio
        if excess <= 0:
            return "met"
        if excess > self.noise:
            return "MISSED"
        return "MORE CALLS" if self.more_calls else "met (noise)"


def results_of(
    case: str,
    bound: Bound,
    readings: Mapping[str, Sequence[Reading]],
    calls: Mapping[str, Calls],
) -> list[Result]:
    """A result for each metric of the case."""
    return [
        Result(
            case,
            metric,
            bound,
            {version: [each[metric] for each in readings[version]] for version in readings},
            calls,
        )
        for metric in readings[OLD][0]
    ]


HEAD = (
    *("case", "metric", "old", "new", "new/old", "medians", "again/old", "noise", "limit"),
    *("calls old", "calls new", "status"),
)


def table(results: Iterable[Result]) -> list[str]:
    return aligned([HEAD, *map(_row, results)])


def _row(result: Result) -> tuple[str, ...]:
    return (
        result.case,
        result.metric,
        f"{result.median(OLD):.2f}",
        f"{result.median(NEW):.2f}",
        f"{result.new_to_old.median:.3f}",
        f"{result.of_medians:.3f}",
        f"{result.again_to_old.median:.3f}",
        f"{result.noise:.3f}",
        f"{result.bound.ratio:.2f}",
        _calls(result.calls[OLD]),
        _calls(result.calls[NEW]),
        result.status,
    )


def _calls(calls: Calls) -> str:
    return f"{calls.all:.1f} ({calls.package:.1f})"
