"""Find the named queries of a SQL file: ``-- name: get_user`` above each statement.

aiosql and sqlc write their files like this. After the name, aiosql may write parameters and an
operator (``-- name: get-user(user_id)^``), and sqlc a command (``-- name: GetUser :one``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from sqla_typedpool.tokens.reading import BLANK, COMMENT, pieces

_FIRST = r"--[ \t]*name[ \t]*:[ \t]*"
_OPERATOR = r"\^|\$|<!|\*!|!|\#"  # of aiosql
_COMMAND = r":(?:one|many|exec|execrows|execresult|execlastid|copyfrom|batch(?:exec|many|one))"
_NAME_LINE = re.compile(
    _FIRST
    + r"(?P<name>[^\W\d](?:-?\w)*)(?:\([\w\s,]*\))?"
    + rf"(?P<operator>{_OPERATOR})?(?:[ \t]+(?P<command>{_COMMAND}))?[ \t]*(?:--.*)?"
)
_BEGINNING = re.compile(_FIRST)
_ANYWHERE = re.compile(rf"^[ \t]*(?P<line>{_FIRST}.*)", re.MULTILINE)


@dataclass(frozen=True)
class NamedQuery:
    """A query of a file with named queries."""

    # As it is written: ``get-user``. What follows ``-- name:`` if that is not a name.
    name: str

    # The operator of aiosql or the command of sqlc, such as ``^`` or ``:one``; "" if there is none.
    suffix: str

    # Whether the line has the form of a name line.
    is_valid: bool

    # The offset of the ``--`` before the name.
    at: int

    # The offsets of the statement: of its first character, and after its last one. Comments from
    # ``--`` to the end of the line are not part of it before its beginning, and no comments are
    # after its end.
    start: int
    end: int

    @property
    def key(self) -> str:
        """The name with underscores, as aiosql reads it: ``get_user``."""
        return key_of(self.name)


def key_of(name: str) -> str:
    """Return a name with ``_`` for ``-``. Names with the same key are the same name."""
    return name.strip().replace("-", "_")


@lru_cache(100)
def named_queries(text: str) -> tuple[NamedQuery, ...]:
    """Return the named queries of a file, in their order.

    A name line is a comment ``-- name: ...`` that is the first in its line and not in a string, a
    quoted name or another comment. A query extends to the next name line.
    """
    lines = [span for span in _line_comments(text) if _BEGINNING.match(text, *span)]
    ends = [*(start for start, _ in lines), len(text)][1:]
    return tuple(_query(text, *line, end) for line, end in zip(lines, ends, strict=True))


def hidden_name_line(text: str, name: str) -> int | None:
    """Return the offset of a name line in a string or in a comment; None if there is none."""
    known = {each.at for each in named_queries(text)}
    for found in _ANYWHERE.finditer(text):
        line = _NAME_LINE.fullmatch(found["line"].strip())
        is_hidden = found.start("line") not in known
        if is_hidden and line is not None and key_of(line["name"]) == key_of(name):
            return found.start("line")
    return None


def _line_comments(text: str) -> Iterator[tuple[int, int]]:
    """Yield the span of each ``--`` comment that is the first in its line."""
    for kind, start, end in pieces(text):
        is_comment = kind == BLANK and text.startswith("--", start)
        if is_comment and not text[text.rfind("\n", 0, start) + 1 : start].strip():
            yield start, end


def _query(text: str, at: int, line_end: int, end: int) -> NamedQuery:
    line = text[at:line_end].strip()
    found = _NAME_LINE.fullmatch(line)
    start, stop = _statement(text, line_end, end)
    if found is None:
        return NamedQuery(line.partition(":")[2].strip(), "", False, at, start, stop)
    suffix = found["command"] or found["operator"] or ""
    return NamedQuery(found["name"], suffix, True, at, start, stop)


def _statement(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span from the first block comment or token to the last token, within a span."""
    parts = [
        (kind, start + first, start + last)
        for kind, first, last in pieces(text[start:end])
        if kind != BLANK
    ]
    ends = [last for kind, _, last in parts if kind != COMMENT]
    return (parts[0][1], ends[-1]) if ends else (start, start)
