"""The room's door: a mapper for a row type and the columns of a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sqla_typedpool.mapping.codegen import MapRows, compile_plan
from sqla_typedpool.mapping.dbtypes import db_type_of
from sqla_typedpool.mapping.plan import Column, Plan, make_plan
from sqla_typedpool.mapping.rowtype import Field, class_row_type, row_type_of

T = TypeVar("T")

_MOST = 1000  # mappers kept; bounded, so that classes made at run time can go


@dataclass(frozen=True)
class Mapper(Generic[T]):
    """A plan and the function that carries it out."""

    plan: Plan
    source: str
    """The function, for people to read."""

    map_rows: MapRows[T]
    """``map_rows(rows, first=0)``: the rows, ``first`` having been mapped before them.

    :raises RowValueError: naming row, column, expected and found type.
    """


def mapper_for(row_type: Any, columns: tuple[Column, ...], family: str) -> Mapper[Any]:
    """The mapper for rows of these columns, made at first use.

    :param family: ``"postgresql"``, ``"sqlite"`` or ``"mysql"``.
    :raises RowShapeError: naming every column and field that does not fit.
    """
    try:
        hash(row_type)
    except TypeError:  # metadata in Annotated may have no hash
        return _made(row_type, columns, family)
    return _kept(row_type, columns, family)


def _made(row_type: Any, columns: tuple[Column, ...], family: str) -> Mapper[Any]:
    plan = make_plan(row_type, columns, family)
    map_rows, source = compile_plan(plan)
    return Mapper(plan, source, map_rows)


_kept = lru_cache(_MOST)(_made)


def explain(row_type: Any, columns: tuple[Column, ...], family: str) -> str:
    """Plan and generated code, as text."""
    mapper = mapper_for(row_type, columns, family)
    return f"{mapper.plan}\n\n{mapper.source}"


def explain_mapping(
    row_type: Any,
    columns: Sequence[str | tuple[str, str]] | None = None,
    *,
    dialect: str = "postgresql",
) -> str:
    """How rows become a type: the plan, and the code that is generated from it.

    :param columns: names, or names with database types; None = the type's own fields.
    :param dialect: ``"postgresql"``, ``"sqlite"``, ``"mysql"`` or ``"mariadb"``.
    :raises RowShapeError: naming every column and field that does not fit.

    Example::

        print(explain_mapping(User, [("id", "int8"), ("name", "text")]))
    """
    family = "mysql" if dialect == "mariadb" else dialect
    described = _own_columns(row_type) if columns is None else _described(columns, family)
    return explain(row_type, described, family)


def _described(columns: Sequence[str | tuple[str, str]], family: str) -> tuple[Column, ...]:
    return tuple(
        Column(each) if isinstance(each, str) else Column(each[0], db_type_of(each[1], family))
        for each in columns
    )


def _own_columns(row_type: Any) -> tuple[Column, ...]:
    fields = row_type_of(row_type).fields
    if not fields[0].name:
        return tuple(Column(f"column{place}") for place, _ in enumerate(fields, start=1))
    return tuple(Column(name) for name in _names(fields, ""))


def _names(fields: Sequence[Field], prefix: str) -> list[str]:
    names: list[str] = []
    for field in fields:
        if field.wanted.flatten is None:
            names.append(f"{prefix}{field.column}")
        else:
            inner = class_row_type(field.wanted.annotation).fields
            names += _names(inner, f"{prefix}{field.wanted.flatten.prefix}")
    return names
