"""Describe statements of MySQL and MariaDB with COM_STMT_PREPARE.

The server answers it with the columns and their flags, and executes nothing. A column is reported
as not nullable only if its NOT NULL flag is set and can be trusted; see `trust`. A zero date is not
NULL: the driver returns it as a string, which the mapper refuses. The server reports no types of
parameters.
"""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement
from sqla_typedpool.describe.base import DatabaseReport, Describer, described_column
from sqla_typedpool.describe.model import ColumnDescription
from sqla_typedpool.describe.mysql import packets
from sqla_typedpool.describe.mysql.packets import ColumnDefinition
from sqla_typedpool.describe.mysql.trust import FlagTrust, Schema
from sqla_typedpool.describe.mysql.words import enum_labels, words_of
from sqla_typedpool.describe.mysql.writes import SETTINGS, MariaDBWrites
from sqla_typedpool.describe.syntax_writes import placeholder_names
from sqla_typedpool.errors import CannotRun, Refused
from sqla_typedpool.mapping.dbtypes import DbType, mysql_type
from sqla_typedpool.secrets import mask_secrets
from sqla_typedpool.tokens import output_items

_PREPARE, _CLOSE = 0x16, 0x19
_DEPRECATE_EOF = 1 << 24
_NOT_PREPARABLE = 1295  # "not supported in the prepared statement protocol yet"

_ENUMS = """
SELECT column_name, column_type FROM information_schema.columns
WHERE table_schema = %s AND table_name = %s AND data_type = 'enum'
"""
_TEXTS = frozenset({15, 247, 248, 249, 250, 251, 252, 253, 254})
_BINARY = 63  # the character set of bytes


