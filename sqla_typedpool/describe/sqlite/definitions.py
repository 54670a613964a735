"""The tables and triggers of a SQLite schema, as far as a write depends on them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqla_typedpool.describe.write_values import WriteColumn, WriteColumns
from sqla_typedpool.describe.writes import WriteAction
from sqla_typedpool.tokens import Token, TokenKind, tokens

# SQLite stores the definition of a trigger with this beginning.
_TRIGGER = re.compile(
    r"""CREATE\ TRIGGER\s+(?:"[^"]*"\.)?(?:"[^"]*"|\[[^\]]*\]|`[^`]*`|\w+)\s+
    (?:(?P<timing>BEFORE|AFTER|INSTEAD\s+OF)\s+)?(?P<event>INSERT|UPDATE|DELETE)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_TEXT_TYPE = re.compile("CHAR|CLOB|TEXT", re.IGNORECASE)
_TABLES = "SELECT schema, name, type, wr FROM pragma_table_list WHERE lower(name) = ?"
_COLUMNS = 'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?, ?)'
_KEY_INDEXES = "SELECT count(*) FROM pragma_index_list(?, ?) WHERE origin = 'pk'"


@dataclass(frozen=True)
class SQLiteTrigger:
    """A trigger of the application's schema. The copy of the schema has only those of views."""

    # The table's name in lower case. A temporary trigger can be that of a table in any database.
    table: str

    # Its definition, as SQLite stores it, with the name of its database unless that is ``main``.
    sql: str

    @property
    def is_of_view(self) -> bool:
        found = _TRIGGER.match(self.sql)
        return found is not None and (found["timing"] or "").upper().startswith("INSTEAD")

    def may_run_before(self, action: WriteAction) -> bool:
        """Return whether it may run before a row is written; True also if that is unknown."""
        found = _TRIGGER.match(self.sql)
        if found is None:
            return True
        if (found["timing"] or "").upper() == "AFTER":
            return False
        event = found["event"].upper()
        # of an upsert, both parts
        return event == action.value or (
            action is WriteAction.CONFLICT_UPDATE and event in ("INSERT", "UPDATE")
        )


def table_columns(copy: Any, schema: str, name: str) -> WriteColumns | None:
    """Return the columns of a table as a statement names it.

    :param copy: the connection to the copy of the schema.
    :param schema: "" if the statement names none.
    :return: None for a view, a virtual table, or a name that is not found.
    """
    names = [str(row[1]) for row in copy.execute("PRAGMA database_list")]
    found = {row[0]: row for row in copy.execute(_TABLES, (name.lower(),))}
    # SQLite looks for a name without a schema in this order
    for database in sorted(names, key=lambda each: (each != "temp", each != "main")):
        if schema.lower() in ("", database.lower()) and database in found:
            return _columns(copy, *found[database])
    return None


def _columns(
    copy: Any, schema: str, name: str, kind: str, is_without_rowid: int
) -> WriteColumns | None:
    if kind != "table":
        return None
    rows = list(copy.execute(_COLUMNS, (name, schema)))
    ((indexes,),) = copy.execute(_KEY_INDEXES, (name, schema))
    number = "" if indexes or is_without_rowid else _number(rows)
    definition = _definition(copy, schema, name)
    accepted, skips_null = dict(_checks(definition)), _may_skip_null(definition)
    found = {}
    for column, declared, is_not_null, default, is_key, hidden in rows:
        is_number, is_generated = column == number, hidden != 0
        is_sure = bool(is_not_null or is_number or (is_key and is_without_rowid))
        has_default = default is not None and default.strip("( )").upper() != "NULL"
        found[column.lower()] = WriteColumn(
            f"{schema}.{name}.{column}",
            not_null=is_sure and not is_generated and (is_number or not skips_null),
            has_default=has_default or is_number or is_generated,
            is_listed=not is_generated,
            is_numbered=is_number,
            may_be_null=not (is_sure or is_generated),
            accepted=accepted.get(column.lower(), ()) if _TEXT_TYPE.search(declared) else (),
        )
    return found


def _definition(copy: Any, schema: str, name: str) -> str:
    quoted = '"' + schema.replace('"', '""') + '"'
    table = "sqlite_temp_master" if schema == "temp" else f"{quoted}.sqlite_master"
    query = f"SELECT sql FROM {table} WHERE type = 'table' AND name = ?"
    return next((str(row[0]) for row in copy.execute(query, (name,))), "")


def _number(rows: Sequence[Sequence[Any]]) -> str:
    """Return the column that is the number of its row, if it has no index; "" if none is."""
    keys = [row for row in rows if row[4]]
    return str(keys[0][0]) if len(keys) == 1 and keys[0][1].upper() == "INTEGER" else ""


def _may_skip_null(definition: str) -> bool:
    """Return whether a NOT NULL has an ON CONFLICT clause: a row with NULL may be skipped."""
    words = [token.text.upper() for token in tokens(definition)]
    clause = ["NULL", "ON", "CONFLICT"]
    return any(words[at : at + 3] == clause for at in range(len(words)))


def _checks(definition: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each column that has ``CHECK (column IN ('a', 'b'))``, with these texts."""
    found = tokens(definition)
    if any(token.is_word("COLLATE") for token in found):
        return  # 'A' may be equal to 'a'
    for start, token in enumerate(found):
        if token.is_word("CHECK"):
            end = start + 1
            while end < len(found) and not found[end].is_symbol(")"):
                end += 1
            column, rest = found[start + 2 : start + 3], found[start + 3 : end + 2]
            if texts := _listed(rest):
                yield column[0].text.strip('"').lower(), texts


def _listed(rest: Sequence[Token]) -> tuple[str, ...]:
    """Return the texts of ``IN ('a', 'b'))``; () if these tokens are anything else."""
    texts, symbols = rest[2:-2:2], [*rest[1:2], *rest[3:-2:2], *rest[-2:]]
    is_list = rest[:1] and rest[0].is_word("IN") and all(map(_is_text, texts))
    shape = "".join(each.text for each in symbols)
    is_whole = shape == "(" + "," * (len(texts) - 1) + "))"
    return tuple(map(_text, texts)) if is_list and is_whole else ()


def _is_text(token: Token) -> bool:
    return token.kind is TokenKind.STRING and token.text.startswith("'")


def _text(token: Token) -> str:
    return token.text[1:-1].replace("''", "'")
