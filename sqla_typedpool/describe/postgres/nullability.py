"""The walker: from a statement's analysed tree to what can be NULL in its result.

A `Scope` is one query of the tree, with the queries around it. A column of its result is an
expression over its relations; a column of a relation is the table's own NOT NULL, or a
column of a subquery, a view, a CTE. An outer join above can leave any of them out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sqla_typedpool.describe.nullability import Nullability, maybe, never
from sqla_typedpool.describe.postgres import grouping, writing
from sqla_typedpool.describe.postgres.catalog import Catalog, Function, Relation
from sqla_typedpool.describe.postgres.expressions import judge
from sqla_typedpool.describe.postgres.joins import Joins
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.predicates import (
    ColumnRef,
    not_null_if_true,
    not_null_unless_true,
)
from sqla_typedpool.describe.postgres.relations import column_of, column_of_table, name_of
from sqla_typedpool.describe.postgres.setoperations import combined

_SELECT = "1"
_SUBQUERY, _JOIN, _GROUP = "1", "2", "9"


@dataclass
class Inference:
    """One walk over one tree."""

    catalog: Catalog
    parameters: tuple[str, ...]
    """Names of ``$1``, ``$2``, ..."""
    never_null: frozenset[str]
    assumed: dict[int, dict[int, Nullability]] = field(default_factory=dict)
    """Recursive CTEs being walked: what their columns are taken to be."""
    known: dict[tuple[object, int], Nullability] = field(default_factory=dict)
    """Columns of queries that have been judged."""
    joins: dict[int, Joins] = field(default_factory=dict)
    """The FROM clauses of queries that have been looked at."""

    def outputs(self, query: Node) -> list[Nullability]:
        """What is to be said of each column of the statement's result."""
        scope = Scope(self, query, None)
        return [scope.output(number + 1) for number in range(len(scope.entries))]

    def parameter(self, number: int) -> Nullability:
        name = self.parameters[number - 1] if number <= len(self.parameters) else str(number)
        if name in self.never_null:
            return never(f"parameter {name} is never None")
        return maybe(f"parameter {name} may be None")

    def operator(self, node: Node) -> tuple[Function | None, str]:
        """The function behind an operator, and the operator's name."""
        number, name = self.catalog.operators.get(node.number("opno"), (0, "?"))
        return self.catalog.functions.get(number), name


