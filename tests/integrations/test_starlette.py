"""A pool in Starlette without FastAPI, and what a server prints that cannot start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from sqla_typedpool import TypedPool, fetch_one
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.integrations.starlette import install_error_handlers, lifespan, route_of
from sqla_typedpool.pool.labels import current_label, holder_label
from tests.integrations.test_metrics import file_engine
from tests.support.commands import ROOT
from tests.support.engines import run

APP = """
import os
from {package} import {framework}
from sqlalchemy.ext.asyncio import create_async_engine
from sqla_typedpool import TypedPool
from sqla_typedpool.integrations.{package} import lifespan

engine = create_async_engine(os.environ["URL"], poolclass=TypedPool, pool_connect_retry=0)
app = {framework}(lifespan=lifespan(engine))
"""


def client_of(app: Starlette) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def test_starlette_needs_no_fastapi_and_what_is_installed_beside_it_is_not_imported() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from starlette.applications import Starlette\n"
        "from sqla_typedpool.integrations.starlette import install_error_handlers\n"
        "install_error_handlers(Starlette())\n"
        "assert not {'advanced_alchemy', 'asyncpg', 'litestar'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_routes_of_starlette_have_a_label_503_and_a_lifespan(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.5)
        labels = []

        async def order(request: Request) -> Response:
            with holder_label(route_of(request)):
                labels.append(current_label())
                return JSONResponse(await fetch_one(engine, int, "SELECT 7"))

        inner = [Route("/orders/{number:int}", order)]
        app = Starlette(routes=[Mount("/shops/{shop}", routes=inner)], lifespan=lifespan(engine))
        install_error_handlers(app)
        async with lifespan(engine)(app), client_of(app) as client:
            assert (await client.get("/shops/acme/orders/7")).json() == 7
            async with engine.connect():
                answer = await client.get("/shops/acme/orders/7")
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert labels == ["GET /shops/{shop}/orders/{number}"] * 2
        assert TypedPool.of(engine).stats().size == 0

    run(main())


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
def test_the_applications_own_handler_gets_what_is_no_outage(
    is_async: bool, is_first: bool, tmp_path: Path
) -> None:
    """Whether it is added before or after ours."""

    def own(request: Request, error: Exception) -> Response:
        return JSONResponse({"own": type(error).__name__}, 400)

    async def own_async(request: Request, error: Exception) -> Response:
        return own(request, error)

    async def main() -> None:
        engine = file_engine(tmp_path)

        async def wrong(request: Request) -> Response:
            return JSONResponse(await fetch_one(engine, int, "SELECT missing_column"))

        app = Starlette(routes=[Route("/wrong", wrong)])
        handler = own_async if is_async else own
        if is_first:
            app.add_exception_handler(SQLAlchemyError, handler)
        install_error_handlers(app)
        if not is_first:
            app.add_exception_handler(SQLAlchemyError, handler)
        async with client_of(app) as client:
            assert (await client.get("/wrong")).json() == {"own": "OperationalError"}
        await engine.dispose()

    run(main())


def documented_middleware() -> Any:
    """The class in docs/guide/errors.md."""
    page = (ROOT / "docs" / "guide" / "errors.md").read_text()
    (code,) = [
        each
        for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        if "send_and_note" in each
    ]
    names: dict[str, Any] = {}
    exec(code, names)
    return names["DatabaseUnavailable"]


@pytest.mark.parametrize("is_documented", [True, False])
def test_errors_of_middleware_reach_no_handler_but_the_documented_middleware(
    is_documented: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.5)

        class Session(BaseHTTPMiddleware):
            async def dispatch(self, request: Request, call_next: object) -> Response:
                return JSONResponse(await fetch_one(engine, int, "SELECT 1"))

        around = [Middleware(documented_middleware())] if is_documented else []
        app = Starlette(middleware=[*around, Middleware(Session)])
        install_error_handlers(app)
        async with client_of(app) as client:
            assert (await client.get("/")).json() == 1
            async with engine.connect():
                answer = await client.get("/")
        assert answer.status_code == (503 if is_documented else 500)
        assert ("retry-after" in answer.headers) == is_documented
        await engine.dispose()

    run(main())


# ------------------------------------------------------------------- what a server prints


@pytest.mark.parametrize("framework", ["FastAPI", "Starlette"])
@pytest.mark.parametrize("fault", ["port", "password"])
def test_a_server_that_cannot_start_prints_one_line_of_ours(
    framework: str, fault: str, postgres: Postgres, tmp_path: Path
) -> None:
    pytest.importorskip("asyncpg")
    pytest.importorskip("uvicorn")
    url = make_url(postgres.url("asyncpg")).set(username="nobody", password="hunter2")
    url = url.set(port=1) if fault == "port" else url
    printed = start(framework, url.render_as_string(hide_password=False), tmp_path)
    assert "hunter2" not in printed
    *_, last = [line for line in printed.splitlines() if "CannotRun" in line]
    assert "the database cannot be used: " in last
    assert ("nobody" in last) == (fault == "password")
    assert last.endswith("next: check the URL, the server and the network")
    assert "Application startup failed" in printed
    frames = [line for line in printed.splitlines() if line.startswith("  File")]
    assert len([line for line in frames if "sqla_typedpool" in line]) == 1
    assert "During handling" not in printed
    assert "direct cause" not in printed


def start(framework: str, url: str, folder: Path) -> str:
    """Return what uvicorn prints until it ends."""
    source = APP.format(framework=framework, package=framework.lower())
    source = source.replace("from starlette import", "from starlette.applications import")
    (folder / "shop.py").write_text(source)
    ended = subprocess.run(
        [sys.executable, "-m", "uvicorn", "shop:app", "--port", "0"],
        cwd=folder,
        env={**os.environ, "URL": url, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 3
    return ended.stdout + ended.stderr
