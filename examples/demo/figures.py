"""What is measured, as plain data, and the figures calculated from it.

The load fills `Records`, and `figures()` calculates. All times are seconds of one monotonic clock;
figures are in milliseconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

CONNECTION_LOST = "connection lost during the request"
CONNECT_FAILED = "connect error instead of a connection"
POOL_TIMED_OUT = "pool timeout"
FAILURE_KINDS = (CONNECTION_LOST, CONNECT_FAILED, POOL_TIMED_OUT)


class Checkout(NamedTuple):
    """One checkout: when it began, and how long it took until the connection or the error."""

    started: float
    waited: float


class Response(NamedTuple):
    """One request that received all its rows."""

    worker: int
    at: float
    rows: int


class Failure(NamedTuple):
    """One error that a caller received."""

    at: float
    kind: str
    detail: str


class Outage(NamedTuple):
    """From the first refused connection to the first accepted one."""

    began: float
    ended: float


@dataclass
class Records:
    """All requests of one run, in order."""

    checkouts: list[Checkout] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)
    """When each connection was opened."""


@dataclass(frozen=True)
class Timeline:
    """The times at which the parts of a run began and ended."""

    steady_from: float
    """The end of the warm-up."""
    crash: float | None
    """When the server was killed; None = it was not."""
    outage: Outage | None
    end: float

    @property
    def steady_until(self) -> float:
        """The steady load ends with the crash, or with the run."""
        return self.end if self.crash is None else self.crash


@dataclass(frozen=True)
class CheckoutTimes:
    """How long checkouts took, in milliseconds; None = there were none."""

    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


@dataclass(frozen=True)
class PoolFigures:
    """The figures of one pool: a column of the final table."""

    pool: str
    completed: int
    rows: int
    failures: dict[str, int]
    examples: dict[str, str]
    """The first error of each kind."""
    steady: CheckoutTimes
    later_max_ms: float | None
    """The longest checkout that was still waiting at the crash, or began after it."""
    opened_before: int
    opened_after: int
    """Connections opened before and after the crash."""
    outage_ms: float | None
    first_response_ms: float | None
    all_workers_ms: float | None
    idle_connections: int | None

    @property
    def failed(self) -> int:
        """The number of failures of all kinds."""
        return sum(self.failures.values())

    def as_json(self) -> dict[str, Any]:
        """Return the figures as data for `json.dumps`."""
        return {**asdict(self), "failed": self.failed}


def percentile(values: Iterable[float], percent: float) -> float | None:
    """Return the nearest-rank percentile, which is one of the values; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


def checkout_times(seconds: Sequence[float]) -> CheckoutTimes:
    """Return the median, the 99th percentile and the maximum."""
    return CheckoutTimes(
        p50_ms=_milliseconds(percentile(seconds, 50)),
        p99_ms=_milliseconds(percentile(seconds, 99)),
        max_ms=_milliseconds(max(seconds, default=None)),
    )


def recovery(
    responses: Iterable[Response], outage: Outage, workers: int
) -> tuple[float | None, float | None]:
    """Return the seconds from the end of an outage until two events.

    The first is the first response, the second the time when every worker has had one.
    """
    first_responses: dict[int, float] = {}
    for response in responses:
        if response.at >= outage.ended:
            first_responses.setdefault(response.worker, response.at - outage.ended)
    first = min(first_responses.values(), default=None)
    everyone = max(first_responses.values()) if len(first_responses) == workers else None
    return first, everyone


def figures(
    pool: str, records: Records, timeline: Timeline, workers: int, idle_connections: int | None
) -> PoolFigures:
    """Calculate the figures of one run."""
    steady, later = _split(records.checkouts, timeline)
    opened_before = sum(at < timeline.steady_until for at in records.opened)
    first, everyone = (
        recovery(records.responses, timeline.outage, workers) if timeline.outage else (None, None)
    )
    return PoolFigures(
        pool=pool,
        completed=len(records.responses),
        rows=sum(response.rows for response in records.responses),
        failures=_by_kind(records.failures),
        examples={failure.kind: failure.detail for failure in reversed(records.failures)},
        steady=checkout_times(steady),
        later_max_ms=_milliseconds(max(later, default=None)) if timeline.crash else None,
        opened_before=opened_before,
        opened_after=len(records.opened) - opened_before,
        outage_ms=_milliseconds(_duration(timeline.outage)),
        first_response_ms=_milliseconds(first),
        all_workers_ms=_milliseconds(everyone),
        idle_connections=idle_connections,
    )


def _split(checkouts: Iterable[Checkout], timeline: Timeline) -> tuple[list[float], list[float]]:
    """Split the checkouts: those that ended during the steady load, and those after the crash."""
    steady: list[float] = []
    later: list[float] = []
    for started, waited in checkouts:
        if started + waited >= timeline.steady_until:
            later.append(waited)
        elif started >= timeline.steady_from:
            steady.append(waited)
    return steady, later


def _by_kind(failures: Iterable[Failure]) -> dict[str, int]:
    """Count the failures of every kind, zeros included: both pools have the same lines."""
    counts = Counter(failure.kind for failure in failures)
    return {kind: counts[kind] for kind in FAILURE_KINDS}


def _duration(outage: Outage | None) -> float | None:
    return None if outage is None else outage.ended - outage.began


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
