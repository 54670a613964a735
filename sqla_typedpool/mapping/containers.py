"""Handlers of types that contain others: arrays, tuples, dicts, ranges, unions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqla_typedpool.mapping.coercions import JSON, Action
from sqla_typedpool.mapping.context import Context, Fit, Handler, accepted, refused
from sqla_typedpool.mapping.dbtypes import UNKNOWN, DbType
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, class_name
from sqla_typedpool.mapping.value_error import (
    ConversionError,
    Convert,
    converted_elements,
    converted_part,
    key_step,
)


def fit_of_parts(fits: list[Fit]) -> Fit:
    """Return the fit of a value whose parts have these fits: one refusal refuses all."""
    checked = Fit(Action.CONVERT, "each part is checked")
    return next((fit for fit in fits if fit.is_refused), checked)


# --------------------------------------------------------------------------------- arrays


def _fit_array(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    if db_type.python not in (None, list):
        return refused(db_type, f"declare it {class_name(db_type.python)}")
    innermost = spec
    while innermost.kind is Kind.ARRAY and innermost.of and not innermost.is_marked:
        (innermost,) = innermost.of  # the database type has no number of dimensions
    if innermost is spec:
        return accepted(db_type)
    fit = context.fit(innermost, db_type.element or UNKNOWN)
    return replace(fit, reason=f"elements: {fit.reason}")


def _array_converter(spec: TypeSpec, context: Context) -> Convert:
    element = context.converter(spec.of[0]) if spec.of else None

    def convert(value: Any) -> Any:
        if type(value) is not list:
            raise context.error(spec, value)
        if element is None:
            return value
        try:
            return converted_elements(value, element)
        except ConversionError as error:
            if context.family != JSON and _has_more_dimensions(spec, value):
                hint = f"declare it {_text_of_array(spec)}"
                raise ConversionError(spec.text, "an array of more dimensions", hint) from error
            raise

    return convert


def _has_more_dimensions(spec: TypeSpec, value: list[Any]) -> bool:
    """Return whether the elements of a list are lists, and are not declared so."""
    return spec.of[0].kind is not Kind.ARRAY and bool(value) and type(value[0]) is list


def _text_of_array(spec: TypeSpec) -> str:
    return f"list[{spec.text.removesuffix(' | None')}]"


# --------------------------------------------------------------------------------- tuples


def _fit_tuple(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    if context.family != JSON and db_type.python not in (None, tuple):
        return refused(db_type, "declare it list[...]")
    return fit_of_parts([context.fit(each) for each in spec.of])


def _tuple_converter(spec: TypeSpec, context: Context) -> Convert:
    source = list if context.family == JSON else tuple
    elements = [context.converter(each) for each in spec.of]

    def convert(value: Any) -> Any:
        if type(value) is not source:
            raise context.error(spec, value)
        if not elements:
            return tuple(value)
        if spec.repeats:
            return tuple(converted_elements(value, elements[0]))
        if len(value) != len(elements):
            raise ConversionError(spec.text, f"{len(value)} elements")
        positions = range(len(elements))
        return tuple([converted_part(f"[{i}]", elements[i], value[i]) for i in positions])

    return convert


# ---------------------------------------------------------------------------------- dicts


def _fit_mapping(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    # psycopg delivers hstore, whose OID is not fixed, as a dict
    may_be_hstore = context.family == "postgresql" and db_type.python is None
    if context.family == JSON or db_type.python is dict or may_be_hstore:
        return fit_of_parts([context.fit(each) for each in spec.of])
    return refused(db_type, "annotate it with Json() if it is JSON")


def _mapping_converter(spec: TypeSpec, context: Context) -> Convert:
    converter = context.converter(spec.of[0]) if spec.of else None

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise context.error(spec, value)
        return value if converter is None else _converted_values(value, converter)

    return convert


def _converted_values(values: dict[str, Any], convert: Convert) -> dict[str, Any]:
    converted: dict[str, Any] = {}
    for key, value in values.items():
        try:
            converted[key] = convert(value)
        except ConversionError as error:
            error.add_step(key_step(key))
            raise
    return converted


# --------------------------------------------------------------------------------- ranges


def _fit_range(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    if context.family == JSON:
        return Fit(
            Action.REFUSE,
            "JSON cannot hold a range",
            "convert it: Annotated[..., Decode(function)]",
        )
    if db_type.python in (None, _range_class(spec)):
        return accepted(db_type)
    assert db_type.python is not None
    return refused(db_type, f"declare it {class_name(db_type.python)}")


def _range_class(spec: TypeSpec) -> Any:
    return spec.annotation.__origin__ if spec.of else spec.annotation


def _range_converter(spec: TypeSpec, context: Context) -> Convert:
    cls = _range_class(spec)
    bound = context.converter(replace(spec.of[0], optional=True)) if spec.of else None

    def convert(value: Any) -> Any:
        if type(value) is not cls:
            raise context.error(spec, value)
        if bound is not None:
            converted_part(".lower", bound, value.lower)
            converted_part(".upper", bound, value.upper)
        return value

    return convert


# --------------------------------------------------------------------------------- unions


def _fit_union(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    fits = [context.fit(each, db_type) for each in spec.of]
    return next((fit for fit in fits if not fit.is_refused), fits[0])


def _union_converter(spec: TypeSpec, context: Context) -> Convert:
    converters = [context.converter(each) for each in spec.of]
    pairs = zip(spec.of, converters, strict=True)
    exact = {each.annotation: convert for each, convert in pairs if each.kind is Kind.EXACT}

    def convert(value: Any) -> Any:
        if type(value) in exact:
            return exact[type(value)](value)
        for each in converters:
            try:
                return each(value)
            except ConversionError:
                continue
        raise context.error(spec, value)

    return convert


ARRAY = Handler(_fit_array, _array_converter)
TUPLE = Handler(_fit_tuple, _tuple_converter)
MAPPING = Handler(_fit_mapping, _mapping_converter)
RANGE = Handler(_fit_range, _range_converter)
UNION = Handler(_fit_union, _union_converter)
