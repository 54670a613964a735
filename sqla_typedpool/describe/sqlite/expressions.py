"""Infer which expressions of a SQLite statement can be NULL, by an allow-list.

Arithmetic is not in the list (``1/0`` is NULL), nor are most functions.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlglot import exp

from sqla_typedpool.describe.nullability import Nullability, any_of, maybe, never
from sqla_typedpool.describe.sqlite.aggregates import HasColumn, is_count, is_own_count
from sqla_typedpool.describe.syntax import SyntaxNode, clauses_of

_RANK = getattr(exp, "Rank", exp.RowNumber)  # older releases of sqlglot have no class for it
_DENSE_RANK = getattr(exp, "DenseRank", exp.RowNumber)
NUMBERS = (exp.RowNumber, _RANK, _DENSE_RANK, exp.Count)
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.Glob)
_NULL_IF_AN_OPERAND_IS = (
    *_COMPARISONS,
    *(exp.And, exp.Or, exp.Not, exp.DPipe, exp.Lower, exp.Upper, exp.Length, exp.Trim),
)
_NEVER_NULL = (
    *(exp.Literal, exp.Boolean, exp.Exists, exp.Is),
    *(exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime),
)
_COUNT_CLAUSES = {"expressions", "from_", "from", "joins", "where", "kind"}


_MAX_SHOWN = 60  # characters of an expression in a reason


class SelectColumn(NamedTuple):
    """One output column of a SELECT or of a table."""

    name: str
    nullability: Nullability

    # The Python type of each value that is not NULL; None if SQLite does not enforce it.
    python: type | None = None


Columns = list[SelectColumn]


@dataclass
class FromItem:
    """A table or subquery in FROM."""

    alias: str
    columns: Columns
    # Whether an outer join may return a row without a row of it.
    is_outer_joined: bool = False
    # The columns that USING or NATURAL merges into those of earlier items; `*` omits them.
    merged: set[str] = field(default_factory=set)

    def names(self) -> set[str]:
        """Return the names of its columns, in lower case."""
        return {column.name.lower() for column in self.columns}

    def find(self, name: str) -> Nullability | None:
        """Return the nullability of a column; None if there is no such column."""
        found = (column.nullability for column in self.columns if column.name.lower() == name)
        nullability = next(found, None)
        if nullability is None or nullability.nullable or not self.is_outer_joined:
            return nullability
        return maybe(f"{self.alias} may be missing (outer join)", self.alias)


@dataclass
class SelectScope:
    """One SELECT: its FROM items, and the columns that WHERE proves to be not NULL."""

    items: list[FromItem]
    # Pairs of a table's alias ("" if there is none) and a column's name.
    proven: set[tuple[str, str]] = field(default_factory=set)
    # Whether it returns a row even if it reads none: an aggregate without GROUP BY.
    is_one_row: bool = False


class Expressions:
    """Infers the nullability of the expressions of one statement."""

    def __init__(self, has_column: HasColumn, *, never_null: bool) -> None:
        self._has_column = has_column
        self._parameter = (
            never("no parameter is None") if never_null else maybe("a parameter may be None")
        )

    def infer(self, node: Any, scope: SelectScope) -> Nullability:
        """Return whether an expression may be NULL."""
        if isinstance(node, exp.Column):
            return self._column(node, scope)
        if isinstance(node, exp.Boolean) and any(
            item.find(str(node.this).lower()) for item in scope.items
        ):
            return maybe(f"{_shown(node)} may be the name of a column in SQLite")
        if isinstance(node, _NEVER_NULL) or is_count(node):
            return never(f"{_shown(node)} is never NULL")
        if isinstance(node, exp.Placeholder):
            return self._parameter
        if isinstance(node, (exp.Paren, exp.Cast)):
            return self.infer(node.this, scope)
        if isinstance(node, exp.Window):
            is_number = isinstance(node.this, NUMBERS)
            return (
                never("a number of rows is never NULL")
                if is_number
                else maybe("the window may be empty")
            )
        return self._combined(node, scope)

    def _combined(self, node: Any, scope: SelectScope) -> Nullability:
        if isinstance(node, exp.Coalesce):
            parts = self._all((node.this, *node.expressions), scope)
            return next((part for part in parts if not part.nullable), maybe(parts[0].reason))
        if isinstance(node, exp.Case):
            return self._case(node, scope)
        if isinstance(node, _NULL_IF_AN_OPERAND_IS):
            if clauses_of(node) - {"this", "expression", "safe", "binary"}:
                return maybe(f"nothing is known about {_shown(node)}")
            operands = (node.args.get(name) for name in ("this", "expression"))
            parts = self._all([each for each in operands if each is not None], scope)
            return any_of(parts, "no operand is NULL")
        if isinstance(node, exp.Subquery):
            return self._scalar_subquery(node.this)
        return maybe(f"nothing is known about {_shown(node)}")

    def _all(self, nodes: Sequence[Any], scope: SelectScope) -> list[Nullability]:
        return [self.infer(node, scope) for node in nodes]

    def _case(self, node: exp.Case, scope: SelectScope) -> Nullability:
        default = node.args.get("default")
        if default is None:
            return maybe("CASE without ELSE")
        results = [branch.args["true"] for branch in node.args["ifs"]]
        return any_of(self._all([*results, default], scope), "no branch of CASE is NULL")

    def _scalar_subquery(self, node: Any) -> Nullability:
        is_plain = isinstance(node, exp.Select) and not clauses_of(node) - _COUNT_CLAUSES
        if is_plain and is_own_count(node, self._has_column):
            return never("a count is never NULL")
        return maybe("the subquery may return no row")

    def _column(self, node: exp.Column, scope: SelectScope) -> Nullability:
        name, table = node.name.lower(), node.table.lower()
        if node.this.args.get("quoted") and not table:
            return maybe(f"{_shown(node)} may be a string in SQLite")
        items = [item for item in scope.items if table in ("", item.alias)]
        found = [(item.alias, each) for item in items if (each := item.find(name)) is not None]
        if not found:
            return maybe("nothing is known about this column")
        (alias, first), *others = found
        if (table, name) in scope.proven or (not others and (alias, name) in scope.proven):
            return never(f"WHERE excludes NULL in {name}")
        # a column that USING merges comes from one side or the other
        return any_of([each for _, each in found], first.reason) if others else first


def proven_by(condition: Any) -> Iterator[tuple[str, str]]:
    """Yield the columns that are not NULL in rows for which the condition is true."""
    if isinstance(condition, (exp.And, exp.Paren)):
        for operand in condition.iter_expressions():
            yield from proven_by(operand)
    elif isinstance(condition, _COMPARISONS):
        yield from _name(condition.this)
        yield from _name(condition.expression)
    elif isinstance(condition, exp.Not) and _is_null_test(condition.this):
        yield from _name(condition.this.this)


def _is_null_test(node: Any) -> bool:
    return isinstance(node, exp.Is) and isinstance(node.expression, exp.Null)


def _name(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
        yield node.table.lower(), node.name.lower()


def _shown(node: SyntaxNode) -> str:
    """Return the SQL of an expression, in one short line."""
    return textwrap.shorten(str(node.sql(dialect="sqlite")), _MAX_SHOWN, placeholder="...")
