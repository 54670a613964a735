"""What an engine reports to OpenTelemetry, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.integrations.opentelemetry import instrument, uninstrument

POOL = "db.client.connection.pool.name"
STATE = "db.client.connection.state"


class Telemetry:
    """Providers of the SDK that keep everything in memory."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @contextmanager
    def of(self, *engines: AsyncEngine, **options: Any) -> Iterator[Telemetry]:
        """Instrument engines inside the block."""
        providers = {
            "meter_provider": self.meter_provider,
            "tracer_provider": self.tracer_provider,
        }
        instrument(*engines, **providers, **options)
        try:
            yield self
        finally:
            uninstrument(*engines)

    # -------------------------------------------------------------------- metrics

    def metrics(self) -> dict[str, Any]:
        """Collect the metrics, by name."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> dict[tuple[str, ...], Any]:
        """Collect the data points of one metric, by the values of their attributes."""
        return {
            tuple(str(value) for _, value in sorted(point.attributes.items())): point
            for point in self.metrics()[name].data.data_points
        }

    def value(self, name: str, *attributes: str) -> Any:
        """Collect one value of a metric, without the name of the pool."""
        found = [
            point.value
            for values, point in self.points(name).items()
            if set(attributes) <= set(values)
        ]
        (value,) = found
        return value

    # ---------------------------------------------------------------------- spans

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that have ended, in the order of their ends, and forget them."""
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found
