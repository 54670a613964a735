"""What SQLAlchemy's results tell of their columns, and what it does to their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import JSON
from sqlalchemy.engine import CursorResult
from sqlalchemy.engine.cursor import CursorResultMetaData

__all__ = ["DECODED_JSON", "ResultShape", "result_processors", "shape_of"]


def result_processors(
    dialect: Any, columns: Sequence[Any], oids: Sequence[int]
) -> tuple[Callable[[Any], Any] | None, ...]:
    """What SQLAlchemy does to the values of typed columns; () where it does nothing."""
    found = tuple(
        entry.type._cached_result_processor(dialect, oid)
        for entry, oid in zip(columns, oids, strict=True)
    )
    return found if any(found) else ()


DECODED_JSON = "decoded JSON"
"""In place of a type code: SQLAlchemy decodes this column."""


class ResultShape(NamedTuple):
    """What a ``Result`` tells of its columns before its rows are read."""

    names: tuple[str, ...]
    dialect: Any
    """None where it can't be told (results made by hand, merged ones)."""
    codes: tuple[Any, ...]
    """The driver's type codes, None where SQLAlchemy changes the values; () = unknown."""
    returns_rows: bool


def shape_of(result: Any) -> ResultShape:
    """The shape of any ``Result``, filtered, ORM-loaded or asynchronous."""
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
    codes = _codes(context) if isinstance(metadata, CursorResultMetaData) else ()
    chosen = getattr(metadata, "_translated_indexes", None)  # by columns() or scalars()
    if codes and chosen is not None:
        codes = tuple([codes[place] for place in chosen])
    return ResultShape(names, context.dialect, codes if len(codes) == len(names) else (), True)


def _codes(context: Any) -> tuple[Any, ...]:
    described = getattr(context.cursor, "description", None) or ()
    codes = tuple(column[1] for column in described)
    compiled = context.compiled
    if compiled is None or compiled.isplaintext:
        return codes
    if len(compiled._result_columns) != len(codes):
        return ()
    return tuple(
        [
            _code(entry.type, code, context.dialect)
            for entry, code in zip(compiled._result_columns, codes, strict=True)
        ]
    )


def _code(kind: Any, code: Any, dialect: Any) -> Any:
    """The driver's code, unless SQLAlchemy makes something else of the value."""
    if kind._cached_result_processor(dialect, code) is None:
        return code
    return DECODED_JSON if isinstance(kind, JSON) else None
