"""The Python types in which asyncpg and psycopg deliver the types that they treat differently.

The table was measured on PostgreSQL 15 with asyncpg 0.32 and psycopg 3.3 through SQLAlchemy, on
the fast path and on the other one; tests/describe/postgres/test_driver_types.py measures it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module

from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type

# The classes of asyncpg and of psycopg. A class of a driver has the name of its module.
BY_DRIVER: Mapping[str, tuple[str, str]] = {
    "char": ("bytes", "str"),
    "tid": ("tuple", "str"),
    **dict.fromkeys(("xid", "cid", "xid8", "pg_lsn"), ("int", "str")),
    **dict.fromkeys(("txid_snapshot", "pg_snapshot"), ("tuple", "str")),
    **dict.fromkeys(("bit", "varbit"), ("asyncpg.BitString", "str")),
    "point": ("asyncpg.Point", "str"),
    "lseg": ("asyncpg.LineSegment", "str"),
    "path": ("asyncpg.Path", "str"),
    "box": ("asyncpg.Box", "str"),
    "polygon": ("asyncpg.Polygon", "str"),
    "line": ("asyncpg.Line", "str"),
    "circle": ("asyncpg.Circle", "str"),
}
# The ranges that the built-in multiranges consist of: psycopg has a class for the latter, and
# asyncpg delivers lists.
_RANGES: Mapping[str, str] = {
    f"{name}multirange": f"{name}range" for name in ("int4", "int8", "num", "ts", "tstz", "date")
}
# Types whose arrays psycopg does not know.
_TEXT_ARRAYS = frozenset({"pg_snapshot"})
_MULTIRANGE = "psycopg.types.multirange.Multirange"
_RANGE_CLASSES = {"asyncpg": "asyncpg.Range", "psycopg": "psycopg.types.range.Range"}
# The classes of drivers, by name; the driver need not be installed.
DRIVER_CLASSES = frozenset(
    {
        _MULTIRANGE,
        *_RANGE_CLASSES.values(),
        *(name for names in BY_DRIVER.values() for name in names if "." in name),
    }
)
# SQLAlchemy registers hstore on psycopg where the extension exists.
_HSTORE: Mapping[str, type] = {"asyncpg": str, "psycopg": dict}


def delivered_by(driver: str, db_type: DbType) -> DbType:
    """Return a built-in type with the Python type in which a driver delivers its values.

    :param driver: ``"asyncpg"`` or ``"psycopg"``.
    """
    if db_type.element is not None:
        is_text = driver == "psycopg" and db_type.element.name in _TEXT_ARRAYS
        element = delivered_by(driver, db_type.element)
        return replace(db_type, python=None if is_text else db_type.python, element=element)
    if db_type.is_range:
        return replace(db_type, python=class_named(_RANGE_CLASSES[driver]), driver=driver)
    if db_type.name in _RANGES:
        return _multirange(driver, db_type.name, postgresql_type(_RANGES[db_type.name]))
    if db_type.name not in BY_DRIVER:
        return db_type
    python = class_named(BY_DRIVER[db_type.name][driver == "psycopg"])
    return replace(db_type, python=python, driver=driver)


def _multirange(driver: str, name: str, element: DbType) -> DbType:
    if driver == "psycopg":
        return DbType(name, class_named(_MULTIRANGE), driver=driver)
    return DbType(name, list, element=delivered_by(driver, element), driver=driver)


def of_extension(driver: str, name: str) -> DbType:
    """Return a base type that is not built in. Its values arrive as text without a codec."""
    usual = _HSTORE[driver] if name == "hstore" else str
    return DbType(name, usual=(usual,), driver=driver)


def name_of(cls: type) -> str:
    """Return the name of which `class_named` returns this class."""
    package = cls.__module__.partition(".")[0]
    if package not in _HSTORE:
        return cls.__name__
    module = cls.__module__ if package == "psycopg" else package
    return f"{module}.{cls.__name__}"


def class_named(name: str) -> type | None:
    """Return a class by its name and module: ``bytes``, ``asyncpg.Point``.

    :return: None if its driver is not installed.
    """
    module, _, attribute = name.rpartition(".")
    with suppress(ImportError, AttributeError):
        found = getattr(import_module(module or "builtins"), attribute)
        return found if isinstance(found, type) else None
    return None
