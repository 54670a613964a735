"""The pool's numbers: counted while it works, read as one frozen snapshot.

``Counters`` is what the pool adds to (a few integers, one object per event loop);
``PoolStats`` is what a reader gets. Exporters (OpenTelemetry, Prometheus) read
``PoolStats`` when they are scraped, so nothing is called per checkout for them.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

# OpenTelemetry's advice for db.client.operation.duration, with finer steps below
# a millisecond, where a pool lives.
BOUNDS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


class CloseReason(Enum):
    """Why a connection was closed; the values are the keys of ``PoolStats.closed``."""

    OVERFLOW = "overflow"
    """It was returned while no caller waited and ``pool_size`` connections were idle."""
    IDLE = "idle"
    """It was unused for ``pool_idle_timeout``."""
    LIFETIME = "lifetime"
    """It was older than ``pool_max_lifetime``, or ``retire_all()`` was called."""
    FAILOVER = "failover"
    """It was opened before its server became read-only."""
    DEAD = "dead"
    """The local probe found it closed."""
    PING = "ping"
    """The ping failed or took too long."""
    TRANSACTION = "transaction"
    """A transaction was left open on it, and could not be rolled back in time."""
    INVALIDATED = "invalidated"
    """By a statement's error, a cancellation or the application."""
    DETACHED = "detached"
    """The application took it out of the pool."""
    DISPOSE = "dispose"
    """``dispose()`` was called; it may have been returned afterwards."""
    CLOSE = "close"
    """``TypedPool.close()`` was called."""
    LOOP = "loop"
    """Its event loop ended."""


class DurationKind(Enum):
    """What is measured; the values are the names of the distributions in ``PoolStats``."""

    WAIT = "wait_time"
    USE = "use_time"
    CONNECT = "connect_time"


# Gets single durations, in seconds, beside the histograms. It must not raise.
Keep: TypeAlias = "Callable[[DurationKind, array[float]], object]"


@dataclass(frozen=True)
class Distribution:
    """Durations of one kind: enough for an average and for quantiles.

    Example::

        wait = TypedPool.of(engine).stats().wait_time
        average = wait.sum / wait.count if wait.count else 0.0
    """

    count: int
    """How many were measured."""
    sum: float
    """Their sum in seconds."""
    buckets: Mapping[float, int]
    """Upper bound in seconds -> how many took that long or less (cumulative;
    the last bound is infinite and equals ``count``)."""


