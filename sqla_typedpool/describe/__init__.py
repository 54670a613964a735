"""The door: a statement in, what the database says of it out. Nothing is ever executed.

Each family of databases has a room with an asynchronous context manager
``describer(connection)``; it is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Protocol

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.fetch.api import Executor

__all__ = ["Describer", "describe", "describer"]

_ROOMS = {"postgresql": "postgres", "sqlite": "sqlite", "mysql": "mysql", "mariadb": "mysql"}


class Describer(Protocol):
    """Describes many statements on one connection, whose transaction is rolled back."""

    @property
    def family(self) -> str:
        """``"postgresql"``, ``"sqlite"`` or ``"mysql"``."""
        ...

    @property
    def server(self) -> str:
        """Product and major version: ``PostgreSQL 15``."""
        ...

    async def describe(
        self,
        statement: Executable | str,
        *,
        keys: Collection[str] = (),
        never_null: Collection[str] = (),
    ) -> Description:
        """Ask the database about one statement.

        :param statement: SQL text with ``:name`` parameters, or any Core statement.
        :param keys: names of the parameters that will be given: they decide which columns
            a bare ``insert(table)`` sets.
        :param never_null: parameters that are never None.
        :raises Refused: the database does not accept the statement.
        :raises CannotRun: nothing further can be described.
        """
        ...


@asynccontextmanager
async def describer(
    db: Executor,
) -> AsyncGenerator[Describer, None]:
    """A describer on one connection of ``db``, for as many statements as you like.

    :param db: an engine, a connection or a session; what these have begun is left as it was.
    :raises CannotRun: this database or driver cannot be asked.

    Example::

        async with describer(engine) as database:
            description = await database.describe("SELECT id, name FROM users")
    """
    async with _connection_of(db) as connection:
        room = _ROOMS.get(connection.dialect.name)
        if room is None:
            known = ", ".join(sorted(_ROOMS))
            raise CannotRun(
                f"statements for {connection.dialect.name} cannot be described; next: use one "
                f"of {known}"
            )
        module: Any = import_module(f"{__name__}.{room}.describer")
        async with module.describer(connection) as found:
            yield found


async def describe(
    db: Executor, statement: Executable | str, *, never_null: Collection[str] = ()
) -> Description:
    """What the database says of one statement, without running it.

    :param db: an engine, a connection or a session.
    :param statement: SQL text with ``:name`` parameters, or any Core statement.
    :param never_null: parameters that are never None.
    :raises Refused: the database does not accept the statement.
    :raises CannotRun: this database or driver cannot be asked.

    Example::

        description = await describe(engine, "SELECT id, nick FROM users WHERE id = :id")
        for column in description.columns:
            print(column.name, column.type, column.nullable, column.why)
    """
    async with describer(db) as database:
        return await database.describe(statement, never_null=never_null)


@asynccontextmanager
async def _connection_of(db: Executor) -> AsyncGenerator[AsyncConnection, None]:
    if isinstance(db, AsyncEngine):
        async with db.connect() as connection:
            yield connection
    elif isinstance(db, AsyncConnection):
        yield db
    else:
        yield await db.connection()
