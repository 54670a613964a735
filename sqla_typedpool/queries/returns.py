"""Return annotation -> how many rows there are, and what each becomes."""

from __future__ import annotations

import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NewType, TypeVar, Union

from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.annotations import AnnotationError, spec_of
from sqla_typedpool.mapping.rowtype import row_type_of
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, is_union, type_name

RowCount = NewType("RowCount", int)
"""What a declared query without rows returns: how many rows it has changed."""

_UNION: Any = Union  # built at run time, which type checkers do not follow
_STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator)


class Cardinality(Enum):
    """How many rows a query has, and how they come."""

    ONE = "one"
    """``-> User``: the only row."""
    OPTIONAL = "optional"
    """``-> User | None``: the only row, if there is one."""
    ALL = "all"
    """``-> list[User]``"""
    STREAM = "stream"
    """``-> AsyncIterator[User]``: one by one."""
    COUNT = "count"
    """``-> RowCount``: no rows, but their number."""
    NOTHING = "nothing"
    """``-> None``"""


@dataclass(frozen=True)
class Returns:
    """What a return annotation means."""

    cardinality: Cardinality
    row_type: Any = None


class NotReturnable(Exception):
    """No query can return this, and why."""


def returns_of(annotation: Any, *, is_async: bool) -> Returns:
    """What a return annotation means.

    The fields of a class are not looked at: they may name what is defined later.

    :param is_async: whether the function is an ``async def``.
    :raises NotReturnable: in one sentence.
    """
    found = _returns_of(annotation)
    if found.cardinality is Cardinality.STREAM and is_async:
        raise NotReturnable(
            f"{type_name(annotation)} is a stream; declare it with a plain `def`: "
            "`async for` takes what the call returns, without `await`"
        )
    if found.cardinality is not Cardinality.STREAM and not is_async:
        raise NotReturnable(
            f"it returns {type_name(annotation)} and is a plain `def`; declare it with "
            "`async def` (a plain one is for streams: -> AsyncIterator[...])"
        )
    if found.cardinality not in (Cardinality.COUNT, Cardinality.NOTHING):
        _check_row(found.row_type)
    return found


def _returns_of(annotation: Any) -> Returns:
    annotation = _unaliased(annotation)
    origin: Any = typing.get_origin(annotation)
    arguments: tuple[Any, ...] = typing.get_args(annotation)
    if annotation is None or annotation is type(None):
        return Returns(Cardinality.NOTHING)
    if annotation is RowCount:
        return Returns(Cardinality.COUNT)
    if annotation in (list, Sequence, *_STREAMS) or (origin is not None and not arguments):
        raise NotReturnable(f"{type_name(annotation)} does not say of what; write list[User]")
    if origin in (list, Sequence):
        return Returns(Cardinality.ALL, arguments[0])
    if origin in _STREAMS:
        return _stream_of(annotation, arguments)
    if is_union(annotation) and type(None) in arguments:
        return _optional(annotation, arguments)
    return Returns(Cardinality.ONE, annotation)


def _unaliased(annotation: Any) -> Any:
    while hasattr(annotation, "__value__"):  # type Users = list[User]
        annotation = annotation.__value__
    return annotation


def _stream_of(annotation: Any, arguments: tuple[Any, ...]) -> Returns:
    row_type, *sent = arguments
    if sent and sent[0] not in (None, type(None), Any):
        raise NotReturnable(
            f"{type_name(annotation)}: nothing can be sent into a stream; "
            "write AsyncGenerator[User, None]"
        )
    return Returns(Cardinality.STREAM, row_type)


def _optional(annotation: Any, arguments: tuple[Any, ...]) -> Returns:
    inner = _UNION[tuple(each for each in arguments if each is not type(None))]
    if inner is RowCount:
        raise NotReturnable("a RowCount is never None; declare -> RowCount, or -> None")
    cardinality = _returns_of(inner).cardinality
    if cardinality in (Cardinality.ALL, Cardinality.STREAM):
        raise NotReturnable(
            f"{type_name(annotation)}: no rows are an empty list or stream, never None; "
            "for one array column declare tuple[list[...] | None]"
        )
    is_row = _is_row(_wanted(inner))
    return Returns(Cardinality.OPTIONAL, inner if is_row else annotation)


def _is_row(wanted: TypeSpec) -> bool:
    """Whether it is made of several columns."""
    return wanted.kind in (Kind.NESTED, Kind.TUPLE) and not wanted.json and not wanted.decode


def _wanted(row_type: Any) -> TypeSpec:
    try:
        return spec_of(row_type)
    except AnnotationError as error:
        raise NotReturnable(f"{type_name(row_type)} as a row type: {error}") from error


def _check_row(row_type: Any) -> None:
    """Refuse what no row can be."""
    is_generic: Any = typing.get_origin(row_type) and row_type.__parameters__
    if isinstance(row_type, TypeVar) or is_generic:
        raise NotReturnable(
            f"{type_name(row_type)} holds a type variable, and the SQL is that of one type; "
            "declare the query where that type is known"
        )
    wanted = _wanted(row_type)
    if wanted.kind is Kind.NESTED and _is_row(wanted) and not wanted.optional:
        return
    try:
        row_type_of(row_type)
    except RowShapeError as error:
        raise NotReturnable(str(error)) from error
