"""Which columns of a SQLite statement can be NULL, from its syntax and the tables' NOT NULL.

SQLite tells where a column comes from, but not what outer joins, set operations and empty
aggregates do to it; that is read from the statement by sqlglot. Whatever is not certainly
known here is nullable: arithmetic (``1/0``, infinities), most functions, plain columns beside
an aggregate without GROUP BY, a clause that is new to this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqla_typedpool.describe.sqlite.aggregates import holds_plain_column, may_aggregate
from sqla_typedpool.describe.sqlite.expressions import (
    Columns,
    Expressions,
    FromItem,
    Judged,
    SelectScope,
    clauses_of,
    proven_by,
)
from sqla_typedpool.tokens import TokenKind, tokens


@dataclass(frozen=True)
class SQLiteTable:
    """A table or view of the schema."""

    columns: Mapping[str, bool]
    """Lower-case names, and whether they are never NULL; () of a view."""
    view: str | None = None
    """A view's SELECT."""
    names: tuple[str, ...] = ()
    """A view's own names of its columns."""


_STATEMENTS = ("select", "with", "insert", "replace", "update", "delete", "values", "(")
_SELECT_CLAUSES = frozenset(
    {
        *("with_", "with", "expressions", "from_", "from", "joins", "where", "group", "having"),
        *("order", "limit", "offset", "distinct", "windows", "kind", "hint", "operation_modifiers"),
    }
)
_JOIN_CLAUSES = frozenset({"this", "side", "kind", "on", "using", "method"})


def judge_columns(
    sql: str,
    tables: Mapping[str, SQLiteTable],
    aggregates: frozenset[str],
    *,
    are_parameters_sure: bool,
) -> Columns | None:
    """The columns of a statement; None = nothing is known of it.

    :param tables: by their lower-case names.
    :param aggregates: the lower-case names of all functions that aggregate.
    :param are_parameters_sure: whether no parameter is ever NULL.
    """
    from sqlglot.errors import SqlglotError

    try:
        reader = _Reader(tables, aggregates, are_parameters_sure)
        return reader.statement(_parsed(sql), {})
    except (SqlglotError, _Unknown, RecursionError, LookupError):
        return None
    except (AttributeError, TypeError, ValueError):  # a tree of another shape
        return None


def _parsed(sql: str) -> Any:
    import sqlglot

    words = tokens(sql)
    if not words or words[0].text.lower() not in _STATEMENTS:
        raise _Unknown
    if words[0].text.lower() == "replace":  # the same, and known to sqlglot
        sql = f"INSERT OR REPLACE {sql[words[0].end :]}"
    (found,) = sqlglot.parse(sql, dialect="sqlite")
    return found


class _Unknown(Exception):
    """Nothing is known of this statement."""


