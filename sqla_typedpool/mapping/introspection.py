"""Which library has made a class, told by its marks: none is imported here."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Library = Literal["dataclass", "pydantic", "attrs", "msgspec", "NamedTuple", "TypedDict"]


def library_of(cls: type) -> Library | None:
    """What has made this class's fields; None = it has none that are known."""
    if dataclasses.is_dataclass(cls):
        return "dataclass"  # pydantic's are dataclasses with a constructor of their own
    if hasattr(cls, "__pydantic_core_schema__"):
        return "pydantic"
    if hasattr(cls, "__struct_fields__"):
        return "msgspec"
    if hasattr(cls, "__attrs_attrs__"):
        return "attrs"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "NamedTuple"
    return "TypedDict" if is_typed_dict(cls) else None


def is_typed_dict(cls: Any) -> bool:
    """Whether this is a ``TypedDict``, of typing or of typing_extensions."""
    return issubclass(cls, dict) and hasattr(cls, "__total__") and hasattr(cls, "__required_keys__")


def has_fields(cls: type) -> bool:
    """Whether instances are made of named parts."""
    return library_of(cls) is not None


def is_mapped(cls: type) -> bool:
    """Whether SQLAlchemy has mapped this class (declarative, imperative, SQLModel tables)."""
    return hasattr(cls, "__mapper__") or hasattr(cls, "_sa_class_manager")


def is_range(cls: type) -> bool:
    """Whether this is a range class of asyncpg, psycopg or SQLAlchemy."""
    return all(hasattr(cls, name) for name in ("lower", "upper", "lower_inc", "upper_inc"))
