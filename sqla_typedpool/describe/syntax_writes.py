"""Read what INSERT, REPLACE and UPDATE of SQLite and MySQL write, from their syntax (sqlglot).

Only the forms and clauses that are listed here are known. What a database does with a NULL is
judged in its own package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement
from sqla_typedpool.describe.syntax import SyntaxNode, clauses_of
from sqla_typedpool.describe.writes import WriteAction
from sqla_typedpool.tokens import tokens

_INSERT_CLAUSES = frozenset(
    {
        *("this", "expression", "returning", "conflict", "alternative", "ignore", "default"),
        *("with_", "with"),
    }
)
_UPDATE_CLAUSES = frozenset(
    {
        *("this", "expressions", "where", "returning", "from_", "from", "order", "limit"),
        *("with_", "with"),
    }
)
_CONFLICT_CLAUSES = frozenset(
    {"duplicate", "expressions", "action", "conflict_keys", "where", "constraint"}
)
_SELECT_CLAUSES = frozenset(
    {
        *("with_", "with", "expressions", "from_", "from", "joins", "where", "group", "having"),
        *("order", "limit", "offset", "distinct"),
    }
)
_TABLE_CLAUSES = frozenset({"this", "db", "alias", "indexed"})
_JOIN_CLAUSES = frozenset({"this", "side", "kind", "on"})
# Words after INSERT, REPLACE or UPDATE that change nothing else, apart from IGNORE.
_MODIFIERS = frozenset({"LOW_PRIORITY", "HIGH_PRIORITY", "IGNORE"})
# The trees of other releases of sqlglot may differ.
_UNREADABLE = (SqlglotError, RecursionError, LookupError, AttributeError, TypeError, ValueError)


class UnknownWrite(Exception):
    """The form of a statement is not known."""


@dataclass(frozen=True)
class NamedTable:
    """A table as a statement names it."""

    # "" if the statement does not name the schema.
    schema: str
    name: str
    # The name by which columns are qualified, in lower case.
    alias: str
    # Whether an outer join may return a row without a row of it.
    is_outer_joined: bool = False


@dataclass(frozen=True)
class WriteClause:
    """A part of a statement that writes rows."""

    action: WriteAction

    # The columns that are set, in lower case; None for those that the table has.
    columns: tuple[str, ...] | None

    # The values of each row, as nodes; None = it is not known. A SELECT and UPDATE have one row.
    rows: tuple[tuple[Any, ...] | None, ...]

    # Whether the rows are those of VALUES, and not those of a query or a table.
    is_values: bool

    # The parameters that decide whether a row is written: those of WHERE, JOIN, LIMIT.
    deciding: frozenset[str] = frozenset()

    # The tables whose columns the values may contain; () = they are not known.
    sources: tuple[NamedTable, ...] = ()

    # Columns, in lower case, that may be not NULL although they can be: those in its conditions,
    # and those that an UPDATE sets, whose new values MySQL uses in what follows.
    compared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class WriteStatement:
    """An INSERT, REPLACE or UPDATE."""

    target: NamedTable

    # ``"IGNORE"`` or ``"REPLACE"`` of INSERT OR IGNORE, UPDATE IGNORE, REPLACE, ...; "" = none.
    conflict: str

    clauses: tuple[WriteClause, ...]

    def tables(self) -> set[tuple[str, str]]:
        """Return the schemas and names of all tables whose columns must be known."""
        named = (self.target, *(each for clause in self.clauses for each in clause.sources))
        return {(each.schema, each.name) for each in named}


def placeholder_names(compiled: CompiledStatement) -> list[str]:
    """Return the parameter of each placeholder; "" for a list, which no column stores."""
    return ["" if each.is_expanding else each.name for each in compiled.placeholders]


def read_write(sql: str, dialect: str, names: Sequence[str]) -> WriteStatement:
    """Read a statement whose parameters are written as ``?``.

    :param dialect: ``"sqlite"`` or ``"mysql"``.
    :param names: the `placeholder_names`.
    :raises UnknownWrite: the form of the statement is not known.
    """
    try:
        verb, conflict, rest = _head(sql, dialect, len(names))
        (node,) = filter(None, sqlglot.parse(f"{verb} {rest}", dialect=dialect))
        for placeholder in node.find_all(exp.Placeholder):
            placeholder.set("this", names[int(str(placeholder.this)[1:])])
        if isinstance(node, exp.Insert):
            return _insert(node, conflict)
        if isinstance(node, exp.Update):
            return _update(node, conflict)
    except _UNREADABLE as error:
        raise UnknownWrite from error
    raise UnknownWrite


def parameters_in(*nodes: Any) -> frozenset[str]:
    """Return the names of all parameters in these nodes."""
    found = (each.this for node in nodes if node for each in node.find_all(exp.Placeholder))
    return frozenset(filter(None, found))


# ------------------------------------------------------------------------------ the text


def _head(sql: str, dialect: str, count: int) -> tuple[str, str, str]:
    """Return the verb, the conflict clause beside it, and the rest of a statement.

    sqlglot does not parse REPLACE, ``UPDATE OR`` and ``UPDATE IGNORE``. In the rest each ``?`` has
    a name, because the order of the nodes is not that of the text.
    """
    first = tokens(sql)[0]
    verb = first.text.upper()
    conflict = "REPLACE" if verb == "REPLACE" else ""
    if verb == "REPLACE":
        verb, sql = "INSERT", f"{sql[: first.start]}INSERT{sql[first.end :]}"
    found = sqlglot.tokenize(sql, read=dialect)
    start = 1
    if dialect == "sqlite" and verb != "WITH" and found[1].text.upper() == "OR":
        start, conflict = 3, found[2].text.upper()
    while dialect == "mysql" and verb != "WITH" and _is_modifier(found[start]):
        conflict = "IGNORE" if found[start].text.upper() == "IGNORE" else conflict
        start += 1
    places = [token.start for token in found if token.token_type.name == "PLACEHOLDER"]
    is_found = len(places) == count and all(sql[place] == "?" for place in places)
    if verb not in ("INSERT", "UPDATE", "WITH") or not is_found:
        raise UnknownWrite
    parts, end = [], found[start].start
    for number, place in enumerate(places):
        parts.append(f"{sql[end:place]}:p{number} ")
        end = place + 1
    return verb, conflict, "".join(parts) + sql[end:]


def _is_modifier(token: Any) -> bool:
    return token.token_type.name != "IDENTIFIER" and token.text.upper() in _MODIFIERS


# ---------------------------------------------------------------------- INSERT and UPDATE


def _insert(node: exp.Insert, conflict: str) -> WriteStatement:
    _check(node, _INSERT_CLAUSES)
    is_listed = isinstance(node.this, exp.Schema)
    target = _table(node.this.this if is_listed else node.this)
    columns = tuple(each.name.lower() for each in node.this.expressions) if is_listed else None
    conflict = conflict or (node.args.get("alternative") or "").upper()
    if node.args.get("ignore"):
        conflict = "IGNORE"
    clause = _inserted(node, columns)
    clauses = [clause]
    on_conflict = node.args.get("conflict")
    if on_conflict is not None:
        _check(on_conflict, _CONFLICT_CLAUSES)
        if on_conflict.expressions:
            values = parameters_in(node.expression)
            clauses.append(_conflict_update(on_conflict, target, values))
    return WriteStatement(target, conflict, tuple(clauses))


def _inserted(node: exp.Insert, columns: tuple[str, ...] | None) -> WriteClause:
    source = node.expression
    if node.args.get("default"):
        return _of_values((), [()])
    if isinstance(source, exp.Values):
        if any(type(each) is not exp.Tuple for each in source.expressions):
            raise UnknownWrite
        rows = [tuple(each.expressions) for each in source.expressions]
        return _of_values(columns if any(rows) else (), rows)
    while isinstance(source, exp.Subquery) and not clauses_of(source) - {"this"}:
        source = source.this
    if isinstance(source, exp.Select):
        return _selected(node, source, columns)
    if isinstance(source, exp.SetOperation):
        return _of_query(columns)
    raise UnknownWrite


def _of_values(columns: tuple[str, ...] | None, rows: Sequence[tuple[Any, ...]]) -> WriteClause:
    return WriteClause(WriteAction.INSERT, columns, tuple(rows), is_values=True)


def _of_query(columns: tuple[str, ...] | None) -> WriteClause:
    """Return the rows of a query whose values are not known."""
    return WriteClause(WriteAction.INSERT, columns, (None,), is_values=False)


def _selected(node: exp.Insert, source: exp.Select, columns: tuple[str, ...] | None) -> WriteClause:
    values = tuple(each.unalias() for each in source.expressions)
    if clauses_of(source) - _SELECT_CLAUSES or any(each.find(exp.Star) for each in values):
        return _of_query(columns)
    others = _nodes(source, "expressions")
    return WriteClause(
        WriteAction.INSERT,
        columns,
        (values,),
        is_values=False,
        deciding=parameters_in(_with(node), *others),
        sources=() if _with(node) or _with(source) else _sources(source),
        compared=_columns_in(others),
    )


def _conflict_update(
    node: exp.OnConflict, target: NamedTable, inserted: frozenset[str]
) -> WriteClause:
    is_duplicate = node.args.get("duplicate")
    action = WriteAction.DUPLICATE_UPDATE if is_duplicate else WriteAction.CONFLICT_UPDATE
    columns, values = _assigned(node.expressions)
    where = node.args.get("where")
    return WriteClause(
        action,
        columns,
        (values,),
        is_values=False,
        # a parameter of the values may decide whether there is a conflict
        deciding=parameters_in(where) | inserted,
        sources=(target,),
        compared=_columns_in([where] if where else []).union(columns),
    )


def _update(node: exp.Update, conflict: str) -> WriteStatement:
    _check(node, _UPDATE_CLAUSES)
    target = _table(node.this)
    columns, values = _assigned(node.expressions)
    others = _nodes(node, "this", "expressions", "returning")
    joined = () if _with(node) else _sources(node)
    clause = WriteClause(
        WriteAction.UPDATE,
        columns,
        (values,),
        is_values=False,
        deciding=parameters_in(*others),
        sources=(target, *joined) if joined or not _from(node) else (),
        compared=_columns_in(others).union(columns),
    )
    return WriteStatement(target, conflict, (clause,))


def _assigned(items: Sequence[Any]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return the columns and the values of ``SET a = 1, (b, c) = (2, 3)``."""
    pairs = [pair for item in items for pair in _pairs(item)]
    return tuple(column for column, _ in pairs), tuple(value for _, value in pairs)


