"""Which Python values a database's drivers take for a parameter of plain SQL text.

Tried on PostgreSQL 15 with asyncpg 0.32 and psycopg 3.3, on sqlite3, and on PyMySQL 1.1 (which
aiomysql sends with), every type against every value, inserted and compared. What was found:

- asyncpg takes for an integer whatever has ``__int__``: 1.7 is stored as 1, True as 1, a UUID
  as its number. psycopg rounds 1.7 to 2, and is refused a bool.
- asyncpg takes for ``numeric`` whatever ``Decimal()`` does: the float 1.7 is stored as
  1.6999999999999999555910790149937383830547332763671875.
- Both take a datetime for a ``date`` and drop the time of day; for a ``time`` both drop the day.
- A date for a ``timestamp`` is its midnight, on both. int and Decimal for a float are fine, str
  for ``uuid``, ``numeric``, ``inet``; bytes, bytearray and memoryview for ``bytea``.
- asyncpg takes nothing but str for text and enums; psycopg inserts nearly everything into text,
  but compares text with str alone. psycopg takes str for every type, asyncpg does not.
- JSON is text for both: SQLAlchemy sets up the codecs of asyncpg that way.
- Members of an Enum that is also a str or an int are that str or int. Of other Enums asyncpg
  takes none, and psycopg sends their names. PyMySQL sends ``str(member)``: ``'Mood.SAD'``.
- For arrays both take lists; whether moments have time zones is a matter of each value.

Only what is refused, or silently changed, by one of a family's drivers is an objection.
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

from sqla_typedpool.mapping.dbtypes import DbType


@dataclass(frozen=True)
class Unsupported:
    """Why a value of a type is not passed as it is."""

    reason: str
    instead: str = ""
    """The Python type to declare."""

    cast: str = ""
    """The database type to cast the parameter to, where it takes the value unchanged."""


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
# By database type, what both drivers take unchanged; the first is the one to advise.
_POSTGRESQL: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,),
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _INT),
    **dict.fromkeys(("float4", "float8"), _FLOAT),
    "numeric": (Decimal, int, str),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "xml", "money", "macaddr"), _TEXT),
    **dict.fromkeys(("json", "jsonb"), _TEXT),
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
# Types of which something is known; of an application's own class nothing is said.
_KNOWN = (*_SQLITE, *_MYSQL, dict, list, set, frozenset)
_CASTS = {datetime: "timestamp", float: "double precision", Decimal: "numeric"}
_SILENT: Mapping[tuple[type, type], str] = {
    (datetime, date): "the time of day would be dropped without a word",
    (datetime, time): "the day would be dropped without a word",
    (float, int): "asyncpg would cut it down to a whole number, psycopg round it",
    (Decimal, int): "asyncpg would cut it down to a whole number, psycopg round it",
    (bool, int): "asyncpg would send 0 or 1, and psycopg is refused",
    (UUID, int): "asyncpg would send its number",
    (
        float,
        Decimal,
    ): "asyncpg would send all digits of the binary fraction: 1.7 becomes 1.69999...",
    (bool, Decimal): "asyncpg would send 0 or 1, and psycopg is refused",
    (bool, float): "asyncpg would send 0 or 1, and psycopg is refused",
}


def accepted_by(db_type: DbType | None, family: str) -> tuple[type, ...] | None:
    """What is passed unchanged for a database type; None = nothing is known of it."""
    if family == "sqlite":
        return _SQLITE
    if family == "mysql":
        return _MYSQL
    if db_type is None:
        return None
    if db_type.labels:
        return _TEXT
    return _POSTGRESQL.get(db_type.name)


def objection_to(python: Any, db_type: DbType | None, family: str) -> Unsupported | None:
    """What speaks against a value of a class; None = nothing that is known."""
    accepted = accepted_by(db_type, family)
    if accepted is None or _is_among(python, accepted) or not _is_known(python):
        return None
    wanted = accepted[0]
    if family != "postgresql":
        return Unsupported(_reason(python, wanted, family))
    cast = next((name for each, name in _CASTS.items() if issubclass(python, each)), "")
    can_cast = cast and wanted in (int, Decimal, date, time)
    return Unsupported(_reason(python, wanted, family), wanted.__name__, cast if can_cast else "")


def _is_among(python: type, accepted: tuple[type, ...]) -> bool:
    return any(issubclass(python, each) and not _is_another(python, each) for each in accepted)


def _is_another(python: type, taken: type) -> bool:
    """A bool is no int, and a datetime no date, whatever their classes say."""
    return (taken is int and issubclass(python, bool)) or (
        taken is date and issubclass(python, datetime)
    )


def _is_known(python: type) -> bool:
    return any(issubclass(python, each) for each in _KNOWN)


def _reason(python: type, wanted: type, family: str) -> str:
    if family == "sqlite":
        return f"sqlite3 takes no {python.__name__}"
    if family == "mysql":
        return f"the driver takes no {python.__name__}, or sends its repr() as text"
    for (given, taken), words in _SILENT.items():
        if issubclass(python, given) and wanted is taken:
            return words
    return f"asyncpg takes no {python.__name__} for it"


# ----------------------------------------------------------------------- Enums


def enum_base(cls: type[Enum], family: str) -> type | None:
    """The plain type that members are passed as; None = they are not passed as any."""
    if family == "mysql" and any(str(each) != str(each.value) for each in cls):
        return None
    bases: tuple[type, ...] = (str, int, float)
    return next((base for base in bases if issubclass(cls, base)), None)