@dataclass(frozen=True, eq=False)
class Scope:
    """One query of the tree."""

    inference: Inference
    query: Node
    parent: Scope | None
    is_in_aggregate: bool = False
    """Whether what is judged stands inside an aggregate: before groups are made."""
    within_join: int | None = None
    """Whether it stands at this join: before the joins above it."""
    compared: Scope | None = None
    """The subquery that ``x IN (...)`` is about."""
    is_written: bool = False
    """Whether it is a view that a statement writes through: its WHERE was about old rows."""
    guards: frozenset[ColumnRef] = frozenset()
    """Columns that are not NULL here, because a branch of CASE would not be taken else."""

    # ------------------------------------------------------------------ around it

    def up(self, levels: int) -> Scope | None:
        """The query so many levels further out."""
        found: Scope | None = self
        for _ in range(levels):
            found = None if found is None else found.parent
        return found

    def below(self, query: Node) -> Scope:
        """A query inside this one."""
        return Scope(self.inference, query, self)

    def of_view(self, view: Node, *, is_written: bool) -> Scope:
        """The query of a view, around which there is nothing."""
        return Scope(self.inference, view, None, is_written=is_written)

    def at_join(self, join: int) -> Scope:
        """This query as it is when rows come out of one of its joins."""
        return Scope(self.inference, self.query, self.parent, self.is_in_aggregate, join)

    def guarded_by(self, condition: Node, *, is_true: bool = True) -> Scope:
        """The same place, where a condition of CASE is true, or is not."""
        found = not_null_if_true if is_true else not_null_unless_true
        columns = found(condition, self.inference.catalog)
        return replace(self, guards=self.guards | columns) if columns else self

    def unguarded(self) -> Scope:
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
    def identity(self) -> object:
        around = self.parent.identity if self.parent is not None else None
        at = self.is_in_aggregate, self.is_written, self.within_join, self.guards
        return id(self.query), at, around

    def output(self, number: int) -> Nullability:
        """One column of its result, counted from 1."""
        if self.inference.assumed:  # what is found holds only under what is assumed
            return self._output(number)
        key = self.identity, number
        known = self.inference.known
        if key not in known:
            known[key] = self._output(number)
        return known[key]

    def _output(self, number: int) -> Nullability:
        if self.query.setOperations is not None:
            return combined(self, self.query.setOperations, number)
        for entry in self.entries:
            if int(entry.resno) == number:
                if writing.is_answered_by_others(self):
                    return maybe("a rule or trigger answers in place of the statement")
                return judge(entry.expr, self)
        return maybe("nothing is known of this column")

    def is_left_out(self, node: Node) -> bool:
        """Whether an expression may be one that grouping sets leave out of some rows."""
        if not self.query.groupingSets or self.is_in_aggregate or node.kind in _OF_GROUPS:
            return False
        return grouping.has_complex_keys(self.query)

    # -------------------------------------------------------------------- its columns

    def variable(self, node: Node) -> Nullability:
        """A column of a relation, of this query or of one around it."""
        levels = node.number("varlevelsup")
        owner = self.up(levels)
        if owner is None:
            return maybe("nothing is known of this column")
        relation, number = int(node.varno), int(node.varattno)
        for inner in range(levels):
            scope = self.up(inner)
            if (
                scope is not None
                and ColumnRef(levels - inner, relation, number) in scope._outer_facts
            ):
                return never("a condition excludes NULL")
        return owner.column(relation, number, node.number("varreturningtype"))

    def column(self, relation: int, number: int, returning: int = 0) -> Nullability:
        """A column of one of its relations, as it is when rows come out of the joins."""
        entry = self.entry(relation)
        named = ColumnRef(0, relation, number)
        if named in self.guards and not returning and not self.query.groupingSets:
            return never("CASE excludes NULL here")
        if named in self._having and not self.is_in_aggregate:
            return never(f"HAVING excludes NULL in {name_of(entry, number)}")
        if self.is_written:
            return column_of_table(self, entry, number)
        if not self.is_in_aggregate and grouping.is_left_out(self.query, relation, number):
            return maybe("grouping sets leave it out of some rows")
        if entry.rtekind == _GROUP:
            before = replace(self, is_in_aggregate=True)
            return judge(entry.nodes("groupexprs")[number - 1], before)
        if writing.may_be_no_row(self.query, relation, returning):
            return maybe("there may be no such row")
        if writing.is_new_row(self.query, relation):  # what WHERE said was about the old one
            return column_of_table(self, entry, number)
        if self._joins.excludes_null(relation, number, self.within_join):
            return never(f"a condition excludes NULL in {name_of(entry, number)}")
        return self._extended(relation, entry, number)

    def _extended(self, relation: int, entry: Node, number: int) -> Nullability:
        own = column_of(self, relation, number)
        extensions = self._joins.extending(relation, self.within_join)
        alias = self._unique_alias(relation, entry)
        if own.nullable and own.missing_with and self._is_ruled_out(relation, own):
            return never(f"a condition excludes that {own.missing_with} is missing")
        if own.nullable:
            inner = own.missing_with
            return maybe(own.why, f"{alias}.{inner}" if inner and alias else None)
        if not extensions:
            return own
        together = self._missing_together(relation) if alias else None
        return maybe(f"{entry.eref.aliasname} may be missing ({extensions[0].word})", together)

    def _is_ruled_out(self, relation: int, own: Nullability) -> bool:
        """Whether a condition about another column tells that the missing row is there."""
        return any(
            self._joins.excludes_null(relation, other, self.within_join)
            and column_of(self, relation, other).missing_with == own.missing_with
            for other in self._joins.facts_about(relation)
            if other > 0
        )

    def _missing_together(self, relation: int) -> str:
        """The relations that no outer join leaves out without this one: ``p JOIN q``."""
        entries = self.query.nodes("rtable")
        numbers = self._joins.extended_alike(relation, self.within_join)
        aliases = (self._unique_alias(each, entries[each - 1]) for each in numbers)
        return ", ".join(filter(None, aliases))

    def _unique_alias(self, relation: int, entry: Node) -> str | None:
        if entry.rtekind == _JOIN:
            return None
        alias: str = entry.eref.aliasname
        same = [each for each in self.query.nodes("rtable") if each.eref.aliasname == alias]
        return alias if len(same) == 1 else f"{alias}#{relation}"

    # ---------------------------------------------------------------------- conditions

    @property
    def _joins(self) -> Joins:
        known, key = self.inference.joins, id(self.query)
        if key not in known:
            known[key] = Joins(self.query, self._not_null_if_true, self._has_row)
        return known[key]

    @cached_property
    def _having(self) -> frozenset[ColumnRef]:
        if not grouping.has_full_groups(self.query):  # 18 may try HAVING before it makes the sets
            return frozenset()
        return self._not_null_if_true(self.query.havingQual)

    @cached_property
    def _outer_facts(self) -> frozenset[ColumnRef]:
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

    def _not_null_if_true(self, condition: Node | None) -> frozenset[ColumnRef]:
        return not_null_if_true(condition, self.inference.catalog)

    def _has_row(self, relation: int) -> bool:
        entry = self.entry(relation)
        return entry.rtekind == _SUBQUERY and grouping.has_one_row(entry.subquery)

    def entry(self, relation: int) -> Any:
        return self.query.nodes("rtable")[relation - 1]

    def relation(self, entry: Node) -> Relation | None:
        return self.inference.catalog.relations.get(entry.number("relid"))


_OF_GROUPS = frozenset({"AGGREF", "GROUPINGFUNC", "WINDOWFUNC"})
