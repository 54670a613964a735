"""SQLite describes: a copy of the schema in memory, and nothing of the data.

The schema is read through the given connection and built again in an empty database of
apsw's, which tells names, declared types and origins of a statement's columns without running
it. The application's file is neither opened again nor locked. Values may be of any type,
whatever is declared; the mapper looks at each.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from importlib.util import find_spec
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement, compile_statement
from sqla_typedpool.describe.core_columns import as_read
from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.describe.sqlite.expressions import Judged
from sqla_typedpool.describe.sqlite.functions import (
    COLLATIONS,
    FUNCTIONS,
    Functions,
    copy_functions,
)
from sqla_typedpool.describe.sqlite.queries import (
    SQLiteTable,
    judge_columns,
    view_select,
)
from sqla_typedpool.errors import CannotRun, Refused
from sqla_typedpool.mapping.dbtypes import sqlite_type
from sqla_typedpool.statement import as_executable

_NEEDS = (
    "statements of SQLite are described by apsw and sqlglot; next: pip install "
    '"sqla-typedpool[check]"'
)


@asynccontextmanager
async def describer(
    connection: AsyncConnection,
) -> AsyncGenerator[SQLiteDescriber, None]:
    """A describer of this connection's schema, as it is now."""
    if find_spec("apsw") is None or find_spec("sqlglot") is None:
        raise CannotRun(_NEEDS)
    import apsw

    copy = apsw.Connection(":memory:")
    try:
        functions = copy_functions(
            copy, await _rows(connection, FUNCTIONS), await _rows(connection, COLLATIONS)
        )
        schema = await _copy_schema(connection, copy)
        yield SQLiteDescriber(copy, schema, functions)
    finally:
        copy.close()


async def _copy_schema(connection: AsyncConnection, copy: Any) -> list[str]:
    """Build the databases of the connection again, empty; their definitions."""
    names = [row[1] for row in await _rows(connection, "PRAGMA database_list")]
    made: list[str] = []
    for name in names:
        if name not in ("main", "temp"):
            copy.execute(f"ATTACH ':memory:' AS {_quoted(name)}")
    for name in names:
        master = "sqlite_temp_master" if name == "temp" else f"{_quoted(name)}.sqlite_master"
        for kind, sql in await _rows(
            connection,
            f"SELECT type, sql FROM {master} WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' "
            "ESCAPE '~' ORDER BY type <> 'table', rowid",
        ):
            if kind != "trigger" and _make(copy, _placed(sql, name)):
                made.append(f"{name}: {sql}")
    return made


async def _rows(connection: AsyncConnection, sql: str) -> list[tuple[Any, ...]]:
    result = await connection.exec_driver_sql(sql)
    return list(map(tuple, result.all()))


def _make(copy: Any, sql: str) -> bool:
    """Whether it could be built: a module or a collation may be the application's own."""
    import apsw

    try:
        copy.execute(sql)
    except apsw.Error:
        return False
    return True


_CREATE = re.compile(
    r"\s*CREATE\s+(?:VIRTUAL\s+TABLE|UNIQUE\s+INDEX|TABLE|INDEX|VIEW)\s+", re.IGNORECASE
)


def _placed(sql: str, database: str) -> str:
    """The definition, as SQLite keeps it, for one database of the connection."""
    if database == "main":
        return sql
    head = _CREATE.match(sql)
    return sql if head is None else f"{head[0]}{_quoted(database)}.{sql[head.end() :]}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class SQLiteDescriber:
    """Describes statements on the copy of a schema."""

    family = "sqlite"

    def __init__(self, copy: Any, schema: Sequence[str], functions: Functions) -> None:
        import apsw

        self._copy = copy
        self._schema = tuple(schema)
        self._tables = _tables(copy)
        self._functions = functions
        self.server = f"SQLite {apsw.sqlite_lib_version().partition('.')[0]}"

    async def describe(
        self,
        statement: Executable | str,
        *,
        keys: Collection[str] = (),
        never_null: Collection[str] = (),
    ) -> Description:
        """See `sqla_typedpool.describe.Describer`."""
        try:
            as_sent = compile_statement(as_executable(statement), self.family, keys)
        except SQLAlchemyError as error:
            raise Refused(f"SQLAlchemy cannot compile the statement: {error}") from error
        described = self._info(as_sent.sql).description_full or ()
        sure = all(place.name in never_null for place in as_sent.placeholders)
        judged = self._judged(as_sent.sql, are_parameters_sure=sure)
        if judged is None or len(judged) != len(described):
            judged = [Judged("", True, "nothing is known of this statement")] * len(described)
        columns = [_column(*pair) for pair in zip(described, judged, strict=True)]
        return Description(
            family=self.family,
            sql=as_sent.sql,
            parameters=_parameters(as_sent),
            columns=as_read(as_sent.columns, columns, [None] * len(columns)),
            server=self.server,
            fingerprint=self._fingerprint(as_sent.sql),
        )

    def _judged(self, sql: str, *, are_parameters_sure: bool) -> list[Judged] | None:
        if self._functions.are_overridden:
            return None
        aggregates = self._functions.aggregates
        return judge_columns(sql, self._tables, aggregates, are_parameters_sure=are_parameters_sure)

    def _info(self, sql: str) -> Any:
        import apsw
        import apsw.ext

        try:
            info = apsw.ext.query_info(self._copy, sql)
        except apsw.Error as error:
            offset = getattr(error, "error_offset", -1)
            position = _characters(sql, offset) if isinstance(offset, int) and offset >= 0 else None
            raise Refused(str(error), position=position, hint=_hint(str(error))) from error
        if rest := (info.query_remaining or "").strip():
            raise Refused("it is more than one statement", position=sql.find(rest))
        return info

    def _fingerprint(self, sql: str) -> str:
        """Of the definitions whose names the statement mentions, and of views, which read more."""
        words = set(re.findall(r"\w+", sql.lower()))
        used = [
            each
            for each in self._schema
            if " view " in each.lower() or words & set(re.findall(r"\w+", each.lower()))
        ]
        return sha256("\n".join(sorted(used)).encode()).hexdigest()


