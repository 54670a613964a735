"""Which columns of a SQLite statement can be NULL, from its syntax and the tables' NOT NULL.

SQLite tells where a column comes from, but not what outer joins, set operations and empty
aggregates do to it; that is read from the statement by sqlglot. Whatever is not certainly
known here is nullable: arithmetic (``1/0``, infinities), most functions, plain columns beside
an aggregate without GROUP BY, a clause that is new to this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqla_typedpool.check.describe.sqlite_aggregates import (
    holds_plain_column,
    is_count,
    is_own_count,
    may_aggregate,
)
from sqla_typedpool.tokens import TokenKind, tokens

__all__ = ["Judged", "SQLiteTable", "judge_columns", "view_select"]


@dataclass(frozen=True)
class Judged:
    """One column."""

    name: str
    nullable: bool
    why: str
    missing_with: str | None = None


@dataclass(frozen=True)
class SQLiteTable:
    """A table or view of the schema."""

    columns: Mapping[str, bool]
    """Lower-case names, and whether they are never NULL; () of a view."""
    view: str | None = None
    """A view's SELECT."""
    names: tuple[str, ...] = ()
    """A view's own names of its columns."""


Columns = list[Judged]

_STATEMENTS = ("select", "with", "insert", "replace", "update", "delete", "values", "(")
_SELECT_CLAUSES = frozenset(
    {
        *("with_", "with", "expressions", "from_", "from", "joins", "where", "group", "having"),
        *("order", "limit", "offset", "distinct", "windows", "kind", "hint", "operation_modifiers"),
    }
)
_JOIN_CLAUSES = frozenset({"this", "side", "kind", "on", "using", "method"})
_RANKS = ("RowNumber", "Rank", "DenseRank", "Count")
_COMPARISONS = ("EQ", "NEQ", "GT", "GTE", "LT", "LTE", "Like", "Glob")
_STRICT = (*_COMPARISONS, "And", "Or", "Not", "DPipe", "Lower", "Upper", "Length", "Trim")
_SURE = ("Literal", "Boolean", "Exists", "Is", "CurrentTimestamp", "CurrentDate", "CurrentTime")


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


@dataclass
class _Source:
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
class _Level:
    """One SELECT: its sources, and the columns that its WHERE proves."""

    sources: list[_Source]
    proven: set[tuple[str, str]] = field(default_factory=set)
    is_one_row: bool = False
    """Whether it is one row even of no rows: an aggregate without GROUP BY."""


