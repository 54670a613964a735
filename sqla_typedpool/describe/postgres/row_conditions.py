"""Which parameters may decide whether a query returns a row.

``UPDATE t SET name = :name WHERE name <> :name`` writes no row if the parameter is None: that the
parameter is written to a column that must not be NULL does no harm then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqla_typedpool.describe.postgres import outputs
from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.certain_nulls import certain_null
from sqla_typedpool.describe.postgres.nodes import Node, nodes_in
from sqla_typedpool.describe.postgres.scope import Scope
from sqla_typedpool.describe.postgres.sources import cte_of, sources

_CONDITIONS = ("havingQual", "limitCount", "limitOffset", "mergeJoinCondition")
_MAY_REMOVE = (pg.SetOperation.INTERSECT, pg.SetOperation.EXCEPT)
# Entries of a range table whose rows are those of other expressions, whatever their values.
_TRANSPARENT = frozenset({pg.RteKind.VALUES, pg.RteKind.JOIN, pg.RteKind.GROUP})


def deciding_parameters(scope: Scope) -> frozenset[str]:
    """Return the names of the parameters that may decide whether the query returns a row.

    Of INSERT, UPDATE and MERGE: whether the rows are found that it writes.
    """
    query = scope.query
    if any(each.fields.get("op") in _MAY_REMOVE for each in nodes_in(query.setOperations)):
        return all_parameters(query, scope)
    conditions = [query.fields.get(name) for name in _CONDITIONS]
    sets = [each for each in nodes_in(query.nodes("targetList")) if _is_set(each)]
    found = parameters_of([conditions, sets], scope)
    if query.jointree is not None:
        found |= parameters_of(query.jointree.nodes("fromlist"), scope)
        is_merge = query.commandType == pg.CommandType.MERGE  # rows without a match matter too
        restricting = parameters_of if is_merge else restricting_parameters
        found |= restricting(query.jointree.quals, scope)
    return found.union(*(_of_entry(each, scope) for each in query.nodes("rtable")))


def restricting_parameters(condition: Node | None, scope: Scope) -> frozenset[str]:
    """Return the parameters for which a condition may be false if they are None.

    None does not restrict ``name IS DISTINCT FROM :x`` if the column is NOT NULL, nor
    ``:x IS NULL OR name = :x``.
    """
    if condition is None:
        return frozenset()
    if condition.kind == "BOOLEXPR" and condition.boolop == "and":
        parts = (restricting_parameters(each, scope) for each in condition.nodes("args"))
        return frozenset[str]().union(*parts)
    return parameters_of(condition, scope) - _true_if_none(condition, scope)


def _true_if_none(condition: Node, scope: Scope) -> frozenset[str]:
    """Return the parameters of which each one alone makes the condition true, if it is None."""
    arguments = condition.nodes("args")
    if condition.kind == "BOOLEXPR" and condition.boolop == "or":
        return frozenset[str]().union(*(_true_if_none(each, scope) for each in arguments))
    if condition.kind == "NULLTEST" and condition.nulltesttype == pg.NullTestType.IS_NULL:
        return frozenset(certain_null(condition.arg, scope).parameters)
    if condition.kind != "DISTINCTEXPR" or len(arguments) != 2:
        return frozenset()
    left, right = arguments
    found = [
        certain_null(one, scope).parameters
        for one, other in ((left, right), (right, left))
        if not scope.infer(other).nullable
    ]
    return frozenset(name for names in found for name in names)


def _is_set(node: Node) -> bool:
    return node.flag("funcretset") or node.flag("opretset")


def _of_entry(entry: Node, scope: Scope) -> frozenset[str]:
    if entry.rtekind in _TRANSPARENT:
        return frozenset()
    if entry.rtekind == pg.RteKind.SUBQUERY:
        return deciding_parameters(scope.subquery(entry.subquery))
    if entry.rtekind == pg.RteKind.CTE:
        return _of_cte(entry, scope)
    return parameters_of(entry, scope)  # a function, for example, or TABLESAMPLE


def _of_cte(entry: Node, scope: Scope) -> frozenset[str]:
    found = cte_of(entry, scope)
    if found is None:
        return frozenset()
    cte, owner = found
    if cte.flag("cterecursive") or cte.ctequery.commandType != pg.CommandType.SELECT:
        return _of_whole_cte(cte, owner)
    return deciding_parameters(owner.subquery(cte.ctequery))


def _of_whole_cte(cte: Node, owner: Scope) -> frozenset[str]:
    if not cte.flag("cterecursive"):
        return parameters_of(cte.ctequery, owner)
    while owner.parent is not None:
        owner = owner.parent
    return all_parameters(owner.query, owner)


def parameters_of(tree: object, scope: Scope) -> frozenset[str]:
    """Return the names of the parameters that the values of expressions depend on.

    These are also the parameters behind the columns that the expressions mention.
    """
    found = all_parameters(tree, scope)
    for node, depth in _nodes_by_depth(tree):
        if node.kind == "VAR" and node.number("varlevelsup") >= depth:
            found |= _of_column(node, depth, scope)
        elif node.kind == "RANGETBLENTRY" and node.rtekind == pg.RteKind.CTE:
            found |= _of_outer_cte(node, depth, scope)
    return found


def _of_column(column: Node, depth: int, scope: Scope) -> frozenset[str]:
    levels = str(column.number("varlevelsup") - depth)
    column = Node(column.kind, column.fields | {"varlevelsup": levels})
    if column.number("varattno") == 0 and not _is_stored_row(column, scope):
        return frozenset(scope.inference.parameters)
    behind = [parameters_of(each.expression, each.scope) for each in sources(column, scope)]
    return frozenset[str]().union(*behind)


def _is_stored_row(column: Node, scope: Scope) -> bool:
    """Return whether a whole row is one of a table or a view."""
    owner = scope.enclosing(column.number("varlevelsup"))
    if owner is None or outputs.is_excluded(owner.query, column.number("varno")):
        return False
    return bool(owner.entry(column.number("varno")).rtekind == pg.RteKind.RELATION)


def _of_outer_cte(entry: Node, depth: int, scope: Scope) -> frozenset[str]:
    """Return the parameters of a CTE that a subquery of an expression reads."""
    levels = entry.number("ctelevelsup") - depth
    if levels < 0:
        return frozenset()
    entry = Node(entry.kind, entry.fields | {"ctelevelsup": str(levels)})
    found = cte_of(entry, scope)
    return frozenset() if found is None else _of_whole_cte(*found)


def all_parameters(tree: object, scope: Scope) -> frozenset[str]:
    """Return the names of all parameters in a tree."""
    names = scope.inference.parameters
    return frozenset(
        names[node.number("paramid") - 1]
        for node in nodes_in(tree)
        if node.kind == "PARAM"
        and node.paramkind == pg.ParamKind.EXTERNAL
        and node.number("paramid") <= len(names)
    )


def _nodes_by_depth(tree: Any, depth: int = 0) -> Iterator[tuple[Node, int]]:
    """Yield every node of a tree, and the number of queries inside the tree around it."""
    if isinstance(tree, list):
        for each in tree:
            yield from _nodes_by_depth(each, depth)
    elif isinstance(tree, Node):
        inner = depth + 1 if tree.kind == "QUERY" else depth
        yield tree, depth
        for value in tree.fields.values():
            yield from _nodes_by_depth(value, inner)
