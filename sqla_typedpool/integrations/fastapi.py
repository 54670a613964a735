"""A pool in FastAPI (``pip install "sqla-typedpool[fastapi]"``).

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
from typing import Any, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from sqla_typedpool.integrations.extras import PackagesOf

with PackagesOf("fastapi"):
    from fastapi import Depends
    from starlette.requests import HTTPConnection

from sqla_typedpool.integrations.starlette import (
    Lifespan,
    install_error_handlers,
    lifespan,
    route_of,
)
from sqla_typedpool.pool.labels import holder_label

__all__ = [
    "EngineOf",
    "Lifespan",
    "executor_dependency",
    "install_error_handlers",
    "lifespan",
    "session_dependency",
]

EngineOf: TypeAlias = Callable[[HTTPConnection], AsyncEngine]
"""Finds the engine of a request or WebSocket, such as ``lambda request: request.app.state.db``."""


def session_dependency(
    engine: AsyncEngine | EngineOf,
    *,
    session_class: type[AsyncSession] = AsyncSession,
    **options: Any,
) -> Any:
    """Return a dependency that opens a session for one request.

    The connection is returned to the pool before the response is sent. What is not committed is
    rolled back. In the reports of the pool the holder has the label ``GET /orders/{id}``.

    Call it once, and use the result in all routes: FastAPI opens one session in a request for
    each result. Its attribute ``dependency`` is the key in ``app.dependency_overrides``.

    :param engine: an engine, or a function that finds it: ``lambda request: request.app.state.db``.
    :param session_class: a subclass, such as the ``AsyncSession`` of SQLModel.
    :param options: of the session; ``expire_on_commit`` is False by default, so that objects
        can be used in the response.

    Example::

        Session = Annotated[AsyncSession, session_dependency(engine)]
    """
    options = {"expire_on_commit": False, **options}

    async def session(connection: HTTPConnection) -> AsyncGenerator[AsyncSession, None]:
        with holder_label(route_of(connection)):
            async with session_class(_found(engine, connection), **options) as opened:
                yield opened

    return Depends(session, scope="function")


def executor_dependency(engine: AsyncEngine | EngineOf) -> Any:
    """Return a dependency that opens a connection in a transaction for one request.

    The transaction is committed before the response is sent, so that an error of the COMMIT is
    an error of the request. If the request raises an error, it is rolled back.

    Call it once, as `session_dependency`.

    :param engine: an engine, or a function that finds it: ``lambda request: request.app.state.db``.

    Example::

        Database = Annotated[AsyncConnection, executor_dependency(engine)]

        @app.get("/users/{id}")
        async def user(id: int, db: Database) -> User:
            return await get_user(db, id)
    """

    async def executor(connection: HTTPConnection) -> AsyncGenerator[AsyncConnection, None]:
        with holder_label(route_of(connection)):
            async with _found(engine, connection).begin() as opened:
                yield opened

    return Depends(executor, scope="function")


def _found(engine: AsyncEngine | EngineOf, connection: HTTPConnection) -> AsyncEngine:
    return engine if isinstance(engine, AsyncEngine) else engine(connection)
