"""What is measured, as plain data, and what is reckoned from it.

Nothing here runs anything: `Records` is filled by the load, `figures()` turns it into numbers.
All times are seconds on one monotonic clock; what people read is in milliseconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

CUT_OFF = "cut off in the middle of a request"
NOT_CONNECTED = "got a connect error instead of a connection"
TIMED_OUT = "waited for a connection until the pool's timeout"
FAILURE_KINDS = (CUT_OFF, NOT_CONNECTED, TIMED_OUT)


class Checkout(NamedTuple):
    """One caller's wait for a connection, from asking to having it or to the error."""

    started: float
    waited: float


class Answer(NamedTuple):
    """One request that got all its rows."""

    worker: int
    at: float
    rows: int


class Failure(NamedTuple):
    """One error that reached a caller."""

    at: float
    kind: str
    detail: str


class Outage(NamedTuple):
    """The server's absence: first connection refused, first bare connection accepted again."""

    began: float
    ended: float


@dataclass
class Records:
    """Everything the callers of one leg saw, in the order they saw it."""

    checkouts: list[Checkout] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Windows:
    """The moments that cut a leg into parts; `restart` is when the server was told to die."""

    calm_from: float
    restart: float | None
    outage: Outage | None
    end: float

    @property
    def calm_until(self) -> float:
        """The calm part ends with the restart, or with the load where nothing restarts."""
        return self.end if self.restart is None else self.restart


@dataclass(frozen=True)
class Waits:
    """How long callers waited for a connection, in milliseconds; None where nobody asked."""

    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


@dataclass(frozen=True)
class LegFigures:
    """One pool's row of figures, ready to be compared, printed or written as JSON."""

    pool: str
    answered: int
    rows: int
    failures: dict[str, int]
    examples: dict[str, str]
    calm: Waits
    later_max_ms: float | None
    opened_before: int
    opened_after: int
    outage_ms: float | None
    first_answer_ms: float | None
    all_workers_ms: float | None
    idle_connections: int | None

    @property
    def failed(self) -> int:
        """All failures that callers saw, of whatever kind."""
        return sum(self.failures.values())

    def as_json(self) -> dict[str, Any]:
        """The figures as JSON-ready data."""
        return {**asdict(self), "failed": self.failed}


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The nearest-rank percentile: a value that really occurred; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


def waits(seconds: Sequence[float]) -> Waits:
    """Median, 99th percentile and maximum of some waits."""
    return Waits(
        p50_ms=_milliseconds(percentile(seconds, 50)),
        p99_ms=_milliseconds(percentile(seconds, 99)),
        max_ms=_milliseconds(max(seconds, default=None)),
    )


def recovery(answers: Iterable[Answer], outage: Outage, workers: int) -> tuple[float | None, ...]:
    """Seconds from the server's return to the first answer, and until each worker had one."""
    first_answers: dict[int, float] = {}
    for answer in answers:
        if answer.at >= outage.ended:
            first_answers.setdefault(answer.worker, answer.at - outage.ended)
    first = min(first_answers.values(), default=None)
    everyone = max(first_answers.values()) if len(first_answers) == workers else None
    return first, everyone


def figures(
    pool: str, records: Records, windows: Windows, workers: int, idle_connections: int | None
) -> LegFigures:
    """Reckon one leg's figures from what its callers saw."""
    calm, later = _parted(records.checkouts, windows)
    opened_before = sum(at < windows.calm_until for at in records.opened)
    first, everyone = (
        recovery(records.answers, windows.outage, workers) if windows.outage else (None, None)
    )
    return LegFigures(
        pool=pool,
        answered=len(records.answers),
        rows=sum(answer.rows for answer in records.answers),
        failures=_by_kind(records.failures),
        examples={failure.kind: failure.detail for failure in reversed(records.failures)},
        calm=waits(calm),
        later_max_ms=_milliseconds(max(later, default=None)) if windows.restart else None,
        opened_before=opened_before,
        opened_after=len(records.opened) - opened_before,
        outage_ms=_milliseconds(_length(windows.outage)),
        first_answer_ms=_milliseconds(first),
        all_workers_ms=_milliseconds(everyone),
        idle_connections=idle_connections,
    )


def _parted(checkouts: Iterable[Checkout], windows: Windows) -> tuple[list[float], list[float]]:
    """The waits that were over before the crash, without the warm-up, and those that were not."""
    calm: list[float] = []
    later: list[float] = []
    for started, waited in checkouts:
        if started + waited >= windows.calm_until:
            later.append(waited)
        elif started >= windows.calm_from:
            calm.append(waited)
    return calm, later


def _by_kind(failures: Iterable[Failure]) -> dict[str, int]:
    """Counts for every kind, zeros included, so that both legs have the same lines."""
    counts = Counter(failure.kind for failure in failures)
    return {kind: counts[kind] for kind in FAILURE_KINDS}


def _length(outage: Outage | None) -> float | None:
    return None if outage is None else outage.ended - outage.began


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
