"""Handlers of single values: any value, NULL alone, one exact class, and ``Decode()``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqla_typedpool.mapping import coercions
from sqla_typedpool.mapping.coercions import Action
from sqla_typedpool.mapping.context import Context, Fit, Handler, accepted, refused
from sqla_typedpool.mapping.dbtypes import SCALAR_TYPES, DbType
from sqla_typedpool.mapping.typespec import TypeSpec
from sqla_typedpool.mapping.value_error import NO_INFINITY, ConversionError, Convert, type_of


def _always(action: Action, reason: str) -> Callable[[TypeSpec, DbType, Context], Fit]:
    """Return a ``Handler.fit`` for a type that columns of every type fit."""
    return lambda spec, db_type, context: Fit(action, reason)


# ------------------------------------------------------------------------------- any value


def _anything_converter(spec: TypeSpec, context: Context) -> Convert:
    def convert(value: Any) -> Any:
        if value is None:
            raise context.error(spec, value)
        return value

    return convert


# ------------------------------------------------------------------------- one exact class


def _fit_exact(spec: TypeSpec, db_type: DbType, context: Context) -> Fit:
    cls, source = spec.annotation, db_type.python
    if not coercions.is_storable(cls, context.family):
        hint = "convert it: Annotated[..., Decode(function)]"
        return Fit(Action.REFUSE, f"JSON cannot hold {cls.__name__}", hint)
    if db_type.is_range and cls in SCALAR_TYPES:
        return Fit(Action.REFUSE, "it arrives as a range", "cast it in SQL: CAST(x AS text)")
    if db_type.is_address and cls in SCALAR_TYPES and cls is not str:
        usual = " | ".join(each.__name__ for each in db_type.usual)
        return Fit(Action.REFUSE, f"it arrives as {usual}", f"declare it {usual}")
    if source is None or source is cls:
        return accepted(db_type)
    rule = coercions.conversions_to(cls, context.family).get(source)
    if rule is not None:
        return Fit(Action.CONVERT, f"from {source.__name__}: {rule.detail}")
    if db_type.driver:  # the advice of the table has casts that PostgreSQL lacks for these types
        own = "check with the driver that the application uses"
        return refused(db_type, f"declare it {source.__name__}, or {own}")
    return refused(db_type, coercions.advice(source, cls, context.family))


def _exact_converter(spec: TypeSpec, context: Context) -> Convert:
    cls, allows_subclass = spec.annotation, coercions.accepts_subclasses(spec.annotation)
    rules = coercions.conversions_to(cls, context.family)
    if cls is datetime and context.is_aware:
        return _aware_converter(spec, context)

    def convert(value: Any) -> Any:
        if type(value) is cls or (allows_subclass and isinstance(value, cls)):
            return value
        rule = rules.get(type(value))
        if rule is None or rule.convert is None:
            raise context.error(spec, value)
        converted = rule.convert(value)
        if converted is None:
            raise ConversionError(spec.text, f"{type_of(value)} that is not {rule.detail}")
        return converted

    return convert


def _aware_converter(spec: TypeSpec, context: Context) -> Convert:
    """Refuse infinity, for which asyncpg delivers ``datetime.max`` and ``.min`` without a zone:
    Python cannot compare them with the other values of the column."""

    def convert(value: Any) -> Any:
        if type(value) is not datetime:
            raise context.error(spec, value)
        if value.tzinfo is None and value in (datetime.max, datetime.min):
            raise ConversionError(spec.text, "an infinite date and time", NO_INFINITY)
        return value

    return convert


# -------------------------------------------------------------------------------- Decode()


def _decode_converter(spec: TypeSpec, context: Context) -> Convert:
    assert spec.decode is not None
    function = spec.decode.function

    def convert(value: Any) -> Any:
        if value is None:
            raise context.error(spec, value)
        try:
            return function(value)
        except Exception as error:  # the function of the application may raise anything
            found = f"{type_of(value)} (the function raised {type(error).__name__})"
            raise ConversionError(f"a value for {spec.decode}", found) from error

    return convert


ANYTHING = Handler(_always(Action.ACCEPT, "not checked"), _anything_converter)
# The converter refuses all values. NULL itself is not passed to it.
NULL = Handler(_always(Action.ACCEPT, "only NULL"), _exact_converter)
EXACT = Handler(_fit_exact, _exact_converter)
DECODE = Handler(_always(Action.CONVERT, "by Decode()"), _decode_converter)
