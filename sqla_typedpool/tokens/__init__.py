"""SQL as tokens: enough to find binds and to point at things, and no parser.

Whatever the text is, nothing here raises: what is not closed reaches to the end, and what
cannot be told is left out.
"""

from __future__ import annotations

from sqla_typedpool.tokens.outputs import output_items, stars
from sqla_typedpool.tokens.reading import (
    Token,
    TokenKind,
    binds,
    hidden_binds,
    second_statement,
    tokens,
)

__all__ = [
    "Token",
    "TokenKind",
    "binds",
    "hidden_binds",
    "output_items",
    "second_statement",
    "stars",
    "tokens",
]
