"""``Mapper``: maps the rows of a result to a row type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sqla_typedpool.mapping.codegen import MapRows, compile_plan
from sqla_typedpool.mapping.plan import Column, Plan, make_plan

T = TypeVar("T")

_MAX_MAPPERS = 1000  # a limit, so that classes made at run time can be freed


@dataclass(frozen=True)
class Mapper(Generic[T]):
    """A plan, and the function that was generated for it."""

    plan: Plan

    # ``map_rows(rows, first=0)``: map rows; ``first`` rows have been mapped before.
    # It raises RowValueError, which names row and column, if a value has the wrong type.
    map_rows: MapRows[T]

    # The source of the function.
    source: str


def mapper_for(annotation: Any, columns: tuple[Column, ...], family: str) -> Mapper[Any]:
    """Return the mapper for rows of these columns. Mappers are cached.

    :param annotation: the row type as it is written in Python.
    :param family: ``"postgresql"``, ``"sqlite"`` or ``"mysql"``.
    :raises RowShapeError: the columns do not fit; the error names every issue.
    """
    try:
        hash(annotation)
    except TypeError:  # metadata in Annotated may have no hash
        return _make_mapper(annotation, columns, family)
    return _cached_mapper(annotation, columns, family)


def _make_mapper(annotation: Any, columns: tuple[Column, ...], family: str) -> Mapper[Any]:
    plan = make_plan(annotation, columns, family)
    return Mapper(plan, *compile_plan(plan))


_cached_mapper = lru_cache(_MAX_MAPPERS)(_make_mapper)
