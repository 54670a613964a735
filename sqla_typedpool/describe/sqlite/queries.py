"""Infer which columns of a SQLite statement can be NULL, from its syntax and the tables' NOT NULL.

SQLite reports which table column an output column is. It does not report the effect of outer
joins, set operations and aggregates, which is inferred here from the statement's syntax tree
(sqlglot). Everything that is not certain is nullable: arithmetic, most functions, plain columns
beside an aggregate without GROUP BY, any clause that is not listed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from sqla_typedpool.describe.nullability import Nullability, any_of, maybe
from sqla_typedpool.describe.sqlite.aggregates import has_plain_column, may_aggregate
from sqla_typedpool.describe.sqlite.expressions import (
    Columns,
    Expressions,
    FromItem,
    SelectColumn,
    SelectScope,
    proven_by,
)
from sqla_typedpool.describe.sqlite.value_types import type_of
from sqla_typedpool.describe.syntax import clauses_of
from sqla_typedpool.tokens import TokenKind, tokens


@dataclass(frozen=True)
class SQLiteTable:
    """A table or view of the schema."""

    # By name in lower case; empty for a view.
    columns: Mapping[str, SelectColumn]
    # The SELECT of a view.
    select: str | None = None
    # The names of a view's columns.
    names: tuple[str, ...] = ()


# The columns of common table expressions by name in lower case; None if they are not known.
CTEs = dict[str, Columns | None]

_STATEMENTS = ("select", "with", "insert", "replace", "update", "delete", "values", "(")
_SELECT_CLAUSES = frozenset(
    {
        *("with_", "with", "expressions", "from_", "from", "joins", "where", "group", "having"),
        *("order", "limit", "offset", "distinct", "windows", "kind", "hint", "operation_modifiers"),
    }
)
_JOIN_CLAUSES = frozenset({"this", "side", "kind", "on", "using", "method"})
_TABLE_CLAUSES = frozenset({"this", "alias", "db", "joins"})


def infer_columns(
    sql: str, tables: Mapping[str, SQLiteTable], aggregates: frozenset[str], *, never_null: bool
) -> Columns | None:
    """Return the columns of a statement; None if nothing is known about it.

    :param tables: by name in lower case.
    :param aggregates: the names of all aggregate functions, in lower case.
    :param never_null: whether no parameter is ever None.
    """
    try:
        return _Inferrer(tables, aggregates, never_null).statement(_parsed(sql), {})
    except (SqlglotError, _UnknownSyntax, RecursionError, LookupError):
        return None
    except (AttributeError, TypeError, ValueError):  # the tree of another release of sqlglot
        return None


class _UnknownSyntax(Exception):
    """Nothing is known about this statement."""


def _parsed(sql: str) -> Any:
    words = tokens(sql)
    first = words[0].text.lower() if words else ""
    if first not in _STATEMENTS:
        raise _UnknownSyntax
    if first == "replace":  # the same, in a form that sqlglot parses
        sql = f"INSERT OR REPLACE {sql[words[0].end :]}"
    (statement,) = sqlglot.parse(sql, dialect="sqlite")
    return statement


class _Inferrer:
    """Infers the columns of one statement."""

    def __init__(
        self, tables: Mapping[str, SQLiteTable], aggregates: frozenset[str], never_null: bool
    ) -> None:
        self._tables = tables
        self._aggregates = aggregates
        self._expressions = Expressions(self._has_column, never_null=never_null)
        self._cte_names: set[str] = set()

    def statement(self, node: Any, ctes: CTEs) -> Columns:
        """Return the output columns of a statement or subquery."""
        if isinstance(node, exp.Subquery) and not clauses_of(node) - {"this", "alias"}:
            return self.statement(node.this, ctes)
        ctes = ctes | self._ctes(node, ctes)
        if isinstance(node, exp.Select):
            return self._select(node, ctes)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, ctes)
        if isinstance(node, (exp.Insert, exp.Update, exp.Delete)):
            return self._returning(node)
        raise _UnknownSyntax

    def _ctes(self, node: Any, ctes: CTEs) -> CTEs:
        """Return the CTEs of a WITH clause.

        With or without RECURSIVE, each can read itself and all others. Such references are not
        followed: their columns are not known.
        """
        clause = node.args.get("with_") or node.args.get("with")
        if clause is None:
            return {}
        found: CTEs = {each.alias.lower(): None for each in clause.expressions}
        self._cte_names.update(found)
        for each in clause.expressions:
            try:
                columns = self.statement(each.this, ctes | found)
            except _UnknownSyntax:
                continue
            names = [column.name for column in each.args["alias"].columns]
            found[each.alias.lower()] = _renamed(columns, names)
        return found

    # ------------------------------------------------------------------------------ SELECT

    def _select(self, node: exp.Select, ctes: CTEs) -> Columns:
        if clauses_of(node) - _SELECT_CLAUSES:
            raise _UnknownSyntax
        scope = SelectScope(self._from_items(node, ctes))
        clauses = node.args.get
        if where := clauses("where"):
            scope.proven = set(proven_by(where.this))
        parts = (
            *node.expressions, clauses("having"), clauses("order"), *(clauses("windows") or ())
        )  # fmt: skip
        scope.is_one_row = not clauses("group") and any(
            may_aggregate(part, self._aggregates, self._has_column)
            for part in parts
            if part is not None
        )
        return [column for item in node.expressions for column in self._item(item, scope)]

    def _has_column(self, table: str, column: str) -> bool:
        found = None if table in self._cte_names else self._tables.get(table)
        return found is not None and column in found.columns

    def _from_items(self, node: exp.Select, ctes: CTEs) -> list[FromItem]:
        start = node.args.get("from_") or node.args.get("from")
        if start is None:
            return []
        items = [self._from_item(start.this, ctes)]
        for join in (*(start.this.args.get("joins") or ()), *(node.args.get("joins") or ())):
            if clauses_of(join) - _JOIN_CLAUSES:
                raise _UnknownSyntax
            side = (join.side or "").upper()
            joined = self._from_item(join.this, ctes)
            if side in ("RIGHT", "FULL"):
                for item in items:
                    item.is_outer_joined = True
            joined.is_outer_joined = side in ("LEFT", "FULL")
            joined.merged = _merged(join, items, joined)
            items.append(joined)
        return items

    def _from_item(self, node: Any, ctes: CTEs) -> FromItem:
        if isinstance(node, exp.Subquery):
            return _derived(node.alias.lower(), self.statement(node.this, ctes))
        if not isinstance(node, exp.Table) or clauses_of(node) - _TABLE_CLAUSES:
            raise _UnknownSyntax
        name = node.name.lower()
        is_cte = name in ctes and not node.args.get("db")
        columns = ctes[name] if is_cte else self._table(name)
        if columns is None:
            raise _UnknownSyntax
        return _derived((node.alias or node.name).lower(), columns)

    def _table(self, name: str) -> Columns:
        table = self._tables.get(name)
        if table is None:
            raise _UnknownSyntax
        if table.select is None:
            return list(table.columns.values())
        return _renamed(self.statement(_parsed(table.select), {}), table.names)

    def _set_operation(self, node: exp.SetOperation, ctes: CTEs) -> Columns:
        left, right = self.statement(node.this, ctes), self.statement(node.expression, ctes)
        if len(left) != len(right):
            raise _UnknownSyntax
        if isinstance(node, exp.Except):
            return left
        combine = _of_union if isinstance(node, exp.Union) else _of_intersect
        return [
            SelectColumn(
                one.name,
                combine(one.nullability, other.nullability),
                one.python if one.python is other.python else None,
            )
            for one, other in zip(left, right, strict=True)
        ]

    def _returning(self, node: exp.Insert | exp.Update | exp.Delete) -> Columns:
        returning = node.args.get("returning")
        if returning is None:
            return []
        target = node.this.this if isinstance(node.this, exp.Schema) else node.this
        name = target.name.lower()
        table = self._tables.get(name)
        if table is None or table.select is not None:  # an INSTEAD OF trigger of a view
            raise _UnknownSyntax
        # RETURNING returns an integer that was written to a REAL column as an integer
        columns = [
            each._replace(python=None) if each.python is float else each
            for each in self._table(name)
        ]
        scope = SelectScope([FromItem((target.alias or target.name).lower(), columns)])
        return [column for item in returning.expressions for column in self._item(item, scope)]

    # ------------------------------------------------------------------------- expressions

    def _item(self, item: Any, scope: SelectScope) -> Iterator[SelectColumn]:
        columns = self._outputs(item, scope)
        if scope.is_one_row and has_plain_column(item, self._aggregates):
            reason = maybe("an aggregate of no rows returns one row of NULLs")
            return (column._replace(nullability=reason) for column in columns)
        return columns

    def _outputs(self, item: Any, scope: SelectScope) -> Iterator[SelectColumn]:
        is_star = isinstance(item, exp.Star)
        if is_star or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star)):
            for source in scope.items:
                if is_star or source.alias == item.table.lower():
                    omitted = source.merged if is_star else ()
                    for own in source.columns:
                        name = own.name.lower()
                        found = source.find(name) or own.nullability
                        if name not in omitted:
                            yield own._replace(nullability=found)
            return
        inner = item.this if isinstance(item, exp.Alias) else item
        name = item.alias_or_name or "expression"
        yield SelectColumn(name, self._expressions.infer(inner, scope), type_of(inner, scope))


def _of_union(one: Nullability, other: Nullability) -> Nullability:
    return any_of([one, other], one.reason)


def _of_intersect(one: Nullability, other: Nullability) -> Nullability:
    return other if one.nullable else one


def _derived(alias: str, columns: Columns) -> FromItem:
    """Return a FROM item, with its alias before each ``missing_with``.

    So rows that are missing inside of two subqueries are not confused.
    """
    inside = [each._replace(nullability=_inside(alias, each.nullability)) for each in columns]
    return FromItem(alias, inside)


def _merged(join: exp.Join, before: Sequence[FromItem], joined: FromItem) -> set[str]:
    """Return the columns that a join merges, in lower case.

    :param before: the FROM items to the left of the join.
    """
    names = {name.name.lower() for name in join.args.get("using") or ()}
    if (join.method or "").upper() == "NATURAL":
        names = joined.names() & {name for item in before for name in item.names()}
    if names and any(item.is_outer_joined for item in before if names & item.names()):
        raise _UnknownSyntax  # the merged column may be that of either side
    return names


def _inside(alias: str, own: Nullability) -> Nullability:
    inner = own.missing_with
    return replace(own, missing_with=f"{alias}.{inner}") if inner else own


def view_select(definition: str) -> str:
    """Return the SELECT of a CREATE VIEW."""
    words = (
        token
        for token in tokens(definition)
        if token.kind is TokenKind.WORD and token.text.lower() == "as"
    )
    start = next(words, None)
    return "" if start is None else definition[start.end :]


def _renamed(columns: Columns, names: Sequence[str]) -> Columns:
    if not names:
        return columns
    if len(names) != len(columns):
        raise _UnknownSyntax
    return [column._replace(name=name) for name, column in zip(names, columns, strict=True)]