class _Reader:
    def __init__(
        self,
        tables: Mapping[str, SQLiteTable],
        aggregates: frozenset[str],
        are_parameters_sure: bool,
    ) -> None:
        self._tables = tables
        self._aggregates = aggregates
        self._parameter = (
            _never("no parameter is None")
            if are_parameters_sure
            else _maybe("a parameter may be None")
        )

    def statement(self, node: Any, ctes: dict[str, Columns | None]) -> Columns:
        kind = type(node).__name__
        if kind == "Subquery" and not _set(node.args) - {"this", "alias"}:
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
        if _set(node.args) - _SELECT_CLAUSES:
            raise _Unknown
        level = _Level(self._sources(node, ctes))
        if where := node.args.get("where"):
            level.proven = set(_proven(where.this))
        clauses = (
            node.args.get("having"),
            node.args.get("order"),
            *(node.args.get("windows") or ()),
        )
        level.is_one_row = not node.args.get("group") and any(
            may_aggregate(each, self._aggregates, self._has)
            for each in (*node.expressions, *clauses)
            if each is not None
        )
        return [each for item in node.expressions for each in self._item(item, level, ctes)]

    def _has(self, table: str, column: str) -> bool:
        found = self._tables.get(table)
        return found is not None and column in found.columns

    def _sources(self, node: Any, ctes: dict[str, Columns | None]) -> list[_Source]:
        start = node.args.get("from_") or node.args.get("from")
        if start is None:
            return []
        sources = [self._source(start.this, ctes)]
        for join in (*(start.this.args.get("joins") or ()), *(node.args.get("joins") or ())):
            if _set(join.args) - _JOIN_CLAUSES:
                raise _Unknown
            side = (join.side or "").upper()
            joined = self._source(join.this, ctes)
            if side in ("RIGHT", "FULL"):
                for each in sources:
                    each.is_extended = True
            joined.is_extended = side in ("LEFT", "FULL")
            sources.append(joined)
        return sources

    def _source(self, node: Any, ctes: dict[str, Columns | None]) -> _Source:
        kind = type(node).__name__
        if kind == "Subquery":
            return _derived(node.alias.lower(), self.statement(node.this, ctes))
        if kind != "Table" or _set(node.args) - {"this", "alias", "db", "joins"}:
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
        source = _Source((target.alias or target.name).lower(), self._table(target.name.lower()))
        level = _Level([source])
        return [each for item in returning.expressions for each in self._item(item, level, {})]

    # --------------------------------------------------------------------- expressions

    def _item(self, item: Any, level: _Level, ctes: dict[str, Columns | None]) -> Iterator[Judged]:
        found = self._outputs(item, level, ctes)
        if level.is_one_row and holds_plain_column(item, self._aggregates):
            return map(_of_no_rows, found)
        return found

    def _outputs(
        self, item: Any, level: _Level, ctes: dict[str, Columns | None]
    ) -> Iterator[Judged]:
        kind = type(item).__name__
        if kind == "Star" or (kind == "Column" and type(item.this).__name__ == "Star"):
            if len(level.sources) > 1 and kind == "Star":
                raise _Unknown  # USING merges columns
            wanted = "" if kind == "Star" else item.table.lower()
            for source in level.sources:
                if not wanted or source.alias == wanted:
                    yield from (source.find(each.name.lower()) or each for each in source.columns)
            return
        inner = item.this if kind == "Alias" else item
        judged = self._expression(inner, level, ctes)
        yield replace(judged, name=item.alias_or_name or "expression")

    def _expression(self, node: Any, level: _Level, ctes: dict[str, Columns | None]) -> Judged:
        kind = type(node).__name__
        if kind == "Column":
            return self._column(node, level)
        if kind == "Boolean" and any(each.find(str(node.this).lower()) for each in level.sources):
            return _maybe("it is a column's name, to SQLite")
        if kind in _SURE or is_count(node):
            return _never(f"{kind.lower()} is never NULL")
        if kind == "Placeholder":
            return self._parameter
        if kind in ("Paren", "Cast"):
            return self._expression(node.this, level, ctes)
        if kind == "Window":
            sure = type(node.this).__name__ in _RANKS
            return _never("it numbers rows") if sure else _maybe("the window may be empty")
        if kind == "Coalesce":
            parts = [self._expression(each, level, ctes) for each in (node.this, *node.expressions)]
            return next((each for each in parts if not each.nullable), _maybe(parts[0].why))
        if kind == "Case":
            return self._case(node, level, ctes)
        if kind in _STRICT:
            return self._strict(node, level, ctes)
        if kind == "Subquery":
            return self._scalar(node.this)
        return _maybe(f"nothing is known of {kind.lower()}()")

    def _strict(self, node: Any, level: _Level, ctes: dict[str, Columns | None]) -> Judged:
        if _set(node.args) - {"this", "expression", "safe", "binary"}:
            return _maybe("nothing is known of it")
        parts = [self._expression(node.this, level, ctes)]
        if node.args.get("expression") is not None:
            parts.append(self._expression(node.expression, level, ctes))
        nullable = [each for each in parts if each.nullable]
        return _maybe(nullable[0].why) if nullable else _never("it has no NULL to work on")

    def _case(self, node: Any, level: _Level, ctes: dict[str, Columns | None]) -> Judged:
        default = node.args.get("default")
        if default is None:
            return _maybe("CASE without ELSE")
        results = [each.args["true"] for each in node.args["ifs"]]
        parts = [self._expression(each, level, ctes) for each in (*results, default)]
        nullable = [each for each in parts if each.nullable]
        return _maybe(nullable[0].why) if nullable else _never("no branch of CASE is NULL")

    def _scalar(self, node: Any) -> Judged:
        plain = type(node).__name__ == "Select" and not _set(node.args) - {
            *("expressions", "from_", "from", "joins", "where", "kind")
        }
        if plain and is_own_count(node, self._has):
            return _never("a count is never NULL")
        return _maybe("the subquery may find no row")

    def _column(self, node: Any, level: _Level) -> Judged:
        name, table = node.name.lower(), node.table.lower()
        if node.this.args.get("quoted") and not table:
            return _maybe("it may be a text, to SQLite")
        sources = [each for each in level.sources if table in ("", each.alias)]
        found = [(each, judged) for each in sources if (judged := each.find(name)) is not None]
        if not found:
            return _maybe("nothing is known of this column")
        names = {(table, name)} | ({(found[0][0].alias, name)} if len(found) == 1 else set())
        if names & level.proven:
            return _never(f"WHERE excludes NULL in {name}")
        nullable = [judged for _, judged in found if judged.nullable]
        if len(found) == 1 or not nullable:
            return found[0][1]
        return _maybe(nullable[0].why)  # USING takes it from one side or the other


def _proven(condition: Any) -> Iterator[tuple[str, str]]:
    """The columns that are not NULL where the condition is true."""
    kind = type(condition).__name__
    if kind == "And":
        yield from _proven(condition.this)
        yield from _proven(condition.expression)
    elif kind == "Paren":
        yield from _proven(condition.this)
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


def _derived(alias: str, columns: Columns) -> _Source:
    """What is missing inside of it is another thing than what is missing beside it."""
    return _Source(
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


def _set(arguments: Mapping[str, Any]) -> set[str]:
    """The clauses that are there."""
    return {name for name, value in arguments.items() if value not in (None, False, [], "")}


def _never(why: str) -> Judged:
    return Judged("", False, why)


def _maybe(why: str) -> Judged:
    return Judged("", True, why)


def _own(table: str, column: str, sure: bool) -> Judged:
    return Judged(column, not sure, f"{table}.{column} {'is NOT' if sure else 'may be'} NULL")
