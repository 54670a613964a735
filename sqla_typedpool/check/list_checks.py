"""Check parameters that are lists after ``IN``: None in them, and arrays instead of them."""

from __future__ import annotations

from collections.abc import Iterator

from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.parameter_findings import parameter_finding
from sqla_typedpool.check.rules import LIST_AFTER_IN, NULL_COMPARISON
from sqla_typedpool.describe.model import ParameterDescription
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.typespec import Kind
from sqla_typedpool.queries import Bind, QueryInfo
from sqla_typedpool.queries.parameter_lists import element_sql_type, elements_of
from sqla_typedpool.tokens import ListBind, list_binds

_NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8")
_MOMENTS = ("date", "timestamp", "timestamptz")
# PostgreSQL's types that can be compared with each type of an empty list. A test compares them
# with the operators of a server.
COMPARABLE: dict[str, tuple[str, ...]] = {
    "boolean": ("bool",),
    "integer": (*_NUMBERS, "oid", "regclass", "regtype", "xid"),
    "bigint": (*_NUMBERS, "oid", "regclass", "regtype"),
    **dict.fromkeys(("double precision", "numeric"), _NUMBERS),
    "text": ("text", "varchar", "bpchar", "name", "citext"),
    "bytea": ("bytea",),
    **dict.fromkeys(("date", "timestamptz"), _MOMENTS),
    "time": ("time", "timetz", "interval"),
    "interval": ("interval", "time"),
    "uuid": ("uuid",),
}
_MAYBE_NONE = (Kind.EXACT, Kind.ENUM, Kind.LITERAL, Kind.UNION)


def list_findings(
    info: QueryInfo, bind: Bind, described: ParameterDescription, family: str
) -> Iterator[Finding]:
    """Yield the findings of a parameter, if it is a list after ``IN`` that ``@query`` expands."""
    if bind.name not in info.lists:
        return
    used = next(each for each in list_binds(info.sql) if each.name == bind.name)
    yield from _none(info, bind, used)
    if family == "postgresql":
        yield _array_instead(info, bind, used, described.db_type)


def _none(info: QueryInfo, bind: Bind, used: ListBind) -> Iterator[Finding]:
    name = bind.name
    if bind.is_optional:
        message = f":{name} can be None, which is the same as an empty list here"
        yield parameter_finding(
            info, name, NULL_COMPARISON, message, hint="declare the list without None"
        )
    if any(each.optional and each.kind in _MAYBE_NONE for each in elements_of(bind.annotation)):
        effect = "`NOT IN` is never true then" if used.is_negated else "`IN` finds no NULL"
        message = f":{name} can contain None, but {effect}"
        hint = "declare its elements without None, and handle NULL explicitly in the SQL"
        yield parameter_finding(info, name, NULL_COMPARISON, message, hint=hint)


def _array_instead(info: QueryInfo, bind: Bind, used: ListBind, element: DbType | None) -> Finding:
    """Return a note that proposes an array; an error if an empty list fails."""
    array = f"{'<> ALL' if used.is_negated else '= ANY'}(:{bind.name})"
    hint = f"on PostgreSQL write {array}"
    empty = element_sql_type(bind.annotation)
    if element is not None and element.name not in COMPARABLE[empty]:
        unequal = f"PostgreSQL does not compare {element.name} with {empty}"
        message = f"an empty list for :{bind.name} fails, because {unequal}"
        reason = f"for an empty list SQLAlchemy sends an empty subquery of type {empty}"
        return parameter_finding(
            info, bind.name, LIST_AFTER_IN, message, reason, hint, Severity.ERROR
        )
    message = f"`{_operator(used)} :{bind.name}` is another statement for each length of the list"
    reason = "each of them is compiled and prepared separately, and long lists take the slow path"
    return parameter_finding(info, bind.name, LIST_AFTER_IN, message, reason, hint)


def _operator(used: ListBind) -> str:
    return "NOT IN" if used.is_negated else "IN"
