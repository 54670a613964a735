"""Propose the cast that gives a parameter its type."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from sqla_typedpool._sqlalchemy.compiling import compile_statement
from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.mapping.annotations import AnnotationError, spec_of
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.queries import QueryInfo

# PostgreSQL's types for values of these Python types.
_SQL_TYPES: dict[Any, str] = {
    bool: "boolean",
    int: "bigint",
    float: "double precision",
    Decimal: "numeric",
    str: "text",
    bytes: "bytea",
    date: "date",
    datetime: "timestamptz",
    time: "time",
    timedelta: "interval",
    UUID: "uuid",
}
_NUMBER = re.compile(r"parameter \$(\d+)")


def cast_of(name: str, annotation: Any) -> str:
    """Return the advice for a parameter whose type PostgreSQL cannot infer.

    :param annotation: its declared type: ``int`` becomes ``CAST(:name AS bigint)``.
    """
    try:
        sql_type = _sql_type(spec_of(annotation))
    except AnnotationError:
        sql_type = None
    return f"add a cast: CAST(:{name} AS {sql_type or '...'})"


def _sql_type(spec: TypeSpec) -> str | None:
    if spec.is_marked:
        return "jsonb" if spec.json is not None else None
    if spec.kind is Kind.ARRAY and spec.of:
        element = _sql_type(spec.of[0])
        return element and (element if element.endswith("[]") else f"{element}[]")
    return _SQL_TYPES.get(spec.annotation) if spec.kind is Kind.EXACT else None


def cast_for_message(info: QueryInfo, message: str, family: str) -> str:
    """Return the advice for the parameter ``$1`` that a message of PostgreSQL names."""
    unnamed = "add a cast: CAST(:name AS ...)"
    number = _NUMBER.search(message)
    if number is None:
        return unnamed
    try:
        compiled = compile_statement(info.statement, family, info.bind_names)
        name = compiled.placeholders[int(number[1]) - 1].name
        found = next((bind for bind in info.binds if bind.name == name), None)
    except (SQLAlchemyError, DeclarationError, IndexError):
        return unnamed
    return f"add a cast: CAST(:{name} AS ...)" if found is None else cast_of(name, found.annotation)
