"""A pool in Starlette (``pip install "sqla-typedpool[starlette]"``).

Example::

    engine = create_async_engine(url, poolclass=TypedPool)
    app = Starlette(routes=routes, lifespan=lifespan(engine))
    install_error_handlers(app)

    async def order(request: Request) -> Response:
        with holder_label(route_of(request)):
            async with AsyncSession(engine) as session: ...
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from inspect import iscoroutinefunction
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.integrations.extras import PackagesOf

with PackagesOf("starlette"):
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import HTTPConnection
    from starlette.responses import JSONResponse, Response
    from starlette.websockets import WebSocket, WebSocketState

from sqla_typedpool.integrations.lifetime import Running
from sqla_typedpool.integrations.unavailable import (
    DETAIL,
    seconds_until_retry,
    unavailable_errors,
)

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
"""The argument ``lifespan`` of an application."""

_TRY_AGAIN_LATER = 1013  # code of a closed WebSocket


def lifespan(
    *engines: AsyncEngine,
    drain: float = 10.0,
    connects: bool = True,
    inner: Lifespan | None = None,
) -> Lifespan:
    """Return the lifespan of an application: it connects at its start, and closes at its end.

    :param engines: engines with a `TypedPool`.
    :param drain: seconds to wait at the end for connections that are in use. Those that
        are still in use then are logged with their holders, and closed.
    :param connects: False starts without the database.
    :param inner: a lifespan of the application, which runs while the database can be used.

    At the start `CannotRun` is raised if a database cannot be used: the server ends, and the last
    line of its traceback names the reason, without the password.
    """

    def manager(app: Any) -> Running:
        within = None if inner is None else inner(app)
        return Running(*engines, drain=drain, connects=connects, inner=within)

    return manager


def install_error_handlers(app: Starlette) -> None:
    """Answer 503 with ``Retry-After`` while the database cannot serve a request.

    These are `PoolTimeout`, `PoolSaturated`, `PoolClosed`, a `StatementTimeout` that waited for a
    connection, lost connections, a server that is read-only, and connect errors that may pass.
    All other errors go to the application's own handlers of their classes, or stay as they are. A
    WebSocket is closed with the code 1013.

    Errors of middleware are not handled: frameworks do not pass them to exception handlers.

    :param app: an application of FastAPI or Starlette.
    """
    handlers = app.exception_handlers
    replaced = {each: handlers.get(each) for each in unavailable_errors()}

    async def answer(connection: Any, error: Exception) -> Any:
        seconds = seconds_until_retry(error)
        if seconds is not None:
            return await _unavailable(connection, seconds)
        for each in type(error).__mro__:
            handler: Any = handlers.get(each)
            handler = replaced.get(each) if handler is answer else handler
            if (
                handler is not None and each is not Exception
            ):  # that one is called for what is raised
                return await _call(handler, connection, error)
        raise error

    for each in replaced:
        app.add_exception_handler(each, answer)


async def _unavailable(connection: HTTPConnection, seconds: int) -> Response | None:
    if isinstance(connection, WebSocket):
        if connection.application_state is not WebSocketState.DISCONNECTED:
            await connection.close(_TRY_AGAIN_LATER, DETAIL)
        return None
    return JSONResponse({"detail": DETAIL}, 503, {"Retry-After": str(seconds)})


async def _call(handler: Any, connection: HTTPConnection, error: Exception) -> Any:
    if iscoroutinefunction(handler):
        return await handler(connection, error)
    return await run_in_threadpool(handler, connection, error)


def route_of(connection: HTTPConnection) -> str:
    """Return the method and the route of a request: ``GET /orders/{id}``.

    It contains the path at which an application or a router is mounted, and no values of
    parameters. It suits `holder_label`.
    """
    scope = connection.scope
    route = getattr(scope.get("route"), "path_format", "")
    values = {name: str(value) for name, value in scope.get("path_params", {}).items()}
    filled = route
    for name, value in values.items():
        filled = filled.replace(f"{{{name}}}", value)
    # How a framework splits a path among a route and what it is mounted in is its own affair.
    path = _own_path(connection)
    mounted_at = path.rsplit("/", filled.count("/"))[0] if filled else path
    for name, value in values.items():
        if value and f"{{{name}}}" not in route:
            mounted_at = f"{mounted_at}/".replace(f"/{value}/", f"/{{{name}}}/", 1)[:-1]
    return f"{scope.get('method', 'WEBSOCKET')} {mounted_at}{route}"


def _own_path(connection: HTTPConnection) -> str:
    """Return the path without the one at which a proxy serves the application."""
    scope = connection.scope
    proxy = str(scope.get("app_root_path", scope.get("root_path", ""))).rstrip("/")
    path = str(scope.get("path", ""))
    return path[len(proxy) :] if proxy and path.startswith(f"{proxy}/") else path
