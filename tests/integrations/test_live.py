"""The live data of `PoolMonitor`: when it is made, what it contains, and who gets it."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar, asgi
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.routing import Mount

from sqla_typedpool import PoolTimeout, TypedPool, fetch_one, holder_label
from sqla_typedpool.integrations import live, live_state
from sqla_typedpool.integrations.asgi import PoolMonitor
from sqla_typedpool.integrations.live_state import EventLog, quantiles
from sqla_typedpool.pool.log import LOGGER, LogEvent
from sqla_typedpool.pool.stats import BOUNDS, Distribution
from tests.integrations.test_asgi import get, lenient
from tests.integrations.test_metrics import file_engine
from tests.integrations.viewers import Viewer
from tests.support import virtual_clock
from tests.support.engines import PATIENCE, engine_on, run, until

SECRET = "hunter2"
PAGE = ("/", "/live.js", "/live.css", "/events")


def made(monitor: PoolMonitor) -> int:
    """How many states were made, in all event loops."""
    return sum(each.made for each in monitor._live.values())


async def leave(*viewers: Viewer) -> None:
    for each in viewers:
        await each.leave()


def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make states every 20 ms, so that a test with a real database need not wait."""
    monkeypatch.setattr(live, "PERIOD", 0.02)


# -------------------------------------------------------------------- when states are made


def test_states_are_made_once_a_second_whatever_the_number_of_viewers(tmp_path: Path) -> None:
    async def main() -> None:
        monitor = lenient(file_engine(tmp_path))
        viewers = [Viewer(monitor) for _ in range(100)]
        await asyncio.sleep(10.5)
        assert made(monitor) == 11
        first = viewers[0].events("message")
        assert len(first) == 11
        assert all(each.events("message") == first for each in viewers)
        await leave(*viewers)

    virtual_clock.run(main())


def test_without_viewers_no_states_are_made(tmp_path: Path) -> None:
    async def main() -> None:
        monitor = lenient(file_engine(tmp_path))
        await asyncio.sleep(10)
        assert made(monitor) == 0
        viewer = Viewer(monitor)
        await asyncio.sleep(3.5)
        await viewer.leave()
        await asyncio.sleep(2)
        before = made(monitor)
        await asyncio.sleep(100)
        assert made(monitor) == before == 5  # one more, in case the viewer connects again

    virtual_clock.run(main())


def test_a_viewer_that_connects_again_leaves_no_gap(tmp_path: Path) -> None:
    async def main() -> None:
        monitor = lenient(file_engine(tmp_path))
        for seconds in (3.3, 3.3):
            viewer = Viewer(monitor)
            await asyncio.sleep(seconds)
            await viewer.leave()
            await asyncio.sleep(0.5)
        assert made(monitor) == 8
        (past,) = viewer.events("past")
        (points,) = json.loads(past)["pools"].values()
        assert len(points) == 4  # that of the earlier viewer
        assert set(points[0]) == {"time", "in_use", "idle", "connecting", "waiting"}

    virtual_clock.run(main())


def test_a_second_viewer_gets_a_state_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        monitor = lenient(file_engine(tmp_path))
        first = Viewer(monitor)
        await asyncio.sleep(5.5)
        second = Viewer(monitor)
        await virtual_clock.loop_iterations(20)
        assert second.states == first.states[-1:]
        await leave(first, second)

    virtual_clock.run(main())


def test_a_slow_viewer_skips_states_and_holds_up_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        monitor = lenient(file_engine(tmp_path))
        slow, quick = Viewer(monitor, 4.0), Viewer(monitor)
        await asyncio.sleep(14.5)
        assert len(quick.states) == 15
        (state,) = slow.states
        assert state in quick.states
        await leave(slow, quick)

    virtual_clock.run(main())


