"""Handler of unions of classes in JSON, which a field with a ``Literal`` type distinguishes."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from sqla_typedpool.mapping.coercions import JSON, Action
from sqla_typedpool.mapping.context import Context, Fit, Handler, refused
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.enums import literal_keys
from sqla_typedpool.mapping.rowtype import class_row_type
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, type_name
from sqla_typedpool.mapping.value_error import ConversionError, Convert, key_step, type_of

_LITERAL: Any = Literal  # indexed at run time, which type checkers cannot follow


def _fit_tagged(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    if context.family != JSON:
        return refused(db_type, "annotate it with Json() if it is JSON, or declare one class")
    if _tags_of(spec) is None:
        return Fit(
            Action.REFUSE,
            f"no field distinguishes the classes of {spec.text}",
            'declare a field with another Literal in each class, such as kind: Literal["..."]',
        )
    return Fit(Action.CONVERT, "by the field with a Literal type")


def _tags_of(spec: TypeSpec) -> tuple[str, dict[tuple[type, Any], TypeSpec]] | None:
    """Return the key whose value determines the class, and the class for each value.

    :return: None if there is no key that has a Literal type in every class, each with other values.
    """
    fields = [
        {each.column: each.spec for each in class_row_type(member.annotation).fields}
        for member in spec.of
    ]
    for key in fields[0]:
        types = [each.get(key) for each in fields]
        literals = [literal_keys(each) for each in types if each and each.kind is Kind.LITERAL]
        classes = {
            value: member
            for values, member in zip(literals, spec.of, strict=False)
            for value in values
        }
        if len(literals) == len(fields) and len(classes) == sum(map(len, literals)):
            return key, classes
    return None


class _TaggedConverter:
    """Makes an object of the class that the value of one key determines."""

    def __init__(self, spec: TypeSpec, context: Context) -> None:
        self._spec = spec
        self._context = context

    @cached_property
    def _tags(self) -> tuple[str, dict[tuple[type, Any], Convert]]:
        # made for the first value: a class may contain itself
        tags = _tags_of(self._spec)
        assert tags is not None  # there is a plan only if _fit_tagged() accepts the type
        key, classes = tags
        return key, {value: self._context.converter(each) for value, each in classes.items()}

    def __call__(self, value: Any) -> Any:
        if type(value) is not dict:
            raise self._context.error(self._spec, value)
        key, converters = self._tags
        if key not in value:
            raise self._wrong_tag("no such key")
        tag = value[key]
        try:
            convert = converters[type(tag), tag]
        except (KeyError, TypeError):  # TypeError: the value has no hash
            raise self._wrong_tag(f"{type_of(tag)} that is not one of these values") from None
        return convert(value)

    def _wrong_tag(self, found: str) -> ConversionError:
        key, converters = self._tags
        expected = type_name(_LITERAL[tuple(value for _, value in converters)])
        return ConversionError(expected, found, path=key_step(key))


TAGGED = Handler(_fit_tagged, _TaggedConverter)
