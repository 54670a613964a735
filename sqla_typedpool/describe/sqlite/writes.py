"""What a statement of SQLite writes, and which NULLs are certainly refused.

SQLite checks NOT NULL after the BEFORE triggers, which can skip a row, and before uniqueness. So it
does not matter what ON CONFLICT of a uniqueness constraint or an AFTER trigger does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqla_typedpool.describe.sqlite.definitions import SQLiteTrigger, table_columns
from sqla_typedpool.describe.syntax_writes import UnknownWrite, WriteStatement, read_write
from sqla_typedpool.describe.write_values import FUNCTIONS, ColumnValue, WriteColumns, WriteJudge
from sqla_typedpool.describe.writes import ColumnWrite, WriteAction
from sqla_typedpool.tokens import statement_keyword

_NO_WRITES = ("SELECT", "VALUES", "DELETE")


class SQLiteWrites:
    """Judges the writes of statements on the copy of a schema."""

    def __init__(
        self, copy: Any, triggers: Sequence[SQLiteTrigger], *, knows_functions: bool
    ) -> None:
        """
        :param copy: the connection to the copy.
        :param knows_functions: whether the application has replaced none of SQLite's functions.
        """
        self._copy = copy
        self._triggers = triggers
        self._knows_functions = knows_functions

    def of(
        self, sql: str, names: Sequence[str], never_null: frozenset[str]
    ) -> tuple[ColumnWrite, ...] | None:
        """Return what a statement writes; None if that is unknown.

        :param names: the `placeholder_names`.
        """
        if statement_keyword(sql) in _NO_WRITES:
            return ()
        try:
            statement = read_write(sql, "sqlite", names)
            return self._judged(statement, never_null)
        except UnknownWrite:
            return None

    def facts(self, words: set[str]) -> list[str]:
        """Return the triggers of the tables that are named by these words."""
        return [
            each.sql for each in self._triggers if words.issuperset(re.findall(r"\w+", each.table))
        ]

    def _judged(
        self, statement: WriteStatement, never_null: frozenset[str]
    ) -> tuple[ColumnWrite, ...]:
        tables: dict[tuple[str, str], WriteColumns] = {}
        for schema, name in statement.tables():
            columns = table_columns(self._copy, schema, name)
            if columns is not None:
                tables[schema, name] = columns
        target = statement.target
        if (target.schema, target.name) not in tables:
            return ()  # a view, whose triggers write, or a virtual table
        triggers = tuple(each for each in self._triggers if each.table == target.name.lower())
        functions = FUNCTIONS if self._knows_functions else ()
        rules = _SQLiteRules(statement.conflict, triggers, functions)
        return WriteJudge(statement, tables, rules, never_null).writes()


@dataclass(frozen=True)
class _SQLiteRules:
    """What SQLite does with the values of one statement."""

    conflict: str
    triggers: tuple[SQLiteTrigger, ...]
    functions: Sequence[type]

    def is_certain(self, action: WriteAction) -> bool:
        return not any(each.may_run_before(action) for each in self.triggers)

    def refuses_null(self, value: ColumnValue) -> bool:
        # OR REPLACE stores the default for a NULL, except in ON CONFLICT DO UPDATE
        is_replaced = self.conflict == "REPLACE" and value.column.has_default
        is_exception = value.clause.action is WriteAction.CONFLICT_UPDATE
        return self.conflict != "IGNORE" and (is_exception or not is_replaced)

    def limits(self, value: ColumnValue) -> bool:
        return self.conflict != "IGNORE"
