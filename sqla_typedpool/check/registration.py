"""The types of an application that psycopg delivers as text until they are registered."""

from __future__ import annotations

from sqla_typedpool.mapping.dbtypes import EXTENSION_TEXTS, DbType, postgresql_type
from sqla_typedpool.mapping.typespec import Kind, TypeSpec

_LISTENER = 'register it in a listener for "connect" (docs/reference/drivers.md): '
_FETCH = 'connection.run_async(partial({}.fetch, name="{}"))'
_REGISTER = "{}({}, connection.driver_connection)"


def registration_hint(spec: TypeSpec, db_type: DbType) -> str | None:
    """Return how to register a type with psycopg; None if that is not what is missing.

    :param spec: the declared type.
    """
    if db_type.driver != "psycopg" or db_type.usual != (str,):
        return None
    element = db_type.element
    if element is not None and _is_built_in(element):
        return f"cast the array of a domain in SQL: CAST(... AS {element.name}[])"
    composite = db_type if element is None else element
    if composite.fields:
        return _LISTENER + _call("register_composite", "CompositeInfo", composite.name)
    if element is not None:
        info = _FETCH.format("TypeInfo", element.name)
        return f"{_LISTENER}{info}.register(connection.driver_connection)"
    if spec.kind is Kind.RANGE:
        return _LISTENER + _call("register_range", "RangeInfo", db_type.name)
    return None


def _call(function: str, info: str, name: str) -> str:
    return _REGISTER.format(function, _FETCH.format(info, name))


def _is_built_in(element: DbType) -> bool:
    """Return whether the elements of an array are a domain's: other arrays of these types are
    known to psycopg."""
    is_application = element.labels or element.fields or element.name in EXTENSION_TEXTS
    return not is_application and postgresql_type(element.name).python is not None