@dataclass(frozen=True)
class PoolStats:
    """A snapshot of one pool's numbers, all its event loops added up.

    Example::

        stats = TypedPool.of(engine).stats()
        print(stats.in_use, stats.max, stats.wait_time.sum / stats.wait_time.count)
    """

    name: str
    """The pool's name."""
    size: int
    """Connections that exist or are being opened, validated or closed, now."""
    idle: int
    """Connections that wait to be used, now."""
    in_use: int
    """Connections that are checked out, now."""
    connecting: int
    """Connections being opened, now."""
    waiting: int
    """Callers that wait for a connection, now."""
    max: int | None
    """The most connections allowed, now: ``pool_size + max_overflow`` for each event loop in which
    the pool is used (None = no limit)."""
    min: int
    """The connections kept open, now: ``pool_min_size`` for each event loop in which the pool is
    used."""
    checkouts: int
    """Connections handed out since the start."""
    waits: int
    """Checkouts that had to queue (those that timed out not counted)."""
    timeouts: int
    """Checkouts ended by ``pool_timeout``, or by the ``timeout=`` of the call that waited."""
    saturated: int
    """Checkouts refused because ``pool_max_waiting`` callers waited."""
    shed: int
    """Checkouts refused because callers waited longer than ``pool_shed_after``."""
    cancelled: int
    """Checkouts whose caller was cancelled while it waited (not by its ``timeout=``)."""
    is_overloaded: bool
    """Whether the newest caller is served first now, in any event loop, because many give up
    before they are served (``pool_overload``)."""
    overloads: int
    """How many times the newest caller began to be served first."""
    outage_seconds: float
    """How long no connection could be opened, in seconds: since the first attempt that failed or
    was not answered, if none has succeeded since. 0.0 if there is no outage, or if no attempt has
    failed for a minute, because none was needed. Of several event loops the longest."""
    last_connect_error: str | None
    """The latest connect error, with its type and without secrets. None as soon as an attempt has
    succeeded; what was before is in the log."""
    connects: int
    """Connections opened."""
    connect_failures: int
    """Attempts to open a connection that failed."""
    pings: int
    """Round trips that checked whether an unused connection still works."""
    failed_pings: int
    """Those that did not answer, or not in time."""
    dirty_returns: int
    """Connections that were returned inside a transaction, or while a cancelled statement had
    not ended, and those in which a transaction was begun while they were idle."""
    kept_cancelled: int
    """Connections kept although a statement on them was cancelled (asyncpg only)."""
    leaks: int
    """Connections that were in use for longer than ``pool_leak_threshold``, and those that were in
    use when their event loop ended."""
    longest_use: float
    """For how long the connection that was checked out first has been in use, in seconds, now."""
    closed: Mapping[str, int]
    """Connections closed, by reason; the keys are the values of `CloseReason`."""
    wait_time: Distribution
    """Seconds from a checkout's start until it has its connection."""
    use_time: Distribution
    """Seconds from having a connection to its return."""
    connect_time: Distribution
    """Seconds to open a connection, connect events included."""


class _Histogram:
    """Counts per bucket, not cumulative: one ``bisect`` and three additions per value."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0
        # The single durations since they were last taken; None = they are not kept.
        self.noted: array[float] | None = None

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds
        if self.noted is not None:
            self.noted.append(seconds)

    def merge(self, other: _Histogram) -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


def _distribution(histograms: Iterable[_Histogram], *, immediate: int = 0) -> Distribution:
    """Add histograms up; ``immediate`` values took no measurable time and are not in them."""
    parts = list(histograms)
    buckets: dict[float, int] = {}
    running = immediate
    for index, bound in enumerate((*BOUNDS, float("inf"))):
        running += sum(part.counts[index] for part in parts)
        buckets[bound] = running
    return Distribution(count=running, sum=sum(part.sum for part in parts), buckets=buckets)


_COUNTED: Final = (
    *("checkouts", "timeouts", "saturated", "shed", "cancelled", "overloads"),
    *("connect_failures", "pings", "failed_pings", "dirty_returns", "kept_cancelled", "leaks"),
)
_PRESENT: Final = ("size", "idle", "in_use", "connecting", "waiting")
_MEASURED: Final = ("wait_time", "use_time", "connect_time")


class Counters:
    """What one event loop's part of the pool has counted."""

    def __init__(self, keep: Keep | None = None) -> None:
        self.checkouts = 0
        self.timeouts = 0
        self.saturated = 0
        self.shed = 0
        self.cancelled = 0
        self.overloads = 0
        self.connect_failures = 0
        self.pings = 0
        self.failed_pings = 0
        self.dirty_returns = 0
        self.kept_cancelled = 0
        self.leaks = 0
        self.closed: Counter[CloseReason] = Counter()
        self.wait_time = _Histogram()
        self.use_time = _Histogram()
        self.connect_time = _Histogram()
        # A return only appends its duration; sorting it into a bucket can wait.
        self._uses = array("d")
        self.note_use = self._uses.append
        self._lock = threading.Lock()
        # Checkouts that took no measurable time, as far as they were kept.
        self._immediate_kept = 0
        self._keep: Keep | None = None
        self.keep_durations(keep)

    def keep_durations(self, keep: Keep | None) -> None:
        """Pass single durations on from now, at each ``sort_uses``; None = do not."""
        self.sort_uses()
        with self._lock:
            self._keep, self._immediate_kept = keep, self._immediate
            for measured in (self.wait_time, self.connect_time):
                measured.noted = None if keep is None else array("d")

    def sort_uses(self) -> None:
        """Sort the noted durations into buckets: at each housekeeper tick, and before reading."""
        with self._lock:  # another thread may read
            uses, self._uses = self._uses, array("d")
            self.note_use = self._uses.append
            for seconds in uses:
                self.use_time.add(seconds)
            if self._keep is not None:
                self._pass_on(self._keep, uses)

    def _pass_on(self, keep: Keep, uses: array[float]) -> None:
        keep(DurationKind.USE, uses)
        for kind, measured in (
            (DurationKind.WAIT, self.wait_time),
            (DurationKind.CONNECT, self.connect_time),
        ):
            noted, measured.noted = measured.noted, array("d")
            keep(kind, noted or array("d"))
        fresh = self._immediate - self._immediate_kept
        if fresh > 0:  # less than 0: another thread has read while a checkout was being counted
            keep(DurationKind.WAIT, array("d", bytes(8 * fresh)))
            self._immediate_kept += fresh

    @property
    def _immediate(self) -> int:
        return self.checkouts - sum(self.wait_time.counts)

    def mean_use(self) -> float:
        """The mean time from a checkout to its return, in seconds; 0 = there was none yet."""
        self.sort_uses()
        count = sum(self.use_time.counts)
        return self.use_time.sum / count if count else 0.0

    def merge(self, other: Counters) -> None:
        """Add what another event loop, which has ended, has counted."""
        other.sort_uses()
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.closed.update(other.closed)
        for name in _MEASURED:
            getattr(self, name).merge(getattr(other, name))


