"""``ConversionError``: a value does not have the declared type, and the path to that value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime, time
from typing import Any

from sqla_typedpool.mapping.coercions import advice
from sqla_typedpool.mapping.construction import is_name
from sqla_typedpool.mapping.typespec import Kind, TypeSpec

# Converts one value, or raises ConversionError.
Convert = Callable[[Any], Any]


class ConversionError(Exception):
    """A value does not have the declared type. A mapper raises ``RowValueError`` for it."""

    def __init__(self, expected: str, found: str, hint: str = "", path: str = "") -> None:
        super().__init__(expected, found, hint, path)
        self.expected = expected
        self.found = found
        self.hint = hint
        self.path = path

    def add_step(self, step: str) -> None:
        """Prefix the path with a step, and drop a hint that only makes sense for a whole
        column."""
        if not self.path:
            if self.found in ("NULL", "null"):
                self.hint = f"declare it {self.expected} | None"
            elif "CAST(" in self.hint and "Json()" not in self.hint:
                self.hint = "declare the type of the value"
        self.path = f"{step}{self.path}"


def conversion_error(spec: TypeSpec, value: object, family: str) -> ConversionError:
    """Return the error for a value of the wrong type, or for NULL that is not allowed."""
    expected = spec.text
    if value is None:
        null = "null" if family == "json" else "NULL"
        hint = f"declare it {expected} | None, or make the column never {null}"
        if spec.json is not None and family != "json":  # both are None after decoding
            null, hint = "NULL or JSON's null", f"declare it {expected} | None"
        return ConversionError(expected, null, hint)
    cls = spec.annotation if spec.kind is Kind.EXACT else object
    return ConversionError(expected, type_of(value), advice(type(value), cls, family))


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
