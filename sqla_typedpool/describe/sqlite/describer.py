"""Describe statements of SQLite on an empty copy of the schema.

The schema is read through the given connection and created again in an empty database in memory,
with apsw, which reports names, declared types and origins of a statement's columns without
executing it. The application uses another SQLite, which is asked whether it accepts the statement
too (`library`). The application's file is not opened again, nor locked. Except in STRICT tables
(`value_types`), a value may have another type than its column declares; the mapper checks each.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from math import ceil
from typing import Any

import apsw
import apsw.ext
from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement
from sqla_typedpool.describe.base import DatabaseReport, Describer, described_column
from sqla_typedpool.describe.model import ColumnDescription
from sqla_typedpool.describe.nullability import maybe, never
from sqla_typedpool.describe.sqlite.definitions import SQLiteTrigger
from sqla_typedpool.describe.sqlite.expressions import Columns, SelectColumn
from sqla_typedpool.describe.sqlite.functions import (
    COLLATIONS,
    FUNCTIONS,
    Functions,
    copy_functions,
)
from sqla_typedpool.describe.sqlite.library import ApplicationLibrary
from sqla_typedpool.describe.sqlite.queries import SQLiteTable, infer_columns, view_select
from sqla_typedpool.describe.sqlite.value_types import STRICT_TYPES, TYPE_NAMES
from sqla_typedpool.describe.sqlite.writes import SQLiteWrites
from sqla_typedpool.describe.syntax_writes import placeholder_names
from sqla_typedpool.errors import Refused
from sqla_typedpool.mapping.dbtypes import sqlite_type
from sqla_typedpool.secrets import mask_secrets
from sqla_typedpool.tokens import statement_keyword

_MAX_MILLISECONDS = 2**31 - 1


@asynccontextmanager
async def open_describer(
    connection: AsyncConnection, timeout: float
) -> AsyncGenerator[Describer, None]:
    """Open a describer of this connection's schema; see `sqla_typedpool.describe.describer`."""
    copy, library = apsw.Connection(":memory:"), ApplicationLibrary()
    try:
        async with _busy_timeout(connection, timeout):
            listed = await _rows(connection, FUNCTIONS), await _rows(connection, COLLATIONS)
            functions = copy_functions(copy, *listed)
            library.copy_functions(*listed)
            schema, triggers = await _copy_schema(connection, copy, library)
        writes = SQLiteWrites(copy, triggers, knows_functions=not functions.is_known_replaced)
        yield SQLiteDescriber(copy, library, schema, functions, writes, timeout)
    finally:
        copy.close()
        library.close()


@asynccontextmanager
async def _busy_timeout(connection: AsyncConnection, timeout: float) -> AsyncGenerator[None, None]:
    """Wait as long as this for a file that another connection has locked."""
    ((milliseconds,),) = await _rows(connection, "PRAGMA busy_timeout")
    limit = min(ceil(timeout * 1000), _MAX_MILLISECONDS)
    await _rows(connection, f"PRAGMA busy_timeout = {limit}")
    try:
        yield
    finally:
        await _rows(connection, f"PRAGMA busy_timeout = {milliseconds}")


async def _copy_schema(
    connection: AsyncConnection, copy: apsw.Connection, library: ApplicationLibrary
) -> tuple[list[str], list[SQLiteTrigger]]:
    """Create the databases of the connection again, empty.

    Of the triggers only those of views are created, without which a view cannot be written.

    :return: the definitions of tables, indexes and views, and all triggers.
    """
    names = [row[1] for row in await _rows(connection, "PRAGMA database_list")]
    created: list[str] = []
    triggers: list[SQLiteTrigger] = []
    for name in names:
        if name not in ("main", "temp"):
            attach = f"ATTACH ':memory:' AS {_quoted(name)}"
            copy.execute(attach)
            library.create(attach)
    for name in names:
        for kind, table, sql in await _rows(
            connection,
            f"SELECT type, lower(tbl_name), sql FROM {_schema_table(name)} WHERE sql IS NOT NULL "
            "AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY type <> 'table', rowid",
        ):
            definition = _qualified(sql, name)
            if kind == "trigger":
                triggers.append(SQLiteTrigger(table, definition))
                continue
            library.create(definition)
            if _create(copy, definition):
                created.append(f"{name}: {sql}")
    for trigger in triggers:
        if trigger.is_of_view:  # which may be in another database
            library.create(trigger.sql)
            _create(copy, trigger.sql)
    return created, triggers