class _Reader:
    def __init__(
        self,
        tables: Mapping[str, SQLiteTable],
        aggregates: frozenset[str],
        are_parameters_sure: bool,
    ) -> None:
        self._tables = tables
        self._aggregates = aggregates
        self._expressions = Expressions(self._has, are_parameters_sure=are_parameters_sure)
        self._cte_names: set[str] = set()

    def statement(self, node: Any, ctes: dict[str, Columns | None]) -> Columns:
        kind = type(node).__name__
        if kind == "Subquery" and not clauses_of(node.args) - {"this", "alias"}:
            return self.statement(node.this, ctes)
        ctes = ctes | self._ctes(node, ctes)
        if kind == "Select":
            return self._select(node, ctes)
        if kind in ("Union", "Intersect", "Except"):
            return self._combined(kind, node, ctes)
        if kind in ("Insert", "Update", "Delete"):
            return self._returning(node)
        raise _Unknown

    def _ctes(self, node: Any, ctes: dict[str, Columns | None]) -> dict[str, Columns | None]:
        """Each sees itself and all the others, RECURSIVE or not; those are not followed."""
        clause = node.args.get("with_") or node.args.get("with")
        if clause is None:
            return {}
        self._cte_names.update(each.alias.lower() for each in clause.expressions)
        found: dict[str, Columns | None] = {each.alias.lower(): None for each in clause.expressions}
        for each in clause.expressions:
            try:
                columns = self.statement(each.this, ctes | found)
            except _Unknown:
                continue
            names = [item.name for item in each.args["alias"].columns]
            found[each.alias.lower()] = _renamed(columns, names)
        return found

    # -------------------------------------------------------------------------- SELECT

    def _select(self, node: Any, ctes: dict[str, Columns | None]) -> Columns:
        if clauses_of(node.args) - _SELECT_CLAUSES:
            raise _Unknown
        scope = SelectScope(self._sources(node, ctes))
        if where := node.args.get("where"):
            scope.proven = set(proven_by(where.this))
        clauses = (
            node.args.get("having"),
            node.args.get("order"),
            *(node.args.get("windows") or ()),
        )
        scope.is_one_row = not node.args.get("group") and any(
            may_aggregate(each, self._aggregates, self._has)
            for each in (*node.expressions, *clauses)
            if each is not None
        )
        return [each for item in node.expressions for each in self._item(item, scope)]

    def _has(self, table: str, column: str) -> bool:
        """Whether a name is certainly a table with such a column."""
        found = None if table in self._cte_names else self._tables.get(table)
        return found is not None and column in found.columns

    def _sources(self, node: Any, ctes: dict[str, Columns | None]) -> list[FromItem]:
        start = node.args.get("from_") or node.args.get("from")
        if start is None:
            return []
        sources = [self._source(start.this, ctes)]
        for join in (*(start.this.args.get("joins") or ()), *(node.args.get("joins") or ())):
            if clauses_of(join.args) - _JOIN_CLAUSES:
                raise _Unknown
            side = (join.side or "").upper()
            joined = self._source(join.this, ctes)
            if side in ("RIGHT", "FULL"):
                for each in sources:
                    each.is_extended = True
            joined.is_extended = side in ("LEFT", "FULL")
            sources.append(joined)
        return sources

    def _source(self, node: Any, ctes: dict[str, Columns | None]) -> FromItem:
        kind = type(node).__name__
        if kind == "Subquery":
            return _derived(node.alias.lower(), self.statement(node.this, ctes))
        if kind != "Table" or clauses_of(node.args) - {"this", "alias", "db", "joins"}:
            raise _Unknown
        name = node.name.lower()
        alias = (node.alias or node.name).lower()
        if name in ctes and not node.args.get("db"):
            columns = ctes[name]
            if columns is None:
                raise _Unknown
            return _derived(alias, columns)
        return _derived(alias, self._table(name))

    def _table(self, name: str) -> Columns:
        table = self._tables.get(name)
        if table is None:
            raise _Unknown
        if table.view is None:
            return [_own(name, column, sure) for column, sure in table.columns.items()]
        return _renamed(self.statement(_parsed(table.view), {}), table.names)

    def _combined(self, kind: str, node: Any, ctes: dict[str, Columns | None]) -> Columns:
        left, right = self.statement(node.this, ctes), self.statement(node.expression, ctes)
        if len(left) != len(right):
            raise _Unknown
        if kind == "Except":
            return left
        if kind == "Intersect":
            pairs = zip(left, right, strict=True)
            return [replace(two, name=one.name) if one.nullable else one for one, two in pairs]
        return [
            Judged(one.name, one.nullable or other.nullable, (other if other.nullable else one).why)
            for one, other in zip(left, right, strict=True)
        ]

    def _returning(self, node: Any) -> Columns:
        returning = node.args.get("returning")
        if returning is None:
            return []
        target = node.this.this if type(node.this).__name__ == "Schema" else node.this
        table = self._tables.get(target.name.lower())
        if table is None or table.view is not None:  # an INSTEAD OF trigger answers
            raise _Unknown
        source = FromItem((target.alias or target.name).lower(), self._table(target.name.lower()))
        scope = SelectScope([source])
        return [each for item in returning.expressions for each in self._item(item, scope)]

    # --------------------------------------------------------------------- expressions

    def _item(self, item: Any, scope: SelectScope) -> Iterator[Judged]:
        found = self._outputs(item, scope)
        if scope.is_one_row and holds_plain_column(item, self._aggregates):
            return map(_of_no_rows, found)
        return found

    def _outputs(self, item: Any, scope: SelectScope) -> Iterator[Judged]:
        kind = type(item).__name__
        if kind == "Star" or (kind == "Column" and type(item.this).__name__ == "Star"):
            if len(scope.sources) > 1 and kind == "Star":
                raise _Unknown  # USING merges columns
            wanted = "" if kind == "Star" else item.table.lower()
            for source in scope.sources:
                if not wanted or source.alias == wanted:
                    yield from (source.find(each.name.lower()) or each for each in source.columns)
            return
        inner = item.this if kind == "Alias" else item
        judged = self._expressions.judge(inner, scope)
        yield replace(judged, name=item.alias_or_name or "expression")


def _derived(alias: str, columns: Columns) -> FromItem:
    """What is missing inside of it is another thing than what is missing beside it."""
    return FromItem(
        alias,
        [
            replace(each, missing_with=f"{alias}.{each.missing_with}")
            if each.missing_with
            else each
            for each in columns
        ],
    )


def view_select(definition: str) -> str:
    """The SELECT of a CREATE VIEW."""
    words = (
        each
        for each in tokens(definition)
        if each.kind is TokenKind.WORD and each.text.lower() == "as"
    )
    start = next(words, None)
    return "" if start is None else definition[start.end :]


def _of_no_rows(each: Judged) -> Judged:
    return Judged(each.name, True, "an aggregate of no rows is one row of NULLs")


def _renamed(columns: Columns, names: Sequence[str]) -> Columns:
    if not names:
        return columns
    if len(names) != len(columns):
        raise _Unknown
    return [replace(each, name=name) for each, name in zip(columns, names, strict=True)]


def _own(table: str, column: str, sure: bool) -> Judged:
    return Judged(column, not sure, f"{table}.{column} {'is NOT' if sure else 'may be'} NULL")
