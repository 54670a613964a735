"""The types of Core columns whose values SQLAlchemy converts."""

from __future__ import annotations

from dataclasses import replace

from sqla_typedpool._sqlalchemy.compiling import ResultColumn, compile_statement
from sqla_typedpool.describe.model import ColumnDescription, Description
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.queries import QueryInfo


def with_core_types(info: QueryInfo, description: Description) -> Description:
    """Return a description with the Python types that SQLAlchemy's own column types make.

    A description has none for a column whose values SQLAlchemy converts. They depend on the
    classes of the application, which a snapshot does not contain.
    """
    if info.is_text or not any(map(_is_unknown, description.columns)):
        return description
    columns = compile_statement(info.statement, description.family, info.bind_names).columns
    if len(columns) != len(description.columns):
        return description
    described = zip(description.columns, columns, strict=True)
    return replace(
        description,
        columns=tuple(_with_type(each, core, description.family) for each, core in described),
    )


def _is_unknown(column: ColumnDescription) -> bool:
    found = column.db_type
    is_known = found.json or found.is_range or found.usual or found.fields or found.element
    return found.python is None and not is_known


def _with_type(column: ColumnDescription, core: ResultColumn, family: str) -> ColumnDescription:
    # PostgreSQL's own type is unknown only if SQLAlchemy converts the values
    if not _is_unknown(column) or not (family == "postgresql" or core.is_processed(None)):
        return column
    return replace(column, db_type=_db_type(column.type, core))


def _db_type(name: str, core: ResultColumn) -> DbType:
    element = None if core.element is None else _db_type(name, core.element)
    return DbType(name, core.python_type, element=element, json=core.is_json)
