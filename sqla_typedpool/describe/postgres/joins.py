"""Which relations of a FROM clause an outer join may leave without a row.

Each outer join *extends* the relations of one side (FULL: of both) with NULLs. A condition can
rule that out: if a column of the side is not NULL, the side has a row. For which rows a condition
is true depends on its place:

- in WHERE: all rows;
- in ON of an inner join: the rows of that join, which a join above it may extend as a whole;
- in ON of an outer join: the rows in which the side that may be extended is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.catalog import Catalog
from sqla_typedpool.describe.postgres.grouping import has_one_row
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.predicates import ColumnRefs, not_null_if_true

_TRUE = b"\x01\0\0\0\0\0\0\0"
# Join type -> its words, and the sides that it extends. An unknown type may extend both.
_TYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    pg.JoinType.INNER: ("JOIN", ()),
    pg.JoinType.LEFT: ("LEFT JOIN", ("right",)),
    pg.JoinType.RIGHT: ("RIGHT JOIN", ("left",)),
    pg.JoinType.FULL: ("FULL JOIN", ("left", "right")),
}
_UNKNOWN_TYPE = ("JOIN", ("left", "right"))

# A part of the FROM clause: the indexes of its relations and joins in the range table.
Subtree: TypeAlias = frozenset[int]


@dataclass(frozen=True)
class Extension:
    """One side of one outer join, which may be extended with NULLs."""

    join: int
    side: str
    # ``LEFT JOIN``.
    word: str


@dataclass(frozen=True)
class _Condition:
    """Columns that are not NULL in the rows of a subtree."""

    columns: ColumnRefs
    subtree: Subtree
    # The condition counts only when all of these are ruled out.
    unless: tuple[Extension, ...] = ()


class Joins:
    """The joins of one query's FROM clause."""

    def __init__(self, query: Node, catalog: Catalog) -> None:
        self.query = query  # which is kept as long as its joins are known by its identity
        self._entries = query.nodes("rtable")
        self._catalog = catalog
        self._extensions: dict[int, list[Extension]] = {}
        self._below: dict[int, Subtree] = {}  # join -> both of its sides
        self._conditions: list[_Condition] = []
        self._ruled_out: set[Extension] = set()
        # (relation, column, subtree): not NULL in the rows of this subtree
        self._facts: set[tuple[int, int, Subtree]] = set()
        if query.jointree is not None:
            self._read(query.jointree)
        self._apply_conditions()

    def columns_in_conditions(self, relation: int) -> list[int]:
        """Return the columns of a relation that conditions mention."""
        return sorted(number for each, number, _ in self._facts if each == relation)

    def extensions(self, relation: int, within: int | None = None) -> list[Extension]:
        """Return the outer joins that may leave a relation without a row, the innermost first.

        :param within: count only the joins inside this one.
        """
        found = [each for each in self._extensions.get(relation, ()) if self._is_possible(each)]
        if within is None:
            return found
        return [each for each in found if each.join in self._below[within]]

    def extended_alike(self, relation: int, within: int | None = None) -> list[int]:
        """Return the relations that the same outer joins extend, this one included."""
        own = self.extensions(relation, within)
        return [each for each in sorted(self._extensions) if self.extensions(each, within) == own]

    def excludes_null(self, relation: int, number: int, within: int | None = None) -> bool:
        """Return whether conditions leave only rows in which this column is not NULL."""
        joins = {each.join for each in self.extensions(relation, within)}
        return any(
            (each, column) == (relation, number) and joins <= subtree
            for each, column, subtree in self._facts
        )

    def _is_possible(self, extension: Extension) -> bool:
        return extension not in self._ruled_out

    def _read(self, tree: Node) -> None:
        subtrees = [self._read_item(item) for item in tree.nodes("fromlist")]
        self._add_condition(tree.quals, frozenset().union(*subtrees))

    def _read_item(self, item: Node) -> Subtree:
        index = int(item.rtindex)
        if item.kind != "JOINEXPR":
            return frozenset({index})
        sides = {"left": self._read_item(item.larg), "right": self._read_item(item.rarg)}
        self._below[index] = sides["left"] | sides["right"]
        whole = self._below[index] | {index}
        extended = self._extend(item, sides)
        self._add_condition(item.quals, whole, extended)
        if len(extended) == 1:  # this side has a row only where ON is true
            self._add_condition(item.quals, sides[extended[0].side])
        return whole

    def _extend(self, item: Node, sides: dict[str, Subtree]) -> tuple[Extension, ...]:
        """Note what a join may extend, and return it."""
        word, extended_sides = _TYPES.get(item.jointype, _UNKNOWN_TYPE)
        extended = tuple(Extension(int(item.rtindex), side, word) for side in extended_sides)
        for extension in extended:
            for relation in sides[extension.side]:
                self._extensions.setdefault(relation, []).append(extension)
        is_plain_left = item.jointype == pg.JoinType.LEFT and _is_true(item.quals)
        if is_plain_left and self._always_has_row(item.rarg):
            self._ruled_out.update(extended)  # LEFT JOIN LATERAL (SELECT count(*) ...) ON true
        return extended

    def _always_has_row(self, item: Node) -> bool:
        if item.kind != "RANGETBLREF":
            return False
        entry = self._entries[int(item.rtindex) - 1]
        return entry.rtekind == pg.RteKind.SUBQUERY and has_one_row(entry.subquery)

    def _add_condition(
        self, condition: Node | None, subtree: Subtree, unless: tuple[Extension, ...] = ()
    ) -> None:
        columns = not_null_if_true(condition, self._catalog)
        own = frozenset(column for column in columns if column.levels_up == 0)
        self._conditions.append(_Condition(own, subtree, unless))

    def _apply_conditions(self) -> None:
        """Apply the conditions until no further extension is ruled out."""
        before = -1
        while before != len(self._ruled_out):
            before = len(self._ruled_out)
            for condition in self._conditions:
                if not any(map(self._is_possible, condition.unless)):
                    self._apply(condition)

    def _apply(self, condition: _Condition) -> None:
        subtree = condition.subtree
        for _, relation, number in condition.columns:
            if relation in subtree:
                self._facts.add((relation, number, subtree))
                extensions = self._extensions.get(relation, ())
                self._ruled_out.update(each for each in extensions if each.join in subtree)


def _is_true(condition: Node | None) -> bool:
    if condition is None:
        return True
    return condition.kind == "CONST" and condition.constvalue == _TRUE
