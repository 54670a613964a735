"""Random FROM clauses: relations, subqueries, functions, and joins of them."""

from __future__ import annotations

import random

from tests.describe.soundness import relations, vocabulary
from tests.describe.soundness.expressions import Column, Scope
from tests.describe.soundness.select_lists import SelectLists


class FromClauses(SelectLists):
    """Generate FROM clauses and conditions."""

    def __init__(self, dice: random.Random, major: int) -> None:
        super().__init__(dice, major)
        self.ctes: list[tuple[str, list[str]]] = []
        self.joins: set[str] = set()

    def query(
        self, outer: Scope, depth: int, kinds: list[str] | None = None, top: bool = False
    ) -> tuple[str, list[str]]:
        """Return a query and the kinds of its columns."""
        raise NotImplementedError

    def kinds(self, scope: Scope, least: int = 2) -> list[str]:
        """Return kinds for some output columns, most of them kinds of columns in scope."""
        there = [column.kind for column in scope if column.kind in vocabulary.OFTEN]
        return [
            self.dice.choice(there if there and self.chance(0.6) else list(vocabulary.OFTEN))
            for _ in range(self.dice.randint(least, least + 2))
        ]

    def source(self, outer: Scope, depth: int) -> tuple[str, Scope]:
        """Return a FROM item and the columns that it brings into scope."""
        if depth <= 0 or self.chance(0.3):
            return self._item(outer, depth)
        return self._join(outer, depth)

    def _join(self, outer: Scope, depth: int) -> tuple[str, Scope]:
        left, left_scope = self.source(outer, depth - 1)
        kind = self.dice.choice(["left"] * 5 + ["inner"] * 3 + ["right", "right", "full", "cross"])
        right_scope: Scope
        if kind in ("left", "inner", "cross") and self.chance(0.25):
            right, right_scope = self._lateral(left_scope + outer, depth)
        else:
            right, right_scope = self.source(outer, depth - 1)
        right = f"({right})" if right in self.joins else right
        scope = left_scope + right_scope
        on = "" if kind == "cross" else f" on {self._on(kind, left_scope, right_scope)}"
        if on and self._have_id(left, left_scope) and self._have_id(right, right_scope):
            merged = self.names.new("u")
            on, scope = f" using (id) as {merged}", [*scope, Column(f"{merged}.id", "int")]
        joined = f"{left} {kind} join {right}{on}"
        self.joins.add(joined)
        return joined, scope

    def _have_id(self, source: str, scope: Scope) -> bool:
        named = any(column.sql.endswith(".id") for column in scope)
        return named and source not in self.joins and self.chance(0.5)

    def _on(self, kind: str, left: Scope, right: Scope) -> str:
        equal = self._equality(left, right)
        if kind == "full":
            return equal or "false"
        dice = self.dice.random()
        if equal and dice < 0.5:
            return equal
        if equal and dice < 0.7:
            return f"{equal} and {self.make.some('bool', left + right, 2, False)}"
        return self.make.some("bool", left + right, 2, dice < 0.8)

    def _equality(self, left: Scope, right: Scope) -> str:
        pairs = [
            (one.sql, other.sql)
            for one in left
            for other in right
            if one.kind == other.kind and one.kind in ("int", "text")
        ]
        return " = ".join(self.dice.choice(pairs)) if pairs else ""

    def _lateral(self, outer: Scope, depth: int) -> tuple[str, Scope]:
        if self.chance(0.4):
            return self._function(outer)
        return self._subquery(outer, depth - 1, "lateral ")

    def _item(self, outer: Scope, depth: int) -> tuple[str, Scope]:
        dice = self.dice.random()
        if self.ctes and dice < 0.3:
            return self._cte_reference()
        if depth > 0 and dice < 0.45:
            return self._subquery(outer, depth - 1, "")
        if dice < 0.52:
            return self._function(outer)
        return self.relation()

    def _cte_reference(self) -> tuple[str, Scope]:
        name, kinds = self.dice.choice(self.ctes)
        alias = self.names.new("a")
        columns = listed("x", len(kinds))
        return f"{name} as {alias}({columns})", columns_of(alias, "x", kinds)

    def _subquery(self, outer: Scope, depth: int, lateral: str) -> tuple[str, Scope]:
        alias = self.names.new("a")
        body, kinds = self.query(outer if lateral else [], depth)
        scope = columns_of(alias, "c", kinds)
        return f"{lateral}({body}) {alias}", [*scope, Column(alias, "row")]

    def _function(self, outer: Scope) -> tuple[str, Scope]:
        template, kinds = self.dice.choice(relations.SETS)
        alias = self.names.new("f")
        made = self.make.filled(template, outer, 1, False).replace("{0}", alias)
        return made, columns_of(alias, "c", kinds)

    def relation(self) -> tuple[str, Scope]:
        """Return a table or a view with an alias, and its columns."""
        names = [*["team", "person", "task"] * 3, *relations.RELATIONS]
        name, alias = self.dice.choice(names), self.names.new("a")
        row = "team" if name == "team" else "row"
        columns = relations.RELATIONS[name]
        scope = [Column(f"{alias}.{column}", kind) for column, kind in columns]
        only = "only " if name == "loose_parent" and self.chance(0.3) else ""
        return f"{only}{name} {alias}", [*scope, Column(alias, row)]

    def condition(self, scope: Scope) -> str:
        """Return one to three conditions, joined by AND."""
        parts = [self.make.some("bool", scope) for _ in range(self.dice.choice([1, 1, 2, 3]))]
        return " and ".join(parts)


def listed(letter: str, count: int) -> str:
    """Return a list of names: c1, c2, ..."""
    return ", ".join(f"{letter}{at}" for at in range(1, count + 1))


def columns_of(alias: str, letter: str, kinds: list[str]) -> Scope:
    """Return the columns of a relation whose columns are named c1, c2, ..."""
    return [Column(f"{alias}.{letter}{at}", kind) for at, kind in enumerate(kinds, 1)]
