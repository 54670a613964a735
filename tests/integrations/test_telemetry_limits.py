"""OpenTelemetry changes nothing of the application: no error, no engine kept alive, no secret."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from sqlalchemy import Integer, select
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_typedpool import PoolTimeout, StatementTimeout, TypedPool, fetch_all, fetch_one, stream
from sqla_typedpool.fetch import observing
from sqla_typedpool.fetch.fast.call import Call
from sqla_typedpool.integrations import opentelemetry as ours
from sqla_typedpool.integrations.opentelemetry import instrument, uninstrument
from tests.integrations.telemetry import Telemetry
from tests.integrations.test_metrics import CONNECTION, file_engine
from tests.support.engines import PATIENCE, run

SLOW = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
LATER = """
import asyncio
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from sqlalchemy.ext.asyncio import create_async_engine
from sqla_typedpool import TypedPool
from sqla_typedpool.integrations.opentelemetry import instrument

def engine(name):
    return create_async_engine("sqlite+aiosqlite://", poolclass=TypedPool, pool_name=name)

before, after = engine("before"), engine("after")
instrument(before)
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
instrument(after)
instrument(before)
(resource,) = reader.get_metrics_data().resource_metrics
(scope,) = resource.scope_metrics
for metric in scope.metrics:
    if metric.name == "db.client.connection.idle.max":
        print(*sorted(each.attributes["db.client.connection.pool.name"]
                      for each in metric.data.data_points))
"""


class Base(DeclarativeBase): ...


class Item(Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)


class Other(Base):
    __tablename__ = "other"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)


class Broken(SpanProcessor):
    """Raises an error at one of the two moments."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        if self.moment == "start":
            raise ZeroDivisionError

    def on_end(self, span: ReadableSpan) -> None:
        if self.moment == "end":
            raise ZeroDivisionError


def attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


# ------------------------------------------------------------------------- errors


@pytest.mark.parametrize("moment", ["start", "end"])
def test_an_error_of_a_span_processor_fails_no_call_and_loses_no_connection(
    moment: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.5)
        telemetry = Telemetry()
        telemetry.tracer_provider.add_span_processor(Broken(moment))
        with telemetry.of(engine):
            for _ in range(3):
                assert await fetch_one(engine, int, "SELECT 1") == 1
                assert [each async for each in stream(engine, int, "SELECT 1")] == [1]
                async with engine.connect():
                    with pytest.raises(PoolTimeout):
                        await fetch_one(engine, int, "SELECT 1")
            stats = TypedPool.of(engine).stats()
        await engine.dispose()
        assert (stats.in_use, stats.connects) == (0, 1)

    run(main())
    assert "OpenTelemetry failed with ZeroDivisionError" in caplog.text


def test_an_error_of_a_histogram_leaves_the_pool_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        engine, telemetry = file_engine(tmp_path), Telemetry()
        with telemetry.of(engine):
            (reported,) = ours._reported[telemetry.meter_provider]._engines.values()
            monkeypatch.setattr(reported(), "_histograms", {})  # KeyError
            await fetch_one(engine, int, "SELECT 1")
            assert telemetry.value(f"{CONNECTION}.count", "idle") == 1
        await engine.dispose()

    run(main())
    assert "OpenTelemetry failed with KeyError" in caplog.text


def test_a_call_that_is_closed_in_another_context_logs_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        call = Call("SELECT 1", None, int, wants_rows=True)
        waits = asyncio.get_running_loop().create_future
        with Telemetry().of(engine) as telemetry:
            assert observing.observer is not None
            observed = observing.observer.observe(engine, call, None, waits)
            contextvars.Context().run(observed.send, None)  # as a task does
            observed.close()  # as the garbage collector does
            (span,) = telemetry.spans()
            assert attribute(span, "error.type") == "builtins.GeneratorExit"
        await engine.dispose()

    run(main())
    assert "Failed to detach context" not in caplog.text


def test_a_call_that_ends_by_its_timeout_has_the_error_that_the_caller_gets(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0)
        with Telemetry().of(engine) as telemetry:
            async with engine.connect():
                telemetry.spans()
                with pytest.raises(StatementTimeout):
                    await fetch_one(engine, int, "SELECT 1", timeout=0.05)
                *_, timed_out = telemetry.spans()
                task = asyncio.ensure_future(fetch_one(engine, int, "SELECT 1", timeout=PATIENCE))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                *_, cancelled = telemetry.spans()
        await engine.dispose()
        assert attribute(timed_out, "error.type") == "sqla_typedpool.errors.StatementTimeout"
        assert attribute(cancelled, "error.type") == "asyncio.exceptions.CancelledError"

    run(main())


# ------------------------------------------------------------------------ engines


@pytest.mark.parametrize("is_used", [True, False])
def test_an_engine_that_is_instrumented_can_be_garbage_collected(
    is_used: bool, tmp_path: Path
) -> None:
    telemetry = Telemetry()

    async def main() -> weakref.ref[Any]:
        engine = file_engine(tmp_path)
        instrument(
            engine,
            meter_provider=telemetry.meter_provider,
            tracer_provider=telemetry.tracer_provider,
        )
        for _ in range(2 if is_used else 0):
            await fetch_one(engine, int, "SELECT 1")
            telemetry.metrics()
            await engine.dispose()
        return weakref.ref(engine.sync_engine)

    engine = asyncio.run(main())
    gc.collect()
    assert engine() is None
    assert f"{CONNECTION}.max" not in telemetry.metrics()


