"""The spans of OpenTelemetry: one for each typed call, and one for each checkout that waited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, NoResultFound
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sqla_typedpool import (
    Executor,
    PoolTimeout,
    RowValueError,
    StatementTimeout,
    execute,
    fetch_all,
    fetch_one,
    fetch_optional,
    query,
    stream,
)
from sqla_typedpool.fetch import observing
from sqla_typedpool.pool import observers
from tests.integrations.telemetry import POOL, Telemetry
from tests.integrations.test_metrics import file_engine
from tests.support.engines import PATIENCE, run

ROWS = "SELECT 1 UNION SELECT 2"
ROWS_RETURNED = "db.response.returned_rows"


@query("SELECT 1 WHERE :secret <> ''")
async def numbers(db: Executor, secret: str) -> list[int]: ...


@query(ROWS)
def streamed(db: Executor) -> AsyncIterator[int]: ...


def names(spans: list[ReadableSpan]) -> list[str]:
    return [each.name for each in spans]


def test_each_typed_call_has_one_span_with_the_number_of_its_rows(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        await fetch_one(engine, int, "SELECT 1")
        with Telemetry().of(engine) as telemetry:
            await fetch_all(engine, int, ROWS)
            await fetch_one(engine, int, "SELECT 1")
            await fetch_optional(engine, int, "SELECT 1 WHERE 0")
            await execute(engine, "CREATE TABLE t (n int)")
            await execute(engine, "INSERT INTO t VALUES (:n)", [{"n": 1}, {"n": 2}])
            async with engine.connect() as connection:
                await fetch_one(connection, int, select(1))
            async with AsyncSession(engine) as session:
                await fetch_one(session, int, text("WITH x AS (SELECT 7) SELECT * FROM x"))
            found = [
                (each.name, (each.attributes or {}).get(ROWS_RETURNED))
                for each in telemetry.spans()
            ]
        await engine.dispose()
        assert found == [
            ("SELECT", 2),
            ("SELECT", 1),
            ("SELECT", 0),
            ("CREATE", None),
            ("INSERT", None),
            ("SELECT", 1),
            ("SELECT", 1),
        ]

    run(main())


def test_a_declared_query_gives_its_name_to_the_span(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        with Telemetry().of(engine) as telemetry:
            await fetch_one(engine, int, "SELECT 1")
            telemetry.spans()
            await numbers(engine, "hunter2")
            await asyncio.create_task(numbers(engine, "hunter2"))
            async for _ in streamed(engine):
                pass
            spans = telemetry.spans()
        await engine.dispose()
        module = __name__
        assert names(spans) == [f"{module}.numbers", f"{module}.numbers", f"{module}.streamed"]
        for span in spans:
            assert dict(span.attributes or {}) == {
                "db.system.name": "sqlite",
                "db.namespace": str(tmp_path / "file.db"),
                "db.query.summary": span.name,
                "db.operation.name": "SELECT",
                ROWS_RETURNED: 2 if span is spans[2] else 1,
            }
            assert span.kind is SpanKind.CLIENT

    run(main())


def test_no_value_and_no_message_of_an_error_is_in_a_span(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        with Telemetry().of(engine) as telemetry:
            await numbers(engine, "hunter2")
            with pytest.raises(DBAPIError):
                await execute(engine, "INSERT INTO nowhere VALUES (:n)", {"n": "hunter2"})
            with pytest.raises(RowValueError):
                await fetch_one(engine, int, "SELECT 'hunter2'")
            shown = [each.to_json() for each in telemetry.spans()]
        await engine.dispose()
        assert len(shown) == 4  # one of them of the first checkout
        assert "hunter2" not in "".join(shown)

    run(main())


def test_an_error_is_noted_with_its_class(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        with Telemetry().of(engine) as telemetry:
            await fetch_one(engine, int, "SELECT 1")
            telemetry.spans()
            with pytest.raises(DBAPIError):
                await fetch_one(engine, int, "SELECT nothing")
            with pytest.raises(RowValueError):
                await fetch_one(engine, int, "SELECT 'a'")
            with pytest.raises(NoResultFound):  # the call counts the rows after the statement
                await fetch_one(engine, int, "SELECT 1 WHERE 0")
            spans = telemetry.spans()
        await engine.dispose()
        shown = [
            ((each.attributes or {}).get("error.type"), each.status.status_code) for each in spans
        ]
        assert shown == [
            ("sqlite3.OperationalError", StatusCode.ERROR),
            ("sqla_typedpool.errors.RowValueError", StatusCode.ERROR),
            (None, StatusCode.UNSET),
        ]

    run(main())


def test_a_span_is_a_child_of_the_callers_span_and_the_parent_of_its_checkout(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_name="orders")
        with Telemetry().of(engine) as telemetry:
            await fetch_one(engine, int, "SELECT 1")
            telemetry.spans()
            tracer = telemetry.tracer_provider.get_tracer("application")
            connection = await engine.connect()
            with tracer.start_as_current_span("request"):
                waiting = asyncio.ensure_future(fetch_one(engine, int, "SELECT 1", timeout=10))
                while not telemetry.value("db.client.connection.pending_requests", "orders"):
                    await asyncio.sleep(0)
                await connection.close()
                await asyncio.wait_for(waiting, PATIENCE)
            checkout, call, request = telemetry.spans()
        await engine.dispose()
        assert names([checkout, call, request]) == ["checkout", "SELECT", "request"]
        assert call.parent == request.context
        assert checkout.parent == call.context
        assert dict(checkout.attributes or {}) == {POOL: "orders"}
        assert checkout.start_time
        assert call.start_time
        assert checkout.start_time >= call.start_time

    run(main())


def test_a_checkout_of_the_application_that_waited_has_a_span_and_one_that_did_not_has_none(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.5)
        async with engine.connect():
            pass
        with Telemetry().of(engine) as telemetry:
            async with engine.connect():
                assert telemetry.spans() == []
                with pytest.raises(PoolTimeout):
                    await engine.connect()
                (span,) = telemetry.spans()
                waiting = asyncio.ensure_future(engine.connect())
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                (cancelled,) = telemetry.spans()
        await engine.dispose()
        assert (span.attributes or {})["error.type"] == "sqla_typedpool.errors.PoolTimeout"
        assert span.end_time
        assert span.start_time
        assert span.end_time - span.start_time >= 0.05e9
        assert "CancelledError" in str((cancelled.attributes or {})["error.type"])

    run(main())


def test_a_stream_has_one_span_also_if_the_loop_is_left_early(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        with Telemetry().of(engine) as telemetry:
            await fetch_one(engine, int, "SELECT 1")
            telemetry.spans()
            async with aclosing(stream(engine, int, ROWS)) as rows:
                async for _ in rows:
                    break
            (left,) = telemetry.spans()
            with pytest.raises(RowValueError):
                async for _ in stream(engine, int, "SELECT 1 UNION SELECT 'a'"):
                    pass
            (failed,) = telemetry.spans()
        await engine.dispose()
        assert ((left.attributes or {})[ROWS_RETURNED], left.status.status_code) == (
            1,
            StatusCode.UNSET,
        )
        assert failed.status.status_code is StatusCode.ERROR

    run(main())


def test_calls_with_a_span_are_on_the_fast_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        with Telemetry().of(engine):
            await fetch_one(engine, int, "SELECT 1")
            with caplog.at_level(logging.DEBUG, "sqla_typedpool.fetch"):
                await fetch_one(engine, int, "SELECT 1")
                await numbers(engine, "x")
        await engine.dispose()

    run(main())
    assert [each.getMessage().split(":")[0] for each in caplog.records] == ["fast path"] * 2


def test_a_call_whose_timeout_is_over_before_it_starts_leaves_nothing_that_was_never_awaited(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        with Telemetry().of(engine) as telemetry:
            await fetch_one(engine, int, "SELECT 1")
            telemetry.spans()
            with pytest.raises(StatementTimeout):
                await fetch_one(engine, int, "SELECT 1", timeout=0)
            assert all(each.end_time for each in telemetry.spans())
        await engine.dispose()

    run(main())


def test_only_engines_that_are_instrumented_have_spans(tmp_path: Path) -> None:
    async def main() -> None:
        engine, other = file_engine(tmp_path), create_async_engine("sqlite+aiosqlite://")
        with Telemetry().of(engine) as telemetry:
            assert await fetch_all(other, int, ROWS) == [1, 2]
            assert [each async for each in stream(other, int, ROWS)] == [1, 2]
            assert telemetry.spans() == []
        await engine.dispose()
        await other.dispose()

    run(main())


def test_without_an_integration_nothing_is_called(tmp_path: Path) -> None:
    engine = file_engine(tmp_path)
    assert (observing.observer, observers.checkout_waited) == (None, None)
    with Telemetry().of(engine):
        assert observing.observer is not None
        assert observers.checkout_waited is not None
    assert (observing.observer, observers.checkout_waited) == (None, None)


@pytest.mark.skipif(
    not sqlalchemy.__version__.startswith("2.0."),
    reason="the contrib instrumentation refuses SQLAlchemy 2.1",
)
def test_the_spans_are_beside_those_of_the_contrib_instrumentation(tmp_path: Path) -> None:
    from opentelemetry.instrumentation.sqlalchemy import (
        SQLAlchemyInstrumentor,
    )

    async def main() -> None:
        telemetry, instrumentor = Telemetry(), SQLAlchemyInstrumentor()
        engine = file_engine(tmp_path)
        options: dict[str, Any] = {"tracer_provider": telemetry.tracer_provider}
        instrumentor.instrument(engine=engine.sync_engine, **options)
        try:
            with telemetry.of(engine):
                assert await fetch_one(engine, int, "SELECT 1") == 1
                spans = telemetry.spans()
        finally:
            instrumentor.uninstrument()
            await engine.dispose()
        call = spans[-1]
        theirs = [each for each in spans if each.name.startswith("SELECT /")]
        assert call.name == "SELECT"
        assert theirs[-1].parent == call.context

    run(main())
