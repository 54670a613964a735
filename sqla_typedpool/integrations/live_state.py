"""What the live page shows: the numbers of pools, computed from states of the last minutes."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.pool.log import LOGGER
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.pool.stats import BOUNDS, Distribution, PoolStats
from sqla_typedpool.secrets import mask_secrets

_KEPT_SECONDS: Final = 120.0  # states that a new viewer gets
_WINDOW_SECONDS: Final = 10.0  # over which quantiles and rates are computed
_MOST_STATES: Final = 150
_MOST_HOLDERS: Final = 20
_MOST_EVENTS: Final = 50
_MOST_CHARACTERS: Final = 1000  # of a message
_QUANTILES: Final = (0.5, 0.95, 0.99)
_NOT_SHOWN: Final = frozenset(("close_failed", "kill_failed", "task_failed"))
_NOW: Final = ("in_use", "idle", "connecting", "waiting")
_TOTALS: Final = (
    *("checkouts", "timeouts", "saturated", "shed", "cancelled", "overloads", "leaks"),
    *("connects", "connect_failures", "dirty_returns", "kept_cancelled"),
)


class EventLog(logging.Filter):
    """Keeps the latest events of the pools' log.

    A filter, because a handler would suppress the warnings that Python prints to standard error
    without a logging configuration.

    :param engines: the engines whose pools' events are kept.
    """

    def __init__(self, engines: Sequence[AsyncEngine]) -> None:
        super().__init__()
        self._engines = engines
        self.events: deque[dict[str, Any]] = deque(maxlen=_MOST_EVENTS)

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the event of a record, and pass the record on; the logger calls it."""
        with suppress(Exception):  # the record must be logged in any case
            self._keep(record)
        return True

    def _keep(self, record: logging.LogRecord) -> None:
        event, name = getattr(record, "event", None), getattr(record, "pool", None)
        pool = self._pool_named(name)
        if pool is None or event is None or event in _NOT_SHOWN or record.levelno < logging.INFO:
            return
        text = record.getMessage().removeprefix(f"pool {name}: ")
        message = mask_secrets(text, pool.shared.backend.secrets())
        self.events.append(
            {
                "time": record.created,
                "level": record.levelname,
                "event": event,
                "pool": name,
                "message": message[:_MOST_CHARACTERS],
            }
        )

    def _pool_named(self, name: object) -> TypedPool | None:
        pools = map(TypedPool.of, self._engines)
        return next((each for each in pools if each.shared.name == name), None)


def keep_events(owner: object, engines: Sequence[AsyncEngine]) -> EventLog:
    """Keep the events of these engines' pools from now on, as long as the owner exists."""
    log = EventLog(engines)
    LOGGER.addFilter(log)
    weakref.finalize(owner, LOGGER.removeFilter, log)
    return log


@dataclass(frozen=True)
class _Moment:
    """The numbers of all pools at one time."""

    # By the clock of `History`, and in seconds since the epoch.
    at: float
    time: float
    # `dispose()` replaces the pool of an engine, and the new one counts from zero.
    pools: tuple[weakref.ref[TypedPool], ...]
    stats: tuple[PoolStats, ...]


class History:
    """Makes states, and keeps the numbers of the last minutes.

    :param engines: the engines whose pools are shown.
    :param log: their events.
    """

    def __init__(self, engines: Sequence[AsyncEngine], log: EventLog) -> None:
        self._engines = engines
        self._log = log
        self._moments: deque[_Moment] = deque(maxlen=_MOST_STATES)
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    def new_state(self, at: float) -> bytes:
        """Return the present state as JSON.

        :param at: the present time of a monotonic clock, in seconds.
        """
        pools = [TypedPool.of(each) for each in self._engines]
        stats = tuple(each.stats() for each in pools)
        now = _Moment(at, time.time(), tuple(map(weakref.ref, pools)), stats)
        self._moments.append(now)
        while self._moments[0].at < at - _KEPT_SECONDS:
            self._moments.popleft()
        return _json(
            {
                "time": now.time,
                "worker": self._worker,
                "last_bound": BOUNDS[-1],
                "pools": [self._pool(each, now, index) for index, each in enumerate(pools)],
                "events": list(self._log.events)[::-1],
            }
        )

    def past(self) -> bytes:
        """Return the connections and waiters of the last minutes as JSON, for the chart."""
        pools: dict[str, list[dict[str, float]]] = {}
        for moment in self._moments:
            for stats in moment.stats:
                point = {"time": moment.time, **_present(stats)}
                pools.setdefault(stats.name, []).append(point)
        return _json({"worker": self._worker, "pools": pools})

    def _before(self, pool: TypedPool, now: _Moment, index: int) -> Iterator[_Moment]:
        """Yield what is known of this pool in the window, the oldest first, at last the present."""
        for each in self._moments:
            if each.at >= now.at - _WINDOW_SECONDS and each.pools[index]() is pool:
                yield each

    def _pool(self, pool: TypedPool, now: _Moment, index: int) -> dict[str, Any]:
        first = next(self._before(pool, now, index))
        stats, before, seconds = now.stats[index], first.stats[index], now.at - first.at
        rate = (stats.checkouts - before.checkouts) / seconds if seconds else 0.0
        holders = pool.holders()
        return {
            "name": stats.name,
            "max": stats.max,
            "now": _present(stats),
            "longest_use": stats.longest_use,
            "is_closed": pool.shared.is_closed,
            "is_overloaded": stats.is_overloaded,
            "outage_seconds": stats.outage_seconds,
            "last_connect_error": stats.last_connect_error,
            "window_seconds": seconds,
            "checkouts_per_second": rate,
            "wait": quantiles(stats.wait_time, before.wait_time),
            "use": quantiles(stats.use_time, before.use_time),
            "totals": {name: getattr(stats, name) for name in _TOTALS},
            "closed": {reason: count for reason, count in stats.closed.items() if count},
            "holders": [asdict(each) for each in holders[:_MOST_HOLDERS]],
            "held": len(holders),
        }


def _present(stats: PoolStats) -> dict[str, int]:
    return {name: getattr(stats, name) for name in _NOW}


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def quantiles(now: Distribution, before: Distribution) -> dict[str, float | None]:
    """Return upper bounds of quantiles of the durations between two snapshots, in seconds.

    :return: ``count``, the number of durations, and ``p50``, ``p95``, ``p99``. A quantile is None
        if there were no durations, or if it is longer than the last finite bound.
    """
    counts = {bound: now.buckets[bound] - before.buckets[bound] for bound in now.buckets}
    total = counts[float("inf")]
    found: dict[str, float | None] = {"count": total}
    for each in _QUANTILES:
        reached = (bound for bound in BOUNDS if total and counts[bound] >= total * each)
        found[f"p{each * 100:g}"] = next(reached, None)
    return found
