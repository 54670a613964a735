"""The pool's numbers: counted while it works, read as one frozen picture.

``Tally`` is what the pool adds to (a few integers, one per event loop);
``PoolStats`` is what a reader gets. Exporters (OpenTelemetry, Prometheus) read
``PoolStats`` when they are scraped, so nothing is called per checkout for them.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["BOUNDS", "CLOSE_REASONS", "Distribution", "PoolStats", "Tally"]

# OpenTelemetry's advice for db.client.operation.duration, with finer steps below
# a millisecond, where a pool lives.
BOUNDS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)

CLOSE_REASONS: Final = (
    "overflow",  # returned while nobody waited and pool_size were idle already
    "idle",  # unused for pool_idle_timeout
    "lifetime",  # older than pool_max_lifetime, or retire_all()
    "failover",  # made before the server became read-only
    "dead",  # the local probe found it closed
    "ping",  # the round trip failed or took too long
    "invalidated",  # by a statement's error, a cancellation or the application
    "detached",  # taken out of the pool by the application
    "dispose",  # dispose(), or returned after it
    "close",  # TypedPool.close()
    "loop",  # its event loop has ended
)


@dataclass(frozen=True)
class Distribution:
    """How long something took: enough for an average and for quantiles."""

    count: int
    """How many were measured."""
    sum: float
    """Their sum in seconds."""
    buckets: Mapping[float, int]
    """Upper bound in seconds -> how many took that long or less (cumulative;
    the last bound is infinite and equals ``count``)."""


@dataclass(frozen=True)
class PoolStats:
    """A picture of one pool, all its event loops added up.

    Example::

        stats = TypedPool.of(engine).stats()
        print(stats.in_use, stats.max, stats.wait_time.sum / stats.wait_time.count)
    """

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
    """The most connections allowed per event loop (None = no limit)."""
    min: int
    """The connections kept open per event loop (``pool_min_size``)."""
    checkouts: int
    """Connections handed out since the start."""
    waits: int
    """Checkouts that had to queue (those that timed out not counted)."""
    timeouts: int
    """Checkouts ended by their deadline."""
    saturated: int
    """Checkouts refused because ``pool_max_waiting`` callers waited."""
    cancelled: int
    """Checkouts whose caller was cancelled while it waited."""
    connects: int
    """Connections opened."""
    connect_failures: int
    """Attempts to open a connection that failed."""
    pings: int
    """Unused connections asked with a round trip whether they live."""
    failed_pings: int
    """Those that did not answer, or not in time."""
    closed: Mapping[str, int]
    """Connections closed, by reason (see ``CLOSE_REASONS``)."""
    wait_time: Distribution
    """Seconds from asking for a connection to having it."""
    use_time: Distribution
    """Seconds from having a connection to its return."""
    connect_time: Distribution
    """Seconds to open a connection, connect events included."""


class _Histogram:
    """Counts per bucket, not yet added up: one ``bisect`` and three additions."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


def _distribution(histograms: Iterable[_Histogram], *, at_once: int = 0) -> Distribution:
    """Add histograms up; ``at_once`` took no measurable time and were not added."""
    parts = list(histograms)
    buckets: dict[float, int] = {}
    running = at_once
    for place, bound in enumerate((*BOUNDS, float("inf"))):
        running += sum(part.counts[place] for part in parts)
        buckets[bound] = running
    return Distribution(count=running, sum=sum(part.sum for part in parts), buckets=buckets)


class Tally:
    """What one event loop's part of the pool has counted."""

    def __init__(self) -> None:
        self.checkouts = 0
        self.timeouts = 0
        self.saturated = 0
        self.cancelled = 0
        self.connect_failures = 0
        self.pings = 0
        self.failed_pings = 0
        self.closed: Counter[str] = Counter()
        self.wait_time = _Histogram()
        self.use_time = _Histogram()
        # A return only notes how long it was; sorting into buckets can wait.
        self.uses = array("d")
        self.note_use = self.uses.append
        self.connect_time = _Histogram()
        self._counting = threading.Lock()

    def count_uses(self) -> None:
        """Put the noted uses into their buckets: each keeper's round, and before reading."""
        with self._counting:  # a scraper may read from another thread
            uses, self.uses = self.uses, array("d")
            self.note_use = self.uses.append
            for seconds in uses:
                self.use_time.add(seconds)

    def add(self, other: Tally) -> None:
        """Keep what a finished event loop has counted."""
        other.count_uses()
        for name in ("checkouts", "timeouts", "saturated", "cancelled"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("connect_failures", "pings", "failed_pings"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.closed.update(other.closed)
        for name in ("wait_time", "use_time", "connect_time"):
            mine, theirs = getattr(self, name), getattr(other, name)
            mine.counts = [a + b for a, b in zip(mine.counts, theirs.counts, strict=True)]
            mine.sum += theirs.sum


@dataclass(frozen=True)
class Gauges:
    """The present state of one event loop's part of the pool."""

    idle: int = 0
    in_use: int = 0
    opening: int = 0
    busy: int = 0  # validating or closing
    waiting: int = 0


def picture(
    gauges: Iterable[Gauges], tallies: Iterable[Tally], *, most: float, least: int
) -> PoolStats:
    """Put the loops' numbers together."""
    now = list(gauges)
    past = list(tallies)
    for tally in past:
        tally.count_uses()
    waits = sum(sum(tally.wait_time.counts) for tally in past)
    checkouts = sum(tally.checkouts for tally in past)
    return PoolStats(
        size=sum(each.idle + each.in_use + each.opening + each.busy for each in now),
        idle=sum(each.idle for each in now),
        in_use=sum(each.in_use for each in now),
        connecting=sum(each.opening for each in now),
        waiting=sum(each.waiting for each in now),
        max=None if most == float("inf") else int(most),
        min=least,
        checkouts=checkouts,
        waits=waits,
        timeouts=sum(tally.timeouts for tally in past),
        saturated=sum(tally.saturated for tally in past),
        cancelled=sum(tally.cancelled for tally in past),
        connects=sum(sum(tally.connect_time.counts) for tally in past),
        connect_failures=sum(tally.connect_failures for tally in past),
        pings=sum(tally.pings for tally in past),
        failed_pings=sum(tally.failed_pings for tally in past),
        closed={reason: sum(tally.closed[reason] for tally in past) for reason in CLOSE_REASONS},
        wait_time=_distribution(
            (tally.wait_time for tally in past), at_once=max(0, checkouts - waits)
        ),
        use_time=_distribution(tally.use_time for tally in past),
        connect_time=_distribution(tally.connect_time for tally in past),
    )
