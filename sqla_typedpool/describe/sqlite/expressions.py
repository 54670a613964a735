"""Which expressions of a SQLite statement can be NULL, by an allow-list.

Arithmetic is not on it (``1/0``, infinities), nor are most functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqla_typedpool.describe.sqlite.aggregates import Reads, is_count, is_own_count


@dataclass(frozen=True)
class Judged:
    """One column."""

    name: str
    nullable: bool
    why: str
    missing_with: str | None = None


Columns = list[Judged]

_RANKS = ("RowNumber", "Rank", "DenseRank", "Count")
_COMPARISONS = ("EQ", "NEQ", "GT", "GTE", "LT", "LTE", "Like", "Glob")
_STRICT = (*_COMPARISONS, "And", "Or", "Not", "DPipe", "Lower", "Upper", "Length", "Trim")
_SURE = ("Literal", "Boolean", "Exists", "Is", "CurrentTimestamp", "CurrentDate", "CurrentTime")


@dataclass
class FromItem:
    """A table or subquery in FROM."""

    alias: str
    columns: Columns
    is_extended: bool = False
    """Whether an outer join may leave it without a row."""

    def find(self, name: str) -> Judged | None:
        found = next((each for each in self.columns if each.name.lower() == name), None)
        if found is None or found.nullable or not self.is_extended:
            return found
        return replace(
            found,
            nullable=True,
            why=f"{self.alias} may be missing (outer join)",
            missing_with=self.alias,
        )


@dataclass
class SelectScope:
    """One SELECT: its sources, and the columns that its WHERE proves."""

    sources: list[FromItem]
    proven: set[tuple[str, str]] = field(default_factory=set)
    is_one_row: bool = False
    """Whether it is one row even of no rows: an aggregate without GROUP BY."""


class Expressions:
    """Judges the expressions of a statement."""

    def __init__(self, has: Reads, *, are_parameters_sure: bool) -> None:
        self._has = has
        self._parameter = (
            _never("no parameter is None")
            if are_parameters_sure
            else _maybe("a parameter may be None")
        )

    def judge(self, node: Any, scope: SelectScope) -> Judged:
        kind = type(node).__name__
        if kind == "Column":
            return self._column(node, scope)
        if kind == "Boolean" and any(each.find(str(node.this).lower()) for each in scope.sources):
            return _maybe("it is a column's name, to SQLite")
        if kind in _SURE or is_count(node):
            return _never(f"{kind.lower()} is never NULL")
        if kind == "Placeholder":
            return self._parameter
        if kind in ("Paren", "Cast"):
            return self.judge(node.this, scope)
        if kind == "Window":
            sure = type(node.this).__name__ in _RANKS
            return _never("it numbers rows") if sure else _maybe("the window may be empty")
        if kind == "Coalesce":
            parts = [self.judge(each, scope) for each in (node.this, *node.expressions)]
            return next((each for each in parts if not each.nullable), _maybe(parts[0].why))
        if kind == "Case":
            return self._case(node, scope)
        if kind in _STRICT:
            return self._strict(node, scope)
        if kind == "Subquery":
            return self._scalar(node.this)
        return _maybe(f"nothing is known of {kind.lower()}()")

    def _strict(self, node: Any, scope: SelectScope) -> Judged:
        if clauses_of(node.args) - {"this", "expression", "safe", "binary"}:
            return _maybe("nothing is known of it")
        parts = [self.judge(node.this, scope)]
        if node.args.get("expression") is not None:
            parts.append(self.judge(node.expression, scope))
        nullable = [each for each in parts if each.nullable]
        return _maybe(nullable[0].why) if nullable else _never("it has no NULL to work on")

    def _case(self, node: Any, scope: SelectScope) -> Judged:
        default = node.args.get("default")
        if default is None:
            return _maybe("CASE without ELSE")
        results = [each.args["true"] for each in node.args["ifs"]]
        parts = [self.judge(each, scope) for each in (*results, default)]
        nullable = [each for each in parts if each.nullable]
        return _maybe(nullable[0].why) if nullable else _never("no branch of CASE is NULL")

    def _scalar(self, node: Any) -> Judged:
        plain = type(node).__name__ == "Select" and not clauses_of(node.args) - {
            *("expressions", "from_", "from", "joins", "where", "kind")
        }
        if plain and is_own_count(node, self._has):
            return _never("a count is never NULL")
        return _maybe("the subquery may find no row")

    def _column(self, node: Any, scope: SelectScope) -> Judged:
        name, table = node.name.lower(), node.table.lower()
        if node.this.args.get("quoted") and not table:
            return _maybe("it may be a text, to SQLite")
        sources = [each for each in scope.sources if table in ("", each.alias)]
        found = [(each, judged) for each in sources if (judged := each.find(name)) is not None]
        if not found:
            return _maybe("nothing is known of this column")
        names = {(table, name)} | ({(found[0][0].alias, name)} if len(found) == 1 else set())
        if names & scope.proven:
            return _never(f"WHERE excludes NULL in {name}")
        nullable = [judged for _, judged in found if judged.nullable]
        if len(found) == 1 or not nullable:
            return found[0][1]
        return _maybe(nullable[0].why)  # USING takes it from one side or the other


def proven_by(condition: Any) -> Iterator[tuple[str, str]]:
    """The columns that are not NULL where the condition is true."""
    kind = type(condition).__name__
    if kind == "And":
        yield from proven_by(condition.this)
        yield from proven_by(condition.expression)
    elif kind == "Paren":
        yield from proven_by(condition.this)
    elif kind in _COMPARISONS:
        yield from _named(condition.this)
        yield from _named(condition.expression)
    elif kind == "Not" and _is_null_test(condition.this):
        yield from _named(condition.this.this)


def _is_null_test(node: Any) -> bool:
    return type(node).__name__ == "Is" and type(node.expression).__name__ == "Null"


def _named(node: Any) -> Iterator[tuple[str, str]]:
    if type(node).__name__ == "Column" and type(node.this).__name__ == "Identifier":
        yield node.table.lower(), node.name.lower()


def clauses_of(arguments: Mapping[str, Any]) -> set[str]:
    """The clauses that are there."""
    return {name for name, value in arguments.items() if value not in (None, False, [], "")}


def _never(why: str) -> Judged:
    return Judged("", False, why)


def _maybe(why: str) -> Judged:
    return Judged("", True, why)
