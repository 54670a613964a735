"""Where findings point: at a column or a bind of the SQL, in a Python or an SQL file.

What cannot be told is answered with the next larger thing, up to the decorator's line.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from sqla_typedpool.check.model import Location
from sqla_typedpool.check.source_files import (
    Spot,
    aligned,
    lines_of,
    spots_of_literal,
    spots_of_text,
    text_of,
)
from sqla_typedpool.queries import QueryInfo
from sqla_typedpool.tokens import TokenKind, output_items, stars, tokens


def place_of_query(info: QueryInfo) -> Location:
    """The line of the decorator."""
    origin = info.origin
    lines = lines_of(origin.file)
    if not 0 < origin.line <= len(lines):
        return Location(origin.file, origin.line)
    line = lines[origin.line - 1]
    shown = line.partition("  #")[0].strip()
    return Location(origin.file, origin.line, len(line) - len(line.lstrip()) + 1, len(shown) or 1)


def place_in_sql(info: QueryInfo, offset: int, length: int = 1) -> Location:
    """Where a piece of the query's text stands.

    :param offset: in ``info.sql``, in characters from 0.
    :param length: in characters; what goes on in the next line is not underlined.
    """
    spots = _spots(info)
    if not spots:
        return place_of_query(info)
    first = spots[min(max(offset, 0), len(spots) - 1)]
    same_line = [spot for spot in spots[offset : offset + length] if spot.line == first.line]
    reach = same_line[-1].column - first.column + 1 if same_line else 1
    return Location(info.origin.sql_file or info.origin.file, first.line, first.column, reach)


def _spots(info: QueryInfo) -> list[Spot] | None:
    if not info.is_text:
        return None
    origin = info.origin
    if origin.sql_file is None:
        return _in_python(origin.file, origin.line, info.sql, hash(text_of(origin.file)))
    text = text_of(origin.sql_file).removeprefix("\ufeff")
    return aligned(info.sql, text, spots_of_text(text))


@lru_cache(500)  # one per query; each has several columns to point at
def _in_python(file: Path, line: int, sql: str, _version: int) -> list[Spot] | None:
    return spots_of_literal(file, line, sql)


def place_of_column(info: QueryInfo, index: int, count: int) -> Location:
    """The output item that makes a column.

    :param index: the column's, from 0.
    :param count: how many columns the statement has: ``*`` stands for several.
    """
    items = output_items(info.sql) if info.is_text else []
    span = _item(items, stars(info.sql) if info.is_text else [], index, count)
    if span is None:
        return place_of_query(info)
    return place_in_sql(info, span[0], span[1] - span[0])


Span = tuple[int, int]


def _item(items: list[Span], all_stars: list[Span], index: int, count: int) -> Span | None:
    if not all_stars:
        return items[index] if len(items) == count else None
    if len(all_stars) > 1:
        return None  # nobody knows how many columns each of them has
    before = items.index(all_stars[0])
    behind = len(items) - before - 1
    if index < before:
        return items[index]
    return items[index - count] if index >= count - behind else all_stars[0]


def place_of_output(info: QueryInfo) -> Location:
    """All of the output."""
    items = output_items(info.sql) if info.is_text else []
    if not items:
        return place_of_query(info)
    return place_in_sql(info, items[0][0], items[-1][1] - items[0][0])


def place_of_bind(info: QueryInfo, name: str) -> Location:
    """The first mention of a bind."""
    if info.is_text:
        for token in tokens(info.sql):
            if token.kind is TokenKind.BIND and token.text[1:] == name:
                return place_in_sql(info, token.start, token.end - token.start)
    return place_of_query(info)


# ----------------------------------------------------------- the text as it was sent


def sent_column(sql: str, index: int, count: int) -> dict[str, str]:
    """The sent text and where a column stands in it, as details of a finding: for Core
    statements, whose text stands in no file."""
    span = _item(output_items(sql), stars(sql), index, count)
    return {"sql": sql} | ({} if span is None else sent_span(span[0], span[1] - span[0]))


def sent_span(offset: int, length: int) -> dict[str, str]:
    """What is meant of the sent text, as details of a finding."""
    return {"offset": str(offset), "length": str(length)}


def word_at(sql: str, offset: int) -> int:
    """How long the token is that begins there; at least 1."""
    return next((each.end - offset for each in tokens(sql) if each.start <= offset < each.end), 1)


def offset_as_written(sql: str, sent: str, offset: int) -> int | None:
    """Where an offset of the sent text, with ``$1``, stands in the text with ``:name``.

    :return: None where the two texts do not agree.
    """
    binds = [each for each in tokens(sql) if each.kind is TokenKind.BIND]
    edges = [0, *(edge for each in binds for edge in (each.start, each.end)), len(sql)]
    here = 0
    for start, end in list(pairwise(edges))[::2]:
        plain, places = _unescaped(sql, start, end)
        found = sent.find(plain, here)
        if found < 0:
            return None
        if offset < found:
            return max(binds_before(edges, start), 0)
        if offset < found + len(plain):
            return places[offset - found]
        here = found + len(plain)
    return len(sql)


def binds_before(edges: list[int], start: int) -> int:
    """Where the bind begins that ends at an edge."""
    return max((edge for edge in edges if edge < start), default=0)


def _unescaped(sql: str, start: int, end: int) -> tuple[str, list[int]]:
    """Plain text as SQLAlchemy sends it: ``\\:`` is a colon."""
    places = [
        place
        for place in range(start, end)
        if sql[place] != "\\" or sql[place + 1 : place + 2] != ":"
    ]
    return "".join(sql[place] for place in places), places
