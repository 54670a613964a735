"""What is written, as data: classes, functions and the imports that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class ImportedName(NamedTuple):
    """A name that the code imports: ``from module import name``."""

    module: str

    # "" = the module itself: ``import module``.
    name: str = ""


@dataclass(frozen=True)
class FieldCode:
    """A field of a class."""

    name: str
    annotation: str

    # The text of its docstring; "" = it has none.
    doc: str = ""

    # The text of a comment above it; "" = there is none.
    comment: str = ""


@dataclass(frozen=True)
class EnumCode:
    """An Enum for the labels of a database's enum."""

    name: str

    # The names of the members, and their labels.
    members: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ClassCode:
    """A class with fields, for rows or for composite values."""

    name: str
    fields: tuple[FieldCode, ...]

    # Whether a field has a class of a driver as its type.
    has_driver_class: bool = False


@dataclass(frozen=True)
class FunctionCode:
    """A declared query."""

    name: str
    sql: str

    # The names and annotations of its parameters, the executor included.
    parameters: tuple[tuple[str, str], ...]
    returns: str

    # The code of a finding about the SQL that its author expects; "" = there is none.
    ignored: str = ""


# What stands between the imports and the end of a module, in its order.
Definition = EnumCode | ClassCode | FunctionCode
