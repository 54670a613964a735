"""The rows that an INSERT certainly writes, each as an INSERT of that row alone.

Each row of VALUES is written, and so is the row of each ``SELECT`` without FROM in a UNION. If one
of them contains NULL, the statement fails, whatever the other rows contain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.nodes import Node, nodes_in

_MAY_REMOVE_ROWS = (
    "groupClause", "groupingSets", "havingQual", "limitCount", "limitOffset", "distinctClause",
)  # fmt: skip


class SingleRows(NamedTuple):
    """The rows that are certain."""

    # The query as it would be with one of these rows alone.
    queries: list[Node]
    # Whether there are no other rows.
    is_complete: bool


_NONE = SingleRows([], is_complete=False)


def single_rows(query: Node) -> SingleRows:
    """Return the rows that a SELECT certainly returns, or that an INSERT certainly writes."""
    may_remove = any(query.fields.get(name) for name in _MAY_REMOVE_ROWS)
    if may_remove or query.flag("hasAggs") or query.flag("hasTargetSRFs"):
        return _NONE
    if query.setOperations is not None:
        return _of_union(query)
    if query.jointree is None or query.jointree.quals is not None:
        return _NONE
    items = query.jointree.nodes("fromlist")
    if not items:
        return SingleRows([query], is_complete=True)
    if len(items) > 1 or items[0].kind != "RANGETBLREF":
        return _NONE
    return _of_entry(query, items[0].number("rtindex"))


def _of_union(query: Node) -> SingleRows:
    tree = query.setOperations
    operations = [each.op for each in nodes_in(tree) if each.kind == "SETOPERATIONSTMT"]
    if any(each != pg.SetOperation.UNION for each in operations):
        return _NONE
    branches = [each.number("rtindex") for each in nodes_in(tree) if each.kind == "RANGETBLREF"]
    entries = query.nodes("rtable")
    found = [single_rows(entries[index - 1].subquery) for index in sorted(branches)]
    queries = [each for rows in found for each in rows.queries]
    return SingleRows(queries, all(rows.is_complete for rows in found))


def _of_entry(query: Node, index: int) -> SingleRows:
    """Return the rows of the only relation in FROM."""
    entry = query.nodes("rtable")[index - 1]
    if entry.rtekind == pg.RteKind.VALUES:
        rows: dict[Any, Node] = {}
        for row in entry.nodes("values_lists"):
            rows.setdefault(_shape(row), _with(entry, "values_lists", [row]))
        queries = [_with_entry(query, index, each) for each in rows.values()]
        return SingleRows(queries, is_complete=True)
    if entry.rtekind != pg.RteKind.SUBQUERY:
        return _NONE
    inner = single_rows(entry.subquery)
    queries = [_with_entry(query, index, _with(entry, "subquery", each)) for each in inner.queries]
    return SingleRows(queries, inner.is_complete)


def _shape(tree: Any) -> Any:
    """Return a key of an expression that is the same for all constants that are not NULL.

    Thousands of rows of constants have one shape.
    """
    if isinstance(tree, list):
        return tuple(map(_shape, tree))
    if not isinstance(tree, Node):
        return tree
    fields = tree.fields.items()
    return tree.kind, *(_shape(value) for name, value in fields if name != "constvalue")


def _with_entry(query: Node, index: int, entry: Node) -> Node:
    entries = list(query.nodes("rtable"))
    entries[index - 1] = entry
    return _with(query, "rtable", entries)


def _with(node: Node, name: str, value: Any) -> Node:
    return Node(node.kind, node.fields | {name: value})
