"""A pool in Litestar, also with advanced-alchemy (``pip install "sqla-typedpool[litestar]"``).

Example::

    config = SQLAlchemyAsyncConfig(
        connection_string=url, engine_config=EngineConfig(poolclass=TypedPool)
    )
    app = Litestar(plugins=[SQLAlchemyPlugin(config=config), PoolPlugin(config.get_engine())])
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.integrations.extras import PackagesOf

with PackagesOf("litestar"):
    from litestar import Litestar, Request, Response
    from litestar.config.app import AppConfig
    from litestar.exceptions.responses import create_debug_response, create_exception_response
    from litestar.plugins import InitPlugin
    from litestar.types import ASGIApp, ExceptionHandler, Receive, Scope, Send

from sqla_typedpool.integrations.lifetime import Running
from sqla_typedpool.integrations.unavailable import (
    DETAIL,
    seconds_until_retry,
    unavailable_errors,
)
from sqla_typedpool.pool.labels import holder_label
from sqla_typedpool.pool.pool import TypedPool


class PoolPlugin(InitPlugin):
    """Connects at the start of the application, closes the pools at its end, and answers 503.

    In the reports of the pool a holder has the label ``GET /orders/{id}``. A request that the
    database cannot serve now is answered with 503 and ``Retry-After``. All other errors go to the
    handlers of the application and of the plugins before this one.

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
        handlers = app_config.exception_handlers
        before = dict(handlers)
        for each in unavailable_errors():
            handlers[each] = _answer_or(_handler_of(each, before))
        return app_config

    def _lifespan(self, app: Litestar) -> AbstractAsyncContextManager[None]:
        return Running(*self._engines, drain=self._drain, connects=self._connects)


def _labelled(app: ASGIApp) -> ASGIApp:
    """Return middleware that names the work of each request in the reports of the pool."""

    async def labelled(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path_template") or scope.get("path", "")
        with holder_label(f"{scope.get('method', 'WEBSOCKET')} {path}"):
            await app(scope, receive, send)

    return labelled


def _answer_or(otherwise: ExceptionHandler[Any]) -> ExceptionHandler[Any]:
    """Return a handler that answers 503, and passes other errors on."""

    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        seconds = seconds_until_retry(error)
        if seconds is None:
            return otherwise(request, error)
        headers = {"Retry-After": str(seconds)}
        return Response({"detail": DETAIL}, status_code=503, headers=headers)

    return answer


def _handler_of(kind: type[Exception], handlers: Mapping[Any, Any]) -> Any:
    """Return what answers such an error without the plugin."""
    found = [handlers[each] for each in (*kind.__mro__, 500) if each in handlers]
    if not found and kind.__module__.startswith("advanced_alchemy."):
        # its plugin adds this one if there is no other; it is imported if that plugin is used
        module = sys.modules.get("advanced_alchemy.extensions.litestar.exception_handler")
        found = [module.exception_to_http_response] if module else []
    return found[0] if found else _litestars_own


def _litestars_own(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    create = create_debug_response if request.app.debug else create_exception_response
    return create(request, error)
