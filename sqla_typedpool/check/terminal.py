"""Lines of a terminal: source with carets under it, wrapped sentences, colours."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from sqla_typedpool.check.model import Location, Severity
from sqla_typedpool.check.source_files import lines_of

_TAB = 4
_MORE = "…"
_COLOURS = {
    Severity.ERROR: "1;31",
    Severity.WARNING: "1;33",
    Severity.NOTE: "1;36",
    "gutter": "34",
    "strong": "1",
}


@dataclass(frozen=True)
class Paint:
    """Colour, or none."""

    is_on: bool

    def __call__(self, what: Severity | str, text: str) -> str:
        return f"\x1b[{_COLOURS[what]}m{text}\x1b[0m" if self.is_on and text else text


def cells(text: str) -> int:
    """How many cells of a terminal a text fills."""
    return sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _clean(text: str) -> str:
    """Without tabs, and without what would steer the terminal."""
    spread = text.replace("\t", " " * _TAB)
    return "".join("·" if unicodedata.category(each) == "Cc" else each for each in spread)


def snippet(place: Location, severity: Severity, paint: Paint, width: int) -> Iterator[str]:
    """The source line of a place, and carets below it; nothing if it cannot be read."""
    lines = lines_of(place.file)
    if place.line is None or not 0 < place.line <= len(lines):
        return
    number = str(place.line)
    gutter = " " * len(number)
    source, carets = underlined(
        lines[place.line - 1], place.column, place.length, width - len(number) - 3
    )
    yield paint("gutter", f"{gutter} |")
    yield f"{paint('gutter', f'{number} |')} {source}"
    if carets:
        yield f"{paint('gutter', f'{gutter} |')} {_marked(carets, severity, paint)}"


def _marked(carets: str, severity: Severity, paint: Paint) -> str:
    blank = len(carets) - len(carets.lstrip())
    return carets[:blank] + paint(severity, carets[blank:])


def underlined(line: str, column: int | None, length: int, width: int) -> tuple[str, str]:
    """A line and the carets below it, both cut to a width around what is meant.

    :param column: from 1; None = no carets.
    """
    if column is None:
        return _cut(_clean(line), width), ""
    start, end = column - 1, column - 1 + max(length, 1)
    before, meant, behind = map(_clean, (line[:start], line[start:end], line[end:]))
    room = max(width - min(cells(meant), width // 2) - 2, width // 4)
    if cells(before) > room and cells(before + meant) > width:
        before = _MORE + _last_cells(before, room // 2)
    carets = " " * cells(before) + "^" * max(cells(meant), 1)
    return _cut(before + meant + behind, width), carets[: max(width, 1)]


def _last_cells(text: str, most: int) -> str:
    while cells(text) > most:
        text = text[1:]
    return text


def _cut(text: str, width: int) -> str:
    text = text.rstrip()
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return text + _MORE


def wrapped(label: str, sentence: str, indent: int, paint: Paint, width: int) -> Iterator[str]:
    """``= because: ...``, going on below its first word where it is long."""
    start = f"{' ' * indent}= {label}: "
    room = max(width - len(start), 20)
    paragraphs = [_clean(each) for each in sentence.strip().splitlines()]
    lines = [part for each in paragraphs for part in _folded(each, room)] or [""]
    head = f"{' ' * indent}{paint('gutter', '=')} {paint('strong', f'{label}:')} {lines[0]}"
    yield head.rstrip()
    yield from (" " * len(start) + each for each in lines[1:])


def _folded(paragraph: str, room: int) -> list[str]:
    return textwrap.wrap(paragraph, room, break_long_words=False, break_on_hyphens=False)


def sent_lines(
    sql: str, offset: int | None, length: int, severity: Severity, paint: Paint, width: int
) -> Iterator[str]:
    """SQL as it was sent, with carets under a part of it."""
    start = 0
    for line in sql.split("\n"):
        end = start + len(line)
        column = None if offset is None or not start <= offset <= end else offset - start + 1
        source, carets = underlined(line, column, min(length, end - (offset or 0)), width - 4)
        if source.strip():
            yield f"    {source}"
        if carets:
            yield f"    {_marked(carets, severity, paint)}"
        start = end + 1
