"""The columns of a query's relations: of tables, views, subqueries, joins, functions and CTEs.

`variable` is the rule for ``VAR``. There are three reasons why a column may be NULL: it may be
NULL in the relation itself (`of_relation`), an outer join may leave the relation without a row,
or grouping sets omit the column. A condition may exclude each of them.
"""

from __future__ import annotations

from dataclasses import replace

from sqla_typedpool.describe.nullability import (
    Nullability,
    any_of,
    maybe,
    never,
    unknown,
    without_cause,
    without_relation,
)
from sqla_typedpool.describe.postgres import grouping, outputs
from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.calls import set_column
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.predicates import ColumnRef
from sqla_typedpool.describe.postgres.scope import Scope
from sqla_typedpool.describe.postgres.sources import inserted

_UNKNOWN = unknown("the column is unknown")
_WHOLE_ROW = unknown("a whole row may be NULL")


def variable(node: Node, scope: Scope) -> Nullability:
    """Infer a column of a relation, of this query or of one around it."""
    levels = node.number("varlevelsup")
    owner = scope.enclosing(levels)
    if owner is None:
        return _UNKNOWN
    relation, number = int(node.varno), int(node.varattno)
    between: Scope | None = scope
    for levels_up in range(levels, 0, -1):  # from the inside to the outside
        if between and ColumnRef(levels_up, relation, number) in between.not_null_by_where:
            return never("a condition excludes NULL")
        between = between and between.parent
    return _column(owner, relation, number, node.number("varreturningtype"))


def _column(scope: Scope, relation: int, number: int, returning: int) -> Nullability:
    """Infer a column of one of the query's relations, in the rows of its joins.

    :param returning: a `Returning`: which row of the target is referred to.
    """
    query, entry, reference = scope.query, scope.entry(relation), ColumnRef(0, relation, number)
    if reference in scope.guards and not returning and not query.groupingSets:
        return never("a condition of CASE excludes NULL")
    if reference in scope.not_null_by_having and not scope.before_grouping:
        return never(f"HAVING excludes NULL in {_name_of(entry, number)}")
    if scope.is_written_view:
        return _of_table(scope, entry, number)
    if not scope.before_grouping and grouping.is_omitted(query, relation, number):
        return maybe("some grouping sets omit it")
    if entry.rtekind == pg.RteKind.GROUP:
        return replace(scope, before_grouping=True).infer(entry.nodes("groupexprs")[number - 1])
    if scope.is_assignment and outputs.is_excluded(query, relation):
        return _of_excluded(scope, entry, number)
    if outputs.may_lack_row(query, relation, returning) and not scope.is_assignment:
        return maybe("there may be no such row")
    if outputs.is_new_row(query, relation) and not scope.is_assignment:
        return without_cause(_of_table(scope, entry, number))  # WHERE was true of the old row
    if scope.joins.excludes_null(relation, number, scope.within_join):
        return never(f"a condition excludes NULL in {_name_of(entry, number)}")
    found = _joined(scope, relation, number)
    is_doubtful = bool(found.cause) and _is_doubtful(scope, relation, number)
    return without_cause(found) if is_doubtful else found


def _is_doubtful(scope: Scope, relation: int, number: int) -> bool:
    """Return whether a condition that is not understood may exclude NULL in a column.

    If the relation may be missing, a condition on any of its columns may exclude that.
    """
    may_be_missing = bool(scope.joins.extensions(relation))
    return any(
        each.relation == relation and (each.number in (0, number) or may_be_missing)
        for each in scope.doubtful
        if not each.levels_up
    )


def _name_of(entry: Node, number: int) -> str:
    """Return ``u.nick``, with the alias that the statement uses."""
    names = entry.eref.nodes("colnames")
    column = names[number - 1] if 0 < number <= len(names) else "*"
    return f"{entry.eref.aliasname}.{column}"


# --------------------------------------------------------------------------- outer joins


