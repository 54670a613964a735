"""The rules for what is called: functions, operators, aggregates, window functions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqla_typedpool.describe.nullability import Nullability, maybe, never, strict, without_relation
from sqla_typedpool.describe.postgres import builtins, grouping
from sqla_typedpool.describe.postgres.catalog import BUILT_IN, Function
from sqla_typedpool.describe.postgres.nodes import Datum, Node

if TYPE_CHECKING:
    from sqla_typedpool.describe.postgres.nullability import Scope

_EXPLICIT_CAST, _IMPLICIT_CAST = "1", "2"
_TEXT, _CONCATENATES = 25, frozenset({2003, 2004})  # anynonarray || text, by the type's own cast

# parse nodes' FRAMEOPTION_*: a frame that starts at UNBOUNDED PRECEDING or CURRENT ROW and ends
# at CURRENT ROW or UNBOUNDED FOLLOWING holds the current row, unless that is excluded; so does
# one that is so many rows or groups longer
_STARTS, _ENDS = 0x20 | 0x200, 0x400 | 0x100
_STARTS_EARLIER, _ENDS_LATER, _BY_ROWS = 0x800, 0x4000, 0x4 | 0x8
_EXCLUDES = 0x8000 | 0x10000
_HYPOTHETICAL = "h"
_OF_WINDOWS = ("first_value", "last_value")
_SHIFTS = ("lag", "lead")


def _judged(nodes: list[Node], scope: Scope) -> list[Nullability]:
    from sqla_typedpool.describe.postgres.expressions import judge

    return [judge(each, scope) for each in nodes]


def function(node: Node, scope: Scope) -> Nullability:
    """``f(a, b)``, and casts that are made by a function."""
    called = scope.inference.catalog.functions.get(node.number("funcid"))
    if called is None:
        return maybe("nothing is known of the function")
    if node.flag("funcretset"):
        return _rows(called, scope)
    parts = _judged(node.nodes("args"), scope)
    if node.funcformat in (_EXPLICIT_CAST, _IMPLICIT_CAST):
        if builtins.holds_for_cast(called) and int(node.funcresulttype) not in builtins.GEOMETRIC:
            return strict(parts, "a cast")
        return maybe(f"the cast by {called.name}() may answer with NULL")
    return _called(called, node, parts)


def _called(called: Function, node: Node, parts: list[Nullability]) -> Nullability:
    why = f"{called.name}() is never NULL"
    if builtins.holds_for_function(called):
        whole = strict(parts, why)
        return without_relation(whole) if called.may_be_simplified else whole
    if called.is_built_in and called.name in builtins.ALWAYS:
        is_list = node.flag("funcvariadic")
        return without_relation(strict(parts, why)) if is_list else never(why)
    if called.is_built_in and called.name in builtins.ENOUGH:
        places = builtins.ENOUGH[called.name]
        needed = parts if node.flag("funcvariadic") else [parts[place] for place in places]
        return without_relation(strict(needed, why))
    if called.is_built_in and called.name in ("extract", "date_part"):
        return _field(node, parts, called)
    return maybe(f"{called.name}() may answer with NULL")


def _field(node: Node, parts: list[Nullability], called: Function) -> Nullability:
    """``extract(year from x)``: infinity has a year, but no month."""
    value = node.nodes("args")[0].constvalue
    name = value[4:].decode("utf-8", "replace") if isinstance(value, Datum) else ""
    if name.lower() in builtins.FINITE_OR_NOT or called.arguments[1] in (1083, 1266):  # time
        return strict(parts, "the field is never NULL")
    return maybe("infinity has no such field")


def _rows(called: Function, scope: Scope) -> Nullability:
    """A set-returning function in the select list."""
    if grouping.number_of_sets(scope.query) != 1:
        return maybe("the shorter of two set-returning functions is filled up with NULL")
    if builtins.makes_no_nulls(called, 1):
        return never(f"{called.name}() makes no NULLs")
    return maybe(f"{called.name}() may make NULLs")


def operator(node: Node, scope: Scope) -> Nullability:
    """``a + b``."""
    called, name = scope.inference.operator(node)
    arguments = node.nodes("args")
    if called is not None and called.oid in _CONCATENATES and not _are_built_in(arguments):
        return maybe("it is made a text by a cast of the application")
    return of_operator(called, name, *_judged(arguments, scope))


def of_operator(called: Function | None, name: str, *parts: Nullability) -> Nullability:
    """By the function behind the operator."""
    if called is None:
        return maybe(f"nothing is known of the operator {name}")
    if builtins.holds_for_operator(name, called):
        whole = strict(parts, f"{name} of what is never NULL")
        return without_relation(whole) if called.may_be_simplified else whole
    if called.is_built_in and called.name in builtins.ALWAYS:
        return never(f"{name} is never NULL")
    if called.is_built_in and called.name == "array_cat":
        return next((each for each in parts if not each.nullable), maybe(parts[0].why))
    return maybe(f"the operator {name} may answer with NULL")


def _are_built_in(nodes: list[Node]) -> bool:
    from sqla_typedpool.describe.postgres.expressions import type_of

    return all(0 < type_of(each) < BUILT_IN for each in nodes)


def aggregate(node: Node, scope: Scope) -> Nullability:
    """``sum(x)``: of the query that it belongs to, which may be an outer one."""
    called = scope.inference.catalog.functions.get(node.number("aggfnoid"))
    owner = scope.up(node.number("agglevelsup"))
    if called is None or not called.is_built_in or owner is None:
        return maybe("nothing is known of the aggregate")
    is_hypothetical = node.aggkind == _HYPOTHETICAL and called.name in builtins.RANKS
    if called.name in builtins.COUNTS or is_hypothetical:
        return never(f"{called.name}() is 0 where there is nothing")
    if called.name not in builtins.AGGREGATES or called.name in _OF_WINDOWS:
        return maybe(f"{called.name}() may be NULL")
    if node.aggfilter is not None:
        return maybe(f"FILTER may leave {called.name}() nothing")
    if not grouping.has_full_groups(owner.query):
        return maybe(f"{called.name}() of no rows is NULL")
    return _of_rows(called, node, replace(scope.unguarded(), is_in_aggregate=True))


def _of_rows(called: Function, node: Node, scope: Scope) -> Nullability:
    """An aggregate over one row or more."""
    why = f"{called.name}() of at least one row"
    if not builtins.AGGREGATES[called.name]:
        return never(why)
    values = [each.expr for each in node.nodes("args") if not each.flag("resjunk")]
    values = _needed(called, values)
    part = strict(_judged([*values, *node.nodes("aggdirectargs")], scope), why)
    return maybe(part.why) if part.nullable else never(why)


def window(node: Node, scope: Scope) -> Nullability:
    """``f(x) OVER w``, made of other rows too."""
    return without_relation(_window(node, scope))


def _window(node: Node, scope: Scope) -> Nullability:
    called = scope.inference.catalog.functions.get(node.number("winfnoid"))
    if called is None or not called.is_built_in:
        return maybe("nothing is known of the window function")
    arguments, scope = node.nodes("args"), scope.unguarded()
    if called.name in builtins.COUNTS or called.name in builtins.RANKS:
        return _rank(called, _judged(arguments, scope))
    if called.name in _SHIFTS and len(arguments) == 3:
        return strict(_judged(arguments, scope), f"{called.name}() has a default")
    if called.name not in builtins.AGGREGATES or node.aggfilter is not None:
        return maybe(f"{called.name}() may find no row")
    if not grouping.frame_holds_row(scope.query, node.number("winref"), _holds_row):
        return maybe(f"the frame of {called.name}() may be empty")
    if not builtins.AGGREGATES[called.name]:
        return never(f"{called.name}() of at least one row")
    needed = _needed(called, arguments)
    return strict(_judged(needed, scope), f"{called.name}() of at least one row")


def _needed(called: Function, arguments: list[Node]) -> list[Node]:
    """The arguments without which an aggregate has no row; a delimiter that is NULL is none."""
    return arguments[:1] if called.name == "string_agg" else arguments


def _rank(called: Function, parts: list[Nullability]) -> Nullability:
    if called.name == "ntile":  # of NULL buckets
        return strict(parts, "ntile() is never NULL")
    return never(f"{called.name}() is never NULL")


def _holds_row(options: int) -> bool:
    starts, ends = _STARTS, _ENDS
    if options & _BY_ROWS:
        starts, ends = starts | _STARTS_EARLIER, ends | _ENDS_LATER
    return bool(options & starts and options & ends and not options & _EXCLUDES)
