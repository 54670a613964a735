"""Which library defined a class. No library is imported; its classes have known attributes."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

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
    return "TypedDict" if _is_typed_dict(cls) else None


def _is_typed_dict(cls: Any) -> bool:
    """Return whether this is a ``TypedDict`` of typing or typing_extensions."""
    return issubclass(cls, dict) and hasattr(cls, "__total__") and hasattr(cls, "__required_keys__")


def is_mapped(cls: type) -> bool:
    """Return whether SQLAlchemy has mapped this class (declarative, imperative, SQLModel)."""
    return hasattr(cls, "__mapper__") or hasattr(cls, "_sa_class_manager")


def is_range(cls: type) -> bool:
    """Return whether this is a range class of asyncpg, psycopg or SQLAlchemy."""
    return all(hasattr(cls, name) for name in ("lower", "upper", "lower_inc", "upper_inc"))
