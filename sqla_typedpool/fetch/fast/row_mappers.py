"""Maps the rows that a driver returns: SQLAlchemy's conversions first, then the typed mapper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from sqla_typedpool._sqlalchemy.results import result_processors
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.fetch.columns import NO_ROWS, with_sqlalchemy_names
from sqla_typedpool.fetch.fast.refusals import NeedsSlowPath
from sqla_typedpool.mapping.mapper import mapper_for

if TYPE_CHECKING:
    from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement
    from sqla_typedpool.mapping.plan import Column

MapRows: TypeAlias = "Callable[[Sequence[Any]], list[Any]]"


class RowMapper:
    """Maps the rows of one statement to one row type."""

    __slots__ = ("keep", "map")

    def __init__(self, map_rows: MapRows, keep: object) -> None:
        # Returns the rows as objects of the row type; raises ``RowValueError`` for a wrong value.
        self.map = map_rows
        # An object that must live as long as this mapper.
        self.keep = keep


def make_map_rows(
    dialect: Any,
    statement: DriverStatement,
    row_type: Any,
    columns: tuple[Column, ...],
    codes: Sequence[Any],
    family: str,
) -> MapRows:
    """Make the function that maps rows with the columns that a driver reports.

    :param codes: the driver's type code of each column, for SQLAlchemy's conversions.
    :raises RowShapeError: the columns do not fit the row type, or there are none.
    :raises NeedsSlowPath: only SQLAlchemy can match the columns, or an error of its conversions
        would have to undo the statement.
    """
    if not columns:
        raise RowShapeError(NO_ROWS)
    processors: Any = ()
    if statement.result_columns:
        expected = len(statement.result_columns)
        if expected != len(columns):  # a literal `*`
            raise NeedsSlowPath(f"it returns {len(columns)} columns, SQLAlchemy expects {expected}")
        processors = result_processors(dialect, statement.result_columns, codes)
        if processors and statement.may_write:
            raise NeedsSlowPath("an error of a result processor would have to undo the statement")
        columns = with_sqlalchemy_names(columns, statement.result_columns, processors)
    map_rows = mapper_for(row_type, columns, family).map_rows
    return partial(_map_processed, map_rows, processors) if processors else map_rows


def _map_processed(
    map_rows: MapRows, processors: Sequence[Any], rows: Sequence[Sequence[Any]]
) -> list[Any]:
    """Apply SQLAlchemy's result processors to each row, and map the rows."""
    return map_rows(
        [
            tuple(
                [
                    value if process is None else process(value)
                    for process, value in zip(processors, row, strict=True)
                ]
            )
            for row in rows
        ]
    )
