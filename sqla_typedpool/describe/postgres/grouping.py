"""What a query makes of its rows: groups, grouping sets, windows, sets, one row at least."""

from __future__ import annotations

from collections.abc import Callable

from sqla_typedpool.describe.postgres.nodes import Node

_SELECT = "1"
_GROUP = "9"
_EMPTY, _SIMPLE, _SETS = "0", "1", "4"
_MAY_TAKE_ROWS = ("groupClause", "havingQual", "limitCount", "limitOffset", "distinctClause")


def has_one_row(query: Node) -> bool:
    """Whether it has exactly one row whatever the data: an ungrouped aggregate, say."""
    if query.commandType != _SELECT or query.setOperations is not None:
        return False
    if any(query.fields.get(name) for name in _MAY_TAKE_ROWS) or query.flag("hasTargetSRFs"):
        return False
    if query.groupingSets:  # GROUP BY (): one group, of whatever there is
        return [each.fields.get("kind") for each in query.groupingSets] == [_EMPTY]
    tree = query.jointree
    return query.flag("hasAggs") or not (tree.nodes("fromlist") or tree.quals)


def has_full_groups(query: Node) -> bool:
    """Whether every group has a row: with GROUP BY, and without grouping sets."""
    return bool(query.groupClause) and not query.groupingSets


def has_complex_keys(query: Node) -> bool:
    """Whether a grouping set may leave out more than columns of this query.

    Before 18, wherever an expression like one of GROUP BY stands, it is left out with it;
    since 18 it is a column of a relation of its own.
    """
    if not query.groupingSets:
        return False
    keys = {int(clause.tleSortGroupRef) for clause in query.nodes("groupClause")}
    return any(
        entry.expr.kind != "VAR" or entry.expr.number("varlevelsup") > 0
        for entry in query.nodes("targetList")
        if entry.number("ressortgroupref") in keys
    )


def is_left_out(query: Node, relation: int, number: int) -> bool:
    """Whether there is a grouping set without this column."""
    if not query.groupingSets:
        return False
    references = {
        entry.number("ressortgroupref")
        for entry in query.nodes("targetList")
        if entry.expr.kind == "VAR"
        and not entry.expr.number("varlevelsup")
        and (int(entry.expr.varno), int(entry.expr.varattno)) == (relation, number)
    }
    return not any(
        _is_in_all(each, str(reference))
        for each in query.groupingSets
        for reference in references - {0}
    )


def _is_in_all(grouping: Node, reference: str) -> bool:
    """Whether a part of GROUP BY puts the column into each of its sets."""
    if grouping.kind != "GROUPINGSET":
        return False
    if grouping.fields.get("kind") == _SIMPLE:
        return reference in grouping.nodes("content")
    if grouping.fields.get("kind") == _SETS:
        return all(_is_in_all(each, reference) for each in grouping.nodes("content"))
    return False


def number_of_sets(query: Node) -> int:
    """How many set-returning functions its select list has, or its GROUP BY."""
    grouped = [each.groupexprs for each in query.nodes("rtable") if each.rtekind == _GROUP]
    return _sets_in([query.nodes("targetList"), grouped])


def _sets_in(value: object) -> int:
    """Set-returning calls below a value, those of subqueries not counted."""
    if isinstance(value, list):
        return sum(map(_sets_in, value))
    if not isinstance(value, Node) or value.kind == "QUERY":
        return 0
    own = value.flag("funcretset") or value.flag("opretset")
    return own + sum(map(_sets_in, value.fields.values()))


def frame_holds_row(query: Node, window: int, holds: Callable[[int], bool]) -> bool:
    """Whether the frame of a window always has the current row in it.

    :param holds: tells it from the frame's options.
    """
    for clause in query.nodes("windowClause"):
        if int(clause.winref) == window:
            return holds(clause.number("frameOptions"))
    return False
