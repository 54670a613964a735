"""Report the columns whose types could not be compared with the declared ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sqla_typedpool.check import rules
from sqla_typedpool.check.locations import location_of_column, location_of_query
from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.registration import registration_hint
from sqla_typedpool.check.rules import finding
from sqla_typedpool.describe.model import ColumnDescription, Description
from sqla_typedpool.mapping.dbtypes import UNKNOWN, DbType
from sqla_typedpool.mapping.plan import ColumnPlan, PartialPlan
from sqla_typedpool.mapping.rowtype import class_row_type
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.queries import QueryInfo

_MAX_NAMES = 6  # columns in one message


def uncompared(
    info: QueryInfo, description: Description, plan: PartialPlan, impossible: Collection[int]
) -> Iterator[Finding]:
    """Yield a note for each column whose type was not compared with the declared one.

    There is one note for all columns of a Core statement, and of a statement of SQLite.

    :param impossible: positions of columns whose type is wrong. They have a finding already.
    """
    found = [
        part
        for part in plan.root.column_plans()
        if part.position not in impossible
        and not _is_compared(part.spec, description.columns[part.position].db_type)
    ]
    if info.is_text and description.family != "sqlite":
        for part in found:
            yield _of_column(info, description, part)
    elif found:
        yield _of_all(info, description, found)


def _is_compared(spec: TypeSpec, db_type: DbType) -> bool:
    """Return whether a type was compared, and the types of its parts."""
    if spec.kind in (Kind.ANYTHING, Kind.NULL) or spec.is_marked:
        return True  # the type of the column does not matter
    if db_type.usual:
        return all(_is_accepted(spec, each) for each in db_type.usual)
    if spec.kind is Kind.ARRAY and db_type.python is list:
        return not spec.of or _is_compared(_innermost(spec), db_type.element or UNKNOWN)
    if spec.kind is Kind.TUPLE and db_type.python is tuple:
        return not spec.of
    if spec.kind is Kind.NESTED and db_type.fields:
        types = dict(db_type.fields)
        fields = class_row_type(spec.annotation).fields
        return all(_is_compared(each.spec, types.get(each.column, UNKNOWN)) for each in fields)
    if spec.kind is Kind.RANGE and db_type.is_range:
        return True
    return db_type.python is not None or db_type.json


def _innermost(spec: TypeSpec) -> TypeSpec:
    """Return the type of an array's elements, whatever the number of dimensions."""
    while spec.kind is Kind.ARRAY and spec.of and not spec.is_marked:
        (spec,) = spec.of
    return spec


def _is_accepted(spec: TypeSpec, python: type) -> bool:
    """Return whether a field accepts all values of a class."""
    if spec.kind is Kind.UNION:
        return any(_is_accepted(each, python) for each in spec.of)
    if spec.kind is Kind.MAPPING:
        return python is dict
    return spec.kind is Kind.EXACT and spec.annotation is python


# ---------------------------------------------------------------------------- the notes


def _of_column(info: QueryInfo, description: Description, part: ColumnPlan) -> Finding:
    column, declared = description.columns[part.position], part.field.spec.text
    innermost = _innermost_type(column.db_type)
    return finding(
        rules.INCOMPLETE_DESCRIPTION,
        f'"{column.name}" ({column.type}) was not compared with {declared}: ' + _reason(innermost),
        location_of_column(info, part.position, len(description.columns)),
        query=info.name,
        hint=_hint(_innermost(part.spec), innermost),
        subject=column.name,
    )


def _innermost_type(db_type: DbType) -> DbType:
    while db_type.python is list and db_type.element is not None:
        db_type = db_type.element
    return db_type


def _reason(db_type: DbType) -> str:
    usual = [each.__name__ for each in db_type.usual]
    if db_type.is_address:
        return f"it arrives as {', '.join(usual[:-1])} or {usual[-1]}, depending on the value"
    if usual:
        return f"it arrives as {usual[0]} on {db_type.driver}, unless the application converts it"
    if db_type.name == "record":
        return "the types of its parts are not known"
    return "in which Python type it arrives depends on the driver or the value"


def _hint(spec: TypeSpec, db_type: DbType) -> str:
    cast = "cast the column in SQL: CAST(... AS text)"
    if registration := registration_hint(spec, db_type):
        return registration
    if db_type.is_address:
        usual = " | ".join(each.__name__ for each in db_type.usual)
        declared = spec.annotation if spec.kind is Kind.EXACT else None
        engine = "create the engine with native_inet_types=False"
        return f"{engine}, or {cast}" if declared is str else f"declare {usual}, or {cast}"
    if db_type.name == "record":
        return f"{_TEST}, or select its parts as columns"
    return f"{_TEST}, or {cast}"


def _of_all(info: QueryInfo, description: Description, parts: Sequence[ColumnPlan]) -> Finding:
    columns = [description.columns[part.position] for part in parts]
    own_types = "the application's own column types convert the values"
    if description.family != "sqlite":
        reason, hint = own_types, _TEST
    else:
        reason = _NOT_ENFORCED if info.is_text else f"{_NOT_ENFORCED}, or {own_types}"
        hint = f"{_TEST}, or declare the table STRICT"
    names = _listed(columns)
    return finding(
        rules.INCOMPLETE_DESCRIPTION,
        f"{names} {'was' if len(columns) == 1 else 'were'} not compared with the declared "
        f"{'type' if len(columns) == 1 else 'types'}: {reason}",
        location_of_query(info),
        query=info.name,
        hint=hint,
    )


_TEST = "run the query in a test"
_NOT_ENFORCED = "SQLite does not enforce declared types"


def _listed(columns: Sequence[ColumnDescription]) -> str:
    more = len(columns) - _MAX_NAMES
    shown = ", ".join(f'"{column.name}"' for column in columns[:_MAX_NAMES])
    return f"{shown} and {more} more" if more > 0 else shown
