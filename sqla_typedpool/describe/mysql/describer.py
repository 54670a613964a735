"""MySQL and MariaDB describe: COM_STMT_PREPARE, which sends columns and flags and runs nothing.

A column is taken for NOT NULL where the server's flag says so and can be trusted
(`mysql_doubt`), and only then. A zero date is not NULL: it arrives as a text, which the mapper
refuses. The server tells no types of parameters.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

from sqlalchemy import CursorResult, Executable
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement, compile_statement
from sqla_typedpool.describe.core_columns import as_read
from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.describe.mysql.packets import Definition, definition, prepared
from sqla_typedpool.describe.mysql.trust import Doubts, words_of
from sqla_typedpool.errors import CannotRun, Refused
from sqla_typedpool.mapping.dbtypes import DbType, mysql_type
from sqla_typedpool.statement import as_executable
from sqla_typedpool.tokens import output_items

_PREPARE, _CLOSE = 0x16, 0x19
_DEPRECATE_EOF = 1 << 24
_SECONDS = 10.0
_STATEMENTS_TOO_MANY = 1295  # "not supported in the prepared statement protocol yet"

_TEXTS = frozenset({15, 247, 248, 249, 250, 251, 252, 253, 254})
_BINARY = 63  # the character set of bytes


@asynccontextmanager
async def describer(
    connection: AsyncConnection,
) -> AsyncGenerator[MySQLDescriber, None]:
    """A describer on this connection; nothing is run but questions to the catalogue."""
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    if not hasattr(driver, "_execute_command"):
        raise CannotRun(
            f"statements cannot be described through {type(driver).__module__}; next: use "
            "mysql+aiomysql:// or mysql+asyncmy://"
        )
    views, functions = await _views(connection), await _functions(connection)
    yield MySQLDescriber(connection, driver, Doubts(views, functions))


async def _views(connection: AsyncConnection) -> dict[str, str]:
    """Every view's text, by its name in lower case; "" for one that may not be read."""
    result = await connection.exec_driver_sql(
        "SELECT table_name, view_definition FROM information_schema.views"
    )
    found: dict[str, str] = {}
    for name, select in _pairs(result):
        others = found.get(str(name).lower())  # of the same name in another schema
        texts = [select or ""] if others is None else [others, select or ""]
        found[str(name).lower()] = " ; ".join(texts) if all(texts) else ""
    return found


async def _functions(connection: AsyncConnection) -> frozenset[str]:
    """The stored functions: each may aggregate, which the catalogue does not tell."""
    result = await connection.exec_driver_sql(
        "SELECT routine_name, routine_type FROM information_schema.routines"
    )
    return frozenset(str(name).lower() for name, kind in _pairs(result) if kind == "FUNCTION")


def _pairs(result: CursorResult[Any]) -> list[tuple[Any, Any]]:
    return [(row[0], row[1]) for row in map(tuple, result)]


