"""What the text of a statement means for its declaration."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator, Sequence

from sqla_typedpool.describe.model import Description
from sqla_typedpool.describe.writes import ColumnWrite, ValueSource
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.mapping.plan import mark_of
from sqla_typedpool.queries.sql_checks import sql_errors
from sqla_typedpool.tokens import Token, TokenKind, list_binds, stars, statement_keyword, tokens

# Words that may stand between the keyword of a statement and the name of a table.
_BEFORE_NAMES = ("INTO", "FROM", "ONLY", "LATERAL")
_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"})


def refuse_faulty(description: Description, sql: str) -> None:
    """Refuse a statement that `check --strict` does not accept as it is.

    :raises CannotRun: the message names the fault and the next step.
    """
    names = [each.name for each in description.parameters]
    faults = (
        *_faulty_parameters(names),
        *sql_errors(sql, names),
        *(_faulty_lists(sql) if description.family == "postgresql" else ()),
        *_faulty_columns(description, sql),
        *map(_faulty_write, description.writes or ()),
    )
    for fault in filter(None, faults):
        raise CannotRun(fault)


def _faulty_lists(sql: str) -> Iterator[str]:
    for each in list_binds(sql):
        operator, array = ("NOT IN", "<> ALL") if each.is_negated else ("IN", "= ANY")
        yield (
            f"`{operator} :{each.name}` is another statement for each length of the list; next: "
            f"write {array}(:{each.name})"
        )


def _faulty_columns(description: Description, sql: str) -> Iterator[str]:
    if stars(sql):
        columns = ", ".join(each.name for each in description.columns)
        yield (
            "`*` selects columns that later migrations add; next: write the names of the columns "
            f"that you need; now there are: {columns}"
        )
    for column in description.columns:
        mark = mark_of(column.name)
        if mark and column.nullable == (mark == "?"):
            yield f'the `{mark}` of "{column.name}" is not needed; next: remove it'


def _faulty_write(write: ColumnWrite) -> str | None:
    """Return the fault of a value that is or may be NULL in a column that is NOT NULL."""
    if not write.column.not_null or write.source is ValueSource.PARAMETER:
        return None
    name, action = write.column.name, write.action.value
    if write.source is ValueSource.OMITTED:
        return f"{action} leaves out {name}, which is NOT NULL; next: add the column"
    if write.source is not ValueSource.EXPRESSION:
        return f"{action} writes NULL to {name}, which is NOT NULL; next: write a value"
    if not write.nullable:
        return None
    return (
        f"{action} writes a value to {name}, which is NOT NULL, that may be NULL ({write.why}); "
        "next: write coalesce(..., ...), or exclude NULL with a condition"
    )


def _faulty_parameters(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            yield f"no Python parameter can be named {name}; next: rename :{name} in the statement"


def counts_rows(sql: str) -> bool:
    """Return whether the number of changed rows is reported; asyncpg does not do so for MERGE."""
    return statement_keyword(sql) in _CHANGES - {"MERGE"}


def name_of_statement(description: Description, sql: str) -> str:
    """Return a name: ``select_books``, ``insert_orders``."""
    verb = statement_keyword(sql).lower()
    return f"{verb}_{table}" if (table := _table(description, sql)) else f"run_{verb}"


def _table(description: Description, sql: str) -> str:
    """Return the table that is changed, or the one that the first column is from; "" if none."""
    if statement_keyword(sql) in _CHANGES:
        return _name_after(statement_keyword(sql), sql)
    origins = [each.origin for each in description.columns if each.origin is not None]
    return origins[0].split(".")[-2] if origins else _name_after("FROM", sql)


def _name_after(keyword: str, sql: str) -> str:
    """Return the last part of the name that follows a word outside of brackets; "" if none."""
    found, depth = tokens(sql), 0
    for index, token in enumerate(found):
        depth += token.is_symbol("(") - token.is_symbol(")")
        if not depth and token.is_word(keyword):
            following = [each for each in found[index + 1 :] if not each.is_word(*_BEFORE_NAMES)]
            return _last_part(following)
    return ""


def _last_part(found: Sequence[Token]) -> str:
    """Return the last part of the name with which these tokens begin: ``app.books``."""
    end = 0
    while end + 2 < len(found) and found[end + 1].is_symbol("."):
        end += 2
    is_name = bool(found) and found[end].kind in (TokenKind.WORD, TokenKind.NAME)
    return found[end].text.strip('"`') if is_name else ""
