"""The columns that a query returns: of SELECT, of set operations, of RETURNING."""

from __future__ import annotations

from typing import Any

from sqla_typedpool.describe.nullability import Nullability, any_of, unknown, without_cause
from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.catalog import BUILT_IN, Relation
from sqla_typedpool.describe.postgres.nodes import Node, type_oid
from sqla_typedpool.describe.postgres.scope import Inference, Scope

# The rows of the target that RETURNING always has; there may be no others.
_RETURNED = {
    pg.CommandType.INSERT: (pg.Returning.DEFAULT, pg.Returning.NEW),
    pg.CommandType.UPDATE: (pg.Returning.DEFAULT, pg.Returning.OLD, pg.Returning.NEW),
    pg.CommandType.DELETE: (pg.Returning.DEFAULT, pg.Returning.OLD),
}


def infer_statement(inference: Inference, query: Node) -> list[Nullability]:
    """Return the nullability of each column of a statement's result."""
    scope = Scope(inference, query)
    return [output(scope, number) for number in range(1, len(entries(query)) + 1)]


def entries(query: Node) -> list[Any]:
    """Return the entries of the target list that are columns of the query's result."""
    is_select = query.commandType == pg.CommandType.SELECT
    listed = query.nodes("targetList" if is_select else "returningList")
    return [entry for entry in listed if not entry.flag("resjunk")]


def output(scope: Scope, number: int) -> Nullability:
    """Return the nullability of a column of the query's result, counted from 1."""
    inference, key = scope.inference, (scope.identity, number)
    if inference.assumed:  # the answer is true only under the assumptions: it is not kept
        return _output(scope, number)
    if key not in inference.known:
        inference.known[key] = _output(scope, number)
    return inference.known[key]


def _output(scope: Scope, number: int) -> Nullability:
    if scope.query.setOperations is not None:
        return _of_set_operation(scope, scope.query.setOperations, number)
    for entry in entries(scope.query):
        if int(entry.resno) == number:
            if _is_returned_by_others(scope):
                return unknown("a rule or an INSTEAD OF trigger may return other rows")
            return scope.infer(entry.expr)
    return unknown("the column is unknown")


# ---------------------------------------------------------------------- set operations


def _of_set_operation(scope: Scope, node: Node, number: int) -> Nullability:
    """Infer a column of UNION, INTERSECT or EXCEPT, or of one of their branches."""
    if node.kind != "SETOPERATIONSTMT":
        return output(scope.subquery(scope.entry(int(node.rtindex)).subquery), number)
    left, right = (_of_branch(scope, branch, node, number) for branch in (node.larg, node.rarg))
    if node.op == pg.SetOperation.INTERSECT:
        return _of_both(left, right)
    if node.op == pg.SetOperation.EXCEPT:
        return left
    return any_of([left, right], "no branch of UNION is NULL")


def _of_both(left: Nullability, right: Nullability) -> Nullability:
    """Combine the branches of INTERSECT: each of its rows is a row of both."""
    if not left.nullable:
        return left
    return right if left.cause else without_cause(right)


def _of_branch(scope: Scope, branch: Node, node: Node, number: int) -> Nullability:
    """Infer a branch's column, converted to the common type of all branches."""
    common = int(node.nodes("colTypes")[number - 1])
    own = _type_in_branch(scope, branch, number)
    if own != common and (common >= BUILT_IN or own >= BUILT_IN):
        return unknown("a branch is converted by an application's own cast")
    return _of_set_operation(scope, branch, number)


def _type_in_branch(scope: Scope, branch: Node, number: int) -> int:
    if branch.kind == "SETOPERATIONSTMT":
        return int(branch.nodes("colTypes")[number - 1])
    columns = entries(scope.entry(int(branch.rtindex)).subquery)
    return type_oid(columns[number - 1].expr)


# --------------------------------------------------------------------------- RETURNING


def is_new_row(query: Node, relation: int) -> bool:
    """Return whether a relation is the one the statement writes to, with its new rows."""
    is_target = relation == query.number("resultRelation")
    return is_target and query.commandType != pg.CommandType.DELETE


def is_excluded(query: Node, relation: int) -> bool:
    """Return whether a relation is ``excluded`` of ON CONFLICT DO UPDATE."""
    return query.onConflict is not None and relation == query.onConflict.number("exclRelIndex")


def may_lack_row(query: Node, relation: int, returning: int) -> bool:
    """Return whether RETURNING may have no row of this relation.

    :param returning: a `Returning`: which row of the target is referred to.
    """
    if returning not in _RETURNED.get(query.commandType, (pg.Returning.DEFAULT,)):
        return True
    if query.commandType != pg.CommandType.MERGE or relation == query.number("resultRelation"):
        return False
    with_source = (pg.MergeMatchKind.MATCHED, pg.MergeMatchKind.NOT_MATCHED_BY_TARGET)
    return any(each.matchKind not in with_source for each in query.nodes("mergeActionList"))


def _is_returned_by_others(scope: Scope) -> bool:
    """Return whether RETURNING may return the rows of a rule or of an INSTEAD OF trigger."""
    target = scope.query.number("resultRelation")
    return bool(target) and _may_return(scope, scope.relation(scope.entry(target)))


def _may_return(scope: Scope, relation: Relation | None) -> bool:
    if relation is None or relation.has_rules:
        return True
    if relation.kind != pg.RelationKind.VIEW:
        return not relation.is_stored
    if relation.view is None:
        return False
    view = scope.view(relation.view, is_written=True)
    read = [entry for entry in relation.view.nodes("rtable") if _is_read(entry)]
    return any(_may_return(view, view.relation(entry)) for entry in read)


def _is_read(entry: Node) -> bool:
    """Return whether a view reads this entry: not OLD and NEW of the view's own rule."""
    return entry.rtekind == pg.RteKind.RELATION and entry.flag("inFromCl")
