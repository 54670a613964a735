"""A value that is not what was wanted, and where inside its column it stands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime, time
from typing import Any

from sqla_typedpool.mapping.coercions import advice
from sqla_typedpool.mapping.construction import is_name
from sqla_typedpool.mapping.typespec import Kind, TypeSpec

Convert = Callable[[Any], Any]


class ConversionError(Exception):
    """A value that is not what was wanted; a mapper makes a ``RowValueError`` of it."""

    def __init__(self, expected: str, found: str, hint: str = "", path: str = "") -> None:
        super().__init__(expected, found, hint, path)
        self.expected = expected
        self.found = found
        self.hint = hint
        self.path = path

    def step_out(self, step: str) -> None:
        """Be seen from one step further out. Advice about columns is none for their parts."""
        if not self.path:
            if self.found in ("NULL", "null"):
                self.hint = f"declare it {self.expected} | None"
            elif "CAST(" in self.hint and "Json()" not in self.hint:
                self.hint = "declare what is there"
        self.path = f"{step}{self.path}"


def conversion_error(wanted: TypeSpec, value: object, family: str) -> ConversionError:
    """A value of a wrong type, or NULL where there must be none."""
    expected = wanted.text
    if value is None:
        null = "null" if family == "json" else "NULL"
        hint = f"declare it {expected} | None, or make the column never {null}"
        if wanted.json is not None and family != "json":  # decoded, they look alike
            null, hint = "NULL or JSON's null", f"declare it {expected} | None"
        return ConversionError(expected, null, hint)
    cls = wanted.annotation if wanted.kind is Kind.EXACT else object
    return ConversionError(expected, type_of(value), advice(type(value), cls, family))


def type_of(value: object) -> str:
    """The type of a value, for a message; the value itself is nobody's business."""
    if isinstance(value, (datetime, time)):
        return f"{type(value).__name__} ({'naive' if value.tzinfo is None else 'aware'})"
    return type(value).__name__


def converted_part(step: str, convert: Convert, value: Any) -> Any:
    """One part of a value; what is wrong with it is told from outside.

    :param step: the way to it: ``.price`` or ``[3]``.
    """
    try:
        return convert(value)
    except ConversionError as mismatch:
        mismatch.step_out(step)
        raise


def converted_each(values: Iterable[Any], convert: Convert) -> list[Any]:
    """Every element of a list."""
    found: list[Any] = []
    add = found.append
    try:
        for value in values:
            add(convert(value))
    except ConversionError as mismatch:
        mismatch.step_out(f"[{len(found)}]")
        raise
    return found


def key_step(key: str) -> str:
    """The way to what stands under a key."""
    return f".{key}" if is_name(key) else f"[{json.dumps(key)}]"
