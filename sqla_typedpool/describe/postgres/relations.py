"""A column of one relation by itself: a table, view, subquery, function, VALUES or CTE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqla_typedpool.describe.nullability import Nullability, any_of, maybe, never, without_relation
from sqla_typedpool.describe.postgres import builtins
from sqla_typedpool.describe.postgres.catalog import Relation
from sqla_typedpool.describe.postgres.expressions import judge
from sqla_typedpool.describe.postgres.nodes import Node

if TYPE_CHECKING:
    from sqla_typedpool.describe.postgres.nullability import Scope

STORED = ("r", "p", "m")
"""Tables, partitioned ones, materialized views."""

_RELATION, _SUBQUERY, _JOIN, _FUNCTION, _VALUES, _CTE = "0", "1", "2", "3", "5", "6"
_FULL = "2"
_UNKNOWN = maybe("nothing is known of this column")


def column_of(scope: Scope, relation: int, number: int) -> Nullability:
    """A column of the relation with this number in the query's FROM, no joins counted."""
    entry = scope.entry(relation)
    kind = entry.rtekind
    if kind == _RELATION:
        return column_of_table(scope, entry, number)
    if number < 1:
        return maybe("nothing is known of a whole row")
    if kind == _SUBQUERY:
        return scope.below(entry.subquery).output(number)
    if kind == _JOIN:
        return _of_join(scope, relation, number)
    if kind == _FUNCTION:
        return _of_function(scope, entry, number)
    if kind == _VALUES:
        rows = [judge(row[number - 1], scope) for row in entry.nodes("values_lists")]
        return any_of(rows, "no row of VALUES is NULL")
    if kind == _CTE:
        return _of_cte(scope, entry, number)
    return maybe(f"nothing is known of {entry.eref.aliasname}")


def name_of(entry: Node, number: int) -> str:
    """``u.nick``, as the statement knows it."""
    names = entry.eref.nodes("colnames")
    column = names[number - 1] if 0 < number <= len(names) else "*"
    return f"{entry.eref.aliasname}.{column}"


def column_of_table(scope: Scope, entry: Node, number: int) -> Nullability:
    """A column of a table or view."""
    relation = scope.relation(entry)
    if relation is None:
        return maybe("nothing is known of the table")
    if relation.view is not None:
        return _of_view(scope, relation.view, number, _is_written(scope, entry))
    name = name_of(entry, number)
    if number < 1:  # the whole row, or a system column
        return never(f"{name} is a row") if relation.kind in STORED else _UNKNOWN
    column = relation.columns.get(number)
    if column is None or column.is_virtual:
        return maybe(f"{name} is computed when it is read")
    if column.not_null if _with_heirs(entry, relation) else column.not_null_only:
        return never(f"{name} is NOT NULL")
    return maybe(f"{name} may be NULL")


def _with_heirs(entry: Node, relation: Relation) -> bool:
    return entry.flag("inh") or relation.kind == "p"


def _is_written(scope: Scope, view: Node) -> bool:
    """Whether it is what the statement writes to, or a part of that."""
    target = scope.query.number("resultRelation")
    return scope.is_written or (target > 0 and scope.entry(target) is view)


def _of_view(scope: Scope, view: Node, number: int, is_written: bool) -> Nullability:
    if number < 1:
        return maybe("nothing is known of a whole row")
    return scope.of_view(view, is_written=is_written).output(number)


def _of_join(scope: Scope, relation: int, number: int) -> Nullability:
    """A column of ``JOIN ... USING``, as it comes out of the join itself."""
    entry = scope.entry(relation)
    variables = entry.nodes("joinaliasvars")
    if number > len(variables) or variables[number - 1] is None:
        return _UNKNOWN
    variable, at_join = variables[number - 1], scope.at_join(relation)
    if entry.jointype == _FULL and variable.kind == "COALESCEEXPR":
        sides = [judge(each, at_join) for each in variable.nodes("args")]
        return any_of(sides, f"one side of the FULL JOIN has {name_of(entry, number)}")
    return judge(variable, at_join)


def _of_function(scope: Scope, entry: Node, number: int) -> Nullability:
    functions = entry.nodes("functions")
    total = sum(each.number("funccolcount") for each in functions)
    if number == total + 1 and entry.flag("funcordinality"):
        return never("WITH ORDINALITY counts the rows")
    if len(functions) != 1:
        return maybe("the shorter function of ROWS FROM is filled up with NULL")
    called = functions[0].funcexpr
    if not called.flag("funcretset"):
        return judge(called, scope) if total == 1 else maybe("the function may return NULL")
    function = scope.inference.catalog.functions.get(called.number("funcid"))
    if function is None:
        return maybe("the function may return NULLs")
    if builtins.makes_no_nulls(function, number):
        return never(f"{function.name}() makes no NULLs")
    return maybe(f"{function.name}() may make NULLs")


def _of_cte(scope: Scope, entry: Node, number: int) -> Nullability:
    owner = scope.up(entry.number("ctelevelsup"))
    ctes = owner.query.nodes("cteList") if owner is not None else []
    for cte in ctes:
        if cte.ctename == entry.ctename and owner is not None:
            return _of_with(owner, cte, number)
    return maybe(f"nothing is known of {entry.ctename}")


def _of_with(owner: Scope, cte: Node, number: int) -> Nullability:
    assumed, known_columns = owner.inference.assumed, owner.inference.known
    inner = owner.below(cte.ctequery)
    if number > len(inner.entries):
        return _added(owner, cte, number - len(inner.entries))
    if id(cte) in assumed:
        return assumed[id(cte)].get(number, _UNKNOWN)
    if not cte.flag("cterecursive"):
        return inner.output(number)
    if (inner.identity, number) in known_columns:
        return known_columns[inner.identity, number]
    columns = _fixpoint(inner, id(cte))
    if not assumed:
        known_columns.update({(inner.identity, each): found for each, found in columns.items()})
    return columns.get(number, _UNKNOWN)


def _added(owner: Scope, cte: Node, number: int) -> Nullability:
    """A column of SEARCH (the order) or CYCLE (the mark, the path)."""
    cycle = cte.cycle_clause
    if cycle is not None and number == (2 if cte.search_clause is not None else 1):
        values = (cycle.cycle_mark_value, cycle.cycle_mark_default)
        return any_of([judge(each, owner) for each in values], "both marks of CYCLE are values")
    return never("SEARCH and CYCLE fill it in")


def _fixpoint(inner: Scope, key: int) -> dict[int, Nullability]:
    """The columns of a recursive CTE: never NULL until a step makes them so."""
    numbers = range(1, len(inner.entries) + 1)
    assumed: dict[int, Any] = inner.inference.assumed
    found: dict[int, Nullability] = {number: never("no step is NULL") for number in numbers}
    while True:
        assumed[key] = found
        try:
            step = {number: inner.output(number) for number in numbers}
        finally:
            del assumed[key]
        if all(step[number].nullable <= found[number].nullable for number in numbers):
            return {number: without_relation(each) for number, each in step.items()}
        found = {n: step[n] if step[n].nullable else found[n] for n in numbers}
