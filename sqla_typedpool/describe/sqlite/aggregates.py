"""Find out which SELECT of a SQLite statement an aggregate belongs to.

A SELECT with an aggregate and without GROUP BY returns one row even if it reads no rows; its plain
columns are NULL then. An aggregate in a subquery belongs to the outer SELECT if it reads columns
of that one only. An aggregate in the clauses of a window belongs to the SELECT with the window.
If it is not certain which SELECT an aggregate belongs to, it may belong to any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlglot import exp

from sqla_typedpool.describe.syntax import SyntaxNode

# Whether a name is a table's, and the table has this column; both names in lower case.
HasColumn = Callable[[str, str], bool]

_WRAPPERS = (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)


def may_aggregate(
    node: SyntaxNode,
    aggregates: frozenset[str],
    has_column: HasColumn,
    subqueries: tuple[exp.Select, ...] = (),
) -> bool:
    """Return whether an expression contains an aggregate that may belong to its own SELECT.

    :param aggregates: the names of the aggregate functions, in lower case.
    :param subqueries: the subqueries around the node, inside of that SELECT.
    """
    if isinstance(node, exp.Select):
        subqueries = (*subqueries, node)
    if isinstance(node, exp.Window):
        parts = _parts_of_window(node)
    else:
        if _is_aggregate(node, aggregates) and not _belongs_to(node, subqueries, has_column):
            return True
        parts = node.iter_expressions()
    return any(may_aggregate(part, aggregates, has_column, subqueries) for part in parts)


def _parts_of_window(window: exp.Window) -> Iterator[Any]:
    """Yield the arguments and clauses of a window function, which is itself no aggregate."""
    function = window.this
    while isinstance(function, _WRAPPERS):
        yield from (part for part in function.iter_expressions() if part is not function.this)
        function = function.this
    yield from function.iter_expressions()
    yield from (part for part in window.iter_expressions() if part is not window.this)


def _is_aggregate(node: SyntaxNode, aggregates: frozenset[str]) -> bool:
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in aggregates
    if isinstance(node, (exp.Max, exp.Min)) and node.expressions:
        return False  # of several values in one row
    return isinstance(node, (exp.AggFunc, exp.AnonymousAggFunc))


def _belongs_to(
    aggregate: SyntaxNode, selects: tuple[exp.Select, ...], has_column: HasColumn
) -> bool:
    """Return whether an aggregate certainly belongs to one of these."""
    return bool(selects) and all(
        any(_reads(select, column, has_column) for select in selects)
        for column in aggregate.find_all(exp.Column)
    )


def _reads(select: exp.Select, column: exp.Column, has_column: HasColumn) -> bool:
    name, table = column.name.lower(), column.table.lower()
    return any(
        table == item.alias_or_name.lower() or (not table and has_column(item.name.lower(), name))
        for item in from_items(select)
    )


def from_items(select: SyntaxNode) -> Iterator[Any]:
    """Yield the tables and subqueries of a FROM clause, without those of nested joins."""
    start = select.args.get("from_") or select.args.get("from")  # "from": older sqlglot
    if start is not None:
        yield start.this
    yield from (join.this for join in select.args.get("joins") or ())


def has_plain_column(node: SyntaxNode, aggregates: frozenset[str]) -> bool:
    """Return whether an expression reads a column, or ``*``, outside of an aggregate."""
    if isinstance(node, (exp.Column, exp.Star)):
        return True
    function = node.this if isinstance(node, exp.Filter) else node
    if _is_aggregate(function, aggregates):
        return False
    return any(has_plain_column(part, aggregates) for part in node.iter_expressions())


def is_count(node: Any) -> bool:
    """Return whether an expression is a COUNT, filtered or not, and nothing else."""
    if isinstance(node, (exp.Alias, exp.Paren, exp.Filter)):
        return is_count(node.this)
    return isinstance(node, exp.Count)


def is_own_count(select: exp.Select, has_column: HasColumn) -> bool:
    """Return whether a subquery's only column is a COUNT of its own rows."""
    if len(select.expressions) != 1 or not is_count(select.expressions[0]):
        return False
    return _belongs_to(select.expressions[0], (select,), has_column)
