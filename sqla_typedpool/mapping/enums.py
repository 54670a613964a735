"""One of a few: the members of an Enum, the values of a Literal."""

from __future__ import annotations

from enum import Enum, Flag
from typing import Any

from sqla_typedpool.mapping.typespec import TypeSpec
from sqla_typedpool.mapping.value_error import ConversionError, Convert, conversion_error, type_of


def member_keys(cls: type[Enum]) -> dict[tuple[type, Any], Enum]:
    """The values that stand for members, with their types: 1 is neither True nor 1.0."""
    return {
        (type(member.value), member.value): member
        for member in cls
        if member.value is not None and type(member.value).__hash__ is not None
    }


def literal_keys(wanted: TypeSpec) -> dict[tuple[type, Any], Any]:
    """The values of a Literal, with their types; of an Enum's members, their values."""
    values = wanted.annotation.__args__
    stored = ((each.value if isinstance(each, Enum) else each, each) for each in values)
    return {(type(value), value): each for value, each in stored}


def enum_converter(wanted: TypeSpec, family: str) -> Convert:
    """Value (or name, with ``ByName()``) -> member. SQLAlchemy's ``Enum`` delivers members."""
    cls: type[Enum] = wanted.annotation
    by_name = {(str, name): member for name, member in cls.__members__.items()}
    members = by_name if wanted.by_name else member_keys(cls)

    def convert(value: Any) -> Any:
        if type(value) is cls:
            return value
        try:
            return members[type(value), value]
        except (KeyError, TypeError):  # TypeError: it has no hash
            pass
        if value is None:
            raise conversion_error(wanted, value, family)
        flags = _flags(cls, value) if type(value) is int and issubclass(cls, Flag) else None
        if flags is None:
            raise _no_member(wanted, value)
        return flags

    return convert


def _flags(cls: type[Enum], value: int) -> Enum | None:
    """Several flags in one number, which are no member."""
    try:
        return cls(value)
    except ValueError:
        return None


def _no_member(wanted: TypeSpec, value: object) -> ConversionError:
    cls: type[Enum] = wanted.annotation
    by = "name" if wanted.by_name else "value"
    hint = f"look at what is stored, or add it to {cls.__name__}"
    if type(value) is str and not wanted.by_name and value in cls.__members__:
        hint = "it is the name of a member: annotate it with ByName()"
    return ConversionError(wanted.text, f"{type_of(value)} that is no {by} of a member", hint)


def literal_converter(wanted: TypeSpec, family: str) -> Convert:
    """Value -> the same, if it is one of the Literal's; for members their values will do."""
    known = {(type(each), each): each for each in wanted.annotation.__args__}
    known.update(literal_keys(wanted))

    def convert(value: Any) -> Any:
        try:
            return known[type(value), value]
        except (KeyError, TypeError):
            pass
        if value is None:
            raise conversion_error(wanted, value, family)
        raise ConversionError(wanted.text, f"{type_of(value)} that is none of them")

    return convert
