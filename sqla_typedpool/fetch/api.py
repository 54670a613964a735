"""The functions that an application calls.

``db`` determines the transaction. On an engine the statement runs in its own transaction,
which is committed, as inside ``async with engine.begin()``. On a connection or session it
runs in its current transaction, which is begun if needed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
)
from typing_extensions import LiteralString

from sqla_typedpool.fetch import routes
from sqla_typedpool.fetch.deadline import within
from sqla_typedpool.fetch.rows import at_most_one, exactly_one

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")

Executor: TypeAlias = AsyncEngine | AsyncConnection | AsyncSession | async_scoped_session[Any]
"""What runs a statement: an engine, a connection or a session, SQLModel's and scoped ones too.

On an engine the statement is committed; on a connection or a session it runs in the current
transaction, which is begun if needed.
"""

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
    """Run a statement and return all its rows, each exactly of the declared type.

    :param db: an engine (the statement is committed), or a connection or session (the
        statement runs in its transaction).
    :param row_type: a dataclass, an attrs class, a ``NamedTuple``, a ``TypedDict``, a
        ``msgspec.Struct``, a pydantic model, ``tuple[int, str]``, or the type of a single
        column such as ``int`` or ``str | None``; see docs/guide/typed-results.md.
    :param statement: SQL text with ``:name`` parameters, or any SQLAlchemy statement
        that returns rows.
    :param parameters: the values of the parameters, by name.
    :param timeout: seconds for the whole call, including the checkout; None = no limit.
    :raises RowShapeError: the columns do not fit the row type. It is raised before the
        first row is read, and names every missing, extra, duplicate or impossible column.
    :raises RowValueError: a value does not have the declared type. It names the row, the
        column, the expected and the found type.
    :raises StatementTimeout: the call did not finish within ``timeout``. The statement is
        cancelled.
    :raises sqlalchemy.exc.DBAPIError: the database reports an error. It is the same as
        from SQLAlchemy's ``execute()``.

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
    """Run a statement and return its only row.

    The parameters and exceptions are those of :func:`fetch_all`, and it also raises these. On an
    engine the statement is committed before its rows are counted.

    :raises sqlalchemy.exc.NoResultFound: there is no row.
    :raises sqlalchemy.exc.MultipleResultsFound: there are several rows.

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
    """Run a statement and return its only row; None if there is none.

    The parameters and exceptions are those of :func:`fetch_all`, and it also raises this. On an
    engine the statement is committed before its rows are counted.

    :raises sqlalchemy.exc.MultipleResultsFound: there are several rows.

    Example::

        user = await fetch_optional(db, User, "SELECT id, name FROM users WHERE id = :id",
                                    {"id": 7})
    """
    rows = routes.fetch(db, row_type, statement, parameters)
    return at_most_one(await (rows if timeout is None else within(timeout, statement, rows)))


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
    """Run a statement and yield its rows one by one, in bounded memory.

    The rows are read in batches of 1,000, through a cursor on the server if the driver has
    one. The iterator holds its connection until it is exhausted or closed. To leave the
    loop early, use ``contextlib.aclosing(...)``; without it the connection is returned only
    when the iterator is garbage-collected. On an engine, leaving early rolls the
    transaction back.

    Parameters and exceptions are those of :func:`fetch_all`, except ``timeout``.

    :param timeout: seconds for each wait: for the checkout, the first rows, and each
        further batch; None = no limit.

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
    """Run a statement and return its row count.

    The other parameters and the exceptions are those of :func:`fetch_all`.

    :param parameters: the values of the parameters, by name; or a list of such mappings,
        to run the statement once for each.
    :return: how many rows were changed (or found, by a SELECT); None if the driver does
        not report it.

    Example::

        deleted = await execute(engine, "DELETE FROM users WHERE team = :team", {"team": 7})
    """
    count = routes.execute(db, statement, parameters)
    return await (count if timeout is None else within(timeout, statement, count))
