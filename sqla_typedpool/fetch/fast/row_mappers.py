"""Maps the rows that a driver returns: SQLAlchemy's conversions first, then the typed mapper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy.results import result_processors
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.fetch.columns import NO_ROWS, with_sqlalchemy_names
from sqla_typedpool.mapping.mapper import Mapper, mapper_for

if TYPE_CHECKING:
    from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement
    from sqla_typedpool.mapping.plan import Column


class NeedsSlowPath(Exception):
    """The columns of a statement need the slow path. The statement has not been run."""


class RowMapper:
    """Maps the rows of one statement to one row type."""

    __slots__ = ("_mapper", "_processors", "keep")

    def __init__(self, mapper: Mapper[Any], processors: Sequence[Any]) -> None:
        self._mapper = mapper
        self._processors = processors
        # An object that must live as long as this mapper.
        self.keep: object = None

    def map(self, rows: Sequence[Any]) -> list[Any]:
        """Return the rows as objects of the row type.

        :raises RowValueError: a value does not have the declared type.
        """
        if self._processors:
            rows = _process(rows, self._processors)
        return self._mapper.map_rows(rows)


def _process(rows: Sequence[Any], processors: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Apply SQLAlchemy's result processors to each row."""
    return [
        tuple(
            [
                value if process is None else process(value)
                for process, value in zip(processors, row, strict=True)
            ]
        )
        for row in rows
    ]


def make_row_mapper(
    dialect: Any,
    statement: DriverStatement,
    row_type: Any,
    columns: tuple[Column, ...],
    codes: Sequence[Any],
    family: str,
) -> RowMapper:
    """Make the mapper for columns that a driver reports.

    :param codes: the driver's type code of each column, for SQLAlchemy's conversions.
    :raises RowShapeError: the columns do not fit the row type, or there are none.
    :raises NeedsSlowPath: only SQLAlchemy can match the columns, or an error of its conversions
        would have to undo the statement.
    """
    if not columns:
        raise RowShapeError(NO_ROWS)
    processors: Any = ()
    if statement.result_columns:
        if len(statement.result_columns) != len(columns):
            raise NeedsSlowPath  # a literal `*`: SQLAlchemy matches columns by name
        processors = result_processors(dialect, statement.result_columns, codes)
        if processors and statement.may_write:
            raise NeedsSlowPath  # an error of a processor rolls the statement back there
        columns = with_sqlalchemy_names(columns, statement.result_columns, processors)
    return RowMapper(mapper_for(row_type, columns, family), processors)
