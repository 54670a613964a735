"""Text for a terminal: underlined source lines, wrapped sentences, colours."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from sqla_typedpool.check.model import Location, Severity
from sqla_typedpool.check.source_files import lines_of

_TAB = 4
_ELLIPSIS = "…"
_COLOURS = {
    Severity.ERROR: "1;31",
    Severity.WARNING: "1;33",
    Severity.NOTE: "1;36",
    "gutter": "34",
    "strong": "1",
    "added": "32",
    "removed": "31",
}


@dataclass(frozen=True)
class Paint:
    """Adds colours to text, if they are wanted."""

    is_on: bool

    def __call__(self, what: Severity | str, text: str) -> str:
        return f"\x1b[{_COLOURS[what]}m{text}\x1b[0m" if self.is_on and text else text


def cells(text: str) -> int:
    """Return the number of terminal cells that a text fills."""
    return sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _clean(text: str) -> str:
    """Replace tabs, and control characters, which would control the terminal."""
    spread = text.replace("\t", " " * _TAB)
    return "".join("·" if unicodedata.category(each) == "Cc" else each for each in spread)


def snippet(location: Location, severity: Severity, paint: Paint, width: int) -> Iterator[str]:
    """Yield the source line of a location, underlined; nothing if the file is unreadable."""
    lines = lines_of(location.file)
    if location.line is None or not 0 < location.line <= len(lines):
        return
    number = str(location.line)
    gutter = " " * len(number)
    source, carets = underlined(
        lines[location.line - 1], location.column, location.length, width - len(number) - 3
    )
    yield paint("gutter", f"{gutter} |")
    yield f"{paint('gutter', f'{number} |')} {source}"
    if carets:
        yield f"{paint('gutter', f'{gutter} |')} {_painted(carets, severity, paint)}"


def _painted(carets: str, severity: Severity, paint: Paint) -> str:
    blank = len(carets) - len(carets.lstrip())
    return carets[:blank] + paint(severity, carets[blank:])


def underlined(line: str, column: int | None, length: int, width: int) -> tuple[str, str]:
    """Return a line and the carets below it, both cut to a width around the underlined part.

    :param column: the first underlined column, from 1; None underlines nothing.
    :param width: in terminal cells.
    """
    if column is None:
        return _cut(_clean(line), width), ""
    start, end = column - 1, column - 1 + max(length, 1)
    before, part, after = map(_clean, (line[:start], line[start:end], line[end:]))
    limit = max(width - min(cells(part), width // 2) - 2, width // 4)
    if cells(before) > limit and cells(before + part) > width:
        before = _ELLIPSIS + _last_cells(before, limit // 2)
    carets = " " * cells(before) + "^" * max(cells(part), 1)
    return _cut(before + part + after, width), carets[: max(width, 1)]


def _last_cells(text: str, limit: int) -> str:
    while cells(text) > limit:
        text = text[1:]
    return text


def _cut(text: str, width: int) -> str:
    text = text.rstrip()
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return text + _ELLIPSIS


def wrapped(label: str, sentence: str, indent: int, paint: Paint, width: int) -> Iterator[str]:
    """Yield the lines of ``= because: ...``; further lines are indented to the first word."""
    start = f"{' ' * indent}= {label}: "
    limit = max(width - len(start), 20)
    paragraphs = [_clean(each) for each in sentence.strip().splitlines()]
    lines = [line for each in paragraphs for line in _folded(each, limit)] or [""]
    head = f"{' ' * indent}{paint('gutter', '=')} {paint('strong', f'{label}:')} {lines[0]}"
    yield head.rstrip()
    yield from (" " * len(start) + each for each in lines[1:])


def _folded(paragraph: str, width: int) -> list[str]:
    return textwrap.wrap(paragraph, width, break_long_words=False, break_on_hyphens=False)


def sent_lines(
    sql: str, offset: int | None, length: int, severity: Severity, paint: Paint, width: int
) -> Iterator[str]:
    """Yield the lines of the SQL as it was sent, with a part of it underlined.

    :param offset: of the part, in characters from 0; None underlines nothing.
    """
    start = 0
    for line in sql.split("\n"):
        end = start + len(line)
        column = None if offset is None or not start <= offset <= end else offset - start + 1
        source, carets = underlined(line, column, min(length, end - (offset or 0)), width - 4)
        if source.strip():
            yield f"    {source}"
        if carets:
            yield f"    {_painted(carets, severity, paint)}"
        start = end + 1
