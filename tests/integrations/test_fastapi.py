"""A pool in FastAPI: lifespan, dependencies, errors, and the label of a holder."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from sqla_typedpool import TypedPool, execute, fetch_all, fetch_one, stream
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.integrations.fastapi import (
    executor_dependency,
    install_error_handlers,
    lifespan,
    session_dependency,
)
from tests.integrations.test_metrics import file_engine
from tests.support.engines import engine_on, run


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client; the application gets no lifespan events."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def shop(engine: AsyncEngine, **options: Any) -> FastAPI:
    """An application with a route for each dependency."""
    app = FastAPI(lifespan=lifespan(engine, **options))
    install_error_handlers(app)
    session = Annotated[AsyncSession, session_dependency(engine)]
    executor = Annotated[AsyncConnection, executor_dependency(engine)]

    async def holders(number: int, db: session) -> list[str | None]:  # type: ignore[valid-type]
        await db.execute(text("SELECT 1"))  # type: ignore[attr-defined]
        return [each.label for each in TypedPool.of(engine).holders()]

    async def add(n: int, db: executor) -> int:  # type: ignore[valid-type]
        await execute(db, "INSERT INTO t VALUES (:n)", {"n": n})
        if n < 0:
            raise ValueError("negative")
        return n

    async def wrong(db: executor) -> int:  # type: ignore[valid-type]
        return await fetch_one(db, int, "SELECT missing_column")

    # annotations of local types are resolved by FastAPI only if they are objects
    holders.__annotations__["db"] = session
    add.__annotations__["db"] = wrong.__annotations__["db"] = executor
    app.get("/orders/{number}")(holders)
    app.post("/add/{n}")(add)
    app.get("/wrong")(wrong)
    return app


def test_the_label_of_a_holder_is_the_method_and_the_route(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        async with client_of(shop(engine)) as client:
            answer = await client.get("/orders/17")
        assert answer.json() == ["GET /orders/{number}"]
        assert TypedPool.of(engine).stats().in_use == 0
        await engine.dispose()

    run(main())


def test_a_transaction_is_committed_before_the_response_and_rolled_back_after_an_error(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        await execute(engine, "CREATE TABLE t (n int)")
        async with client_of(shop(engine)) as client:
            assert (await client.post("/add/1")).json() == 1
            assert await fetch_all(engine, int, "SELECT n FROM t") == [1]
            assert (await client.post("/add/-1")).status_code == 500
        assert await fetch_all(engine, int, "SELECT n FROM t") == [1]
        await engine.dispose()

    run(main())


def test_the_connection_is_returned_before_the_response_is_sent(tmp_path: Path) -> None:
    """Also in a stream, which therefore opens a session of its own."""

    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=5)
        app, in_use = FastAPI(), []
        session: Any = Annotated[AsyncSession, session_dependency(engine)]

        async def rows() -> AsyncIterator[str]:
            in_use.append(TypedPool.of(engine).stats().in_use)
            async for each in stream(engine, int, "SELECT 1 UNION SELECT 2"):
                yield str(each)

        async def streamed(db: Any) -> StreamingResponse:
            await db.execute(text("SELECT 1"))
            in_use.append(TypedPool.of(engine).stats().in_use)
            return StreamingResponse(rows())

        streamed.__annotations__["db"] = session
        app.get("/rows", response_model=None)(streamed)
        async with client_of(app) as client:
            assert (await client.get("/rows")).text == "12"
        assert in_use == [1, 0]
        await engine.dispose()

    run(main())


@pytest.mark.parametrize("path", ["/orders/1", "/wrong"])
def test_a_request_without_a_connection_is_answered_with_503(path: str, tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.5)
        async with client_of(shop(engine)) as client, engine.connect():
            answer = await client.get(path)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json() == {"detail": "the database is not available"}
        await engine.dispose()

    run(main())


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        async with client_of(shop(engine)) as client:
            assert (await client.get("/wrong")).status_code == 500
        transport = httpx.ASGITransport(app=shop(engine))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            with pytest.raises(DBAPIError, match="no such column"):
                await client.get("/wrong")
        await engine.dispose()

    run(main())


def test_a_refused_connection_and_a_closed_pool_are_503(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg")

    async def main() -> None:
        url = "postgresql+asyncpg://tester:hunter2@127.0.0.1:1/nowhere"
        async with engine_on(url, pool_connect_retry=0) as engine:
            async with client_of(shop(engine)) as client:
                refused = await client.get("/orders/1")
                await TypedPool.of(engine).close()
                closed = await client.get("/orders/1")
        for answer in (refused, closed):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "hunter2" not in answer.text

    run(main())


def test_errors_that_are_no_outage_reach_the_handlers_of_the_application(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        app = shop(engine)

        def refused(request: Any, error: SQLAlchemyError) -> JSONResponse:
            return JSONResponse({"own": type(error).__name__}, 418)

        async def missing(error_class: str) -> None:
            raise {"file": FileNotFoundError, "refused": ConnectionRefusedError}[error_class]

        app.add_exception_handler(SQLAlchemyError, refused)  # type: ignore[arg-type]
        app.get("/missing/{error_class}")(missing)
        async with client_of(app) as client:
            wrong = await client.get("/wrong")
            others = [(await client.get(f"/missing/{each}")).status_code for each in OTHERS]
        assert (wrong.status_code, wrong.json()) == (418, {"own": "OperationalError"})
        assert others == [500, 500]
        await engine.dispose()

    run(main())


OTHERS = ("file", "refused")  # of the application itself, not of the pool


# -------------------------------------------------------------------- labels and lines


def nested_shop(engine: AsyncEngine) -> FastAPI:
    """Routers with prefixes, and a mounted application; each route returns its holder."""
    executor = Annotated[AsyncConnection, executor_dependency(engine)]

    def holder() -> list[str | None]:
        (found,) = TypedPool.of(engine).holders()
        return [found.label, (found.where or "").rpartition(" in ")[2]]

    async def order(db: Any) -> list[str | None]:
        return holder()

    async def socket(websocket: WebSocket, db: Any) -> None:
        await websocket.accept()
        await websocket.send_json(holder())
        await websocket.close()

    order.__annotations__["db"] = socket.__annotations__["db"] = executor
    socket.__annotations__["websocket"] = WebSocket
    router = APIRouter(prefix="/v1")
    router.get("/orders/{number:int}/{rest:path}")(order)
    router.get("")(order)
    router.websocket("/orders/{number}/live")(socket)
    app, mounted = FastAPI(), FastAPI()
    app.include_router(router, prefix="/api/{tenant}")
    mounted.include_router(router)
    app.mount("/of/{owner}", mounted)
    return app


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/api/acme/v1/orders/007/a/b", "/api/{tenant}/v1/orders/{number}/{rest}"),
        ("/api/acme/v1", "/api/{tenant}/v1"),
        ("/of/me/v1/orders/7/a/b", "/of/{owner}/v1/orders/{number}/{rest}"),
        ("/api/v1/v1/orders/7/orders/7", "/api/{tenant}/v1/orders/{number}/{rest}"),
    ],
)
@pytest.mark.parametrize("threshold", [None, 60], ids=["no threshold", "threshold"])
def test_the_label_has_the_prefix_and_no_values_and_the_line_is_the_applications(
    path: str, route: str, threshold: float | None, tmp_path: Path
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_leak_threshold=threshold)
        _, body = await request(nested_shop(engine), path)
        assert json.loads(body["body"]) == [f"GET {route}", "holder"]
        await engine.dispose()

    run(main())


def test_the_label_of_a_websocket_has_its_route(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_leak_threshold=60)
        sent = await websocket(nested_shop(engine), "/of/me/v1/orders/7/live")
        assert '"WEBSOCKET /of/{owner}/v1/orders/{number}/live","holder"' in sent[1]["text"]
        await engine.dispose()

    run(main())


async def websocket(app: FastAPI, path: str) -> list[dict[str, Any]]:
    """Return what an application sends to a WebSocket."""
    received = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
    return await called(app, {"type": "websocket", "path": path}, received)


async def request(app: FastAPI, path: str) -> list[dict[str, Any]]:
    """Return what an application answers. Its task has no other frame, as in a server."""
    received = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    return await called(app, {"type": "http", "method": "GET", "path": path}, received)


async def called(
    app: FastAPI, scope: dict[str, Any], received: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return received.pop(0)

    async def send(message: Any) -> None:
        if message.get("body") != b"" or "headers" in message:
            sent.append(message)

    await asyncio.create_task(app({**scope, "headers": [], "query_string": b""}, receive, send))
    return sent


def test_a_websocket_without_a_connection_is_closed_with_the_code_try_again_later(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.5)
        app = nested_shop(engine)
        install_error_handlers(app)
        async with engine.connect():
            (closed,) = await websocket(app, "/api/acme/v1/orders/7/live")
        assert (closed["type"], closed["code"]) == ("websocket.close", 1013)
        await engine.dispose()

    run(main())


# ------------------------------------------------------------------- the engine, and tests


def test_the_engine_may_be_found_for_each_request(tmp_path: Path) -> None:
    async def main() -> None:
        app = FastAPI()
        executor = Annotated[AsyncConnection, executor_dependency(lambda at: at.app.state.engine)]
        session = Annotated[AsyncSession, session_dependency(lambda at: at.app.state.engine)]

        async def both(db: Any, orm: Any) -> list[str]:
            return [each.engine.url.database[-9:] for each in (db, orm.bind)]

        both.__annotations__ |= {"db": executor, "orm": session}
        app.get("/")(both)
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            app.state.engine = file_engine(tmp_path / name)
            async with client_of(app) as client:
                assert (await client.get("/")).json() == [f"{name}/file.db"] * 2
            await app.state.engine.dispose()

    run(main())


def test_a_request_has_one_session_which_tests_can_replace(tmp_path: Path) -> None:
    async def main() -> None:
        engine, app = file_engine(tmp_path), FastAPI()
        dependency = session_dependency(engine)
        session = Annotated[AsyncSession, dependency]

        async def user(db: Any) -> int:
            return id(db)

        async def same(db: Any, found: int) -> bool:
            return id(db) == found

        user.__annotations__["db"] = same.__annotations__["db"] = session
        same.__annotations__["found"] = Annotated[int, Depends(user)]
        app.get("/")(same)
        async with client_of(app) as client:
            assert (await client.get("/")).json() is True
            app.dependency_overrides[dependency.dependency] = lambda: "another"
            assert (await client.get("/")).json() is True
            app.dependency_overrides[user] = lambda: 0
            assert (await client.get("/")).json() is False
        await engine.dispose()

    run(main())


@pytest.mark.parametrize("route", ["session", "executor"])
def test_a_commit_that_fails_is_an_error_of_the_request(route: str, tmp_path: Path) -> None:
    """A deferred constraint is checked by COMMIT."""

    async def main() -> None:
        engine = file_engine(tmp_path)
        await execute(engine, "CREATE TABLE a (id int PRIMARY KEY)")
        await execute(
            engine, "CREATE TABLE b (a int REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        app = FastAPI()
        install_error_handlers(app)

        async def by_session(db: Any) -> str:
            await db.execute(text("PRAGMA foreign_keys = ON"))
            await db.execute(text("INSERT INTO b VALUES (1)"))
            await db.commit()
            return "stored"

        async def by_executor(db: Any) -> str:
            await db.execute(text("PRAGMA foreign_keys = ON"))
            await db.execute(text("INSERT INTO b VALUES (1)"))
            return "stored"

        by_session.__annotations__["db"] = Annotated[AsyncSession, session_dependency(engine)]
        by_executor.__annotations__["db"] = Annotated[AsyncConnection, executor_dependency(engine)]
        app.get("/session")(by_session)
        app.get("/executor")(by_executor)
        async with client_of(app) as client:
            assert (await client.get(f"/{route}")).status_code == 500
        assert await fetch_all(engine, int, "SELECT a FROM b") == []
        assert TypedPool.of(engine).stats().in_use == 0
        await engine.dispose()

    run(main())


def test_a_client_that_disconnects_costs_no_connection(tmp_path: Path) -> None:
    """Its connection is back in the pool before the first byte is sent."""

    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0)
        app = nested_shop(engine)

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            assert TypedPool.of(engine).stats().in_use == 0
            raise OSError("the client has gone")

        scope = {"type": "http", "method": "GET", "path": "/api/acme/v1"}
        with pytest.raises(OSError, match="the client has gone"):
            await app({**scope, "headers": [], "query_string": b""}, receive, send)
        stats = TypedPool.of(engine).stats()
        assert (stats.in_use, stats.idle) == (0, 1)
        await engine.dispose()

    run(main())


# ------------------------------------------------------------------------- lifespan


def test_the_start_opens_connections_and_the_end_closes_them(tmp_path: Path) -> None:
    async def main() -> None:
        engine, seen = file_engine(tmp_path, pool_min_size=2), []

        @asynccontextmanager
        async def inner(app: Any) -> AsyncIterator[dict[str, int]]:
            seen.append(TypedPool.of(engine).stats().idle)
            yield {"answer": 42}
            seen.append(await fetch_one(engine, int, "SELECT 7"))

        async with lifespan(engine, inner=inner)(None) as state:
            assert state == {"answer": 42}
            pool = TypedPool.of(engine)
        assert seen == [2, 7]
        assert pool.stats().size == 0
        assert pool.shared.is_closed

    run(main())


def test_a_wrong_url_ends_the_start_with_one_line_without_the_password() -> None:
    pytest.importorskip("asyncpg")

    async def main() -> None:
        url = "postgresql+asyncpg://tester:hunter2@127.0.0.1:1/nowhere"
        async with engine_on(url, pool_connect_retry=0, pool_name="orders") as engine:
            with pytest.raises(CannotRun) as caught:
                async with lifespan(engine)(None):
                    raise AssertionError("started")
            message = str(caught.value)
            assert message.startswith("pool orders: the database cannot be used: ")
            assert "Connect" in message
            assert "\n" not in message
            assert "hunter2" not in message
            assert caught.value.__context__ is None
            assert caught.value.__cause__ is None

    run(main())


def test_an_application_can_start_without_its_database() -> None:
    async def main() -> None:
        async with (
            engine_on("postgresql+asyncpg://tester@127.0.0.1:1/nowhere") as engine,
            lifespan(engine, connects=False)(None),
        ):
            assert TypedPool.of(engine).stats().connect_failures == 0

    pytest.importorskip("asyncpg")
    run(main())


def test_who_still_holds_a_connection_after_the_drain_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        entered, ended = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with engine.connect():
                entered.set()
                await ended.wait()

        async with lifespan(engine, drain=0.05)(None):
            holder = asyncio.create_task(hold(), name="slow report")
            await entered.wait()
        ended.set()
        await asyncio.gather(holder, return_exceptions=True)

    with caplog.at_level(logging.WARNING, "sqla_typedpool.pool"):
        run(main())
    records = [each for each in caplog.records if getattr(each, "event", "") == "closed_by_force"]
    assert len(records) == 1
    assert "slow report" in records[0].getMessage()


def test_the_same_engine_can_be_started_again(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path)
        for _ in range(2):
            async with lifespan(engine)(None):
                assert await fetch_one(engine, int, "SELECT 1") == 1

    run(main())
