"""Database type -> the Python type that SQLAlchemy's drivers deliver.

``python`` is None where it depends on the driver (bit strings and ranges; for these see
`describe.postgres.driver_types`) or on the value (``inet``), or where the database does not
enforce declared types (SQLite).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from uuid import UUID


@dataclass(frozen=True)
class DbType:
    """The type of a column, and the Python type in which its values arrive."""

    name: str
    """The name of the database type: ``int8``, ``text[]``, ``timestamptz``."""

    python: type | None = None
    """The exact type of every value that is not NULL; None = unknown."""

    element: DbType | None = None
    """The type of an array's elements, whatever the number of dimensions."""

    labels: tuple[str, ...] = ()
    """The labels of a database enum."""

    fields: tuple[tuple[str, DbType], ...] = ()
    """The names and types of a composite type's fields, in order."""

    aware: bool | None = None
    """Whether dates and times have a time zone; None for other types."""

    json: bool = False
    """Whether the value is JSON, which the driver or SQLAlchemy has decoded."""

    is_range: bool = False
    """Whether the value is an instance of the driver's range class."""

    usual: tuple[type, ...] = ()
    """The types in which values arrive unless the application has changed it, where `python` is
    None: the four classes of ``inet``, the text of an extension's type."""

    driver: str = ""
    """The driver that `python` is true of; "" = all drivers."""

    @property
    def is_address(self) -> bool:
        """Whether it is ``inet`` or ``cidr``.

        With the engine's option ``native_inet_types=False`` their values are text.
        """
        return self.name in _USUAL

    def __str__(self) -> str:
        zone = {None: "", True: " (aware)", False: " (naive)"}[self.aware]
        return f"{self.name}{zone}"


# The type of a column that is not described; each value is checked.
UNKNOWN = DbType("unknown type")


def db_type_of(name: str | int, family: str) -> DbType:
    """Return a type of one family of databases.

    :param name: the type's name or its number (PostgreSQL's OID, MySQL's type code).
    :param family: ``"postgresql"``, ``"mysql"`` or ``"sqlite"``. The types of any other
        family are unknown.
    """
    return _FAMILIES.get(family, sqlite_type)(name)


def is_aware(db_type: DbType | None) -> bool:
    """Return whether the values of a column, its elements or its bounds have a time zone."""
    if db_type is None:
        return False
    inner = db_type.element or db_type
    return bool(inner.aware) or inner.name in ("tstzrange", "tstzmultirange")


# ------------------------------------------------------------------ PostgreSQL

# (OID, OID of its array, internal name, other names, Python type)
_POSTGRESQL: tuple[tuple[int, int, str, tuple[str, ...], type | None], ...] = (
    (16, 1000, "bool", ("boolean",), bool),
    (17, 1001, "bytea", (), bytes),
    (18, 1002, "char", (), None),  # bytes or str; in SQL, char means bpchar
    (19, 1003, "name", (), str),
    (20, 1016, "int8", ("bigint", "bigserial"), int),
    (21, 1005, "int2", ("smallint", "smallserial"), int),
    (23, 1007, "int4", ("integer", "int", "serial"), int),
    (25, 1009, "text", (), str),
    (26, 1028, "oid", (), int),
    (114, 199, "json", (), None),
    (142, 143, "xml", (), str),
    (650, 651, "cidr", (), None),
    (700, 1021, "float4", ("real",), float),
    (701, 1022, "float8", ("double precision", "float"), float),
    (790, 791, "money", (), str),
    (829, 1040, "macaddr", (), str),
    (869, 1041, "inet", (), None),
    (1042, 1014, "bpchar", ("character",), str),
    (1043, 1015, "varchar", ("character varying",), str),
    (1082, 1182, "date", (), date),
    (1083, 1183, "time", ("time without time zone",), time),
    (1114, 1115, "timestamp", ("timestamp without time zone",), datetime),
    (1184, 1185, "timestamptz", ("timestamp with time zone",), datetime),
    (1186, 1187, "interval", (), timedelta),
    (1266, 1270, "timetz", ("time with time zone",), time),
    (1033, 1034, "aclitem", (), str),
    (1560, 1561, "bit", (), None),
    (1562, 1563, "varbit", ("bit varying",), None),
    (1700, 1231, "numeric", ("decimal",), Decimal),
    (2249, 2287, "record", (), tuple),
    (2950, 2951, "uuid", (), UUID),
    (3802, 3807, "jsonb", (), None),
    (3904, 3905, "int4range", (), None),
    (3906, 3907, "numrange", (), None),
    (3908, 3909, "tsrange", (), None),
    (3910, 3911, "tstzrange", (), None),
    (3912, 3913, "daterange", (), None),
    (3926, 3927, "int8range", (), None),
)
# (OID, OID of its array, name). asyncpg has classes or numbers for these types, psycopg text.
_POSTGRESQL_BY_DRIVER: tuple[tuple[int, int, str], ...] = (
    (27, 1010, "tid"),
    (28, 1011, "xid"),
    (29, 1012, "cid"),
    (600, 1017, "point"),
    (601, 1018, "lseg"),
    (602, 1019, "path"),
    (603, 1020, "box"),
    (604, 1027, "polygon"),
    (628, 629, "line"),
    (718, 719, "circle"),
    (2970, 2949, "txid_snapshot"),
    (3220, 3221, "pg_lsn"),
    (4451, 6150, "int4multirange"),
    (4532, 6151, "nummultirange"),
    (4533, 6152, "tsmultirange"),
    (4534, 6153, "tstzmultirange"),
    (4535, 6155, "datemultirange"),
    (4536, 6157, "int8multirange"),
    (5038, 5039, "pg_snapshot"),
    (5069, 271, "xid8"),
)
# (OID, OID of its array, name). Both drivers deliver these types as text.
_POSTGRESQL_TEXTS: tuple[tuple[int, int, str], ...] = (
    (24, 1008, "regproc"),
    (774, 775, "macaddr8"),
    (1790, 2201, "refcursor"),
    (2202, 2207, "regprocedure"),
    (2203, 2208, "regoper"),
    (2204, 2209, "regoperator"),
    (2205, 2210, "regclass"),
    (2206, 2211, "regtype"),
    (3614, 3643, "tsvector"),
    (3615, 3645, "tsquery"),
    (3734, 3735, "regconfig"),
    (3769, 3770, "regdictionary"),
    (4072, 4073, "jsonpath"),
    (4089, 4090, "regnamespace"),
    (4096, 4097, "regrole"),
    (4191, 4192, "regcollation"),
)
# Types of extensions, which have no fixed OIDs, and arrive as text too.
EXTENSION_TEXTS = frozenset({"citext", "ltree", "lquery", "ltxtquery"})
# The Python types in which the values of scalar types arrive.
SCALAR_TYPES = frozenset({python for *_, python in _POSTGRESQL} - {None, tuple})
_USUAL: dict[str, tuple[type, ...]] = {
    "inet": (IPv4Address, IPv6Address, IPv4Interface, IPv6Interface),
    "cidr": (IPv4Network, IPv6Network),
}