@dataclass(frozen=True)
class Gauges:
    """The present state of one event loop's part of the pool."""

    idle: int
    in_use: int
    connecting: int
    waiting: int
    # Being validated or closed, or in the pool's hands for a moment.
    busy: int
    # Of the present outage; 0 = there is none.
    outage_seconds: float = 0.0
    # Without secrets; None = there is none since the latest success.
    last_connect_error: str | None = None

    @property
    def size(self) -> int:
        """Connections that exist or may exist."""
        return self.idle + self.in_use + self.connecting + self.busy


def _trouble(gauges: Gauges) -> tuple[float, bool]:
    return gauges.outage_seconds, gauges.last_connect_error is not None


def snapshot(
    name: str,
    gauges: Iterable[Gauges],
    counters: Iterable[Counters],
    *,
    max_total: float,
    min_size: int,
    is_overloaded: bool,
    longest_use: float,
) -> PoolStats:
    """Add the event loops' numbers up.

    :param max_total: the limit of one event loop.
    :param min_size: the minimum size of one event loop.
    """
    now, parts = list(gauges), list(counters)
    loops = max(1, len(now))  # the pool may not be used yet
    for part in parts:
        part.sort_uses()
    longest = max(now, key=_trouble, default=Gauges(0, 0, 0, 0, 0))
    waits = sum(sum(part.wait_time.counts) for part in parts)
    immediate = max(0, sum(part.checkouts for part in parts) - waits)
    return PoolStats(
        name=name,
        **{name: sum(getattr(each, name) for each in now) for name in _PRESENT},
        **{name: sum(getattr(part, name) for part in parts) for name in _COUNTED},
        is_overloaded=is_overloaded,
        longest_use=longest_use,
        outage_seconds=longest.outage_seconds,
        last_connect_error=longest.last_connect_error,
        max=None if max_total == float("inf") else loops * int(max_total),
        min=loops * min_size,
        waits=waits,
        connects=sum(sum(part.connect_time.counts) for part in parts),
        closed={reason.value: sum(part.closed[reason] for part in parts) for reason in CloseReason},
        wait_time=_distribution((part.wait_time for part in parts), immediate=immediate),
        use_time=_distribution(part.use_time for part in parts),
        connect_time=_distribution(part.connect_time for part in parts),
    )
