"""The Python types that the drivers of a database accept for a parameter of plain SQL text.

The tables were measured on PostgreSQL 15 with asyncpg 0.32 and psycopg 3.3, on sqlite3, and on
PyMySQL 1.1 (which aiomysql uses): a value of each Python type was inserted into a column of each
database type, read back, and compared.

- For an integer, asyncpg accepts everything that has ``__int__``: it stores 1 for 1.7 and for
  True, and a UUID as its number. psycopg rounds 1.7 to 2, and PostgreSQL refuses its bool.
- For ``numeric``, asyncpg accepts everything that ``Decimal()`` accepts: it stores the float 1.7
  as 1.6999999999999999555910790149937383830547332763671875.
- For a ``date``, both accept a datetime and drop the time of day. For a ``time``, both drop the
  day.
- For a ``timestamp``, both store a date as midnight. Both accept int and Decimal for a float,
  str for ``uuid``, ``numeric`` and ``inet``, and bytes, bytearray and memoryview for ``bytea``.
- For text and enums, asyncpg accepts only str. psycopg inserts nearly everything into text, but
  compares text only with str. psycopg accepts str for every type, asyncpg does not.
- JSON is text for both, because SQLAlchemy configures asyncpg's codecs like this.
- A member of an Enum that is also a str or an int is passed as that str or int. asyncpg refuses
  members of other Enums, and psycopg sends their names. PyMySQL sends ``str(member)``:
  ``'Mood.SAD'``.
- For arrays, both accept lists. Whether a datetime must have a time zone depends on the value.

A type is unsupported only if one of the drivers refuses it or changes the value silently.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from sqla_typedpool.mapping.dbtypes import EXTENSION_TEXTS, DbType


@dataclass(frozen=True)
class Unsupported:
    """Why a driver does not accept the values of a Python type, or changes them."""

    reason: str

    # The name of the Python type to declare.
    instead: str = ""

    # A database type that stores the value unchanged, for a cast; or "".
    cast: str = ""


_IPS = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)
_TEXT, _INT, _MOMENT = (str,), (int,), (datetime, date)
_FLOAT: tuple[type, ...] = (float, int, Decimal)
# For each database type, the Python types that both drivers accept unchanged. Hints name the
# first.
_POSTGRESQL: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,),
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _INT),
    **dict.fromkeys(("float4", "float8"), _FLOAT),
    "numeric": (Decimal, int, str),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "xml", "money", "macaddr"), _TEXT),
    **dict.fromkeys(("json", "jsonb"), _TEXT),
    **dict.fromkeys(("tsvector", "tsquery", "jsonpath", "macaddr8", "refcursor"), _TEXT),
    **dict.fromkeys(("aclitem", *EXTENSION_TEXTS), _TEXT),
    "bytea": (bytes, bytearray, memoryview),
    "date": (date,),
    **dict.fromkeys(("timestamp", "timestamptz"), _MOMENT),
    **dict.fromkeys(("time", "timetz"), (time,)),
    "interval": (timedelta,),
    "uuid": (UUID, str),
    **dict.fromkeys(("inet", "cidr"), (*_IPS, str)),
}
_SQLITE = (str, int, float, bool, bytes, bytearray, memoryview, date, datetime)
_MYSQL = (
    *(str, int, float, bool, bytes, Decimal, date, datetime, time, timedelta, UUID),
    *_IPS,
)
# The Python types that were measured. Nothing is reported for an application's own class.
_KNOWN = (*_SQLITE, *_MYSQL, dict, list, set, frozenset)
_CASTS = {datetime: "timestamp", float: "double precision", Decimal: "numeric"}
_SILENT_CHANGES: Mapping[tuple[type, type], str] = {
    (datetime, date): "the drivers drop the time of day silently",
    (datetime, time): "the drivers drop the day silently",
    **dict.fromkeys(((float, int), (Decimal, int)), "asyncpg truncates it, psycopg rounds it"),
    (UUID, int): "asyncpg sends its number",
    (float, Decimal): "asyncpg sends all digits of the binary fraction: 1.7 becomes 1.69999...",
    **dict.fromkeys(
        ((bool, int), (bool, Decimal), (bool, float)),
        "asyncpg sends 0 or 1, and PostgreSQL refuses psycopg's bool",
    ),
}


def accepted_by(db_type: DbType | None, family: str) -> tuple[type, ...] | None:
    """Return the Python types that are passed unchanged; None if the type was not measured."""
    if family == "sqlite":
        return _SQLITE
    if family == "mysql":
        return _MYSQL
    if db_type is None:
        return None
    if db_type.labels:
        return _TEXT
    return _POSTGRESQL.get(db_type.name)


def is_compared(python: Any, db_type: DbType, family: str) -> bool:
    """Return whether it is known if values of a Python type can be passed."""
    if accepted_by(db_type, family) is not None:
        return True
    if db_type.driver and python is db_type.python:
        return True  # a driver accepts the class that it delivers
    # both drivers accept str for regclass (psycopg accepts int as well) and for extensions' types
    is_text = db_type.python is str and not db_type.driver
    return python is str and (is_text or bool(db_type.usual))


def unsupported(python: Any, db_type: DbType | None, family: str) -> Unsupported | None:
    """Return why values of a Python type cannot be passed; None if nothing is known against it."""
    accepted = accepted_by(db_type, family)
    if accepted is None or _is_among(python, accepted) or not _is_known(python):
        return None
    instead = accepted[0]
    reason = _reason(python, instead, family)
    if family != "postgresql":
        return Unsupported(reason)
    can_cast = instead in (int, Decimal, date, time)
    casts = (name for each, name in _CASTS.items() if can_cast and issubclass(python, each))
    return Unsupported(reason, instead.__name__, next(casts, ""))


def _is_among(python: type, accepted: tuple[type, ...]) -> bool:
    return any(issubclass(python, each) and not _is_different(python, each) for each in accepted)


def _is_different(python: type, accepted: type) -> bool:
    """A bool counts as different from an int, and a datetime from a date, although they inherit."""
    return (accepted is int and issubclass(python, bool)) or (
        accepted is date and issubclass(python, datetime)
    )


def _is_known(python: type) -> bool:
    return any(issubclass(python, each) for each in _KNOWN)


def _reason(python: type, instead: type, family: str) -> str:
    if family == "sqlite":
        return f"sqlite3 does not accept {python.__name__}"
    if family == "mysql":
        return f"the driver does not accept {python.__name__}, or sends its repr() as text"
    for (given, expected), change in _SILENT_CHANGES.items():
        if issubclass(python, given) and instead is expected:
            return change
    return f"asyncpg does not accept {python.__name__} for it"


# ----------------------------------------------------------------------- Enums


def enum_base(cls: type[Enum], family: str) -> type | None:
    """Return the simple type that the members are passed as; None if there is none."""
    if family == "mysql" and any(str(each) != str(each.value) for each in cls):
        return None
    bases: tuple[type, ...] = (str, int, float)
    return next((base for base in bases if issubclass(cls, base)), None)
