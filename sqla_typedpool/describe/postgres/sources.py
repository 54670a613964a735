"""Where the value of a column of a query comes from: the expressions behind a reference.

A column of a subquery, of VALUES, of a CTE or of ``JOIN ... USING`` stands for other expressions.
In each row it has the value of one of them, or NULL if an outer join leaves the row out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sqla_typedpool.describe.postgres import outputs
from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.scope import Scope


class Source(NamedTuple):
    """An expression, and the query that it is a part of."""

    # None stands for NULL.
    expression: Node | None
    scope: Scope


def sources(column: Node, scope: Scope) -> Sequence[Source]:
    """Return the expressions that a column (``VAR``) stands for; () if they are not known."""
    owner = scope.enclosing(column.number("varlevelsup"))
    number = column.number("varattno")
    if owner is None or number < 1 or column.number("varreturningtype"):
        return ()
    entry = owner.entry(column.number("varno"))
    if owner.is_assignment and outputs.is_excluded(owner.query, column.number("varno")):
        found = inserted(owner, number)
        return () if found is None else (found,)
    if entry.rtekind == pg.RteKind.SUBQUERY:
        return of_query(owner.subquery(entry.subquery), number)
    if entry.rtekind == pg.RteKind.VALUES:
        return [Source(row[number - 1], owner) for row in entry.nodes("values_lists")]
    if entry.rtekind == pg.RteKind.CTE:
        return _of_cte(entry, owner, number)
    listed = {pg.RteKind.JOIN: "joinaliasvars", pg.RteKind.GROUP: "groupexprs"}
    expressions = entry.nodes(listed.get(entry.rtekind, ""))[number - 1 : number]
    return [Source(each, owner) for each in expressions if each is not None]


def inserted(scope: Scope, number: int) -> Source | None:
    """Return the value of a column of ``excluded``: what INSERT ... ON CONFLICT inserts.

    :return: None if it is not known (a default, a trigger may have changed it, or the INSERT is
        into a view), or if the INSERT has checked that it is not NULL.
    """
    query = scope.query
    relation = scope.relation(scope.entry(query.number("resultRelation")))
    if relation is None or not relation.is_stored or relation.changes_new_rows:
        return None
    column = relation.columns.get(number)
    if column is None or column.refuses_null:
        return None
    for entry in query.nodes("targetList"):
        if entry.number("resno") == number:
            return Source(entry.expr, replace(scope, assignments=()))
    if not column.may_store_null or column.has_default:
        return None
    return Source(None, scope)


def of_query(scope: Scope, number: int) -> Sequence[Source]:
    """Return the expressions that a column of a query's result stands for; () if not known."""
    query = scope.query
    if query.commandType != pg.CommandType.SELECT:
        return ()
    if query.setOperations is not None:
        return _of_set_operation(scope, query.setOperations, number)
    return [Source(each.expr, scope) for each in outputs.entries(query)[number - 1 : number]]


def _of_set_operation(scope: Scope, node: Node, number: int) -> Sequence[Source]:
    if node.kind != "SETOPERATIONSTMT":
        return of_query(scope.subquery(scope.entry(node.number("rtindex")).subquery), number)
    left = _of_set_operation(scope, node.larg, number)
    if node.op in (pg.SetOperation.INTERSECT, pg.SetOperation.EXCEPT):
        return left
    right = _of_set_operation(scope, node.rarg, number)
    return [*left, *right] if left and right else ()


def cte_of(entry: Node, scope: Scope) -> tuple[Node, Scope] | None:
    """Return the CTE that an entry of the range table refers to, and the query that has it."""
    owner = scope.enclosing(entry.number("ctelevelsup"))
    for cte in () if owner is None else owner.query.nodes("cteList"):
        if owner is not None and cte.ctename == entry.ctename:
            return cte, owner
    return None


def _of_cte(entry: Node, scope: Scope, number: int) -> Sequence[Source]:
    found = cte_of(entry, scope)
    if found is None or found[0].flag("cterecursive"):
        return ()
    cte, owner = found
    return of_query(owner.subquery(cte.ctequery), number)


def assigned_row(number: int, scope: Scope) -> Scope | None:
    """Return the subquery of ``SET (a, b) = (SELECT ...)``; None if it is not found.

    :param number: ``paramid`` of one of its columns: the number of the subquery << 16 | column.
    """
    for entry in scope.assignments:
        sublink = entry.expr
        if sublink.kind == "SUBLINK" and sublink.number("subLinkId") == number >> 16:
            return scope.subquery(sublink.subselect)
    return None


def row_column(number: int) -> int:
    """Return the number of the column in the row of ``SET (a, b) = (SELECT ...)``."""
    return number & 0xFFFF
