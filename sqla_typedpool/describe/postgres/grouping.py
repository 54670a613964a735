"""What a query makes of its rows: groups, grouping sets, window frames, one row at least."""

from __future__ import annotations

from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.nodes import Node, nodes_in

_MAY_REMOVE_ROWS = ("groupClause", "havingQual", "limitCount", "limitOffset", "distinctClause")

# A frame contains the current row if it starts at or before it, and ends at or after it. Offsets
# count only with ROWS and GROUPS: what an offset of RANGE means is decided by the column's type.
_STARTS = pg.FrameOption.START_UNBOUNDED_PRECEDING | pg.FrameOption.START_CURRENT_ROW
_ENDS = pg.FrameOption.END_UNBOUNDED_FOLLOWING | pg.FrameOption.END_CURRENT_ROW
_COUNTED = pg.FrameOption.ROWS | pg.FrameOption.GROUPS
_EXCLUDES = pg.FrameOption.EXCLUDE_CURRENT_ROW | pg.FrameOption.EXCLUDE_GROUP


def has_one_row(query: Node) -> bool:
    """Return whether a query returns exactly one row, whatever the data.

    Examples: ``SELECT count(*) FROM t``, ``SELECT 1``.
    """
    if query.commandType != pg.CommandType.SELECT or query.setOperations is not None:
        return False
    if any(query.fields.get(name) for name in _MAY_REMOVE_ROWS) or query.flag("hasTargetSRFs"):
        return False
    if query.groupingSets:  # GROUP BY (): one group of all rows, even of none
        return [each.fields.get("kind") for each in query.groupingSets] == [
            pg.GroupingSetKind.EMPTY
        ]
    tree = query.jointree
    return query.flag("hasAggs") or not (tree.nodes("fromlist") or tree.quals)


def groups_have_rows(query: Node) -> bool:
    """Return whether each group has a row: with GROUP BY, and without grouping sets."""
    return bool(query.groupClause) and not query.groupingSets


def has_complex_keys(query: Node) -> bool:
    """Return whether grouping sets may omit more than plain columns of this query.

    Before PostgreSQL 18, an expression that equals one of GROUP BY is NULL in the grouping sets
    without it, wherever it stands. Since 18, it is a column of a relation of its own.
    """
    if not query.groupingSets:
        return False
    keys = {int(clause.tleSortGroupRef) for clause in query.nodes("groupClause")}
    return any(
        entry.number("ressortgroupref") in keys and not _is_own_column(entry.expr)
        for entry in query.nodes("targetList")
    )


def _is_own_column(expression: Node) -> bool:
    return expression.kind == "VAR" and not expression.number("varlevelsup")


def is_omitted(query: Node, relation: int, number: int) -> bool:
    """Return whether there is a grouping set without this column."""
    if not query.groupingSets:
        return False
    references = {
        entry.number("ressortgroupref")
        for entry in query.nodes("targetList")
        if _is_own_column(entry.expr)
        and (int(entry.expr.varno), int(entry.expr.varattno)) == (relation, number)
    }
    return not any(
        _is_in_all(each, str(reference))
        for each in query.groupingSets
        for reference in references - {0}
    )


def _is_in_all(grouping: Node, reference: str) -> bool:
    """Return whether an item of GROUP BY puts the column into each of its grouping sets."""
    if grouping.kind != "GROUPINGSET":
        return False
    if grouping.fields.get("kind") == pg.GroupingSetKind.SIMPLE:
        return reference in grouping.nodes("content")
    if grouping.fields.get("kind") == pg.GroupingSetKind.SETS:
        return all(_is_in_all(each, reference) for each in grouping.nodes("content"))
    return False


def count_set_functions(query: Node) -> int:
    """Count the calls of set-returning functions in the select list and in GROUP BY."""
    entries = query.nodes("rtable")
    groups = [each.groupexprs for each in entries if each.rtekind == pg.RteKind.GROUP]
    nodes = nodes_in([query.nodes("targetList"), groups], subqueries=False)
    return sum(node.flag("funcretset") or node.flag("opretset") for node in nodes)


def frame_has_current_row(query: Node, window: int) -> bool:
    """Return whether the frame of a window always contains the current row.

    :param window: ``winref`` of the window function.
    """
    for clause in query.nodes("windowClause"):
        if int(clause.winref) == window:
            return _has_current_row(clause.number("frameOptions"))
    return False


def _has_current_row(options: int) -> bool:
    starts, ends = _STARTS, _ENDS
    if options & _COUNTED:
        starts |= pg.FrameOption.START_OFFSET_PRECEDING
        ends |= pg.FrameOption.END_OFFSET_FOLLOWING
    return bool(options & starts and options & ends and not options & _EXCLUDES)
