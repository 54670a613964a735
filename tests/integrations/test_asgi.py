"""`PoolMonitor`: health, numbers and metrics over ASGI."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.routing import Mount, Router

from sqla_typedpool import TypedPool, fetch_one, holder_label
from sqla_typedpool.integrations.asgi import PoolMonitor
from tests.integrations.test_metrics import file_engine
from tests.support.databases import Database
from tests.support.drivers import SERVERS
from tests.support.engines import PATIENCE, engine_on, run, until

PUBLIC = ("/livez", "/readyz")
AUTHORIZED = ("/stats.json", "/metrics")
SECRET = "hunter2"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str

    @property
    def document(self) -> Any:
        return json.loads(self.body)


async def get(app: PoolMonitor, path: str, method: str = "GET", **scope: Any) -> Answer:
    """Send one request, as a server does."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    request = {"type": "http", "method": method, "path": path, "headers": [], **scope}
    await asyncio.wait_for(app(request, receive, send), PATIENCE)
    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], headers, body["body"].decode())


def lenient(engine: AsyncEngine, **options: Any) -> PoolMonitor:
    return PoolMonitor(engine, unsafe_public=True, **options)


# -------------------------------------------------------------------------- access


@pytest.mark.parametrize("path", [*PUBLIC, *AUTHORIZED])
def test_only_health_is_public(path: str, tmp_path: Path) -> None:
    async def main() -> None:
        answer = await get(PoolMonitor(file_engine(tmp_path)), path)
        assert answer.status == (200 if path in PUBLIC else 403)
        if path not in PUBLIC:
            assert "no authorize= function" in answer.body

    run(main())


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("answer", "status"), [(True, 200), (False, 403), (None, 403), (1, 403), ("no", 403)]
)
def test_the_application_decides_about_each_request(
    answer: Any, status: int, is_async: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        asked = []

        def authorize(scope: Any) -> Any:
            asked.append(scope["path"])
            return answer

        async def authorize_later(scope: Any) -> Any:
            return authorize(scope)

        decide = authorize_later if is_async else authorize
        monitor = PoolMonitor(file_engine(tmp_path), authorize=decide)
        for path in AUTHORIZED:
            assert (await get(monitor, path)).status == status
        await get(monitor, "/readyz")
        assert asked == list(AUTHORIZED)

    run(main())


def test_an_error_of_the_authorization_lets_nobody_in(tmp_path: Path) -> None:
    def authorize(scope: Any) -> bool:
        raise KeyError("session")

    async def main() -> None:
        with pytest.raises(KeyError):
            await get(PoolMonitor(file_engine(tmp_path), authorize=authorize), "/stats.json")

    run(main())


@pytest.mark.parametrize(
    ("path", "root_path"), [("/readyz", ""), ("/readyz", "/_pool"), ("/_pool/readyz", "/_pool")]
)
def test_it_works_where_it_is_mounted(path: str, root_path: str, tmp_path: Path) -> None:
    async def main() -> None:
        monitor = PoolMonitor(file_engine(tmp_path))
        assert (await get(monitor, path, root_path=root_path)).status == 200

    run(main())


def test_two_pools_of_one_name_are_both_shown(tmp_path: Path) -> None:
    async def main() -> None:
        engines = [file_engine(tmp_path, pool_name="orders") for _ in range(2)]
        for engine in engines:
            await fetch_one(engine, int, "SELECT 1")
        await TypedPool.of(engines[0]).close()
        answer = await get(PoolMonitor(*engines), "/readyz")
        assert answer.status == 503
        checks = answer.document["checks"].items()
        assert [(name, check["status"]) for name, (check,) in checks] == [
            ("orders:connections", "fail"),
            ("orders#2:connections", "pass"),
        ]
        await engines[1].dispose()

    run(main())


async def status_of(app: Any, path: str, root_path: str) -> int:
    """Return the status of a request to a framework's application."""
    transport = httpx.ASGITransport(app, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        return (await client.get(path)).status_code


@pytest.mark.parametrize(
    ("path", "root_path"),
    [("/_pool/livez", ""), ("/_pool/livez", "/api"), ("/api/_pool/livez", "/api")],
)
def test_starlette_mounts_it_below_every_root_path(
    path: str, root_path: str, tmp_path: Path
) -> None:
    monitor = PoolMonitor(file_engine(tmp_path))
    app = Router(routes=[Mount("/_pool", monitor)])
    assert run(status_of(app, path, root_path)) == 200
    assert run(status_of(app, path.replace("livez", "stats.json"), root_path)) == 403


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/nothing", "GET", 404), ("/readyz", "POST", 405), ("/readyz", "HEAD", 200)],
)
def test_other_paths_and_methods_are_refused(
    path: str, method: str, status: int, tmp_path: Path
) -> None:
    async def main() -> None:
        answer = await get(PoolMonitor(file_engine(tmp_path)), path, method)
        assert answer.status == status
        assert answer.headers["cache-control"] == "no-store"
        assert (method == "HEAD") <= (answer.body == "")
        assert int(answer.headers["content-length"]) > 0
        assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)

    run(main())


