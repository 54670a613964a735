"""The walker: from a statement's analysed tree to what can be NULL in its result.

A `Level` is one query of the tree, with the queries around it. A column of its result is an
expression over its relations; a column of a relation is the table's own NOT NULL, or a
column of a subquery, a view, a CTE. An outer join above can leave any of them out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from . import functions as known
from .catalogue import BUILT_IN, Catalogue, Function, Relation
from .expressions import judge, type_of
from .joins import Joins
from .nodes import Node
from .nullness import Nullness, any_of, maybe, never
from .strictness import Named, not_null_if_true, not_null_unless_true

__all__ = ["Level", "Walker"]

_SELECT, _UPDATE, _INSERT, _DELETE = "1", "2", "3", "4"
_RELATION, _SUBQUERY, _JOIN, _FUNCTION, _VALUES, _CTE, _GROUP = "0", "1", "2", "3", "5", "6", "9"
_FULL = "2"
_OLD, _NEW = 1, 2
_ALWAYS_THERE = {_UPDATE: (0, _OLD, _NEW), _INSERT: (0, _NEW), _DELETE: (0, _OLD)}
_UNION, _INTERSECT, _EXCEPT = "1", "2", "3"
_MATCHED, _NOT_MATCHED_BY_TARGET = "0", "2"
_STORED = ("r", "p", "m")


@dataclass
class Walker:
    """One walk over one tree."""

    catalogue: Catalogue
    parameters: tuple[str, ...]
    """Names of ``$1``, ``$2``, ..."""
    never_null: frozenset[str]
    assumed: dict[int, dict[int, Nullness]] = field(default_factory=dict)
    """Recursive CTEs being walked: what their columns are taken to be."""
    known: dict[tuple[object, int], Nullness] = field(default_factory=dict)
    """Columns of queries that have been judged."""
    joins: dict[int, Joins] = field(default_factory=dict)
    """The FROM clauses of queries that have been looked at."""

    def outputs(self, query: Node) -> list[Nullness]:
        """What is to be said of each column of the statement's result."""
        level = Level(self, query, None)
        return [level.output(number + 1) for number in range(len(level.entries))]

    def parameter(self, number: int) -> Nullness:
        name = self.parameters[number - 1] if number <= len(self.parameters) else str(number)
        if name in self.never_null:
            return never(f"parameter {name} is never None")
        return maybe(f"parameter {name} may be None")

    def operator(self, node: Node) -> tuple[Function | None, str]:
        """The function behind an operator, and the operator's name."""
        number, name = self.catalogue.operators.get(node.number("opno"), (0, "?"))
        return self.catalogue.functions.get(number), name


