"""Handler of classes with fields, whose values are composite values or parts of JSON."""

from __future__ import annotations

import typing
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqla_typedpool.mapping.coercions import JSON, Action
from sqla_typedpool.mapping.containers import fit_of_parts
from sqla_typedpool.mapping.context import Context, Fit, Handler, refused
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.rowtype import Field, class_row_type
from sqla_typedpool.mapping.typespec import TypeSpec
from sqla_typedpool.mapping.value_error import (
    ConversionError,
    Convert,
    converted_part,
    key_step,
    refused_by_constructor,
)


def _fit_nested(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    if db_type.fields:
        return _fit_composite(spec, db_type, context)
    if context.family == "postgresql" and db_type.python is None:
        class_row_type(spec.annotation)  # raises its errors now, not at the first value
        return Fit(Action.CONVERT, "from a composite value")
    hint = "annotate it with Json() if it is JSON, or Flatten() if its fields are columns"
    return refused(db_type, hint)


def _fit_composite(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    parts = dict(db_type.fields)
    fields = {field.column: field for field in class_row_type(spec.annotation).fields}
    if unmatched := sorted(fields.keys() ^ parts.keys()):
        reason = f"only one of the two types has {', '.join(unmatched)}"
        return Fit(Action.REFUSE, reason, "declare the fields of the composite type")
    return fit_of_parts([context.fit(fields[name].spec, part) for name, part in parts.items()])


def _nested_converter(spec: TypeSpec, context: Context) -> Convert:
    for annotation, known in context.object_converters:
        if annotation == spec.annotation:
            return known
    convert = _ObjectConverter(replace(spec, optional=False), context)
    context.object_converters.append((spec.annotation, convert))
    return convert


class _ObjectConverter:
    """Makes objects of one class with its constructor."""

    def __init__(self, spec: TypeSpec, context: Context) -> None:
        self._spec = spec
        self._context = context
        self._cls = typing.get_origin(spec.annotation) or spec.annotation

    @cached_property
    def _parts(self) -> list[tuple[Field, str, Convert]]:
        # made for the first value: a class may contain itself
        fields, converter = class_row_type(self._spec.annotation).fields, self._context.converter
        return [(each, key_step(each.column), converter(each.spec)) for each in fields]

    def __call__(self, value: Any) -> Any:
        values, options = self._by_key(value), self._context.json_options
        arguments: dict[str, Any] = {}
        for field, step, convert in self._parts:
            if field.column in values:
                part = values.pop(field.column)
                arguments[field.parameter] = converted_part(step, convert, part)
            elif not (field.may_be_missing or (options.defaults and field.has_default)):
                raise ConversionError(field.spec.text, "no such key", path=step)
        if values and not options.extra:
            raise self._unknown_key(next(iter(values)))
        try:
            return self._cls(**arguments)
        except Exception as error:  # the constructor of the application may raise anything
            raise refused_by_constructor(self._spec.text, error) from error

    def _by_key(self, value: Any) -> dict[str, Any]:
        """Return the values of the fields in a new dict."""
        if self._context.family == JSON:
            if type(value) is dict:
                return dict(value)
        elif type(value) is not dict and hasattr(value, "keys"):
            return {key: value[key] for key in value.keys()}  # noqa: SIM118 - not a mapping
        elif isinstance(value, tuple) and (as_dict := getattr(value, "_asdict", None)):
            return dict(as_dict())  # psycopg's class for a registered type
        raise self._context.error(self._spec, value)

    def _unknown_key(self, key: str) -> ConversionError:
        hint = "declare a field for it"
        if self._context.family == JSON:
            hint += ", or annotate the column with Json(extra=True)"
        return ConversionError("no such key", "a value", hint, path=key_step(key))


NESTED = Handler(_fit_nested, _nested_converter)