def test_an_error_in_a_state_ends_the_streams_and_later_viewers_get_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monitor = lenient(file_engine(tmp_path))
        viewers = [Viewer(monitor), Viewer(monitor)]
        await asyncio.sleep(2.5)
        with monkeypatch.context() as broken:
            broken.setattr(TypedPool, "stats", lambda pool: 1 / 0)
            await asyncio.sleep(1)
        for each in viewers:
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(each.task, 0.1)
        later = Viewer(monitor)
        await asyncio.sleep(2.5)
        assert len(later.states) == 3
        await later.leave()

    virtual_clock.run(main())


# ----------------------------------------------------------------------- the end of a stream


def test_a_stream_ends_at_once_when_its_viewer_leaves(tmp_path: Path) -> None:
    async def main() -> None:
        viewer = Viewer(lenient(file_engine(tmp_path)))
        await asyncio.sleep(2.2)
        before = virtual_clock.now()
        await viewer.leave()
        assert virtual_clock.now() == before

    virtual_clock.run(main())


def test_a_stream_ends_after_its_time_so_that_a_server_can_shut_down(tmp_path: Path) -> None:
    async def main() -> None:
        viewer = Viewer(lenient(file_engine(tmp_path)))
        await viewer.task
        assert virtual_clock.now() == pytest.approx(live.STREAM_SECONDS)
        assert viewer.is_ended

    virtual_clock.run(main())


def test_a_viewer_that_does_not_read_cannot_keep_a_stream_open(tmp_path: Path) -> None:
    async def main() -> None:
        viewer = Viewer(lenient(file_engine(tmp_path)), 0.0, 0.0, 3600.0)
        await viewer.task
        assert virtual_clock.now() <= live.STREAM_SECONDS + 3
        assert not viewer.is_ended

    virtual_clock.run(main())


def test_a_connection_that_breaks_is_no_error(tmp_path: Path) -> None:
    async def main() -> None:
        viewer = Viewer(lenient(file_engine(tmp_path)))

        async def broken(message: Any) -> None:
            raise OSError("connection lost")

        await asyncio.sleep(1.5)
        viewer._send = broken  # type: ignore[method-assign]
        again = Viewer(viewer._monitor)
        again._send = broken  # type: ignore[method-assign]
        with pytest.raises(OSError, match="connection lost"):  # before the response
            await again.task
        await viewer.leave()

    virtual_clock.run(main())


def test_the_task_that_makes_states_has_no_context_of_a_request(tmp_path: Path) -> None:
    async def main() -> None:
        monitor = lenient(file_engine(tmp_path))
        with holder_label("GET /events"):
            viewer = Viewer(monitor)
            await asyncio.sleep(1.5)
        (data,) = monitor._live.values()
        assert data._task is not None
        labels = [str(each) for each in data._task.get_context()] if _HAS_CONTEXT else []
        assert labels == []
        await viewer.leave()

    virtual_clock.run(main())


_HAS_CONTEXT = hasattr(asyncio.Task, "get_context")  # from Python 3.12


# ---------------------------------------------------------------------------- the content


def measured(*seconds: float) -> Distribution:
    buckets = {bound: sum(each <= bound for each in seconds) for bound in (*BOUNDS, float("inf"))}
    return Distribution(len(seconds), sum(seconds), buckets)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([], [0, None, None, None]),
        ([0.002], [1, 0.005, 0.005, 0.005]),
        ([0.0001] * 90 + [0.3] * 8 + [2.0] * 2, [100, 0.0001, 0.5, 5.0]),
        ([0.0001, 60.0], [2, 0.0001, None, None]),
        ([60.0], [1, None, None, None]),
    ],
)
def test_a_quantile_is_the_bound_that_so_many_durations_do_not_exceed(
    seconds: list[float], expected: list[float | None]
) -> None:
    assert list(quantiles(measured(*seconds), measured()).values()) == expected
    before = measured(7.0, 7.0, 0.00001)
    later = measured(7.0, 7.0, 0.00001, *seconds)
    assert list(quantiles(later, before).values()) == expected


