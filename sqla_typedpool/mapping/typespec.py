"""``TypeSpec``: the type that a value must have, as used by plans, converters and checker."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union

from sqla_typedpool.mapping.markers import ByName, Col, Decode, Flatten, Json


class Kind(Enum):
    """The kinds of types. ``handlers.HANDLERS`` has the code for each."""

    ANYTHING = "anything"
    NULL = "null"
    # A class whose instances the driver delivers, subclasses excluded.
    EXACT = "exact"
    ENUM = "enum"
    LITERAL = "literal"
    UNION = "union"
    # ``list[T]``.
    ARRAY = "array"
    # ``tuple[int, str]``, or ``tuple[int, ...]`` if ``repeats``.
    TUPLE = "tuple"
    # ``dict[str, T]``.
    MAPPING = "mapping"
    # A driver's range class, with or without the type of its bounds.
    RANGE = "range"
    # A class with fields, built from JSON or from a composite value.
    NESTED = "nested"
    # A union of classes with fields, built from JSON.
    TAGGED = "tagged"


@dataclass(frozen=True)
class TypeSpec:
    """The type that a value must have."""

    kind: Kind
    # The annotation without ``Annotated`` and ``None``.
    annotation: Any

    # The elements of a container, the members of a union, the values of a mapping.
    of: tuple[TypeSpec, ...] = ()

    # Whether NULL is allowed; it becomes None.
    optional: bool = False

    # Whether a tuple has any number of elements, all of the one type in ``of``.
    repeats: bool = False

    # Whether an Enum's members are found by name.
    by_name: bool = False

    json: Json | None = None
    decode: Decode | None = None
    col: Col | None = None
    flatten: Flatten | None = None

    @property
    def is_marked(self) -> bool:
        """Whether ``Json()`` or ``Decode()`` decides how a value is converted."""
        return self.json is not None or self.decode is not None

    @property
    def text(self) -> str:
        """The type as it is written in Python, without markers."""
        name = type_name(self.annotation)
        adds_none = self.optional and self.kind not in (Kind.ANYTHING, Kind.NULL)
        return f"{name} | None" if adds_none else name

    def __str__(self) -> str:
        markers = (self.json, self.decode, ByName() if self.by_name else None)
        return " ".join([self.text, *(str(each) for each in markers if each is not None)])


def type_name(annotation: Any) -> str:
    """Return an annotation without module names: ``int``, ``list[int]``, ``int | str``."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Any:
        return "Any"
    if annotation is ...:
        return "..."
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if typing.get_origin(annotation) is Annotated:
        return type_name(arguments[0])
    if is_union(annotation):
        return " | ".join(map(type_name, arguments))
    if arguments:
        return f"{type_name(typing.get_origin(annotation))}[{', '.join(map(type_name, arguments))}]"
    if isinstance(annotation, type):
        return class_name(annotation)
    return getattr(annotation, "__name__", None) or str(annotation)


def class_name(cls: type) -> str:
    """Return a class for a message. Those of the drivers are qualified: applications and other
    drivers have classes of the same names, such as Range or Point."""
    is_of_driver = cls.__module__.partition(".")[0] in ("asyncpg", "psycopg")
    return qualified_name(cls) if is_of_driver else cls.__name__


def qualified_name(cls: type) -> str:
    """Return the name of a class with its module, or with the package that exports it."""
    if cls.__module__.startswith("asyncpg."):
        return f"asyncpg.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def is_union(annotation: Any) -> bool:
    """Return whether this is ``X | Y``, ``Optional`` or ``Union``."""
    return typing.get_origin(annotation) in (Union, types.UnionType)
