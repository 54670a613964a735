"""A value that the driver cannot decode, such as a date before the year 1.

The driver reads all rows of a result at once, and its error names neither the row nor the column.
asyncpg raises a ValueError or an OverflowError, psycopg a DataError that contains the value.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.rowtype import Field, row_type_of
from sqla_typedpool.mapping.typespec import TypeSpec
from sqla_typedpool.mapping.value_error import NO_SUCH_TIME

# The functions of the drivers that decode rows. They are in the traceback of such an error.
_DECODERS = {
    "asyncpg": ("_decode_row",),
    "psycopg": ("load_rows", "load_row"),
    "psycopg_binary": ("load_rows", "load_row"),
    "psycopg_c": ("load_rows", "load_row"),
}
_TIMES = (date, datetime, time)
_SELECT_AS_TEXT = "read the cause of this error, and select the value as text: CAST(... AS text)"


def raise_if_undecodable(error: Exception, row_type: Any) -> None:
    """Raise a ``RowValueError`` if a driver could not decode a value, for any other error nothing.

    :param error: the error of the driver, or SQLAlchemy's error for it.
    :param row_type: the row type as it is written in Python. Its dates and times are the
        columns of which one has the value.
    """
    cause = getattr(error, "orig", None) or error
    if not _is_raised_by_decoder(cause):
        return
    raise _refusal(cause, list(dict.fromkeys(_times_of(row_type)))) from error


def _refusal(cause: BaseException, times: list[str]) -> RowValueError:
    """Return the error for a value that cannot be decoded.

    :param times: the columns that contain dates and times; "" is one without a known name.
    """
    found = f"a value that the driver cannot decode ({type(cause).__name__})"
    if not times:
        return RowValueError(None, None, "a value", found, hint=_SELECT_AS_TEXT)
    names = [name for name in times if name]
    if len(times) > 1 and names:
        found += " in the column " + " or ".join(f'"{name}"' for name in names)
    only = names[0] if len(times) == 1 and names else None
    return RowValueError(None, only, "a date or time", found, hint=NO_SUCH_TIME)


def _is_raised_by_decoder(error: BaseException) -> bool:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        function = frame.f_code.co_name.rpartition(".")[2]
        if function in _DECODERS.get(package, ()):
            return True
    return False


def _times_of(row_type: Any) -> Iterator[str]:
    """Return the columns that contain dates and times; "" for one without a known name."""
    try:
        fields = row_type_of(row_type).fields
    except RowShapeError:
        return
    for field in fields:
        yield from _times_of_field(field, "")


def _times_of_field(field: Field, prefix: str) -> Iterator[str]:
    flatten = field.spec.flatten
    if flatten is not None:
        for inner in row_type_of(field.spec.annotation).fields:
            yield from _times_of_field(inner, prefix + flatten.prefix)
    elif _contains_time(field.spec):
        yield prefix + field.column


def _contains_time(spec: TypeSpec) -> bool:
    return spec.annotation in _TIMES or any(_contains_time(each) for each in spec.of)
