"""``rows_as``: strict types for results that SQLAlchemy has fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from sqlalchemy import MappingResult, Result, ScalarResult
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.ext.asyncio import AsyncMappingResult, AsyncResult, AsyncScalarResult

from sqla_typedpool.fetch.columns import mapper_of

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from sqla_typedpool.mapping.mapper import Mapper

__all__ = ["AsyncTypedRows", "TypedRows", "exactly_one", "one_at_most", "rows_as"]

T = TypeVar("T")

_BATCH = 1000  # rows mapped at a time


def exactly_one(rows: list[T]) -> T:
    """The one row.

    :raises sqlalchemy.exc.NoResultFound, sqlalchemy.exc.MultipleResultsFound:
    """
    if not rows:
        raise NoResultFound("No row was found when one was required")
    return _single(rows)


def one_at_most(rows: list[T]) -> T | None:
    """The one row, or None.

    :raises sqlalchemy.exc.MultipleResultsFound:
    """
    return _single(rows) if rows else None


def _single(rows: list[T]) -> T:
    if len(rows) > 1:
        raise MultipleResultsFound("Multiple rows were found when exactly one was required")
    return rows[0]


class _Counted(Generic[T]):
    """Maps rows that come in portions, and knows their numbers."""

    def __init__(self, result: Any, row_type: Any, *, is_scalar: bool) -> None:
        self._is_scalar = is_scalar
        self._mapper: Mapper[T] = mapper_of(result, row_type)
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
    ``RowValueError``, which names row, column, expected and found type.
    """

    def __init__(self, result: Result[Any] | ScalarResult[Any], row_type: Any) -> None:
        self._result = result
        self._map: _Counted[T] = _Counted(
            result, row_type, is_scalar=isinstance(result, ScalarResult)
        )

    def all(self) -> list[T]:
        """Every row."""
        return self._map(self._result.all())

    def one(self) -> T:
        """The only row.

        :raises sqlalchemy.exc.NoResultFound, sqlalchemy.exc.MultipleResultsFound:
        """
        return exactly_one(self._some(2))

    def one_or_none(self) -> T | None:
        """The only row, or None.

        :raises sqlalchemy.exc.MultipleResultsFound:
        """
        return one_at_most(self._some(2))

    def first(self) -> T | None:
        """The first row, or None; the rest is discarded."""
        return next(iter(self._some(1)), None)

    def __iter__(self) -> Iterator[T]:
        while batch := self._result.fetchmany(_BATCH):
            yield from self._map(batch)

    def _some(self, count: int) -> list[T]:
        rows = self._result.fetchmany(count)
        self._result.close()
        return self._map(rows)


class AsyncTypedRows(Generic[T]):
    """``TypedRows`` over a result that is still being fetched (``conn.stream()``)."""

    def __init__(self, result: AsyncResult[Any] | AsyncScalarResult[Any], row_type: Any) -> None:
        self._result = result
        self._map: _Counted[T] = _Counted(
            result, row_type, is_scalar=isinstance(result, AsyncScalarResult)
        )

    async def all(self) -> list[T]:
        """Every row."""
        return self._map(await self._result.all())

    async def one(self) -> T:
        """The only row.

        :raises sqlalchemy.exc.NoResultFound, sqlalchemy.exc.MultipleResultsFound:
        """
        return exactly_one(await self._some(2))

    async def one_or_none(self) -> T | None:
        """The only row, or None.

        :raises sqlalchemy.exc.MultipleResultsFound:
        """
        return one_at_most(await self._some(2))

    async def first(self) -> T | None:
        """The first row, or None; the rest is discarded."""
        return next(iter(await self._some(1)), None)

    async def __aiter__(self) -> AsyncIterator[T]:
        while batch := await self._result.fetchmany(_BATCH):
            for row in self._map(batch):
                yield row

    async def _some(self, count: int) -> list[T]:
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
    """The rows of a result as ``row_type``, strictly.

    :param result: what ``execute()``, ``scalars()`` or ``stream()`` has returned.
    :param row_type: a dataclass or another target; see docs/mapping.md.
    :raises TypeError: for ``result.mappings()``.
    :raises RowShapeError: at once, naming every missing, extra or impossible column.

    Example::

        users = rows_as(await session.execute(statement), User).all()
    """
    if isinstance(result, (MappingResult, AsyncMappingResult)):
        raise TypeError("rows_as() reads rows, not mappings; next: leave .mappings() out")
    if isinstance(result, (AsyncResult, AsyncScalarResult)):
        return AsyncTypedRows(result, row_type)
    return TypedRows(result, row_type)
