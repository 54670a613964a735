"""``ConversionError``: a value does not have the declared type, and the path to that value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime, time
from typing import Any

from sqla_typedpool.mapping.construction import is_name

# Converts one value, or raises ConversionError.
Convert = Callable[[Any], Any]

NO_INFINITY = (
    "replace it in SQL, such as NULLIF(..., 'infinity'), or convert it: Annotated[..., Decode(f)]"
)
NO_SUCH_TIME = (
    "exclude infinity, 24:00, and the years before 1 and after 9999, which Python does not have, "
    "or select the value as text: CAST(... AS text)"
)
_FOR_COLUMNS = re.compile(r", or (CAST\(|compare in SQL|make the column never).*")


class ConversionError(Exception):
    """A value does not have the declared type. A mapper raises ``RowValueError`` for it."""

    def __init__(self, expected: str, found: str, hint: str = "", path: str = "") -> None:
        super().__init__(expected, found, hint, path)
        self.expected = expected
        self.found = found
        self.hint = hint
        self.path = path

    def add_step(self, step: str) -> None:
        """Prefix the path with a step, and drop the part of the hint that applies only to a
        whole column."""
        self.hint = _FOR_COLUMNS.sub("", self.hint)
        self.path = f"{step}{self.path}"


def refused_by_constructor(text: str, error: Exception) -> ConversionError:
    """Return the error for values that the constructor of a class does not accept.

    :param text: the class as it is written in Python.
    :param error: what the constructor raised. Its message may show the values.
    """
    return ConversionError(
        text,
        f"values for which its constructor raised {type(error).__name__}",
        "read the cause of this error, and correct the values or the class",
    )


def type_of(value: object) -> str:
    """Return the type of a value for a message, which must not show the value itself."""
    if isinstance(value, (datetime, time)):
        return f"{type(value).__name__} ({'naive' if value.tzinfo is None else 'aware'})"
    return type(value).__name__


def converted_part(step: str, convert: Convert, value: Any) -> Any:
    """Convert one part of a value; an error gets the step to this part.

    :param step: ``.price`` or ``[3]``.
    """
    try:
        return convert(value)
    except ConversionError as error:
        error.add_step(step)
        raise


def converted_elements(values: Iterable[Any], convert: Convert) -> list[Any]:
    """Convert every element of a list."""
    converted: list[Any] = []
    add = converted.append
    try:
        for value in values:
            add(convert(value))
    except ConversionError as error:
        error.add_step(f"[{len(converted)}]")
        raise
    return converted


def key_step(key: str) -> str:
    """Return the step to the value of a key: ``.price`` or ``["unit price"]``."""
    return f".{key}" if is_name(key) else f"[{json.dumps(key)}]"