@dataclass(frozen=True, eq=False)
class Level:
    """One query of the tree."""

    walker: Walker
    query: Node
    parent: Level | None
    is_in_aggregate: bool = False
    """Whether what is judged stands inside an aggregate: before groups are made."""
    within_join: int | None = None
    """Whether it stands at this join: before the joins above it."""
    compared: Level | None = None
    """The subquery that ``x IN (...)`` is about."""
    guards: frozenset[Named] = frozenset()
    """Columns that are not NULL here, because a branch of CASE would not be taken else."""

    # ------------------------------------------------------------------ around it

    def up(self, levels: int) -> Level | None:
        """The query so many levels further out."""
        found: Level | None = self
        for _ in range(levels):
            found = None if found is None else found.parent
        return found

    def below(self, query: Node) -> Level:
        """A query inside this one."""
        return Level(self.walker, query, self)

    def guarded_by(self, condition: Node, *, is_true: bool = True) -> Level:
        """The same place, where a condition of CASE is true, or is not."""
        found = not_null_if_true if is_true else not_null_unless_true
        columns = found(condition, self.walker.catalogue)
        return replace(self, guards=self.guards | columns) if columns else self

    def unguarded(self) -> Level:
        """The same place, but inside an aggregate: it is made before CASE chooses a branch."""
        parent = self.parent and self.parent.unguarded()
        return replace(self, parent=parent, guards=frozenset())

    # ------------------------------------------------------------------ its result

    @cached_property
    def entries(self) -> list[Node]:
        """The columns of its result."""
        query = self.query
        returned = query.nodes("returningList")
        found = query.nodes("targetList") if query.commandType == _SELECT else returned
        return [entry for entry in found if not entry.flag("resjunk")]

    @cached_property
    def _identity(self) -> object:
        around = self.parent._identity if self.parent is not None else None
        return id(self.query), self.is_in_aggregate, self.within_join, self.guards, around

    def output(self, number: int) -> Nullness:
        """One column of its result, counted from 1."""
        if self.walker.assumed:  # what is found holds only under what is assumed
            return self._output(number)
        key = self._identity, number
        known = self.walker.known
        if key not in known:
            known[key] = self._output(number)
        return known[key]

    def _output(self, number: int) -> Nullness:
        if self.query.setOperations is not None:
            return self._combined(self.query.setOperations, number)
        for entry in self.entries:
            if int(entry.resno) == number:
                if self._is_answered_by_others():
                    return maybe("a rule or trigger answers in place of the statement")
                return judge(entry.expr, self)
        return maybe("nothing is known of this column")

    def _is_answered_by_others(self) -> bool:
        """Whether RETURNING may tell of rows that a rule or an INSTEAD OF trigger has made."""
        target = self.query.number("resultRelation")
        if not target:
            return False
        relation = self._relation(self._entry(target))
        return relation is None or relation.has_rules or relation.kind not in _STORED

    def _combined(self, node: Node, number: int) -> Nullness:
        if node.kind != "SETOPERATIONSTMT":
            return self.below(self._entry(int(node.rtindex)).subquery).output(number)
        left, right = (self._arm(arm, node, number) for arm in (node.larg, node.rarg))
        if node.op == _INTERSECT:
            return right if left.nullable else left
        if node.op == _EXCEPT:
            return left
        return any_of([left, right], "no arm of UNION is NULL")

    def _arm(self, arm: Node, node: Node, number: int) -> Nullness:
        """An arm's column, after it has been made the type that the arms have in common."""
        if arm.kind == "RANGETBLREF" and self._is_cast_by_others(arm, node, number):
            return maybe("an arm is cast by a function of the application")
        return self._combined(arm, number)

    def _is_cast_by_others(self, arm: Node, node: Node, number: int) -> bool:
        wanted = int(node.nodes("colTypes")[number - 1])
        entries = self.below(self._entry(int(arm.rtindex)).subquery).entries
        given = type_of(entries[number - 1].expr)
        return given != wanted and (wanted >= BUILT_IN or given >= BUILT_IN)

    def has_one_row(self) -> bool:
        """Whether it has exactly one row whatever the data: an ungrouped aggregate, say."""
        query = self.query
        if query.commandType != _SELECT or query.setOperations is not None:
            return False
        if any(query.fields.get(name) for name in _MAY_TAKE_ROWS) or query.flag("hasTargetSRFs"):
            return False
        tree = query.jointree
        return query.flag("hasAggs") or not (tree.nodes("fromlist") or tree.quals)

    # -------------------------------------------------------------- groups and windows

    def has_full_groups(self) -> bool:
        """Whether every group has a row: with GROUP BY, and without grouping sets."""
        return bool(self.query.groupClause) and not self.query.groupingSets

    def is_complex_key(self, node: Node) -> bool:
        """Whether an expression may be one that grouping sets leave out of some rows."""
        if not self.query.groupingSets or self.is_in_aggregate or node.kind in _OF_GROUPS:
            return False
        return self._has_complex_keys

    @cached_property
    def _has_complex_keys(self) -> bool:
        keys = {int(clause.tleSortGroupRef) for clause in self.query.nodes("groupClause")}
        entries = self.query.nodes("targetList")
        return any(
            entry.expr.kind != "VAR" for entry in entries if entry.number("ressortgroupref") in keys
        )

    def counts_of_sets(self) -> int:
        """How many set-returning functions its select list has."""
        return _sets_in(self.query.nodes("targetList"))

    def frame_holds_row(self, number: int, holds: Callable[[int], bool]) -> bool:
        """Whether the frame of a window always has the current row in it."""
        for clause in self.query.nodes("windowClause"):
            if int(clause.winref) == number:
                return holds(clause.number("frameOptions"))
        return False

    # -------------------------------------------------------------------- its columns

    def variable(self, node: Node) -> Nullness:
        """A column of a relation, of this query or of one around it."""
        levels = node.number("varlevelsup")
        owner = self.up(levels)
        if owner is None:
            return maybe("nothing is known of this column")
        relation, number = int(node.varno), int(node.varattno)
        for inner in range(levels):
            level = self.up(inner)
            if level is not None and Named(levels - inner, relation, number) in level._outer_facts:
                return never("a condition excludes NULL")
        return owner.column(relation, number, node.number("varreturningtype"))

    def column(self, relation: int, number: int, returning: int = 0) -> Nullness:
        """A column of one of its relations, as it is when rows come out of the joins."""
        entry = self._entry(relation)
        named = Named(0, relation, number)
        if named in self.guards and not returning:
            return never("CASE excludes NULL here")
        if named in self._having and not self.is_in_aggregate:
            return never(f"HAVING excludes NULL in {_name(entry, number)}")
        if self.query.groupingSets and not self.is_in_aggregate:
            return maybe("grouping sets leave it out of some rows")
        if entry.rtekind == _GROUP:
            return judge(entry.nodes("groupexprs")[number - 1], self)
        if returning not in _ALWAYS_THERE.get(self.query.commandType, (0,)):
            return maybe("there may be no such row")
        target = self.query.number("resultRelation")
        if relation == target and self.query.commandType != _DELETE:
            return self._of_relation(entry, number)  # what WHERE said of the old row is void
        if target and self.query.commandType not in _ALWAYS_THERE and self._may_lack_source():
            return maybe("WHEN NOT MATCHED BY SOURCE there is no such row")
        if self._joins.excludes_null(relation, number, self.within_join):
            return never(f"a condition excludes NULL in {_name(entry, number)}")
        return self._extended(relation, entry, number)

    def _may_lack_source(self) -> bool:
        kinds = {action.matchKind for action in self.query.nodes("mergeActionList")}
        return not kinds <= {_MATCHED, _NOT_MATCHED_BY_TARGET}

    def _extended(self, relation: int, entry: Node, number: int) -> Nullness:
        own = self._source(relation, entry, number)
        extensions = self._joins.extending(relation, self.within_join)
        alias = self._unique_alias(relation, entry)
        if own.nullable and own.missing_with and self._is_ruled_out(relation, entry, own):
            return never(f"a condition excludes that {own.missing_with} is missing")
        if own.nullable:
            inner = own.missing_with
            return maybe(own.why, f"{alias}.{inner}" if inner and alias else None)
        if not extensions:
            return own
        return maybe(f"{entry.eref.aliasname} may be missing ({extensions[0].word})", alias)

    def _is_ruled_out(self, relation: int, entry: Node, own: Nullness) -> bool:
        """Whether a condition about another column tells that the missing row is there."""
        return any(
            self._joins.excludes_null(relation, other, self.within_join)
            and self._source(relation, entry, other).missing_with == own.missing_with
            for other in self._joins.facts_about(relation)
            if other > 0
        )

    def _unique_alias(self, relation: int, entry: Node) -> str | None:
        if entry.rtekind == _JOIN:
            return None
        alias: str = entry.eref.aliasname
        same = [each for each in self.query.nodes("rtable") if each.eref.aliasname == alias]
        return alias if len(same) == 1 else f"{alias}#{relation}"

    def _source(self, relation: int, entry: Node, number: int) -> Nullness:
        """A column of a relation by itself, no joins counted."""
        kind = entry.rtekind
        if kind == _RELATION:
            return self._of_relation(entry, number)
        if number < 1:
            return maybe("nothing is known of a whole row")
        if kind == _SUBQUERY:
            return self.below(entry.subquery).output(number)
        if kind == _JOIN:
            return self._merged(relation, entry, number)
        if kind == _FUNCTION:
            return self._of_function(entry, number)
        if kind == _VALUES:
            rows = [judge(row[number - 1], self) for row in entry.nodes("values_lists")]
            return any_of(rows, "no row of VALUES is NULL")
        if kind == _CTE:
            return self._of_cte(entry, number)
        return maybe(f"nothing is known of {entry.eref.aliasname}")

    def _of_relation(self, entry: Node, number: int) -> Nullness:
        relation = self._relation(entry)
        if relation is None:
            return maybe("nothing is known of the table")
        if relation.view is not None:
            return _of_view(self.walker, relation, number)
        name = _name(entry, number)
        if number < 1:
            is_whole = relation.kind in _STORED
            return never(f"{name} is a whole row") if is_whole else maybe(f"{name} may be NULL")
        column = relation.columns.get(number)
        if column is None or column.is_virtual:
            return maybe(f"{name} is computed when it is read")
        with_heirs = entry.flag("inh") or relation.kind == "p"
        if column.not_null if with_heirs else column.not_null_only:
            return never(f"{name} is NOT NULL")
        return maybe(f"{name} may be NULL")

    def _merged(self, relation: int, entry: Node, number: int) -> Nullness:
        """A column of ``JOIN ... USING``, as it comes out of the join itself."""
        variables = entry.nodes("joinaliasvars")
        if number > len(variables) or variables[number - 1] is None:
            return maybe("nothing is known of this column")
        variable = variables[number - 1]
        at_join = Level(self.walker, self.query, self.parent, self.is_in_aggregate, relation)
        if entry.jointype == _FULL and variable.kind in ("COALESCEEXPR", "COALESCE"):
            sides = [judge(each, at_join) for each in variable.nodes("args")]
            return any_of(sides, f"one side of the FULL JOIN has {_name(entry, number)}")
        return judge(variable, at_join)

    def _of_function(self, entry: Node, number: int) -> Nullness:
        functions = entry.nodes("functions")
        total = sum(each.number("funccolcount") for each in functions)
        if number == total + 1 and entry.flag("funcordinality"):
            return never("WITH ORDINALITY counts the rows")
        if len(functions) != 1:
            return maybe("the shorter function of ROWS FROM is filled up with NULL")
        called = functions[0].funcexpr
        if not called.flag("funcretset"):
            return judge(called, self) if total == 1 else maybe("the function may return NULL")
        function = self.walker.catalogue.functions.get(called.number("funcid"))
        if function is None or not function.is_built_in:
            return maybe("the function may return NULLs")
        if number in known.MAKES_ROWS.get(function.name, ()):
            return never(f"{function.name}() makes no NULLs")
        return maybe(f"{function.name}() may make NULLs")

    # --------------------------------------------------------------------------- CTEs

    def _of_cte(self, entry: Node, number: int) -> Nullness:
        owner = self.up(entry.number("ctelevelsup"))
        ctes = owner.query.nodes("cteList") if owner is not None else []
        for cte in ctes:
            if cte.ctename == entry.ctename and owner is not None:
                return owner._of_query(cte, number)
        return maybe(f"nothing is known of {entry.ctename}")

    def _of_query(self, cte: Node, number: int) -> Nullness:
        walker, key = self.walker, id(cte)
        if key in walker.assumed:
            return walker.assumed[key].get(number, maybe("nothing is known of this column"))
        inner = self.below(cte.ctequery)
        if not cte.flag("cterecursive"):
            return inner.output(number)
        if (key, number) in walker.known:
            return walker.known[key, number]
        columns = inner._fixpoint(key)
        if not walker.assumed:
            walker.known.update({(key, each): found for each, found in columns.items()})
        return columns.get(number, maybe("nothing is known of this column"))

    def _fixpoint(self, key: int) -> dict[int, Nullness]:
        """The columns of a recursive CTE: never NULL until a step makes them so."""
        numbers = range(1, len(self.entries) + 1)
        assumed = self.walker.assumed
        found: dict[int, Nullness] = {number: never("no step is NULL") for number in numbers}
        while True:
            assumed[key] = found
            try:
                step = {number: self.output(number) for number in numbers}
            finally:
                del assumed[key]
            if all(step[number].nullable <= found[number].nullable for number in numbers):
                return {number: _without_relation(each) for number, each in step.items()}
            found = {n: step[n] if step[n].nullable else found[n] for n in numbers}

    # ---------------------------------------------------------------------- conditions

    @property
    def _joins(self) -> Joins:
        known, key = self.walker.joins, id(self.query)
        if key not in known:
            known[key] = Joins(self.query, self._not_null_if_true, self._has_row)
        return known[key]

    @cached_property
    def _having(self) -> frozenset[Named]:
        if not self.query.groupClause:
            return frozenset()
        return self._not_null_if_true(self.query.havingQual)

    @cached_property
    def _outer_facts(self) -> frozenset[Named]:
        """What WHERE says of columns of the queries around: true of each row of the result.

        Not so where there is a row without any that WHERE has let through.
        """
        query = self.query
        is_plain = query.commandType == _SELECT and not (
            query.flag("hasAggs") or query.groupingSets or query.havingQual
        )
        if not is_plain or query.jointree is None:
            return frozenset()
        return self._not_null_if_true(query.jointree.quals)

    def _not_null_if_true(self, condition: Node | None) -> frozenset[Named]:
        return not_null_if_true(condition, self.walker.catalogue)

    def _has_row(self, relation: int) -> bool:
        entry = self._entry(relation)
        return entry.rtekind == _SUBQUERY and self.below(entry.subquery).has_one_row()

    def _entry(self, relation: int) -> Any:
        return self.query.nodes("rtable")[relation - 1]

    def _relation(self, entry: Node) -> Relation | None:
        return self.walker.catalogue.relations.get(entry.number("relid"))


_MAY_TAKE_ROWS = (
    "groupClause", "groupingSets", "havingQual", "limitCount", "limitOffset", "distinctClause",
)  # fmt: skip
_OF_GROUPS = frozenset({"AGGREF", "GROUPINGFUNC", "WINDOWFUNC"})


def _of_view(walker: Walker, relation: Relation, number: int) -> Nullness:
    if number < 1 or relation.view is None:
        return maybe("nothing is known of a whole row")
    return Level(walker, relation.view, None).output(number)


def _without_relation(found: Nullness) -> Nullness:
    return maybe(found.why) if found.nullable else found


def _name(entry: Node, number: int) -> str:
    names = entry.eref.nodes("colnames")
    column = names[number - 1] if 0 < number <= len(names) else "*"
    return f"{entry.eref.aliasname}.{column}"


def _sets_in(value: object) -> int:
    """Set-returning calls below a value, those of subqueries not counted."""
    if isinstance(value, list):
        return sum(map(_sets_in, value))
    if not isinstance(value, Node) or value.kind == "QUERY":
        return 0
    own = value.flag("funcretset") or value.flag("opretset")
    return own + sum(map(_sets_in, value.fields.values()))