def test_rates_and_quantiles_are_those_of_the_last_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        history = live_state.History([engine], EventLog([engine]))
        for second in range(100):
            state = json.loads(history.new_state(float(second)))
            if second in (20, 90):
                await fetch_one(engine, int, "SELECT 1")
            (pool,) = state["pools"]
            counted = [pool["checkouts_per_second"], pool["wait"]["count"], pool["use"]["count"]]
            expected = [0, 0, 0]
            for at in (20, 90):
                if at < second <= at + 10:
                    expected = [expected[0] + 1 / min(second, 10), 1, 1]
            assert counted == expected, second
            assert pool["window_seconds"] == min(second, 10)
        await engine.dispose()

    run(main())


def test_numbers_do_not_become_negative_when_the_engine_is_disposed(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        history = live_state.History([engine], EventLog([engine]))
        for second in range(8):
            for _ in range(8 - second):
                await fetch_one(engine, int, "SELECT 1")
            (pool,) = json.loads(history.new_state(float(second)))["pools"]
            assert pool["checkouts_per_second"] >= 0
            assert min(pool[each]["count"] for each in ("wait", "use")) >= 0
            if second % 3 == 2:
                await engine.dispose()
        await engine.dispose()

    run(main())


def test_a_state_names_the_holders_but_no_sql(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_name="orders", pool_size=30)
        monitor = lenient(engine)
        async with engine.connect() as connection:
            await connection.exec_driver_sql("SELECT 'hunter2'")
            with holder_label("GET /orders"):
                held = [await engine.connect() for _ in range(24)]
            viewer = Viewer(monitor)
            await until(lambda: bool(viewer.states))
            await leave(viewer)
            for each in held:
                await each.close()
        await engine.dispose()
        (pool,) = viewer.states[0]["pools"]
        assert (pool["name"], pool["now"]["in_use"], pool["held"]) == ("orders", 25, 25)
        assert len(pool["holders"]) == 20
        assert [each["label"] for each in pool["holders"][:2]] == [None, "GET /orders"]
        assert pool["holders"][0]["where"].endswith("in until")
        assert SECRET not in json.dumps(viewer.states)

    run(main())


def test_a_closed_pool_and_several_pools_are_shown(tmp_path: Path) -> None:
    async def main() -> None:
        engines = [file_engine(tmp_path, pool_name=name) for name in ("one", "two")]
        await TypedPool.of(engines[1]).close()
        viewer = Viewer(PoolMonitor(*engines, unsafe_public=True))
        await until(lambda: bool(viewer.states))
        await viewer.leave()
        pools = viewer.states[0]["pools"]
        assert [(each["name"], each["is_closed"]) for each in pools] == [
            ("one", False),
            ("two", True),
        ]

    run(main())


def test_an_outage_is_shown_with_its_error_and_its_event_without_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("asyncpg")
    fast(monkeypatch)

    async def main() -> None:
        url = f"postgresql+asyncpg://tester:{SECRET}@127.0.0.1:1/nowhere"
        async with engine_on(url, pool_connect_retry=0) as engine:
            viewer = Viewer(lenient(engine))
            with pytest.raises(Exception, match=r"refused|Connect call failed"):
                await fetch_one(engine, int, "SELECT 1")
            assert await until(lambda: viewer.states[-1]["pools"][0]["outage_seconds"] > 0)
            await viewer.leave()
            state = viewer.states[-1]
            assert "ConnectionRefusedError" in state["pools"][0]["last_connect_error"]
            assert state["events"][0]["event"] == "outage_began"
            assert SECRET not in str(viewer.sent)

    run(main())


def test_states_go_on_while_every_connection_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast(monkeypatch)

    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.3}
        engine = file_engine(tmp_path, **options)
        viewer = Viewer(lenient(engine))
        async with engine.connect():
            waiting = [asyncio.ensure_future(engine.connect()) for _ in range(5)]
            assert await until(
                lambda: bool(viewer.states) and viewer.states[-1]["pools"][0]["now"]["waiting"] == 5
            )
            for each in waiting:
                with pytest.raises(PoolTimeout):
                    await each
            assert await until(lambda: viewer.states[-1]["pools"][0]["totals"]["timeouts"] == 5)
        await viewer.leave()
        await engine.dispose()

    run(main())