def _joined(scope: Scope, relation: int, number: int) -> Nullability:
    """Infer a column whose relation an outer join may leave without a row."""
    own = of_relation(scope, relation, number)
    alias = _alias(scope, relation)
    if own.nullable:
        if own.missing_with and _is_present(scope, relation, own.missing_with):
            return never(f"a condition excludes that {own.missing_with} is missing")
        inner = own.missing_with
        return replace(own, missing_with=f"{alias}.{inner}" if inner and alias else None)
    extensions = scope.joins.extensions(relation, scope.within_join)
    if not extensions:
        return own
    name = scope.entry(relation).eref.aliasname
    together = _missing_together(scope, relation) if alias else None
    return maybe(f"{name} may be missing ({extensions[0].word})", together)


def _is_present(scope: Scope, relation: int, missing_with: str) -> bool:
    """Return whether a condition on another column shows that the inner row is not missing."""
    return any(
        scope.joins.excludes_null(relation, other, scope.within_join)
        and of_relation(scope, relation, other).missing_with == missing_with
        for other in scope.joins.columns_in_conditions(relation)
        if other > 0
    )


def _missing_together(scope: Scope, relation: int) -> str:
    """Return the aliases of the relations that are missing in the same rows: ``p, q``."""
    relations = scope.joins.extended_alike(relation, scope.within_join)
    return ", ".join(filter(None, (_alias(scope, each) for each in relations)))


def _alias(scope: Scope, relation: int) -> str | None:
    """Return a relation's alias, made unique in the query; None for a join."""
    entry = scope.entry(relation)
    if entry.rtekind == pg.RteKind.JOIN:
        return None
    alias: str = entry.eref.aliasname
    aliases = [each.eref.aliasname for each in scope.query.nodes("rtable")]
    return alias if aliases.count(alias) == 1 else f"{alias}#{relation}"


# ------------------------------------------------------------------- a relation by itself


def of_relation(scope: Scope, relation: int, number: int) -> Nullability:
    """Infer a column of a relation by itself, without the joins and conditions around it."""
    entry = scope.entry(relation)
    kind = entry.rtekind
    if kind == pg.RteKind.RELATION:
        return _of_table(scope, entry, number)
    if number < 1:
        return _WHOLE_ROW
    if kind == pg.RteKind.SUBQUERY:
        return outputs.output(scope.subquery(entry.subquery), number)
    if kind == pg.RteKind.JOIN:
        return _of_join(scope, relation, number)
    if kind == pg.RteKind.FUNCTION:
        return _of_function(scope, entry, number)
    if kind == pg.RteKind.VALUES:
        rows = scope.infer_all([row[number - 1] for row in entry.nodes("values_lists")])
        return any_of(rows, "no row of VALUES is NULL")
    if kind == pg.RteKind.CTE:
        return _of_cte(scope, entry, number)
    return unknown(f"every column of {entry.eref.aliasname} may be NULL")


def _of_table(scope: Scope, entry: Node, number: int) -> Nullability:
    """Infer a column of a table or view."""
    relation = scope.relation(entry)
    if relation is None:
        return unknown("the table is unknown")
    if relation.view is not None:
        return _of_view(scope, entry, relation.view, number)
    name = _name_of(entry, number)
    if number < 1:  # the whole row, or a system column
        return never(f"{name} is a row") if relation.is_stored else _UNKNOWN
    column = relation.columns.get(number)
    if column is None or column.is_virtual:
        return unknown(f"{name} is a virtual generated column")
    has_children = entry.flag("inh") or relation.kind == pg.RelationKind.PARTITIONED
    if column.not_null if has_children else column.not_null_only:
        return never(f"{name} is NOT NULL")
    return maybe(f"{name} may be NULL") if column.may_store_null else unknown(f"{name} may be NULL")


def _of_excluded(scope: Scope, entry: Node, number: int) -> Nullability:
    """Infer a column of ``excluded``: the row that INSERT could not insert, but has checked."""
    own, relation = _of_table(scope, entry, number), scope.relation(entry)
    column = relation.columns.get(number) if relation is not None else None
    if not own.nullable or column is None:
        return own
    if column.refuses_null:
        return never(f"{_name_of(entry, number)} is NOT NULL")
    found = inserted(scope, number)
    if found is None:
        return unknown(f"{_name_of(entry, number)} may be NULL")
    return found.scope.infer(found.expression)


