"""What a statement of MariaDB writes, and which NULLs are certainly refused.

That depends on the strict mode of the connection, the engine of the table, and the form of the
statement: without strict mode, MariaDB stores 0 or "" for a NULL, but refuses it in an INSERT of
one row. A BEFORE trigger may replace a NULL before it is refused. Tried on MariaDB 10.11.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlglot import exp

from sqla_typedpool.describe.mysql.trust import has_other_syntax
from sqla_typedpool.describe.mysql.words import enum_labels, standard, words_of
from sqla_typedpool.describe.syntax_writes import UnknownWrite, WriteStatement, read_write
from sqla_typedpool.describe.write_values import (
    FUNCTIONS,
    ColumnValue,
    WriteColumn,
    WriteColumns,
    WriteJudge,
)
from sqla_typedpool.describe.writes import ColumnWrite, ValueSource, WriteAction
from sqla_typedpool.tokens import statement_keyword

SETTINGS = "SELECT database(), @@sql_mode"

# Returns the rows of a statement with these values.
Query = Callable[..., Awaitable[list[tuple[Any, ...]]]]

_NO_WRITES = ("SELECT", "VALUES", "TABLE", "DELETE")
_TRANSACTIONAL = "InnoDB"
_ENGINES = (_TRANSACTIONAL, "MyISAM", "Aria", "MEMORY")
_COLUMNS = """
SELECT c.column_name, c.column_default, c.is_nullable, c.data_type, c.column_type,
    c.character_maximum_length, c.extra, t.engine
FROM information_schema.columns c JOIN information_schema.tables t
    ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema = %s AND c.table_name = %s AND t.table_type <> 'VIEW'