def test_two_event_loops_have_viewers_of_their_own(tmp_path: Path) -> None:
    engine = file_engine(tmp_path)
    monitor = lenient(engine)
    counts: list[int] = []

    async def main() -> None:
        viewer = Viewer(monitor)
        assert await until(lambda: len(viewer.states) >= 2)
        await viewer.leave()
        counts.append(len(viewer.states))

    threads = [threading.Thread(target=asyncio.run, args=[main()]) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE)
    assert counts == [2, 2]
    run(main())
    assert len(monitor._live) == 1  # those of ended loops are forgotten


# ------------------------------------------------------------------------------- events


def record_event(engine: AsyncEngine, text: str = "happened", **fields: Any) -> None:
    log = TypedPool.of(engine).shared.log
    log.write(fields.pop("level", logging.WARNING), LogEvent.LEAK, text, **fields)


def test_only_the_events_of_its_pools_are_kept(tmp_path: Path) -> None:
    ours, other = file_engine(tmp_path, pool_name="ours"), file_engine(tmp_path, pool_name="other")
    monitor = lenient(ours)
    record_event(other)
    record_event(ours)
    LOGGER.warning("a record without an event")
    LOGGER.warning("a record of somebody else", extra={"event": "leak", "pool": "nobody"})
    (event,) = monitor._log.events
    assert (event["pool"], event["event"], event["level"]) == ("ours", "leak", "WARNING")
    assert event["message"] == "happened"


def test_the_number_of_events_and_their_length_are_limited(tmp_path: Path) -> None:
    engine = file_engine(tmp_path)
    monitor = lenient(engine)
    for number in range(200):
        record_event(engine, f"{number} {'x' * 5000}")
    events = list(monitor._log.events)
    assert len(events) == 50
    assert "199" in events[-1]["message"]
    assert max(len(each["message"]) for each in events) == 1000


def test_events_contain_no_passwords(tmp_path: Path) -> None:
    async def main() -> None:
        url = f"postgresql+asyncpg://tester:{SECRET}@127.0.0.1:1/nowhere"
        async with engine_on(url) as engine:
            monitor = lenient(engine)
            record_event(engine, f"a listener has failed: {SECRET}")
            record_event(engine, "postgresql://app:other-secret@db/app")
            shown = json.dumps(list(monitor._log.events))
            assert SECRET not in shown
            assert "other-secret" not in shown

    run(main())


def test_a_monitor_does_not_silence_the_warnings_that_need_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    engine = file_engine(tmp_path)
    monitor = lenient(engine)
    record_event(engine)
    assert "happened" in capsys.readouterr().err
    assert monitor._log.events


def test_the_events_end_with_the_monitor(tmp_path: Path) -> None:
    before = list(LOGGER.filters)
    monitor = lenient(file_engine(tmp_path))
    assert len(LOGGER.filters) == len(before) + 1
    del monitor
    gc.collect()
    assert LOGGER.filters == before


def test_a_record_that_cannot_be_shown_is_still_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = lenient(file_engine(tmp_path, pool_name="orders"))
    broken = logging.makeLogRecord(
        {"msg": "%d", "args": ("x",), "event": "leak", "pool": "orders", "levelno": 30}
    )
    assert monitor._log.filter(broken) is True
    assert not monitor._log.events


# ------------------------------------------------------------------------------- access


