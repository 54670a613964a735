"""Metrics for Prometheus (``pip install "sqla-typedpool[prometheus]"``)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.integrations.extras import PackagesOf

with PackagesOf("prometheus"):
    from prometheus_client import REGISTRY, CollectorRegistry, Metric
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.registry import Collector

from sqla_typedpool.errors import CannotRun
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.pool.stats import Distribution, PoolStats

_PREFIX: Final = "sqla_typedpool"
_MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"

_Read: TypeAlias = Callable[[TypedPool, PoolStats], Mapping[str, float]]


def collect_from(*engines: AsyncEngine, registry: CollectorRegistry = REGISTRY) -> PoolCollector:
    """Register the metrics of the engines' pools: once for all engines.

    :param engines: engines with a `TypedPool`.
    :param registry: of prometheus_client.
    :return: the collector, for ``registry.unregister()``.
    :raises CannotRun: ``PROMETHEUS_MULTIPROC_DIR`` is set (see `PoolCollector`), or the registry
        has these metrics already.
    :raises TypeError: an engine has another pool.

    Example::

        collect_from(engine)
        start_http_server(8000)
    """
    collector = PoolCollector(*engines)
    try:
        registry.register(collector)
    except ValueError:
        raise CannotRun(
            "the registry has the metrics of sqla_typedpool already; next: pass all engines to one "
            "collect_from(), or registry.unregister() the collector that it returned before"
        ) from None
    return collector


class _Numbers(NamedTuple):
    """A metric of numbers: by the values of its label, or of "" if it has none."""

    name: str
    is_counter: bool
    help: str
    read: _Read
    label: str = ""


def _states(pool: TypedPool, stats: PoolStats) -> Mapping[str, float]:
    return {"idle": stats.idle, "used": stats.in_use, "opening": stats.connecting}


def _limit(pool: TypedPool, stats: PoolStats) -> Mapping[str, float]:
    return {"": math.inf if stats.max is None else stats.max}


def _gauge(name: str, text: str, read: Callable[[PoolStats], float]) -> _Numbers:
    return _Numbers(name, False, text, lambda pool, stats: {"": read(stats)})


def _counter(name: str, text: str, read: Callable[[PoolStats], float]) -> _Numbers:
    return _Numbers(name, True, text, lambda pool, stats: {"": read(stats)})


NUMBERS: Final = (
    _Numbers("connections", False, "Connections by state", _states, "state"),
    _Numbers("connections_max", False, "The most connections; +Inf if there is no limit", _limit),
    _gauge("connections_min", "Connections that are kept open", lambda stats: stats.min),
    _gauge("pending_requests", "Callers that wait for a connection", lambda stats: stats.waiting),
    _counter("checkouts", "Connections handed out", lambda stats: stats.checkouts),
    _counter("checkout_timeouts", "Checkouts that timed out", lambda stats: stats.timeouts),
    _counter(
        "checkout_cancellations",
        "Checkouts whose caller was cancelled",
        lambda stats: stats.cancelled,
    ),
    _Numbers(
        "checkouts_refused",
        True,
        "Checkouts refused",
        lambda pool, stats: {"saturated": stats.saturated, "shed": stats.shed},
        "reason",
    ),
    _counter("connections_opened", "Connections opened", lambda stats: stats.connects),
    _counter(
        "connect_failures",
        "Attempts to open a connection that failed",
        lambda stats: stats.connect_failures,
    ),
    _Numbers(
        "connections_closed",
        True,
        "Connections closed",
        lambda pool, stats: stats.closed,
        "reason",
    ),
    _counter("pings", "Round trips that checked a connection", lambda stats: stats.pings),
    _counter("pings_failed", "Pings without an answer", lambda stats: stats.failed_pings),
    _counter(
        "dirty_returns",
        "Connections returned with an open transaction",
        lambda stats: stats.dirty_returns,
    ),
    _counter(
        "cancelled_kept",
        "Connections kept although a statement was cancelled",
        lambda stats: stats.kept_cancelled,
    ),
    _counter("leaks", "Connections reported as leaks", lambda stats: stats.leaks),
    _gauge(
        "longest_use_seconds",
        "How long the connection that was checked out first has been in use",
        lambda stats: stats.longest_use,
    ),
    _gauge(
        "outage_seconds",
        "How long no connection could be opened",
        lambda stats: stats.outage_seconds,
    ),
    _gauge(
        "overloaded",
        "1 while the newest caller is served first",
        lambda stats: int(stats.is_overloaded),
    ),
    _counter("overloads", "Overloads that have begun", lambda stats: stats.overloads),
)
HISTOGRAMS: Final[Mapping[str, tuple[str, Callable[[PoolStats], Distribution]]]] = {
    "wait_seconds": ("The time until a checkout has a connection", lambda stats: stats.wait_time),
    "use_seconds": ("The time from a checkout to its return", lambda stats: stats.use_time),
    "connect_seconds": ("The time to open a connection", lambda stats: stats.connect_time),
}


class PoolCollector(Collector):
    """Reads the numbers of the engines' pools at each scrape.

    :param engines: engines with a `TypedPool`.
    :raises CannotRun: ``PROMETHEUS_MULTIPROC_DIR`` is set. In that mode prometheus_client adds
        the files of all processes up, and ignores collectors.
    :raises TypeError: an engine has another pool.
    """

    def __init__(self, *engines: AsyncEngine) -> None:
        if os.environ.get(_MULTIPROCESS):
            raise CannotRun(
                f"{_MULTIPROCESS} is set, and prometheus_client's multiprocess mode ignores "
                "collectors; next: unset it and let Prometheus scrape each worker at its own "
                "port, or export with OpenTelemetry (sqla_typedpool.integrations.opentelemetry)"
            )
        for each in engines:
            TypedPool.of(each)
        self._engines = engines

    def collect(self) -> Iterable[Metric]:
        """Return all metrics; prometheus_client calls it."""
        pools = [TypedPool.of(each) for each in self._engines]
        read = [(pool, pool.stats()) for pool in pools]
        yield from (_numbers(each, read) for each in NUMBERS)
        yield from _histograms([stats for _, stats in read])

    def describe(self) -> Iterable[Metric]:
        """Return the names of all metrics; prometheus_client calls it at the registration."""
        yield from (_numbers(each, []) for each in NUMBERS)
        yield from _histograms([])


def _numbers(each: _Numbers, read: list[tuple[TypedPool, PoolStats]]) -> Metric:
    labels = ["pool", each.label] if each.label else ["pool"]
    family: Any = CounterMetricFamily if each.is_counter else GaugeMetricFamily
    metric: Metric = family(f"{_PREFIX}_{each.name}", each.help, labels=labels)
    for pool, stats in read:
        for value, number in each.read(pool, stats).items():
            metric.add_metric([stats.name, value] if each.label else [stats.name], number)  # type: ignore[attr-defined]
    return metric


def _histograms(pools: list[PoolStats]) -> Iterator[Metric]:
    for name, (text, read) in HISTOGRAMS.items():
        metric = HistogramMetricFamily(f"{_PREFIX}_{name}", text, labels=["pool"])
        for stats in pools:
            found = read(stats)
            buckets = [(_bound(bound), float(count)) for bound, count in found.buckets.items()]
            metric.add_metric([stats.name], buckets, found.sum)
        yield metric


def _bound(seconds: float) -> str:
    return "+Inf" if math.isinf(seconds) else str(seconds)
