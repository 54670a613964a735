"""The application: its engine, its routes, and what shows how the pool works."""

from collections.abc import MutableMapping
from hmac import compare_digest
from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.requests import HTTPConnection

from sqla_typedpool import TypedPool
from sqla_typedpool.integrations.asgi import PoolMonitor
from sqla_typedpool.integrations.fastapi import install_error_handlers, lifespan

from .routes import router

COOKIE = "pool-token"


def create_engine(url: str) -> AsyncEngine:
    """Return an engine: five connections, and an error after two seconds of waiting for one."""
    return create_async_engine(
        url, poolclass=TypedPool, pool_name="shop", pool_size=5, max_overflow=0, pool_timeout=2
    )


def create_app(engine: AsyncEngine, token: str, *, connects: bool = True) -> FastAPI:
    """Return the application.

    :param token: who has it may look at the pool.
    :param connects: False starts without the database.
    """
    app = FastAPI(title="Shop", lifespan=lifespan(engine, drain=10, connects=connects))
    app.state.engine = engine
    app.include_router(router)
    install_error_handlers(app)

    def is_allowed(scope: MutableMapping[str, Any]) -> bool:
        request = HTTPConnection(scope)
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = given or request.cookies.get(COOKIE, "")
        return compare_digest(given.encode(), token.encode())

    @app.get("/login", include_in_schema=False)
    async def login(token: str) -> Response:
        """Let a browser read the page: it cannot send a header."""
        answer = RedirectResponse("/_pool/")
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", path="/_pool")
        return answer

    app.mount("/_pool", PoolMonitor(engine, authorize=is_allowed))
    return app
