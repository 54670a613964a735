"""The rules for calls: of functions, operators, aggregates and window functions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from sqla_typedpool.describe.nullability import (
    Nullability,
    maybe,
    never,
    strict,
    unknown,
    without_relation,
)
from sqla_typedpool.describe.postgres import builtins, grouping
from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.arrays import elements
from sqla_typedpool.describe.postgres.catalog import BUILT_IN, Function
from sqla_typedpool.describe.postgres.function_bodies import FunctionBody
from sqla_typedpool.describe.postgres.nodes import Datum, Node, type_oid
from sqla_typedpool.describe.postgres.outputs import output
from sqla_typedpool.describe.postgres.scope import Inference, Scope

_CONCATENATION = frozenset({2003, 2004})  # text || anynonarray: the value is cast to text
_AGGREGATES = builtins.AGGREGATES | builtins.COLLECTING
_FRAME_FUNCTIONS = _AGGREGATES | builtins.WINDOW_VALUES
_OTHER_ROWS = ("lag", "lead")


def function(node: Node, scope: Scope) -> Nullability:
    """Infer ``f(a, b)``, or a cast that is made by a function."""
    called = scope.function(node.number("funcid"))
    if called is None:
        return unknown("the function is unknown")
    if node.flag("funcretset"):
        if grouping.count_set_functions(scope.query) == 1:
            return set_column(called, 1, node.nodes("args"), scope)
        return maybe("the shorter of two set-returning functions is padded with NULL")
    parts = scope.infer_all(node.nodes("args"))
    if node.funcformat in (pg.CoercionForm.EXPLICIT_CAST, pg.CoercionForm.IMPLICIT_CAST):
        if builtins.cast_keeps_not_null(called, int(node.funcresulttype)):
            return strict(parts, "a cast")
        return unknown(f"the cast by {called.name}() may return NULL")
    if called.body is not None:
        if any(each.kind == "NAMEDARGEXPR" for each in node.nodes("args")):
            return unknown(f"{called.name}() has arguments by name")
        return _own_function(called, called.body, parts, scope.inference)
    return _call(called, node, parts)


def _own_function(
    called: Function, body: FunctionBody, parts: list[Nullability], inference: Inference
) -> Nullability:
    """Infer a function of the application by its body: a query that returns one row."""
    found = unknown(f"{called.name}() may return NULL")
    if called.oid in inference.calling or len(parts) != len(called.arguments):
        return found  # it is recursive, or its default arguments are not known
    names = [str(number + 1) for number in range(len(parts))]
    is_given = [called.is_strict or not part.nullable for part in parts]
    inner = Inference(
        inference.catalog,
        inference.rules,
        names,
        frozenset(itertools.compress(names, is_given)),
        calling=inference.calling | {called.oid},
    )
    if not grouping.has_one_row(body.query) or output(Scope(inner, body.query), 1).nullable:
        return found
    reason = f"the body of {called.name}() is never NULL"
    return without_relation(strict(parts, reason)) if called.is_strict else never(reason)


def _call(called: Function, node: Node, parts: list[Nullability]) -> Nullability:
    name, reason = called.name, f"{called.name}() is never NULL"
    if builtins.function_keeps_not_null(called):
        return _strict_call(called, parts, reason)
    if called.is_built_in and name in builtins.NEVER_NULL:
        is_list = node.flag("funcvariadic")
        return without_relation(strict(parts, reason)) if is_list else never(reason)
    if called.is_built_in and name in builtins.DECISIVE_ARGUMENTS:
        needed = None if node.flag("funcvariadic") else builtins.DECISIVE_ARGUMENTS[name]
        return without_relation(strict(parts[:needed], reason))
    if called.is_built_in and name in ("extract", "date_part"):
        return _extract(node, parts, called)
    return unknown(f"{name}() may return NULL")


def _strict_call(called: Function, parts: Sequence[Nullability], reason: str) -> Nullability:
    whole = strict(parts, reason)
    return without_relation(whole) if called.may_be_simplified else whole


def _extract(node: Node, parts: list[Nullability], called: Function) -> Nullability:
    """Infer ``extract(year from x)``: infinity has a year, but no month."""
    field = node.nodes("args")[0].constvalue
    name = field[4:].decode("utf-8", "replace") if isinstance(field, Datum) else ""
    if name.lower() in builtins.FIELDS_OF_INFINITY or called.arguments[1] in builtins.TIMES:
        return strict(parts, "the field is never NULL")
    return unknown("infinity has no such field")


def set_column(
    called: Function | None, number: int, arguments: Sequence[Node], scope: Scope
) -> Nullability:
    """Infer a column of a set-returning function, counted from 1."""
    if called is None:
        return unknown("the function is unknown")
    if builtins.is_unnest(called):
        return without_relation(elements(arguments[0], scope))
    if builtins.is_set_column_not_null(called, number):
        return never(f"{called.name}() never returns NULL")
    return unknown(f"{called.name}() may return NULL")


def operator(node: Node, scope: Scope) -> Nullability:
    """Infer ``a + b``."""
    called, name = scope.operator(node)
    arguments = node.nodes("args")
    has_own_type = not all(0 < type_oid(each) < BUILT_IN for each in arguments)
    if has_own_type and called is not None and called.oid in _CONCATENATION:
        return unknown("|| converts a value to text by an application's own cast")
    return call_operator(called, name, scope.infer_all(arguments))


def call_operator(called: Function | None, name: str, parts: list[Nullability]) -> Nullability:
    """Infer the result of an operator for these operands.

    :param called: the operator's function; None = unknown.
    """
    if called is None:
        return unknown(f"the operator {name} is unknown")
    if builtins.operator_keeps_not_null(name, called):
        return _strict_call(called, parts, f"no operand of {name} is NULL")
    if called.is_built_in and called.name in builtins.NEVER_NULL:
        return never(f"{name} is never NULL")
    if called.is_built_in and called.name == "array_cat":
        return next((each for each in parts if not each.nullable), maybe(parts[0].reason))
    return unknown(f"the operator {name} may return NULL")


def aggregate(node: Node, scope: Scope) -> Nullability:
    """Infer ``sum(x)`` in the query whose rows it aggregates, which may be an outer one."""
    called = scope.function(node.number("aggfnoid"))
    owner = scope.enclosing(node.number("agglevelsup"))
    if called is None or not called.is_built_in or owner is None:
        return unknown(f"the aggregate{_name(called)} may return NULL")
    is_hypothetical = node.aggkind == pg.AggregateKind.HYPOTHETICAL
    if called.name in builtins.COUNTS or (is_hypothetical and called.name in builtins.RANKS):
        return never(f"{called.name}() is never NULL")
    if called.name not in _AGGREGATES:
        return unknown(f"{called.name}() may be NULL")
    if node.aggfilter is not None:
        return maybe(f"FILTER may leave {called.name}() without rows")
    if not grouping.groups_have_rows(owner.query):
        return maybe(f"{called.name}() of no rows is NULL")
    before = replace(scope.unguarded(), before_grouping=True)
    values = [each.expr for each in node.nodes("args") if not each.flag("resjunk")]
    found = _of_rows(called, values, node.nodes("aggdirectargs"), before)
    return without_relation(found) if found.nullable else never(_of_some_rows(called))


def _name(called: Function | None) -> str:
    return "" if called is None else f" {called.name}()"


def _of_rows(
    called: Function, arguments: list[Node], direct: list[Node], scope: Scope
) -> Nullability:
    """Infer an aggregate of one row or more.

    :param direct: arguments that are not aggregated: ``percentile_cont(0.5)``.
    """
    if called.name in builtins.COLLECTING:
        return never(_of_some_rows(called))
    if called.name == "string_agg":  # a delimiter that is NULL counts as an empty one
        arguments = arguments[:1]
    return strict(scope.infer_all([*arguments, *direct]), _of_some_rows(called))


def _of_some_rows(called: Function) -> str:
    return f"{called.name}() of at least one row"


def window(node: Node, scope: Scope) -> Nullability:
    """Infer ``f(x) OVER w``, which is computed from other rows too."""
    return without_relation(_window(node, scope.unguarded()))


def _window(node: Node, scope: Scope) -> Nullability:
    called = scope.function(node.number("winfnoid"))
    if called is None or not called.is_built_in:
        return unknown(f"the window function{_name(called)} may return NULL")
    name, arguments = called.name, node.nodes("args")
    if name == "ntile":  # NULL for a NULL number of buckets
        return strict(scope.infer_all(arguments), "ntile() is never NULL")
    if name in builtins.COUNTS or name in builtins.RANKS:
        return never(f"{name}() is never NULL")
    if name in _OTHER_ROWS and len(arguments) == 3:
        return strict(scope.infer_all(arguments), f"{name}() has a default")
    if name not in _FRAME_FUNCTIONS or node.aggfilter is not None:
        return unknown(f"{name}() may find no row")
    if not grouping.frame_has_current_row(scope.query, node.number("winref")):
        return maybe(f"the frame of {name}() may be empty")
    return _of_rows(called, arguments, [], scope)
