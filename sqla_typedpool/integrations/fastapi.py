"""A pool in FastAPI and Starlette (``pip install "sqla-typedpool[fastapi]"``).

Example::

    engine = create_async_engine(url, poolclass=TypedPool)
    app = FastAPI(lifespan=lifespan(engine))
    install_error_handlers(app)
    Session = Annotated[AsyncSession, session_dependency(engine)]

    @app.get("/orders/{id}")
    async def order(id: int, session: Session) -> Order: ...
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from sqla_typedpool.integrations.lifetime import running
from sqla_typedpool.integrations.unavailable import UNAVAILABLE_ERRORS, seconds_until_retry
from sqla_typedpool.pool.labels import holder_label

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(
    *engines: AsyncEngine,
    drain: float = 10.0,
    connects: bool = True,
    inner: Lifespan | None = None,
) -> Lifespan:
    """Return the lifespan of an application: it connects at its start, and closes at its end.

    :param engines: engines with a `TypedPool`.
    :param drain: seconds to wait at the end for connections that are in use. Who still holds one
        then is logged, and its connection is closed.
    :param connects: False starts without the database.
    :param inner: a lifespan of the application, which runs while the database can be used.

    At the start `CannotRun` is raised if a database cannot be used: the server ends, and the last
    line of its output names the reason.
    """

    @asynccontextmanager
    async def manager(app: Any) -> AsyncGenerator[Any, None]:
        async with running(*engines, drain=drain, connects=connects):
            async with nullcontext() if inner is None else inner(app) as state:
                yield state

    return manager


def session_dependency(engine: AsyncEngine, **options: Any) -> Any:
    """Return a dependency that opens an ``AsyncSession`` for one request.

    The connection is returned to the pool before the response is sent. What is not committed is
    rolled back. In the reports of the pool the holder has the label ``GET /orders/{id}``.

    :param options: of ``AsyncSession``; ``expire_on_commit`` is False by default, so that objects
        can be used in the response.

    Example::

        Session = Annotated[AsyncSession, session_dependency(engine)]
    """
    options = {"expire_on_commit": False, **options}

    async def session(connection: HTTPConnection) -> AsyncGenerator[AsyncSession, None]:
        with holder_label(_label_of(connection)):
            async with AsyncSession(engine, **options) as opened:
                yield opened

    return Depends(session, scope="function")


def executor_dependency(engine: AsyncEngine) -> Any:
    """Return a dependency that opens a connection in a transaction for one request.

    The transaction is committed before the response is sent, so that an error of the COMMIT is
    an error of the request. If the request raises an error, it is rolled back.

    Example::

        Database = Annotated[AsyncConnection, executor_dependency(engine)]

        @app.get("/users/{id}")
        async def user(id: int, db: Database) -> User:
            return await get_user(db, id)
    """

    async def executor(connection: HTTPConnection) -> AsyncGenerator[AsyncConnection, None]:
        with holder_label(_label_of(connection)):
            async with engine.begin() as opened:
                yield opened

    return Depends(executor, scope="function")


def install_error_handlers(app: Starlette) -> None:
    """Answer 503 with ``Retry-After`` while the database cannot serve a request.

    These are `PoolTimeout`, `PoolSaturated`, `PoolClosed`, a `StatementTimeout` that waited for a
    connection, lost connections, and connect errors. All other errors stay as they are.

    :param app: an application of FastAPI or Starlette.
    """
    for each in UNAVAILABLE_ERRORS:
        app.add_exception_handler(each, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    seconds = seconds_until_retry(error)
    if seconds is None:
        raise error
    return JSONResponse(
        {"detail": "the database is not available"}, 503, {"Retry-After": str(seconds)}
    )


def _label_of(connection: HTTPConnection) -> str:
    """Return the method and the route, which contains no values of the path."""
    route = connection.scope.get("route")
    path = getattr(route, "path", "") or connection.scope.get("path", "")
    return f"{connection.scope.get('method', 'WEBSOCKET')} {path}"
