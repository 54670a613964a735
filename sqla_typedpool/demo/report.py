"""What is told at the end: the rows that compare two legs, how to read them, and the JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy

from sqla_typedpool.demo.figures import LegFigures
from sqla_typedpool.demo.leg import AWAY, IDLE_TIMEOUT, MIN_SIZE, POOL_SIZE, POOL_TIMEOUT, Stage
from sqla_typedpool.demo.load import MEAN_PAUSE, PAUSE_AFTER_FAILURE, SEED


class Row(NamedTuple):
    """One line of the comparison; a row without figures is a heading."""

    label: str
    stock: str = ""
    typed: str = ""


def comparison(stock: LegFigures, typed: LegFigures, stage: Stage) -> list[Row]:
    """The rows of the final table, those about the restart only if there was one."""
    rows = [
        _counts("requests answered", stock.answered, typed.answered),
        _counts("failures seen by callers", stock.failed, typed.failed),
        *_failure_rows(stock, typed),
        *_checkout_rows(stock, typed),
        _counts("new connections opened", _opened(stock), _opened(typed)),
    ]
    if stage.restart:
        rows += _restart_rows(stock, typed, stage.workers)
    quiet = f"connections open after {stage.times.quiet:g} s without work"
    return [*rows, _counts(quiet, stock.idle_connections, typed.idle_connections)]


def _failure_rows(stock: LegFigures, typed: LegFigures) -> Iterator[Row]:
    for kind, count in stock.failures.items():
        yield _counts(f"  {kind}", count, typed.failures[kind])


def _checkout_rows(stock: LegFigures, typed: LegFigures) -> Iterator[Row]:
    yield Row("time to get a connection, in normal running")
    yield _times("  half of the callers had it within (p50)", stock.calm.p50_ms, typed.calm.p50_ms)
    yield _times("  99 in 100 had it within (p99)", stock.calm.p99_ms, typed.calm.p99_ms)
    yield _times("  the slowest", stock.calm.max_ms, typed.calm.max_ms)


def _restart_rows(stock: LegFigures, typed: LegFigures, workers: int) -> Iterator[Row]:
    yield _counts("  of them before the crash", stock.opened_before, typed.opened_before)
    yield Row("the crash of the server")
    yield _times("  it was away for", stock.outage_ms, typed.outage_ms)
    yield _times("  first answer after it was back", stock.first_answer_ms, typed.first_answer_ms)
    everyone = f"  all {workers} callers served again"
    yield _times(everyone, stock.all_workers_ms, typed.all_workers_ms)
    yield _times("  longest wait for a connection", stock.later_max_ms, typed.later_max_ms)


def reading_notes(stage: Stage) -> Iterator[str]:
    """How to read the table, one paragraph each."""
    yield (
        "The stock pool runs with pool_pre_ping=True, so it asks the server at every checkout;"
        " TypedPool asks only if a connection lay unused for more than half a second."
    )
    if stage.restart:
        yield (
            "A request that was under way when the server died is cut off: no pool can save it."
            " A caller who only asked for a connection while the server was away gets"
            " the connect error from the stock pool; TypedPool lets it wait, within pool_timeout,"
            " and serves it when the server is back. So its longest wait includes the outage."
        )
        yield (
            "The first answer: the stock pool's callers try again on their own, every"
            f" {PAUSE_AFTER_FAILURE * 1000:g} ms each, so one of them soon meets the server."
            " TypedPool tries again itself, in growing pauses of up to a second, so its first"
            " answer may come later, but nobody had to try again for it."
        )
    yield (
        f"TypedPool ran with pool_idle_timeout={IDLE_TIMEOUT:g} and pool_min_size={MIN_SIZE} to"
        " show within seconds that unused connections are closed (the defaults are 600 s and 0);"
        " the stock pool has no such setting."
    )
    yield (
        "One run each, one after the other, on this machine: small differences mean nothing, and"
        " a second run gives other figures."
    )


def script_notes(stage: Stage) -> Iterator[str]:
    """What both legs do, told before the first begins."""
    yield (
        f"Two runs of the same script, first with SQLAlchemy's stock pool, then with TypedPool:"
        f" {stage.workers} concurrent callers read PostgreSQL's own catalogs for"
        f" {stage.times.load:g} s through at most {POOL_SIZE} connections (pool_timeout"
        f" {POOL_TIMEOUT:g} s). Each rests {MEAN_PAUSE * 1000:g} ms on average after an answer and"
        f" {PAUSE_AFTER_FAILURE * 1000:g} ms after an error; same questions, same seed."
    )
    if stage.restart:
        yield (
            f"In the middle of each run the server is killed, and started again {AWAY:g} s later."
            f" After the load nobody asks for {stage.times.quiet:g} s."
        )
    else:
        yield (
            "This is your own database: it is only read (catalog tables), and it is never"
            f" restarted. After the load nobody asks for {stage.times.quiet:g} s."
        )


def as_json(legs: tuple[LegFigures, LegFigures], stage: Stage, server: str) -> dict[str, Any]:
    """All figures and what they were taken with."""
    return {
        "settings": {
            "workers": stage.workers,
            "load_seconds": stage.times.load,
            "quiet_seconds": stage.times.quiet,
            "away_seconds": AWAY if stage.restart else None,
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
        "legs": [leg.as_json() for leg in legs],
    }


def _opened(leg: LegFigures) -> int:
    return leg.opened_before + leg.opened_after


def _counts(label: str, stock: int | None, typed: int | None) -> Row:
    return Row(label, *("-" if count is None else f"{count:,}" for count in (stock, typed)))


def _times(label: str, stock_ms: float | None, typed_ms: float | None) -> Row:
    return Row(label, milliseconds(stock_ms), milliseconds(typed_ms))


def milliseconds(value: float | None) -> str:
    """A time as people read it: two decimals while it is small, none when it is large."""
    if value is None:
        return "-"
    return f"{value:.2f} ms" if value < 10 else f"{value:,.0f} ms"
