"""How many rows: the functions an application calls.

``db`` says what a call means. An engine: one statement, committed, as inside
``async with engine.begin()``. A connection or session: inside its transaction, which
is begun if it has not been.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
)

from sqla_typedpool.fetch import routes
from sqla_typedpool.fetch.deadline import within
from sqla_typedpool.fetch.rows import exactly_one, one_at_most

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from typing_extensions import LiteralString, TypeForm

__all__ = ["Executor", "execute", "fetch_all", "fetch_one", "fetch_optional", "stream"]

T = TypeVar("T")

Executor: TypeAlias = AsyncEngine | AsyncConnection | AsyncSession | async_scoped_session[Any]
"""Where a statement runs: an engine, a connection or a session."""

Statement: TypeAlias = "LiteralString | Executable"
Parameters: TypeAlias = "Mapping[str, Any] | None"


@overload
async def fetch_all(
    db: Executor,
    row_type: type[T],
    statement: Statement,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> list[T]: ...
@overload
async def fetch_all(
    db: Executor,
    row_type: TypeForm[T],
    statement: Statement,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> list[T]: ...
async def fetch_all(
    db: Executor,
    row_type: Any,
    statement: Any,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> list[Any]:
    """Every row, each exactly of the declared type.

    :param db: an engine (one statement, committed), a connection or a session (inside
        its transaction).
    :param row_type: a dataclass, an attrs class, ``NamedTuple``, ``TypedDict``,
        ``msgspec.Struct``, pydantic model, ``tuple[int, str]``, or a single column's
        type such as ``int`` or ``str | None``; see docs/mapping.md.
    :param statement: SQL text with ``:name`` parameters, or any SQLAlchemy statement
        that returns rows.
    :param parameters: values by name.
    :param timeout: seconds for the whole call, checkout included; None = no limit.
    :raises RowShapeError: before the first row, naming every missing, extra, duplicate
        or impossible column.
    :raises RowValueError: naming row, column, expected and found type.
    :raises StatementTimeout: after ``timeout`` seconds; the statement is cancelled.
    :raises sqlalchemy.exc.DBAPIError: as from SQLAlchemy's ``execute()``.

    Example::

        users = await fetch_all(db, User, "SELECT id, name FROM users WHERE team = :team",
                                {"team": 7})
    """
    if timeout is not None:
        return await within(timeout, statement, routes.fetch(db, row_type, statement, parameters))
    return await routes.fetch(db, row_type, statement, parameters)


@overload
async def fetch_one(
    db: Executor,
    row_type: type[T],
    statement: Statement,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> T: ...
@overload
async def fetch_one(
    db: Executor,
    row_type: TypeForm[T],
    statement: Statement,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> T: ...
async def fetch_one(
    db: Executor,
    row_type: Any,
    statement: Any,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> Any:
    """The only row; the rest is as for :func:`fetch_all`.

    On an engine the statement is committed before its rows are counted.

    :raises sqlalchemy.exc.NoResultFound: there is none.
    :raises sqlalchemy.exc.MultipleResultsFound: there are several.

    Example::

        count = await fetch_one(db, int, "SELECT count(*) FROM users")
    """
    rows = routes.fetch(db, row_type, statement, parameters)
    return exactly_one(await (rows if timeout is None else within(timeout, statement, rows)))


@overload
async def fetch_optional(
    db: Executor,
    row_type: type[T],
    statement: Statement,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> T | None: ...
@overload
async def fetch_optional(
    db: Executor,
    row_type: TypeForm[T],
    statement: Statement,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> T | None: ...
async def fetch_optional(
    db: Executor,
    row_type: Any,
    statement: Any,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> Any:
    """The only row, or None; the rest is as for :func:`fetch_all`.

    :raises sqlalchemy.exc.MultipleResultsFound: there are several.

    Example::

        user = await fetch_optional(db, User, "SELECT id, name FROM users WHERE id = :id",
                                    {"id": 7})
    """
    rows = routes.fetch(db, row_type, statement, parameters)
    return one_at_most(await (rows if timeout is None else within(timeout, statement, rows)))


@overload
def stream(
    db: Executor,
    row_type: type[T],
    statement: Statement,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> AsyncGenerator[T, None]: ...
@overload
def stream(
    db: Executor,
    row_type: TypeForm[T],
    statement: Statement,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> AsyncGenerator[T, None]: ...
def stream(
    db: Executor,
    row_type: Any,
    statement: Any,
    parameters: Parameters = None,
    *,
    timeout: float | None = None,
) -> AsyncGenerator[Any, None]:
    """The rows one by one, through a cursor on the server, in bounded memory.

    The connection is held until the last row, or until the iterator is closed: leave
    the loop early only inside ``contextlib.aclosing(...)``, or the connection comes
    back when the iterator is collected. On an engine that ends the transaction with a
    rollback.

    :param timeout: seconds for each wait for the database: the checkout, the first
        rows, every further portion.

    The rest is as for :func:`fetch_all`.

    Example::

        async with aclosing(stream(engine, User, "SELECT id, name FROM users")) as users:
            async for user in users:
                ...
    """
    return routes.stream(db, row_type, statement, parameters, timeout)


async def execute(
    db: Executor,
    statement: Statement,
    parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    *,
    timeout: float | None = None,
) -> int | None:
    """Run a statement for its effect.

    :param parameters: values by name, or a list of such mappings to run it for each.
    :return: how many rows were changed (or, of a SELECT, found); None where the driver
        does not tell.

    The rest is as for :func:`fetch_all`.

    Example::

        deleted = await execute(engine, "DELETE FROM users WHERE team = :team", {"team": 7})
    """
    count = routes.execute(db, statement, parameters)
    return await (count if timeout is None else within(timeout, statement, count))
