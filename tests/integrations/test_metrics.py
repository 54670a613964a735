"""The metrics of OpenTelemetry: names and units of the conventions, and the pool's own numbers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import Gauge, Histogram, Sum
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool import PoolTimeout, TypedPool, fetch_one
from tests.integrations.telemetry import POOL, Telemetry
from tests.support.engines import PATIENCE, engine_on, open_all, return_all, run

pytest.importorskip("aiosqlite")

CONVENTIONS = json.loads((Path(__file__).parent / "conventions.json").read_text())["metrics"]
CONNECTION = "db.client.connection"


def file_engine(folder: Path, **options: Any) -> AsyncEngine:
    url = f"sqlite+aiosqlite:///{folder / 'file.db'}"
    return create_async_engine(url, poolclass=TypedPool, **options)


def instrument_of(data: Any) -> str:
    if isinstance(data, Histogram):
        return "histogram"
    assert isinstance(data, (Sum, Gauge))
    return (
        "gauge"
        if isinstance(data, Gauge)
        else ("" if data.is_monotonic else "updown") + ("counter")
    )


def test_the_nine_metrics_have_the_names_units_and_attributes_of_the_conventions(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        with Telemetry().of(engine) as telemetry:
            await fetch_one(engine, int, "SELECT 1")
            found = telemetry.metrics()
            shown = {
                name: [
                    instrument_of(metric.data),
                    metric.unit,
                    sorted({key for each in metric.data.data_points for key in each.attributes}),
                ]
                for name, metric in found.items()
                if name.startswith(CONNECTION)
            }
        await engine.dispose()
        assert shown == CONVENTIONS

    run(main())


def test_the_numbers_are_those_of_the_pool(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=2, max_overflow=3)
        with Telemetry().of(engine) as telemetry:
            await return_all(await open_all(engine, 2))
            async with engine.connect():
                states = telemetry.points(f"{CONNECTION}.count")
                assert {key[-1]: point.value for key, point in states.items()} == {
                    "idle": 1,
                    "used": 1,
                }
            assert telemetry.value(f"{CONNECTION}.count", "used") == 0
            assert telemetry.value(f"{CONNECTION}.idle.max") == 2
            assert telemetry.value(f"{CONNECTION}.idle.min") == 0
            assert telemetry.value(f"{CONNECTION}.max") == 5
        await engine.dispose()

    run(main())


@pytest.mark.parametrize(("option", "value"), [("max_overflow", -1), ("pool_size", 0)])
def test_a_pool_without_a_limit_has_no_maximum(tmp_path: Path, option: str, value: int) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, **{option: value})
        with Telemetry().of(engine) as telemetry:
            metrics = telemetry.metrics()
        assert f"{CONNECTION}.max" not in metrics
        assert (f"{CONNECTION}.idle.max" in metrics) == (option == "max_overflow")
        await engine.dispose()

    run(main())


def test_the_limits_are_added_up_over_the_event_loops_as_the_connections_are(
    tmp_path: Path,
) -> None:
    engine = file_engine(tmp_path, pool_size=2, max_overflow=0)

    async def use_and(then: Callable[[], None]) -> None:
        await return_all(await open_all(engine, 2))
        then()
        await engine.dispose()

    with Telemetry().of(engine) as telemetry:

        def measure() -> None:
            assert telemetry.value(f"{CONNECTION}.count", "idle") == 4
            assert telemetry.value(f"{CONNECTION}.max") == 4
            assert telemetry.value(f"{CONNECTION}.idle.max") == 4

        def in_another_loop() -> None:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, use_and(measure)).result(PATIENCE)

        asyncio.run(use_and(in_another_loop))


def test_a_detached_connection_is_not_in_use(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        with Telemetry().of(engine) as telemetry:
            async with engine.connect() as connection:
                raw = await connection.get_raw_connection()
                raw.detach()
                await asyncio.sleep(0)  # a detached connection leaves in the next turn
                assert telemetry.value(f"{CONNECTION}.count", "used") == 0
        await engine.dispose()

    run(main())


def test_waiting_callers_and_timeouts_are_counted(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.2)
        with Telemetry().of(engine) as telemetry:
            async with engine.connect():
                waiting = asyncio.ensure_future(fetch_one(engine, int, "SELECT 1"))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert telemetry.value(f"{CONNECTION}.pending_requests") == 1
                with pytest.raises(PoolTimeout):
                    await waiting
            assert telemetry.value(f"{CONNECTION}.pending_requests") == 0
            assert telemetry.value(f"{CONNECTION}.timeouts") == 1
        await engine.dispose()

    run(main())


def test_each_checkout_is_in_the_histograms_once(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        with Telemetry().of(engine) as telemetry:
            for _ in range(7):
                await fetch_one(engine, int, "SELECT 1")
            for _ in range(2):  # the second collection adds nothing
                waits = list(telemetry.points(f"{CONNECTION}.wait_time").values())
                uses = list(telemetry.points(f"{CONNECTION}.use_time").values())
                connects = list(telemetry.points(f"{CONNECTION}.create_time").values())
                assert [each.count for each in (*waits, *uses, *connects)] == [7, 7, 1]
                assert uses[0].sum == pytest.approx(TypedPool.of(engine).stats().use_time.sum)
        await engine.dispose()

    run(main())


def test_what_happened_before_the_engine_was_instrumented_is_not_in_the_histograms(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        await fetch_one(engine, int, "SELECT 1")
        with Telemetry().of(engine) as telemetry:
            names = telemetry.metrics().keys()
            assert not names & {f"{CONNECTION}.{each}_time" for each in ("wait", "use", "create")}
        await engine.dispose()

    run(main())


def test_the_counters_never_go_down_when_the_engine_is_disposed_of(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.3)
        with Telemetry().of(engine) as telemetry:
            for expected in (1, 2, 3):
                async with engine.connect():
                    with pytest.raises(PoolTimeout):
                        await fetch_one(engine, int, "SELECT 1")
                assert telemetry.value(f"{CONNECTION}.timeouts") == expected
                await engine.dispose()
            closed = telemetry.points("typedpool.closed")
            assert sum(each.value for each in closed.values()) == 3
            (uses,) = telemetry.points(f"{CONNECTION}.use_time").values()
            assert uses.count == 3

    run(main())


def test_two_engines_are_told_apart_by_the_names_of_their_pools(tmp_path: Path) -> None:
    async def main() -> None:
        engines = [file_engine(tmp_path, pool_name="orders"), file_engine(tmp_path)]
        with Telemetry().of(*engines) as telemetry:
            for engine in engines:
                await fetch_one(engine, int, "SELECT 1")
            names = {
                point.attributes[POOL]
                for metric in telemetry.metrics().values()
                for point in metric.data.data_points
            }
            assert names == {"orders", str(tmp_path / "file.db")}
        for engine in engines:
            await engine.dispose()

    run(main())


def test_an_engine_that_is_instrumented_twice_is_reported_once(tmp_path: Path) -> None:
    async def main() -> None:
        engine, telemetry = file_engine(tmp_path), Telemetry()
        with telemetry.of(engine), telemetry.of(engine):
            await fetch_one(engine, int, "SELECT 1")
            (point,) = telemetry.points(f"{CONNECTION}.max").values()
            assert point.value == 15
            assert len(telemetry.points(f"{CONNECTION}.use_time")) == 1
        await engine.dispose()

    run(main())


def test_an_engine_that_is_no_longer_instrumented_is_not_reported(tmp_path: Path) -> None:
    async def main() -> None:
        engine, telemetry = file_engine(tmp_path), Telemetry()
        with telemetry.of(engine):
            await fetch_one(engine, int, "SELECT 1")
        assert f"{CONNECTION}.max" not in telemetry.metrics()
        assert TypedPool.of(engine).shared.durations is None
        await engine.dispose()

    run(main())


def test_an_engine_with_another_pool_is_refused_with_the_change_that_is_needed() -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    with pytest.raises(TypeError, match="pass poolclass=TypedPool"), Telemetry().of(engine):
        pass


def test_a_leak_is_visible(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_leak_threshold=0.02, pool_name="leaking")
        with Telemetry().of(engine) as telemetry:
            async with engine.connect():
                await asyncio.wait_for(until_leaked(telemetry), PATIENCE)
                assert telemetry.value("typedpool.longest_use", "leaking") >= 0.02
            assert telemetry.value("typedpool.longest_use", "leaking") == 0
        await engine.dispose()

    run(main())


async def until_leaked(telemetry: Telemetry) -> None:
    while telemetry.value("typedpool.leaks", "leaking") < 1:
        await asyncio.sleep(0.02)


def test_an_outage_is_visible() -> None:
    async def main() -> None:
        url = "postgresql+asyncpg://tester@127.0.0.1:1/nowhere"
        options = {"pool_connect_retry": 0, "pool_name": "down"}
        async with engine_on(url, **options) as engine:
            with Telemetry().of(engine) as telemetry:
                for _ in range(2):
                    with pytest.raises((DBAPIError, OSError)):
                        await fetch_one(engine, int, "SELECT 1")
                assert telemetry.value("typedpool.outage", "down") > 0
                assert telemetry.value("typedpool.connect_failures", "down") >= 1

    pytest.importorskip("asyncpg")
    run(main())
