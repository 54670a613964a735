"""MySQL and MariaDB describe: COM_STMT_PREPARE, which sends columns and flags and runs nothing.

A column is taken for NOT NULL where the server's flag says so, and only then. The flag counts
outer joins of tables and set operations in, but not what an aggregate without GROUP BY does to
the plain columns beside it (of no rows there is one row of NULLs; ``ONLY_FULL_GROUP_BY`` is off
in MariaDB), nor what ROLLUP leaves out, nor always an outer join of views or derived tables: a
statement or a view with one of these is nullable in all but its counts. So is a view whose text
this user may not read, and what stands beside a stored function, which may be an aggregate.
``x > ALL (SELECT ...)`` and JSON_DEPTH are flagged NOT NULL and can be NULL. A zero date is not
NULL: it arrives as a text, which the mapper refuses. The server tells no types of parameters.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from enum import IntEnum
from hashlib import sha256
from itertools import pairwise
from typing import Any

from sqlalchemy import CursorResult, Executable
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_typedpool._sqlalchemy.compiling import Sent, sent
from sqla_typedpool.check.describe.entries import as_read
from sqla_typedpool.check.describe.mysql_packets import Definition, definition, prepared
from sqla_typedpool.check.model import (
    CannotRun,
    ColumnDescription,
    Description,
    ParameterDescription,
    Refused,
)
from sqla_typedpool.mapping.delivered import Delivered, mysql_type
from sqla_typedpool.statement import as_executable
from sqla_typedpool.tokens import TokenKind, output_items, tokens

__all__ = ["MySQLDescriber", "describer"]

_PREPARE, _CLOSE = 0x16, 0x19
_DEPRECATE_EOF = 1 << 24
_SECONDS = 10.0
_STATEMENTS_TOO_MANY = 1295  # "not supported in the prepared statement protocol yet"

_TEXTS = frozenset({15, 247, 248, 249, 250, 251, 252, 253, 254})
_BINARY = 63  # the character set of bytes

_AGGREGATES = frozenset(
    {
        *("avg", "bit_and", "bit_or", "bit_xor", "count", "group_concat", "max", "min", "std"),
        *("stddev", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp", "variance"),
        *("json_arrayagg", "json_objectagg", "any_value"),
    }
)


@asynccontextmanager
async def describer(
    connection: AsyncConnection, *, allow_server_log: bool = False
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
    yield MySQLDescriber(connection, driver, views, functions)


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

    def __init__(
        self,
        connection: AsyncConnection,
        driver: Any,
        views: dict[str, str],
        functions: frozenset[str],
    ) -> None:
        self._connection = connection
        self._driver = driver
        self._views = views
        self._aggregates = _AGGREGATES | functions
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
        """See `sqla_typedpool.check.describe.Describer`."""
        try:
            as_sent = sent(as_executable(statement), self.family, keys)
        except SQLAlchemyError as error:
            raise Refused(f"SQLAlchemy cannot compile the statement: {error}") from error
        sql = _with_question_marks(as_sent.sql)
        definitions = await self._prepared(sql)
        if not definitions and (returning := _returning(sql)):
            definitions = await self._prepared(returning)
        for each in definitions:
            if each.is_enum:
                await self._learn_labels(each.schema, each.org_table)
        doubt = self._doubt(sql)
        counts = _counts(sql, len(definitions)) if doubt else frozenset[int]()
        columns = tuple(
            self._column(each, doubt, is_count=place in counts)
            for place, each in enumerate(definitions)
        )
        return Description(
            family=self.family,
            sql=as_sent.sql,
            parameters=_parameters(as_sent),
            columns=as_read(as_sent.entries, columns, [None] * len(columns)),
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

    # ------------------------------------------------------------------- nullability

    def _doubt(self, sql: str) -> Doubt:
        """What makes the flags of this statement, or of a view it may read, doubtful."""
        texts, waiting = set[str](), [sql]
        while waiting:
            text = waiting.pop()
            texts.add(text)
            names = {name.lower() for name in _names(text)}
            waiting += [
                view for name, view in self._views.items() if name in names and view not in texts
            ]
        doubt = max(_doubt_of(text, self._aggregates) for text in texts)
        reads_queries = len(texts) > 1 or _words(sql).count("select") > 1
        return Doubt.ABOUT_ALL if doubt and reads_queries else doubt

    def _column(self, each: Definition, doubt: Doubt, *, is_count: bool) -> ColumnDescription:
        is_trusted = (
            is_count
            or doubt is Doubt.NONE
            or (doubt is Doubt.ABOUT_EXPRESSIONS and bool(each.schema and each.org_name))
        )
        nullable = not (each.is_not_null and is_trusted)
        why = _why(each, doubt, is_trusted)
        return ColumnDescription(each.name, self._delivered(each), nullable, why, _origin(each))

    def _delivered(self, each: Definition) -> Delivered:
        found = mysql_type(each.type)
        if each.is_enum:
            labels = self._labels[each.schema, each.org_table].get(each.org_name, ())
            return Delivered("enum", str, labels=labels)
        if each.type in _TEXTS:
            if each.charset == _BINARY:
                return Delivered("binary", bytes)
            return Delivered("text", str)
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


def _names(sql: str) -> list[str]:
    kinds = (TokenKind.WORD, TokenKind.NAME, TokenKind.STRING)
    found = [each.text.strip('"') for each in tokens(sql.replace("`", '"')) if each.kind in kinds]
    return [part for each in found for part in each.split(".")]


def _words(sql: str) -> list[str]:
    return [each.text.lower() for each in tokens(sql.replace("`", '"'))]


class Doubt(IntEnum):
    """How far the flags of a statement can be trusted."""

    NONE = 0
    ABOUT_EXPRESSIONS = 1
    """An outer join of tables; ``> ALL (SELECT ...)`` and JSON_DEPTH, whose flags are wrong."""
    ABOUT_ALL = 2
    """A row of NULLs may stand where there is none; or an outer join of views or derived
    tables, some of whose columns keep their flag in it (MariaDB 10.11)."""


def _doubt_of(sql: str, aggregates: frozenset[str]) -> Doubt:
    """By the words alone; rather too much doubt than too little."""
    words = _words(sql)
    pairs = list(pairwise(words))
    has_aggregate = any(word in aggregates and after == "(" for word, after in pairs)
    is_grouped = pairs.count(("group", "by")) >= words.count("select")
    if not words or "rollup" in words or (has_aggregate and not is_grouped):
        return Doubt.ABOUT_ALL
    is_outer = any(word in ("left", "right", "full") for word in words)
    is_wrong = "json_depth" in words or ("all", "(") in pairs
    return Doubt.ABOUT_EXPRESSIONS if is_outer or is_wrong else Doubt.NONE


_TARGET = re.compile(
    r"\s*(?:INSERT|REPLACE|DELETE)\b(?:\s+(?:LOW_PRIORITY|HIGH_PRIORITY|DELAYED|QUICK|IGNORE)\b)*"
    r"(?:\s+(?:INTO|FROM)\b)?\s+((?:`[^`]+`|[\w$]+)(?:\s*\.\s*(?:`[^`]+`|[\w$]+))?)",
    re.IGNORECASE,
)


def _returning(sql: str) -> str | None:
    """What RETURNING returns, as a SELECT: the server does not describe it before it runs."""
    items = output_items(sql.replace("`", '"'))
    target = _TARGET.match(sql)
    if target is None or not items or "returning" not in _words(sql):
        return None
    return f"SELECT {sql[items[0][0] : items[-1][1]]} FROM {target[1]}"


def _counts(sql: str, columns: int) -> frozenset[int]:
    """The columns that are a COUNT and nothing else."""
    items = output_items(sql.replace("`", '"'))
    if len(items) != columns:
        return frozenset()
    texts = [sql[start:end].strip().lower() for start, end in items]
    return frozenset(
        place
        for place, text in enumerate(texts)
        if re.fullmatch(r"count\([^()]*\)(\s+(as\s+)?[\w`]+)?", text)
    )


def _why(each: Definition, doubt: Doubt, is_trusted: bool) -> str:
    name = f"{each.table}.{each.org_name}" if each.org_name else "the expression"
    if not each.is_not_null:
        return f"{name} may be NULL, says the server"
    if is_trusted:
        return f"{name} is NOT NULL, says the server"
    if doubt is Doubt.ABOUT_ALL:
        return "an aggregate, ROLLUP or an outer join may leave it out"
    return f"an outer join may leave {name} out"


def _origin(each: Definition) -> str | None:
    if not (each.org_table and each.org_name):
        return None
    return f"{each.schema}.{each.org_table}.{each.org_name}"


def _parameters(as_sent: Sent) -> tuple[ParameterDescription, ...]:
    """Each name once, however many question marks it fills."""
    named = {place.name: place for place in as_sent.places if place.is_required}
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
