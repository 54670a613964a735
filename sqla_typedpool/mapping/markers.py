"""Markers for ``Annotated[...]``: how a field gets its value from its column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Col:
    """Name the column of a field, or make the column optional.

    :param name: the name of the column; None = the name of the field.
    :param default: whether the column may be missing from the result. The field then has
        its default. NULL is never replaced by a default.

    Example::

        @dataclass
        class User:
            id: Annotated[int, Col("user_id")]
            note: Annotated[str, Col(default=True)] = ""
    """

    name: str | None = None
    default: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Flatten:
    """Take the fields of a nested class from columns of the same row, as in a join.

    An optional object is None if and only if all its columns are NULL. It needs at least
    one field that cannot be None; otherwise a missing object could not be recognised.

    :param prefix: the prefix of the names of its columns.

    Example::

        @dataclass
        class Book:
            title: str
            author: Annotated[Author | None, Flatten(prefix="author_")]
    """

    prefix: str = ""


@dataclass(frozen=True, kw_only=True)
class Json:
    """Build the field's type from a column that holds JSON. Every value is checked.

    :param defaults: whether keys may be missing if their fields have defaults.
    :param extra: whether keys without a field are ignored; otherwise they are errors.

    Example::

        @dataclass
        class Order:
            id: int
            items: Annotated[list[Item], Json()]
    """

    defaults: bool = False
    extra: bool = False

    def __str__(self) -> str:
        options = [name for name in ("defaults", "extra") if getattr(self, name)]
        return f"Json({', '.join(f'{name}=True' for name in options)})"


@dataclass(frozen=True)
class Decode:
    """Convert the column's value with a function.

    The function is not called for NULL. An exception that it raises becomes the cause of
    a ``RowValueError``. The value that it returns is not checked.

    :param function: takes the value as the driver delivers it.

    Example::

        @dataclass
        class Place:
            position: Annotated[Point, Decode(Point.from_wkb)]
    """

    function: Callable[[Any], Any]

    def __str__(self) -> str:
        return f"Decode({getattr(self.function, '__qualname__', repr(self.function))})"


@dataclass(frozen=True)
class ByName:
    """Find the member of an Enum by its name instead of its value.

    SQLAlchemy's ``Enum`` type stores names by default.

    Example::

        @dataclass
        class User:
            role: Annotated[Role, ByName()]
    """
