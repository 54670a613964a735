"""Numbers with a fraction in a JSON document that contains Decimals.

If a type has a Decimal, the numbers of its documents are decoded to Decimals, because a float would
not have their digits. Parts that are not Decimals get floats, as from any other document.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.mapping.value_error import Convert

_CLASSES = (Kind.NESTED, Kind.TAGGED)
_CONTAINERS = (Kind.ARRAY, Kind.TUPLE, Kind.MAPPING)


def takes_decimals(spec: TypeSpec) -> bool:
    """Return whether the converter of a type, or those of its parts, take Decimals."""
    if spec.decode is not None:
        return False
    if spec.kind is Kind.UNION:
        types = {each.annotation for each in spec.of}
        return Decimal in types and float not in types
    has_parts = spec.kind in _CLASSES or (spec.kind in _CONTAINERS and bool(spec.of))
    return has_parts or spec.annotation is Decimal


def after_floats(convert: Convert) -> Convert:
    """Return a converter that replaces Decimals by floats first."""
    return lambda value: convert(_with_floats(value))


def _with_floats(value: Any) -> Any:
    if type(value) is Decimal:
        return float(value)
    if type(value) is dict:
        return {key: _with_floats(each) for key, each in value.items()}
    return [_with_floats(each) for each in value] if type(value) is list else value
