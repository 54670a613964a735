"""Scalar subqueries of a select list whose aggregates do not change the rows of the statement.

``SELECT u.id, (SELECT count(*) FROM p WHERE p.uid = u.id) FROM u`` has one row for each row of
``u``. An aggregate whose argument is a column of the outer query belongs to the outer query, which
then is an aggregate without GROUP BY: ``SELECT u.id, (SELECT max(u.id) FROM p LIMIT 1) FROM u``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqla_typedpool.describe.mysql.words import (
    AFTER_FROM,
    AGGREGATES,
    FUNCTIONS,
    functions_of,
    standard,
)
from sqla_typedpool.tokens import Token, TokenKind, output_items, tokens

_NAMES = (TokenKind.WORD, TokenKind.NAME)
_JOIN_WORDS = frozenset(
    ("inner", "left", "right", "full", "outer", "cross", "natural", "on", "using")
) | {"force", "use", "ignore"}
# With one of these, a COUNT may return no row, or several.
_NOT_ONE_ROW = AFTER_FROM - {"where", "order"} | {"over"}


@dataclass(frozen=True)
class Reduced:
    """A statement without its scalar subqueries that have aggregates of their own."""

    # The statement, with ``(0)`` in place of each of them.
    sql: str

    # The columns, from 0, that are a subquery with a COUNT: it returns one row.
    counts: frozenset[int]


def without_aggregates(sql: str, stored: frozenset[str]) -> Reduced:
    """Replace the scalar subqueries in the select list that have aggregates of their own.

    :param stored: the names of the stored functions in lower case. Any may be an aggregate.
    """
    text = standard(sql)
    found = tokens(text)
    spans: list[tuple[int, int]] = []
    counts: set[int] = set()
    for number, (start, end) in enumerate(output_items(text)):
        item = [token for token in found if start <= token.start and token.end <= end]
        for opening, closing in _subqueries(item):
            inner = item[opening + 1 : closing]
            if _has_own_aggregates(inner, stored):
                spans.append((item[opening].start, item[closing].end))
                if opening == 0 and _is_alias(item[closing + 1 :]) and _is_count(inner):
                    counts.add(number)
    for start, end in reversed(spans):
        text = f"{text[:start]}(0){text[end:]}"
    return Reduced(text if spans else sql, frozenset(counts))


def _subqueries(item: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Yield where each outermost ``(SELECT ...)`` begins and ends."""
    opened: list[int] = []
    for index, token in enumerate(item):
        if token.is_symbol("("):
            opened.append(index)
        elif token.is_symbol(")") and opened:
            opening = opened.pop()
            is_quantified = opening > 0 and item[opening - 1].is_word("ALL", "ANY", "SOME")
            is_query = item[opening + 1].is_word("SELECT") and not is_quantified
            if is_query and not any(item[each + 1].is_word("SELECT") for each in opened):
                yield opening, index


def _is_alias(rest: Sequence[Token]) -> bool:
    names = [token for token in rest if not token.is_word("AS")]
    return len(names) <= 1 and all(token.kind in _NAMES for token in names)


def _is_count(inner: Sequence[Token]) -> bool:
    """Return whether a query returns one row with a COUNT."""
    words = [token.text.lower() for token in outermost(inner)]
    is_alone = words[:4] == ["select", "count", "(", ")"] and words[4:5] in ([], ["from"])
    return is_alone and _NOT_ONE_ROW.isdisjoint(words)


def outermost(found: Sequence[Token]) -> Iterator[Token]:
    """Yield the tokens outside brackets, and the brackets themselves."""
    depth = 0
    for token in found:
        depth -= token.is_symbol(")")
        if depth == 0:
            yield token
        depth += token.is_symbol("(")


# ------------------------------------------------------------------- to which query it belongs


def _has_own_aggregates(inner: Sequence[Token], stored: frozenset[str]) -> bool:
    """Return whether a query has aggregates, and all of them belong to it."""
    words = [token.text.lower() for token in inner]
    functions, tables = set(functions_of(words)), table_names(inner)
    if words.count("select") > 1 or "with" in words or tables is None:
        return False
    if not functions <= (AGGREGATES | FUNCTIONS) - stored:
        return False
    return bool(functions & AGGREGATES) and all(
        _belongs_to(tables, arguments) for arguments in _aggregate_arguments(inner)
    )


def _aggregate_arguments(inner: Sequence[Token]) -> Iterator[list[Token]]:
    for index, token in enumerate(inner):
        is_call = index + 1 < len(inner) and inner[index + 1].is_symbol("(")
        if is_call and token.text.strip('"').lower() in AGGREGATES:
            closing = _closing(inner, index + 1)
            yield list(inner[index + 2 : closing])


def _closing(found: Sequence[Token], opening: int) -> int:
    depth = 0
    for index in range(opening, len(found)):
        depth += found[index].is_symbol("(") - found[index].is_symbol(")")
        if depth == 0:
            return index
    return len(found)


def _belongs_to(tables: frozenset[str], arguments: Sequence[Token]) -> bool:
    """Return whether each column among the arguments is one of these tables: ``p.id``."""
    for index, token in enumerate(arguments):
        following = arguments[index + 1] if index + 1 < len(arguments) else None
        if token.kind not in _NAMES or token.is_word("DISTINCT"):
            continue
        if index and arguments[index - 1].is_symbol("."):
            continue
        is_table = following is not None and following.is_symbol(".") and _name(token) in tables
        is_function = following is not None and following.is_symbol("(")
        if not (is_table or is_function):
            return False
    return True


def table_names(query: Sequence[Token]) -> frozenset[str] | None:
    """Return the names by which a query refers to the tables of its FROM.

    :return: None if one of them is a derived table, or the syntax is unknown.
    """
    names: list[str] = []
    state = ""
    for token in outermost(query):
        word = token.text.lower() if token.kind is TokenKind.WORD else ""
        if not state:
            state = "table" if word == "from" else ""
        elif word in AFTER_FROM:
            break
        elif word in ("join", "straight_join") or token.is_symbol(","):
            state = "table"
        elif word == "partition" or (token.is_symbol("(") and state == "table"):
            return None
        elif word in _JOIN_WORDS or token.is_symbol("(", ")"):
            state = "condition"
        elif token.is_symbol(".") and state == "alias":
            names.pop()
            state = "table"
        elif token.kind in _NAMES and word != "as" and state in ("table", "alias"):
            if state == "alias":
                names.pop()
            names.append(_name(token))
            state = "alias" if state == "table" else "condition"
    return frozenset(names)


def _name(token: Token) -> str:
    return token.text.strip('"')