def test_an_engine_with_execution_options_has_spans_and_its_pool_is_reported_once(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        other = engine.execution_options(isolation_level="AUTOCOMMIT")
        with Telemetry().of(engine) as telemetry:
            await fetch_one(engine, int, "SELECT 1")
            telemetry.spans()
            await fetch_one(other, int, "SELECT 1")
            async with other.connect() as connection:
                await fetch_one(connection, int, "SELECT 1")
            assert [each.name for each in telemetry.spans()] == ["SELECT", "SELECT"]
        with Telemetry().of(other, engine) as telemetry:
            await fetch_one(engine, int, "SELECT 1")
            (uses,) = telemetry.points(f"{CONNECTION}.use_time").values()
            assert uses.count == 1
        await engine.dispose()

    run(main())


def test_a_session_with_several_engines_has_spans_of_the_one_that_runs_the_statement(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        engines = [file_engine(tmp_path), create_async_engine("sqlite+aiosqlite://")]
        async with engines[0].begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        with Telemetry().of(engines[0]) as telemetry:
            binds = {Item: engines[0], Other: engines[1]}
            async with AsyncSession(binds=binds) as session:
                await fetch_all(session, int, select(Item.id))
                assert telemetry.spans()[-1].name == "SELECT"
                async with engines[1].begin() as connection:
                    await connection.run_sync(Base.metadata.create_all)
                await fetch_all(session, int, select(Other.id))
                assert telemetry.spans() == []
        for engine in engines:
            await engine.dispose()

    run(main())


def test_a_stream_of_a_scoped_session_has_a_span(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        session = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        with Telemetry().of(engine) as telemetry:
            assert [each async for each in stream(session, int, "SELECT 1")] == [1]
            assert await fetch_one(session, int, "SELECT 1") == 1
            names = [each.name for each in telemetry.spans() if each.name != "checkout"]
            assert names == ["SELECT", "SELECT"]
        await session.remove()
        await engine.dispose()

    run(main())


@pytest.mark.parametrize("password", ["p@hunter2", "p@hun/hunter2"])
def test_no_part_of_a_password_is_in_a_span(password: str) -> None:
    pytest.importorskip("asyncpg")

    async def main() -> None:
        url = f"postgresql+asyncpg://tester:{password}@127.0.0.1:1/nowhere"
        engine: AsyncEngine = create_async_engine(url, poolclass=TypedPool, pool_connect_retry=0)
        with Telemetry().of(engine) as telemetry:
            with pytest.raises((OSError, Exception)):
                await fetch_one(engine, int, "SELECT 1", timeout=PATIENCE)
            shown = "".join(each.to_json() for each in telemetry.spans())
        await engine.dispose()
        assert "nowhere" in shown
        assert "hunter2" not in shown

    run(main())


# ---------------------------------------------------------------------- providers


def test_another_provider_takes_the_place_of_the_first(tmp_path: Path) -> None:
    async def main() -> None:
        engine, first, second = file_engine(tmp_path), Telemetry(), Telemetry()
        for each in (first, second, second):
            instrument(
                engine, meter_provider=each.meter_provider, tracer_provider=each.tracer_provider
            )
        await fetch_one(engine, int, "SELECT 1")
        names = set(second.metrics())
        assert {f"{CONNECTION}.use_time", f"{CONNECTION}.max"} <= names
        assert first.metrics().keys() & names == set()
        assert second.spans()
        assert first.spans() == []
        uninstrument(engine)
        await engine.dispose()

    run(main())


def test_engines_are_reported_before_and_after_the_global_provider_is_set() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATER], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.stdout, done.stderr) == ("after before\n", "")


def test_every_reader_gets_all_and_differences_are_those_since_its_last_collection(
    tmp_path: Path,
) -> None:
    delta = dict.fromkeys((ObservableCounter, Histogram), AggregationTemporality.DELTA)

    async def main() -> None:
        readers = InMemoryMetricReader(), InMemoryMetricReader(delta)
        telemetry = Telemetry()
        telemetry.meter_provider = MeterProvider(readers)
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.5)
        found: list[list[int]] = [[], []]
        with telemetry.of(engine):
            for times in (1, 2, 0):
                async with engine.connect():
                    for _ in range(times):
                        with pytest.raises(PoolTimeout):
                            await engine.connect()
                await engine.dispose()
                for reader, values in zip(readers, found, strict=True):
                    telemetry.reader = reader
                    collected = telemetry.metrics()
                    (timeouts,) = collected[f"{CONNECTION}.timeouts"].data.data_points
                    (uses,) = collected[f"{CONNECTION}.use_time"].data.data_points
                    values += [timeouts.value, uses.count]
        assert found == [[1, 1, 3, 2, 3, 3], [1, 1, 2, 1, 0, 1]]

    run(main())


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
