"""Annotation -> ``TypeSpec``.

The fields of a class are determined in ``rowtype`` when they are needed, because a class may
contain itself.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union

from sqla_typedpool.mapping.introspection import is_mapped, is_range, library_of
from sqla_typedpool.mapping.markers import ByName, Col, Decode, Flatten, Json
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, is_union, type_name

# Type variable of a generic class -> the type it is bound to.
Bindings = Mapping[Any, Any]

_UNION: Any = Union  # indexed at run time, which type checkers cannot follow
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly", "Final")
_ATTRIBUTES: Mapping[Any, Any] = {Json: "json", Decode: "decode", Col: "col", Flatten: "flatten"}
_NO_BINDINGS: Bindings = {}
_NULL = TypeSpec(Kind.NULL, None, optional=True)


class AnnotationError(Exception):
    """An annotation that no column can have as its type; the message gives the reason."""


def is_qualifier(origin: object, *names: str) -> bool:
    """Return whether this is a qualifier such as ``Required`` of typing or typing_extensions.

    :param names: the qualifiers to accept; none = all.
    """
    return getattr(origin, "_name", None) in (names or _QUALIFIERS)


def spec_of(annotation: Any, bindings: Bindings = _NO_BINDINGS) -> TypeSpec:
    """Return the type that a value must have for an annotation.

    :param bindings: the types that type variables are bound to.
    :raises AnnotationError: no column can have this type.
    """
    if isinstance(annotation, TypeVar):
        return spec_of(substituted(annotation, bindings), bindings)
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _annotated(annotation, bindings)
    if is_qualifier(origin):
        return spec_of(typing.get_args(annotation)[0], bindings)
    if is_union(annotation):
        return _union(annotation, bindings)
    if origin is Literal:
        return _literal(annotation)
    if hasattr(annotation, "__supertype__"):  # NewType
        return spec_of(annotation.__supertype__, bindings)
    if hasattr(origin or annotation, "__value__"):  # type X = ..., also X[int]
        return _alias(annotation, origin, bindings)
    return _class(annotation, origin, bindings)


# ------------------------------------------------------------------------ markers


def _annotated(annotation: Any, bindings: Bindings) -> TypeSpec:
    inner, *metadata = typing.get_args(annotation)
    spec = spec_of(inner, bindings)
    for marker in metadata:
        spec = _marked(spec, marker)
    return spec


def _marked(spec: TypeSpec, marker: Any) -> TypeSpec:
    if isinstance(marker, type) and marker in (*_ATTRIBUTES, ByName):
        name = marker.__name__
        raise AnnotationError(f"{name} is a class, not a marker; next: write {name}()")
    if isinstance(marker, ByName):
        return _by_name(spec)
    if isinstance(marker, Flatten) and spec.kind is not Kind.NESTED:
        raise AnnotationError(f"Flatten() is for classes with fields, not {spec.text}")
    if type(marker) in _ATTRIBUTES:
        _check_names(marker)
    attribute = _ATTRIBUTES.get(type(marker))  # None: metadata of another library
    return replace(spec, **{attribute: marker}) if attribute else spec


def _check_names(marker: Any) -> None:
    """Refuse a marker with an unknown name, of which Python 3.14 makes a ``ForwardRef``."""
    for value in vars(marker).values():
        if isinstance(value, typing.ForwardRef):
            raise AnnotationError(
                f"{value.__forward_arg__!r} in {type(marker).__name__}() is not defined; next: "
                "define or import it at the top level of the module, outside `if TYPE_CHECKING:`"
            )


def _by_name(spec: TypeSpec) -> TypeSpec:
    if spec.kind is Kind.ENUM:
        return replace(spec, by_name=True)
    if spec.kind in (Kind.ARRAY, Kind.TUPLE, Kind.MAPPING):
        return replace(spec, of=tuple(map(_by_name, spec.of)))
    raise AnnotationError(f"ByName() is for Enums, not {spec.text}")


# ------------------------------------------------------- unions, literals, aliases


def _union(annotation: Any, bindings: Bindings) -> TypeSpec:
    specs = [spec_of(each, bindings) for each in typing.get_args(annotation)]
    members = tuple(each for each in specs if each.kind is not Kind.NULL)
    if len(members) == 1:
        return replace(members[0], optional=True)
    is_nested = [each.kind is Kind.NESTED for each in members]
    is_tagged = bool(members) and all(is_nested)
    if any(each.is_marked for each in members) or (any(is_nested) and not is_tagged):
        raise AnnotationError(
            f"{type_name(annotation)} is a union of more than plain types; "
            "next: convert it with Annotated[..., Decode(function)]"
        )
    plain = _UNION[tuple(each.annotation for each in members)]
    kind = Kind.TAGGED if is_tagged else Kind.UNION
    return TypeSpec(kind, plain, of=members, optional=any(each.optional for each in specs))


def _literal(annotation: Any) -> TypeSpec:
    values = tuple(value for value in typing.get_args(annotation) if value is not None)
    if not values:
        return _NULL
    return TypeSpec(Kind.LITERAL, Literal[values], optional=None in typing.get_args(annotation))


def _alias(annotation: Any, origin: Any, bindings: Bindings) -> TypeSpec:
    if origin is None:
        return spec_of(annotation.__value__, bindings)
    arguments = (substituted(each, bindings) for each in typing.get_args(annotation))
    return spec_of(origin.__value__, dict(zip(origin.__type_params__, arguments, strict=True)))


# ------------------------------------------------------------------------ classes


def _class(annotation: Any, origin: Any, bindings: Bindings) -> TypeSpec:
    arguments = typing.get_args(annotation)
    cls = origin or annotation
    if annotation is None or annotation is type(None):
        return _NULL
    if annotation is Any or annotation is object:
        return TypeSpec(Kind.ANYTHING, Any, optional=True)
    if not isinstance(cls, type):
        raise AnnotationError(f"{type_name(annotation)} is not a type a column can have")
    if cls in (list, tuple, dict):
        return _container(cls, annotation, arguments, bindings)
    if is_mapped(cls):
        raise AnnotationError(
            f"{cls.__name__} is mapped by SQLAlchemy, and its objects belong to a session; "
            "next: declare a dataclass of the columns, or use session.scalars(select(...))"
        )
    if is_range(cls):
        return TypeSpec(Kind.RANGE, annotation, of=_elements(arguments, bindings))
    if library_of(cls) is not None:
        return TypeSpec(Kind.NESTED, substituted(annotation, bindings))
    if issubclass(cls, Enum):
        return TypeSpec(Kind.ENUM, cls)
    return _exact(cls, annotation, arguments)


def _exact(cls: type, annotation: Any, arguments: tuple[Any, ...]) -> TypeSpec:
    if getattr(cls, "__abstractmethods__", None) or getattr(cls, "_is_protocol", False):
        raise AnnotationError(
            f"no value is exactly of type {type_name(annotation)}; "
            "next: declare the type that the driver delivers: list[...], dict[str, ...], int, ..."
        )
    if arguments:
        raise AnnotationError(
            f"the elements of a {cls.__name__} cannot be checked; "
            "next: declare list[...], or convert it with Annotated[..., Decode(function)]"
        )
    return TypeSpec(Kind.EXACT, cls)


def _container(cls: type, annotation: Any, arguments: Any, bindings: Bindings) -> TypeSpec:
    whole = substituted(annotation, bindings)
    if cls is list:
        return TypeSpec(Kind.ARRAY, whole, of=_elements(arguments, bindings))
    if cls is tuple:
        repeats = len(arguments) == 2 and arguments[1] is ...
        of = _elements(arguments[:1] if repeats else arguments, bindings)
        return TypeSpec(Kind.TUPLE, whole, of=of, repeats=repeats)
    if arguments and arguments[0] is not str:
        raise AnnotationError(f"{type_name(annotation)}: the keys of JSON and hstore are str")
    return TypeSpec(Kind.MAPPING, whole, of=_elements(arguments[1:], bindings))


def _elements(arguments: tuple[Any, ...], bindings: Bindings) -> tuple[TypeSpec, ...]:
    specs = tuple(spec_of(each, bindings) for each in arguments)
    if any(each.flatten for each in specs):
        raise AnnotationError("Flatten() is for the fields of a class")
    return specs


def substituted(annotation: Any, bindings: Bindings) -> Any:
    """Replace type variables: ``Page[T]`` -> ``Page[int]``.

    A variable that is not bound is replaced by its bound, or else by ``Any``.
    """
    if isinstance(annotation, TypeVar):
        return bindings.get(annotation, annotation.__bound__ or Any)
    parameters = getattr(annotation, "__parameters__", ())
    if not parameters or typing.get_origin(annotation) is None:
        return annotation
    return annotation[tuple(substituted(each, bindings) for each in parameters)]
