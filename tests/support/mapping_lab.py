"""Helpers of the tests of mapping: values and rows through a mapper, without a database."""

from __future__ import annotations

from typing import Any

import pytest

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.annotations import spec_of
from sqla_typedpool.mapping.coercions import RULES, Coercion
from sqla_typedpool.mapping.context import Fit
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type
from sqla_typedpool.mapping.handlers import fit_of
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.plan import Column


def fit(annotation: Any, db_type: DbType, family: str) -> Fit:
    """Return whether a column fits a declared type."""
    return fit_of(spec_of(annotation), db_type, family)


def columns_of(columns: str) -> tuple[Column, ...]:
    """Return columns by their names, of which some have PostgreSQL types: `id:int8 name`."""
    split = (column.partition(":") for column in columns.split())
    return tuple(Column(name, postgresql_type(kind) if kind else None) for name, _, kind in split)


def mapped(row_type: Any, columns: str, *rows: tuple[Any, ...]) -> list[Any]:
    """Map rows of columns that `columns_of` describes."""
    return mapper_for(row_type, columns_of(columns), "postgresql").map_rows(rows)


def converted(annotation: Any, value: Any, family: str = "postgresql") -> Any:
    """Map one value of a column whose type is unknown."""
    mapper = mapper_for(annotation, (Column("field"),), family)
    (made,) = mapper.map_rows([(value,)])
    return made


def refusal(annotation: Any, value: Any, family: str = "postgresql") -> str:
    """Return the message of the error for a value."""
    with pytest.raises(RowValueError) as caught:
        converted(annotation, value, family)
    message = str(caught.value)
    assert 'row 1, column "field"' in message
    assert caught.value.value is value
    return message


def shape_refusal(annotation: Any, db_type: DbType, family: str = "postgresql") -> str:
    """Return the message of the error for a column."""
    with pytest.raises(RowShapeError) as caught:
        mapper_for(annotation, (Column("field", db_type),), family)
    message = str(caught.value)
    assert f'column "field" {db_type.name}' in message
    return message


def rule_table() -> str:
    """Return the table of conversions as Markdown, for the documentation."""
    return "\n".join(["| delivered | declared | | where |", "|---|---|---|---|", *map(_row, RULES)])


def _row(rule: Coercion) -> str:
    action = "refused" if rule.convert is None else "converted"
    where = ", ".join(rule.families) or "where nothing above converts it"
    source, target = rule.source.__name__, rule.target.__name__
    return f"| {source} | {target} | {action}: {rule.detail} | {where} |"
