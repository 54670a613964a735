"""Random output lists: groups, aggregates and windows."""

from __future__ import annotations

import random

from tests.describe.soundness import vocabulary
from tests.describe.soundness.expressions import Column, Expressions, Names, Scope


class SelectLists:
    """Generate output lists, and the GROUP BY and HAVING that belong to them."""

    def __init__(self, dice: random.Random, major: int) -> None:
        self.dice = dice
        self.major = major
        self.names = Names()
        self.make = Expressions(dice, major, self.names, self.sublink, self.exists)

    def chance(self, share: float) -> bool:
        """Return True with this probability."""
        return self.dice.random() < share

    def sublink(self, kind: str, outer: Scope) -> str:
        """Return a subquery with one column of this kind."""
        raise NotImplementedError

    def exists(self, outer: Scope) -> str:
        """Return a subquery with any columns."""
        raise NotImplementedError

    def grouped(self, scope: Scope, kinds: list[str]) -> tuple[list[str], str]:
        """Return items over groups, and the GROUP BY and HAVING for them."""
        keys = []
        for _ in range(self.dice.randint(1, 3)):
            kind = self.dice.choice(["int", "text", "text", "bool", "date"])
            depth = self.dice.choice([0, 0, 1])
            key = self.make.some(kind, scope, depth, False)
            is_column = any(key == column.sql for column in scope)
            keys.append(Column(key if is_column else f"({key})::{vocabulary.NAMES[kind]}", kind))
        items = [
            self.aggregate(kind, scope, keys, 2)
            if self.chance(0.4)
            else self.make.some(kind, keys, 1, self.chance(0.2))
            for kind in kinds
        ]
        if self.chance(0.15):
            kind = kinds[0]
            found = [Column(self.aggregate(each, scope, keys, 0), each) for each in ("int", kind)]
            items[0] = self._window(kind, found + keys)
        having = self.having(scope, keys)
        return items, f" group by {self._grouping([key.sql for key in keys])}{having}"

    def _grouping(self, keys: list[str]) -> str:
        every = ", ".join(keys)
        dice = self.dice.random()
        if dice < 0.55:
            return every
        if dice < 0.7:
            return f"rollup ({every})"
        if dice < 0.8:
            return f"cube ({every})"
        if dice < 0.9:
            return f"{keys[0]}, rollup ({', '.join(keys[1:] or keys)})"
        if dice < 0.93:
            return f"grouping sets (({every}))"
        return f"grouping sets (({keys[0]}), ({every}), ({', '.join(keys[:-1])}))"

    def aggregate(self, kind: str, scope: Scope, keys: Scope, depth: int) -> str:
        """Return an aggregate, or an expression over aggregates."""
        if depth > 0 and self.chance(0.3):
            found = [Column(self.aggregate(each, scope, keys, 0), each) for each in ("int", kind)]
            return self.make.some(kind, found + keys, 1, False)
        templates = [*vocabulary.AGGREGATES[kind], *vocabulary.ORDERED_SETS.get(kind, [])]
        template = self.dice.choice(templates)
        if self.chance(0.12) and template.endswith(")") and template.count("(") == 1:
            template += " filter (where <bool>)"
        return self.make.filled(template, scope, self.dice.choice([0, 0, 1]), False)

    def having(self, scope: Scope, keys: Scope | None = None) -> str:
        """Return a HAVING, or in most cases ""."""
        if not self.chance(0.2):
            return ""
        found = [
            Column(self.aggregate(kind, scope, keys or [], 0), kind) for kind in ("int", "text")
        ]
        return f" having {self.make.some('bool', found + (keys or []), 2, False)}"

    def windowed(self, kind: str, scope: Scope) -> str:
        """Return a window function, an expression over some, or an expression without any."""
        if self.chance(0.3):
            return self.make.some(kind, scope)
        if self.chance(0.3):
            found = [Column(self._window(each, scope), each) for each in {"int": 0, kind: 0}]
            return self.make.some(kind, found + scope, 1, False)
        return self._window(kind, scope)

    def _window(self, kind: str, scope: Scope) -> str:
        over = f"over ({self._frame(scope)})"
        if self.chance(0.5):
            template = self.dice.choice(vocabulary.WINDOWS[kind])
            return self.make.filled(template.replace("<over>", over), scope, 0, False)
        template = self.dice.choice(vocabulary.AGGREGATES[kind])
        made = self.make.filled(template, scope, 0, False)
        if made.count("(") != 1 or not made.endswith(")"):
            return self.make.some(kind, scope)
        where = f" filter (where {self.make.some('bool', scope, 1, False)})"
        return f"{made}{where if self.chance(0.15) else ''} {over}"

    def _frame(self, scope: Scope) -> str:
        partition = f"partition by {self.make.some('int', scope, 0)} " if self.chance(0.4) else ""
        order = f"order by {self.make.some(self.dice.choice(['int', 'text']), scope, 0)} "
        if not self.chance(0.5):
            return partition + (order if self.chance(0.6) else "")
        frame = self.dice.choice(vocabulary.FRAMES)
        return f"{partition}{order}{frame} {self.dice.choice(vocabulary.EXCLUDES)}"
