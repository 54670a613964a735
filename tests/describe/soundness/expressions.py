"""Random expressions of a wanted kind over what is in scope."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.describe.soundness import vocabulary

_HOLE = re.compile(r"<(\w+)>")


@dataclass(frozen=True)
class Column:
    """An expression in scope: its SQL and its kind."""

    sql: str
    kind: str


Scope = list[Column]


@dataclass
class Names:
    """The unique names and the parameters of one statement."""

    taken: int = 0
    parameters: dict[str, object] = field(default_factory=dict)
    never_null: set[str] = field(default_factory=set)

    def new(self, letter: str) -> str:
        self.taken += 1
        return f"{letter}{self.taken}"


class Expressions:
    """Generates the expressions of one statement.

    :param dice: the only source of randomness.
    :param major: the major version of the server.
    :param sublink: returns a scalar subquery of a kind over an outer scope.
    :param exists: returns a subquery of any columns over an outer scope.
    """

    def __init__(
        self,
        dice: random.Random,
        major: int,
        names: Names,
        sublink: Callable[[str, Scope], str],
        exists: Callable[[Scope], str],
    ) -> None:
        self._dice = dice
        self._names = names
        newer = [kinds for since, kinds in vocabulary.NEWER.items() if since <= major]
        self._templates = {
            kind: [*templates, *(each for kinds in newer for each in kinds.get(kind, ()))]
            for kind, templates in vocabulary.EXPRESSIONS.items()
        }
        self._sublink = sublink
        self._exists = exists

    def some(self, kind: str, scope: Scope, depth: int = 2, sublinks: bool = True) -> str:
        """Return an expression of this kind, nested at most `depth` levels deep."""
        dice = self._dice.random()
        mine = [column.sql for column in scope if _fits(column.kind, kind)]
        if mine and (depth <= 0 or dice < 0.5):
            return self._dice.choice(mine)
        if depth <= 0 or dice < 0.56:
            return self._plain(kind)
        if dice < 0.61 and sublinks and depth > 1 and kind not in ("row", "team"):
            return self._subquery(kind, scope)
        if dice < 0.64 and kind not in ("row", "team"):
            return "(" + self._case_about_itself(kind, scope, depth - 1, sublinks) + ")"
        template = self._template(kind, scope)
        return "(" + self.filled(template, scope, depth - 1, sublinks) + ")"

    def _template(self, kind: str, scope: Scope) -> str:
        """Choose one of three templates, if possible one that the scope can fill completely."""
        three = self._dice.choices(self._templates[kind], k=3)
        there = {column.kind for column in scope}
        fitting = [each for each in three if there.issuperset(_HOLE.findall(each)) and "<" in each]
        return (fitting or three)[0]

    def filled(self, template: str, scope: Scope, depth: int = 1, sublinks: bool = True) -> str:
        """Replace the holes of a template by expressions."""
        return _HOLE.sub(lambda hole: self.some(hole[1], scope, depth, sublinks), template)

    def _case_about_itself(self, kind: str, scope: Scope, depth: int, sublinks: bool) -> str:
        """Return a CASE whose test is about its result."""
        one, other = (self.some(kind, scope, depth, sublinks) for _ in range(2))
        test = self.some("bool", scope, 1, False)
        return self._dice.choice(
            [
                f"case when {one} is not null then {one} else {other} end",
                f"case when {one} is null then {other} else {one} end",
                f"case when {one} is not null or {test} then {one} else {other} end",
                f"case when {one} is not null and {test} then {one} else {other} end",
                f"case when {one} is null then {other} when {test} then {one} else {one} end",
                f"case when not {one} is null then {one} when {test} then {other} else {one} end",
                f"case when {test} then {one} when {one} is not null then {one} else {other} end",
            ]
        )

    def _plain(self, kind: str) -> str:
        dice = self._dice.random()
        if dice < 0.15:
            return f"null::{vocabulary.NAMES[kind]}"
        if dice < 0.25 and kind in ("int", "text", "bool"):
            return self._parameter(kind)
        return self._dice.choice(vocabulary.LITERALS[kind])

    def _parameter(self, kind: str) -> str:
        name = self._names.new("p")
        values: dict[str, list[object]] = {"int": [1, 0], "text": ["a", ""], "bool": [True, False]}
        value = self._dice.choice([None, None, *values[kind]])
        self._names.parameters[name] = value
        if value is not None and self._dice.random() < 0.5:
            self._names.never_null.add(name)
        return f"cast(:{name} as {vocabulary.NAMES[kind]})"

    def _subquery(self, kind: str, scope: Scope) -> str:
        if kind == "bool" and self._dice.random() < 0.7:
            return self._boolean_subquery(scope)
        if kind in ("ints", "texts") and self._dice.random() < 0.5:
            return f"array({self._sublink(kind[:-1], scope)})"
        return f"({self._sublink(kind, scope)})"

    def _boolean_subquery(self, scope: Scope) -> str:
        negated = self._dice.choice(["", "not "])
        if self._dice.random() < 0.3:
            return f"({negated}exists ({self._exists(scope)}))"
        kind = self._dice.choice(["int", "text"])
        operand = self.some(kind, scope, 1, False)
        if self._dice.random() < 0.5:
            return f"({operand} {negated}in ({self._sublink(kind, scope)}))"
        operator = self._dice.choice(["= any", "<> all", "> all", "< any", "= all"])
        return f"({operand} {operator} ({self._sublink(kind, scope)}))"


def _fits(found: str, wanted: str) -> bool:
    return found == wanted or (wanted == "row" and found == "team")
