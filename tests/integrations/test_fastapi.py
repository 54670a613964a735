"""A pool in FastAPI: lifespan, dependencies, errors, and the label of a holder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
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
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.1)
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
            assert caught.value.__suppress_context__

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