async def _rows(connection: AsyncConnection, sql: str) -> list[tuple[Any, ...]]:
    result = await connection.exec_driver_sql(sql)
    return list(map(tuple, result.all()))


def _create(copy: apsw.Connection, sql: str) -> bool:
    """Return whether it could be created: it may need the application's modules."""
    try:
        copy.execute(sql)
    except apsw.Error:
        return False
    return True


_CREATE = re.compile(
    r"\s*CREATE\s+(?:VIRTUAL\s+TABLE|UNIQUE\s+INDEX|TABLE|INDEX|VIEW|TRIGGER)\s+", re.IGNORECASE
)


def _qualified(sql: str, database: str) -> str:
    """Return a definition, as SQLite stores it, with the name of its database."""
    head = None if database == "main" else _CREATE.match(sql)
    return sql if head is None else f"{head[0]}{_quoted(database)}.{sql[head.end() :]}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _schema_table(database: str) -> str:
    return "sqlite_temp_master" if database == "temp" else f"{_quoted(database)}.sqlite_master"


class SQLiteDescriber(Describer):
    """Describes statements on the copy of a schema."""

    family = "sqlite"

    def __init__(
        self,
        copy: apsw.Connection,
        library: ApplicationLibrary,
        schema: Sequence[str],
        functions: Functions,
        writes: SQLiteWrites,
        timeout: float,
    ) -> None:
        super().__init__(f"SQLite {apsw.sqlite_lib_version().partition('.')[0]}", timeout)
        self._copy = copy
        self._library = library
        self._schema = tuple(schema)
        self._tables = _tables(copy)
        self._functions = functions
        self._writes = writes

    async def _describe(
        self, compiled: CompiledStatement, never_null: frozenset[str]
    ) -> DatabaseReport:
        details = self._query_info(compiled.sql)
        reported, rest = details.description_full or (), details.query_remaining or ""
        first = compiled.sql[: len(compiled.sql) - len(rest)]  # rest is a comment
        names = {placeholder.name for placeholder in compiled.placeholders}
        columns = self._infer(first, never_null=names <= never_null)
        if columns is None or len(columns) != len(reported):
            unknown = SelectColumn("", maybe("nothing is known about this statement"))
            columns = [unknown] * len(reported)
        described = [_column(*each) for each in zip(reported, columns, strict=True)]
        return DatabaseReport(
            described,
            self._definitions_used(compiled.sql),
            notes=self._notes(compiled),
            writes=self._writes.of(
                first, placeholder_names(compiled), never_null | compiled.never_null
            ),
        )

    def _notes(self, compiled: CompiledStatement) -> tuple[str, ...]:
        refusal = self._library.refusal(compiled.sql, len(compiled.placeholders))
        if not refusal:
            return ()
        checked, used = apsw.sqlite_lib_version(), self._library.version
        return (
            f"the application's SQLite {used} refuses what SQLite {checked} of the checker "
            f"accepts: {mask_secrets(refusal)}; next: use an SQLite that accepts it, or change "
            "the statement",
        )

    def _infer(self, sql: str, *, never_null: bool) -> Columns | None:
        if self._functions.is_known_replaced:
            return None
        return infer_columns(sql, self._tables, self._functions.aggregates, never_null=never_null)

    def _query_info(self, sql: str) -> apsw.ext.QueryDetails:
        try:
            info = apsw.ext.query_info(self._copy, sql)
        except apsw.Error as error:
            offset = getattr(error, "error_offset", -1)
            # SQLite counts bytes
            position = len(sql.encode()[:offset].decode(errors="replace")) if offset >= 0 else None
            raise Refused(
                mask_secrets(str(error)), position=position, hint=_hint(str(error))
            ) from error
        rest = info.query_remaining or ""
        blank = _BLANK.match(rest)
        position = len(sql) - len(rest) + (blank.end() if blank else 0)
        if position < len(sql):
            raise Refused("there is more than one statement", position=position)
        return info

    def _definitions_used(self, sql: str) -> list[str]:
        """Return the definitions whose names the statement contains, and those of all views."""
        names = _words(sql)
        used = [each for each in self._schema if " view " in each.lower() or names & _words(each)]
        is_read = statement_keyword(sql) == "SELECT"
        return used if is_read else used + self._writes.facts(names)


