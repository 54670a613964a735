"""Which SELECT of a SQLite statement an aggregate belongs to.

A SELECT with an aggregate of its own and no GROUP BY is one row even of no rows, and its plain
columns are NULL then. SQLite gives an aggregate in a subquery to the SELECT outside if it reads
that one's columns alone; in a window's clauses it belongs to the SELECT around. Where it cannot
be told, it may be either's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Reads = Callable[[str, str], bool]
"""Whether the table of this name has a column of that name, both in lower case."""

_WRAPPERS = ("Filter", "IgnoreNulls", "RespectNulls")


def may_aggregate(
    item: Any, aggregates: frozenset[str], has: Reads, inner: tuple[Any, ...] = ()
) -> bool:
    """Whether it is, or holds, an aggregate that may be of the SELECT outside of ``inner``."""
    kind = type(item).__name__
    if kind == "Select":
        inner = (*inner, item)
    if kind == "Window":
        parts = _of_window(item)
    else:
        if _is_aggregate(item, aggregates) and not _is_of(item, inner, has):
            return True
        parts = item.iter_expressions()
    return any(may_aggregate(each, aggregates, has, inner) for each in parts)


def _of_window(window: Any) -> Iterator[Any]:
    """What a window function works on; itself it is no aggregate."""
    function = window.this
    while type(function).__name__ in _WRAPPERS:
        yield from (each for each in function.iter_expressions() if each is not function.this)
        function = function.this
    yield from function.iter_expressions()
    yield from (each for each in window.iter_expressions() if each is not window.this)


def _is_aggregate(node: Any, aggregates: frozenset[str]) -> bool:
    kinds = {each.__name__ for each in type(node).__mro__}
    if "Anonymous" in kinds:
        return node.name.lower() in aggregates
    if kinds & {"Max", "Min"} and node.expressions:
        return False  # of several values of one row
    return bool(kinds & {"AggFunc", "AnonymousAggFunc"})


def _is_of(aggregate: Any, selects: tuple[Any, ...], has: Reads) -> bool:
    """Whether it certainly belongs to one of these subqueries."""
    columns = [each for each in aggregate.walk() if type(each).__name__ == "Column"]
    return bool(selects) and all(
        any(_reads(select, column, has) for select in selects) for column in columns
    )


def _reads(select: Any, column: Any, has: Reads) -> bool:
    name, table = column.name.lower(), column.table.lower()
    for source in _sources(select):
        alias = source.alias_or_name.lower()
        if table == alias or (not table and has(source.name.lower(), name)):
            return True
    return False


def _sources(select: Any) -> Iterator[Any]:
    start = select.args.get("from_") or select.args.get("from")
    if start is not None:
        yield start.this
    yield from (join.this for join in select.args.get("joins") or ())


def holds_plain_column(node: Any, aggregates: frozenset[str]) -> bool:
    """Whether it reads a column, or all of them, outside of an aggregate."""
    if type(node).__name__ in ("Column", "Star"):
        return True
    function = node.this if type(node).__name__ == "Filter" else node
    if _is_aggregate(function, aggregates):
        return False
    return any(holds_plain_column(each, aggregates) for each in node.iter_expressions())


def is_count(item: Any) -> bool:
    """Whether it is a COUNT, filtered or not, and nothing else."""
    kind = type(item).__name__
    if kind in ("Alias", "Paren", "Filter"):
        return is_count(item.this)
    return kind == "Count"


def is_own_count(select: Any, has: Reads) -> bool:
    """Whether a subquery's only column is a COUNT, and of its own rows."""
    if len(select.expressions) != 1 or not is_count(select.expressions[0]):
        return False
    return _is_of(select.expressions[0], (select,), has)
