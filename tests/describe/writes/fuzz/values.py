"""Random values of a statement: parameters, constants and expressions, by their kind."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from tests.describe.writes.fuzz.tables import Field

Scope = Sequence[tuple[str, str, bool]]
"""The columns that an expression may read: (SQL, kind, whether it is never NULL)."""

TYPES = {"text": "text", "int": "int", "bool": "boolean"}
_ANY = """coalesce(<K>, <K>) | coalesce(<K>, <C>) | coalesce(<K>, <C>)
    | case when <bool> then <K> else <K> end | case when <bool> then <K> end | nullif(<K>, <C>)
    | (select <K>) | (select <A>(<S>) from src) | (select <S> from src where k = 1)
    | greatest(<K>, <K>)
    | case when <K> is null then <C> else <C> end | (array[<K>, <C>])[1]
    | (select <S> from src where k = 77) | (select <A>(s.<S>) from src s group by s.k limit 1)"""
_TEMPLATES = {
    "text": """upper(<text>) | lower(trim(<text>)) | <text> || <text> | <text> || 'x'
        | concat(<text>, 'x')
        | cast(<int> as text) | replace(<text>, 'a', <text>) | left(<text>, 9) | md5(<text>)
        | cast(<text> as varchar) | format('%s', <text>) | to_jsonb(<text>)::text""",
    "int": """<int> + 1 | abs(<int>) | length(<text>) | <int> + <int> | -<int>
        | cast(<bool> as int) | (select count(*) from src)::int | num_nulls(<text>)
        | coalesce(length(<text>), 0)""",
    "bool": """<int> = <int> | <text> is null | <text> is not null | not <bool> | <bool> and <bool>
        | <bool> or <bool> | <int> is distinct from <int> | <text> like 'a%' | <int> in (1, 2)
        | <int> between 0 and <int> | exists (select 1 from src where t = <text>)
        | <text> = any (array['a', 'b']) | (<bool>) is true | starts_with(<text>, 'a')""",
}
TEMPLATES = {
    kind: [" ".join(part.split()) for part in f"{own} | {_ANY}".split(" | ")]
    for kind, own in _TEMPLATES.items()
}
# Templates that may be NULL although their parts are not.
_NULLABLE = ("nullif", "<bool> then <K> end", "k = 77", "(<S>)", "<S> from", "(s.<S>)")
SAFE = {
    kind: [each for each in found if not any(part in each for part in _NULLABLE)]
    for kind, found in TEMPLATES.items()
}
_PLACE = re.compile(r"<(\w+)>")
_SOURCE = {"text": ["t", "tn"], "int": ["i", "i_n"], "bool": ["b", "bn"]}


class Values:
    """Makes the values of one statement, and collects its parameters."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        # In most statements, only a parameter that is None is NULL in a column that must not be,
        # so that a wrong finding about another parameter is seen.
        self.is_safe = dice.random() < 0.65
        self.given: dict[str, object] = {}
        self.optional: set[str] = set()
        self._kinds: dict[str, str] = {}
        self._number = 1000

    def chance(self, share: float) -> bool:
        """Return True in this share of calls."""
        return self.dice.random() < share

    def unique(self) -> int:
        """Return a number that no row has."""
        self._number += 1
        return self._number

    def parameter(self, kind: str, value: object = None, optional: float = 0.4) -> str:
        """Return a new parameter; it is Optional in this share of calls."""
        name = f"p{len(self.given) + 1}"
        made = {"text": "v", "int": self.unique(), "bool": True}[kind] if value is None else value
        self.given[name], self._kinds[name] = made, kind
        if self.chance(optional):
            self.optional.add(name)
        return f":{name}"

    def typed(self, kind: str) -> str:
        """Return a parameter with a cast; sometimes one that the statement already has."""
        same = [name for name, each in self._kinds.items() if each == kind and self._is_text(name)]
        name = f":{self.dice.choice(same)}" if same and self.chance(0.2) else ""
        return f"cast({name or self.parameter(kind)} as {TYPES[kind]})"

    def _is_text(self, name: str) -> bool:
        """Return whether a parameter may be cast again without a conflict of types."""
        return self.given[name] in ("v", True)

    def guard(self) -> str:
        """Return a condition about a parameter; some are not true if it is None."""
        if not self.given:
            return "true"
        name = self.dice.choice([*self.given])
        made = f"cast(:{name} as {TYPES[self._kinds[name]]})"
        ways = ["{0} is not null", "{0} is null or z.k > 0", "{0} = {0}", "z.k > 0 or {0} is null"]
        return f"({self.dice.choice(ways).format(made)})"

    def constant(self, kind: str) -> str:
        """Return a constant that is not NULL."""
        return {"text": "'c'", "int": str(self.unique()), "bool": "true"}[kind]

    def expression(self, kind: str, scope: Scope, depth: int = 2) -> str:
        """Return any expression."""
        columns = [sql for sql, each, safe in scope if each == kind and safe >= self.is_safe]
        draw = self.dice.random()
        if columns and draw < 0.3:
            return self.dice.choice(columns)
        if depth == 0 or draw < 0.55:
            return self._leaf(kind)
        template = self.dice.choice((SAFE if self.is_safe else TEMPLATES)[kind])

        def fill(place: re.Match[str]) -> str:
            if place[1] == "A":
                return "bool_and" if kind == "bool" else "max"
            if place[1] == "S":
                return self.dice.choice(_SOURCE[kind])
            if place[1] == "C":
                return self.constant(kind)
            return self.expression(kind if place[1] == "K" else place[1], scope, depth - 1)

        made = _PLACE.sub(fill, template)
        return f"({made})"

    def _leaf(self, kind: str) -> str:
        if self.chance(0.04) and not self.is_safe:
            return f"cast(null as {TYPES[kind]})"
        return self.typed(kind) if self.chance(0.55) else self.constant(kind)

    def value(self, column: Field, scope: Scope = (), *, default: bool = True) -> str:
        """Return a value for a column.

        :param default: whether DEFAULT and a parameter without a cast may stand here.
        """
        if column.name == "k":
            return self.key(default=default)
        if column.name == "p":
            return self.partition(default=default, is_leaf=column.is_fixed)
        if column.is_generated:
            return "default"
        draw = self.dice.random()
        if draw < 0.03 and default and (column.may_be_omitted or not self.is_safe):
            return "default"
        if draw < 0.05 and not (self.is_safe and column.is_required):
            return "null"
        if draw < 0.35 and default:
            return self.parameter(column.kind)
        return self.expression(column.kind, scope) if draw < 0.8 else self.constant(column.kind)

    def key(self, *, default: bool = True) -> str:
        """Return a new key, rarely NULL."""
        draw = self.dice.random()
        if draw < 0.02 and not self.is_safe:
            return "null"
        if draw < 0.3 and default:
            return self.parameter("int", optional=0.2)
        return str(self.unique())

    def partition(self, *, default: bool = True, is_leaf: bool = False) -> str:
        """Return the key of a partition, rarely NULL."""
        value = "a" if is_leaf else self.dice.choice("abz")
        if self.chance(0.25) and default:
            return self.parameter("text", value, optional=0.2)
        return "null" if self.chance(0.02) and not self.is_safe else f"'{value}'"