@pytest.mark.parametrize("path", PAGE)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_and_its_parts_are_not_public(path: str, method: str, tmp_path: Path) -> None:
    async def main() -> None:
        for authorize in (None, lambda scope: False):
            monitor = PoolMonitor(file_engine(tmp_path), authorize=authorize)
            answer = await get(monitor, path, method)
            assert answer.status == 403
            assert made(monitor) == 0

    run(main())


@pytest.mark.parametrize("path", PAGE)
def test_a_head_request_gets_the_headers_alone(path: str, tmp_path: Path) -> None:
    async def main() -> None:
        answer = await get(lenient(file_engine(tmp_path)), path, "HEAD")
        assert (answer.status, answer.body) == (200, "")
        assert answer.headers["cache-control"] == "no-store"

    run(main())


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/", "text/html"), ("/live.js", "text/javascript"), ("/live.css", "text/css")],
)
def test_the_page_allows_only_its_own_parts(path: str, content_type: str, tmp_path: Path) -> None:
    async def main() -> None:
        answer = await get(lenient(file_engine(tmp_path)), path)
        assert answer.headers["content-type"] == f"{content_type}; charset=utf-8"
        policy = dict(
            each.strip().split(" ", 1)
            for each in answer.headers["content-security-policy"].split(";")
        )
        assert policy.pop("default-src") == "'none'"
        assert set(policy.values()) == {"'self'", "'none'"}
        assert policy["frame-ancestors"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "http" not in answer.body.replace("http://www.w3.org/2000/svg", "")

    run(main())


def test_the_stream_is_not_buffered_or_stored(tmp_path: Path) -> None:
    async def main() -> None:
        viewer = Viewer(lenient(file_engine(tmp_path)))
        await until(lambda: bool(viewer.sent))
        await viewer.leave()
        headers = dict(viewer.sent[0]["headers"])
        assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert headers[b"cache-control"] == b"no-store"
        assert headers[b"x-accel-buffering"] == b"no"

    run(main())


async def location(app: Any, path: str, root_path: str = "") -> httpx.URL:
    """Return the address of the page after the redirects of the application."""
    transport = httpx.ASGITransport(app=app, root_path=root_path)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", follow_redirects=True
    ) as client:
        answer = await client.get(path)
        assert "Connection pools" in answer.text, answer
        assert (await client.get(answer.url.join("live.css"))).status_code == 200
        assert (await client.get(answer.url.join("livez"))).status_code == 200
        return answer.url


@pytest.mark.parametrize("framework", ["alone", "starlette", "litestar"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_page_finds_its_parts_wherever_it_is_mounted(
    framework: str, slash: str, tmp_path: Path
) -> None:
    async def main() -> None:
        monitor = lenient(file_engine(tmp_path))
        if framework == "alone":
            assert (await location(monitor, slash)).path == "/"
            return
        if framework == "starlette":
            app: Any = Starlette(routes=[Mount("/of/a pool", monitor)])
        else:
            mount = asgi("/of/a pool", is_mount=True, copy_scope=True)(monitor)
            app = Litestar([mount], logging_config=None)
        assert (await location(app, f"/of/a pool{slash}")).path == "/of/a pool/"

    run(main())


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"path": "/_pool", "root_path": "/_pool", "raw_path": b"/_pool"}, "./_pool/"),
        ({"path": "/_pool", "root_path": "/_pool"}, "./_pool/"),
        ({"path": "", "root_path": "/app/_pool"}, "./_pool/"),
        ({"path": "//host", "root_path": "//host"}, "./host/"),
        ({"path": "/a\r\nb: c", "root_path": "/a\r\nb: c"}, "./a%0D%0Ab%3A%20c/"),
    ],
)
def test_the_redirect_to_the_page_is_relative(
    scope: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    async def main() -> None:
        answer = await get(lenient(file_engine(tmp_path)), **scope)
        assert (answer.status, answer.headers["location"]) == (307, expected)

    run(main())