ORDER BY c.ordinal_position
"""
# Also those whose text the account may not read.
_TRIGGERS = """
SELECT event_manipulation, trigger_name FROM information_schema.triggers
WHERE event_object_schema = %s AND event_object_table = %s AND action_timing = 'BEFORE'
ORDER BY trigger_name
"""


@dataclass(frozen=True)
class MariaDBTable:
    """A table, as far as a write depends on it."""

    columns: WriteColumns
    engine: str
    # The events for which it has BEFORE triggers: ``"INSERT"``.
    events: frozenset[str]
    # What the verdict depends on, for the fingerprint.
    facts: str


class MariaDBWrites:
    """Judges the writes of statements on one connection."""

    def __init__(self, query: Query, database: str, modes: frozenset[str]) -> None:
        """
        :param database: the schema of names without a schema.
        :param modes: the modes of ``sql_mode``.
        """
        self._query = query
        self._database = database
        self._modes = modes
        self._tables: dict[tuple[str, str], MariaDBTable | None] = {}

    async def of(
        self, sql: str, names: Sequence[str], never_null: frozenset[str]
    ) -> tuple[tuple[ColumnWrite, ...] | None, list[str]]:
        """Return what a statement writes, and the facts on which that depends.

        :param sql: the statement, with ``?`` for each parameter.
        :param names: the `placeholder_names`.
        :return: None instead of the writes if they are unknown.
        """
        if statement_keyword(standard(sql)) in _NO_WRITES:
            return (), []
        try:
            self._check_syntax(sql)
            statement = read_write(sql, "mysql", names)
            return await self._judged(statement, never_null)
        except UnknownWrite:
            return None, []

    def _check_syntax(self, sql: str) -> None:
        """Raise UnknownWrite if sqlglot may read a text otherwise than the server."""
        is_quoted = "ANSI_QUOTES" in self._modes and '"' in sql
        is_escaped = "NO_BACKSLASH_ESCAPES" in self._modes and "\\" in sql
        has_hash = any(word.startswith("#") for word in words_of(sql))  # a comment
        is_other = has_other_syntax(sql) or has_hash or "ORACLE" in self._modes
        if is_other or is_quoted or is_escaped:
            raise UnknownWrite

    async def _judged(
        self, statement: WriteStatement, never_null: frozenset[str]
    ) -> tuple[tuple[ColumnWrite, ...], list[str]]:
        found = {key: await self._table(*key) for key in statement.tables()}
        known = {key: table for key, table in found.items() if table is not None}
        target = known.get((statement.target.schema, statement.target.name))
        facts = [table.facts for table in known.values()]
        if target is None:
            return (), facts  # a view, a temporary table, another engine
        rules = _MariaDBRules(statement, target, self._modes)
        columns = {key: table.columns for key, table in known.items()}
        strict = sorted(mode for mode in self._modes if mode.startswith("STRICT_"))
        return WriteJudge(statement, columns, rules, never_null).writes(), [*facts, repr(strict)]

    async def _table(self, schema: str, name: str) -> MariaDBTable | None:
        key = schema or self._database, name
        if key not in self._tables:
            self._tables[key] = await self._read_table(*key)
        return self._tables[key]

    async def _read_table(self, schema: str, name: str) -> MariaDBTable | None:
        """Return a table; None if it is not a permanent table of a known engine."""
        rows = await self._query(_COLUMNS, schema, name)
        if not rows or rows[0][-1] not in _ENGINES or await self._is_temporary(schema, name):
            return None
        triggers = await self._query(_TRIGGERS, schema, name)
        columns = {str(row[0]).lower(): _column(f"{schema}.{name}", *row[:-1]) for row in rows}
        events = frozenset(str(event) for event, _ in triggers)
        return MariaDBTable(columns, rows[0][-1], events, repr((schema, name, rows, triggers)))

    async def _is_temporary(self, schema: str, name: str) -> bool:
        """Return whether a temporary table has this name, which the catalog does not list."""
        if "%" in schema + name:
            return True  # a placeholder for the driver
        quoted = ".".join(f"`{part.replace('`', '``')}`" for part in (schema, name))
        try:
            rows = await self._query(f"SHOW CREATE TABLE {quoted}")
        except DBAPIError:  # the account lacks the privilege
            return True
        return not str(rows[0][1]).startswith("CREATE TABLE")


def _column(
    table: str,
    name: str,
    default: str | None,
    is_nullable: str,
    kind: str,
    full_type: str,
    length: int | None,
    extra: str,
) -> WriteColumn:
    is_generated, is_numbered = "GENERATED" in extra, "auto_increment" in extra
    is_enum = kind == "enum"  # without a default, its first label is stored
    return WriteColumn(
        f"{table}.{name}",
        not_null=is_nullable == "NO" and not is_generated,
        has_default=default is not None or is_enum or is_numbered or is_generated,
        is_listed="INVISIBLE" not in extra,
        is_numbered=is_numbered,
        replaces_null=kind == "timestamp",  # by the current time
        may_be_null=is_nullable == "YES" and not is_generated,
        max_length=length if kind in ("varchar", "char") else None,
        accepted=enum_labels(full_type) if is_enum else (),
    )


@dataclass(frozen=True)
class _MariaDBRules:
    """What MariaDB does with the values of one statement."""

    statement: WriteStatement
    table: MariaDBTable
    modes: frozenset[str]

    @property
    def functions(self) -> Sequence[type]:
        # a stored function of such a name is called only with its schema
        return (*FUNCTIONS, exp.Concat, exp.Abs)

    def is_certain(self, action: WriteAction) -> bool:
        is_upsert = action is WriteAction.DUPLICATE_UPDATE
        return self.table.events.isdisjoint(("INSERT", "UPDATE") if is_upsert else (action.value,))

    def refuses_null(self, value: ColumnValue) -> bool:
        if self.statement.conflict == "IGNORE":
            return False
        if value.source is ValueSource.OMITTED:
            return self._is_strict(value) and not self._is_set_by_upsert(value.column)
        is_explicit = value.source is not ValueSource.DEFAULT
        return self._is_strict(value) or (is_explicit and self._is_one_row())

    def limits(self, value: ColumnValue) -> bool:
        return self.statement.conflict != "IGNORE" and self._is_strict(value)

    def _is_strict(self, value: ColumnValue) -> bool:
        """Return whether the strict mode certainly applies to a value."""
        if "STRICT_ALL_TABLES" in self.modes:
            return True
        if "STRICT_TRANS_TABLES" not in self.modes:
            return False
        return self.table.engine == _TRANSACTIONAL or self._is_of_first_row(value)

    def _is_of_first_row(self, value: ColumnValue) -> bool:
        """Return whether it is written to the first row: for other engines, later ones are not."""
        if value.clause.action is WriteAction.DUPLICATE_UPDATE:
            return self._is_one_row()
        is_in_each_row = value.source is not ValueSource.EXPRESSION or bool(value.parameters)
        return value.row == 0 and (value.clause.is_values or is_in_each_row)

    def _is_one_row(self) -> bool:
        first = self.statement.clauses[0]
        return first.is_values and len(first.rows) == 1

    def _is_set_by_upsert(self, column: WriteColumn) -> bool:
        """Return whether ON DUPLICATE KEY UPDATE sets it: then it may be missing in the INSERT."""
        name = column.name.rpartition(".")[2].lower()
        upserts = [each.columns for each in self.statement.clauses[1:] if each.columns]
        return any(name in columns for columns in upserts)
