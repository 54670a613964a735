"""Annotation -> ``TypeSpec``.

Classes with fields are only named here: their fields are looked at in ``targets``,
when they are needed, so that types may contain themselves.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union

from sqla_typedpool.mapping.introspection import has_fields, is_mapped, is_range
from sqla_typedpool.mapping.markers import ByName, Col, Decode, Flatten, Json
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, is_union, type_name

Bindings = Mapping[Any, Any]
"""What the type variables of a generic class stand for."""


_UNION: Any = Union  # built at run time, which type checkers do not follow
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly", "Final")


class AnnotationError(Exception):
    """This annotation says nothing about a column, and why."""


def is_qualifier(origin: Any, *names: str) -> bool:
    """Whether this is ``Required[...]`` or the like, of typing or of typing_extensions."""
    return getattr(origin, "_name", None) in (names or _QUALIFIERS)


def spec_of(annotation: Any, bindings: Bindings | None = None) -> TypeSpec:
    """What a value has to be to be of this type.

    :param bindings: what type variables stand for.
    :raises AnnotationError: saying why no column can be of it.
    """
    return _wanted(annotation, bindings or {})


def _wanted(annotation: Any, bindings: Bindings) -> TypeSpec:
    if isinstance(annotation, TypeVar):
        return _wanted(substituted(annotation, bindings), bindings)
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _annotated(annotation, bindings)
    if is_qualifier(origin):
        return _wanted(typing.get_args(annotation)[0], bindings)
    if is_union(annotation):
        return _union(annotation, bindings)
    if origin is Literal:
        return _literal(annotation)
    if hasattr(annotation, "__supertype__"):  # NewType
        return _wanted(annotation.__supertype__, bindings)
    if hasattr(origin or annotation, "__value__"):  # type X = ..., perhaps X[int]
        return _alias(annotation, origin, bindings)
    return _of_class(annotation, origin, bindings)


def _annotated(annotation: Any, bindings: Bindings) -> TypeSpec:
    inner, *metadata = typing.get_args(annotation)
    wanted = _wanted(inner, bindings)
    for mark in metadata:
        wanted = _marked(wanted, mark)
    return wanted


def _marked(wanted: TypeSpec, mark: Any) -> TypeSpec:
    if isinstance(mark, type) and mark in (Json, Flatten, ByName, Col, Decode):
        raise AnnotationError(f"{mark.__name__} stands there as a class; write {mark.__name__}()")
    if isinstance(mark, Json):
        return replace(wanted, json=mark)
    if isinstance(mark, Decode):
        return replace(wanted, decode=mark)
    if isinstance(mark, Col):
        return replace(wanted, col=mark)
    if isinstance(mark, Flatten):
        return _flattened(wanted, mark)
    if isinstance(mark, ByName):
        return _named(wanted)
    return wanted  # somebody else's metadata


def _flattened(wanted: TypeSpec, mark: Flatten) -> TypeSpec:
    if wanted.kind is not Kind.NESTED:
        raise AnnotationError(f"Flatten() is for classes with fields, not {wanted.text}")
    return replace(wanted, flatten=mark)


def _named(wanted: TypeSpec) -> TypeSpec:
    if wanted.kind is Kind.ENUM:
        return replace(wanted, by_name=True)
    if wanted.kind in (Kind.ARRAY, Kind.TUPLE, Kind.MAPPING):
        return replace(wanted, of=tuple(map(_named, wanted.of)))
    raise AnnotationError(f"ByName() is for Enums, not {wanted.text}")


def _union(annotation: Any, bindings: Bindings) -> TypeSpec:
    wanted = [_wanted(each, bindings) for each in typing.get_args(annotation)]
    members = tuple(each for each in wanted if each.kind is not Kind.NULL)
    if len(members) == 1:
        return replace(members[0], optional=True)
    marked = [each for each in members if each.json or each.decode or each.flatten]
    if marked or any(each.kind is Kind.NESTED for each in members):
        raise AnnotationError(
            f"{type_name(annotation)} is a union of more than plain types; "
            "convert it with Annotated[..., Decode(function)]"
        )
    optional = len(members) < len(wanted) or any(each.optional for each in members)
    plain = _UNION[tuple(each.annotation for each in members)]
    return TypeSpec(Kind.UNION, plain, of=members, optional=optional)


def _literal(annotation: Any) -> TypeSpec:
    values = tuple(value for value in typing.get_args(annotation) if value is not None)
    if not values:
        return _NULL
    optional = len(values) < len(typing.get_args(annotation))
    return TypeSpec(Kind.LITERAL, Literal[values], optional=optional)


def _alias(annotation: Any, origin: Any, bindings: Bindings) -> TypeSpec:
    if origin is None:
        return _wanted(annotation.__value__, bindings)
    arguments = (substituted(each, bindings) for each in typing.get_args(annotation))
    given = dict(zip(origin.__type_params__, arguments, strict=True))
    return _wanted(origin.__value__, given)


def _of_class(annotation: Any, origin: Any, bindings: Bindings) -> TypeSpec:
    arguments = typing.get_args(annotation)
    python = origin or annotation
    if annotation is None or annotation is type(None):
        return _NULL
    if annotation is Any or annotation is object:
        return TypeSpec(Kind.ANYTHING, Any, optional=True)
    if not isinstance(python, type):
        raise AnnotationError(f"{type_name(annotation)} is not a type a column can have")
    if python in (list, tuple, dict):
        return _container(python, annotation, arguments, bindings)
    if is_mapped(python):
        raise AnnotationError(
            f"{python.__name__} is mapped by SQLAlchemy and its objects belong to a session; "
            "declare a dataclass of the columns, or use session.scalars(select(...))"
        )
    if has_fields(python) and not is_range(python):
        return TypeSpec(Kind.NESTED, substituted(annotation, bindings))
    if issubclass(python, Enum):
        return TypeSpec(Kind.ENUM, python)
    if is_range(python):
        return TypeSpec(Kind.RANGE, annotation, of=_all(arguments, bindings))
    return _exact(python, annotation, arguments)


def _exact(python: type, annotation: Any, arguments: Any) -> TypeSpec:
    if getattr(python, "__abstractmethods__", None) or getattr(python, "_is_protocol", False):
        raise AnnotationError(
            f"no value is exactly of type {type_name(annotation)}; "
            "declare what is delivered: list[...], dict[str, ...], int, ..."
        )
    if arguments:
        raise AnnotationError(
            f"nothing is known of what a {python.__name__} holds; declare list[...], "
            "or convert it: Annotated[..., Decode(function)]"
        )
    return TypeSpec(Kind.EXACT, python)


def _container(python: type, annotation: Any, arguments: Any, bindings: Bindings) -> TypeSpec:
    if python is list:
        return TypeSpec(Kind.ARRAY, substituted(annotation, bindings), of=_all(arguments, bindings))
    if python is tuple:
        repeats = len(arguments) == 2 and arguments[1] is ...
        of = _all(arguments[:1] if repeats else arguments, bindings)
        return TypeSpec(Kind.TUPLE, substituted(annotation, bindings), of=of, repeats=repeats)
    if arguments and arguments[0] is not str:
        raise AnnotationError(f"{type_name(annotation)}: the keys of JSON and hstore are str")
    return TypeSpec(
        Kind.MAPPING, substituted(annotation, bindings), of=_all(arguments[1:], bindings)
    )


def _all(arguments: Any, bindings: Bindings) -> tuple[TypeSpec, ...]:
    wanted = tuple(_wanted(each, bindings) for each in arguments)
    if any(each.flatten for each in wanted):
        raise AnnotationError("Flatten() is for the fields of a class")
    return wanted


def substituted(annotation: Any, bindings: Bindings) -> Any:
    """``Page[T]`` -> ``Page[int]``; a variable that stands for nothing is its bound."""
    if isinstance(annotation, TypeVar):
        return bindings.get(annotation, annotation.__bound__ or Any)
    parameters = getattr(annotation, "__parameters__", ())
    if not parameters or typing.get_origin(annotation) is None:
        return annotation
    return annotation[tuple(substituted(each, bindings) for each in parameters)]


_NULL = TypeSpec(Kind.NULL, None, optional=True)
