"""What a field says about its column, in ``Annotated[...]``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, init=False)
class Col:
    """The column of a field.

    :param name: the column's name, where it is not the field's.
    :param default: whether a result without the column leaves the field to its default.
        NULL is never replaced by a default.

    Example::

        @dataclass
        class User:
            id: Annotated[int, Col("user_id")]
            note: Annotated[str, Col(default=True)] = ""
    """

    name: str | None = None
    default: bool = False

    def __init__(self, name: str | None = None, *, default: bool = False) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "default", default)


@dataclass(frozen=True)
class Flatten:
    """The fields of a nested class are columns of the same row, as in a join.

    An optional one is None if and only if all its columns are NULL; it needs at least
    one field that may not be None, or nobody could tell.

    :param prefix: stands before the name of each of its columns.

    Example::

        @dataclass
        class Book:
            title: str
            author: Annotated[Author | None, Flatten(prefix="author_")]
    """

    prefix: str = ""


@dataclass(frozen=True, init=False)
class Json:
    """The column holds JSON, of which the field's type is built, strictly.

    :param defaults: whether missing keys are left to the fields' defaults.
    :param extra: whether keys without a field are ignored. Otherwise they are errors.

    Example::

        @dataclass
        class Order:
            id: int
            items: Annotated[list[Item], Json()]
    """

    defaults: bool = False
    extra: bool = False

    def __init__(self, *, defaults: bool = False, extra: bool = False) -> None:
        object.__setattr__(self, "defaults", defaults)
        object.__setattr__(self, "extra", extra)

    def __str__(self) -> str:
        asked = [name for name in ("defaults", "extra") if getattr(self, name)]
        return f"Json({', '.join(f'{name}=True' for name in asked)})"


@dataclass(frozen=True)
class Decode:
    """The field is what a function makes of the column's value.

    The function is not called for NULL. What it raises is the cause of a
    ``RowValueError``. What it returns is not checked.

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
    """The column holds the names of the Enum's members, not their values.

    That is how SQLAlchemy's ``Enum`` type stores them unless it is told otherwise.

    Example::

        @dataclass
        class User:
            role: Annotated[Role, ByName()]
    """
