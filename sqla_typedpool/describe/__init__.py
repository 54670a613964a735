"""Describe SQL statements: their parameters, columns and nullability, without executing them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from math import isfinite
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sqla_typedpool.describe.base import Describer
from sqla_typedpool.describe.deadline import within
from sqla_typedpool.describe.families import FAMILIES, Family
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.fetch.api import Executor

__all__ = ["Describer", "describe", "describer"]


@asynccontextmanager
async def describer(db: Executor, *, timeout: float = 10.0) -> AsyncGenerator[Describer, None]:
    """Open a describer on one connection of ``db``, for any number of statements.

    Transactions that were begun on a connection or session are left as they were.

    :param db: an engine, a connection or a session.
    :param timeout: seconds for each statement, and for opening the describer. The server gets
        the same limit where it has one (PostgreSQL: ``statement_timeout`` and
        ``lock_timeout``; SQLite: ``busy_timeout``).
    :raises CannotRun: statements of this database, or through this driver, cannot be described.
    :raises DescribeTimeout: the describer could not be opened within ``timeout``.

    Example::

        async with describer(engine) as database:
            description = await database.describe("SELECT id, name FROM users")
    """
    if not (isfinite(timeout) and timeout > 0):
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(_connection_of(db))
        family = FAMILIES.get(connection.dialect.name)
        if family is None:
            raise CannotRun(
                f"statements for {connection.dialect.name} cannot be described; next: use one "
                f"of {', '.join(FAMILIES)}"
            )
        opened = _module(family).open_describer(connection, timeout)
        yield await within(timeout, "answer", stack.enter_async_context(opened))


async def describe(
    db: Executor,
    statement: Executable | str,
    *,
    never_null: Collection[str] = (),
    timeout: float = 10.0,
) -> Description:
    """Describe one statement, without executing it.

    :param db: an engine, a connection or a session.
    :param statement: SQL text with ``:name`` parameters, or any Core statement.
    :param never_null: the names of parameters whose values are never None.
    :param timeout: seconds for connecting and for the statement. The server gets the same limit
        where it has one.
    :raises Refused: the database does not accept the statement.
    :raises CannotRun: statements of this database, or through this driver, cannot be described.
    :raises DescribeTimeout: there was no answer within ``timeout``.

    Example::

        description = await describe(engine, "SELECT id, nick FROM users WHERE id = :id")
        for column in description.columns:
            print(column.name, column.type, column.nullable, column.why)
    """
    async with describer(db, timeout=timeout) as database:
        return await database.describe(statement, never_null=never_null)


def _module(family: Family) -> Any:
    try:
        return import_module(family.module)
    except ImportError as error:
        raise CannotRun(
            f"statements of {family.label} are described with {error.name}, which is not "
            'installed; next: pip install "sqla-typedpool[check]"'
        ) from error


@asynccontextmanager
async def _connection_of(db: Executor) -> AsyncGenerator[AsyncConnection, None]:
    if isinstance(db, AsyncEngine):
        async with db.connect() as connection:
            yield connection
    elif isinstance(db, AsyncConnection):
        yield db
    else:
        yield await db.connection()