def _pairs(item: SyntaxNode) -> Iterator[tuple[str, Any]]:
    if type(item) is not exp.EQ:
        raise UnknownWrite
    columns, values = item.this, item.expression
    if isinstance(columns, exp.Column):
        yield columns.name.lower(), values
    elif type(columns) is exp.Tuple and type(values) is exp.Tuple:
        yield from zip(
            [each.name.lower() for each in columns.expressions], values.expressions, strict=True
        )
    else:
        raise UnknownWrite


# ---------------------------------------------------------------------------- the tables


def _table(node: SyntaxNode) -> NamedTable:
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        raise UnknownWrite
    _check(node, _TABLE_CLAUSES)
    return NamedTable(node.text("db"), node.name, (node.alias or node.name).lower())


def _sources(node: SyntaxNode) -> tuple[NamedTable, ...]:
    """Return the tables of FROM; () if it has other relations."""
    start = _from(node)
    if start is None:
        return ()
    first = start.this.copy()
    joins = [*(first.args.pop("joins", None) or ()), *(node.args.get("joins") or ())]
    inner = [join for join in joins if not join.side]
    conditions = list(filter(None, [node.args.get("where"), node.args.get("having"), *inner]))
    try:
        found = [_table(first)]
        for join in joins:
            _check(join, _JOIN_CLAUSES)
            side, table = (join.side or "").upper(), _table(join.this)
            if side in ("RIGHT", "FULL"):
                found = list(map(_outer, found))
            found.append(_outer(table) if side in ("LEFT", "FULL") else table)
    except UnknownWrite:
        return ()
    return tuple(
        replace(each, is_outer_joined=each.is_outer_joined and not _is_in(conditions, each))
        for each in found
    )


def _is_in(conditions: Sequence[Any], table: NamedTable) -> bool:
    """Return whether conditions mention a table: they may exclude that its row is missing."""
    columns = (column for each in conditions for column in each.find_all(exp.Column))
    return any(column.table.lower() in ("", table.alias) for column in columns)


def _outer(table: NamedTable) -> NamedTable:
    return replace(table, is_outer_joined=True)


def _from(node: SyntaxNode) -> Any:
    return node.args.get("from_") or node.args.get("from")


def _with(node: SyntaxNode) -> Any:
    return node.args.get("with_") or node.args.get("with")


def _check(node: SyntaxNode, known: frozenset[str]) -> None:
    if clauses_of(node) - known:
        raise UnknownWrite


def _nodes(parent: SyntaxNode, *excluded: str) -> list[Any]:
    """Return the nodes of all clauses of a node but these."""
    values = [each for name, each in parent.args.items() if name not in excluded]
    flat = [each for value in values for each in (value if isinstance(value, list) else [value])]
    return [each for each in flat if hasattr(each, "find_all")]


def _columns_in(nodes: Sequence[Any]) -> frozenset[str]:
    return frozenset(each.name.lower() for node in nodes for each in node.find_all(exp.Column))
