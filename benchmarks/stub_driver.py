"""A driver without a server: `stub://` connects after a delay (or at once) and does no I/O.

What is left when a checkout runs on it is the pool's own work. The dialect is a real one,
registered with SQLAlchemy, so that every pool meets it as it meets asyncpg: adapter,
`do_rollback`, `do_terminate` and all.
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
    """What a driver's `connect()` gives: the connection behind the adapter."""


async def connect(delay: float = 0) -> StubConnection:
    if delay:
        await asyncio.sleep(delay)
    return StubConnection()


class AdaptedStubConnection:
    """The face SQLAlchemy sees: as sync as the adapters of real async drivers.

    Like asyncpg's it has begun no transaction as long as nothing was executed.
    """

    __slots__ = ("_connection", "_transaction")

    def __init__(self, connection: StubConnection) -> None:
        self._connection = connection
        self._transaction = None

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...

    def terminate(self) -> None: ...


class StubDBAPI:
    """The DB-API module, as far as an engine asks for one."""

    paramstyle = "named"
    Error = Exception

    def connect(
        self, *, async_creator_fn: Callable[[], Awaitable[StubConnection]] = connect
    ) -> AdaptedStubConnection:
        return AdaptedStubConnection(await_only(async_creator_fn()))


class StubDialect(DefaultDialect):
    """An async dialect that asks its server nothing, neither at first connect nor at a ping."""

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
