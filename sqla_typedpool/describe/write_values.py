"""Judge the values that a statement of SQLite or MySQL writes, by the columns of its table.

What is not certain is left out: see `Description.writes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlglot import exp

from sqla_typedpool.describe.syntax import SyntaxNode, clauses_of
from sqla_typedpool.describe.syntax_writes import (
    NamedTable,
    UnknownWrite,
    WriteClause,
    WriteStatement,
    parameters_in,
)
from sqla_typedpool.describe.writes import ColumnWrite, TargetColumn, ValueSource, WriteAction

# Expressions that are NULL if an operand is NULL, in SQLite and in MySQL.
_OPERATORS = (exp.Paren, exp.Cast, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.DPipe)
FUNCTIONS = (exp.Lower, exp.Upper, exp.Length, exp.Trim)
_OPERANDS = frozenset(
    {"this", "expression", "expressions", "to", "safe", "typed", "position", "binary"}
)
_PLAIN_SELECT = frozenset({"expressions", "from_", "from", "joins", "where", "order", "limit"})


@dataclass(frozen=True)
class WriteColumn:
    """A column of a table, as far as a write depends on it."""

    # ``schema.table.column``.
    name: str

    # Whether NULL is refused, apart from the exceptions below.
    not_null: bool

    # Whether an INSERT that leaves it out gives it a value: a default, a number, an expression.
    has_default: bool

    # Whether an INSERT without a list of columns sets it.
    is_listed: bool = True

    # Whether an INSERT of NULL gives it the next number.
    is_numbered: bool = False

    # Whether another value is stored for NULL.
    replaces_null: bool = False

    # Whether it can contain NULL; False also if that is not known.
    may_be_null: bool = False

    max_length: int | None = None
    accepted: tuple[str, ...] = ()


# The columns of a table by name in lower case, in order.
WriteColumns = Mapping[str, WriteColumn]


@dataclass(frozen=True)
class ColumnValue:
    """A value of one row, on its way to a column."""

    clause: WriteClause
    # The number of its row, from 0.
    row: int
    column: WriteColumn
    source: ValueSource
    # The parameters of which each one makes it NULL.
    parameters: tuple[str, ...] = ()
    # The reason why it may be NULL without them; "" if there is none.
    why: str = ""


class WriteRules(Protocol):
    """What a database does with the values of one statement."""

    @property
    def functions(self) -> Sequence[type]:
        """The functions that are NULL if an argument is NULL, as classes of nodes."""
        ...

    def is_certain(self, action: WriteAction) -> bool:
        """Return whether the rows of this part are written as the statement gives them."""
        ...

    def refuses_null(self, value: ColumnValue) -> bool:
        """Return whether NULL, or no default, is certainly refused for a NOT NULL column."""
        ...

    def limits(self, value: ColumnValue) -> bool:
        """Return whether a text that does not fit the column is certainly refused."""
        ...


@dataclass(frozen=True)
class WriteJudge:
    """Judges the values of one statement."""

    statement: WriteStatement

    # The columns of each table that the statement names, by schema and name as in the statement.
    # A table is missing if its columns are not known.
    tables: Mapping[tuple[str, str], WriteColumns]

    rules: WriteRules

    # The parameters that are never None.
    never_null: frozenset[str]

    def writes(self) -> tuple[ColumnWrite, ...]:
        """Return what the statement writes.

        :raises UnknownWrite: it is not certain which column a value is written to.
        """
        found: dict[ColumnWrite, None] = {}
        refused: set[str] = set()
        for clause in self.statement.clauses:
            if not self.rules.is_certain(clause.action):
                break  # the rows of a later part depend on this one
            for value in self._values(clause):
                # a None that an earlier part refuses does not reach the conditions of a later one
                write = self._write(value, clause.deciding - refused)
                if write is not None:
                    found[write] = None
            refused |= {name for each in found if each.column.not_null for name in each.parameters}
        return tuple(found)

    def _values(self, clause: WriteClause) -> Iterator[ColumnValue]:
        columns = self.tables[self.statement.target.schema, self.statement.target.name]
        names = clause.columns
        if names is None:
            names = tuple(name for name, column in columns.items() if column.is_listed)
        if len(set(names)) < len(names):
            raise UnknownWrite
        for number, row in enumerate(clause.rows):
            if row is not None and len(row) != len(names):
                raise UnknownWrite
            for name, node in zip(names, row or (), strict=False):
                if name in columns:  # not SQLite's rowid
                    yield self._value(clause, number, columns[name], node)
        if clause.action is WriteAction.INSERT:
            for name in columns.keys() - set(names):
                yield ColumnValue(clause, 0, columns[name], ValueSource.OMITTED)

    def _value(
        self, clause: WriteClause, number: int, column: WriteColumn, node: SyntaxNode
    ) -> ColumnValue:
        if _is_default(node):
            return ColumnValue(clause, number, column, ValueSource.DEFAULT)
        if _is_null(node):
            return ColumnValue(clause, number, column, ValueSource.NULL)
        is_plain = isinstance(_unwrapped(node), exp.Placeholder)
        source = ValueSource.PARAMETER if is_plain else ValueSource.EXPRESSION
        names = tuple(sorted(set(self._strict_parameters(node))))
        return ColumnValue(clause, number, column, source, names, self._why_null(node, clause))

    def _write(self, value: ColumnValue, deciding: frozenset[str]) -> ColumnWrite | None:
        """Return the value as a check needs it; None if it does not matter or is not certain."""
        column, source = value.column, value.source
        not_null = _refuses_null(value) and self.rules.refuses_null(value)
        is_limited = self.rules.limits(value)
        names = tuple(name for name in value.parameters if name not in deciding)
        optional = [name for name in names if name not in self.never_null]
        why = f":{optional[0]} may be None" if optional else value.why
        if source is ValueSource.PARAMETER:
            if not names:
                return None
        elif not not_null or (source is ValueSource.EXPRESSION and not (names or why)):
            return None
        target = TargetColumn(
            column.name,
            not_null,
            column.max_length if is_limited else None,
            column.accepted if is_limited else (),
        )
        is_null = source not in (ValueSource.PARAMETER, ValueSource.EXPRESSION)
        return ColumnWrite(
            value.clause.action, target, source, names, is_null or bool(why), why or _WHY[source]
        )

    # ---------------------------------------------------------------------------- NULL

    def _strict_parameters(self, node: SyntaxNode) -> Iterator[str]:
        """Yield the parameters of which each one alone makes an expression NULL."""
        if isinstance(node, exp.Placeholder):
            yield from parameters_in(node)
        is_strict = type(node) in (*_OPERATORS, *self.rules.functions)
        if is_strict and not clauses_of(node) - _OPERANDS:
            for operand in (node.this, node.args.get("expression"), *node.expressions):
                yield from self._strict_parameters(operand)

    def _why_null(self, node: SyntaxNode, clause: WriteClause) -> str:
        """Return why an expression may be NULL in some rows; "" if that is not known."""
        node = _unwrapped(node)
        if isinstance(node, exp.Column):
            return self._why_null_column(node, clause)
        return "the subquery may return no row" if _may_have_no_row(node) else ""

    def _why_null_column(self, node: exp.Column, clause: WriteClause) -> str:
        name, alias = node.name.lower(), node.table.lower()
        if name in clause.compared or node.args.get("db"):
            return ""  # a condition may exclude NULL
        sources = [(each, self._columns(each)) for each in clause.sources]
        if any(columns is None for _, columns in sources):
            return ""
        found = [
            (each, columns[name])
            for each, columns in sources
            if columns and name in columns and alias in ("", each.alias)
        ]
        if len(found) != 1:
            return ""
        ((source, column),) = found
        if source.is_outer_joined:
            return f"{source.alias} may be missing (outer join)"
        return f"{source.alias}.{name} may be NULL" if column.may_be_null else ""

    def _columns(self, table: NamedTable) -> WriteColumns | None:
        return self.tables.get((table.schema, table.name))


_WHY = {
    ValueSource.OMITTED: "the column has no default",
    ValueSource.DEFAULT: "the column has no default",
    ValueSource.NULL: "the value is NULL",
    ValueSource.PARAMETER: "",
    ValueSource.EXPRESSION: "",
}


def _refuses_null(value: ColumnValue) -> bool:
    column = value.column
    if value.source in (ValueSource.OMITTED, ValueSource.DEFAULT):
        return column.not_null and not column.has_default
    is_number = column.is_numbered and value.clause.action is WriteAction.INSERT
    return column.not_null and not (column.replaces_null or is_number)


def _is_default(node: SyntaxNode) -> bool:
    is_word = isinstance(node, exp.Var) or (
        isinstance(node, exp.Column) and not (node.table or node.this.args.get("quoted"))
    )
    return is_word and node.name.lower() == "default"


def _is_null(node: SyntaxNode) -> bool:
    while isinstance(node, (exp.Paren, exp.Cast)):
        node = node.this
    return isinstance(node, exp.Null)


def _unwrapped(node: SyntaxNode) -> SyntaxNode:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _may_have_no_row(node: SyntaxNode) -> bool:
    """Return whether this is ``(SELECT column FROM ...)``; an aggregate always has a row."""
    select: Any = node.this if isinstance(node, exp.Subquery) else None
    if not isinstance(select, exp.Select) or clauses_of(select) - _PLAIN_SELECT:
        return False
    is_column = [type(each.unalias()) for each in select.expressions] == [exp.Column]
    return is_column and bool(clauses_of(select) & {"from_", "from"})
