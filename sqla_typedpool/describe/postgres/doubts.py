"""In which columns a condition may exclude NULL although `predicates` does not show it.

``coalesce(name, '') <> ''`` excludes NULL, and so may an application's own function or a subquery
that mentions the column: that such a column may be NULL is possible, but not known.
"""

from __future__ import annotations

from typing import Any

from sqla_typedpool.describe.postgres.catalog import Catalog
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.predicates import ColumnRef, ColumnRefs

_NONE: ColumnRefs = frozenset()
# What may stand around a column whose NULL the rules of `predicates` follow.
_UNDERSTOOD = frozenset({
    "FROMEXPR", "JOINEXPR", "BOOLEXPR", "NULLTEST", "BOOLEANTEST", "RELABELTYPE",
    "ARRAYCOERCEEXPR", "COLLATEEXPR", "COERCEVIAIO", "SCALARARRAYOPEXPR",
})  # fmt: skip


def doubtful_columns(condition: Any, catalog: Catalog) -> ColumnRefs:
    """Return the columns that stand in parts of a condition which are not understood.

    :param condition: a condition, or a list or tree of joins with their conditions.
    """
    if isinstance(condition, list):
        return _NONE.union(*(doubtful_columns(each, catalog) for each in condition))
    if not isinstance(condition, Node):
        return _NONE
    if condition.kind in _UNDERSTOOD or _is_strict(condition, catalog):
        return doubtful_columns(list(condition.fields.values()), catalog)
    is_column = condition.kind == "VAR" and condition.number("varattno") > 0
    return _NONE if is_column else _columns(condition, 0)


def _is_strict(node: Node, catalog: Catalog) -> bool:
    oid = node.number("funcid")
    if node.kind == "OPEXPR":
        oid, _ = catalog.operators.get(node.number("opno"), (0, ""))
    elif node.kind != "FUNCEXPR":
        return False
    function = catalog.functions.get(oid)
    return function is not None and function.is_strict and not function.may_be_simplified


def _columns(tree: Any, depth: int) -> ColumnRefs:
    """Return all columns that a tree mentions, of the query around the condition.

    :param depth: the number of queries in the condition that are around the tree.
    """
    if isinstance(tree, list):
        return _NONE.union(*(_columns(each, depth) for each in tree))
    if not isinstance(tree, Node):
        return _NONE
    if tree.kind == "VAR":
        levels_up = tree.number("varlevelsup") - depth
        found = ColumnRef(levels_up, tree.number("varno"), tree.number("varattno"))
        return frozenset({found}) if levels_up >= 0 else _NONE
    return _columns(list(tree.fields.values()), depth + (tree.kind == "QUERY"))
