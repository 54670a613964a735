"""What SQLAlchemy makes of the columns of a Core statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqla_typedpool._sqlalchemy.compiling import ResultColumn
from sqla_typedpool.describe.model import ColumnDescription
from sqla_typedpool.mapping.dbtypes import DbType


def as_read(
    entries: Sequence[ResultColumn], columns: Iterable[ColumnDescription], codes: Iterable[Any]
) -> tuple[ColumnDescription, ...]:
    """The columns by SQLAlchemy's names, and what its types make of their values.

    :param entries: of the statement; () of text, which is left as it is.
    :param codes: the driver's type codes.
    """
    columns, codes = tuple(columns), tuple(codes)
    if len(entries) != len(columns):
        return columns
    return tuple(
        _as_read(entry, column, code)
        for entry, column, code in zip(entries, columns, codes, strict=True)
    )


def _as_read(entry: ResultColumn, column: ColumnDescription, code: Any) -> ColumnDescription:
    column = replace(column, name=entry.name)
    if entry.is_processed(code):
        db_type = DbType(column.type, json=entry.is_json)
        column = replace(column, db_type=db_type)
    if not column.nullable and entry.may_make_none:
        why = "of a JSON null" if entry.is_json else "by the application's own type"
        column = replace(column, nullable=True, why=f"a value may be read as None {why}")
    return column
