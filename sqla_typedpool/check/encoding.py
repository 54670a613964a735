"""A description as JSON and back. Names only: no OIDs, no hosts, no times."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.errors import SnapshotError
from sqla_typedpool.mapping.dbtypes import DbType

T = TypeVar("T")

FORMAT = 1

_TYPES: dict[str, type] = {
    each.__name__: each
    for each in (
        *(bool, int, float, str, bytes, list, dict, tuple),
        *(Decimal, datetime, date, time, timedelta, UUID),
    )
}


def encoded(description: Description) -> dict[str, Any]:
    """As JSON's types. The server is left out: another minor or major one may say the same."""
    return {
        "family": description.family,
        "sql": description.sql,
        "parameters": [_encoded_parameter(each) for each in description.parameters],
        "columns": [_encoded_column(each) for each in description.columns],
        "fingerprint": description.fingerprint,
        "notes": list(description.notes),
    }


def _encoded_parameter(each: ParameterDescription) -> dict[str, Any]:
    return {
        "name": each.name,
        "type": None if each.db_type is None else _encoded_type(each.db_type),
        "is_list": each.is_list,
        "is_processed": each.is_processed,
    }


def _encoded_column(each: ColumnDescription) -> dict[str, Any]:
    return {
        "name": each.name,
        "type": _encoded_type(each.db_type),
        "nullable": each.nullable,
        "why": each.why,
        "origin": each.origin,
        "missing_with": each.missing_with,
    }


def _encoded_type(each: DbType) -> dict[str, Any]:
    """What is usual is left out."""
    found: dict[str, Any] = {"name": each.name}
    if each.python is not None:
        found["python"] = each.python.__name__
    if each.element is not None:
        found["element"] = _encoded_type(each.element)
    if each.labels:
        found["labels"] = list(each.labels)
    if each.fields:
        found["fields"] = [[name, _encoded_type(part)] for name, part in each.fields]
    if each.aware is not None:
        found["aware"] = each.aware
    if each.json:
        found["json"] = True
    if each.is_range:
        found["is_range"] = True
    return found


def decoded(text: str) -> Description:
    """From a snapshot's text.

    :raises Damaged: naming what is wrong.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"it is not JSON: {error}") from error
    entries = _Entries(document, "the file")
    if (found := entries.get("format", int)) != FORMAT:
        raise SnapshotError(f"it has the format {found}, and this version reads {FORMAT}")
    description = Description(
        family=entries.get("family", str),
        sql=entries.get("sql", str),
        parameters=entries.each("parameters", _parameter),
        columns=entries.each("columns", _column),
        fingerprint=entries.get("fingerprint", str),
        notes=entries.texts("notes"),
    )
    if entries.get("digest", str) != _digest_of(document):
        raise SnapshotError("it is not as it was written: somebody has edited or merged it")
    return description


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """With a digest of itself, by which is known that nobody has edited it."""
    return {**document, "digest": _digest_of(document)}


def _digest_of(document: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in document.items() if name != "digest"}
    return sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


class _Entries:
    """An object of the file; what it lacks is named."""

    def __init__(self, found: Any, where: str) -> None:
        if not isinstance(found, dict):
            raise SnapshotError(f"{where} is not an object")
        self._found = found
        self._where = where

    def get(self, name: str, kind: type[T]) -> T:
        value = self._found.get(name)
        if type(value) is not kind:
            raise SnapshotError(f'"{name}" of {self._where} is not a {kind.__name__}')
        return value

    def maybe(self, name: str, kind: type[T]) -> T | None:
        return None if self._found.get(name) is None else self.get(name, kind)

    def each(self, name: str, decode: Callable[[_Entries], T]) -> tuple[T, ...]:
        return tuple(
            decode(_Entries(part, f"{name}[{place}]"))
            for place, part in enumerate(self.get(name, list))
        )

    def texts(self, name: str) -> tuple[str, ...]:
        found = self.maybe(name, list) or ()
        if not all(isinstance(each, str) for each in found):
            raise SnapshotError(f'"{name}" of {self._where} is not a list of texts')
        return tuple(found)

    def type(self, name: str) -> DbType:
        return _type(_Entries(self._found.get(name), f'"{name}" of {self._where}'))


def _parameter(entries: _Entries) -> ParameterDescription:
    kind = None if entries.maybe("type", dict) is None else entries.type("type")
    return ParameterDescription(
        entries.get("name", str),
        kind,
        entries.get("is_list", bool),
        entries.get("is_processed", bool),
    )


def _column(entries: _Entries) -> ColumnDescription:
    return ColumnDescription(
        name=entries.get("name", str),
        db_type=entries.type("type"),
        nullable=entries.get("nullable", bool),
        why=entries.get("why", str),
        origin=entries.maybe("origin", str),
        missing_with=entries.maybe("missing_with", str),
    )


def _type(entries: _Entries) -> DbType:
    python = entries.maybe("python", str)
    if python is not None and python not in _TYPES:
        raise SnapshotError(f"{python} is not a type that a column arrives as")
    element = None if entries.maybe("element", dict) is None else entries.type("element")
    return DbType(
        name=entries.get("name", str),
        python=None if python is None else _TYPES[python],
        element=element,
        labels=entries.texts("labels"),
        fields=tuple(map(_field, entries.maybe("fields", list) or ())),
        aware=entries.maybe("aware", bool),
        json=entries.maybe("json", bool) or False,
        is_range=entries.maybe("is_range", bool) or False,
    )


def _field(found: Any) -> tuple[str, DbType]:
    if not (isinstance(found, list) and len(found) == 2 and isinstance(found[0], str)):
        raise SnapshotError("a field of a composite type is not a pair of name and type")
    name, kind = found
    return name, _type(_Entries(kind, f'the field "{name}"'))
