"""Split SQL text into tokens, and find its binds.

Strings, names and comments follow the syntax of PostgreSQL, names in backticks that of MySQL. A
bind is what `sqlalchemy.text` takes for a parameter, also in a string or a comment; `hidden_binds`
returns those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache


class TokenKind(Enum):
    """The kind of a token."""

    # A keyword or a name without quotes.
    WORD = "word"
    # A quoted name.
    NAME = "name"
    # ``'..'``, ``E'..'`` or ``$tag$..$tag$``.
    STRING = "string"
    NUMBER = "number"
    # ``:name``, if ``sqlalchemy.text`` takes it for a parameter.
    BIND = "bind"
    # Any other character. ``::``, ``\:`` and ``$1`` are one symbol each.
    SYMBOL = "symbol"


@dataclass(frozen=True)
class Token:
    """A token of SQL text."""

    kind: TokenKind
    text: str
    # The offset of its first character.
    start: int
    # The offset after its last character.
    end: int

    def is_word(self, *words: str) -> bool:
        """Return whether it is one of these keywords. ``words`` are in upper case."""
        return self.kind is TokenKind.WORD and self.text.upper() in words

    def is_symbol(self, *symbols: str) -> bool:
        """Return whether it is one of these symbols."""
        return self.kind is TokenKind.SYMBOL and self.text in symbols


# The kinds of the parts of a text that are no tokens; groups of the pattern below.
BLANK, COMMENT = "blank", "comment"
# The pattern of sqlalchemy.text. A test compares them.
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
    """Return the tokens of a text, without white space and comments."""
    return list(_tokens(sql))


@lru_cache(100)
def _tokens(sql: str) -> tuple[Token, ...]:
    return tuple(_split(sql))


def _split(sql: str) -> Iterator[Token]:
    for kind, start, end in pieces(sql):
        if kind not in (BLANK, COMMENT):
            yield Token(TokenKind[kind], sql[start:end], start, end)


def pieces(sql: str) -> Iterator[tuple[str, int, int]]:
    """Yield the kind, start and end of each part of a text, which together are the whole text.

    :return: the kind is ``BLANK`` (white space, or a comment from ``--`` to the end of the line),
        ``COMMENT`` (``/* .. */``) or the name of a `TokenKind`.
    """
    position = 0
    while found := _TOKEN.match(sql, position):
        kind, end = str(found.lastgroup), found.end()
        if kind == COMMENT:
            end = _end_of_comment(sql, end)
        elif found["quote"]:
            end = _end_of_dollar_quote(sql, found["quote"], end)
        yield kind, position, end
        position = end


def _end_of_comment(sql: str, position: int) -> int:
    depth = 1  # comments can be nested
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
    """Return every bind that ``sqlalchemy.text`` finds, also in strings and comments."""
    return [
        Token(TokenKind.BIND, found[0], found.start(), found.end())
        for found in _BINDS.finditer(sql)
    ]


def hidden_binds(sql: str) -> list[Token]:
    """Return the binds that are in a string, a quoted name or a comment.

    SQLAlchemy replaces them by placeholders too. A colon that begins no parameter is written
    as ``\\:``.
    """
    visible = {token.start for token in _tokens(sql) if token.kind is TokenKind.BIND}
    return [token for token in binds(sql) if token.start not in visible]


def second_statement(sql: str) -> Token | None:
    """Return the first token after a ``;``; None if the text is one statement.

    ``CREATE FUNCTION ... BEGIN ATOMIC ...; END`` is one statement. For a text that begins with
    CREATE the result is None.
    """
    found = tokens(sql)
    if not found or found[0].is_word("CREATE"):
        return None
    has_ended = False
    for token in found:
        if token.is_symbol(";"):
            has_ended = True
        elif has_ended:
            return token
    return None
