"""``rows_as``: strict types for a ``Result`` of SQLAlchemy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from sqlalchemy import MappingResult, Result, ScalarResult
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.ext.asyncio import AsyncMappingResult, AsyncResult, AsyncScalarResult

from sqla_typedpool.fetch.columns import mapper_for_result

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from sqla_typedpool.mapping.mapper import Mapper

T = TypeVar("T")

_SEVERAL = "Multiple rows were found when exactly one was required"

_BATCH = 1000  # rows mapped at a time


def exactly_one(rows: list[T]) -> T:
    """Return the only row.

    :raises sqlalchemy.exc.NoResultFound: there is no row.
    :raises sqlalchemy.exc.MultipleResultsFound: there are several rows.
    """
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise MultipleResultsFound(_SEVERAL)
    raise NoResultFound("No row was found when one was required")


def at_most_one(rows: list[T]) -> T | None:
    """Return the only row; None if there is none.

    :raises sqlalchemy.exc.MultipleResultsFound: there are several rows.
    """
    return exactly_one(rows) if rows else None


class _BatchMapper(Generic[T]):
    """Maps rows that are fetched in batches, and counts them for error messages."""

    def __init__(self, result: Any, row_type: Any, *, is_scalar: bool) -> None:
        self._is_scalar = is_scalar
        self._mapper: Mapper[T] = mapper_for_result(result, row_type)
        self._read = 0

    def __call__(self, rows: Any) -> list[T]:
        if self._is_scalar:
            rows = [(value,) for value in rows]
        mapped = self._mapper.map_rows(rows, self._read)
        self._read += len(mapped)
        return mapped


class TypedRows(Generic[T]):
    """The rows of a result, each exactly of the declared type.

    Like the ``Result`` it reads from, it can be read once. Reading raises
    ``RowValueError`` if a value does not have the declared type.
    """

    def __init__(self, result: Result[Any] | ScalarResult[Any], row_type: Any) -> None:
        self._result = result
        self._map: _BatchMapper[T] = _BatchMapper(
            result, row_type, is_scalar=isinstance(result, ScalarResult)
        )

    def all(self) -> list[T]:
        """Return all rows."""
        return self._map(self._result.all())

    def one(self) -> T:
        """Return the only row.

        :raises sqlalchemy.exc.NoResultFound: there is no row.
        :raises sqlalchemy.exc.MultipleResultsFound: there are several rows.
        """
        return exactly_one(self._take(2))

    def one_or_none(self) -> T | None:
        """Return the only row; None if there is none.

        :raises sqlalchemy.exc.MultipleResultsFound: there are several rows.
        """
        return at_most_one(self._take(2))

    def first(self) -> T | None:
        """Return the first row, None if there is none, and discard the rest."""
        return next(iter(self._take(1)), None)

    def __iter__(self) -> Iterator[T]:
        while batch := self._result.fetchmany(_BATCH):
            yield from self._map(batch)

    def _take(self, count: int) -> list[T]:
        rows = self._result.fetchmany(count)
        self._result.close()
        return self._map(rows)


class AsyncTypedRows(Generic[T]):
    """``TypedRows`` for an asynchronous result, as ``connection.stream()`` returns it."""

    def __init__(self, result: AsyncResult[Any] | AsyncScalarResult[Any], row_type: Any) -> None:
        self._result = result
        self._map: _BatchMapper[T] = _BatchMapper(
            result, row_type, is_scalar=isinstance(result, AsyncScalarResult)
        )

    async def all(self) -> list[T]:
        """Return all rows."""
        return self._map(await self._result.all())

    async def one(self) -> T:
        """Return the only row.

        :raises sqlalchemy.exc.NoResultFound: there is no row.
        :raises sqlalchemy.exc.MultipleResultsFound: there are several rows.
        """
        return exactly_one(await self._take(2))

    async def one_or_none(self) -> T | None:
        """Return the only row; None if there is none.

        :raises sqlalchemy.exc.MultipleResultsFound: there are several rows.
        """
        return at_most_one(await self._take(2))

    async def first(self) -> T | None:
        """Return the first row, None if there is none, and discard the rest."""
        return next(iter(await self._take(1)), None)

    async def __aiter__(self) -> AsyncIterator[T]:
        while batch := await self._result.fetchmany(_BATCH):
            for row in self._map(batch):
                yield row

    async def _take(self, count: int) -> list[T]:
        rows = await self._result.fetchmany(count)
        await self._result.close()
        return self._map(rows)


@overload
def rows_as(result: Result[Any] | ScalarResult[Any], row_type: type[T]) -> TypedRows[T]: ...
@overload
def rows_as(result: Result[Any] | ScalarResult[Any], row_type: TypeForm[T]) -> TypedRows[T]: ...
@overload
def rows_as(
    result: AsyncResult[Any] | AsyncScalarResult[Any], row_type: type[T]
) -> AsyncTypedRows[T]: ...
@overload
def rows_as(
    result: AsyncResult[Any] | AsyncScalarResult[Any], row_type: TypeForm[T]
) -> AsyncTypedRows[T]: ...
def rows_as(result: Any, row_type: Any) -> TypedRows[Any] | AsyncTypedRows[Any]:
    """Read the rows of a result as values of exactly ``row_type``.

    :param result: a result of SQLAlchemy's ``execute()``, ``scalars()`` or ``stream()``.
    :param row_type: a dataclass or another row type, as for :func:`fetch_all`.
    :raises TypeError: the result is one of ``.mappings()``.
    :raises RowShapeError: the columns do not fit the row type. It is raised here, before a
        row is read.

    Example::

        users = rows_as(await session.execute(statement), User).all()
    """
    if isinstance(result, (MappingResult, AsyncMappingResult)):
        raise TypeError("rows_as() reads rows, not mappings; next: remove .mappings()")
    if isinstance(result, (AsyncResult, AsyncScalarResult)):
        return AsyncTypedRows(result, row_type)
    return TypedRows(result, row_type)