# White space and comments; a comment without an end extends to the end of the text.
_BLANK = re.compile(r"(?:\s|--[^\n]*|/\*.*?(?:\*/|\Z))*", re.DOTALL)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _hint(message: str) -> str:
    if "no such function" in message or "no such module" in message:
        return "functions and modules of the application are not known to the checker"
    return ""


def _tables(copy: apsw.Connection) -> dict[str, SQLiteTable]:
    """Return every table and view, but not those whose name is in two databases."""
    found: dict[str, SQLiteTable] = {}
    ambiguous: set[str] = set()
    query = "SELECT schema, name, type, wr, strict FROM pragma_table_list"
    for schema, name, *properties in list(copy.execute(query)):
        key = str(name).lower()
        if key in found:
            ambiguous.add(key)
        found[key] = _table(copy, str(schema), str(name), *properties)
    return {name: table for name, table in found.items() if name not in ambiguous}


def _table(
    copy: Any, schema: str, name: str, kind: str, is_without_rowid: int, is_strict: int
) -> SQLiteTable:
    query = 'SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?, ?)'
    rows = list(copy.execute(query, (name, schema)))
    if kind == "view":
        query = f"SELECT sql FROM {_schema_table(schema)} WHERE name = ?"
        (definition,) = copy.execute(query, (name,)).fetchone()
        return SQLiteTable({}, view_select(definition), tuple(str(row[0]) for row in rows))
    # INTEGER PRIMARY KEY DESC has an index, as a key that is not the row's number has
    query = "SELECT count(*) FROM pragma_index_list(?, ?) WHERE origin = 'pk'"
    (indexes,) = copy.execute(query, (name, schema)).fetchone()
    has_one_key = sum(1 for row in rows if row[3]) == 1
    is_rowid = has_one_key and not indexes and not is_without_rowid
    columns = {}
    for column, declared, is_not_null, is_key, hidden in rows:
        is_number = is_key and is_rowid and declared.upper() == "INTEGER"  # the row's own number
        # other primary keys may be NULL in SQLite, and virtual generated columns (2)
        is_sure = is_not_null or is_number or (is_key and is_without_rowid)
        label = f"{name.lower()}.{str(column).lower()}"
        nullability = (
            never(f"{label} is NOT NULL")
            if kind == "table" and is_sure and hidden != 2
            else maybe(f"{label} may be NULL")
        )
        is_typed = kind == "table" and not hidden and (is_strict or is_number)
        python = STRICT_TYPES.get(declared.upper()) if is_typed else None
        columns[str(column).lower()] = SelectColumn(str(column).lower(), nullability, python)
    return SQLiteTable(columns)


def _column(reported: Sequence[Any], inferred: SelectColumn) -> ColumnDescription:
    name, declared, database, table, column = reported
    origin = f"{database}.{table}.{column}" if column else None
    known = None if inferred.python is None else TYPE_NAMES[inferred.python]
    kind = known or ("no declared type" if column else "expression")
    db_type = replace(sqlite_type(declared or kind), python=inferred.python)
    return described_column(name, db_type, inferred.nullability, origin)
