"""The table of handlers: for each kind of type, whether a column fits and how it is converted."""

from __future__ import annotations

from collections.abc import Mapping

from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping import containers, documents, enums, objects, scalars, tagged
from sqla_typedpool.mapping.coercions import JSON, Action
from sqla_typedpool.mapping.context import Context, Fit, Handler
from sqla_typedpool.mapping.dbtypes import UNKNOWN, DbType, is_aware
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.mapping.value_error import Convert

HANDLERS: Mapping[Kind, Handler] = {
    Kind.ANYTHING: scalars.ANYTHING,
    Kind.NULL: scalars.NULL,
    Kind.EXACT: scalars.EXACT,
    Kind.ENUM: enums.ENUM,
    Kind.LITERAL: enums.LITERAL,
    Kind.UNION: containers.UNION,
    Kind.ARRAY: containers.ARRAY,
    Kind.TUPLE: containers.TUPLE,
    Kind.MAPPING: containers.MAPPING,
    Kind.RANGE: containers.RANGE,
    Kind.NESTED: objects.NESTED,
    Kind.TAGGED: tagged.TAGGED,
}


def fit_of(spec: TypeSpec, db_type: DbType | None, family: str) -> Fit:
    """Return whether the values of a column can have a declared type.

    :param db_type: the type of the column; None = unknown.
    :param family: ``"postgresql"``, ``"sqlite"`` or ``"mysql"``.
    """
    try:
        return Context(family, _handler_for).fit(spec, db_type or UNKNOWN)
    except RowShapeError as error:  # a nested class cannot be built
        return Fit(Action.REFUSE, "; ".join(error.faults))


def converter_of(spec: TypeSpec, family: str, db_type: DbType | None = None) -> Convert:
    """Return the function that converts the values of a column to a declared type.

    Generated code calls it for every value that an inline check of the type does not accept:
    stored forms, Enums, lists, JSON, and wrong values.

    :param db_type: the type of the column; None = unknown.
    """
    is_json_decoded = db_type is not None and db_type.json
    return Context(family, _handler_for, is_json_decoded, is_aware(db_type)).converter(spec)


def _handler_for(spec: TypeSpec, family: str) -> Handler:
    """Return the handler of a marker, or else of the kind. Inside a document, ``Json()`` has
    no effect."""
    if spec.decode is not None:
        return scalars.DECODE
    if spec.json is not None and family != JSON:
        return documents.DOCUMENT
    return HANDLERS[spec.kind]
