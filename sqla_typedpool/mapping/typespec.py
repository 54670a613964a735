"""What a value has to be: one description for plan, rules, converters and checker."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union

from sqla_typedpool.mapping.markers import ByName, Col, Decode, Flatten, Json


class Kind(Enum):
    """What sort of type is wanted, and so how a value becomes one."""

    ANYTHING = "anything"
    NULL = "null"
    EXACT = "exact"
    """A class whose own instances the driver delivers."""
    ENUM = "enum"
    LITERAL = "literal"
    UNION = "union"
    ARRAY = "array"
    """``list[T]``"""
    TUPLE = "tuple"
    """``tuple[int, str]``, or ``tuple[int, ...]`` when ``repeats``"""
    MAPPING = "mapping"
    """``dict[str, T]``"""
    RANGE = "range"
    """A driver's range class, perhaps with the type of its bounds"""
    NESTED = "nested"
    """A class with fields: from JSON, or from a composite type"""


@dataclass(frozen=True)
class TypeSpec:
    """What a value has to be."""

    kind: Kind
    annotation: Any
    """As it was written, without ``Annotated`` and ``None``."""

    of: tuple[TypeSpec, ...] = ()
    """Element, elements, members of a union, value type of a mapping."""

    optional: bool = False
    """Whether NULL is allowed, as None."""

    repeats: bool = False
    by_name: bool = False
    json: Json | None = None
    decode: Decode | None = None
    col: Col | None = None
    flatten: Flatten | None = None

    @property
    def text(self) -> str:
        """The type as people write it."""
        name = type_name(self.annotation)
        return f"{name} | None" if self.optional and self.kind is not Kind.ANYTHING else name

    def __str__(self) -> str:
        marks = (self.json, self.decode, ByName() if self.by_name else None)
        return " ".join([self.text, *(str(each) for each in marks if each is not None)])


def type_name(annotation: Any) -> str:
    """``int``, ``list[int]``, ``int | str``: an annotation without its modules."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Any:
        return "Any"
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if typing.get_origin(annotation) is Annotated:
        return type_name(arguments[0])
    if is_union(annotation):
        return " | ".join(map(type_name, arguments))
    if arguments:
        return f"{type_name(typing.get_origin(annotation))}[{', '.join(map(_argument, arguments))}]"
    return getattr(annotation, "__name__", None) or str(annotation)


def _argument(argument: Any) -> str:
    return "..." if argument is ... else type_name(argument)


def is_union(annotation: Any) -> bool:
    """Whether this is ``X | Y``, ``Optional`` or ``Union``."""
    return typing.get_origin(annotation) in (Union, types.UnionType)
