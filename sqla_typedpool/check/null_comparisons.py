"""Find comparisons with a parameter that are never true if the parameter is NULL.

Only certain cases are found: the statement uses the parameter once, directly after ``=`` or
another comparison operator, in a ``WHERE``, ``ON`` or ``HAVING`` clause.
"""

from __future__ import annotations

from sqla_typedpool.tokens import Token, TokenKind, tokens

_COMPARISONS = ("=", "<>", "!=", "<", ">", "<=", ">=")
# With one of these words in the statement, NULL may be handled elsewhere.
_HANDLE_NULL = ("OR", "IS", "NOT", "COALESCE", "IFNULL")
_CONDITIONS = ("WHERE", "ON", "HAVING")
_CLAUSES = (
    *_CONDITIONS,
    *("SELECT", "FROM", "SET", "VALUES", "RETURNING", "USING", "WHEN", "THEN", "ELSE", "DO"),
    *("GROUP", "ORDER", "LIMIT", "OFFSET", "FILTER", "UPDATE"),  # ON DUPLICATE KEY UPDATE
)


def never_true_for_null(sql: str, name: str) -> str | None:
    """Return the operator whose comparison with the parameter is never true for NULL.

    :return: None if there is no such comparison, or if it is not certain.
    """
    found = tokens(sql)
    uses = [
        index
        for index, each in enumerate(found)
        if each.kind is TokenKind.BIND and each.text == f":{name}"
    ]
    if len(uses) != 1 or any(each.is_word(*_HANDLE_NULL) for each in found):
        return None
    operator = _operator_before(found, uses[0])
    if operator not in _COMPARISONS or not _ends_in_condition(found[: uses[0]]):
        return None
    return operator


def _operator_before(found: list[Token], index: int) -> str:
    """Return all adjacent symbols before a token, because ``->`` is not ``>``."""
    text = ""
    for each in reversed(found[:index]):
        if each.kind is not TokenKind.SYMBOL or each.text not in "+-*/<>=~!@#%^&|`?":
            break
        text = each.text + text
    return text


def _ends_in_condition(before: list[Token]) -> bool:
    clause = next((each for each in reversed(before) if each.is_word(*_CLAUSES)), None)
    return clause is not None and clause.is_word(*_CONDITIONS)
