"""The JSON document of a snapshot: a description, without its server, and a digest.

It contains the names of types, not OIDs, and neither hosts nor times. Therefore the same
description always gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Annotated, Any
from uuid import UUID

from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.describe.postgres.driver_types import DRIVER_CLASSES, class_named, name_of
from sqla_typedpool.describe.writes import ColumnWrite, TargetColumn, ValueSource, WriteAction
from sqla_typedpool.errors import RowValueError, SnapshotError
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import Json
from sqla_typedpool.mapping.plan import Column
from sqla_typedpool.tokens import writes_rows

FORMAT = 2

# Has no writes, and is still read.
_WITHOUT_WRITES = 1
_WRITES_UNKNOWN = (
    "the snapshot was written by an earlier version, so the values that the statement writes were "
    "not checked; next: run `sqla-typedpool prepare`, and commit the files that it writes"
)

_PYTHON_TYPES: dict[str, type] = {
    each.__name__: each
    for each in (
        *(bool, int, float, str, bytes, list, dict, tuple),
        *(Decimal, datetime, date, time, timedelta, UUID),
        *(IPv4Address, IPv6Address, IPv4Interface, IPv6Interface, IPv4Network, IPv6Network),
    )
}


# ------------------------------------------------------------------------- writing


def document_text(query: str, never_null: tuple[str, ...], description: Description) -> str:
    """Return the text of a snapshot.

    :param query: the name of the query.
    :param never_null: the parameters that are never None.
    """
    document = {
        "format": FORMAT,
        "query": query,
        "never_null": never_null,
        "parameters": [_parameter_document(each) for each in description.parameters],
        "columns": [_column_document(each) for each in description.columns],
        "writes": None
        if description.writes is None
        else [_write_document(each) for each in description.writes],
        **_attributes(description, "family", "sql", "fingerprint", "notes"),
    }
    document["digest"] = _digest_of(document)
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _parameter_document(each: ParameterDescription) -> dict[str, Any]:
    kind = None if each.db_type is None else _type_document(each.db_type)
    return {"type": kind, **_attributes(each, "name", "is_list", "is_processed")}


def _column_document(each: ColumnDescription) -> dict[str, Any]:
    names = ("name", "nullable", "why", "origin", "missing_with")
    rare = [name for name in ("converted_by", "nullable_fields") if getattr(each, name)]
    return {"type": _type_document(each.db_type), **_attributes(each, *names, *rare)}


def _write_document(each: ColumnWrite) -> dict[str, Any]:
    """Return a write without what has its default value."""
    column = each.column
    document: dict[str, Any] = {
        "action": each.action.value,
        "column": column.name,
        "not_null": column.not_null,
        "source": each.source.value,
    }
    optional: dict[str, Any] = {
        "max_length": column.max_length,
        "accepted": column.accepted,
        "parameters": each.parameters,
        "why": each.why,
    }
    document |= {key: value for key, value in optional.items() if value not in (None, (), "")}
    return document if each.nullable else document | {"nullable": False}


def _attributes(each: object, *names: str) -> dict[str, Any]:
    return {name: getattr(each, name) for name in names}


def _type_document(each: DbType) -> dict[str, Any]:
    """Return a type without the properties that have their default values."""
    properties = {
        "python": each.python and name_of(each.python),
        "element": each.element and _type_document(each.element),
        "labels": each.labels,
        "fields": [(name, _type_document(part)) for name, part in each.fields],
        "json": each.json,
        "is_range": each.is_range,
        "usual": [*map(name_of, each.usual)],
        "driver": each.driver,
    }
    document = {"name": each.name} | {key: value for key, value in properties.items() if value}
    return document if each.aware is None else document | {"aware": each.aware}


def _digest_of(document: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in document.items() if name != "digest"}
    return sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


# ------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class TypeDocument:
    name: str
    python: str | None = None
    element: TypeDocument | None = None
    labels: tuple[str, ...] = ()
    fields: tuple[tuple[str, TypeDocument], ...] = ()
    aware: bool | None = None
    json: bool = False
    is_range: bool = False
    usual: tuple[str, ...] = ()
    driver: str = ""

    def db_type(self) -> DbType:
        return DbType(
            self.name,
            None if self.python is None else _python_type(self.python),
            None if self.element is None else self.element.db_type(),
            self.labels,
            tuple((name, part.db_type()) for name, part in self.fields),
            self.aware,
            self.json,
            self.is_range,
            tuple(cls for cls in map(_python_type, self.usual) if cls is not None),
            self.driver,
        )


def _python_type(name: str) -> type | None:
    """Return a class by its name; None if it belongs to a driver that is not installed."""
    if name in DRIVER_CLASSES:
        return class_named(name)
    if name not in _PYTHON_TYPES:
        raise SnapshotError(f"{name} is not the type of a column's values")
    return _PYTHON_TYPES[name]


@dataclass(frozen=True)
class ParameterDocument:
    name: str
    is_list: bool
    is_processed: bool
    type: TypeDocument | None = None

    def description(self) -> ParameterDescription:
        db_type = None if self.type is None else self.type.db_type()
        return ParameterDescription(self.name, db_type, self.is_list, self.is_processed)


@dataclass(frozen=True)
class ColumnDocument:
    name: str
    type: TypeDocument
    nullable: bool
    why: str
    origin: str | None = None
    missing_with: str | None = None
    converted_by: str | None = None
    nullable_fields: tuple[str, ...] = ()

    def description(self) -> ColumnDescription:
        return ColumnDescription(
            self.name,
            self.type.db_type(),
            self.nullable,
            self.why,
            self.origin,
            self.missing_with,
            self.converted_by,
            self.nullable_fields,
        )


@dataclass(frozen=True)
class WriteDocument:
    action: WriteAction
    column: str
    not_null: bool
    source: ValueSource
    max_length: int | None = None
    accepted: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    nullable: bool = True
    why: str = ""

    def write(self) -> ColumnWrite:
        column = TargetColumn(self.column, self.not_null, self.max_length, self.accepted)
        return ColumnWrite(
            self.action, column, self.source, self.parameters, self.nullable, self.why
        )


@dataclass(frozen=True)
class SnapshotDocument:
    format: int
    family: str
    sql: str
    parameters: tuple[ParameterDocument, ...]
    columns: tuple[ColumnDocument, ...]
    fingerprint: str
    digest: str
    notes: tuple[str, ...] = ()
    writes: tuple[WriteDocument, ...] | None = None

    def description(self) -> Description:
        is_unknown = self.format == _WITHOUT_WRITES and writes_rows(self.sql)
        return Description(
            self.family,
            self.sql,
            tuple(each.description() for each in self.parameters),
            tuple(each.description() for each in self.columns),
            fingerprint=self.fingerprint,
            notes=(*self.notes, _WRITES_UNKNOWN) if is_unknown else self.notes,
            writes=None if self.writes is None else tuple(each.write() for each in self.writes),
        )


def parse_document(text: str) -> Description:
    """Return the description in the text of a snapshot.

    :raises SnapshotError: saying what is wrong with the text.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"it is not JSON: {error}") from error
    found = document.get("format", FORMAT) if isinstance(document, dict) else FORMAT
    if found not in (_WITHOUT_WRITES, FORMAT):
        raise SnapshotError(
            f"it has the format {found}, but this version reads the formats {_WITHOUT_WRITES} and "
            f"{FORMAT}"
        )
    snapshot = _mapped(document)
    description = snapshot.description()
    if snapshot.digest != _digest_of(document):
        raise SnapshotError("it was edited or merged: its digest does not fit its content")
    return description


def _mapped(document: Any) -> SnapshotDocument:
    column = Column("snapshot", DbType("json", json=True))
    row_type = Annotated[SnapshotDocument, Json(defaults=True, extra=True)]
    mapper = mapper_for(row_type, (column,), "postgresql")
    try:
        snapshot: SnapshotDocument = mapper.map_rows([(document,)])[0]
    except RowValueError as error:
        message = f"{error.path}: expected {error.expected}, found {error.found}"
        raise SnapshotError(message) from error
    return snapshot


def is_same(one: Description, other: Description) -> bool:
    """Return whether two descriptions differ at most in their reasons, notes and servers."""
    return _without_texts(one) == _without_texts(other)


def _without_texts(description: Description) -> Description:
    columns = tuple(replace(each, why="") for each in description.columns)
    writes = description.writes
    if writes is not None:
        writes = tuple(replace(each, why="") for each in writes)
    return replace(description, columns=columns, writes=writes, notes=(), server="")
