"""Parameters that are lists: ``IN :ids``, which SQLAlchemy expands to one placeholder a value."""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Union
from uuid import UUID

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.types import UserDefinedType

from sqla_typedpool.mapping.annotations import AnnotationError, spec_of
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, is_union
from sqla_typedpool.queries.annotation import DeferredAnnotation
from sqla_typedpool.queries.sql_checks import Line
from sqla_typedpool.tokens import binds, list_binds

# PostgreSQL's types for values of these Python types.
SQL_TYPES: dict[Any, str] = {
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
_DEFAULT_TYPE = "integer"  # the one that SQLAlchemy takes
_SINGLE = (Kind.EXACT, Kind.ENUM, Kind.LITERAL)
_ANNOTATED: Any = Annotated
_UNION: Any = Union
_LIST: Any = list
_LISTS = (
    *(set, frozenset, collections.abc.Sequence, collections.abc.Collection),
    *(collections.abc.Iterable, collections.abc.Set, collections.abc.MutableSequence),
)


# ------------------------------------------------------------------------ annotations


def declared_type(annotation: Any) -> TypeSpec | None:
    """Return the type that is passed; None if the annotation is not supported."""
    try:
        return spec_of(_as_list(annotation))
    except AnnotationError:
        return None


def _as_list(annotation: Any) -> Any:
    """Replace ``Sequence[int]`` and the like by ``list[int]``; drivers treat both alike."""
    arguments = typing.get_args(annotation)
    if hasattr(annotation, "__supertype__"):  # NewType
        return _as_list(annotation.__supertype__)
    if typing.get_origin(annotation) is Annotated:
        parts = (_as_list(arguments[0]), *arguments[1:])
        return _ANNOTATED[parts]
    if is_union(annotation):
        return _UNION[tuple(map(_as_list, arguments))]
    if typing.get_origin(annotation) in _LISTS:
        return _LIST[arguments[0]]
    return annotation


def elements_of(annotation: Any) -> tuple[TypeSpec, ...]:
    """Return the types of the elements of a list or tuple; () if they are not known."""
    declared = declared_type(annotation)
    if declared is None or declared.kind not in (Kind.ARRAY, Kind.TUPLE) or declared.is_marked:
        return ()
    return declared.of


def element_sql_type(annotation: Any) -> str:
    """Return PostgreSQL's type for the elements of a list."""
    for each in elements_of(annotation):
        kinds = typing.get_args(each.annotation) if each.kind is Kind.LITERAL else ()
        known = {type(value) for value in kinds} if kinds else {each.annotation}
        bases = [base for kind in known for base in getattr(kind, "__mro__", ())]
        return next((SQL_TYPES[base] for base in bases if base in SQL_TYPES), _DEFAULT_TYPE)
    return _DEFAULT_TYPE


# ------------------------------------------------------------------------- the statement


class ListElement(UserDefinedType[Any]):
    """The type of the elements of a list.

    Values are sent unchanged, without a cast. For an empty list SQLAlchemy compares with an empty
    subquery, which must have a type on PostgreSQL: NULL AS this type.
    """

    cache_ok = True

    def __init__(self, name: str) -> None:
        """
        :param name: of the type on PostgreSQL; part of SQLAlchemy's cache key.
        """
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """Return the name of the type."""
        return self.name


def text_with_lists(sql: str, annotations: Mapping[str, Any] | None = None) -> TextClause:
    """Return ``text(sql)`` in which every parameter after ``IN`` takes a list.

    :param annotations: the declared types of the parameters.
    """
    types = annotations or {}
    names = dict.fromkeys(each.name for each in list_binds(sql))
    expanding = (
        bindparam(name, expanding=True, type_=ListElement(element_sql_type(types.get(name))))
        for name in names
    )
    return text(sql).bindparams(*expanding)


def as_list(values: Any) -> Any:
    """Return the values of a list parameter, such as a set, as a list. None is no values.

    :raises TypeError: it is a str or bytes, whose characters would become the values.
    """
    if values is None or isinstance(values, (list, tuple)):
        return values
    if isinstance(values, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"IN takes a list, not {type(values).__name__}; next: pass [value]")
    return list(values)


# ------------------------------------------------------------------ the declared parameters


def list_errors(
    sql: str, annotations: Mapping[str, DeferredAnnotation], line: Line
) -> Iterator[str]:
    """Yield everything that is wrong with the parameters after ``IN``."""
    found = list_binds(sql)
    places = {each.start for each in found}
    for name in dict.fromkeys(each.name for each in found if each.name in annotations):
        yield from _type_errors(name, annotations[name])
        others = [each for each in binds(sql) if each.text[1:] == name]
        elsewhere = [each for each in others if each.start not in places]
        if elsewhere:
            yield (
                f":{name} is a list after IN, and a single value in another place"
                f"{line(elsewhere[0].start)}; next: use two parameters"
            )


def _type_errors(name: str, annotation: DeferredAnnotation) -> Iterator[str]:
    if annotation.error:
        return  # reported already
    if not annotation.is_resolved:
        yield (
            f"IN :{name} needs the type {annotation.text} of {name} when the query is declared; "
            "next: define the type above the query"
        )
        return
    declared = declared_type(annotation.resolve())
    if declared is not None and declared.kind in _SINGLE and not declared.is_marked:
        yield (
            f"IN takes a list, but {name} is declared {declared.text}; next: declare it "
            f"list[{declared.text.removesuffix(' | None')}], or write IN (:{name})"
        )
    if any(each.kind is Kind.TUPLE for each in elements_of(annotation.resolve())):
        yield (
            f"IN :{name} cannot be expanded for a list of tuples; next: use a Core statement, "
            f"tuple_(...).in_(bindparam({name!r}, expanding=True))"
        )