class MySQLDescriber:
    """Describes statements on one connection."""

    family = "mysql"

    def __init__(self, connection: AsyncConnection, driver: Any, doubts: Doubts) -> None:
        self._connection = connection
        self._driver = driver
        self._doubts = doubts
        self._labels: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
        dialect: Any = connection.dialect
        product = "MariaDB" if dialect.is_mariadb else "MySQL"
        self.server = f"{product} {dialect.server_version_info[0]}"

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
        sql = _with_question_marks(as_sent.sql)
        definitions = await self._prepared(sql)
        if not definitions and (returning := _returning(sql)):
            definitions = await self._prepared(returning)
        for each in definitions:
            if each.is_enum:
                await self._learn_labels(each.schema, each.org_table)
        flags = self._doubts.flags(sql, len(definitions))
        columns = tuple(
            ColumnDescription(
                each.name, self._delivered(each), *flags.judge(place, each), _origin(each)
            )
            for place, each in enumerate(definitions)
        )
        return Description(
            family=self.family,
            sql=as_sent.sql,
            parameters=_parameters(as_sent),
            columns=as_read(as_sent.columns, columns, [None] * len(columns)),
            server=self.server,
            fingerprint=sha256(repr((definitions, columns)).encode()).hexdigest(),
        )

    async def _prepared(self, sql: str) -> list[Definition]:
        try:
            return await asyncio.wait_for(self._exchange(sql), _SECONDS)
        except (asyncio.TimeoutError, TimeoutError):
            raise CannotRun(f"the server did not describe a statement in {_SECONDS:g} s") from None
        except Exception as error:
            number, words = _told(error)
            if number is None:
                raise
            hint = "give it one statement" if number == _STATEMENTS_TOO_MANY else ""
            position = _position(words, sql)
            raise Refused(words, position=position, hint=hint, code=str(number)) from error

    async def _exchange(self, sql: str) -> list[Definition]:
        await self._driver._execute_command(_PREPARE, sql)
        number, columns, parameters = prepared(await self._packet())
        definitions = []
        for count, is_wanted in ((parameters, False), (columns, True)):
            for _ in range(count):
                packet = await self._packet()
                if is_wanted:
                    definitions.append(definition(packet))
            if count and not self._is_unmarked:
                await self._packet()  # the end of the list
        await self._driver._execute_command(_CLOSE, struct.pack("<I", number))
        return definitions

    @property
    def _is_unmarked(self) -> bool:
        """Whether the driver has agreed on lists without an end."""
        flags: int = getattr(self._driver, "_client_flag", 0)
        return bool(flags & _DEPRECATE_EOF)

    async def _packet(self) -> bytes:
        read = getattr(self._driver, "_read_packet", None) or self._driver.read_packet
        packet = await read()
        return bytes(packet.get_all_data())

    def _delivered(self, each: Definition) -> DbType:
        found = mysql_type(each.type)
        if each.is_enum:
            labels = self._labels[each.schema, each.org_table].get(each.org_name, ())
            return DbType("enum", str, labels=labels)
        if each.type in _TEXTS:
            if each.charset == _BINARY:
                return DbType("binary", bytes)
            return DbType("text", str)
        return found

    async def _learn_labels(self, schema: str, table: str) -> None:
        if (schema, table) in self._labels:
            return
        result = await self._connection.exec_driver_sql(
            "SELECT column_name, column_type FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s AND data_type = 'enum'",
            (schema, table),
        )
        self._labels[schema, table] = {name: _labels(kind) for name, kind in _pairs(result)}


def _labels(column_type: str) -> tuple[str, ...]:
    """``enum('a','b')`` -> a, b."""
    found = re.findall(r"'((?:[^']|'')*)'", column_type)
    return tuple(each.replace("''", "'") for each in found)


def _with_question_marks(sql: str) -> str:
    """The driver's ``%s`` and ``%%`` as the server's ``?`` and ``%``."""
    return re.sub(r"%[s%]", lambda found: "?" if found[0] == "%s" else "%", sql)


_TARGET = re.compile(
    r"\s*(?:INSERT|REPLACE|DELETE)\b(?:\s+(?:LOW_PRIORITY|HIGH_PRIORITY|DELAYED|QUICK|IGNORE)\b)*"
    r"(?:\s+(?:INTO|FROM)\b)?\s+((?:`[^`]+`|[\w$]+)(?:\s*\.\s*(?:`[^`]+`|[\w$]+))?)",
    re.IGNORECASE,
)


def _returning(sql: str) -> str | None:
    """What RETURNING returns, as a SELECT: the server does not describe it before it runs."""
    items = output_items(sql.replace("`", '"'))
    target = _TARGET.match(sql)
    if target is None or not items or "returning" not in words_of(sql):
        return None
    return f"SELECT {sql[items[0][0] : items[-1][1]]} FROM {target[1]}"


def _origin(each: Definition) -> str | None:
    if not (each.org_table and each.org_name):
        return None
    return f"{each.schema}.{each.org_table}.{each.org_name}"


def _parameters(as_sent: CompiledStatement) -> tuple[ParameterDescription, ...]:
    """Each name once, however many question marks it fills."""
    named = {place.name: place for place in as_sent.placeholders if place.is_required}
    return tuple(
        ParameterDescription(
            name, None, is_list=place.is_expanding, is_processed=place.is_processed
        )
        for name, place in named.items()
    )


def _told(error: Exception) -> tuple[int | None, str]:
    """The server's number and words, if it is the server that complains."""
    arguments = error.args
    is_of_server = type(error).__module__.partition(".")[0] in ("pymysql", "asyncmy", "aiomysql")
    if is_of_server and len(arguments) >= 2 and isinstance(arguments[0], int):
        number = arguments[0]
        return (None, "") if 2000 <= number < 3000 else (number, str(arguments[1]))
    return None, ""


def _position(words: str, sql: str) -> int | None:
    """Where the server's words point, as far as they quote the statement."""
    for pattern in (r"near '(.+?)' at line", r"column '(?:\w+\.)*(\w+)'", r"Table '\w+\.(\w+)'"):
        found = re.search(pattern, words, re.DOTALL)
        if found and (place := sql.find(found[1])) >= 0:
            return place if "?" not in sql[:place] else None  # as sent it is longer
    return None