@asynccontextmanager
async def open_describer(
    connection: AsyncConnection, timeout: float
) -> AsyncGenerator[Describer, None]:
    """Open a describer on this connection; see `sqla_typedpool.describe.describer`."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if not hasattr(driver, "_execute_command"):
        raise CannotRun(
            f"statements cannot be described through {type(driver).__module__}; next: use "
            "mysql+aiomysql:// or mysql+asyncmy://"
        )
    schema = Schema(await _views(connection), await _functions(connection))
    yield MySQLDescriber(connection, driver, schema, await _writes(connection), timeout)


async def _views(connection: AsyncConnection) -> dict[str, str]:
    """Return the text of each view by its name in lower case; "" if it may not be read.

    Views of the same name in several schemas are one text.
    """
    found: dict[str, str] = {}
    for name, select in await _rows(
        connection, "SELECT lower(table_name), view_definition FROM information_schema.views"
    ):
        texts = [found[name], select or ""] if name in found else [select or ""]
        found[name] = " ; ".join(texts) if all(texts) else ""
    return found


async def _writes(connection: AsyncConnection) -> MariaDBWrites | None:
    """Return what judges writes; None for MySQL, on which it was not tested."""
    dialect: Any = connection.dialect
    if not dialect.is_mariadb:
        return None
    ((database, modes),) = await _rows(connection, SETTINGS)
    query = partial(_rows, connection)
    return MariaDBWrites(query, database or "", frozenset(modes.upper().split(",")))


async def _functions(connection: AsyncConnection) -> frozenset[str]:
    rows = await _rows(
        connection,
        "SELECT lower(routine_name), 1 FROM information_schema.routines "
        "WHERE routine_type = 'FUNCTION'",
    )
    return frozenset(name for name, _ in rows)


async def _rows(connection: AsyncConnection, sql: str, *values: str) -> list[tuple[Any, ...]]:
    result = await connection.exec_driver_sql(sql, values or None)
    return list(map(tuple, result))


class MySQLDescriber(Describer):
    """Describes statements on one connection."""

    family = "mysql"
    _unsendable = ""

    def __init__(
        self,
        connection: AsyncConnection,
        driver: Any,
        schema: Schema,
        writes: MariaDBWrites | None,
        timeout: float,
    ) -> None:
        dialect: Any = connection.dialect
        product = "MariaDB" if dialect.is_mariadb else "MySQL"
        super().__init__(f"{product} {dialect.server_version_info[0]}", timeout, driver._encoding)
        self._connection = connection
        self._driver = driver
        self._schema = schema
        self._writes = writes
        self._labels: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}

    async def _describe(
        self, compiled: CompiledStatement, never_null: frozenset[str]
    ) -> DatabaseReport:
        sql = _with_question_marks(compiled.sql)
        definitions = await self._prepare(sql)
        if not definitions and (select := _select_of_returning(sql)):
            definitions = await self._prepare(select)
        trust = self._schema.flag_trust(sql, len(definitions))
        columns = [await self._column(trust, *each) for each in enumerate(definitions)]
        facts = [
            repr((each, column.db_type, column.nullable))
            for each, column in zip(definitions, columns, strict=True)
        ]
        if self._writes is None:
            return DatabaseReport(columns, facts)
        never = never_null | compiled.never_null
        writes, used = await self._writes.of(sql, placeholder_names(compiled), never)
        return DatabaseReport(columns, [*facts, *used], writes=writes)

    async def _column(
        self, trust: FlagTrust, index: int, definition: ColumnDefinition
    ) -> ColumnDescription:
        nullability = trust.nullability(index, definition)
        parts = definition.schema, definition.org_table, definition.org_name
        origin = ".".join(parts) if definition.org_table and definition.org_name else None
        return described_column(
            definition.name, await self._db_type(definition), nullability, origin
        )

    async def _prepare(self, sql: str) -> list[ColumnDefinition]:
        try:
            return await self._exchange(sql)
        except BaseException as error:
            if refused := _refused(error, sql):
                raise refused from error
            # packets may be left that the next command on this connection would read
            await self._connection.invalidate()
            if isinstance(error, Exception):
                raise CannotRun(
                    f"the connection to the database is lost: {mask_secrets(str(error))}; next: "
                    "check that the server is running, then run the check again"
                ) from error
            raise

    async def _exchange(self, sql: str) -> list[ColumnDefinition]:
        await self._driver._execute_command(_PREPARE, sql)
        number, columns, parameters = packets.parse_prepare_ok(await self._packet())
        await self._packets(parameters)
        definitions = list(map(packets.parse_definition, await self._packets(columns)))
        await self._driver._execute_command(_CLOSE, struct.pack("<I", number))
        return definitions

    async def _packets(self, count: int) -> list[bytes]:
        """Read a list of packets, and the packet at its end unless the server omits it."""
        found = [await self._packet() for _ in range(count)]
        if count and not getattr(self._driver, "_client_flag", 0) & _DEPRECATE_EOF:
            await self._packet()
        return found

    async def _packet(self) -> bytes:
        read = getattr(self._driver, "_read_packet", None) or self._driver.read_packet
        packet = await read()
        return bytes(packet.get_all_data())

    async def _db_type(self, definition: ColumnDefinition) -> DbType:
        if definition.is_enum:
            labels = await self._labels_of(definition.schema, definition.org_table)
            return DbType("enum", str, labels=labels.get(definition.org_name, ()))
        if definition.type not in _TEXTS:
            return mysql_type(definition.type)
        is_binary = definition.charset == _BINARY
        return DbType("binary", bytes) if is_binary else DbType("text", str)

    async def _labels_of(self, schema: str, table: str) -> dict[str, tuple[str, ...]]:
        """Return the labels of a table's enums by the column's name."""
        if (schema, table) not in self._labels:
            rows = await _rows(self._connection, _ENUMS, schema, table)
            self._labels[schema, table] = {name: enum_labels(kind) for name, kind in rows}
        return self._labels[schema, table]


def _with_question_marks(sql: str) -> str:
    """Replace the driver's ``%s`` and ``%%`` by the server's ``?`` and ``%``."""
    return re.sub(r"%[s%]", lambda found: "?" if found[0] == "%s" else "%", sql)


_TARGET = re.compile(
    r"\s*(?:INSERT|REPLACE|DELETE)\b(?:\s+(?:LOW_PRIORITY|HIGH_PRIORITY|DELAYED|QUICK|IGNORE)\b)*"
    r"(?:\s+(?:INTO|FROM)\b)?\s+((?:`[^`]+`|[\w$]+)(?:\s*\.\s*(?:`[^`]+`|[\w$]+))?)",
    re.IGNORECASE,
)


def _select_of_returning(sql: str) -> str | None:
    """Return a SELECT of what RETURNING returns: PREPARE does not report the latter's columns."""
    items = output_items(sql.replace("`", '"'))
    target = _TARGET.match(sql)
    if target is None or not items or "returning" not in words_of(sql):
        return None
    return f"SELECT {sql[items[0][0] : items[-1][1]]} FROM {target[1]}"


def _refused(error: BaseException, sql: str) -> Refused | None:
    """Return the error for one that the server has sent; None for any other one."""
    package = type(error).__module__.partition(".")[0]
    if package not in ("pymysql", "asyncmy", "aiomysql") or len(error.args) < 2:
        return None
    number, message = error.args[0], str(error.args[1])
    if not isinstance(number, int) or 2000 <= number < 3000:  # the numbers of client errors
        return None
    hint = "give it one statement" if number == _NOT_PREPARABLE else ""
    return Refused(
        mask_secrets(message), position=_position(message, sql), hint=hint, code=str(number)
    )


def _position(message: str, sql: str) -> int | None:
    """Return the offset of the part of the statement that the message quotes."""
    for pattern in (r"near '(.+?)' at line", r"column '(?:\w+\.)*(\w+)'", r"Table '\w+\.(\w+)'"):
        found = re.search(pattern, message, re.DOTALL)
        if found and (position := sql.find(found[1])) >= 0:
            # the compiled SQL has %s for each "?", so later offsets are different there
            return position if "?" not in sql[:position] else None
    return None