def _characters(sql: str, offset: int) -> int:
    """SQLite counts bytes."""
    return len(sql.encode()[:offset].decode(errors="replace"))


def _hint(words: str) -> str:
    if "no such function" in words or "no such module" in words:
        return "functions and modules of the application are not known to the checker"
    return ""


def _tables(copy: Any) -> dict[str, SQLiteTable]:
    """Every table and view; a name that two databases have is not known."""
    found: dict[str, SQLiteTable] = {}
    twice: set[str] = set()
    rows = list(copy.execute("SELECT schema, name, type, wr FROM pragma_table_list"))
    for schema, name, kind, is_without_rowid in rows:
        key = str(name).lower()
        if key in found:
            twice.add(key)
        found[key] = _table(copy, schema, name, kind, bool(is_without_rowid))
    return {name: table for name, table in found.items() if name not in twice}


def _table(copy: Any, schema: str, name: str, kind: str, is_without_rowid: bool) -> SQLiteTable:
    question = 'SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?, ?)'
    rows = list(copy.execute(question, (name, schema)))
    if kind == "view":
        master = "sqlite_temp_master" if schema == "temp" else f"{_quoted(schema)}.sqlite_master"
        (text,) = copy.execute(f"SELECT sql FROM {master} WHERE name = ?", (name,)).fetchone()
        return SQLiteTable({}, view_select(text), tuple(str(row[0]) for row in rows))
    if kind != "table":
        return SQLiteTable({str(row[0]).lower(): False for row in rows})
    keys = sum(1 for row in rows if row[3])
    # INTEGER PRIMARY KEY DESC has an index, as a key that is not the row's number has
    question = "SELECT count(*) FROM pragma_index_list(?, ?) WHERE origin = 'pk'"
    (indexes,) = copy.execute(question, (name, schema)).fetchone()
    is_number = keys == 1 and not indexes and not is_without_rowid
    return SQLiteTable(
        {
            str(column).lower(): _is_sure(declared, sure, key, hidden, is_number, is_without_rowid)
            for column, declared, sure, key, hidden in rows
        }
    )


def _is_sure(
    kind: str, is_not_null: int, key: int, hidden: int, is_number: bool, is_without_rowid: bool
) -> bool:
    """NOT NULL, or the row's own number; other primary keys may be NULL in SQLite."""
    if hidden == 2:  # computed when it is read
        return False
    is_row_number = is_number and bool(key) and kind.upper() == "INTEGER"
    return bool(is_not_null) or is_row_number or (bool(key) and is_without_rowid)


def _column(described: Sequence[Any], judged: Judged) -> ColumnDescription:
    name, declared, database, table, column = described
    origin = f"{database}.{table}.{column}" if column else None
    kind = sqlite_type(declared or ("no declared type" if column else "expression"))
    return ColumnDescription(name, kind, judged.nullable, judged.why, origin, judged.missing_with)


def _parameters(as_sent: CompiledStatement) -> tuple[ParameterDescription, ...]:
    """Each name once, however many marks it fills."""
    named = {place.name: place for place in as_sent.placeholders if place.is_required}
    return tuple(
        ParameterDescription(name, None, place.is_expanding, place.is_processed)
        for name, place in named.items()
    )
