"""Row type -> ``RowType``: its fields, the type of each, and how an instance is made."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.annotations import AnnotationError, Bindings, is_qualifier, spec_of
from sqla_typedpool.mapping.construction import Construction, Strategy, construction_of
from sqla_typedpool.mapping.deferred import annotations_of, has_forward_reference
from sqla_typedpool.mapping.hints import Hints
from sqla_typedpool.mapping.introspection import Library, library_of, parameters_of
from sqla_typedpool.mapping.markers import Col
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, type_name


@dataclass(frozen=True)
class Field:
    """One field of a row type: one column, or several for a flattened class."""

    # The name in the class; "" in a tuple or a single value.
    name: str

    # The name in the result, without a ``Flatten`` prefix; in JSON the key.
    column: str

    spec: TypeSpec

    # The name of the constructor's parameter.
    parameter: str

    # Whether the constructor's parameter is optional.
    has_default: bool = False

    # Whether the result may have no such column.
    may_be_missing: bool = False


@dataclass(frozen=True)
class RowType:
    """The type that each row becomes."""

    kind: Library | Literal["tuple", "scalar"]
    # The class; of a single value its annotation.
    cls: Any

    fields: tuple[Field, ...]
    construction: Construction
    # The type as it is written in Python.
    text: str

    # Whether the one field describes every column: ``tuple[int, ...]``.
    repeats: bool = False


class _DeclaredField(NamedTuple):
    """A field as its library declares it."""

    name: str
    parameter: str
    has_default: bool = False
    is_optional_key: bool = False

    # The type of a field that has no annotation.
    unannotated: Any = Any


def row_type_of(annotation: Any) -> RowType:
    """Return the row type for an annotation.

    :raises RowShapeError: rows cannot have this type; the error names every such field.
    """
    try:
        spec = spec_of(annotation)
    except (AnnotationError, NameError) as error:  # NameError: of an alias, `type X = ...`
        raise RowShapeError(f"{type_name(annotation)} as a row type: {error}") from error
    if not spec.is_marked:
        if spec.kind is Kind.NESTED and not spec.optional:
            return class_row_type(spec.annotation)
        _check_row_type(spec)
        if spec.kind is Kind.TUPLE:
            return _tuple_row_type(spec)
    field = Field("", "", spec, "")
    return RowType("scalar", annotation, (field,), Construction(Strategy.VALUE), spec.text)


def _check_row_type(spec: TypeSpec) -> None:
    """Refuse a type of rows that may be None, and one that does not declare the columns."""
    if spec.optional and spec.kind in (Kind.NESTED, Kind.TUPLE):
        raise RowShapeError(
            f"{spec.text} as a row type: a row is never None; "
            f"next: declare {type_name(spec.annotation)}, or call fetch_optional()"
        )
    if spec.kind is Kind.TAGGED:
        raise RowShapeError(
            f"{spec.text} as a row type is a union of classes; "
            "next: declare one class, or annotate it with Json() if it is JSON"
        )
    if spec.kind is Kind.MAPPING or (spec.kind in (Kind.ARRAY, Kind.TUPLE) and not spec.of):
        raise RowShapeError(
            f"{spec.text} as a row type does not declare the columns; "
            "next: declare a TypedDict, a dataclass or tuple[...]"
        )


def _tuple_row_type(spec: TypeSpec) -> RowType:
    fields = tuple(Field("", "", each, "") for each in spec.of)
    return RowType("tuple", tuple, fields, Construction(Strategy.TUPLE), spec.text, spec.repeats)


def class_row_type(annotation: Any) -> RowType:
    """Return the row type of a class with fields, which may be generic.

    :raises RowShapeError: the error names every field that no column can fill.
    """
    cls: type = typing.get_origin(annotation) or annotation
    library = library_of(cls)
    declared = [] if library is None else list(_DECLARED_FIELDS[library](cls))
    if library is None or not declared:
        raise RowShapeError(f"{cls.__name__} has no fields")
    fields, issues = _fields(cls, annotation, declared)
    parameters = {each.name: each.parameter for each in declared}
    construction, misfits = construction_of(cls, library, parameters)
    issues += [f"{cls.__name__}: {misfit}" for misfit in misfits]
    if issues:
        raise RowShapeError(*issues)
    return RowType(library, cls, tuple(fields), construction, type_name(annotation))


def _fields(
    cls: type, annotation: Any, declared: list[_DeclaredField]
) -> tuple[list[Field], list[str]]:
    """Return the fields of a class, and a message for each that no column can fill."""
    fields, issues = [], []
    is_pydantic = library_of(cls) == "pydantic"
    resolve = partial(_pydantic_hint, cls) if is_pydantic else Hints(annotation).get
    for each in declared:
        try:
            fields.append(_field(each, *resolve(each.name, each.unannotated)))
        except AnnotationError as error:
            issues.append(f"{cls.__name__}.{each.name}: {error}")
    return fields, issues


def _field(declared: _DeclaredField, annotation: Any, bindings: Bindings) -> Field:
    spec = spec_of(annotation, bindings)
    col = spec.col or Col()
    if col.default and not declared.has_default:
        raise AnnotationError("Col(default=True), but the field has no default")
    required = _required_by_qualifier(annotation)
    optional_key = declared.is_optional_key if required is None else not required
    return Field(
        declared.name,
        declared.name if col.name is None else col.name,
        spec,
        declared.parameter,
        has_default=declared.has_default or optional_key,
        may_be_missing=col.default or optional_key,
    )


def _required_by_qualifier(annotation: Any) -> bool | None:
    """Return whether ``Required`` or ``NotRequired`` makes a key required; None without them.

    A TypedDict does not find them itself in annotations that are strings.
    """
    origin = typing.get_origin(annotation)
    if is_qualifier(origin, "Required", "NotRequired"):
        return is_qualifier(origin, "Required")
    if origin is typing.Annotated or is_qualifier(origin, "ReadOnly"):
        return _required_by_qualifier(typing.get_args(annotation)[0])
    return None


# ------------------------------------------------------------- fields by library


def _dataclass_fields(cls: Any) -> Iterator[_DeclaredField]:
    fields = dataclasses.fields(cls)
    pseudo_fields = set(cls.__dataclass_fields__) - {field.name for field in fields}
    for name in pseudo_fields & set(parameters_of(cls) or ()):
        raise RowShapeError(
            f"{cls.__name__}.{name} is an InitVar, and no column can fill it; "
            "next: make it a field, or declare another class for the rows"
        )
    for field in fields:
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        if field.init:
            yield _DeclaredField(field.name, field.name, has_default)


def _attrs_fields(cls: Any) -> Iterator[_DeclaredField]:
    for field in cls.__attrs_attrs__:
        if field.init:
            alias = getattr(field, "alias", None) or field.name.lstrip("_")
            type_ = Any if field.type is None else field.type
            yield _DeclaredField(field.name, alias, _has_default(cls, alias), unannotated=type_)


def _named_tuple_fields(cls: Any) -> Iterator[_DeclaredField]:
    """Return the fields of a NamedTuple or a Struct, whose parameters have the same names."""
    for name in getattr(cls, "__struct_fields__", None) or cls._fields:
        yield _DeclaredField(name, name, _has_default(cls, name))


def _has_default(cls: Any, parameter: str) -> bool:
    found = (parameters_of(cls) or {}).get(parameter)
    return found is not None and found.default is not found.empty


def _typed_dict_fields(cls: Any) -> Iterator[_DeclaredField]:
    for name in annotations_of(cls):
        yield _DeclaredField(name, name, is_optional_key=name in cls.__optional_keys__)


def _pydantic_fields(cls: Any) -> Iterator[_DeclaredField]:
    by_name = cls.model_config.get("populate_by_name") or cls.model_config.get("validate_by_name")
    for name, field in cls.model_fields.items():
        alias = field.validation_alias or field.alias
        parameter = alias if isinstance(alias, str) and not by_name else name
        yield _DeclaredField(name, parameter, not field.is_required())


def _pydantic_hint(cls: Any, name: str, _: object) -> tuple[Any, Bindings]:
    """Do the same as ``Hints.get``. Pydantic has resolved annotations and type variables."""
    field = cls.model_fields[name]
    if isinstance(field.annotation, str) or has_forward_reference(field.annotation):
        raise AnnotationError(
            f"pydantic has not resolved {field.annotation!r}; next: call model_rebuild()"
        )
    parts = (field.annotation, *field.metadata)
    return _ANNOTATED[parts] if field.metadata else field.annotation, {}


_ANNOTATED: Any = typing.Annotated  # indexed at run time, which type checkers cannot follow
_DECLARED_FIELDS: dict[Library, Callable[[Any], Iterator[_DeclaredField]]] = {
    "dataclass": _dataclass_fields,
    "attrs": _attrs_fields,
    "msgspec": _named_tuple_fields,
    "NamedTuple": _named_tuple_fields,
    "TypedDict": _typed_dict_fields,
    "pydantic": _pydantic_fields,
}