def test_it_answers_the_lifespan_of_a_server_and_closes_websockets(tmp_path: Path) -> None:
    async def main() -> None:
        monitor, sent = PoolMonitor(file_engine(tmp_path)), []
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await monitor({"type": "lifespan"}, receive, send)
        await monitor({"type": "websocket", "path": "/readyz"}, receive, send)
        assert sent == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
            "websocket.close",
        ]

    run(main())


def test_an_engine_with_another_pool_is_refused_with_the_change_that_is_needed() -> None:
    with pytest.raises(TypeError, match="pass poolclass=TypedPool"):
        PoolMonitor(create_async_engine("sqlite+aiosqlite://"))


# ------------------------------------------------------------------------ readiness


def test_a_pool_is_ready_before_its_first_connect_and_when_it_is_full(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0)
        monitor = lenient(engine)
        first = await get(monitor, "/readyz")
        assert TypedPool.of(engine).stats().checkouts == 0
        async with engine.connect():
            waiting = asyncio.ensure_future(engine.connect())
            await asyncio.sleep(0)
            full = await get(monitor, "/readyz")
            waiting.cancel()
        await engine.dispose()
        for answer in (first, full):
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/health+json"
            assert answer.document["status"] == "pass"

    run(main())


def test_a_closed_pool_is_not_ready_and_the_process_is_alive(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_name="orders")
        monitor = lenient(engine)
        await TypedPool.of(engine).close()
        answer = await get(monitor, "/readyz")
        assert answer.status == 503
        assert answer.document == {
            "status": "fail",
            "checks": {
                "orders:connections": [
                    {
                        "componentType": "datastore",
                        "status": "fail",
                        "output": "the pool is closed",
                    }
                ]
            },
        }
        assert (await get(monitor, "/livez")).status == 200

    run(main())


def test_one_pool_of_several_that_is_not_ready_is_enough(tmp_path: Path) -> None:
    async def main() -> None:
        good, bad = file_engine(tmp_path, pool_name="good"), file_engine(tmp_path, pool_name="bad")
        await TypedPool.of(bad).close()
        answer = await get(PoolMonitor(good, bad), "/readyz")
        assert answer.status == 503
        assert {name: each[0]["status"] for name, each in answer.document["checks"].items()} == {
            "good:connections": "pass",
            "bad:connections": "fail",
        }

    run(main())


def test_an_outage_makes_a_pool_unready_only_after_pool_connect_retry() -> None:
    pytest.importorskip("asyncpg")

    async def main() -> None:
        url = f"postgresql+asyncpg://tester:{SECRET}@127.0.0.1:1/nowhere"
        async with engine_on(url, pool_connect_retry=2, pool_timeout=10) as engine:
            monitor = lenient(engine)
            failing = asyncio.ensure_future(fetch_one(engine, int, "SELECT 1"))
            while not TypedPool.of(engine).stats().connect_failures:
                await asyncio.sleep(0.005)
            early = await get(monitor, "/readyz")
            with pytest.raises(Exception, match=r"refused|Connect call failed"):
                await failing
            assert await until(lambda: TypedPool.of(engine).stats().outage_seconds > 2)
            with pytest.raises(Exception, match=r"refused|Connect call failed"):
                await fetch_one(engine, int, "SELECT 1")
            late = await get(monitor, "/readyz")
            assert (early.status, late.status) == (200, 503)
            assert "no connection could be opened" in late.body
            assert "127.0.0.1" not in late.body  # it is public
            stats = await get(monitor, "/stats.json")
            assert stats.document["pools"][0]["last_connect_error"]
            assert SECRET not in stats.body

    run(main())


