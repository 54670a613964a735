"""Value -> what is wanted, or ``ConversionError``: the slow half of a mapper.

Generated code looks at types inline and comes here with whatever is not plainly
right: stored forms, Enums, lists, JSON, and values that are wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqla_typedpool.mapping.coercions import conversions_to, is_exactly
from sqla_typedpool.mapping.enums import enum_converter, literal_converter
from sqla_typedpool.mapping.judgement import JSON_AS_TEXT
from sqla_typedpool.mapping.markers import Json
from sqla_typedpool.mapping.nested import Nested
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.mapping.value_error import (
    ConversionError,
    Convert,
    conversion_error,
    converted_each,
    converted_part,
    key_step,
    type_of,
)


def converter_of(wanted: TypeSpec, family: str, *, is_decoded: bool = False) -> Convert:
    """What makes a column's value into what is wanted, or raises ``ConversionError``.

    :param is_decoded: whether JSON arrives decoded even where the family keeps text.
    """
    return _Converters(family, is_text=family in JSON_AS_TEXT and not is_decoded).of(wanted)


class _Converters:
    """Converters for the values of one family, JSON being one."""

    def __init__(self, family: str, options: Json | None = None, *, is_text: bool = False) -> None:
        self._family = family
        self._options = options or Json()
        self._is_text = is_text
        self._nested: dict[Any, Nested] = {}

    def of(self, wanted: TypeSpec) -> Convert:
        """The converter for one place in the type."""
        convert = self._marked(wanted)
        if not wanted.optional:
            return convert
        return lambda value: None if value is None else convert(value)

    def _marked(self, wanted: TypeSpec) -> Convert:
        if wanted.decode is not None:
            return self._decoded(wanted, wanted.decode.function)
        if wanted.json is not None and self._family != "json":
            return self._document(wanted, wanted.json)
        return _MAKERS[wanted.kind](self, wanted)

    def _fail(self, wanted: TypeSpec, value: object) -> ConversionError:
        return conversion_error(wanted, value, self._family)

    # ------------------------------------------------------------- by marker

    def _decoded(self, wanted: TypeSpec, function: Convert) -> Convert:
        def convert(value: Any) -> Any:
            if value is None:
                raise self._fail(wanted, value)
            try:
                return function(value)
            except Exception as error:  # somebody's function: it may raise anything
                found = f"{type_of(value)} that it refuses ({type(error).__name__})"
                raise ConversionError(f"what {wanted.decode} takes", found) from error

        return convert

    def _document(self, wanted: TypeSpec, options: Json) -> Convert:
        build = _Converters("json", options).of(replace(wanted, json=None))

        def convert(value: Any) -> Any:
            if value is None:
                raise self._fail(wanted, value)
            if self._is_text and type(value) is str:
                value = _parsed(value)
            return converted_part("$", build, value)

        return convert

    # --------------------------------------------------------------- by kind

    def to_anything(self, wanted: TypeSpec) -> Convert:
        def convert(value: Any) -> Any:
            if value is None and not wanted.optional:
                raise self._fail(wanted, value)
            return value

        return convert

    def to_null(self, wanted: TypeSpec) -> Convert:
        def convert(value: Any) -> Any:
            raise self._fail(wanted, value)  # NULL has not come this far

        return convert

    def to_exact(self, wanted: TypeSpec) -> Convert:
        cls = wanted.annotation
        rules = conversions_to(cls, self._family)

        def convert(value: Any) -> Any:
            if is_exactly(value, cls):
                return value
            rule = rules.get(type(value))
            if rule is None or rule.convert is None:
                raise self._fail(wanted, value)
            converted = rule.convert(value)
            if converted is None:
                raise ConversionError(wanted.text, f"{type_of(value)} that is not {rule.words}")
            return converted

        return convert

    def to_enum(self, wanted: TypeSpec) -> Convert:
        return enum_converter(wanted, self._family)

    def to_literal(self, wanted: TypeSpec) -> Convert:
        return literal_converter(wanted, self._family)

    def to_union(self, wanted: TypeSpec) -> Convert:
        plain = {each.annotation for each in wanted.of if each.kind is Kind.EXACT}
        converters = [self.of(each) for each in wanted.of]

        def convert(value: Any) -> Any:
            if type(value) in plain:
                return value
            for each in converters:
                try:
                    return each(value)
                except ConversionError:
                    continue
            raise self._fail(wanted, value)

        return convert

    def to_array(self, wanted: TypeSpec) -> Convert:
        element = self.of(wanted.of[0]) if wanted.of else None

        def convert(value: Any) -> Any:
            if type(value) is not list:
                raise self._fail(wanted, value)
            return value if element is None else converted_each(value, element)

        return convert

    def to_tuple(self, wanted: TypeSpec) -> Convert:
        container = list if self._family == "json" else tuple
        elements = [self.of(each) for each in wanted.of]

        def convert(value: Any) -> Any:
            if type(value) is not container:
                raise self._fail(wanted, value)
            if not elements:
                return tuple(value)
            if wanted.repeats:
                return tuple(converted_each(value, elements[0]))
            if len(value) != len(elements):
                raise ConversionError(wanted.text, f"{len(value)} elements")
            places = range(len(elements))
            return tuple([converted_part(f"[{i}]", elements[i], value[i]) for i in places])

        return convert

    def to_mapping(self, wanted: TypeSpec) -> Convert:
        converter = self.of(wanted.of[0]) if wanted.of else None

        def convert(value: Any) -> Any:
            if type(value) is not dict:
                raise self._fail(wanted, value)
            if converter is None:
                return value
            return _converted_values(value, converter)

        return convert

    def to_range(self, wanted: TypeSpec) -> Convert:
        cls = wanted.annotation.__origin__ if wanted.of else wanted.annotation
        bound = self.of(replace(wanted.of[0], optional=True)) if wanted.of else None

        def convert(value: Any) -> Any:
            if type(value) is not cls:
                raise self._fail(wanted, value)
            if bound is not None:
                converted_part(".lower", bound, value.lower)
                converted_part(".upper", bound, value.upper)
            return value

        return convert

    def to_nested(self, wanted: TypeSpec) -> Convert:
        known = self._nested.get(wanted.annotation)
        if known is None:
            plain = replace(wanted, optional=False)
            known = Nested(plain, self._family, self.of, self._options)
            self._nested[wanted.annotation] = known
        return known


def _converted_values(values: dict[str, Any], convert: Convert) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in values.items():
        try:
            made[key] = convert(value)
        except ConversionError as mismatch:
            mismatch.step_out(key_step(key))
            raise
    return made


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConversionError("JSON", "text that is not JSON") from error


_MAKERS: dict[Kind, Callable[[_Converters, TypeSpec], Convert]] = {
    Kind.ANYTHING: _Converters.to_anything,
    Kind.NULL: _Converters.to_null,
    Kind.EXACT: _Converters.to_exact,
    Kind.ENUM: _Converters.to_enum,
    Kind.LITERAL: _Converters.to_literal,
    Kind.UNION: _Converters.to_union,
    Kind.ARRAY: _Converters.to_array,
    Kind.TUPLE: _Converters.to_tuple,
    Kind.MAPPING: _Converters.to_mapping,
    Kind.RANGE: _Converters.to_range,
    Kind.NESTED: _Converters.to_nested,
}
