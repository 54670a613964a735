"""Text -> tokens, and the binds among them.

Strings, names and comments are read as PostgreSQL reads them,
and names in backticks as MySQL does. A bind is what `sqlalchemy.text` takes for one; it
looks into strings and comments too, which `hidden_binds` tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache


class TokenKind(Enum):
    """What a token is."""

    WORD = "word"
    """A keyword or a plain name."""
    NAME = "name"
    """A quoted name."""
    STRING = "string"
    """``'..'``, ``E'..'``, ``$tag$..$tag$``"""
    NUMBER = "number"
    BIND = "bind"
    """``:name``, as ``sqlalchemy.text`` reads it."""
    SYMBOL = "symbol"
    """One character; but ``::``, ``\\:`` and ``$1`` are one symbol each."""


@dataclass(frozen=True)
class Token:
    """A piece of SQL."""

    kind: TokenKind
    text: str
    start: int
    """Offset in characters of the first."""
    end: int
    """Offset behind the last."""

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords, written in upper case."""
        return self.kind is TokenKind.WORD and self.text.upper() in words

    def is_symbol(self, *symbols: str) -> bool:
        """Whether it is one of these symbols."""
        return self.kind is TokenKind.SYMBOL and self.text in symbols


# sqlalchemy.text's own; a test compares
_BIND = r"(?<![:\w\x5c]):\w+(?![:\w])"
_BINDS = re.compile(_BIND)
_TOKEN = re.compile(
    r"""
      (?P<blank>\s+ | --[^\n]*)
    | (?P<comment>/\*)
    | (?P<STRING>
          [eE]'[^'\\]*(?:(?:''|\\.)[^'\\]*)*(?:\\?\Z|')
        | (?:[bBxXnN]|[uU]&)?'[^']*(?:''[^']*)*(?:\Z|')
        | (?P<quote>\$(?:[^\W\d]\w*)?\$)
      )
    | (?P<NAME>
          (?:[uU]&)?"[^"]*(?:""[^"]*)*(?:\Z|")
        | `[^`]*(?:``[^`]*)*(?:\Z|`)
      )
    | (?P<WORD>[^\W\d][\w$]*)
    | (?P<NUMBER>0[xXoObB][\da-fA-F_]+ | (?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?)
    | (?P<BIND>"""
    + _BIND
    + r""")
    | (?P<SYMBOL>:: | \\: | \$\d+ | .)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def tokens(sql: str) -> list[Token]:
    """The tokens of a text, without blanks and comments."""
    return list(_tokens(sql))


@lru_cache(100)
def _tokens(sql: str) -> tuple[Token, ...]:
    return tuple(_read(sql))


def _read(sql: str) -> Iterator[Token]:
    position = 0
    while found := _TOKEN.match(sql, position):
        kind, end = str(found.lastgroup), found.end()
        if kind == "comment":
            end = _end_of_comment(sql, end)
        elif found["quote"]:
            end = _end_of_dollar_quote(sql, found["quote"], end)
        if kind not in ("blank", "comment"):
            yield Token(TokenKind[kind], sql[position:end], position, end)
        position = end


def _end_of_comment(sql: str, position: int) -> int:
    depth = 1  # they nest
    for edge in _COMMENT_EDGE.finditer(sql, position):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return edge.end()
    return len(sql)


def _end_of_dollar_quote(sql: str, quote: str, position: int) -> int:
    closing = sql.find(quote, position)
    return len(sql) if closing < 0 else closing + len(quote)


# ------------------------------------------------------------------------ binds


def binds(sql: str) -> list[Token]:
    """Every bind that ``sqlalchemy.text`` finds, in strings and comments too."""
    return [
        Token(TokenKind.BIND, found[0], found.start(), found.end())
        for found in _BINDS.finditer(sql)
    ]


def hidden_binds(sql: str) -> list[Token]:
    """Those of `binds` that stand in a string, a quoted name or a comment.

    SQLAlchemy replaces them by placeholders all the same; a colon that is meant as one is
    written ``\\:``.
    """
    found = binds(sql)
    open_ones = {token.start for token in _tokens(sql) if token.kind is TokenKind.BIND}
    return [token for token in found if token.start not in open_ones]


def second_statement(sql: str) -> Token | None:
    """The first token behind a ``;``, if there is one: the text holds several statements.

    A ``CREATE FUNCTION ... BEGIN ATOMIC ...; END`` is one statement; such texts are not
    looked at.
    """
    found = tokens(sql)
    if not found or found[0].is_word("CREATE"):
        return None
    ended = False
    for token in found:
        if token.is_symbol(";"):
            ended = True
        elif ended:
            return token
    return None