def _of_view(scope: Scope, entry: Node, view: Node, number: int) -> Nullability:
    if number < 1:
        return _WHOLE_ROW
    target = scope.query.number("resultRelation")
    is_target = target > 0 and scope.entry(target) is entry and not scope.is_assignment
    is_written = scope.is_written_view or is_target
    return outputs.output(scope.view(view, is_written=is_written), number)


def _of_join(scope: Scope, relation: int, number: int) -> Nullability:
    """Infer a column of ``JOIN ... USING``, in the rows of the join itself."""
    entry = scope.entry(relation)
    variables = entry.nodes("joinaliasvars")
    if number > len(variables) or variables[number - 1] is None:
        return _UNKNOWN
    merged, at_join = variables[number - 1], scope.at_join(relation)
    if entry.jointype == pg.JoinType.FULL and merged.kind == "COALESCEEXPR":
        sides = at_join.infer_all(merged.nodes("args"))
        return any_of(sides, f"one side of the FULL JOIN has {_name_of(entry, number)}")
    return at_join.infer(merged)


def _of_function(scope: Scope, entry: Node, number: int) -> Nullability:
    """Infer a column of a function in FROM."""
    functions = entry.nodes("functions")
    total = sum(each.number("funccolcount") for each in functions)
    if number == total + 1 and entry.flag("funcordinality"):
        return never("WITH ORDINALITY numbers the rows")
    if len(functions) != 1:
        return maybe("the shorter function of ROWS FROM is padded with NULL")
    called = functions[0].funcexpr
    if not called.flag("funcretset"):
        return scope.infer(called) if total == 1 else unknown("the function may return NULL")
    function = scope.function(called.number("funcid"))
    return set_column(function, number, called.nodes("args"), scope)


# ---------------------------------------------------------------------------------- CTEs


def _of_cte(scope: Scope, entry: Node, number: int) -> Nullability:
    owner = scope.enclosing(entry.number("ctelevelsup"))
    for cte in owner.query.nodes("cteList") if owner is not None else ():
        if cte.ctename == entry.ctename and owner is not None:
            return _of_with(owner, cte, number)
    return unknown(f"the CTE {entry.ctename} is unknown")


def _of_with(owner: Scope, cte: Node, number: int) -> Nullability:
    assumed, known = owner.inference.assumed, owner.inference.known
    inner, total = owner.subquery(cte.ctequery), len(outputs.entries(cte.ctequery))
    if number > total:
        return _of_search_or_cycle(owner, cte, number - total)
    if id(cte) in assumed:
        return assumed[id(cte)].get(number, _UNKNOWN)
    if not cte.flag("cterecursive"):
        return outputs.output(inner, number)
    if (inner.identity, number) in known:
        return known[inner.identity, number]
    columns = _fixed_point(inner, id(cte), total)
    if not assumed:
        known.update({(inner.identity, each): found for each, found in columns.items()})
    return columns.get(number, _UNKNOWN)


def _of_search_or_cycle(owner: Scope, cte: Node, number: int) -> Nullability:
    """Infer a column that SEARCH (the order) or CYCLE (the mark, the path) adds to a CTE."""
    cycle = cte.cycle_clause
    if cycle is not None and number == (2 if cte.search_clause is not None else 1):
        marks = owner.infer_all([cycle.cycle_mark_value, cycle.cycle_mark_default])
        return any_of(marks, "neither mark of CYCLE is NULL")
    return never("SEARCH or CYCLE sets it")


def _fixed_point(inner: Scope, key: int, total: int) -> dict[int, Nullability]:
    """Infer the columns of a recursive CTE.

    Assume that no column is NULL, infer the query, add the columns that may be NULL to the
    assumptions, and repeat until nothing is added.

    :param key: of the CTE in `Inference.assumed`.
    """
    numbers, assumed = range(1, total + 1), inner.inference.assumed
    found = dict.fromkeys(numbers, never("no step of the recursion returns NULL"))
    while True:
        assumed[key] = found
        try:
            step = {number: outputs.output(inner, number) for number in numbers}
        finally:
            del assumed[key]
        if all(step[number].nullable <= found[number].nullable for number in numbers):
            return {number: without_relation(each) for number, each in step.items()}
        found = {each: step[each] if step[each].nullable else found[each] for each in numbers}
