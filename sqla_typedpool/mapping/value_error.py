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
