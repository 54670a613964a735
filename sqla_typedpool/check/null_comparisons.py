"""Where a parameter that may be None is compared in a way that is never true for NULL.

Only said where it is sure: the one mention of the parameter, right behind ``=`` or the
like, in a ``WHERE``, ``ON`` or ``HAVING``.
"""

from __future__ import annotations

from sqla_typedpool.tokens import Token, TokenKind, tokens

_COMPARISONS = ("=", "<>", "!=", "<", ">", "<=", ">=")
_MAKING_UP = ("OR", "IS", "NOT", "COALESCE", "IFNULL")
_CONDITIONS = ("WHERE", "ON", "HAVING")
_CLAUSES = (
    *_CONDITIONS,
    *("SELECT", "FROM", "SET", "VALUES", "RETURNING", "USING", "WHEN", "THEN", "ELSE", "DO"),
    *("GROUP", "ORDER", "LIMIT", "OFFSET", "FILTER"),
)


def never_true_for_null(sql: str, name: str) -> str | None:
    """The operator that compares a parameter, if NULL makes its condition fail; else None."""
    found = tokens(sql)
    mentions = [
        index
        for index, each in enumerate(found)
        if each.kind is TokenKind.BIND and each.text == f":{name}"
    ]
    if len(mentions) != 1 or any(each.is_word(*_MAKING_UP) for each in found):
        return None
    operator = _operator_before(found, mentions[0])
    if operator not in _COMPARISONS or not _in_condition(found[: mentions[0]]):
        return None
    return operator


def _operator_before(found: list[Token], index: int) -> str:
    """The symbols that stand together before a token: ``->`` is not ``>``."""
    text = ""
    for each in reversed(found[:index]):
        if each.kind is not TokenKind.SYMBOL or each.text not in "+-*/<>=~!@#%^&|`?":
            break
        text = each.text + text
    return text


def _in_condition(before: list[Token]) -> bool:
    clause = next((each for each in reversed(before) if each.is_word(*_CLAUSES)), None)
    return clause is not None and clause.is_word(*_CONDITIONS)
