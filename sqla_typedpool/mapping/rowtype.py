"""Row type -> ``RowType``: its fields, what each has to be, how one is made."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.annotations import (
    AnnotationError,
    Bindings,
    is_qualifier,
    spec_of,
)
from sqla_typedpool.mapping.construction import (
    Construction,
    Strategy,
    construction_of,
    parameters_of,
)
from sqla_typedpool.mapping.hints import Hints
from sqla_typedpool.mapping.introspection import Library, library_of
from sqla_typedpool.mapping.markers import Col
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, type_name


@dataclass(frozen=True)
class Field:
    """One part of a target: one column, or several of a flattened class."""

    name: str
    """How the class calls it."""

    column: str
    """How the result calls it (or JSON: the key), without a ``Flatten`` prefix."""

    wanted: TypeSpec

    parameter: str
    """How the constructor calls it."""

    has_default: bool = False
    """Whether the constructor does without it."""

    may_miss: bool = False
    """Whether a result may do without it."""


@dataclass(frozen=True)
class RowType:
    """What each row becomes."""

    kind: Library | Literal["tuple", "scalar"]
    cls: Any
    """The class; of a scalar its annotation."""

    fields: tuple[Field, ...]
    construction: Construction
    text: str
    """The type as people write it."""

    repeats: bool = False
    """``tuple[int, ...]``: the one field is that of every column."""


class _Declared(NamedTuple):
    """A field as its library declares it."""

    name: str
    parameter: str
    has_default: bool = False
    is_optional_key: bool = False

    unannotated: Any = Any
    """The type, where it is not an annotation."""


def row_type_of(row_type: Any) -> RowType:
    """What rows of this type are made of.

    :raises RowShapeError: naming every field that cannot be one.
    """
    try:
        wanted = spec_of(row_type)
    except AnnotationError as error:
        raise RowShapeError(f"{type_name(row_type)} as a row type: {error}") from error
    marked = wanted.json or wanted.decode
    if wanted.kind is Kind.NESTED and not marked and not wanted.optional:
        return class_row_type(wanted.annotation)
    if wanted.kind is Kind.TUPLE and not marked and not wanted.optional:
        return _tuple_target(wanted)
    _refuse_vague(wanted)
    return RowType(
        "scalar", row_type, (Field("", "", wanted, ""),), Construction(Strategy.VALUE), wanted.text
    )


def _refuse_vague(wanted: TypeSpec) -> None:
    """One-column targets that are surely meant as rows."""
    if wanted.json or wanted.decode:
        return
    name = wanted.text
    if wanted.kind is Kind.NESTED:
        raise RowShapeError(
            f"{name} as a row type: a row is never None; declare {type_name(wanted.annotation)}, "
            "or call fetch_optional()"
        )
    if wanted.kind is Kind.TUPLE:
        raise RowShapeError(f"{name} as a row type: a row is never None; declare the tuple")
    if wanted.kind is Kind.MAPPING or (wanted.kind is Kind.ARRAY and not wanted.of):
        raise RowShapeError(
            f"{name} as a row type says nothing about the columns; "
            "declare a TypedDict, a dataclass or tuple[...]"
        )


def _tuple_target(wanted: TypeSpec) -> RowType:
    if not wanted.of:
        raise RowShapeError("tuple as a row type says nothing about the columns; write tuple[...]")
    fields = tuple(Field("", "", each, "") for each in wanted.of)
    text = type_name(wanted.annotation)
    return RowType("tuple", tuple, fields, Construction(Strategy.TUPLE), text, wanted.repeats)


def class_row_type(annotation: Any) -> RowType:
    """The target of a class with fields, perhaps generic.

    :raises RowShapeError: naming every field that cannot be one.
    """
    cls: type = typing.get_origin(annotation) or annotation
    library = library_of(cls)
    if library is None:
        raise RowShapeError(f"{cls.__name__} has no fields")
    declared = list(_DECLARED[library](cls))
    fields, faults = _fields(cls, annotation, declared)
    construction, misfits = construction_of(
        cls, library, tuple((field.name, field.parameter) for field in fields)
    )
    faults += [f"{cls.__name__}: {misfit}" for misfit in misfits]
    if not declared:
        faults.append(f"{cls.__name__} has no fields")
    if faults:
        raise RowShapeError(*faults)
    return RowType(library, cls, tuple(fields), construction, type_name(annotation))


def _fields(cls: type, annotation: Any, declared: list[_Declared]) -> tuple[list[Field], list[str]]:
    fields, faults = [], []
    resolve = _pydantic_hint(cls) if library_of(cls) == "pydantic" else Hints(annotation).get
    for each in declared:
        try:
            fields.append(_field(each, *resolve(each.name, each.unannotated)))
        except AnnotationError as error:
            faults.append(f"{cls.__name__}.{each.name}: {error}")
    return fields, faults


def _field(declared: _Declared, annotation: Any, bindings: Bindings) -> Field:
    wanted = spec_of(annotation, bindings)
    col = wanted.col or Col()
    if col.default and not declared.has_default:
        raise AnnotationError("Col(default=True), but the field has no default")
    required = _said_to_be_required(annotation)
    optional_key = declared.is_optional_key if required is None else not required
    return Field(
        declared.name,
        declared.name if col.name is None else col.name,
        wanted,
        declared.parameter,
        has_default=declared.has_default or optional_key,
        may_miss=col.default or optional_key,
    )


def _said_to_be_required(annotation: Any) -> bool | None:
    """What ``Required`` and ``NotRequired`` say; a TypedDict overhears them in strings."""
    origin = typing.get_origin(annotation)
    if is_qualifier(origin, "Required", "NotRequired"):
        return is_qualifier(origin, "Required")
    if origin is typing.Annotated or is_qualifier(origin, "ReadOnly"):
        return _said_to_be_required(typing.get_args(annotation)[0])
    return None


# ------------------------------------------------------------- fields by library


def _of_dataclass(cls: Any) -> Iterator[_Declared]:
    known = {field.name for field in dataclasses.fields(cls)}
    only_parameters = set(cls.__dataclass_fields__) - known
    for name in only_parameters & set(parameters_of(cls) or ()):
        raise RowShapeError(
            f"{cls.__name__}.{name} is an InitVar, of which a row has no field; "
            "make it a field, or give rows a class of their own"
        )
    for field in dataclasses.fields(cls):
        missing = dataclasses.MISSING
        has_default = field.default is not missing or field.default_factory is not missing
        if field.init:
            yield _Declared(field.name, field.name, has_default)


def _of_attrs(cls: Any) -> Iterator[_Declared]:
    for field in cls.__attrs_attrs__:
        if field.init:
            alias = getattr(field, "alias", None) or field.name.lstrip("_")
            known = Any if field.type is None else field.type
            yield _Declared(field.name, alias, _has_default(cls, alias), unannotated=known)


def _of_parameters(cls: Any) -> Iterator[_Declared]:
    """NamedTuples and Structs, which name parameters as they name fields."""
    for name in getattr(cls, "__struct_fields__", None) or cls._fields:
        yield _Declared(name, name, _has_default(cls, name))


def _has_default(cls: Any, parameter: str) -> bool:
    known = (parameters_of(cls) or {}).get(parameter)
    return known is not None and known.default is not known.empty


def _of_typed_dict(cls: Any) -> Iterator[_Declared]:
    for name in cls.__annotations__:
        yield _Declared(name, name, is_optional_key=name in cls.__optional_keys__)


def _of_pydantic(cls: Any) -> Iterator[_Declared]:
    by_name = cls.model_config.get("populate_by_name") or cls.model_config.get("validate_by_name")
    for name, field in cls.model_fields.items():
        alias = field.validation_alias or field.alias
        parameter = alias if isinstance(alias, str) and not by_name else name
        yield _Declared(name, parameter, not field.is_required())


def _pydantic_hint(cls: Any) -> Callable[[str, Any], tuple[Any, Bindings]]:
    """Pydantic resolves annotations itself, type variables included."""

    def get(name: str, _: Any) -> tuple[Any, Bindings]:
        field = cls.model_fields[name]
        if isinstance(field.annotation, (str, typing.ForwardRef)):
            raise AnnotationError(f"{field.annotation!r} is not resolved; call model_rebuild()")
        parts = (field.annotation, *field.metadata)
        return _ANNOTATED[parts] if field.metadata else field.annotation, {}

    return get


_ANNOTATED: Any = typing.Annotated
_DECLARED: dict[Library, Callable[[Any], Iterator[_Declared]]] = {
    "dataclass": _of_dataclass,
    "attrs": _of_attrs,
    "msgspec": _of_parameters,
    "NamedTuple": _of_parameters,
    "TypedDict": _of_typed_dict,
    "pydantic": _of_pydantic,
}
