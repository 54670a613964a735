"""What the text of a statement means for its declaration."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator
from itertools import pairwise

from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.mapping.plan import mark_of
from sqla_typedpool.queries.sql_checks import sql_errors
from sqla_typedpool.tokens import TokenKind, stars, statement_keyword, tokens

_CHANGES = ("INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE")


def refuse_faulty(description: Description, sql: str) -> None:
    """Refuse a statement that `check --strict` does not accept as it is.

    :raises CannotRun: the message names the fault and the next step.
    """
    names = [each.name for each in description.parameters]
    for fault in (*_faulty_parameters(names), *sql_errors(sql, names)):
        raise CannotRun(fault)
    if stars(sql):
        columns = ", ".join(each.name for each in description.columns)
        raise CannotRun(
            "`*` selects columns that later migrations add; next: write the names of the columns "
            f"that you need; now there are: {columns}"
        )
    for column in description.columns:
        mark = mark_of(column.name)
        if mark and column.nullable == (mark == "?"):
            raise CannotRun(f'the `{mark}` of "{column.name}" is not needed; next: remove it')


def _faulty_parameters(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            yield f"no Python parameter can be named {name}; next: rename :{name} in the statement"


def changes_rows(sql: str) -> bool:
    """Return whether a statement changes rows, which its driver counts."""
    return statement_keyword(sql) in _CHANGES


def name_of_statement(description: Description, sql: str) -> str:
    """Return a name: ``select_books``, ``insert_orders``."""
    verb = statement_keyword(sql).lower()
    return f"{verb}_{table}" if (table := _table(description, sql)) else f"run_{verb}"


def _table(description: Description, sql: str) -> str:
    """Return the table that is changed, or the one that the first column is from."""
    verb = statement_keyword(sql)
    if verb not in _CHANGES:
        for column in description.columns:
            if column.origin is not None:
                return column.origin.split(".")[-2]
    return _name_after(sql, "UPDATE" if verb == "UPDATE" else "INTO", "FROM")


def _name_after(sql: str, *words: str) -> str:
    """Return the last part of the name that follows one of these words."""
    found = tokens(sql)
    for index, (word, following) in enumerate(pairwise(found), 1):
        if word.is_word(*words) and following.kind is TokenKind.WORD:
            while index + 2 < len(found) and found[index + 1].is_symbol("."):
                index += 2
            return found[index].text.strip('"`')
    return ""