_AWARE = {"timestamp": False, "time": False, "timestamptz": True, "timetz": True}


def _by_name_and_oid() -> dict[str | int, DbType]:
    known: dict[str | int, DbType] = {}
    rows: list[tuple[int, int, str, tuple[str, ...], type | None]] = [
        *_POSTGRESQL,
        *((oid, array_oid, name, (), str) for oid, array_oid, name in _POSTGRESQL_TEXTS),
        *((oid, array_oid, name, (), None) for oid, array_oid, name in _POSTGRESQL_BY_DRIVER),
    ]
    for oid, array_oid, name, other_names, python in rows:
        db_type = DbType(
            name,
            python,
            aware=_AWARE.get(name),
            json=name in ("json", "jsonb"),
            is_range=name.endswith("range") and "multi" not in name,
            usual=_USUAL.get(name, ()),
        )
        known.update(dict.fromkeys((oid, name, *other_names), db_type))
        known[array_oid] = _array_of(db_type)
    known.update({name: DbType(name, str) for name in EXTENSION_TEXTS})
    return known


def _array_of(element: DbType) -> DbType:
    return DbType(f"{element.name}[]", list, element=element)


_POSTGRESQL_TYPES = _by_name_and_oid()


def postgresql_type(
    name: str | int,
    *,
    labels: tuple[str, ...] = (),
    fields: tuple[tuple[str, DbType], ...] = (),
) -> DbType:
    """Return a type of PostgreSQL. For a domain, pass its base type.

    :param name: internal (``_int4``) or SQL (``integer[]``), or the OID of a built-in type.
    :param labels: the labels of an enum.
    :param fields: the fields of a composite type.
    """
    if labels:
        return DbType(str(name), str, labels=labels)
    if fields:
        return DbType(str(name), fields=fields)
    known = _POSTGRESQL_TYPES.get(name)
    if known is not None or isinstance(name, int):
        return known or DbType(str(name))
    if name.endswith("[]") or name.startswith("_"):
        return _named_array(name)
    return _POSTGRESQL_TYPES.get(_without_length(name)) or DbType(name)


def _named_array(name: str) -> DbType:
    inner = name.rstrip("[]") if name.endswith("[]") else name[1:]
    element = postgresql_type(inner)
    if _without_length(inner) in _POSTGRESQL_TYPES:
        return _array_of(element)
    return DbType(f"{inner}[]", element=element)  # psycopg delivers it as text


def _without_length(name: str) -> str:
    return name.partition("(")[0].strip().lower()  # numeric(10,2), varchar(20)


# ----------------------------------------------------------------------- MySQL

# (type code, name, Python type). Text and bytes have the same codes; ENUM, SET and JSON have
# the code of text.
_MYSQL: tuple[tuple[int, str, type | None], ...] = (
    (0, "decimal", Decimal),
    (1, "tinyint", int),
    (2, "smallint", int),
    (3, "int", int),
    (4, "float", float),
    (5, "double", float),
    (7, "timestamp", datetime),
    (8, "bigint", int),
    (9, "mediumint", int),
    (10, "date", date),
    (11, "time", timedelta),
    (12, "datetime", datetime),
    (13, "year", int),
    (16, "bit", bytes),
    (245, "json", None),
    (246, "decimal", Decimal),
    (252, "text or blob", None),
    (253, "varchar or varbinary", None),
    (254, "char or binary", None),
)
_MYSQL_TYPES: dict[str | int, DbType] = {
    key: DbType(name, python, aware=False if python is datetime else None)
    for code, name, python in _MYSQL
    for key in (code, name)
}


def mysql_type(name: str | int) -> DbType:
    """Return a type of MySQL or MariaDB.

    :param name: the type's name, or the type code of a cursor's description.
    """
    known = _MYSQL_TYPES.get(_without_length(name) if isinstance(name, str) else name)
    return known or DbType(str(name))


# ---------------------------------------------------------------------- SQLite


def sqlite_type(name: str | int) -> DbType:
    """Return a declared type of SQLite, where any column can hold values of any type."""
    return DbType(str(name))


_FAMILIES = {"postgresql": postgresql_type, "mysql": mysql_type, "sqlite": sqlite_type}
