"""Random statements over the schema: the same seed makes the same statements.

python -m tests.describe.soundness.generator 7 20      # twenty statements of seed 7
"""

from __future__ import annotations

import random
import sys

from tests.describe.soundness import relations, vocabulary
from tests.describe.soundness.check import Statement
from tests.describe.soundness.dml import dml_cte, dml_statement
from tests.describe.soundness.expressions import Column, Scope
from tests.describe.soundness.from_clauses import FromClauses, listed

DEPTH = 2


def random_statement(seed: str, major: int) -> Statement:
    """Return the statement of this seed for a server of this major version."""
    return StatementGenerator(random.Random(seed), major).statement()


class StatementGenerator(FromClauses):
    """Generates one statement."""

    # ---- whole statements

    def statement(self) -> Statement:
        """Return a whole statement."""
        with_clause = self._with() if self.chance(0.35) else ""
        body = dml_statement(self) if self.chance(0.2) else self.query([], DEPTH, top=True)[0]
        names = self.names
        return Statement(with_clause + body, names.parameters, frozenset(names.never_null))

    def _with(self) -> str:
        parts, recursive = [], False
        for _ in range(self.dice.choice([1, 1, 2])):
            dice = self.dice.random()
            if dice < 0.3:
                recursive = True
                parts.append(self._recursive())
            elif dice < 0.45:
                parts.append(dml_cte(self))
            else:
                parts.append(self._cte())
        return f"with {'recursive ' if recursive else ''}{', '.join(parts)} "

    def _cte(self) -> str:
        name = self.names.new("w")
        body, kinds = self.query([], 1)
        self.ctes.append((name, kinds))
        hint = self.dice.choice(["", "", "materialized ", "not materialized "])
        return f"{name}({listed('c', len(kinds))}) as {hint}({body})"

    def _recursive(self) -> str:
        name = self.names.new("w")
        base_from, scope = self.source([], 1)
        kinds = self.kinds(scope)
        base = ", ".join(self._cast(kind, scope) for kind in kinds)
        step_scope = [Column(f"{name}.c{at}", kind) for at, kind in enumerate(kinds, 1)]
        join = ""
        if self.chance(0.6):
            joined, columns = self.relation()
            on = self.make.some("bool", step_scope + columns, 2, False)
            join = f" {self.dice.choice(['left', 'left', 'inner'])} join {joined} on {on}"
            step_scope = step_scope + columns
        step = ", ".join(self._cast(kind, step_scope) for kind in kinds)
        where = f" and {self.make.some('bool', step_scope, 2, False)}" if self.chance(0.4) else ""
        union = self.dice.choice(["union all", "union all", "union"])
        kinds = ["int", *kinds]
        self.ctes.append((name, kinds))
        return (
            f"{name}(n, {listed('c', len(kinds) - 1)}) as ((select 1, {base} from {base_from}"
            f" limit 3) {union} select {name}.n + 1, {step} from {name}{join}"
            f" where {name}.n < 3{where})"
        )

    def _cast(self, kind: str, scope: Scope) -> str:
        wanted = 'text collate "default"' if kind == "text" else vocabulary.NAMES[kind]
        if self.chance(0.5):
            scope = [column for column in scope if column.kind == kind] or scope
            return f"({self.make.some(kind, scope, 0)})::{wanted}"
        return f"({self.make.some(kind, scope, 1, False)})::{wanted}"

    # ---- queries

    def query(
        self, outer: Scope, depth: int, kinds: list[str] | None = None, top: bool = False
    ) -> tuple[str, list[str]]:
        """Return a query with columns c1, c2, ... and the kinds of these."""
        if depth > 0 and self.chance(0.18):
            return self._set_operation(outer, depth, kinds)
        if self.chance(0.04) and kinds:
            return self._values(outer, kinds), kinds
        if depth > 0 and not top and self.chance(0.06):
            return self._nested_with(outer, kinds)
        return self._select(outer, depth, kinds, top)

    def _nested_with(self, outer: Scope, kinds: list[str] | None) -> tuple[str, list[str]]:
        outside = list(self.ctes)
        cte = self._cte()
        made, kinds = self._select(outer, 1, kinds, False)
        self.ctes = outside
        return f"with {cte} {made}", kinds

    def _set_operation(
        self, outer: Scope, depth: int, kinds: list[str] | None
    ) -> tuple[str, list[str]]:
        left, kinds = self.query(outer, depth - 1, kinds)
        right, _ = self.query(outer, depth - 1, kinds)
        operators = ["union all"]
        if all(kind in vocabulary.COMPARABLE for kind in kinds):
            operators += ["union", "intersect", "except", "intersect all", "except all"]
        return f"({left}) {self.dice.choice(operators)} ({right})", kinds

    def _values(self, outer: Scope, kinds: list[str]) -> str:
        rows = (
            ", ".join(self.make.some(kind, outer, 1, False) for kind in kinds) for _ in range(2)
        )
        every = ", ".join(f"({row})" for row in rows)
        return f"select * from (values {every}) v({listed('c', len(kinds))})"

    def _select(
        self, outer: Scope, depth: int, kinds: list[str] | None, top: bool
    ) -> tuple[str, list[str]]:
        source, own = self.source(outer, depth) if self.chance(0.96) else ("", [])
        kinds = kinds or self.kinds(own, 7 if top else 2)
        conditions = [self.condition(own + outer)] if source and self.chance(0.4) else []
        mode = self.dice.choices(["grouped", "single", "windowed", "plain"], [26, 8, 14, 52])[0]
        mode = mode if source else "plain"
        items, tail = self._items(mode, own, outer, kinds)
        if mode == "plain" and source and self.chance(0.15):
            conditions.append(self._about(items))
        sets = mode == "plain" and self.chance(0.12)
        if sets:
            items = [self._set(kind, own) or item for kind, item in zip(kinds, items, strict=True)]
        if top and mode == "plain" and self.chance(0.1):
            items = [*items, *(column.sql for column in own if column.kind in ("row", "team"))]
        output = ", ".join(f"{item} as c{at}" for at, item in enumerate(items, 1))
        distinct = "" if sets else self._distinct(kinds)
        where = f" where {' and '.join(conditions)}" if conditions else ""
        source = f" from {source}" if source else ""
        return f"select {distinct}{output}{source}{where}{tail}{self._limit(len(kinds))}", kinds

    def _items(
        self, mode: str, own: Scope, outer: Scope, kinds: list[str]
    ) -> tuple[list[str], str]:
        """Return the expressions of the output list, and the GROUP BY and HAVING for them."""
        if mode == "grouped":
            return self.grouped(own, kinds)
        if mode == "single":
            return [self.aggregate(kind, own, [], 1) for kind in kinds], self.having(own)
        if mode == "windowed":
            return [self.windowed(kind, own + outer) for kind in kinds], ""
        return [self.make.some(kind, own + outer) for kind in kinds], ""

    def _about(self, items: list[str]) -> str:
        """Return a condition about expressions of the output list."""
        one, other = self.dice.choice(items), self.dice.choice(items)
        return self.dice.choice(
            [
                f"({one}) is not null",
                f"({one}) is not null",
                f"({one}) = ({one})",
                f"not (({one}) is null)",
                f"(({one}) is not null or ({other}) is not null)",
                f"(({one}) is not null and ({other}) is not null)",
                f"({one}) is not distinct from ({one})",
            ]
        )

    def _distinct(self, kinds: list[str]) -> str:
        can = all(kind in vocabulary.COMPARABLE for kind in kinds)
        return "distinct " if can and self.chance(0.08) else ""

    def _limit(self, width: int) -> str:
        order = f" order by {self.dice.randint(1, width)}" if self.chance(0.15) else ""
        dice = self.dice.random()
        limit = " limit 3" if dice < 0.06 else " offset 1" if dice < 0.1 else ""
        return order + limit

    def _set(self, kind: str, scope: Scope) -> str:
        found = [template for each, template in relations.OUTPUT_SETS if each == kind]
        return self.make.filled(self.dice.choice(found), scope, 0, False) if found else ""

    # ---- subqueries in expressions

    def sublink(self, kind: str, outer: Scope) -> str:
        if self.chance(0.3):
            relation, scope = self.relation()
            made = self.aggregate(kind, scope, [], 1)
            where = self.make.some("bool", scope + outer, 1, False)
            return f"select {made} from {relation} where {where}"
        made, _ = self.query(outer, 0, [kind])
        return f"select s.c1 from ({made}) s(c1) limit 1" if self.chance(0.7) else made

    def exists(self, outer: Scope) -> str:
        return self.query(outer, 0, ["int"])[0]


if __name__ == "__main__":
    for number in range(int(sys.argv[2])):
        sys.stdout.write(random_statement(f"{sys.argv[1]}:{number}", 15).sql + ";\n\n")
