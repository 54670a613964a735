"""Which library defined a class, and what its constructor takes.

No library is imported: its classes are recognised by their attributes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from inspect import Parameter
from typing import Literal

from sqla_typedpool.mapping.deferred import python_signature

Library = Literal["dataclass", "pydantic", "attrs", "msgspec", "NamedTuple", "TypedDict"]


def library_of(cls: type) -> Library | None:
    """Return the library that defined the fields of a class; None if it has no known fields."""
    if dataclasses.is_dataclass(cls):
        return "dataclass"  # also pydantic's dataclasses, which have their own constructor
    if hasattr(cls, "__pydantic_core_schema__"):
        return "pydantic"
    if hasattr(cls, "__struct_fields__"):
        return "msgspec"
    if hasattr(cls, "__attrs_attrs__"):
        return "attrs"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "NamedTuple"
    is_typed_dict = issubclass(cls, dict) and hasattr(cls, "__required_keys__")
    return "TypedDict" if is_typed_dict else None


def parameters_of(cls: type) -> Mapping[str, Parameter] | None:
    """Return the parameters of a constructor; None if Python cannot inspect it.

    A msgspec struct cannot be inspected while a name in its annotations is undefined.
    """
    try:
        return python_signature(cls).parameters
    except (TypeError, ValueError, NameError, AttributeError):
        return None


def is_mapped(cls: type) -> bool:
    """Return whether SQLAlchemy has mapped this class (declarative, imperative, SQLModel)."""
    return hasattr(cls, "__mapper__") or hasattr(cls, "_sa_class_manager")


def is_range(cls: type) -> bool:
    """Return whether this is a range class of asyncpg, psycopg or SQLAlchemy."""
    return all(hasattr(cls, name) for name in ("lower", "upper", "lower_inc", "upper_inc"))
