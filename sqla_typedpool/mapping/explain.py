"""``explain_mapping``: show how rows become a row type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqla_typedpool.mapping.dbtypes import db_type_of
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.plan import Column
from sqla_typedpool.mapping.rowtype import Field, class_row_type, row_type_of


def explain_mapping(
    row_type: Any,
    columns: Sequence[str | tuple[str, str]] | None = None,
    *,
    dialect: str = "postgresql",
) -> str:
    """Describe how rows become a row type: the plan, and the code generated for it.

    :param row_type: a dataclass or another row type, as for `fetch_all`.
    :param columns: names, or names with database types; None = the fields of the row type.
    :param dialect: ``"postgresql"``, ``"sqlite"``, ``"mysql"`` or ``"mariadb"``.
    :raises RowShapeError: the columns do not fit; the error names every issue.

    Example::

        print(explain_mapping(User, [("id", "int8"), ("name", "text")]))
    """
    family = "mysql" if dialect == "mariadb" else dialect
    described = _own_columns(row_type) if columns is None else _described(columns, family)
    mapper = mapper_for(row_type, described, family)
    return f"{mapper.plan}\n\n{mapper.source}"


def _described(columns: Sequence[str | tuple[str, str]], family: str) -> tuple[Column, ...]:
    return tuple(
        Column(each) if isinstance(each, str) else Column(each[0], db_type_of(each[1], family))
        for each in columns
    )


def _own_columns(row_type: Any) -> tuple[Column, ...]:
    fields = row_type_of(row_type).fields
    if not fields[0].name:
        return tuple(Column(f"column{number}") for number, _ in enumerate(fields, start=1))
    return tuple(map(Column, _column_names(fields, "")))


def _column_names(fields: Sequence[Field], prefix: str) -> Iterator[str]:
    for field in fields:
        if field.spec.flatten is None:
            yield f"{prefix}{field.column}"
        else:
            inner = class_row_type(field.spec.annotation).fields
            yield from _column_names(inner, f"{prefix}{field.spec.flatten.prefix}")
