"""Read a return annotation: how many rows a query returns, and their type."""

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
"""The return type of a declared query that returns the number of rows it has changed, an int.

Example::

    @query("DELETE FROM sessions WHERE expires < now()")
    async def forget_expired(db: Executor) -> RowCount:
        raise NotImplementedError
"""

_UNION: Any = Union  # as Any: type checkers reject unions that are built at run time
_STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator)


class Cardinality(Enum):
    """How many rows a query returns, and in which form."""

    ONE = "one"
    """``-> User``: exactly one row."""
    OPTIONAL = "optional"
    """``-> User | None``: one row or none."""
    ALL = "all"
    """``-> list[User]``: all rows."""
    STREAM = "stream"
    """``-> AsyncIterator[User]``: the rows one by one."""
    COUNT = "count"
    """``-> RowCount``: the number of rows."""
    NOTHING = "nothing"
    """``-> None``: no rows."""


@dataclass(frozen=True)
class Returns:
    """What a query returns."""

    cardinality: Cardinality
    # The type of each row; None if no rows are returned.
    row_type: Any = None


class NotReturnable(Exception):
    """No query can return this type. The message states why, and the next step."""


def returns_of(annotation: Any, *, is_async: bool) -> Returns:
    """Return what a return annotation declares.

    The fields of a class are not examined: they may use names that are defined later.

    :param is_async: whether the function is an ``async def``.
    :raises NotReturnable: no query can return this type.
    """
    returns = _returns_of(annotation)
    name = type_name(annotation)
    if returns.cardinality is Cardinality.STREAM and is_async:
        raise NotReturnable(
            f"the function returns the stream {name} but is an `async def`; next: declare it "
            "with a plain `def`"
        )
    if returns.cardinality is not Cardinality.STREAM and not is_async:
        raise NotReturnable(
            f"the function returns {name} but is a plain `def`, which is for streams; next: "
            "declare it with `async def`, or -> AsyncIterator[...]"
        )
    if returns.cardinality not in (Cardinality.COUNT, Cardinality.NOTHING):
        _check_row_type(returns.row_type)
    return returns


def _returns_of(annotation: Any) -> Returns:
    annotation = _without_alias(annotation)
    origin: Any = typing.get_origin(annotation)
    arguments: tuple[Any, ...] = typing.get_args(annotation)
    if annotation is None or annotation is type(None):
        return Returns(Cardinality.NOTHING)
    if annotation is RowCount:
        return Returns(Cardinality.COUNT)
    if annotation in (list, Sequence, *_STREAMS) or (origin is not None and not arguments):
        raise NotReturnable(
            f"{type_name(annotation)} has no row type; next: add one, such as list[User]"
        )
    if origin in (list, Sequence):
        return Returns(Cardinality.ALL, arguments[0])
    if origin in _STREAMS:
        return _stream_of(annotation, arguments)
    if is_union(annotation) and type(None) in arguments:
        return _optional(annotation, arguments)
    return Returns(Cardinality.ONE, annotation)


def _without_alias(annotation: Any) -> Any:
    while hasattr(annotation, "__value__"):  # type Users = list[User]
        annotation = annotation.__value__
    return annotation


def _stream_of(annotation: Any, arguments: tuple[Any, ...]) -> Returns:
    row_type, *send_type = arguments
    if send_type and send_type[0] not in (None, type(None), Any):
        raise NotReturnable(
            f"{type_name(annotation)} accepts values, but nothing can be sent into a stream; "
            "next: write AsyncGenerator[User, None]"
        )
    return Returns(Cardinality.STREAM, row_type)


def _optional(annotation: Any, arguments: tuple[Any, ...]) -> Returns:
    inner = _UNION[tuple(each for each in arguments if each is not type(None))]
    if inner is RowCount:
        raise NotReturnable("a RowCount is never None; next: declare -> RowCount, or -> None")
    cardinality = _returns_of(inner).cardinality
    if cardinality in (Cardinality.ALL, Cardinality.STREAM):
        raise NotReturnable(
            f"{type_name(annotation)} includes None, but no rows are an empty list or stream; "
            "next: remove None, or for one array column declare tuple[list[...] | None]"
        )
    is_row = _has_several_columns(_spec_of(inner))
    return Returns(Cardinality.OPTIONAL, inner if is_row else annotation)


def _has_several_columns(spec: TypeSpec) -> bool:
    """Return whether a value is made from several columns, not from one."""
    return spec.kind in (Kind.NESTED, Kind.TUPLE) and not spec.json and not spec.decode


def _spec_of(row_type: Any) -> TypeSpec:
    try:
        return spec_of(row_type)
    except AnnotationError as error:
        raise NotReturnable(f"{type_name(row_type)} as a row type: {error}") from error


def _check_row_type(row_type: Any) -> None:
    """Raise NotReturnable if no row can have this type."""
    is_generic: Any = typing.get_origin(row_type) and row_type.__parameters__
    if isinstance(row_type, TypeVar) or is_generic:
        raise NotReturnable(
            f"{type_name(row_type)} contains a type variable, but a query has one row type; next: "
            "declare the query where the type is known"
        )
    spec = _spec_of(row_type)
    if spec.kind is Kind.NESTED and _has_several_columns(spec) and not spec.optional:
        return
    try:
        row_type_of(row_type)
    except RowShapeError as error:
        raise NotReturnable(str(error)) from error
