"""Which relations of a FROM clause an outer join can leave without a row.

Each outer join *extends* the relations on one side (FULL: on both) with NULLs. A condition
that holds takes that back: if a column of the side is not NULL, its row was there. Where a
condition counts depends on where it stands: in WHERE for every row; in an inner join's ON
for the rows that come out of that join, which a further outer join may leave out as a whole;
in an outer join's ON for the rows of the side that is filled up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.predicates import ColumnRef

_TRUE = b"\x01\0\0\0\0\0\0\0"
_INNER, _LEFT, _FULL, _RIGHT = "0", "1", "2", "3"
_WORDS = {_LEFT: "LEFT JOIN", _RIGHT: "RIGHT JOIN", _FULL: "FULL JOIN"}
_SIDES = {_LEFT: ("right",), _RIGHT: ("left",), _FULL: ("left", "right"), _INNER: ()}

NotNull = Callable[["Node | None"], frozenset[ColumnRef]]
HasRow = Callable[[int], bool]


@dataclass(frozen=True)
class Extension:
    """One side of one outer join."""

    join: int
    side: str
    word: str


@dataclass(frozen=True)
class _Below:
    """What stands below a place of the FROM clause."""

    relations: frozenset[int] = frozenset()
    joins: frozenset[int] = frozenset()

    def __or__(self, other: _Below) -> _Below:
        return _Below(self.relations | other.relations, self.joins | other.joins)


@dataclass(frozen=True)
class _Condition:
    """Columns that are not NULL in the rows that come out of `below`."""

    columns: frozenset[ColumnRef]
    below: _Below
    unless: tuple[Extension, ...] = ()
    """Counts only when these are ruled out."""


class Joins:
    """The joins of one query's FROM clause."""

    def __init__(self, query: Node, not_null: NotNull, has_row: HasRow) -> None:
        self._not_null = not_null
        self._has_row = has_row
        self._extensions: dict[int, list[Extension]] = {}
        self._inside: dict[int, frozenset[int]] = {}
        self._conditions: list[_Condition] = []
        self._ruled_out: set[Extension] = set()
        self._facts: set[tuple[int, int, frozenset[int]]] = set()
        if query.jointree is not None:
            self._read(query.jointree)
        self._conclude()

    def facts_about(self, relation: int) -> list[int]:
        """The columns of a relation about which a condition says something."""
        return sorted(number for each, number, _ in self._facts if each == relation)

    def extending(self, relation: int, below: int | None = None) -> list[Extension]:
        """The outer joins that can leave a relation without a row, the innermost first.

        :param below: count only the joins inside this one.
        """
        found = [each for each in self._extensions.get(relation, ()) if self._counts(each)]
        if below is not None:
            inside = self._inside[below] - {below}
            found = [each for each in found if each.join in inside]
        return found

    def extended_alike(self, relation: int, below: int | None = None) -> list[int]:
        """The relations that the same outer joins leave out, this one among them."""
        own = self.extending(relation, below)
        return [each for each in sorted(self._extensions) if self.extending(each, below) == own]

    def excludes_null(self, relation: int, number: int, below: int | None = None) -> bool:
        """Whether a condition leaves only rows in which this column is not NULL."""
        joins = {each.join for each in self.extending(relation, below)}
        return any(
            (fact, column) == (relation, number) and joins <= covered
            for fact, column, covered in self._facts
        )

    def _counts(self, extension: Extension) -> bool:
        return extension not in self._ruled_out

    def _read(self, tree: Node) -> None:
        below = _Below()
        for item in tree.nodes("fromlist"):
            below |= self._item(item)
        self._add(tree.quals, below)

    def _item(self, item: Node) -> _Below:
        if item.kind != "JOINEXPR":
            return _Below(frozenset({int(item.rtindex)}))
        sides = {"left": self._item(item.larg), "right": self._item(item.rarg)}
        number, kind = int(item.rtindex), item.jointype
        own = _Below(frozenset({number}), frozenset({number}))
        whole = sides["left"] | sides["right"] | own
        self._inside[number] = whole.joins
        word = _WORDS.get(kind, "JOIN")
        extended = tuple(Extension(number, s, word) for s in _SIDES.get(kind, ("left", "right")))
        for extension in extended:
            for relation in sides[extension.side].relations:
                self._extensions.setdefault(relation, []).append(extension)
        if kind == _LEFT and _is_true(item.quals) and self._always_has_row(item.rarg):
            self._ruled_out.update(extended)  # LEFT JOIN LATERAL (SELECT count(*) ...) ON true
        self._add(item.quals, whole, extended)
        if len(extended) == 1:  # the side that is filled up comes only where ON is true
            self._add(item.quals, sides[extended[0].side])
        return whole

    def _always_has_row(self, item: Node) -> bool:
        return item.kind == "RANGETBLREF" and self._has_row(int(item.rtindex))

    def _add(
        self, condition: Node | None, below: _Below, unless: tuple[Extension, ...] = ()
    ) -> None:
        columns = frozenset(each for each in self._not_null(condition) if each.levels_up == 0)
        if columns:
            self._conditions.append(_Condition(columns, below, unless))

    def _conclude(self) -> None:
        """Each extension that is ruled out may make further conditions count."""
        before = -1
        while before != len(self._ruled_out):
            before = len(self._ruled_out)
            for condition in self._conditions:
                if not any(map(self._counts, condition.unless)):
                    self._take(condition)

    def _take(self, condition: _Condition) -> None:
        below = condition.below
        for _, relation, number in condition.columns:
            if relation not in below.relations:
                continue
            self._facts.add((relation, number, below.joins))
            for extension in self._extensions.get(relation, ()):
                if extension.join in below.joins:
                    self._ruled_out.add(extension)


def _is_true(condition: Node | None) -> bool:
    if condition is None:
        return True
    return condition.kind == "CONST" and condition.constvalue == _TRUE
