"""What the metrics and the spans of OpenTelemetry cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, Tracer
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.interleave import Goal, Reading, Turn
from benchmarks.people import SIX, Person, make_engine, make_tables
from benchmarks.pools import TYPED_OPTIONS
from benchmarks.test_drivers import microseconds
from sqla_typedpool import fetch_one
from tests.integrations.telemetry import Telemetry

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Runner

OFF, OFF_AGAIN, METRICS, SPANS = "off", "off again", "metrics", "spans"
CHECKOUT, FETCH, COLLECTION = "connect and close, us", "fetch_one, us", "a collection, us"
SDK_ALONE = "a span of the SDK alone, us"

Instrumented = Callable[[], AbstractContextManager[object]]


@pytest.fixture
def engine(runner: Runner, server: URL) -> Iterator[AsyncEngine]:
    opened = make_engine(server, TYPED_OPTIONS)
    runner.loop.run_until_complete(make_tables(opened))
    yield opened
    runner.loop.run_until_complete(opened.dispose())


async def span_of_the_sdk(tracer: Tracer) -> None:
    """Make the span of a `fetch_one` with the SDK only: the least that a span can cost."""
    attributes = {
        "db.system.name": "postgresql",
        "db.namespace": "typedpool",
        "server.address": "127.0.0.1",
        "server.port": 5432,
        "db.operation.name": "SELECT",
    }
    span = tracer.start_span("SELECT", kind=SpanKind.CLIENT, attributes=attributes)
    token = context.attach(trace.set_span_in_context(span))
    span.set_attribute("db.response.returned_rows", 1)
    context.detach(token)
    span.end()


def turn_of(
    engine: AsyncEngine, instrumented: Instrumented, telemetry: Telemetry, times: int
) -> Turn:
    """Check out and fetch `times` times each, then collect the metrics once."""
    fetch: Callable[[], Awaitable[object]] = partial(
        fetch_one, engine, Person, f"{SIX} WHERE id = :id", {"id": 7}
    )

    tracer = telemetry.tracer_provider.get_tracer("alone")

    async def connect() -> None:
        async with engine.connect():
            pass

    async def turn() -> Reading:
        with instrumented():
            checkout = await microseconds(connect, 10 * times)
            fetched = await microseconds(fetch, times)
            started = perf_counter()
            telemetry.metrics()
            collection = (perf_counter() - started) * 1e6
            telemetry.exporter.clear()
            alone = await microseconds(partial(span_of_the_sdk, tracer), times)
            telemetry.exporter.clear()
        return {CHECKOUT: checkout, FETCH: fetched, COLLECTION: collection, SDK_ALONE: alone}

    return turn


def test_what_opentelemetry_costs(runner: Runner, engine: AsyncEngine) -> None:
    """Off twice, since the difference of the two is the noise."""
    telemetry, times = Telemetry(), runner.scaled(200, 2)
    how: dict[str, Instrumented] = {
        OFF: nullcontext,
        OFF_AGAIN: nullcontext,
        METRICS: partial(telemetry.of, engine, with_traces=False),
        SPANS: partial(telemetry.of, engine, with_metrics=False),
    }
    turns = {name: turn_of(engine, each, telemetry, times) for name, each in how.items()}
    limits = {(METRICS, CHECKOUT): 1.05, (SPANS, FETCH): 1.15}
    goals = [
        Goal(metric, subject, limits.get((subject, metric)), compared_to=OFF)
        for metric in (CHECKOUT, FETCH)
        for subject in (OFF_AGAIN, METRICS, SPANS)
    ]
    runner.compare("OpenTelemetry, asyncpg", turns, goals)
