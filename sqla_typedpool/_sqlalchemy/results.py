"""The columns of SQLAlchemy's results, and the conversions it applies to their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import JSON
from sqlalchemy.engine import CursorResult
from sqlalchemy.engine.cursor import CursorResultMetaData


def result_processors(
    dialect: Any, columns: Sequence[Any], oids: Sequence[int]
) -> tuple[Callable[[Any], Any] | None, ...]:
    """Return SQLAlchemy's result processor of each column, None where it has none.

    :param columns: the ``result_columns`` of a compiled statement.
    :return: () if no column has one.
    """
    found = tuple(
        entry.type._cached_result_processor(dialect, oid)
        for entry, oid in zip(columns, oids, strict=True)
    )
    return found if any(found) else ()


# Used in place of a type code for a column that SQLAlchemy decodes from JSON.
DECODED_JSON = "decoded JSON"


class ResultShape(NamedTuple):
    """The columns of a ``Result``, available before its rows are fetched."""

    names: tuple[str, ...]

    # None if it is unknown, as for results that are merged or built from a list.
    dialect: Any

    # The driver's type code of each column; () if they are unknown. It is None for a column
    # whose values SQLAlchemy converts, and ``DECODED_JSON`` if the conversion is from JSON.
    codes: tuple[Any, ...]

    returns_rows: bool


def shape_of(result: Any) -> ResultShape:
    """Return the shape of a ``Result``, which may be filtered, ORM-loaded or asynchronous."""
    cursor_result = result
    while cursor_result is not None and not isinstance(cursor_result, CursorResult):
        inner = getattr(cursor_result, "_real_result", None)
        cursor_result = inner if inner is not None else getattr(cursor_result, "raw", None)
    if cursor_result is not None and not cursor_result.returns_rows:
        return ResultShape((), None, (), False)
    metadata = result._metadata
    names = tuple(metadata.keys)
    if cursor_result is None:
        return ResultShape(names, None, (), True)
    context: Any = cursor_result.context
    codes = _type_codes(context) if isinstance(metadata, CursorResultMetaData) else ()
    selected = getattr(metadata, "_translated_indexes", None)  # set by columns() and scalars()
    if codes and selected is not None:
        codes = tuple([codes[index] for index in selected])
    return ResultShape(names, context.dialect, codes if len(codes) == len(names) else (), True)


def _type_codes(context: Any) -> tuple[Any, ...]:
    described = getattr(context.cursor, "description", None) or ()
    codes = tuple(column[1] for column in described)
    compiled = context.compiled
    if compiled is None or compiled.isplaintext:
        return codes
    if len(compiled._result_columns) != len(codes):
        return ()
    return tuple(
        [
            _type_code(entry.type, code, context.dialect)
            for entry, code in zip(compiled._result_columns, codes, strict=True)
        ]
    )


def _type_code(column_type: Any, code: Any, dialect: Any) -> Any:
    """Return the driver's code if SQLAlchemy does not convert the column's values."""
    if column_type._cached_result_processor(dialect, code) is None:
        return code
    return DECODED_JSON if isinstance(column_type, JSON) else None
