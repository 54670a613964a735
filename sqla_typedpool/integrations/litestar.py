"""A pool in Litestar, also with advanced-alchemy (``pip install "sqla-typedpool[litestar]"``).

Example::

    config = SQLAlchemyAsyncConfig(
        connection_string=url, engine_config=EngineConfig(poolclass=TypedPool)
    )
    app = Litestar(plugins=[SQLAlchemyPlugin(config=config), PoolPlugin(config.get_engine())])
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response
from litestar.config.app import AppConfig
from litestar.exceptions.responses import create_debug_response, create_exception_response
from litestar.plugins import InitPlugin
from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.integrations.lifetime import running
from sqla_typedpool.integrations.unavailable import UNAVAILABLE_ERRORS, seconds_until_retry
from sqla_typedpool.pool.labels import holder_label
from sqla_typedpool.pool.pool import TypedPool


class PoolPlugin(InitPlugin):
    """Connects at the start of the application, closes the pools at its end, and answers 503.

    In the reports of the pool a holder has the label ``GET /orders/{id}``. A request that the
    database cannot serve now is answered with 503 and ``Retry-After``.

    :param engines: engines with a `TypedPool`.
    :param drain: seconds to wait at the end for connections that are in use.
    :param connects: False starts without the database.
    :raises TypeError: an engine has another pool.
    """

    def __init__(self, *engines: AsyncEngine, drain: float = 10.0, connects: bool = True) -> None:
        for each in engines:
            TypedPool.of(each)
        self._engines = engines
        self._drain = drain
        self._connects = connects

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the parts to an application; Litestar calls it."""
        app_config.lifespan.append(self._lifespan)
        app_config.middleware.append(_labelled)
        for each in UNAVAILABLE_ERRORS:
            app_config.exception_handlers.setdefault(each, _answer)
        return app_config

    @asynccontextmanager
    async def _lifespan(self, app: Litestar) -> AsyncGenerator[None, None]:
        async with running(*self._engines, drain=self._drain, connects=self._connects):
            yield


def _labelled(app: ASGIApp) -> ASGIApp:
    """Return middleware that names the work of each request in the reports of the pool."""

    async def labelled(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path_template") or scope.get("path", "")
        with holder_label(f"{scope.get('method', 'WEBSOCKET')} {path}"):
            await app(scope, receive, send)

    return labelled


def _answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    seconds = seconds_until_retry(error)
    if seconds is None:  # what Litestar answers without this handler
        is_debugged = request.app.debug
        create = create_debug_response if is_debugged else create_exception_response
        return create(request, error)
    return Response(
        {"detail": "the database is not available"},
        status_code=503,
        headers={"Retry-After": str(seconds)},
    )