@pytest.mark.parametrize("driver", [each for each in SERVERS if each in ("asyncpg", "aiomysql")])
def test_an_outage_with_a_connection_that_works_leaves_the_pool_ready(database: Database) -> None:
    async def main() -> None:
        options = {"pool_connect_retry": 0, "pool_size": 2, "max_overflow": 0, "pool_timeout": 0.5}
        async with database.proxy() as proxy, database.engine(proxy, **options) as engine:
            async with engine.connect():
                proxy.refuse()
                with pytest.raises(Exception, match=r"."):
                    await engine.connect()
                assert TypedPool.of(engine).stats().outage_seconds > 0
                assert (await get(lenient(engine), "/readyz")).status == 200

    run(main())


# ---------------------------------------------------------------------------- probe


def test_a_probe_runs_one_statement_for_all_requests_at_the_same_time(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        monitor = lenient(engine, probe_timeout=PATIENCE)
        answers = await asyncio.gather(*(get(monitor, "/readyz") for _ in range(20)))
        assert {each.status for each in answers} == {200}
        assert TypedPool.of(engine).stats().checkouts == 1
        await get(monitor, "/readyz")
        assert TypedPool.of(engine).stats().checkouts == 2
        await engine.dispose()

    run(main())


def test_a_probe_does_not_wait_while_every_connection_is_in_use(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0)
        async with engine.connect():
            answer = await get(lenient(engine, probe_timeout=PATIENCE), "/readyz")
            assert answer.status == 200
            assert "every connection is in use" in answer.body
        await engine.dispose()

    run(main())


@pytest.mark.parametrize("driver", [each for each in SERVERS if each in ("asyncpg", "aiomysql")])
def test_a_silent_server_fails_the_probe_within_its_deadline(database: Database) -> None:
    async def main() -> None:
        async with database.proxy() as proxy, database.engine(proxy) as engine:
            await fetch_one(engine, int, "SELECT 1")
            proxy.go_silent()
            answer = await get(lenient(engine, probe_timeout=0.2), "/readyz")
            assert answer.status == 503
            assert "the probe got no answer in 0.2 s" in answer.body

    run(main())


# -------------------------------------------------------------------------- content


def test_the_numbers_name_who_holds_connections(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_name="orders")
        async with engine.connect() as connection:
            with holder_label("GET /orders"):
                async with engine.connect():
                    await connection.exec_driver_sql("SELECT 'hunter2'")
                    answer = await get(lenient(engine), "/stats.json")
        await engine.dispose()
        (pool,) = answer.document["pools"]
        assert (pool["name"], pool["in_use"], pool["max"]) == ("orders", 2, 15)
        assert pool["wait_time"]["buckets"]["+Inf"] == 2
        assert [each["label"] for each in pool["holders"]] == [None, "GET /orders"]
        assert all(__name__.rpartition(".")[2] in each["where"] for each in pool["holders"])
        assert SECRET not in answer.body

    run(main())


def test_the_metrics_are_those_of_prometheus(tmp_path: Path) -> None:
    async def main() -> None:
        answer = await get(lenient(file_engine(tmp_path, pool_name="orders")), "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert 'sqla_typedpool_connections{pool="orders",state="used"} 0.0' in answer.body

    run(main())


def test_without_prometheus_client_the_answer_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "sqla_typedpool.integrations.prometheus", raising=False)

    async def main() -> None:
        answer = await get(lenient(file_engine(tmp_path)), "/metrics")
        assert answer.status == 404
        assert 'pip install "sqla-typedpool[prometheus]"' in answer.body

    run(main())


def test_in_multiprocess_mode_the_metrics_name_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    async def main() -> None:
        answer = await get(lenient(file_engine(tmp_path)), "/metrics")
        assert answer.status == 501
        assert "scrape each worker" in answer.body

    run(main())
