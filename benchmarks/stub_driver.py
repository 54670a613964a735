"""A driver without a server: `stub://` connects after a delay (or at once) and does no I/O.

A checkout on it costs only the pool's own work. The dialect is registered with SQLAlchemy, so every
pool uses it as it uses asyncpg's: through the adapter, `do_rollback`, `do_terminate` and so on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.util import await_only

URL = "stub://"


class StubConnection:
    """The driver's own connection, behind the adapter."""


async def connect(delay: float = 0) -> StubConnection:
    if delay:
        await asyncio.sleep(delay)
    return StubConnection()


class AdaptedStubConnection:
    """The DB-API connection: synchronous, like the adapters of other async drivers.

    Like asyncpg's adapter, it has no transaction until a statement is executed.
    """

    __slots__ = ("_connection", "_transaction")

    def __init__(self, connection: StubConnection) -> None:
        self._connection = connection
        self._transaction = None

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...

    def terminate(self) -> None: ...


class StubError(Exception):
    """The errors of the driver. SQLAlchemy wraps them, and raises those of a pool as they are."""


class StubDBAPI:
    """The part of a DB-API module that an engine uses."""

    paramstyle = "named"
    Error = StubError

    def connect(
        self, *, async_creator_fn: Callable[[], Awaitable[StubConnection]] = connect
    ) -> AdaptedStubConnection:
        return AdaptedStubConnection(await_only(async_creator_fn()))


class StubDialect(DefaultDialect):
    """An async dialect that sends nothing, neither at the first connect nor at a ping."""

    name = "stub"
    driver = "stub"
    is_async = True
    has_terminate = True
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        return StubDBAPI()

    def initialize(self, connection: Any) -> None: ...

    def do_ping(self, dbapi_connection: DBAPIConnection) -> bool:
        return True

    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.terminate()

    def get_driver_connection(self, connection: Any) -> Any:
        return connection._connection


registry.register("stub", __name__, "StubDialect")
