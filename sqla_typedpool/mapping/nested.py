"""An object with fields inside one value: of a JSON document, or of a composite type."""

from __future__ import annotations

import typing
from collections.abc import Callable
from functools import cached_property
from typing import Any

from sqla_typedpool.mapping.markers import Json
from sqla_typedpool.mapping.rowtype import Field, class_row_type
from sqla_typedpool.mapping.typespec import TypeSpec
from sqla_typedpool.mapping.value_error import (
    ConversionError,
    Convert,
    conversion_error,
    converted_part,
    key_step,
)


class Nested:
    """Makes objects of one class, through its constructor.

    :param converter: how the value of a field is converted.
    :param options: of a JSON document; None = of a composite type.
    """

    def __init__(
        self, wanted: TypeSpec, family: str, converter: Callable[[TypeSpec], Convert], options: Json
    ) -> None:
        self._wanted = wanted
        self._family = family
        self._converter = converter
        self._options = options
        self._cls = typing.get_origin(wanted.annotation) or wanted.annotation

    @cached_property
    def _parts(self) -> list[tuple[Field, str, Convert]]:
        # looked at with the first value: a class may contain itself
        fields = class_row_type(self._wanted.annotation).fields
        return [(each, key_step(each.column), self._converter(each.wanted)) for each in fields]

    def __call__(self, value: Any) -> Any:
        given = self._given(value)
        arguments: dict[str, Any] = {}
        for field, step, convert in self._parts:
            if field.column in given:
                part = given.pop(field.column)
                arguments[field.parameter] = converted_part(step, convert, part)
            elif not self._may_miss(field):
                raise ConversionError(field.wanted.text, "no such key", path=step)
        if given and not self._options.extra:
            raise _surplus(given)
        return self._cls(**arguments)

    def _given(self, value: Any) -> dict[str, Any]:
        """The parts by name, in a dict of our own."""
        if self._family == "json":
            if type(value) is dict:
                return dict(value)
        elif type(value) is not dict and hasattr(value, "keys"):
            return {key: value[key] for key in value.keys()}  # noqa: SIM118 - not a mapping
        raise conversion_error(self._wanted, value, self._family)

    def _may_miss(self, field: Field) -> bool:
        return field.may_miss or (self._options.defaults and field.has_default)


def _surplus(given: dict[str, Any]) -> ConversionError:
    hint = "declare a field for it, or annotate with Json(extra=True)"
    return ConversionError("no such key", "one", hint, path=key_step(next(iter(given))))
