"""Handler of ``Json()``: a column that holds a JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqla_typedpool.mapping.coercions import Action
from sqla_typedpool.mapping.context import Context, Fit, Handler, refused
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.rowtype import Field, class_row_type
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.mapping.value_error import ConversionError, Convert, converted_part

_JSON_AS_TEXT = ("sqlite", "mysql")  # the families whose drivers deliver JSON as text


def _fit_document(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    is_text = context.family in _JSON_AS_TEXT and db_type.python is str
    if not db_type.json and db_type.python not in (None, dict, list) and not is_text:
        return refused(db_type, "remove Json(), or CAST(... AS json)")
    fit = Fit(Action.CONVERT, "built from JSON")
    return next(_refusals(spec, context.inside_json(spec.json), ()), fit)


def _refusals(spec: TypeSpec, context: Context, enclosing: tuple[Any, ...]) -> Iterator[Fit]:
    """Return the parts of a type that JSON cannot hold.

    :param enclosing: the classes around this part, because a class may contain itself.
    """
    if spec.decode is not None or spec.annotation in enclosing:
        return
    if spec.kind is Kind.NESTED:
        for field in class_row_type(spec.annotation).fields:
            for refusal in _field_refusals(field, context, (*enclosing, spec.annotation)):
                yield replace(refusal, reason=f"{spec.text}.{field.name}: {refusal.reason}")
    elif spec.of and spec.kind is not Kind.RANGE:
        if spec.kind is Kind.TAGGED and (fit := context.fit(spec)).is_refused:
            yield fit
        for part in spec.of:
            yield from _refusals(part, context, enclosing)
    elif (fit := context.fit(spec)).is_refused:
        yield fit


def _field_refusals(field: Field, context: Context, enclosing: tuple[Any, ...]) -> Iterator[Fit]:
    if field.spec.flatten is not None:
        yield Fit(Action.REFUSE, "Flatten() has no meaning inside JSON", "remove it")
    yield from _refusals(field.spec, context, enclosing)


def _document_converter(spec: TypeSpec, context: Context) -> Convert:
    is_text = context.family in _JSON_AS_TEXT and not context.is_json_decoded
    has_decimals = is_text and _has_decimals(spec, ())
    inside = context.inside_json(spec.json, floats_are_decimals=has_decimals)
    build, parse_float = inside.converter(spec), Decimal if has_decimals else None

    def convert(value: Any) -> Any:
        if value is None:
            raise context.error(spec, value)
        if is_text and type(value) is str:
            value = _decoded(value, parse_float)
        return converted_part("$", build, value)

    return convert


def _has_decimals(spec: TypeSpec, enclosing: tuple[Any, ...]) -> bool:
    """Return whether a type contains Decimals, for which no number may become a float.

    :param enclosing: the classes around this part, because a class may contain itself.
    """
    if spec.decode is not None or spec.annotation in enclosing:
        return False
    if spec.kind is Kind.NESTED:
        fields = class_row_type(spec.annotation).fields
        return any(_has_decimals(each.spec, (*enclosing, spec.annotation)) for each in fields)
    return spec.annotation is Decimal or any(_has_decimals(each, enclosing) for each in spec.of)


def _decoded(text: str, parse_float: type[Decimal] | None) -> Any:
    try:
        return json.loads(text, parse_float=parse_float)
    except ValueError as error:
        raise ConversionError("JSON", "text that is not JSON") from error


DOCUMENT = Handler(_fit_document, _document_converter)
