"""Columns that the WHERE of a statement proves to be not NULL.

Only the outermost WHERE of one SELECT from tables is read, and only conditions that are combined
with AND: ``c IS NOT NULL``, a comparison of ``c`` with a column or a value, LIKE, BETWEEN, and IN
with a list of values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqla_typedpool.describe.mysql.subqueries import outermost, table_names
from sqla_typedpool.describe.mysql.words import AFTER_FROM, standard
from sqla_typedpool.tokens import Token, TokenKind, tokens

_COMPARISONS = frozenset(("=", "<", ">", "<=", ">=", "<>", "!="))
_OTHER_LOGIC = frozenset(("or", "xor", "|", "&", "case"))
_SET_OPERATIONS = frozenset(("union", "except", "intersect", "minus"))


@dataclass(frozen=True)
class NotNullColumn:
    """A column as a condition names it."""

    # The name or alias of its table; "" if the condition has none.
    table: str

    # In lower case.
    name: str


def not_null_columns(sql: str) -> frozenset[NotNullColumn]:
    """Return the columns that are not NULL in any row for which the WHERE is true."""
    found = tokens(standard(sql))
    words = [token.text.lower() for token in found]
    if words[:1] != ["select"] or not _SET_OPERATIONS.isdisjoint(words):
        return frozenset()
    if table_names(found) is None:
        return frozenset()
    columns = {each for part in _conditions(_where(found)) for each in _not_null_in(part)}
    if not {"natural", "using"}.isdisjoint(words):  # a column without a table may be a merged one
        columns = {each for each in columns if each.table}
    return frozenset(columns)


def _where(found: Sequence[Token]) -> list[Token]:
    """Return the tokens of the outermost WHERE."""
    depth, start = 0, len(found)
    for index, token in enumerate(found):
        depth -= token.is_symbol(")")
        if depth == 0 and token.is_word("WHERE"):
            start = index + 1
        elif depth == 0 and index >= start and _ends_where(found, index):
            return list(found[start:index])
        depth += token.is_symbol("(")
    return list(found[start:])


def _ends_where(found: Sequence[Token], index: int) -> bool:
    return found[index].is_symbol(";") or (
        found[index].kind is TokenKind.WORD and found[index].text.lower() in AFTER_FROM
    )


def _conditions(where: Sequence[Token]) -> list[list[Token]]:
    """Split a WHERE at its ANDs; [] if it has another operator of logic, or CASE."""
    parts: list[list[Token]] = [[]]
    depth, is_between = 0, False
    for token in where:
        depth -= token.is_symbol(")")
        if depth == 0 and token.text.lower() in _OTHER_LOGIC:
            return []
        if depth == 0 and token.is_word("AND") and not is_between:
            parts.append([])
        else:
            parts[-1].append(token)
        if depth == 0 and token.is_word("AND", "BETWEEN"):
            is_between = token.is_word("BETWEEN")
        depth += token.is_symbol("(")
    return parts


def _not_null_in(condition: Sequence[Token]) -> Iterator[NotNullColumn]:
    """Yield the columns that are not NULL if a condition is true."""
    column, rest = _column(condition)
    words = [token.text.lower() for token in rest]
    if column is not None and (words == ["is", "not", "null"] or _is_value_list(rest)):
        yield column
        return
    operator = "".join(words[: _operator_length(rest)])
    operand = rest[_operator_length(rest) :]
    if column is not None and operator in (*_COMPARISONS, "like", "between"):
        other, after = _column(operand)
        if _is_simple(operand, operator) or (other is not None and not after):
            yield column
            if other is not None and not after:
                yield other


def _column(found: Sequence[Token]) -> tuple[NotNullColumn | None, Sequence[Token]]:
    """Return the column with which the tokens begin, and the tokens after it."""
    names = (TokenKind.WORD, TokenKind.NAME)
    if not found or found[0].kind not in names:
        return None, found
    first = found[0].text.strip('"')
    if len(found) > 2 and found[1].is_symbol(".") and found[2].kind in names:
        if len(found) > 3 and found[3].is_symbol("."):
            return None, found  # with a schema
        return NotNullColumn(first, found[2].text.strip('"').lower()), found[3:]
    return NotNullColumn("", first.lower()), found[1:]


def _is_value_list(rest: Sequence[Token]) -> bool:
    """Return whether this is ``IN (1, 2)``, with at least one value and without a query."""
    words = [token.text.lower() for token in outermost(rest)]
    return words == ["in", "(", ")"] and rest[2].text.lower() not in (")", "select", "with")


def _operator_length(rest: Sequence[Token]) -> int:
    if rest and rest[0].is_word("LIKE", "BETWEEN"):
        return 1
    length = 0
    while length < len(rest) and rest[length].is_symbol("=", "<", ">", "!"):
        length += 1
    return length


def _is_simple(operand: Sequence[Token], operator: str) -> bool:
    """Return whether this is one value, or two around the AND of a BETWEEN."""
    if operator == "between":
        return len(operand) == 3 and operand[1].is_word("AND")
    return len(operand) == 1
