"""Find the binds that are lists: those directly after ``IN``."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from sqla_typedpool.tokens.reading import Token, TokenKind, tokens

_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")


class ListBind(NamedTuple):
    """A bind directly after ``IN``."""

    name: str
    start: int
    # Whether it is ``NOT IN``.
    is_negated: bool


def list_binds(sql: str) -> list[ListBind]:
    """Return every bind directly after ``IN``, where databases accept nothing but a list.

    ``IN (:x)`` is a list of one value, and ``POSITION(:a IN :b)`` is a function of two texts.
    """
    found = tokens(sql)
    return [
        ListBind(bind.text[1:], bind.start, any(each.is_word("NOT") for each in found[:index][-1:]))
        for index, (word, bind) in enumerate(pairwise(found))
        if word.is_word("IN")
        and bind.kind is TokenKind.BIND
        and not _function_around(found[:index]).is_word("POSITION")
    ]


def _function_around(before: list[Token]) -> Token:
    """Return the token before the bracket that encloses the next token."""
    depth = 0
    for index in range(len(before) - 1, 0, -1):
        if before[index].is_symbol(*_CLOSING):
            depth += 1
        elif before[index].is_symbol(*_OPENING):
            depth -= 1
            if depth < 0:
                return before[index - 1]
    return Token(TokenKind.SYMBOL, "", 0, 0)
