"""The report: the rows that compare two runs, how to read them, and the JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy

from examples.demo.figures import PoolFigures
from examples.demo.load import MEAN_PAUSE, PAUSE_AFTER_FAILURE, SEED
from examples.demo.pool_run import (
    DOWN_SECONDS,
    IDLE_TIMEOUT,
    MIN_SIZE,
    POOL_SIZE,
    POOL_TIMEOUT,
    RunSettings,
)


class Row(NamedTuple):
    """One line of the table; a row without figures is a heading."""

    label: str
    stock: str = ""
    typed: str = ""


def comparison(stock: PoolFigures, typed: PoolFigures, settings: RunSettings) -> list[Row]:
    """Return the rows of the table, those about the crash only if there was one."""
    rows = [
        _counts("requests completed", stock.completed, typed.completed),
        _counts("requests failed", stock.failed, typed.failed),
        *_failure_rows(stock, typed),
        *_checkout_rows(stock, typed),
        _counts("connections opened", _opened(stock), _opened(typed)),
    ]
    if settings.restart:
        rows += _restart_rows(stock, typed, settings.workers)
    idle = f"connections open after {settings.schedule.idle:g} s without requests"
    return [*rows, _counts(idle, stock.idle_connections, typed.idle_connections)]


def _failure_rows(stock: PoolFigures, typed: PoolFigures) -> Iterator[Row]:
    for kind, count in stock.failures.items():
        yield _counts(f"  {kind}", count, typed.failures[kind])


def _checkout_rows(stock: PoolFigures, typed: PoolFigures) -> Iterator[Row]:
    yield Row("time of a checkout under steady load")
    yield _times("  median", stock.steady.p50_ms, typed.steady.p50_ms)
    yield _times("  99th percentile", stock.steady.p99_ms, typed.steady.p99_ms)
    yield _times("  maximum", stock.steady.max_ms, typed.steady.max_ms)


def _restart_rows(stock: PoolFigures, typed: PoolFigures, workers: int) -> Iterator[Row]:
    yield _counts("  of these before the crash", stock.opened_before, typed.opened_before)
    yield Row("crash and restart of the server")
    yield _times("  server was down for", stock.outage_ms, typed.outage_ms)
    yield _times("  then first response after", stock.first_response_ms, typed.first_response_ms)
    everyone = f"  then all {workers} callers served after"
    yield _times(everyone, stock.all_workers_ms, typed.all_workers_ms)
    yield _times("  longest checkout", stock.later_max_ms, typed.later_max_ms)


def reading_notes(settings: RunSettings) -> Iterator[str]:
    """Explain the table, one paragraph each."""
    yield (
        "The stock pool runs with pool_pre_ping=True, so it pings the server at every checkout."
        " TypedPool pings only a connection that was unused for more than half a second."
    )
    if settings.restart:
        yield (
            "A request that is running when the server crashes fails with any pool. A caller that"
            " needs a connection while the server is down gets a connect error from the stock"
            " pool. TypedPool lets it wait, within pool_timeout, and serves it when the server is"
            " back, so its longest checkout includes the time without a server."
        )
        yield (
            "First response: with the stock pool each caller retries, every"
            f" {PAUSE_AFTER_FAILURE * 1000:g} ms, so one of them soon finds the server. TypedPool"
            " retries itself, with pauses that grow to one second: its first response may come"
            " later, but no caller had to retry."
        )
    yield (
        f"TypedPool runs with pool_idle_timeout={IDLE_TIMEOUT:g} and pool_min_size={MIN_SIZE}, so"
        " that it closes unused connections within seconds (the defaults are 600 and 0). The"
        " stock pool has no such options."
    )
    yield (
        "Each pool ran once, on this machine. Small differences mean nothing, and a second run"
        " gives other figures."
    )


def introduction(settings: RunSettings) -> Iterator[str]:
    """Explain both runs before the first one, one paragraph each."""
    schedule = settings.schedule
    yield (
        "Two runs with the same load, first on SQLAlchemy's stock pool, then on TypedPool:"
        f" {settings.workers} concurrent callers read PostgreSQL's catalogs for"
        f" {schedule.load:g} s through at most {POOL_SIZE} connections (pool_timeout"
        f" {POOL_TIMEOUT:g} s). Each pauses {MEAN_PAUSE * 1000:g} ms on average after a response"
        f" and {PAUSE_AFTER_FAILURE * 1000:g} ms after an error."
    )
    if settings.restart:
        yield (
            f"In the middle of each run the server is killed, and started again {DOWN_SECONDS:g} s"
            f" later. The load is followed by {schedule.idle:g} s without requests."
        )
    else:
        yield (
            "This is your own database: the demo only reads its catalogs and runs pg_sleep, and"
            f" does not restart it. The load is followed by {schedule.idle:g} s without requests."
        )


def as_json(
    runs: tuple[PoolFigures, PoolFigures], settings: RunSettings, server: str
) -> dict[str, Any]:
    """Return all figures, the settings and the versions as data for `json.dumps`."""
    return {
        "settings": {
            "workers": settings.workers,
            "load_seconds": settings.schedule.load,
            "idle_seconds": settings.schedule.idle,
            "down_seconds": DOWN_SECONDS if settings.restart else None,
            "pool_size": POOL_SIZE,
            "pool_timeout": POOL_TIMEOUT,
            "mean_pause": MEAN_PAUSE,
            "pause_after_failure": PAUSE_AFTER_FAILURE,
            "seed": SEED,
        },
        "versions": {
            "python": platform.python_version(),
            "sqlalchemy": sqlalchemy.__version__,
            "postgresql": server,
        },
        "runs": [run.as_json() for run in runs],
    }


def _opened(run: PoolFigures) -> int:
    return run.opened_before + run.opened_after


def _counts(label: str, stock: int | None, typed: int | None) -> Row:
    return Row(label, *("-" if count is None else f"{count:,}" for count in (stock, typed)))


def _times(label: str, stock_ms: float | None, typed_ms: float | None) -> Row:
    return Row(label, milliseconds(stock_ms), milliseconds(typed_ms))


def milliseconds(value: float | None) -> str:
    """Format a time: two decimals below 10 ms, none above."""
    if value is None:
        return "-"
    return f"{value:.2f} ms" if value < 10 else f"{value:,.0f} ms"
