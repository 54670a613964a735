"""Propose the cast that gives a parameter its type."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.exc import SQLAlchemyError

from sqla_typedpool._sqlalchemy.compiling import compile_statement
from sqla_typedpool.errors import DeclarationError, Refused
from sqla_typedpool.mapping.annotations import AnnotationError, spec_of
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.queries import QueryInfo
from sqla_typedpool.queries.parameter_lists import SQL_TYPES

# 42P18 indeterminate_datatype, 42P08 ambiguous_parameter.
_UNKNOWN_TYPE_CODES = ("42P18", "42P08")
# Of a call like cardinality(:ids), whose code is that of all wrong types.
_UNKNOWN_INPUT = "input has type unknown"
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
    return SQL_TYPES.get(spec.annotation) if spec.kind is Kind.EXACT else None


def is_unknown_type(error: Refused, *, has_parameters: bool) -> bool:
    """Return whether PostgreSQL refuses a statement because it cannot infer a parameter's type."""
    is_input = has_parameters and _UNKNOWN_INPUT in error.message
    return is_input or error.code in _UNKNOWN_TYPE_CODES


def cast_for_message(info: QueryInfo, message: str, family: str) -> str:
    """Return the advice for the parameter ``$1`` that a message of PostgreSQL names."""
    name = parameter_in_message(info.statement, message, family, info.bind_names)
    try:
        found = next((bind for bind in info.binds if bind.name == name), None)
    except DeclarationError:
        found = None
    return cast_without_type(name) if found is None else cast_of(found.name, found.annotation)


def cast_without_type(name: str | None) -> str:
    """Return the advice for a parameter that has no annotation, or is not known."""
    return f"add a cast: CAST(:{name or 'name'} AS ...)"


def parameter_in_message(
    statement: Executable, message: str, family: str, keys: Iterable[str] = ()
) -> str | None:
    """Return the name of the parameter ``$1`` that a message of PostgreSQL names."""
    number = _NUMBER.search(message)
    if number is None:
        return None
    try:
        compiled = compile_statement(statement, family, keys)
        return compiled.placeholders[int(number[1]) - 1].name
    except (SQLAlchemyError, IndexError):
        return None
