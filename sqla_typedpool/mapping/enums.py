"""Handlers of types with a fixed set of values: an Enum, a Literal."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum, Flag
from typing import Any

from sqla_typedpool.mapping.coercions import Action
from sqla_typedpool.mapping.context import Context, Fit, Handler, accepted, refused
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.typespec import TypeSpec
from sqla_typedpool.mapping.value_error import ConversionError, Convert, type_of

# Type and value -> member or literal. The type is part of the key because 1 == True == 1.0.
Keys = dict[tuple[type, Any], Any]

# ----------------------------------------------------------------------------------- Enums


def member_keys(cls: type[Enum]) -> Keys:
    """Return the members of an Enum by their values."""
    return {
        (type(member.value), member.value): member
        for member in cls
        if member.value is not None and type(member.value).__hash__ is not None
    }


def _fit_enum(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    cls, source = spec.annotation, db_type.python
    key = "name" if spec.by_name else "value"
    if source is cls:
        return accepted(db_type)
    types = {str} if spec.by_name else {python for python, _ in member_keys(cls)}
    if source is None or source in types or (source is int and issubclass(cls, Flag)):
        return Fit(Action.CONVERT, f"to the member by its {key}")
    if source is str:
        return refused(db_type, "annotate it with ByName()")
    return refused(db_type, f"give the members of {cls.__name__} values of that type")


def _enum_converter(spec: TypeSpec, context: Context) -> Convert:
    """Convert a value (or a name, with ``ByName()``) to its member.

    SQLAlchemy's ``Enum`` type delivers members.
    """
    cls: type[Enum] = spec.annotation
    names: Keys = {(str, name): member for name, member in cls.__members__.items()}
    members = names if spec.by_name else member_keys(cls)

    def convert(value: Any) -> Any:
        if type(value) is cls:
            return value
        try:
            return members[type(value), value]
        except (KeyError, TypeError):  # TypeError: the value has no hash
            pass
        if value is None:
            raise context.error(spec, value)
        if type(value) is int and issubclass(cls, Flag):
            with suppress(ValueError):  # ValueError: not a combination of flags
                return cls(value)
        raise _not_a_member(spec, value)

    return convert


def _not_a_member(spec: TypeSpec, value: object) -> ConversionError:
    cls: type[Enum] = spec.annotation
    key = "name" if spec.by_name else "value"
    hint = f"add a member to {cls.__name__}, or correct the stored value"
    if type(value) is str and not spec.by_name and value in cls.__members__:
        hint = "annotate it with ByName(), since the value is the name of a member"
    return ConversionError(spec.text, f"{type_of(value)} that is not the {key} of a member", hint)


# -------------------------------------------------------------------------------- Literals


def literal_keys(spec: TypeSpec) -> Keys:
    """Return the values of a Literal by what is stored for them: for a member its value."""
    values = spec.annotation.__args__
    stored = ((each.value if isinstance(each, Enum) else each, each) for each in values)
    return {(type(value), value): each for value, each in stored}


def _fit_literal(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    types = {python for python, _ in literal_keys(spec)}
    if db_type.python is None or db_type.python in types:
        return Fit(Action.ACCEPT, "one of the literals")
    return refused(db_type, "declare literals of that type")


def _literal_converter(spec: TypeSpec, context: Context) -> Convert:
    values: Keys = {(type(each), each): each for each in spec.annotation.__args__}
    values.update(literal_keys(spec))

    def convert(value: Any) -> Any:
        try:
            return values[type(value), value]
        except (KeyError, TypeError):  # TypeError: the value has no hash
            pass
        if value is None:
            raise context.error(spec, value)
        raise ConversionError(spec.text, f"{type_of(value)} that is not one of these values")

    return convert


ENUM = Handler(_fit_enum, _enum_converter)
LITERAL = Handler(_fit_literal, _literal_converter)
