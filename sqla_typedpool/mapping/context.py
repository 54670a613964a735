"""What a handler gets and returns: ``Context`` and ``Fit``.

A handler is the code for one kind of type: it decides whether the values of a column can
become values of this type, and it converts them. Handlers of types that contain others get
the handlers of those from the context, and do not import them.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqla_typedpool.mapping.coercions import JSON, Action, advice
from sqla_typedpool.mapping.dbtypes import UNKNOWN, DbType
from sqla_typedpool.mapping.json_numbers import after_floats, takes_decimals
from sqla_typedpool.mapping.markers import Json
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, class_name, qualified_name
from sqla_typedpool.mapping.value_error import ConversionError, Convert, type_of

# Types of the application that psycopg delivers as text until they are registered.
_REGISTERED = (Kind.ARRAY, Kind.NESTED, Kind.RANGE)
_REGISTER = "register the type with psycopg (docs/reference/drivers.md), or declare it str"


@dataclass(frozen=True)
class Fit:
    """Whether the values of a column can have the declared type, and why."""

    action: Action
    reason: str
    hint: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether no value of the column can have the declared type."""
        return self.action is Action.REFUSE


def accepted(db_type: DbType) -> Fit:
    """Return the fit of a column whose values are not converted."""
    if db_type.python is None:
        return Fit(Action.ACCEPT, "each value is checked")
    zone = {None: "", True: ", aware", False: ", naive"}[db_type.aware]
    return Fit(Action.ACCEPT, f"unchanged{zone}")


def refused(db_type: DbType, hint: str) -> Fit:
    """Return the fit of a column whose values cannot have the declared type."""
    driver = f" on {db_type.driver}" if db_type.driver else ""
    reason = "" if db_type.python is None else f"it arrives as {class_name(db_type.python)}{driver}"
    return Fit(Action.REFUSE, reason, hint)


class Handler(NamedTuple):
    """The code for one kind of type."""

    # Decides before there are rows. It raises RowShapeError if a nested class cannot be built.
    fit: Callable[[TypeSpec, DbType, Context], Fit]

    # Returns the function that converts a value. NULL is passed to it only if the type does not
    # allow NULL.
    converter: Callable[[TypeSpec, Context], Convert]


@dataclass(frozen=True, eq=False)
class Context:
    """One family of databases, and access to the handlers of all kinds."""

    # ``"postgresql"``, ``"sqlite"``, ``"mysql"``; or ``JSON`` inside a document.
    family: str

    # Returns the handler of a type in a family.
    handler_for: Callable[[TypeSpec, str], Handler]

    # Whether JSON arrives decoded, even if drivers of the family deliver text.
    is_json_decoded: bool = False

    # Whether every datetime of the column has a time zone.
    is_aware: bool = False

    # Whether numbers with a fraction arrive as Decimals, in a document.
    floats_are_decimals: bool = False

    json_options: Json = field(default_factory=Json)

    # The annotations of classes and their converters: a class may contain itself. It is a list,
    # because metadata in ``Annotated`` may have no hash.
    object_converters: list[tuple[Any, Convert]] = field(default_factory=list)

    def inside_json(self, options: Json | None, *, floats_are_decimals: bool = False) -> Context:
        """Return the context of values inside a JSON document."""
        return Context(
            JSON,
            self.handler_for,
            floats_are_decimals=floats_are_decimals,
            json_options=options or Json(),
        )

    def fit(self, spec: TypeSpec, db_type: DbType = UNKNOWN) -> Fit:
        """Return whether values of a database type can have a declared type."""
        if db_type.json and not spec.is_marked and spec.kind not in (Kind.ANYTHING, Kind.NULL):
            return Fit(Action.REFUSE, "it is JSON", "annotate it with Json()")
        return self.handler_for(spec, self.family).fit(spec, db_type, self)

    def converter(self, spec: TypeSpec) -> Convert:
        """Return the function that converts a value to a declared type."""
        convert = self.handler_for(spec, self.family).converter(spec, self)
        if self.floats_are_decimals and not takes_decimals(spec):
            convert = after_floats(convert)
        if not spec.optional:
            return convert
        return lambda value: None if value is None else convert(value)

    def error(self, spec: TypeSpec, value: object) -> ConversionError:
        """Return the error for a value of the wrong type, or for NULL that is not allowed."""
        expected, is_json = spec.text, self.family == JSON
        if value is not None:
            cls = spec.annotation if spec.kind is Kind.EXACT else object
            hint = advice(type(value), cls, self.family)
            if self.family == "postgresql" and type(value) is str and spec.kind in _REGISTERED:
                hint = _REGISTER
            return ConversionError(*_told_apart(spec, value), hint)
        hint = f"declare it {expected} | None"
        if spec.json is not None and not is_json:  # both are None after decoding
            return ConversionError(expected, "NULL or JSON's null", hint)
        null = "null" if is_json else "NULL"
        return ConversionError(expected, null, f"{hint}, or make the column never {null}")


def _told_apart(spec: TypeSpec, value: object) -> tuple[str, str]:
    """Return the expected and the found type. Classes of one name are qualified."""
    expected, found, cls = spec.text, type_of(value), typing.get_origin(spec.annotation)
    declared = cls or spec.annotation
    if not isinstance(declared, type) or declared.__name__ != type(value).__name__:
        return expected, found
    name = qualified_name(declared)
    qualified = expected if name in expected else expected.replace(declared.__name__, name, 1)
    return qualified, qualified_name(type(value))
