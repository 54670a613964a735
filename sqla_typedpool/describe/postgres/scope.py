"""What the rules of inference work on: one query of an analysed tree, and its surroundings.

PostgreSQL's analysis of a statement is a tree of queries. A `Scope` is one query of it, at one
point of its evaluation. `Scope.infer` applies the rule for a node's kind. The rules are passed in
(`Inference.rules`), because a rule for a kind infers nodes of all other kinds: this module
imports none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

from sqla_typedpool.describe.nullability import Nullability, maybe, unknown
from sqla_typedpool.describe.postgres import grouping, predicates
from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.catalog import Catalog, Function, Relation
from sqla_typedpool.describe.postgres.doubts import doubtful_columns
from sqla_typedpool.describe.postgres.joins import Joins
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.predicates import ColumnRefs

Rule: TypeAlias = "Callable[[Node, Scope], Nullability]"

# Why expressions without a rule may be NULL, by the kind of the node.
_WITHOUT_RULE = {
    "SUBSCRIPTINGREF": "an array or document may have no such element",
    "FIELDSELECT": "a field of a composite value may be NULL",
    "FIELDSTORE": "a changed composite value may be NULL",
    "NULLIFEXPR": "NULLIF() is NULL where both values are equal",
    "ROWCOMPAREEXPR": "a comparison of rows with NULL is NULL",
    "XMLEXPR": "an XML function may return NULL",
    "JSONEXPR": "JSON_VALUE(), JSON_QUERY() and JSON_EXISTS() may find nothing",
    "RETURNINGEXPR": "there may be no OLD or no NEW row",
}

# Results of grouping: grouping sets do not omit them.
_OF_GROUPS = frozenset({"AGGREF", "GROUPINGFUNC", "WINDOWFUNC"})


# Those of them that are known to be NULL for some data.
_KNOWN_WITHOUT_RULE = frozenset({"NULLIFEXPR", "RETURNINGEXPR"})


def _without_rule(node: Node) -> Nullability:
    reason = _WITHOUT_RULE.get(node.kind, "nothing is known about this expression")
    is_read = node.kind == "SUBSCRIPTINGREF" and node.refassgnexpr is None
    return maybe(reason) if is_read or node.kind in _KNOWN_WITHOUT_RULE else unknown(reason)


@dataclass
class Inference:
    """What all scopes of one statement share."""

    catalog: Catalog
    # By the kind of a node. A kind without a rule may be NULL.
    rules: Mapping[str, Rule]
    # The names of ``$1``, ``$2``, ...
    parameters: Sequence[str]
    # The names of the parameters that are never None.
    never_null: frozenset[str]
    # Columns of queries that were inferred before: by `Scope.identity` and number.
    known: dict[tuple[object, int], Nullability] = field(default_factory=dict)
    # The assumptions about columns of the recursive CTEs being inferred: by `id` of the CTE.
    assumed: dict[int, dict[int, Nullability]] = field(default_factory=dict)
    # By `id` of the query.
    joins: dict[int, Joins] = field(default_factory=dict)
    # The names of the parameters of which is not known whether they are None where they are used.
    unknown_parameters: frozenset[str] = frozenset()
    # The OIDs of the application's functions whose bodies are being inferred.
    calling: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Scope:
    """One query of the tree, at one point of its evaluation."""

    inference: Inference
    query: Node
    # The query around it.
    parent: Scope | None = None
    # Whether expressions are evaluated before rows are grouped: arguments of an aggregate.
    before_grouping: bool = False
    # The join whose rows expressions are evaluated for; None = the rows of all joins.
    within_join: int | None = None
    # The subquery of ``x IN (SELECT ...)``, while the comparison is inferred.
    compared: Scope | None = None
    # Whether the statement writes through this view: its WHERE was true of the old rows only.
    is_written_view: bool = False
    # Columns that are not NULL wherever this branch of a CASE is evaluated.
    guards: ColumnRefs = frozenset()
    # Columns in which those conditions may exclude NULL too, which is not certain.
    doubts: ColumnRefs = frozenset()
    # The values of SET or of MERGE, while they are inferred: from the row before it is written.
    assignments: Sequence[Node] = ()

    def infer(self, node: Any) -> Nullability:
        """Return whether an expression of this query may be NULL.

        :param node: None stands for NULL.
        """
        if node is None:
            return maybe("NULL")
        rule = self.inference.rules.get(node.kind)
        if rule is None:
            return _without_rule(node)
        if self._may_be_omitted(node):
            return maybe("some grouping sets omit it")
        return rule(node, self)

    def infer_all(self, nodes: Sequence[Node]) -> list[Nullability]:
        """Return whether each of these expressions may be NULL."""
        return [self.infer(node) for node in nodes]

    def _may_be_omitted(self, node: Node) -> bool:
        if not self.query.groupingSets or self.before_grouping or node.kind in _OF_GROUPS:
            return False
        return grouping.has_complex_keys(self.query)

    # -------------------------------------------------------------- other scopes

    def enclosing(self, levels: int) -> Scope | None:
        """Return the query that is this many levels further out; None if there is none."""
        found: Scope | None = self
        for _ in range(levels):
            found = None if found is None else found.parent
        return found

    def subquery(self, query: Node) -> Scope:
        """Return the scope of a query inside this one."""
        return Scope(self.inference, query, self)

    def view(self, query: Node, *, is_written: bool) -> Scope:
        """Return the scope of a view's query, which has no query around it."""
        return Scope(self.inference, query, is_written_view=is_written)

    def using(self, inference: Inference) -> Scope:
        """Return this query, and those around it, with another inference."""
        parent = self.parent and self.parent.using(inference)
        return replace(self, inference=inference, parent=parent)

    def at_join(self, join: int) -> Scope:
        """Return this query for the rows of one of its joins, before the joins above it.

        Everything else stays, the guards too. They are true of a row of all joins. In that row
        the columns below this join have the values of the join's row, unless a join above has
        replaced them all by NULL, which the caller takes into account.
        """
        return replace(self, within_join=join)

    def if_true(self, condition: Node) -> Scope:
        """Return this query where a condition of CASE is true."""
        columns = predicates.not_null_if_true(condition, self.inference.catalog)
        return self._guarded_by(columns, condition)

    def unless_true(self, condition: Node) -> Scope:
        """Return this query where a condition of CASE is false or NULL."""
        columns = predicates.not_null_unless_true(condition, self.inference.catalog)
        return self._guarded_by(columns, condition)

    def _guarded_by(self, columns: ColumnRefs, condition: Node) -> Scope:
        doubts = doubtful_columns(condition, self.inference.catalog)
        if not columns and not doubts:
            return self
        return replace(self, guards=self.guards | columns, doubts=self.doubts | doubts)

    def unguarded(self) -> Scope:
        """Return this query inside an aggregate, which is computed before CASE takes a branch."""
        parent = self.parent and self.parent.unguarded()
        return replace(self, parent=parent, guards=frozenset(), doubts=frozenset())

    @cached_property
    def identity(self) -> object:
        """A key that is equal for scopes with the same results.

        `compared` is not part of it: it matters only inside one expression.
        """
        around = self.parent.identity if self.parent is not None else None
        at = self.before_grouping, self.is_written_view, self.within_join, self.guards
        return id(self.query), at, self.is_assignment, self.doubts, around

    @property
    def is_assignment(self) -> bool:
        """Whether expressions are the values of SET or of MERGE."""
        return bool(self.assignments)

    # -------------------------------------------------------- parts of the query

    def entry(self, relation: int) -> Any:
        """Return the entry of the range table with this index, from 1."""
        return self.query.nodes("rtable")[relation - 1]

    def relation(self, entry: Node) -> Relation | None:
        """Return the table or view of an entry of the range table; None if it is unknown."""
        return self.inference.catalog.relations.get(entry.number("relid"))

    def function(self, oid: int) -> Function | None:
        """Return a function, aggregate or window function; None if it is unknown."""
        return self.inference.catalog.functions.get(oid)

    def operator(self, node: Node) -> tuple[Function | None, str]:
        """Return the function of an operator, None if it is unknown, and the operator's name."""
        oid, name = self.inference.catalog.operators.get(node.number("opno"), (0, "?"))
        return self.function(oid), name

    @property
    def joins(self) -> Joins:
        """The joins of its FROM clause."""
        joins, key = self.inference.joins, id(self.query)
        if key not in joins:
            joins[key] = Joins(self.query, self.inference.catalog)
        return joins[key]

    @cached_property
    def not_null_by_having(self) -> ColumnRefs:
        """The columns in which HAVING excludes NULL.

        None with grouping sets: since 18, PostgreSQL may test HAVING before it makes them.
        """
        if not grouping.groups_have_rows(self.query):
            return frozenset()
        return self._not_null_if_true(self.query.havingQual)

    @cached_property
    def not_null_by_where(self) -> ColumnRefs:
        """The columns, of the queries around it too, in which WHERE excludes NULL in each result.

        None if it may return a row for which no row has passed WHERE: ``SELECT count(*)``.
        """
        query = self.query
        may_add_row = query.flag("hasAggs") or query.groupingSets or query.havingQual
        if query.commandType != pg.CommandType.SELECT or may_add_row or query.jointree is None:
            return frozenset()
        return self._not_null_if_true(query.jointree.quals)

    @cached_property
    def doubtful(self) -> ColumnRefs:
        """The columns in which conditions may exclude NULL, which is not certain."""
        conditions = [self.query.jointree, self.query.havingQual]
        return self.doubts | doubtful_columns(conditions, self.inference.catalog)

    def _not_null_if_true(self, condition: Node | None) -> ColumnRefs:
        return predicates.not_null_if_true(condition, self.inference.catalog)
